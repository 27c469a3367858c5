//! A topic of Kafka that is read by a consumer group, whose offsets are committed only for what was
//! settled.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eg_event::{Subscription, trace};
use futures_util::future::{BoxFuture, FutureExt as _};
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, Cluster, Context, Parting, Reached};
use super::{HEADERS, explain, misfit};
use crate::connections::Surroundings;
use crate::source::{Arrival, Settlement, Source, SourceError};
use crate::target::Target;

/// How many KiB are read ahead.
const AHEAD_KIB_MAX: u32 = 16 * 1024;
/// How long nothing more is read ahead once enough is there, in milliseconds.
const AHEAD_PAUSE_MS: u32 = 20;
/// After how long a reader that was killed counts as gone, in milliseconds: its partitions are read
/// by nobody until then.
const SESSION_MS: u32 = 10_000;
/// How often the client says how many messages wait, in milliseconds.
const LAG_EVERY_MS: u32 = 2_000;
/// How long the client may take to go back.
const SEEK_MAX: Duration = Duration::from_secs(5);
/// How often is looked whether something has come.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A topic that is read.
struct KafkaSource {
    topic: String,
    max: usize,
    reader: Reader,
    /// What came while nobody waited for it.
    early: Vec<(Place, Arrival)>,
    /// Where that was which waits to be settled.
    given: Vec<Place>,
}

struct Reader {
    consumer: Arc<Parting<StreamConsumer<Context>>>,
    cluster: Cluster,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    partition: i32,
    offset: i64,
}

/// Begins to read the topic of `target`.
pub(crate) async fn read(
    target: Target,
    subscription: &Subscription,
    around: &Surroundings,
) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(KafkaSource::open(&target, subscription, around).await?))
}

impl KafkaSource {
    async fn open(
        target: &Target,
        subscription: &Subscription,
        around: &Surroundings,
    ) -> Result<Self, SourceError> {
        let plain = target.topic.text().map(str::to_owned);
        let topic = plain.ok_or_else(|| {
            SourceError("topic: expected one topic, without attributes in braces".to_owned())
        })?;
        let attributes = &target.attributes;
        let (mut config, context) = client::configure(target, subscription, around).await?;
        let group = attributes.get("group").map(str::to_owned);
        let max = attributes.number("maxInFlight").and_then(|max| usize::try_from(max).ok());
        let max = max.unwrap_or(1).max(1);
        let start = if attributes.get("startAt") == Some("LATEST") { "latest" } else { "earliest" };
        config
            .set(
                "group.id",
                group.unwrap_or_else(|| format!("event-gateway-{}", subscription.name)),
            )
            .set("session.timeout.ms", SESSION_MS.to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", start)
            .set("queued.min.messages", max.to_string())
            .set("queued.max.messages.kbytes", AHEAD_KIB_MAX.to_string())
            .set("fetch.queue.backoff.ms", AHEAD_PAUSE_MS.to_string())
            .set("statistics.interval.ms", LAG_EVERY_MS.to_string());
        let consumer = config.create_with_context(context.clone());
        let consumer: StreamConsumer<Context> = consumer.map_err(|error| misfit(&error))?;
        let consumer = Parting::new(consumer, around);
        let reader = Reader { consumer, cluster: Cluster::new(context, around.clone()) };
        let (given, mut early) = (Vec::new(), Vec::new());
        if let Some(Err(why)) = reader.reach(&topic, &mut early).await?.topic {
            return Err(SourceError(why));
        }
        let subscribed = reader.consumer.subscribe(&[&topic]);
        subscribed.map_err(|error| SourceError(error.to_string()))?;
        Ok(Self { topic, max, reader, early, given })
    }

    async fn next(&mut self) -> Result<Vec<Arrival>, SourceError> {
        if !self.given.is_empty() {
            self.settle_given(&[]).await?;
        }
        if !self.reader.cluster.is_up() {
            self.reader.reach(&self.topic, &mut self.early).await?;
        }
        while self.early.is_empty() {
            // Woken or not: the client misses, rarely, to say that something has come.
            let waited = tokio::time::timeout(LOOK_EVERY, self.reader.consumer.recv()).await;
            let Ok(received) = waited else { continue };
            match received {
                Ok(message) => self.early.push(arrival(&message)),
                Err(error) => self.reader.bear(&error, &self.topic)?,
            }
        }
        while self.early.len() < self.max
            && let Some(Ok(message)) = self.reader.consumer.recv().now_or_never()
        {
            self.early.push(arrival(&message));
        }
        let taken = self.early.drain(..self.max.min(self.early.len()));
        let (given, arrivals) = taken.unzip();
        self.given = given;
        Ok(arrivals)
    }

    /// Commits what comes before the first that is to be given again, partition by partition, and
    /// goes back to that.
    async fn settle_given(&mut self, settlements: &[Settlement]) -> Result<(), SourceError> {
        let given = std::mem::take(&mut self.given);
        let Verdict { done, again } = Verdict::of(&given, settlements);
        self.early.retain(|(place, _)| !again.contains_key(&place.partition));
        let (consumer, topic) = (Arc::clone(&self.reader.consumer), self.topic.clone());
        let told =
            tokio::task::spawn_blocking(move || tell(&consumer, &topic, &done, &again)).await;
        told.map_err(|error| SourceError(error.to_string()))?
            .map_err(|error| self.reader.cluster.explain(&error, &self.topic).into())
    }
}

/// What is to be done about each partition: up to where it is done, and from where it is given again.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    done: BTreeMap<i32, i64>,
    again: BTreeMap<i32, i64>,
}

impl Verdict {
    /// What has no settlement is to be given again.
    fn of(given: &[Place], settlements: &[Settlement]) -> Self {
        let mut verdict = Self::default();
        for (number, Place { partition, offset }) in given.iter().enumerate() {
            if verdict.again.contains_key(partition) {
                continue;
            }
            match settlements.get(number) {
                Some(Settlement::Taken | Settlement::Refused(_)) => {
                    verdict.done.insert(*partition, offset + 1);
                }
                Some(Settlement::Again) | None => {
                    verdict.again.insert(*partition, *offset);
                }
            }
        }
        verdict
    }
}

/// Tells brokers what is done, of the partitions that are still read here: the others are given to
/// somebody else, from what was committed.
fn tell(
    consumer: &StreamConsumer<Context>,
    topic: &str,
    done: &BTreeMap<i32, i64>,
    again: &BTreeMap<i32, i64>,
) -> KafkaResult<()> {
    let assigned = consumer.assignment()?;
    let assigned: HashSet<i32> =
        assigned.elements_for_topic(topic).iter().map(TopicPartitionListElem::partition).collect();
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in done.iter().filter(|(partition, _)| assigned.contains(partition)) {
        offsets.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
    }
    if offsets.count() > 0 {
        // Whatever comes of it: what was not committed is given again after a restart.
        consumer.commit(&offsets, CommitMode::Async)?;
    }
    for (partition, offset) in again.iter().filter(|(partition, _)| assigned.contains(partition)) {
        consumer.seek(topic, *partition, Offset::Offset(*offset), SEEK_MAX)?;
    }
    Ok(())
}

impl Reader {
    /// Waits until the cluster can be reached; what comes meanwhile is kept in `early`.
    async fn reach(
        &self,
        topic: &str,
        early: &mut Vec<(Place, Arrival)>,
    ) -> Result<Reached, SourceError> {
        let (consumer, name) = (Arc::clone(&self.consumer), topic.to_owned());
        let ask = move |timeout| consumer.client().fetch_metadata(Some(&name), timeout);
        // The client does nothing, not even take a token, unless it is polled.
        let polled = async {
            loop {
                if let Ok(message) = self.consumer.recv().await {
                    early.push(arrival(&message));
                }
            }
        };
        tokio::select! {
            reached = self.cluster.reach(Some(topic), ask) => Ok(reached?),
            () = polled => Err(SourceError("the consumer ended".to_owned())),
        }
    }

    /// An error that the client itself gets over is borne.
    fn bear(&self, error: &KafkaError, topic: &str) -> Result<(), SourceError> {
        match explain::code(error) {
            Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::PartitionEOF
            | Code::PollExceeded => {
                tracing::debug!(topic, %error, "the client of Kafka goes on");
                Ok(())
            }
            _ => Err(self.cluster.explain(error, topic).into()),
        }
    }
}

impl Source for KafkaSource {
    fn receive(&mut self) -> BoxFuture<'_, Result<Vec<Arrival>, SourceError>> {
        self.next().boxed()
    }

    fn settle<'a>(
        &'a mut self,
        settlements: &'a [Settlement],
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        self.settle_given(settlements).boxed()
    }

    fn lag(&mut self) -> BoxFuture<'_, Option<u64>> {
        std::future::ready(self.reader.cluster.context().lag()).boxed()
    }
}

/// A message, and where it is.
fn arrival(message: &BorrowedMessage<'_>) -> (Place, Arrival) {
    let place = Place { partition: message.partition(), offset: message.offset() };
    // A topic that was made anew has the same offsets again.
    let made_at = message.timestamp().to_millis().unwrap_or_default();
    let topic = message.topic();
    let mut arrived = Arrival {
        topic: topic.to_owned(),
        key: message.key().map(Bytes::copy_from_slice),
        identity: Some(format!("{topic}/{}/{}/{made_at}", place.partition, place.offset)),
        body: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        ..Arrival::default()
    };
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        let Some(value) = header.value else { continue };
        let (name, value) = (header.key, String::from_utf8_lossy(value).into_owned());
        if name.eq_ignore_ascii_case(HEADERS.content_type) {
            arrived.content_type = Some(value);
        } else if let Some(name) = name.strip_prefix(HEADERS.prefix) {
            arrived.attributes.push((name.to_owned(), value));
        } else if let Some(name) =
            trace::HEADERS.iter().find(|known| name.eq_ignore_ascii_case(known))
        {
            arrived.trace.push(((*name).to_owned(), value));
        }
    }
    (place, arrived)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_something_that_is_given_again_is_not_done() {
        let place = |partition, offset| Place { partition, offset };
        let given = [place(0, 5), place(1, 9), place(0, 6), place(0, 7), place(1, 10)];
        let refused = Settlement::Refused("not JSON".to_owned());
        let settlements = [Settlement::Taken, refused, Settlement::Again, Settlement::Taken];
        let verdict = Verdict::of(&given, &settlements);
        assert_eq!(verdict.done, BTreeMap::from([(0, 6), (1, 10)]));
        assert_eq!(verdict.again, BTreeMap::from([(0, 6), (1, 10)]));
    }
}
