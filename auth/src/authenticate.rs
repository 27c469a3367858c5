//! From what a sender presents to who they are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eg_event::Principal;
use futures_util::future::BoxFuture;

use crate::peer::Peer;

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
    /// What was presented does not hold.
    #[error("{0}")]
    Invalid(String),
    /// What was presented has held, and does no more.
    #[error("{0}")]
    Expired(String),
    /// Too many attempts have failed.
    #[error("too many attempts failed, try again in {} s", retry_after.as_secs().max(1))]
    LockedOut {
        /// When to try again.
        retry_after: Duration,
    },
    /// What is needed to check it cannot be reached.
    #[error("{reason}")]
    Unavailable {
        /// What is missing, without internals.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
}

impl Unauthenticated {
    /// The words of all reasons, as metrics have them.
    pub const WORDS: [&str; 6] =
        ["missing", "unknown_method", "invalid", "expired", "locked_out", "unavailable"];

    /// The word for the reason.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        let [missing, unknown_method, invalid, expired, locked_out, unavailable] = Self::WORDS;
        match self {
            Self::Missing => missing,
            Self::UnknownMethod => unknown_method,
            Self::Invalid(_) => invalid,
            Self::Expired(_) => expired,
            Self::LockedOut { .. } => locked_out,
            Self::Unavailable { .. } => unavailable,
        }
    }
}

/// Recognizes senders: the port that the protocols see.
pub trait Authenticate: Send + Sync {
    /// Says who presents `credential` over the connection of `peer`.
    fn authenticate<'a>(
        &'a self,
        credential: &'a Credential,
        peer: &'a Peer,
    ) -> BoxFuture<'a, Result<Arc<Principal>, Unauthenticated>>;
}
