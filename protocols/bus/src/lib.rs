//! External buses: events go out to topics, and come in from them, with the same promises on every
//! one.

mod attributes;
mod connections;
mod error;
#[cfg(feature = "kafka")]
mod kafka;
mod message;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
mod sink;
mod source;
mod target;
mod template;
mod tls;

pub use attributes::{ATTRIBUTES, Attribute, Attributes, Kind};
pub use connections::{AddressCheck, Surroundings, Token, Tokens};
pub use error::PublishError;
pub use message::{Headers, Message};
pub use sink::{BusSink, check};
pub use source::{Arrival, Settlement, Source, SourceError, open};
pub use target::{Bus, Direction, Target};
pub use template::Template;
