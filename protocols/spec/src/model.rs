//! What the gateway needs to know of a document, the same for both major versions.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{CloudEventDeclaration, Location, Schema, Version};

/// Values by name, as they are written: bindings by protocol, extensions with their `x-`.
pub type Named = BTreeMap<String, Value>;

/// An AsyncAPI document, read.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The version of AsyncAPI.
    pub version: Version,
    /// The identifier of the application, a URI.
    pub id: Option<String>,
    /// What it is about.
    pub info: Info,
    /// The content type of messages that name none.
    pub default_content_type: Option<String>,
    /// Where messages are exchanged.
    pub servers: Vec<Server>,
    /// Where messages go.
    pub channels: Vec<Channel>,
    /// What the application does with channels.
    pub operations: Vec<Operation>,
    /// How clients say who they are, by name.
    pub security_schemes: BTreeMap<String, SecurityScheme>,
    /// Words to find it by.
    pub tags: Vec<Tag>,
    /// Members of the document and of `info` that begin with `x-`.
    pub extensions: Named,
}

/// What a document is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// The name of the application.
    pub title: String,
    /// Its version.
    pub version: String,
    /// Prose, in `CommonMark`.
    pub description: Option<String>,
}

/// A word to find something by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The word.
    pub name: String,
    /// Prose.
    pub description: Option<String>,
}

/// Where messages are exchanged.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its name in the document.
    pub name: String,
    /// Host, port and path, with variables in braces; the `url` of 2.x as it is written.
    pub address: String,
    /// `mqtt`, `https`, `kafka`, ...
    pub protocol: String,
    /// The version of the protocol.
    pub protocol_version: Option<String>,
    /// Prose.
    pub description: Option<String>,
    /// What a client must present: one of these.
    pub security: Vec<Requirement>,
    /// Words to find it by.
    pub tags: Vec<Tag>,
    /// What is said for single protocols.
    pub bindings: Named,
    /// Members that begin with `x-`.
    pub extensions: Named,
}

/// Where messages go.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Its name in the document; in 2.x its address.
    pub name: String,
    /// The topic or path, with parameters in braces; `None` is told only at run time.
    pub address: Option<String>,
    /// A name for people.
    pub title: Option<String>,
    /// Prose.
    pub description: Option<String>,
    /// The parameters of the address; one that the document does not describe has no schema.
    pub parameters: Vec<Parameter>,
    /// The messages that it carries.
    pub messages: Vec<Message>,
    /// The servers that it is on, by name; empty: all.
    pub servers: Vec<String>,
    /// Words to find it by.
    pub tags: Vec<Tag>,
    /// What is said for single protocols.
    pub bindings: Named,
    /// Whether it should no longer be used: `deprecated` or `x-deprecated` is true.
    pub deprecated: bool,
    /// Members that begin with `x-`.
    pub extensions: Named,
    /// Where it stands.
    pub location: Location,
}

/// A parameter of an address.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name in the address.
    pub name: String,
    /// Prose.
    pub description: Option<String>,
    /// What it may be: the `schema` of 2.x, or `enum` and `default` of 3.x.
    pub schema: Option<Schema>,
    /// A runtime expression that says where in a message it stands, as `$message.payload#/id`.
    pub location: Option<String>,
}

/// Which way messages go, as seen by the application that the document describes.
///
/// 2.x says it the other way round: `publish` is what *others* may do, so the application
/// receives; `subscribe` is what others get, so the application sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The application sends.
    Send,
    /// The application receives.
    Receive,
}

/// What the application does with a channel.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its name in the document; in 2.x its `operationId`, or word and channel.
    pub name: String,
    /// Which way messages go.
    pub action: Action,
    /// The name of the channel.
    pub channel: String,
    /// The messages of the channel that it concerns, by [`Message::key`].
    pub messages: Vec<String>,
    /// A line of prose.
    pub summary: Option<String>,
    /// Prose.
    pub description: Option<String>,
    /// What a client must present besides what the server demands: one of these.
    pub security: Vec<Requirement>,
    /// Words to find it by.
    pub tags: Vec<Tag>,
    /// What is said for single protocols.
    pub bindings: Named,
    /// Whether it should no longer be used.
    pub deprecated: bool,
    /// Members that begin with `x-`.
    pub extensions: Named,
    /// Where it stands.
    pub location: Location,
}

/// A message that a channel carries, with its traits.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its name in the channel, unique there.
    pub key: String,
    /// Its name for programs.
    pub name: Option<String>,
    /// A name for people.
    pub title: Option<String>,
    /// A line of prose.
    pub summary: Option<String>,
    /// Prose.
    pub description: Option<String>,
    /// Its content type, or the one of the document.
    pub content_type: Option<String>,
    /// What its headers are.
    pub headers: Option<Schema>,
    /// What its payload is.
    pub payload: Option<Schema>,
    /// How it may look.
    pub examples: Vec<Example>,
    /// A runtime expression that says where its correlation id stands.
    pub correlation_id: Option<String>,
    /// The CloudEvent that it is declared to be.
    pub cloud_event: Option<CloudEventDeclaration>,
    /// Words to find it by.
    pub tags: Vec<Tag>,
    /// What is said for single protocols.
    pub bindings: Named,
    /// Whether it should no longer be used; also when its payload is marked so.
    pub deprecated: bool,
    /// Members that begin with `x-`.
    pub extensions: Named,
    /// Where it stands.
    pub location: Location,
}

/// How a message may look.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Its name.
    pub name: Option<String>,
    /// A line of prose.
    pub summary: Option<String>,
    /// The headers.
    pub headers: Option<Value>,
    /// The payload.
    pub payload: Option<Value>,
}

/// What a client must present: all of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The scheme (a key of [`Spec::security_schemes`]) and the scopes that it must grant.
    pub schemes: Vec<(String, Vec<String>)>,
}

/// How clients say who they are.
#[derive(Debug, Clone, PartialEq)]
pub struct SecurityScheme {
    /// `userPassword`, `X509`, `http`, `oauth2`, `openIdConnect`, ...
    pub kind: String,
    /// All that the document says of it.
    pub value: Value,
}
