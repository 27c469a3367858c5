//! From what a sender presents to who they are.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use eg_event::Principal;
use eg_event::principal::Method;

/// What a sender presents, as the protocol carried it.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Credential {
    /// Nothing.
    #[default]
    None,
    /// A bearer token (RFC 6750), or a token in an MQTT password.
    Bearer(String),
    /// A name and a password (RFC 7617, MQTT user name and password).
    Basic {
        /// The user name.
        name: String,
        /// The password.
        password: Vec<u8>,
    },
}

impl fmt::Debug for Credential {
    /// The kind alone: a credential is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bearer(_) => "Bearer(..)",
            Self::Basic { .. } => "Basic(..)",
        })
    }
}

/// Why nobody was recognized; the text may be told to the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unauthenticated {
    /// Nothing was presented, and anonymous access is not allowed.
    #[error("no credential was presented")]
    Missing,
    /// What was presented is of a kind that no configured method checks.
    #[error("no method for this kind of credential is configured")]
    UnknownMethod,
}

/// Recognizes senders by the configured methods.
#[derive(Debug)]
pub struct Authenticator {
    anonymous: Option<Arc<Principal>>,
}

impl Authenticator {
    /// Recognizes nobody: what a gateway without configuration does.
    #[must_use]
    pub fn closed() -> Self {
        Self { anonymous: None }
    }

    /// Takes anyone on this machine as `anonymous`: development mode.
    #[must_use]
    pub fn anonymous_on_loopback() -> Self {
        #[expect(clippy::disallowed_methods, reason = "auth is where a principal is made")]
        let principal = Principal::vouch_for("anonymous", Method::Anonymous, None);
        Self { anonymous: Some(Arc::new(principal)) }
    }

    /// Says who presents `credential` from `remote`.
    #[expect(clippy::unused_async, reason = "token introspection and key fetching will wait here")]
    pub async fn authenticate(
        &self,
        credential: &Credential,
        remote: SocketAddr,
    ) -> Result<Arc<Principal>, Unauthenticated> {
        match (&self.anonymous, credential) {
            (Some(principal), _) if remote.ip().to_canonical().is_loopback() => {
                Ok(Arc::clone(principal))
            }
            (_, Credential::None) => Err(Unauthenticated::Missing),
            _ => Err(Unauthenticated::UnknownMethod),
        }
    }
}
