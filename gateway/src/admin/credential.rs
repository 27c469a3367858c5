//! Credentials as management clients see them: never with their secrets, but once.

use std::sync::Arc;

use async_graphql::{Enum, ID, InputObject, SimpleObject};
use eg_auth::{NewCredential, SecretKind, StoredCredential};
use eg_event::{InvalidInput, Timestamp};

use super::page::PageInfo;

/// What kind of secret it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum CredentialKind {
    /// A bearer token, or a password with any user name.
    ApiKey,
    /// The password that goes with the name.
    Password,
}

/// An API key or a password, without its secret.
#[derive(Clone, Debug, SimpleObject)]
pub struct Credential {
    /// What `revokeCredential` takes.
    pub id: ID,
    /// Who presents it.
    name: String,
    kind: CredentialKind,
    /// The application that it acts for.
    application: Option<String>,
    roles: Vec<String>,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
}

/// A credential that was made just now.
#[derive(Clone, Debug, SimpleObject)]
pub struct CreatedCredential {
    /// What is kept of it.
    pub credential: Credential,
    /// The secret, which is never shown again.
    pub secret: String,
}

/// A page of credentials.
#[derive(Clone, Debug, SimpleObject)]
pub struct CredentialPage {
    /// The credentials, in the order of their ids.
    pub data: Vec<Credential>,
    /// Where the page lies.
    pub page_info: PageInfo,
    /// How many there are in all.
    pub total_count: usize,
}

/// A credential to be made.
#[derive(Clone, Debug, InputObject)]
pub struct CredentialInput {
    /// Who presents it.
    name: String,
    /// What kind of secret it is.
    #[graphql(default_with = "CredentialKind::ApiKey")]
    kind: CredentialKind,
    /// The application that it acts for.
    application: Option<String>,
    /// The roles that it gives.
    #[graphql(default)]
    roles: Vec<String>,
    /// When it stops being good (RFC 3339).
    expires_at: Option<String>,
}

impl CredentialInput {
    /// The credential that is asked for.
    pub fn into_credential(self) -> Result<NewCredential, InvalidInput> {
        let instant = |text: String| {
            let expected = || InvalidInput::new("in.expiresAt", "expected an RFC 3339 timestamp");
            Timestamp::parse_rfc3339(&text).ok_or_else(expected)
        };
        Ok(NewCredential {
            name: self.name,
            kind: match self.kind {
                CredentialKind::ApiKey => SecretKind::ApiKey,
                CredentialKind::Password => SecretKind::Password,
            },
            application: self.application,
            roles: self.roles.into_iter().collect(),
            expires_at: self.expires_at.map(instant).transpose()?,
        })
    }
}

impl From<&Arc<StoredCredential>> for Credential {
    fn from(stored: &Arc<StoredCredential>) -> Self {
        Self {
            id: ID(stored.id.clone()),
            name: stored.name.clone(),
            kind: match stored.kind {
                SecretKind::ApiKey => CredentialKind::ApiKey,
                SecretKind::Password => CredentialKind::Password,
            },
            application: stored.application.clone(),
            roles: stored.roles.iter().cloned().collect(),
            created_at: stored.created_at.to_string(),
            expires_at: stored.expires_at.map(|instant| instant.to_string()),
            revoked_at: stored.revoked_at.map(|instant| instant.to_string()),
        }
    }
}
