//! External buses: events go out to topics, and come in from them, with the same promises on every
//! one.

mod attributes;
mod connections;
mod error;
mod examine;
#[cfg(feature = "kafka")]
mod kafka;
mod message;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
mod normalize;
mod sink;
mod source;
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
