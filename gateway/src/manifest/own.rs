//! The gateway's own kinds, `Application` and `EventAPIDefinition`, and `AsyncAPI` documents as they are.

use serde_json::{Value, json};

use super::Asked;
use super::fields::{Object, Reader};
use super::kyma::METADATA;
use crate::specs::change::{ApplicationInput, Entry};
use crate::specs::rules;

pub(super) const APPLICATION: &str = "Application";
pub(super) const DEFINITION: &str = "EventAPIDefinition";
/// Where a document names its application.
const APPLICATION_EXTENSION: &str = "x-application";
const VERSION: &str = "event-gateway.io/v1";

/// What a manifest says of a definition. What it cannot say stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionManifest {
    /// The name of the application that it belongs to.
    pub application: String,
    /// Unique in its application.
    pub name: String,
    /// Prose.
    pub description: Option<String>,
    /// What is the same in every version of one definition.
    pub group: Option<String>,
    /// The text of the document.
    pub data: String,
    /// It is the document itself, which has no place for a group.
    pub is_bare: bool,
}

/// Whether a manifest is of one of these kinds.
pub(super) fn is_own(reader: &Reader<'_>) -> bool {
    reader.peek("kind").is_some_and(|kind| [APPLICATION, DEFINITION].contains(&kind))
}

/// Whether a file is no manifest but an `AsyncAPI` document.
pub(super) fn is_document(reader: &Reader<'_>) -> bool {
    reader.peek("asyncapi").is_some()
}

/// What an `AsyncAPI` document asks for whose text is `data`: to be a definition of the application
/// that it names.
pub(super) fn document(reader: &Reader<'_>, data: String) -> Option<Asked> {
    let (root, at) = (reader.root()?, APPLICATION_EXTENSION);
    let info = root.object("info")?;
    let application = root.text(at).or_else(|| info.text(at)).map(str::to_owned);
    if application.is_none() {
        root.fault(at, "expected the name of the application that publishes by this".to_owned());
    }
    let rule = rules::name("").err().map(|error| error.detail).unwrap_or_default();
    let name = info.checked("title", &rule, |text| rules::name(text).is_ok());
    let description = info.text("description").map(str::to_owned);
    let (application, name) = (application?, name?);
    let group = None;
    let asked = DefinitionManifest { application, name, description, group, data, is_bare: true };
    Some(Asked::Definition(Box::new(asked)))
}

/// Reads a manifest; what is wrong with it is with the reader.
pub(super) fn read(reader: &Reader<'_>) -> Option<Asked> {
    let root = reader.root()?;
    root.only(&["apiVersion", "kind", "metadata", "spec"]);
    root.checked("apiVersion", &format!("expected {VERSION:?}"), |text| text == VERSION);
    let (metadata, spec) = (root.object("metadata"), root.object("spec"));
    let (metadata, spec) = (metadata?, spec?);
    metadata.only(&METADATA);
    let rule = rules::name("").err().map(|error| error.detail).unwrap_or_default();
    let name = metadata.checked("name", &rule, |text| rules::name(text).is_ok());
    if root.text("kind") == Some(DEFINITION) {
        return definition(&spec, name);
    }
    spec.only(&["description", "providerName", "labels"]);
    let text = |field| spec.text(field).map(str::to_owned);
    let labels = spec.mapping("labels").cloned().unwrap_or_default();
    let (description, provider_name) = (text("description"), text("providerName"));
    let labels = labels.into_iter().collect();
    Some(Asked::Application(ApplicationInput { name: name?, description, provider_name, labels }))
}

fn definition(spec: &Object<'_>, name: Option<String>) -> Option<Asked> {
    spec.only(&["application", "description", "group", "spec"]);
    let application = "expected the name of an application";
    let application = spec.checked("application", application, |text| !text.is_empty());
    let (description, group) = (spec.text("description"), spec.text("group"));
    let document = spec.object("spec")?;
    document.only(&["data"]);
    let data = document.checked("data", "expected the text of a document", |_| true);
    Some(Asked::Definition(Box::new(DefinitionManifest {
        application: application?,
        name: name?,
        description: description.map(str::to_owned),
        group: group.map(str::to_owned),
        data: data?,
        is_bare: false,
    })))
}

/// The fields of a manifest that something registered has.
pub(super) fn fields(known: &Entry) -> Vec<(&'static str, Value)> {
    match known {
        Entry::Application(known) => vec![
            ("description", json!(known.description)),
            ("providerName", json!(known.provider_name)),
            ("labels", json!(known.labels)),
        ],
        Entry::Definition(known) => vec![
            ("description", json!(known.description)),
            ("group", json!(known.group)),
            ("spec", json!(known.spec.data)),
        ],
        Entry::Runtime(_) => Vec::new(),
    }
}
