//! Messages that are declared to be CloudEvents, as the public message traits do it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Schema;

/// A message that is a CloudEvent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEventDeclaration {
    /// Where its attributes stand.
    pub mode: CloudEventMode,
    /// The attributes that are described, with the value of those that have but one.
    pub attributes: BTreeMap<String, Option<String>>,
}

/// Where the attributes of a CloudEvent stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudEventMode {
    /// In headers (HTTP, Kafka) or user properties (MQTT 5).
    Binary,
    /// In the payload, beside its data.
    Structured,
}

/// How the attributes are named in headers: HTTP, Kafka, AMQP (two ways), MQTT 5.
const PREFIXES: [&str; 5] = ["ce-", "ce_", "cloudEvents:", "cloudEvents_", ""];

/// The CloudEvent that a message is declared to be: `specversion` is among its headers, or its
/// content type or payload is that of the structured mode.
pub(crate) fn declared(
    content_type: Option<&str>,
    headers: Option<&Schema>,
    payload: Option<&Schema>,
) -> Option<CloudEventDeclaration> {
    let headers = headers.map(Schema::properties).unwrap_or_default();
    for prefix in PREFIXES {
        let attributes = attributes(&headers, prefix);
        if attributes.contains_key("specversion") {
            return Some(CloudEventDeclaration { mode: CloudEventMode::Binary, attributes });
        }
    }
    let is_type = content_type.is_some_and(|name| name.starts_with("application/cloudevents"));
    let members = payload.map(Schema::properties).unwrap_or_default();
    let mut attributes = attributes(&members, "");
    attributes.remove("data");
    attributes.remove("data_base64");
    let is_envelope =
        ["specversion", "type", "source"].iter().all(|name| attributes.contains_key(*name));
    (is_type || is_envelope)
        .then_some(CloudEventDeclaration { mode: CloudEventMode::Structured, attributes })
}

fn attributes(members: &[(&str, &Value)], prefix: &str) -> BTreeMap<String, Option<String>> {
    let named =
        members.iter().filter_map(|(name, schema)| Some((name.strip_prefix(prefix)?, schema)));
    named.map(|(name, schema)| (name.to_owned(), only_value(schema))).collect()
}

fn only_value(schema: &Value) -> Option<String> {
    let options = schema.get("enum").and_then(Value::as_array).map(Vec::as_slice);
    let only = schema.get("const").or(match options {
        Some([only]) => Some(only),
        _ => None,
    });
    only?.as_str().map(str::to_owned)
}
