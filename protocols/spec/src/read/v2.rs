//! AsyncAPI 2.x: operations inside channels, whose name is the address.

use serde_json::Value;

use super::message::Messages;
use super::{Reader, deprecated, document_extensions, extensions, info, requirement, texts};
use crate::library::Node;
use crate::model::{Action, Channel, Operation, Parameter, Requirement, Server, Spec};

/// The words of 2.x, which say what others do, and what the application does then.
const OPERATIONS: [(&str, Action); 2] = [("publish", Action::Receive), ("subscribe", Action::Send)];

impl Reader<'_> {
    pub(super) fn spec_v2(&mut self) -> Spec {
        let root = self.library.root();
        let mut spec = Spec {
            version: self.library.document.version,
            id: root.text("id"),
            info: info(&root),
            default_content_type: root.text("defaultContentType"),
            servers: Vec::new(),
            channels: Vec::new(),
            operations: Vec::new(),
            security_schemes: self.security_schemes(&root),
            tags: self.tags(&root),
            extensions: document_extensions(&root),
        };
        for (name, node) in root.members("servers") {
            let server = self.object(&node).map(|node| self.server_v2(name, &node));
            spec.servers.extend(server);
        }
        for (address, node) in root.members("channels") {
            if let Some(node) = self.object(&node) {
                let channel = self.channel_v2(address, &node, &mut spec.operations);
                spec.channels.push(channel);
            }
        }
        spec
    }

    fn server_v2(&mut self, name: &str, node: &Node<'_>) -> Server {
        Server {
            name: name.to_owned(),
            address: node.text("url").unwrap_or_default(),
            protocol: node.text("protocol").unwrap_or_default(),
            protocol_version: node.text("protocolVersion"),
            description: node.text("description"),
            security: requirements(node),
            tags: self.tags(node),
            bindings: self.bindings(node),
            extensions: extensions(node),
        }
    }

    fn channel_v2(
        &mut self,
        address: &str,
        node: &Node<'_>,
        operations: &mut Vec<Operation>,
    ) -> Channel {
        let mut messages = Messages::default();
        for (word, action) in OPERATIONS {
            let Some(operation) = node.member(word) else { continue };
            let mut operation = self.operation_v2(word, &operation, &mut messages);
            operation.action = action;
            address.clone_into(&mut operation.channel);
            if operation.name.is_empty() {
                operation.name = format!("{word} {address}");
            }
            operations.push(operation);
        }
        Channel {
            name: address.to_owned(),
            address: Some(address.to_owned()),
            title: None,
            description: node.text("description"),
            parameters: self.parameters(node, address, Self::parameter_v2),
            messages: messages.read,
            servers: node.value.get("servers").map(texts).unwrap_or_default(),
            tags: Vec::new(),
            bindings: self.bindings(node),
            deprecated: deprecated(node),
            extensions: extensions(node),
            location: node.at.clone(),
        }
    }

    fn parameter_v2(&mut self, name: &str, node: &Node<'_>) -> Parameter {
        Parameter {
            name: name.to_owned(),
            description: node.text("description"),
            schema: node.member("schema").and_then(|schema| self.schema(&schema, None)),
            location: node.text("location"),
        }
    }

    fn operation_v2(&mut self, word: &str, node: &Node<'_>, messages: &mut Messages) -> Operation {
        let value = self.with_traits(node);
        let merged = Node { value: &value, at: node.at.clone() };
        Operation {
            name: merged.text("operationId").unwrap_or_default(),
            action: Action::Receive,
            channel: String::new(),
            messages: self.messages_v2(word, node, messages),
            summary: merged.text("summary"),
            description: merged.text("description"),
            security: requirements(&merged),
            tags: self.tags(&merged),
            bindings: self.bindings(&merged),
            deprecated: deprecated(&merged),
            extensions: extensions(&merged),
            location: node.at.clone(),
        }
    }

    /// The keys of an operation's messages: one, or one of several.
    fn messages_v2(&mut self, word: &str, node: &Node<'_>, messages: &mut Messages) -> Vec<String> {
        let Some(message) = node.member("message").and_then(|message| self.object(&message)) else {
            return Vec::new();
        };
        let several = message.items("oneOf");
        let found: Vec<Node<'_>> = if message.value.get("oneOf").is_some() {
            several.iter().filter_map(|item| self.object(item)).collect()
        } else {
            vec![message]
        };
        found.iter().map(|node| self.message_v2(word, node, messages)).collect()
    }

    fn message_v2(&mut self, word: &str, node: &Node<'_>, messages: &mut Messages) -> String {
        if let Some(key) = messages.key_of(&node.at) {
            return key;
        }
        let component = node.at.pointer.as_str().contains("/components/messages/");
        let component = node.at.pointer.steps().last().filter(|_| component);
        let wanted = node.text("messageId").or_else(|| node.text("name")).or(component);
        let key = messages.free_key(&wanted.unwrap_or_else(|| word.to_owned()));
        let message = self.message(&key, node);
        messages.read.push(message);
        key
    }
}

fn requirements(node: &Node<'_>) -> Vec<Requirement> {
    let items = node.value.get("security").and_then(Value::as_array);
    items.into_iter().flatten().map(requirement).collect()
}
