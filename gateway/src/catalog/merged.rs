//! One `AsyncAPI` 3.0 document of all that a party sees, from its own point of view: it sends what
//! it may publish, and receives what it may subscribe to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::topic::Topic;
use super::{Entry, Seen};

/// The document.
#[must_use]
pub fn document(seen: &Seen) -> Value {
    let mut merged = Merged::default();
    let mut channels: BTreeMap<(&str, &str, &str), Vec<&Entry>> = BTreeMap::new();
    for entry in &seen.entries {
        let place = (&*entry.application, &*entry.definition, &*entry.topic.address);
        channels.entry(place).or_default().push(entry);
    }
    for (place, entries) in channels {
        merged.channel(place, &entries);
    }
    let Merged { channels, operations, messages, schemas, .. } = merged;
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Event Gateway",
            "version": "1.0.0",
            "description": "The events that you may publish or subscribe to.",
        },
        "servers": servers(seen),
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas,
            "securitySchemes": security_schemes(seen),
        },
    })
}

/// What has been put together so far, by keys that no two have.
#[derive(Default)]
struct Merged {
    channels: Map<String, Value>,
    operations: Map<String, Value>,
    messages: Map<String, Value>,
    schemas: Map<String, Value>,
    keys: BTreeSet<String>,
}

impl Merged {
    fn channel(
        &mut self,
        (application, definition, address): (&str, &str, &str),
        entries: &[&Entry],
    ) {
        let channel = self.key(&[application, definition, address]);
        let mut messages = Map::new();
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        for entry in entries {
            let key = self.key(&[&channel, &entry.topic.message]);
            let message = self.message(&key, entry);
            self.messages.insert(key.clone(), message);
            messages.insert(key.clone(), reference(&["components", "messages", &key]));
            let place = reference(&["channels", &channel, "messages", &key]);
            if entry.may_publish {
                sent.push(place.clone());
            }
            if entry.may_subscribe {
                received.push(place);
            }
        }
        for (action, word, messages) in
            [("send", "publish", sent), ("receive", "subscribe", received)]
        {
            if messages.is_empty() {
                continue;
            }
            let operation = json!({
                "action": action,
                "channel": reference(&["channels", &channel]),
                "messages": messages,
            });
            let key = self.key(&[word, &channel]);
            self.operations.insert(key, operation);
        }
        let mut declared = json!({
            "address": address,
            "description": format!("The topic, and over HTTP the path below /{application}/channels/."),
            "messages": messages,
            "x-application": application,
            "x-definition": definition,
        });
        let parameters = entries.first().map(|first| parameters(&first.topic));
        if let Some(parameters) = parameters.filter(|all| !all.is_empty()) {
            declared["parameters"] = parameters.into();
        }
        self.channels.insert(channel, declared);
    }

    fn message(&mut self, key: &str, entry: &Entry) -> Value {
        let topic = &entry.topic;
        let mut message = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            message.extend(value.map(|value| (name.to_owned(), value)));
        };
        let text = |text: &Option<String>| text.clone().map(Value::from);
        put("name", Some(topic.message.clone().into()));
        put("title", text(&topic.title));
        put("description", text(&topic.description));
        put("contentType", text(&topic.content_type));
        put("x-event-type", Some(topic.event_type.clone().into()));
        put("x-retention-hours", Some(entry.retention_hours.into()));
        put("x-deprecated", entry.deprecated.then_some(true.into()));
        put("x-for-removal", entry.for_removal.then_some(true.into()));
        put("examples", topic.example.as_ref().map(|payload| json!([{ "payload": payload }])));
        match (&topic.schema, &topic.schema_format) {
            // A language that readers of the document need not know.
            (Some(schema), Some(format)) => {
                put("x-payload", Some(json!({ "schemaFormat": format, "schema": schema })));
            }
            (Some(schema), None) => put("payload", Some(self.schema(key, schema))),
            (None, _) => {}
        }
        message.into()
    }

    /// Puts what a schema defines among the others, and gives back the schema without it.
    fn schema(&mut self, message: &str, schema: &Value) -> Value {
        let defined = schema.get("definitions").and_then(Value::as_object);
        let mut names = BTreeMap::new();
        for name in defined.into_iter().flat_map(Map::keys) {
            names.insert(name.clone(), self.key(&[message, name]));
        }
        for (name, value) in defined.into_iter().flatten() {
            let mut value = value.clone();
            rename(&mut value, &names);
            self.schemas.insert(names[name].clone(), value);
        }
        let mut root = schema.clone();
        if let Some(members) = root.as_object_mut() {
            members.remove("definitions");
        }
        rename(&mut root, &names);
        root
    }

    /// A key of these parts that nothing else has.
    fn key(&mut self, parts: &[&str]) -> String {
        let allowed =
            |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let plain: String = parts.join(".").chars().map(allowed).collect();
        let mut key = plain.clone();
        let mut number = 1;
        while !self.keys.insert(key.clone()) {
            number += 1;
            key = format!("{plain}-{number}");
        }
        key
    }
}

/// Lets references lead to where the definitions are now.
fn rename(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| rename(value, names)),
        Value::Object(members) => {
            for (name, value) in members {
                if name == "$ref"
                    && let Some(text) = value.as_str()
                    && let Some(rest) = text.strip_prefix("#/definitions/")
                {
                    let (definition, inside) = rest.split_once('/').unwrap_or((rest, ""));
                    if let Some(known) = names.get(definition) {
                        let slash = if inside.is_empty() { "" } else { "/" };
                        *value = format!("#/components/schemas/{known}{slash}{inside}").into();
                    }
                } else {
                    rename(value, names);
                }
            }
        }
        _ => {}
    }
}

fn reference(steps: &[&str]) -> Value {
    json!({ "$ref": format!("#/{}", steps.join("/")) })
}

fn parameters(topic: &Topic) -> Map<String, Value> {
    let parameter = |parameter: &super::topic::Parameter| {
        let mut value = Map::new();
        value.extend(
            parameter.description.clone().map(|text| ("description".to_owned(), text.into())),
        );
        if !parameter.values.is_empty() {
            value.insert("enum".to_owned(), parameter.values.clone().into());
        }
        (parameter.name.clone(), value.into())
    };
    topic.parameters.iter().map(parameter).collect()
}

fn servers(seen: &Seen) -> Map<String, Value> {
    let mut servers = Map::new();
    let schemes = security_schemes(seen);
    let security: Vec<_> =
        schemes.keys().map(|name| reference(&["components", "securitySchemes", name])).collect();
    for connection in &seen.access.connections {
        let rest = connection.url.split_once("://").map_or("", |(_, rest)| rest);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut server =
            json!({ "host": host, "protocol": connection.protocol, "security": security });
        if !path.is_empty() {
            server["pathname"] = format!("/{path}").into();
        }
        servers.insert(connection.protocol.clone(), server);
    }
    servers
}

fn security_schemes(seen: &Seen) -> Map<String, Value> {
    let scheme = |kind: &str| match kind {
        "bearer" => json!({ "type": "http", "scheme": "bearer" }),
        "certificate" => json!({ "type": "X509" }),
        "basic" => json!({ "type": "http", "scheme": "basic" }),
        _ => json!({ "type": "http", "scheme": "bearer", "bearerFormat": "API key" }),
    };
    let mut schemes = Map::new();
    for credential in &seen.access.credentials {
        let mut value = scheme(&credential.kind);
        value["description"] = format!("Comes {}.", credential.obtain).into();
        schemes.insert(credential.kind.clone(), value);
    }
    schemes
}
