//! The words of the registry, as Compass has them: applications, runtimes and event definitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use eg_event::Timestamp;
use eg_event::outbound::Auth;
use serde::{Deserialize, Serialize};

/// What publishes events: a principal whose [`application`](eg_event::Principal::application) is
/// its name publishes for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Application {
    /// Never used again for another one.
    pub id: String,
    /// Unique among applications; what paths and certificates have.
    pub name: String,
    /// Prose.
    pub description: Option<String>,
    /// Whose product it is.
    pub provider_name: Option<String>,
    /// Words to find it by, and what is said of it.
    pub labels: BTreeMap<String, serde_json::Value>,
    /// What it may send and hold.
    #[serde(default)]
    pub limits: ApplicationLimits,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What an application may send and hold; where nothing is set, what the gateway can take and its
/// `[storage]` keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApplicationLimits {
    /// Its events are let go at this age, in hours.
    pub retention_hours: Option<u32>,
    /// When it holds more than this, in bytes, its oldest events are let go.
    pub retention_bytes: Option<u64>,
    /// When it holds this much, in bytes, its events are refused.
    pub quota_bytes: Option<u64>,
    /// What it sends faster than this, in events per second, is refused.
    pub events_per_second: Option<u32>,
    /// How many events it may send at once after a pause; by default those of a second.
    pub burst_events: Option<u32>,
    /// How many MQTT connections it may have at once.
    pub mqtt_connections: Option<u32>,
    /// How many subscriptions its MQTT sessions may have together.
    pub mqtt_subscriptions: Option<u32>,
    /// How many messages may wait for its MQTT sessions together.
    pub mqtt_queue_messages: Option<u64>,
    /// How many bytes the events may have that wait for them.
    pub mqtt_queue_bytes: Option<u64>,
    /// How many messages of QoS 1 and 2 may be under way to its MQTT clients together.
    pub mqtt_inflight_messages: Option<u32>,
}

/// What consumes the events of applications: an agent in it reads which there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Runtime {
    /// Never used again for another one.
    pub id: String,
    /// Unique among runtimes.
    pub name: String,
    /// Prose.
    pub description: Option<String>,
    /// Words to find it by, and what is said of it.
    pub labels: BTreeMap<String, serde_json::Value>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// An `EventAPIDefinition`: an AsyncAPI document that an application publishes by, and where its
/// events go besides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Never used again for another one.
    pub id: String,
    /// The [`Application::id`] that it belongs to.
    pub application_id: String,
    /// For people; unique in its application.
    pub name: String,
    /// Prose.
    pub description: Option<String>,
    /// What is the same in every version of one definition.
    pub group: Option<String>,
    /// The version.
    pub version: Option<Version>,
    /// The document.
    pub spec: SpecText,
    /// How whoever fetches or consumes says who they are; sealed, never written with the rest.
    #[serde(skip)]
    pub auth: Option<Arc<Auth>>,
    /// Buses that its events go to, or come from.
    pub external_subscriptions: Vec<ExternalSubscription>,
    /// What becomes of events whose payload is not what the document says.
    pub payload_check: PayloadCheck,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A version of a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Semantic version.
    pub value: String,
    /// Whether it should no longer be used.
    pub deprecated: bool,
    /// The version since which it should not.
    pub deprecated_since: Option<String>,
    /// Whether it will be removed.
    pub for_removal: bool,
}

/// The text of a document, or where it is fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpecText {
    /// The text; `None` until it has been fetched.
    pub data: Option<String>,
    /// How it is written.
    pub format: SpecFormat,
    /// Where it comes from.
    pub fetch_request: Option<FetchRequest>,
    /// The documents that it refers to, by URL, as they were fetched with it.
    #[serde(default)]
    pub references: BTreeMap<String, String>,
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpecFormat {
    /// YAML 1.2.
    Yaml,
    /// JSON.
    Json,
}

/// Where a document comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// An http or https URL.
    pub url: String,
    /// How the gateway says there who it is; sealed, never written with the rest.
    #[serde(skip)]
    pub auth: Option<Arc<Auth>>,
    /// What is fetched; only `SINGLE` is supported, as in Compass.
    pub mode: FetchMode,
    /// Which part of a package; not supported, as in Compass.
    pub filter: Option<String>,
    /// How fetching went.
    pub status: FetchStatus,
}

/// What is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchMode {
    /// One document.
    Single,
    /// An archive.
    Package,
    /// A list of documents.
    Index,
}

/// How fetching went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchStatus {
    /// How far it came.
    pub condition: FetchCondition,
    /// Why no further.
    pub message: Option<String>,
    /// When that was.
    pub timestamp: Timestamp,
}

/// How far fetching came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchCondition {
    /// It was not begun.
    Initial,
    /// The document is there.
    Succeeded,
    /// It is not.
    Failed,
}

/// A bus that events go to, or come from (`EventAPISubscription`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExternalSubscription {
    /// What tells it from the others of its definition, for as long as url and topic stay.
    #[serde(default)]
    pub number: u32,
    /// Its scheme chooses the bus.
    pub url: String,
    /// How the gateway says there who it is; sealed, never written with the rest.
    #[serde(skip)]
    pub auth: Option<Arc<Auth>>,
    /// The topic, subject, queue or path.
    pub topic: String,
    /// What the bus is told besides.
    pub attributes: BTreeMap<String, String>,
}

/// What becomes of events whose payload is not what the document says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadCheck {
    /// Payloads are not looked at.
    Off,
    /// They pass, and are counted and logged.
    Warn,
    /// They are kept aside, to be mended and released, or given up.
    Quarantine,
    /// They are refused.
    #[default]
    Reject,
}
