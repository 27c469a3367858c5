//! External buses: events go out to topics, and come in from them, with the same promises on every
//! one.

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "amqp10")]
mod amqp10;
mod attributes;
mod connections;
mod error;
mod examine;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(any(feature = "amqp", feature = "amqp10"))]
mod login;
mod message;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
mod normalize;
mod sink;
mod source;
#[cfg(any(feature = "amqp", feature = "amqp10"))]
mod stream;
mod target;
mod template;
mod tls;

pub use attributes::{ATTRIBUTES, Attribute, Attributes, Kind};
pub use connections::{AddressCheck, Surroundings, Token, Tokens};
pub use error::PublishError;
pub use examine::{Step, examine};
pub use message::{Headers, Message};
pub use normalize::{Context, leads_back, normalize};
pub use sink::{BusSink, check};
pub use source::{Arrival, Settlement, Source, SourceError, open};
pub use target::{Bus, Direction, Target};
pub use template::Template;
