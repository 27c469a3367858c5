//! Apache Kafka: produced idempotently, and done when all replicas in sync have the event.

mod client;
mod explain;
mod source;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use eg_event::filter::attribute_text;
use eg_event::subscription::Ordering;
use eg_event::{Delivery, InvalidInput, Subscription};
use futures_util::future::{BoxFuture, FutureExt as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use self::client::{Cluster, Context, Parting, Reached};
pub(crate) use self::source::read;
use crate::connections::{Connection, Surroundings};
use crate::error::PublishError;
use crate::message::{Headers, Message};
use crate::target::Target;

/// How the Kafka binding of CloudEvents (1.0.2, section 3.2) writes attributes.
const HEADERS: Headers = Headers { prefix: "ce_", content_type: "content-type", value: as_it_is };
/// How many events may wait for brokers, those that were given up included.
const QUEUED_MAX: u32 = 1024;
/// How many KiB of events may wait for brokers.
const QUEUED_KIB_MAX: u32 = 64 * 1024;
/// The largest event, in bytes, that is handed to a broker, which has a smaller limit of its own.
const EVENT_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// How long a topic that brokers do not know may take to appear.
const TOPIC_APPEARS_MAX: Duration = Duration::from_secs(5);
/// How often the client says which brokers it knows, in milliseconds.
const BROKERS_EVERY_MS: u32 = 30_000;
/// The longest name of a topic, in characters.
const NAME_MAX: usize = 249;

/// A connection to a Kafka cluster.
pub(crate) struct Kafka {
    target: Target,
    producer: Arc<Parting<FutureProducer<Context>>>,
    cluster: Cluster,
}

impl Kafka {
    pub(crate) async fn connect(
        target: Target,
        subscription: &Subscription,
        around: &Surroundings,
    ) -> Result<Self, PublishError> {
        let (mut config, context) = client::configure(&target, subscription, around).await?;
        // Kafka's client reports its own reason before ours, that time is over, would count.
        let timeout = subscription.request_timeout() * 9 / 10;
        let millis = |duration: Duration| duration.as_millis().max(1).to_string();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // What Kafka's own clients choose a partition by.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "1")
            .set("message.timeout.ms", millis(timeout))
            .set("request.timeout.ms", millis(timeout))
            .set("topic.metadata.propagation.max.ms", millis(TOPIC_APPEARS_MAX.min(timeout)))
            .set("statistics.interval.ms", BROKERS_EVERY_MS.to_string())
            .set("queue.buffering.max.messages", QUEUED_MAX.to_string())
            .set("queue.buffering.max.kbytes", QUEUED_KIB_MAX.to_string())
            .set("message.max.bytes", EVENT_BYTES_MAX.to_string());
        let producer = config.create_with_context(context.clone());
        let producer: FutureProducer<Context> = producer.map_err(|error| misfit(&error))?;
        let producer = Parting::new(producer, around);
        let cluster = Cluster::new(context, around.clone());
        let connection = Self { target, producer, cluster };
        connection.reach().await?;
        Ok(connection)
    }

    /// Waits until the cluster can be reached, or it is clear that it cannot.
    async fn reach(&self) -> Result<Reached, PublishError> {
        let (producer, topic) = (Arc::clone(&self.producer), self.target.topic.text());
        let name = topic.map(str::to_owned);
        let ask = move |timeout| producer.client().fetch_metadata(name.as_deref(), timeout);
        self.cluster.reach(topic, ask).await
    }

    async fn hand_over(&self, delivery: &Delivery) -> Result<(), PublishError> {
        if !self.cluster.is_up() {
            self.reach().await?;
        }
        let event = &delivery.event.event;
        let topic = self.target.topic.fill(event, legal).map_err(PublishError::NotConfirmed)?;
        let message = Message::of(delivery, self.target.is_structured(), &HEADERS);
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (key, value) in &message.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record = FutureRecord::to(&topic).headers(headers);
        // An event without data has no value (section 3.2.2): for a compacted topic, a tombstone.
        if event.data().is_some() || self.target.is_structured() {
            record = record.payload(&*message.body);
        }
        let key = key(delivery);
        if let Some(key) = &key {
            record = record.key(key.as_bytes());
        }
        let explain = |error: &KafkaError| self.cluster.explain(error, &topic);
        let queued = self.producer.send_result(record).map_err(|(error, _)| explain(&error))?;
        match queued.await {
            Ok(Ok(_)) => {
                self.cluster.delivered();
                Ok(())
            }
            Ok(Err((error, _))) => Err(explain(&error)),
            Err(_) => Err(PublishError::Lost("the producer ended".to_owned())),
        }
    }

    async fn look(&self) -> Result<String, PublishError> {
        let Reached { brokers, topic } = self.reach().await?;
        Ok(match (self.target.topic.text(), topic) {
            (Some(name), Some(Ok(partitions))) => {
                format!("connected to {brokers} broker(s); {name} has {partitions} partition(s)")
            }
            (_, Some(Err(why))) => return Err(PublishError::NotConfirmed(why)),
            _ => format!("connected to {brokers} broker(s); the topic varies with the event"),
        })
    }
}

impl Connection for Kafka {
    fn publish<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), PublishError>> {
        self.hand_over(delivery).boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Result<String, PublishError>> {
        self.look().boxed()
    }
}

/// Says what is wrong with a topic.
pub(crate) fn check(target: &Target) -> Result<(), InvalidInput> {
    let name = target.topic.pattern("any");
    let is_dots = matches!(&*name, "." | "..");
    if name.chars().all(is_legal) && name.len() <= NAME_MAX && !is_dots {
        return Ok(());
    }
    let detail = "expected the name of a Kafka topic: letters, digits, dots, underscores and \
        hyphens, 249 at most";
    Err(InvalidInput::new("topic", detail))
}

/// What decides about the partition: `partitionkey` (section 3.1), else what events are ordered by.
fn key(delivery: &Delivery) -> Option<Cow<'_, str>> {
    let text = |name: &str| attribute_text(&delivery.event.event, name);
    let subscription = &delivery.subscription;
    text("partitionkey").or_else(|| match (subscription.ordering, &subscription.ordering_key) {
        (Ordering::None, _) => None,
        (Ordering::Key, Some(name)) => text(name),
        (Ordering::Key, None) => text("subject").or_else(|| text("source")),
    })
}

fn as_it_is(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

fn is_legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// What may stand in the name of a topic; everything else becomes an underscore.
fn legal(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_legal) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_legal(c) { c } else { '_' }).collect())
}

/// A client that cannot be made as it is configured.
fn misfit(error: &KafkaError) -> PublishError {
    PublishError::NotConnected(explain::misfit(error))
}
