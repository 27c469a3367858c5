//! Kyma's kinds: `Subscription` and `EventActivation`, as its resource definitions have them.

use eg_event::subscription::{ContentMode, check_name, check_namespace};
use eg_event::{InvalidInput, Subscription};
use serde_json::{Value, json};

use super::Asked;
use super::fields::{Object, Reader};
use crate::activation::{DOTTED, EventActivation, is_dotted};
use crate::admin::subscription::kept_auth;

pub(super) const SUBSCRIPTION: &str = "Subscription";
pub(super) const EVENT_ACTIVATION: &str = "EventActivation";
const KINDS: [(&str, &str); 2] = [
    (SUBSCRIPTION, "eventing.kyma-project.io/v1alpha1"),
    (EVENT_ACTIVATION, "applicationconnector.kyma-project.io/v1alpha1"),
];
/// The namespace of a manifest that names none, as kubectl has it.
const DEFAULT_NAMESPACE: &str = "default";
/// What metadata may have beside name and namespace; a cluster writes some of it.
pub(super) const METADATA: [&str; 13] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
const SUBSCRIPTION_SPEC: [&str; 7] = [
    "endpoint",
    "push_request_timeout_ms",
    "max_inflight",
    "include_subscription_name_header",
    "event_type",
    "event_type_version",
    "source_id",
];
/// The longest endpoint, in bytes.
const ENDPOINT_BYTES_MAX: usize = 512;
/// The longest version of an event type, in bytes.
const VERSION_BYTES_MAX: usize = 4;

/// What a manifest says of a subscription. What it cannot say stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionManifest {
    /// Where event activations govern it.
    pub namespace: String,
    /// Its name.
    pub name: String,
    endpoint: String,
    push_request_timeout_ms: Option<u32>,
    max_inflight: Option<u32>,
    include_subscription_name_header: bool,
    event_type: String,
    event_type_version: String,
    source_id: String,
}

impl SubscriptionManifest {
    /// The subscription that `old` becomes by it, or the one that is made.
    ///
    /// # Errors
    /// The field, as subscriptions name it, that breaks a rule.
    pub fn onto(&self, old: Option<&Subscription>) -> Result<Subscription, InvalidInput> {
        let base = Subscription::new(self.name.clone(), self.endpoint.clone());
        let auth = kept_auth(old, &self.endpoint)?;
        let timeout_ms = self.push_request_timeout_ms.filter(|given| *given > 0);
        let max_in_flight = self.max_inflight.and_then(|given| u16::try_from(given).ok());
        let subscription = Subscription {
            namespace: Some(self.namespace.clone()),
            name: self.name.clone(),
            endpoint: self.endpoint.clone(),
            source: Some(self.source_id.clone()),
            event_type: Some(self.event_type.clone()),
            event_type_version: Some(self.event_type_version.clone()),
            content_mode: ContentMode::Kyma,
            request_timeout_ms: timeout_ms.unwrap_or(base.request_timeout_ms),
            max_in_flight: max_in_flight.unwrap_or(base.max_in_flight),
            include_subscription_name_header: self.include_subscription_name_header,
            auth,
            ..old.cloned().unwrap_or(base)
        };
        subscription.check()?;
        Ok(subscription)
    }

    /// What a manifest calls a field that subscriptions have.
    #[must_use]
    pub fn field(of_subscription: &str) -> &'static str {
        match of_subscription {
            "name" => "metadata.name",
            "namespace" => "metadata.namespace",
            "source" => "spec.source_id",
            "eventType" => "spec.event_type",
            "eventTypeVersion" => "spec.event_type_version",
            "maxInFlight" => "spec.max_inflight",
            "pushRequestTimeoutMs" => "spec.push_request_timeout_ms",
            // What cannot be kept for a new endpoint is told there.
            "endpoint" | "auth" => "spec.endpoint",
            _ => "spec",
        }
    }
}

/// What a subscription has of the fields of a manifest.
pub(super) fn fields_of_subscription(known: &Subscription) -> Vec<(&'static str, Value)> {
    let mode = match known.content_mode {
        ContentMode::Kyma => "KYMA",
        ContentMode::Binary => "BINARY",
        ContentMode::Structured => "STRUCTURED",
    };
    vec![
        ("endpoint", json!(known.endpoint)),
        ("push_request_timeout_ms", json!(known.request_timeout_ms)),
        ("max_inflight", json!(known.max_in_flight)),
        ("include_subscription_name_header", json!(known.include_subscription_name_header)),
        ("event_type", json!(known.event_type)),
        ("event_type_version", json!(known.event_type_version)),
        ("source_id", json!(known.source)),
        ("contentMode", json!(mode)),
    ]
}

/// The fields of an event activation.
pub(super) fn fields_of_activation(known: &EventActivation) -> Vec<(&'static str, Value)> {
    vec![("sourceId", json!(known.source_id)), ("displayName", json!(known.display_name))]
}

/// Reads a manifest; what is wrong with it is with the reader.
pub(super) fn read(reader: &Reader<'_>) -> Option<Asked> {
    let root = reader.root()?;
    // A cluster writes the status; what it says is another one's.
    root.only(&["apiVersion", "kind", "metadata", "spec", "status"]);
    let kind = root.text("kind");
    let known = KINDS.iter().find(|(known, _)| Some(*known) == kind);
    let Some((kind, version)) = known else {
        root.fault(
            "kind",
            format!(
                "expected {SUBSCRIPTION:?}, {EVENT_ACTIVATION:?}, {:?} or {:?}",
                super::own::APPLICATION,
                super::own::DEFINITION
            ),
        );
        return None;
    };
    root.checked("apiVersion", &format!("expected {version:?}"), |text| text == *version);
    let (metadata, spec) = (root.object("metadata"), root.object("spec"));
    let (metadata, spec) = (metadata?, spec?);
    let (namespace, name) = named(&metadata);
    if *kind == SUBSCRIPTION {
        let asked = subscription(&spec, namespace, name?)?;
        return Some(Asked::Subscription(Box::new(asked)));
    }
    spec.only(&["sourceId", "displayName"]);
    let source_id = spec.checked("sourceId", DOTTED, is_dotted);
    let display_name = spec.text("displayName").unwrap_or_default().to_owned();
    let (name, source_id) = (name?, source_id?);
    let activation = EventActivation { namespace, name, source_id, display_name };
    if let Err(error) = activation.check() {
        spec.fault(&error.field, error.detail);
    }
    Some(Asked::EventActivation(activation))
}

/// The namespace and the name.
fn named(metadata: &Object<'_>) -> (String, Option<String>) {
    metadata.only(&METADATA);
    let namespace = metadata.text("namespace").unwrap_or(DEFAULT_NAMESPACE);
    if let Err(error) = check_namespace(namespace) {
        metadata.fault("namespace", error.detail);
    }
    let rule = check_name("").err().map(|error| error.detail).unwrap_or_default();
    let name = metadata.checked("name", &rule, |text| check_name(text).is_ok());
    (namespace.to_owned(), name)
}

fn subscription(
    spec: &Object<'_>,
    namespace: String,
    name: String,
) -> Option<SubscriptionManifest> {
    spec.only(&SUBSCRIPTION_SPEC);
    let is_endpoint = |text: &str| {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        rest.is_some_and(|rest| !rest.is_empty()) && text.len() <= ENDPOINT_BYTES_MAX
    };
    let is_version = |text: &str| {
        (1..=VERSION_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let endpoint = "expected an http or https URL of at most 512 characters";
    let endpoint = spec.checked("endpoint", endpoint, is_endpoint);
    let event_type = spec.checked("event_type", DOTTED, is_dotted);
    let version = "expected 1 to 4 letters or digits, in quotes if it is a number";
    let event_type_version = spec.checked("event_type_version", version, is_version);
    let source_id = spec.checked("source_id", DOTTED, is_dotted);
    let push_request_timeout_ms = spec.whole("push_request_timeout_ms", (0, 60_000));
    let max_inflight = spec.whole("max_inflight", (1, 400));
    let include_subscription_name_header =
        spec.flag("include_subscription_name_header").unwrap_or_default();
    Some(SubscriptionManifest {
        namespace,
        name,
        endpoint: endpoint?,
        push_request_timeout_ms,
        max_inflight,
        include_subscription_name_header,
        event_type: event_type?,
        event_type_version: event_type_version?,
        source_id: source_id?,
    })
}
