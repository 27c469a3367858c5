//! Principals over a restart: what was established of somebody then still holds for what they left
//! to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eg_event::principal::Method;
use eg_event::{CredentialId, Principal, Timestamp};
use serde::{Deserialize, Serialize};

/// A principal as it is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    name: String,
    method: String,
    expires_at_micros: Option<u64>,
    application: Option<String>,
    roles: BTreeSet<String>,
    claims: BTreeMap<String, String>,
    credential: Option<String>,
}

const METHODS: [Method; 6] = [
    Method::Anonymous,
    Method::Bearer,
    Method::Certificate,
    Method::Basic,
    Method::ApiKey,
    Method::System,
];

/// Writes down who a principal is.
#[must_use]
pub fn remember(principal: &Principal) -> Vec<u8> {
    let remembered = Remembered {
        name: principal.name().to_owned(),
        method: principal.method().as_str().to_owned(),
        expires_at_micros: principal.expires_at().map(Timestamp::as_micros),
        application: principal.application().map(str::to_owned),
        roles: principal.roles().clone(),
        claims: principal.claims().clone(),
        credential: principal.credential().map(|credential| credential.as_str().to_owned()),
    };
    serde_json::to_vec(&remembered).unwrap_or_default()
}

/// The principal that was written down; none if that cannot be read.
#[must_use]
pub fn remembered(text: &[u8]) -> Option<Arc<Principal>> {
    let known: Remembered = serde_json::from_slice(text).ok()?;
    let method = METHODS.into_iter().find(|method| method.as_str() == known.method)?;
    let expires_at = known.expires_at_micros.map(Timestamp::from_micros);
    #[expect(clippy::disallowed_methods, reason = "auth is where a principal is made")]
    let mut principal = Principal::vouch_for(&known.name, method, expires_at)
        .with_roles(known.roles)
        .with_claims(known.claims);
    if let Some(application) = &known.application {
        principal = principal.for_application(application);
    }
    if let Some(credential) = known.credential {
        principal = principal.resting_on(CredentialId::new(credential));
    }
    Some(Arc::new(principal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs a principal")]
    fn a_principal_is_remembered_with_all_that_policies_ask_for() {
        let at = Timestamp::from_micros(7);
        let principal = Principal::vouch_for("till", Method::Bearer, Some(at))
            .for_application("shop")
            .with_roles(["operator".to_owned()])
            .with_claims([("plant".to_owned(), "7".to_owned())])
            .resting_on(CredentialId::new("key:1"));
        assert_eq!(remembered(&remember(&principal)).as_deref(), Some(&principal));
        assert_eq!(remembered(b"{}"), None);
    }
}
