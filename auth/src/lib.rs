//! Who is asking, and what they may do. Only this crate makes a [`Principal`](eg_event::Principal).

mod authenticate;

pub use authenticate::{Authenticator, Credential, Unauthenticated};
