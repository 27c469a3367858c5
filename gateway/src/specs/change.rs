//! What can be changed about what is registered. Changes are made together, or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use eg_event::outbound::Auth;
use serde_json::Value;

use super::definition::{
    Application, ApplicationLimits, Definition, FetchMode, PayloadCheck, Runtime, SpecFormat,
    Version,
};

/// One change.
#[derive(Clone, Debug)]
pub enum Change {
    /// Registers an application.
    CreateApplication(ApplicationInput),
    /// Makes an application what the input says.
    UpdateApplication {
        /// The application's id.
        id: String,
        /// What it is to be.
        to: ApplicationInput,
    },
    /// Sets what an application may send and hold.
    LimitApplication {
        /// The application's id.
        id: String,
        /// What it may from now on.
        to: ApplicationLimits,
    },
    /// Removes an application with its definitions.
    DeleteApplication {
        /// The application's id.
        id: String,
    },
    /// Registers a runtime.
    CreateRuntime(RuntimeInput),
    /// Makes a runtime what the input says.
    UpdateRuntime {
        /// The runtime's id.
        id: String,
        /// What it is to be.
        to: RuntimeInput,
    },
    /// Removes a runtime.
    DeleteRuntime {
        /// The runtime's id.
        id: String,
    },
    /// Registers a definition.
    CreateDefinition {
        /// Whose it is to be: maybe an application that an earlier change of the list registers.
        owner: Owner,
        /// What it is to be.
        to: Box<DefinitionInput>,
    },
    /// Makes a definition what the input says.
    UpdateDefinition {
        /// The definition's id.
        id: String,
        /// What it is to be.
        to: Box<DefinitionInput>,
    },
    /// Fetches the document of a definition again.
    Refetch {
        /// The definition's id.
        id: String,
    },
    /// Removes a definition.
    DeleteDefinition {
        /// The definition's id.
        id: String,
    },
}

/// The application that a definition belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
}

/// What an application is to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApplicationInput {
    /// Unique among applications.
    pub name: String,
    /// Prose.
    pub description: Option<String>,
    /// Whose product it is.
    pub provider_name: Option<String>,
    /// Words to find it by.
    pub labels: BTreeMap<String, Value>,
}

/// What a runtime is to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimeInput {
    /// Unique among runtimes.
    pub name: String,
    /// Prose.
    pub description: Option<String>,
    /// Words to find it by.
    pub labels: BTreeMap<String, Value>,
}

/// What a definition is to be.
#[derive(Clone, Debug, Default)]
pub struct DefinitionInput {
    /// Unique in its application; by default the one that it has, or the title of the document.
    pub name: Option<String>,
    /// Prose.
    pub description: Option<String>,
    /// What is the same in every version of one definition.
    pub group: Option<String>,
    /// The version.
    pub version: Option<Version>,
    /// The document, or where it is fetched.
    pub spec: SpecInput,
    /// How whoever consumes says who they are.
    pub auth: AuthChange,
    /// Buses that its events go to.
    pub external_subscriptions: Vec<ExternalInput>,
    /// What becomes of events whose payload is not what the document says; by default what holds
    /// already, or that they are refused.
    pub payload_check: Option<PayloadCheck>,
}

/// A document: exactly one of the text and where it is fetched.
#[derive(Clone, Debug, Default)]
pub struct SpecInput {
    /// The text.
    pub data: Option<String>,
    /// How it is written; by default it is guessed.
    pub format: Option<SpecFormat>,
    /// Where it is fetched.
    pub fetch: Option<FetchInput>,
}

/// Where a document is fetched.
#[derive(Clone, Debug)]
pub struct FetchInput {
    /// An http or https URL.
    pub url: String,
    /// How the gateway says there who it is.
    pub auth: AuthChange,
    /// What is fetched.
    pub mode: FetchMode,
    /// Which part of it.
    pub filter: Option<String>,
}

/// A bus that events go to.
#[derive(Clone, Debug)]
pub struct ExternalInput {
    /// Its scheme chooses the bus.
    pub url: String,
    /// How the gateway says there who it is.
    pub auth: AuthChange,
    /// The topic, subject, queue or path.
    pub topic: String,
    /// What the bus is told besides.
    pub attributes: BTreeMap<String, String>,
}

/// What becomes of an authentication. Secrets are never shown, so an update need not repeat them.
#[derive(Clone, Debug, Default)]
pub enum AuthChange {
    /// It stays as it is, if where it is presented does.
    #[default]
    Keep,
    /// There is none any more.
    Remove,
    /// It is this one.
    Set(Arc<Auth>),
}

/// What a change did, or would do.
#[derive(Clone, Debug)]
pub struct Changed {
    /// How.
    pub kind: ChangeKind,
    /// To what: as it is afterwards, or was before it was removed.
    pub entry: Entry,
}

/// What a change does to what it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// There is a new one.
    Created,
    /// It is another one than before.
    Updated,
    /// It is there no more.
    Deleted,
    /// It is so already; nothing is written.
    Unchanged,
}

/// Something that is registered.
#[derive(Clone, Debug)]
pub enum Entry {
    /// An application.
    Application(Arc<Application>),
    /// A runtime.
    Runtime(Arc<Runtime>),
    /// A definition.
    Definition(Arc<Definition>),
}
