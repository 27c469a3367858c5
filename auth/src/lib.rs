//! Who is asking, and what they may do. Only this crate makes a [`Principal`](eg_event::Principal).

mod authenticate;
mod live;
mod peer;
pub mod policy;
mod system;

pub use authenticate::{Authenticate, Authenticator, Credential, Unauthenticated};
pub use live::{Live, Presence};
pub use peer::{ClientCertificate, InvalidCertificate, Peer, Thumbprint};
pub use policy::{Policy, PolicyConfig, PolicyStore};
pub use system::the_gateway;
