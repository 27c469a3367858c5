//! AsyncAPI 3.x: channels and operations beside one another, which refer to each other.

use serde_json::{Map, Value, json};

use super::message::Messages;
use super::{Reader, deprecated, document_extensions, extensions, info, texts};
use crate::library::Node;
use crate::model::{Action, Channel, Operation, Parameter, Requirement, Server, Spec};
use crate::{Location, Schema};

impl Reader<'_> {
    pub(super) fn spec_v3(&mut self) -> Spec {
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
            tags: root.member("info").map(|info| self.tags(&info)).unwrap_or_default(),
            extensions: document_extensions(&root),
        };
        for (name, node) in root.members("servers") {
            if let Some(node) = self.object(&node) {
                let server = self.server_v3(name, &node, &mut spec);
                spec.servers.push(server);
            }
        }
        for (name, node) in root.members("channels") {
            let channel = self.object(&node).map(|node| self.channel_v3(name, &node));
            spec.channels.extend(channel);
        }
        for (name, node) in root.members("operations") {
            if let Some(node) = self.object(&node) {
                let operation = self.operation_v3(name, &node, &mut spec);
                spec.operations.extend(operation);
            }
        }
        spec
    }

    fn server_v3(&mut self, name: &str, node: &Node<'_>, spec: &mut Spec) -> Server {
        let path = node.text("pathname").unwrap_or_default();
        Server {
            name: name.to_owned(),
            address: node.text("host").unwrap_or_default() + &path,
            protocol: node.text("protocol").unwrap_or_default(),
            protocol_version: node.text("protocolVersion"),
            description: node.text("description"),
            security: self.requirements_v3(node, spec),
            tags: self.tags(node),
            bindings: self.bindings(node),
            extensions: extensions(node),
        }
    }

    fn channel_v3(&mut self, name: &str, node: &Node<'_>) -> Channel {
        let address = node.text("address");
        let mut messages = Messages::default();
        for (key, message) in node.members("messages") {
            if let Some(found) = self.object(&message) {
                let message = self.message(key, &found);
                messages.read.push(message);
            }
        }
        let servers = node.items("servers");
        let servers =
            servers.iter().filter_map(|server| self.object(server)?.at.pointer.steps().last());
        let servers = servers.collect();
        Channel {
            name: name.to_owned(),
            title: node.text("title"),
            description: node.text("description").or_else(|| node.text("summary")),
            parameters: self.parameters(
                node,
                address.as_deref().unwrap_or_default(),
                Self::parameter_v3,
            ),
            address,
            messages: messages.read,
            servers,
            tags: self.tags(node),
            bindings: self.bindings(node),
            deprecated: deprecated(node),
            extensions: extensions(node),
            location: node.at.clone(),
        }
    }

    fn parameter_v3(_: &mut Self, name: &str, node: &Node<'_>) -> Parameter {
        Parameter {
            name: name.to_owned(),
            description: node.text("description"),
            schema: parameter_schema(node),
            location: node.text("location"),
        }
    }

    fn operation_v3(&mut self, name: &str, node: &Node<'_>, spec: &mut Spec) -> Option<Operation> {
        let at = self.object(&node.member("channel")?)?.at;
        let channel = spec.channels.iter().find(|channel| channel.location == at)?;
        let (channel_name, all) = (channel.name.clone(), keys(channel));
        let keys_at: Vec<(Location, String)> =
            channel.messages.iter().map(|m| (m.location.clone(), m.key.clone())).collect();
        let value = self.with_traits(node);
        let merged = Node { value: &value, at: node.at.clone() };
        let messages = if node.value.get("messages").is_some() {
            let items = node.items("messages");
            let found = items.iter().filter_map(|item| {
                let at = self.object(item)?.at;
                keys_at.iter().find(|(known, _)| *known == at).map(|(_, key)| key.clone())
            });
            found.collect()
        } else {
            all
        };
        Some(Operation {
            name: name.to_owned(),
            action: if merged.text("action")? == "send" { Action::Send } else { Action::Receive },
            channel: channel_name,
            messages,
            summary: merged.text("summary"),
            description: merged.text("description"),
            security: self.requirements_v3(&merged, spec),
            tags: self.tags(&merged),
            bindings: self.bindings(&merged),
            deprecated: deprecated(&merged),
            extensions: extensions(&merged),
            location: node.at.clone(),
        })
    }

    /// Each scheme is an alternative. One that stands in the place of use is added to the schemes
    /// of the document by the name of its kind.
    fn requirements_v3(&mut self, node: &Node<'_>, spec: &mut Spec) -> Vec<Requirement> {
        let items = node.items("security");
        let requirement = |item: &Node<'_>| {
            let found = self.object(item)?;
            let scheme = self.security_scheme(&found)?;
            let scopes = found.value.get("scopes").map(texts).unwrap_or_default();
            let known = spec.security_schemes.iter().find(|(_, known)| **known == scheme);
            let name = known.map_or_else(|| scheme.kind.clone(), |(name, _)| name.clone());
            spec.security_schemes.entry(name.clone()).or_insert(scheme);
            Some(Requirement { schemes: vec![(name, scopes)] })
        };
        items.iter().filter_map(requirement).collect()
    }
}

fn keys(channel: &Channel) -> Vec<String> {
    channel.messages.iter().map(|message| message.key.clone()).collect()
}

/// The values that a parameter may have, as a schema.
fn parameter_schema(node: &Node<'_>) -> Option<Schema> {
    let mut schema = Map::from_iter([("type".to_owned(), json!("string"))]);
    for keyword in ["enum", "default", "examples"] {
        if let Some(value) = node.value.get(keyword) {
            schema.insert(keyword.to_owned(), value.clone());
        }
    }
    let value = json!({"$ref": "#/definitions/0", "definitions": {"0": Value::Object(schema)}});
    node.value.get("enum").map(|_| Schema::new(None, value, vec![node.at.clone()]))
}
