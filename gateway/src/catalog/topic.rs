//! What a document declares, a message of a channel at a time.

use async_graphql::SimpleObject;
use eg_spec::{Channel, Message, Named, Operation, Schema, SchemaFormat, Spec};
use serde::Serialize;
use serde_json::{Value, json};

/// A message of a channel.
#[derive(Clone, Debug, Serialize, SimpleObject)]
#[serde(rename_all = "camelCase")]
#[graphql(name = "CatalogTopic")]
pub struct Topic {
    /// The topic, or the path below the application's channels, with parameters in braces.
    pub address: String,
    /// The parameters of the address.
    pub parameters: Vec<Parameter>,
    /// The name of the message.
    pub message: String,
    /// A name for people.
    pub title: Option<String>,
    /// Prose.
    pub description: Option<String>,
    /// The `type` that the events have.
    pub event_type: String,
    /// The media type of their data.
    pub content_type: Option<String>,
    /// What their data is; a schema in JSON that stands for itself.
    pub schema: Option<Value>,
    /// The language of the schema, where it is not AsyncAPI's.
    pub schema_format: Option<String>,
    /// How their data may look.
    pub example: Option<Value>,
    /// Whether the topic or the message should no longer be used.
    #[serde(skip)]
    #[graphql(skip)]
    pub is_deprecated: bool,
}

/// A parameter of an address.
#[derive(Clone, Debug, Serialize, SimpleObject)]
#[graphql(name = "CatalogParameter")]
pub struct Parameter {
    /// Its name in the address.
    pub name: String,
    /// Prose.
    pub description: Option<String>,
    /// What it may be, if that is listed.
    pub values: Vec<String>,
}

/// The messages of all channels of a document that have an address.
pub(super) fn topics(spec: &Spec) -> Vec<Topic> {
    let mut topics = Vec::new();
    for channel in &spec.channels {
        let Some(address) = &channel.address else { continue };
        for message in &channel.messages {
            let on_it = |one: &&Operation| {
                one.channel == channel.name && one.messages.contains(&message.key)
            };
            let operation = spec.operations.iter().find(on_it);
            topics.push(topic(spec, address, (channel, operation, message)));
        }
    }
    topics
}

fn topic(
    spec: &Spec,
    address: &str,
    (channel, operation, message): (&Channel, Option<&Operation>, &Message),
) -> Topic {
    let first = |texts: [Option<&String>; 4]| texts.into_iter().flatten().next().cloned();
    let schema = message.payload.as_ref();
    let is_json = |format| matches!(format, SchemaFormat::AsyncApi | SchemaFormat::JsonSchema);
    let foreign = schema.filter(|schema| !is_json(schema.format()));
    let example = message.examples.iter().find_map(|example| example.payload.clone());
    let of_schema = || schema?.root().get("examples")?.get(0).cloned();
    Topic {
        address: address.to_owned(),
        parameters: channel.parameters.iter().map(parameter).collect(),
        message: message.name.as_ref().unwrap_or(&message.key).clone(),
        title: first([message.title.as_ref(), channel.title.as_ref(), None, None]),
        description: first([
            message.description.as_ref(),
            message.summary.as_ref(),
            operation.and_then(|one| one.summary.as_ref()),
            channel.description.as_ref(),
        ]),
        event_type: event_type(spec, (channel, operation, message)),
        content_type: message.content_type.clone(),
        schema: schema.map(|schema| schema.value().clone()),
        schema_format: foreign.and_then(Schema::format_name).map(str::to_owned),
        example: example.or_else(of_schema),
        is_deprecated: channel.deprecated
            || message.deprecated
            || operation.is_some_and(|one| one.deprecated)
            || spec.extensions.get("x-deprecated") == Some(&json!(true)),
    }
}

fn parameter(parameter: &eg_spec::Parameter) -> Parameter {
    let listed = parameter.schema.as_ref().and_then(|schema| schema.root().get("enum"));
    let listed = listed.and_then(Value::as_array).into_iter().flatten();
    Parameter {
        name: parameter.name.clone(),
        description: parameter.description.clone(),
        values: listed.filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

/// The `type` as the way in gives it: the one that is declared, or the name of the message.
fn event_type(
    spec: &Spec,
    (channel, operation, message): (&Channel, Option<&Operation>, &Message),
) -> String {
    let declared = message.cloud_event.as_ref().and_then(|event| event.attributes.get("type"));
    let declared = declared.cloned().flatten().filter(|ty| !ty.is_empty());
    let places: [Option<&Named>; 4] = [
        Some(&message.extensions),
        operation.map(|one| &one.extensions),
        Some(&channel.extensions),
        Some(&spec.extensions),
    ];
    let extension = || {
        let found = places.into_iter().flatten().find_map(|place| place.get("x-event-type"))?;
        found.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let named = || message.name.as_ref().unwrap_or(&channel.name).clone();
    declared.or_else(extension).unwrap_or_else(named)
}
