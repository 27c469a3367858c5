//! The gateway's own certificate authority, what has been revoked, and the TLS of the listeners,
//! all of it replaced while it is used.

mod acme;
mod authority;
mod config;
mod directory;
mod expiry;
mod material;
mod request;
mod revocation;
mod serial;
mod subject;
mod tls;
mod token;
mod verifier;
mod watch;

pub use acme::{AcmeConfig, AcmeDirectory, Answered, Challenges, server_request};
pub use authority::{Authority, IssueError, Issued, Order, Purpose};
pub use config::{CertificatesConfig, ClientCertificates, TlsConfig};
pub use directory::{AuthorityDirectory, DirectoryError};
pub use expiry::Expiry;
pub use request::{InvalidRequest, SigningRequest, generate};
pub use revocation::{CertificateName, Revocations, Revoked};
pub use serial::Serial;
pub use subject::{InvalidSubject, Subject};
pub use tls::{Accepted, Listener, Tls, TlsError};
pub use token::{Claim, SigningTokens, TokenError};
pub use watch::Watch;
