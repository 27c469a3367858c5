//! Who is asking: made by the `auth` crate alone, read by everyone.

use std::collections::{BTreeMap, BTreeSet};
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
    /// The gateway itself.
    System,
    /// A bus that a definition of the application says events come from.
    Bus,
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
            Self::System => "system",
            Self::Bus => "bus",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of one credential, such as `certificate:9f86...` or `key:blue`: not a secret, and what a
/// revocation names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId(Arc<str>);

impl CredentialId {
    /// The credential that goes by `name`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Somebody whose identity has been established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    name: Arc<str>,
    method: Method,
    expires_at: Option<Timestamp>,
    application: Option<Arc<str>>,
    roles: BTreeSet<String>,
    claims: BTreeMap<String, String>,
    credential: Option<CredentialId>,
}

impl Principal {
    /// States that `name` was recognized by `method`. Only the `auth` crate may say so, and a lint
    /// keeps it to that.
    #[must_use]
    pub fn vouch_for(name: &str, method: Method, expires_at: Option<Timestamp>) -> Self {
        Self {
            name: name.into(),
            method,
            expires_at,
            application: None,
            roles: BTreeSet::new(),
            claims: BTreeMap::new(),
            credential: None,
        }
    }

    /// The same, acting for `application`.
    #[must_use]
    pub fn for_application(mut self, application: &str) -> Self {
        self.application = Some(application.into());
        self
    }

    /// The same, with `roles`.
    #[must_use]
    pub fn with_roles(mut self, roles: impl IntoIterator<Item = String>) -> Self {
        self.roles.extend(roles);
        self
    }

    /// The same, with what the credential says beside: the claims of a token, the names in a
    /// certificate. Policies read them as `${claim.NAME}`.
    #[must_use]
    pub fn with_claims(mut self, claims: impl IntoIterator<Item = (String, String)>) -> Self {
        self.claims.extend(claims);
        self
    }

    /// The same, resting on `credential`, whose revocation ends every connection of it.
    #[must_use]
    pub fn resting_on(mut self, credential: CredentialId) -> Self {
        self.credential = Some(credential);
        self
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

    /// The application that the principal acts for.
    #[must_use]
    pub fn application(&self) -> Option<&str> {
        self.application.as_deref()
    }

    /// The application, to be kept beside an event.
    #[must_use]
    pub fn shared_application(&self) -> Option<Arc<str>> {
        self.application.clone()
    }

    /// The roles, by name.
    #[must_use]
    pub fn roles(&self) -> &BTreeSet<String> {
        &self.roles
    }

    /// What the credential says beside, by claim.
    #[must_use]
    pub fn claims(&self) -> &BTreeMap<String, String> {
        &self.claims
    }

    /// The credential that the principal rests on.
    #[must_use]
    pub fn credential(&self) -> Option<&CredentialId> {
        self.credential.as_ref()
    }
}
