//! Events over MQTT 3.1.1 and 5: in by PUBLISH, out to subscribers.

mod accept;
pub mod acknowledge;
mod authenticate;
pub mod clients;
pub mod codec;
pub mod config;
mod connection;
mod counters;
pub mod identifier;
mod inflight;
mod keeper;
pub mod lifecycle;
mod link;
pub mod mapping;
pub mod normalize;
mod option_changes;
mod publication;
mod queue;
mod retained;
mod retained_topics;
mod router;
mod server;
mod sessions;
mod subscriber;
mod system_topics;
mod tenancy;
mod topic_filter;
mod topic_tree;
pub mod websocket;
mod wills;

pub use config::MqttConfig;
pub use counters::{Counters, Dropped, Tally};
pub use mapping::MappingConfig;
pub use retained::{RetainedContent, RetainedMessage};
pub use router::Backlog;
pub use server::{Ports, Server, StartError};
