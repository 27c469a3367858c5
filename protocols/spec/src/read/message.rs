//! A message with its traits, which both versions write alike but for the payload's schema.

use serde_json::Value;

use super::{Reader, deprecated, extensions};
use crate::document::Version;
use crate::library::Node;
use crate::model::{Example, Message};
use crate::{Location, Schema, cloud_event};

impl Reader<'_> {
    /// Reads the message that `found` is.
    pub(super) fn message(&mut self, key: &str, found: &Node<'_>) -> Message {
        let value = self.with_traits(found);
        let node = Node { value: &value, at: found.at.clone() };
        let default = self.library.root().text("defaultContentType");
        let content_type = node.text("contentType").or(default);
        let headers = node.member("headers").and_then(|headers| self.schema(&headers, None));
        let format = node.text("schemaFormat");
        let payload = node.member("payload").and_then(|payload| self.schema(&payload, format));
        let correlation = node.member("correlationId").and_then(|node| self.object(&node));
        let cloud_event =
            cloud_event::declared(content_type.as_deref(), headers.as_ref(), payload.as_ref());
        Message {
            key: key.to_owned(),
            name: node.text("name"),
            title: node.text("title"),
            summary: node.text("summary"),
            description: node.text("description"),
            content_type,
            examples: node.items("examples").iter().map(example).collect(),
            correlation_id: correlation.and_then(|correlation| correlation.text("location")),
            tags: self.tags(&node),
            bindings: self.bindings(&node),
            deprecated: deprecated(&node) || payload.as_ref().is_some_and(Schema::deprecated),
            cloud_event,
            headers,
            payload,
            extensions: extensions(&node),
            location: found.at.clone(),
        }
    }

    /// A schema with what it refers to; in 3.x it may bring its format along.
    pub(super) fn schema(&mut self, node: &Node<'_>, format: Option<String>) -> Option<Schema> {
        let found = self.library.follow(node);
        let found = self.note(found)?;
        let wrapped = self.library.document.version != Version::V2
            && found.value.get("schemaFormat").is_some_and(Value::is_string);
        let schema = if let (true, Some(inner)) = (wrapped, found.member("schema")) {
            let followed = self.library.follow(&inner);
            let inner = self.note(followed)?;
            self.library.schema(&inner, found.text("schemaFormat"))
        } else {
            self.library.schema(&found, format)
        };
        self.note(schema)
    }
}

fn example(node: &Node<'_>) -> Example {
    Example {
        name: node.text("name"),
        summary: node.text("summary"),
        headers: node.value.get("headers").cloned(),
        payload: node.value.get("payload").cloned(),
    }
}

/// Messages of a channel, each once and each with a key of its own.
#[derive(Default)]
pub(super) struct Messages {
    pub(super) read: Vec<Message>,
}

impl Messages {
    /// The key of the message that stands at a place, if it was read already.
    pub(super) fn key_of(&self, at: &Location) -> Option<String> {
        let known = self.read.iter().find(|message| message.location == *at);
        known.map(|message| message.key.clone())
    }

    /// A key like `wanted` that is not taken.
    pub(super) fn free_key(&self, wanted: &str) -> String {
        let taken = |key: &str| self.read.iter().any(|message| message.key == key);
        if !taken(wanted) {
            return wanted.to_owned();
        }
        let numbered = (2..).map(|number| format!("{wanted}-{number}"));
        numbered.into_iter().find(|key| !taken(key)).unwrap_or_default()
    }
}
