//! Who is asking, and what they may do. Only this crate makes a [`Principal`](eg_event::Principal).

mod authenticate;
mod authenticator;
mod bus;
mod certificate;
mod config;
mod issuer;
mod live;
mod lock_out;
mod name;
mod peer;
pub mod policy;
mod remembered;
mod secret;
mod stored;
mod system;

pub use authenticate::{Authenticate, Credential, Unauthenticated};
pub use authenticator::{Authenticator, Surroundings};
pub use bus::a_bus_of;
pub use config::{
    Algorithm, AuthConfig, CertificateName, CertificatesConfig, IntrospectionConfig, IssuerConfig,
};
pub use issuer::{IssuerError, Withdrawn};
pub use live::{Live, Presence};
pub use name::{NAME_BYTES_MAX, is_name};
pub use peer::{ClientCertificate, InvalidCertificate, Peer, Thumbprint};
pub use policy::{Policy, PolicyConfig, PolicyStore};
pub use remembered::{remember, remembered};
pub use stored::{NewCredential, Secret, SecretKind, StoredCredential};
pub use system::the_gateway;
