//! Events over MQTT 3.1.1 and 5: in by PUBLISH.

mod accept;
pub mod acknowledge;
mod authenticate;
pub mod codec;
pub mod config;
mod connection;
mod counters;
pub mod identifier;
pub mod mapping;
pub mod normalize;
mod server;
mod sessions;
pub mod websocket;

pub use config::MqttConfig;
pub use counters::{Counters, Tally};
pub use mapping::MappingConfig;
pub use server::{Ports, Server};
