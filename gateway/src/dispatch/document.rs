//! What is written down of a subscription, its secrets sealed.

use std::sync::Arc;

use eg_event::outbound::Auth;
use eg_storage::Changes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Definition;
use super::registry::RegistryError;
use crate::secrets::{Keys, Place, Sealed, SecretError};

/// What the documents are called in the ledger.
pub(super) const KIND: &str = "subscription";
/// The fields that are sealed.
const AUTH: &str = "auth";
const SIGNING_SECRETS: &str = "signingSecrets";

/// A definition as it lies in the ledger.
#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(flatten)]
    definition: Definition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth: Option<Sealed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signing_secrets: Option<Sealed>,
}

/// A definition that was read.
pub(super) struct Found {
    pub(super) definition: Definition,
    /// Its secrets were not sealed under the current key, and are to be written again.
    pub(super) is_outdated: bool,
}

/// A document cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// Its secrets cannot be opened.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It is not what it should be.
    #[error(transparent)]
    Unfit(#[from] serde_json::Error),
}

/// Writes down `definition`.
pub(super) fn put(
    changes: &mut Changes,
    definition: &Definition,
    keys: &Keys,
) -> Result<(), RegistryError> {
    let subscription = &definition.subscription;
    let key = subscription.key();
    let name = &*key;
    let secrets = Some(&subscription.signing_secrets).filter(|secrets| !secrets.is_empty());
    let document = Document {
        definition: definition.clone(),
        auth: seal(keys, (name, AUTH), subscription.auth.as_deref())?,
        signing_secrets: seal(keys, (name, SIGNING_SECRETS), secrets)?,
    };
    changes.put_document(KIND, name, serde_json::to_vec(&document)?);
    Ok(())
}

/// Reads what [`put`] wrote for the subscription `name`.
pub(super) fn read(name: &str, document: &[u8], keys: &Keys) -> Result<Found, Unread> {
    let Document { mut definition, auth, signing_secrets } = serde_json::from_slice(document)?;
    let sealed = [&auth, &signing_secrets];
    // Earlier versions wrote signing secrets as they are.
    let is_outdated = !definition.subscription.signing_secrets.is_empty()
        || sealed.into_iter().flatten().any(|sealed| keys.is_outdated(sealed));
    let subscription = Arc::make_mut(&mut definition.subscription);
    subscription.auth = open::<Auth>(keys, (name, AUTH), auth)?.map(Arc::new);
    if let Some(secrets) = open(keys, (name, SIGNING_SECRETS), signing_secrets)? {
        subscription.signing_secrets = secrets;
    }
    Ok(Found { definition, is_outdated })
}

fn seal<T: Serialize>(
    keys: &Keys,
    (name, field): (&str, &'static str),
    secret: Option<&T>,
) -> Result<Option<Sealed>, RegistryError> {
    let Some(secret) = secret else { return Ok(None) };
    let text = serde_json::to_vec(secret)?;
    Ok(Some(keys.seal(Place { kind: KIND, name, field }, &text)?))
}

fn open<T: DeserializeOwned>(
    keys: &Keys,
    (name, field): (&str, &'static str),
    sealed: Option<Sealed>,
) -> Result<Option<T>, Unread> {
    let Some(sealed) = sealed else { return Ok(None) };
    let place = Place { kind: KIND, name, field };
    let text = keys.open_sealed(place, &sealed)?;
    // What the parser says may quote the secret.
    let parsed = serde_json::from_slice(&text);
    Ok(Some(parsed.map_err(|_| SecretError::Damaged(place.to_string()))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::SecretsConfig;
    use eg_event::outbound::SecretText;
    use eg_event::subscription::SigningSecret;
    use eg_event::{Sequence, Subscription, Timestamp};
    use serde_json::{Value, json};

    fn definition() -> Definition {
        let mut subscription = Subscription::new("orders", "https://shop.test/");
        let additional_headers =
            [("x-key".to_owned(), vec![SecretText::new("h3ader")])].into_iter().collect();
        subscription.auth = Some(Arc::new(Auth { additional_headers, ..Auth::default() }));
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        subscription.signing_secrets = vec![secret];
        Definition {
            number: 1,
            subscription: Arc::new(subscription),
            created_at: Timestamp::from_micros(1),
            updated_at: Timestamp::from_micros(2),
            begins: Sequence(3),
            paused: None,
            conditions: None,
        }
    }

    fn written(definition: &Definition, keys: &Keys) -> Value {
        let directory = tempfile::tempdir().unwrap();
        let clock = eg_event::Clock::system();
        let config = eg_storage::StorageConfig::default();
        let store = eg_storage::Store::open(directory.path(), &config, &clock).unwrap();
        let mut changes = Changes::default();
        put(&mut changes, definition, keys).unwrap();
        store.ledger().apply(&changes).unwrap();
        let (name, document) = store.ledger().documents(KIND).unwrap().remove(0);
        assert_eq!(name, definition.subscription.name);
        serde_json::from_slice(&document).unwrap()
    }

    #[test]
    fn a_definition_is_read_as_it_was_written_and_no_secret_is_in_the_document() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::open(&SecretsConfig::default(), directory.path()).unwrap();
        let document = written(&definition(), &keys).to_string();
        assert!(!document.contains("h3ader") && !document.contains("MfKQ"), "{document}");
        let found = read("orders", document.as_bytes(), &keys).unwrap();
        assert_eq!(found.definition, definition());
        assert!(!found.is_outdated);
        let swapped = read("other", document.as_bytes(), &keys);
        assert!(matches!(swapped, Err(Unread::Secret(SecretError::Damaged(_)))));
    }

    #[test]
    fn a_document_without_seals_is_read_and_due_to_be_sealed() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::open(&SecretsConfig::default(), directory.path()).unwrap();
        let mut document = written(&definition(), &keys);
        let fields = document.as_object_mut().unwrap();
        fields.remove("auth");
        fields.remove("signing_secrets");
        document["subscription"]["signing_secrets"] =
            json!(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
        let found = read("orders", document.to_string().as_bytes(), &keys).unwrap();
        assert!(found.is_outdated);
        let expected = definition();
        let secrets = &found.definition.subscription.signing_secrets;
        assert_eq!(*secrets, expected.subscription.signing_secrets);
        assert!(found.definition.subscription.auth.is_none());
    }
}
