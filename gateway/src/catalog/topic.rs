//! What a document declares, a message of a channel at a time.

use async_graphql::SimpleObject;
use eg_spec::{Channel, Message, Schema, SchemaFormat, Spec};
use serde::Serialize;
use serde_json::{Value, json};

use crate::declared::Place;

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
    /// The `type` that the events have, with parameters of the address in braces.
    pub event_type: String,
    /// The media type of their data.
    pub content_type: Option<String>,
    /// What their data is; a schema in JSON that stands for itself.
    pub schema: Option<Value>,
    /// The language of the schema, where it is not AsyncAPI's.
    pub schema_format: Option<String>,
    /// How their data may look.
    pub example: Option<Value>,
    /// Whether others than the application may publish them, as far as the document says.
    #[serde(skip)]
    #[graphql(skip)]
    pub is_received: bool,
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
        let places = Place::all_on(spec, channel);
        let mut rest = &places[..];
        for message in &channel.messages {
            let count = rest.iter().take_while(|one| one.message.key == message.key).count();
            let using;
            (using, rest) = rest.split_at(count);
            topics.push(topic(spec, address, (channel, message), using));
        }
    }
    topics
}

fn topic(
    spec: &Spec,
    address: &str,
    (channel, message): (&Channel, &Message),
    using: &[Place<'_>],
) -> Topic {
    let operation = using.first().and_then(|one| one.operation);
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
        event_type: Place { spec, channel, operation, message }.ty().text(),
        content_type: message.content_type.clone(),
        schema: schema.map(|schema| schema.value().clone()),
        schema_format: foreign.and_then(Schema::format_name).map(str::to_owned),
        example: example.or_else(of_schema),
        is_received: using.is_empty() || using.iter().any(Place::is_received),
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
