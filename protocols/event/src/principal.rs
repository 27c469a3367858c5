//! Who is asking: made by the `auth` crate alone, read by everyone.

use std::fmt;
use std::sync::Arc;

use crate::clock::Timestamp;

/// How a principal was recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// Nobody asked: development mode on loopback.
    Anonymous,
    /// An OAuth 2.0 bearer token.
    Bearer,
    /// A client certificate.
    Certificate,
    /// A name and a password.
    Basic,
    /// An API key.
    ApiKey,
}

impl Method {
    /// The word for this method in journeys, logs and the `authcontext` extension.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Bearer => "bearer",
            Self::Certificate => "certificate",
            Self::Basic => "basic",
            Self::ApiKey => "api-key",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Somebody whose identity has been established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    name: Arc<str>,
    method: Method,
    expires_at: Option<Timestamp>,
}

impl Principal {
    /// States that `name` was recognized by `method`. Only the `auth` crate may say so, and a lint
    /// keeps it to that.
    #[must_use]
    pub fn vouch_for(name: &str, method: Method, expires_at: Option<Timestamp>) -> Self {
        Self { name: name.into(), method, expires_at }
    }

    /// The name that policies, journeys and logs use.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, to be kept beside an event.
    #[must_use]
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// How the principal was recognized.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// When the credential stops being good; `None` if it does not.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}
