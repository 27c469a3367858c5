//! What is written down of what is registered, secrets sealed.

use std::collections::BTreeMap;
use std::sync::Arc;

use eg_event::outbound::Auth;
use eg_storage::{Changes, Ledger};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::definition::{Application, Definition, Runtime};
use super::error::SpecsError;
use super::snapshot::Snapshot;
use crate::secrets::{Keys, Place, Sealed, SecretError};

/// What the documents are called in the ledger; their names are ids.
const APPLICATION: &str = "application";
const RUNTIME: &str = "runtime";
const DEFINITION: &str = "event-definition";

type Table<T> = BTreeMap<String, Arc<T>>;

/// A definition as it lies in the ledger.
#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(flatten)]
    definition: Definition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secrets: Option<Sealed>,
}

/// What is sealed of a definition.
#[derive(Serialize, Deserialize, PartialEq, Default)]
struct Secrets {
    auth: Option<Arc<Auth>>,
    fetch_request: Option<Arc<Auth>>,
    /// In the order of the external subscriptions.
    external_subscriptions: Vec<Option<Arc<Auth>>>,
}

/// Reads everything. Secrets that are not sealed under the current key are sealed anew.
pub(super) fn load(ledger: &Ledger, keys: &Keys) -> Result<Snapshot, SpecsError> {
    let mut snapshot = Snapshot::default();
    for (id, application) in plain::<Application>(ledger, APPLICATION)? {
        snapshot.applications.insert(id, Arc::new(application));
    }
    for (id, runtime) in plain::<Runtime>(ledger, RUNTIME)? {
        snapshot.runtimes.insert(id, Arc::new(runtime));
    }
    let mut sealed_anew = Changes::default();
    for (id, Document { mut definition, secrets }) in plain(ledger, DEFINITION)? {
        if let Some(sealed) = secrets {
            open(&mut definition, keys, &sealed)?;
            if keys.is_outdated(&sealed) {
                put_definition(&mut sealed_anew, &definition, keys)?;
            }
        }
        snapshot.definitions.insert(id, Arc::new(definition));
    }
    if !sealed_anew.is_empty() {
        ledger.apply(&sealed_anew)?;
        tracing::info!("secrets of event definitions were sealed under the current key");
    }
    Ok(snapshot)
}

fn plain<T: DeserializeOwned>(
    ledger: &Ledger,
    kind: &'static str,
) -> Result<Vec<(String, T)>, SpecsError> {
    let mut read = Vec::new();
    for (id, document) in ledger.documents(kind)? {
        match serde_json::from_slice(&document) {
            Ok(one) => read.push((id, one)),
            Err(error) => {
                tracing::error!(%error, id, kind, "this cannot be read and is left out");
            }
        }
    }
    Ok(read)
}

/// Writes down what differs between `old` and `new`.
pub(super) fn put_difference(
    old: &Snapshot,
    new: &Snapshot,
    keys: &Keys,
) -> Result<Changes, SpecsError> {
    let mut changes = Changes::default();
    for one in differing(&mut changes, APPLICATION, (&old.applications, &new.applications)) {
        changes.put_document(APPLICATION, &one.id, serde_json::to_vec(one)?);
    }
    for one in differing(&mut changes, RUNTIME, (&old.runtimes, &new.runtimes)) {
        changes.put_document(RUNTIME, &one.id, serde_json::to_vec(one)?);
    }
    for one in differing(&mut changes, DEFINITION, (&old.definitions, &new.definitions)) {
        put_definition(&mut changes, one, keys)?;
    }
    Ok(changes)
}

/// Removes what is in `old` alone, and gives back what is to be written.
fn differing<'a, T>(
    changes: &mut Changes,
    kind: &str,
    (old, new): (&Table<T>, &'a Table<T>),
) -> Vec<&'a Arc<T>> {
    let gone = old.keys().filter(|id| !new.contains_key(*id));
    gone.for_each(|id| changes.remove_document(kind, id));
    let is_new =
        |(id, one): &(&String, &Arc<T>)| !old.get(*id).is_some_and(|known| Arc::ptr_eq(known, one));
    new.iter().filter(is_new).map(|(_, one)| one).collect()
}

fn put_definition(
    changes: &mut Changes,
    definition: &Definition,
    keys: &Keys,
) -> Result<(), SpecsError> {
    let fetch_request = definition.spec.fetch_request.as_ref();
    let external = definition.external_subscriptions.iter().map(|one| one.auth.clone());
    let secrets = Secrets {
        auth: definition.auth.clone(),
        fetch_request: fetch_request.and_then(|request| request.auth.clone()),
        external_subscriptions: external.collect(),
    };
    let has_secrets = secrets.auth.is_some()
        || secrets.fetch_request.is_some()
        || secrets.external_subscriptions.iter().any(Option::is_some);
    let secrets = if has_secrets {
        Some(keys.seal(place(&definition.id), &serde_json::to_vec(&secrets)?)?)
    } else {
        None
    };
    let document = Document { definition: definition.clone(), secrets };
    changes.put_document(DEFINITION, &definition.id, serde_json::to_vec(&document)?);
    Ok(())
}

fn open(definition: &mut Definition, keys: &Keys, sealed: &Sealed) -> Result<(), SecretError> {
    let text = keys.open_sealed(place(&definition.id), sealed)?;
    // What the parser says may quote the secret.
    let damaged = |_| SecretError::Damaged(place(&definition.id).to_string());
    let secrets: Secrets = serde_json::from_slice(&text).map_err(damaged)?;
    definition.auth = secrets.auth;
    if let Some(request) = &mut definition.spec.fetch_request {
        request.auth = secrets.fetch_request;
    }
    let external = definition.external_subscriptions.iter_mut();
    external.zip(secrets.external_subscriptions).for_each(|(one, auth)| one.auth = auth);
    Ok(())
}

fn place(id: &str) -> Place<'_> {
    Place { kind: DEFINITION, name: id, field: "secrets" }
}
