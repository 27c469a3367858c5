//! The way in from buses: what every one of them gives, and is told in return.

use std::sync::Arc;

use bytes::Bytes;
use eg_event::Subscription;
use futures_util::future::BoxFuture;

#[cfg(feature = "amqp")]
use crate::amqp;
#[cfg(feature = "amqp10")]
use crate::amqp10;
use crate::connections::Surroundings;
use crate::error::PublishError;
#[cfg(feature = "kafka")]
use crate::kafka;
#[cfg(feature = "mqtt")]
use crate::mqtt;
#[cfg(feature = "nats")]
use crate::nats;
use crate::target::{Bus, Target};

/// A topic that is read. What it gave is given again, after a lost connection or a restart, until it
/// has been settled: whoever reads it settles only what is durable, or never can be.
pub trait Source: Send {
    /// Waits for messages; gives back those that are there, at least one, in the order of the
    /// topic. Nothing more is taken from the bus than fits the attribute `maxInFlight`, until what
    /// was given has been settled: that is how the bus is slowed down. Dropping the future loses
    /// nothing.
    fn receive(&mut self) -> BoxFuture<'_, Result<Vec<Arrival>, SourceError>>;

    /// Settles what was received last, each message in its place. Once the future completes, the
    /// bus has been told, or gives the messages again.
    fn settle<'a>(
        &'a mut self,
        settlements: &'a [Settlement],
    ) -> BoxFuture<'a, Result<(), SourceError>>;

    /// How many messages wait on the bus that have not been given yet, as far as it says.
    fn lag(&mut self) -> BoxFuture<'_, Option<u64>>;
}

/// A message as it came from a bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The topic, subject or routing key that it was published to.
    pub topic: String,
    /// Attributes of `CloudEvents` that stood beside the data, by name without prefix, decoded.
    pub attributes: Vec<(String, String)>,
    /// The media type of the body, as it was said.
    pub content_type: Option<String>,
    /// `traceparent`, `tracestate` and the like, as they were said.
    pub trace: Vec<(String, String)>,
    /// The key of the partition (Kafka).
    pub key: Option<Bytes>,
    /// What names this very message on this bus whenever it is given again, such as
    /// `orders/0/4711`; none where the bus has no such thing.
    pub identity: Option<String>,
    /// The data, or in structured content mode the whole event.
    pub body: Bytes,
    /// Why nothing could be read of it, where the bus gave something that is no message.
    pub unreadable: Option<String>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is durable; or it was already.
    Taken,
    /// It can never be taken, and why; the bus is told that as far as it has words for it, and does
    /// not give it again.
    Refused(String),
    /// It was not looked at, and is to be given again.
    Again,
}

/// Why nothing comes from a topic, in words for an operator, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

impl From<PublishError> for SourceError {
    fn from(error: PublishError) -> Self {
        Self(error.to_string())
    }
}

/// Begins to read the topic of `subscription`.
pub async fn open(
    subscription: &Arc<Subscription>,
    around: &Surroundings,
) -> Result<Box<dyn Source>, SourceError> {
    let target = Target::of(subscription).map_err(|error| SourceError(error.to_string()))?;
    match target.bus {
        #[cfg(feature = "amqp")]
        Bus::Amqp => amqp::read(target, subscription, around).await,
        #[cfg(feature = "amqp10")]
        Bus::Amqp10 => amqp10::read(target, subscription, around).await,
        #[cfg(feature = "kafka")]
        Bus::Kafka => Box::pin(kafka::read(target, subscription, around)).await,
        #[cfg(feature = "mqtt")]
        Bus::Mqtt => Box::pin(mqtt::read(target, subscription, around)).await,
        #[cfg(feature = "nats")]
        Bus::Nats => Box::pin(nats::read(target, subscription, around)).await,
        bus => Err(SourceError(format!("nothing can be read from {bus} in this build"))),
    }
}
