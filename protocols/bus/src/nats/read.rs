//! The way in from NATS: a durable consumer that is pulled from, whose messages are acknowledged
//! one by one once they are settled.
//!
//! What was given and never acknowledged is given again only when the server's `ack_wait` is over,
//! and what is newer would overtake it. So a lost connection, or a delivery that is missing, ends
//! the reading; and who begins to read waits until what is outstanding comes first. It comes in no
//! certain order: what the server could not hand to a connection that was gone is given before
//! what it did. So it is handed on when all of it is there.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{BatchConfig, Config};
use async_nats::jetstream::consumer::{AckPolicy, Consumer};
use async_nats::jetstream::message::Info;
use async_nats::jetstream::{AckKind, Message};
use async_nats::{StatusCode, Subject, Subscriber};
use eg_event::{Subscription, header, trace};
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::StreamExt as _;
use tokio::time::Instant;

use super::Nats;
use crate::connections::Surroundings;
use crate::source::{Arrival, Settlement, Source, SourceError};
use crate::target::Target;

/// After what time the server gives a message again that was not acknowledged.
const ACK_WAIT: Duration = Duration::from_secs(5);
/// How much longer is waited for that.
const ACK_WAIT_MORE: Duration = Duration::from_millis(500);
/// How long a request for messages waits at the server.
const REQUEST: Duration = Duration::from_secs(20);
/// How much longer its end is waited for.
const REQUEST_MORE: Duration = Duration::from_secs(5);

/// The longest reason that is told, in bytes.
const REASON_BYTES_MAX: usize = 512;
/// How old the number of messages that wait may be.
const LAG_AGE_MAX: Duration = Duration::from_secs(5);
/// How long asking for it may take.
const LAG_TIME_MAX: Duration = Duration::from_secs(2);

/// A subject that is read.
struct Reader {
    nats: Nats,
    consumer: Consumer<Config>,
    inbox: Subject,
    messages: Subscriber,
    /// How many messages are asked for at once.
    batch: usize,
    /// How many of those are still to come.
    asked: usize,
    /// The number of the latest delivery of the consumer.
    latest: u64,
    /// How many messages that a reader before this one did not acknowledge are to come first.
    outstanding: usize,
    /// What was given and not settled.
    given: Vec<Given>,
    /// How many messages wait, and when that was said.
    lag: (u64, Instant),
}

/// A message that is not settled.
struct Given {
    /// Its place in the stream.
    sequence: u64,
    message: Message,
    arrival: Arrival,
}

/// Begins to read the subject of `target`.
pub(crate) async fn read(
    target: Target,
    subscription: &Arc<Subscription>,
    around: &Surroundings,
) -> Result<Box<dyn Source>, SourceError> {
    let nats = Nats::connect(target, subscription, around).await?;
    let batch = usize::from(subscription.max_in_flight);
    let consumer = consumer(&nats, &subscription.name, batch).await?;
    let info = consumer.cached_info();
    // What others of a group have to acknowledge is theirs.
    let outstanding = if is_alone(&nats.target) { info.num_ack_pending } else { 0 };
    if outstanding > 0 {
        let (name, messages) = (&*subscription.name, outstanding);
        tracing::info!(name, messages, "waits for what was not acknowledged to be given again");
        tokio::time::sleep(ACK_WAIT + ACK_WAIT_MORE).await;
    }
    let inbox = Subject::from(nats.client.new_inbox());
    let messages = nats.client.subscribe(inbox.clone()).await;
    let messages = messages.map_err(|error| nats.say(&error.to_string()))?;
    let lag = (info.num_pending, Instant::now());
    // A reader that was killed may have been given more since: the first delivery tells.
    let latest = info.delivered.consumer_sequence;
    let (asked, given) = (0, Vec::new());
    let reader =
        Reader { nats, consumer, inbox, messages, batch, asked, latest, outstanding, given, lag };
    Ok(Box::new(reader))
}

/// The durable consumer, made if there is none.
async fn consumer(
    nats: &Nats,
    subscription: &str,
    batch: usize,
) -> Result<Consumer<Config>, SourceError> {
    let subject = nats.target.topic.text().unwrap_or_default().to_owned();
    let stream = match nats.target.attributes.get("stream") {
        Some(stream) => stream.to_owned(),
        None => nats.jetstream.stream_by_subject(&*subject).await.map_err(|error| {
            let what = "make one whose subjects include it, or name it by the attribute stream";
            nats.say(&format!("no stream has {subject}: {what} ({error})"))
        })?,
    };
    let found = nats.jetstream.get_stream(&*stream).await;
    let found = found.map_err(|error| nats.say(&format!("the stream {stream}: {error}")))?;
    let name = match nats.target.attributes.get("group") {
        Some(group) => group.to_owned(),
        None => format!("event-gateway-{subscription}"),
    };
    let config = Config {
        durable_name: Some(name.clone()),
        description: Some("read by event-gateway".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: i64::try_from(batch).unwrap_or(i64::MAX),
        filter_subject: subject,
        ..Config::default()
    };
    let made = found.create_consumer(config).await;
    made.map_err(|error| nats.say(&format!("the consumer {name}: {error}")))
}

impl Nats {
    fn say(&self, text: &str) -> SourceError {
        SourceError(match self.complaint.take() {
            Some(complaint) => format!("{text}; the server says: {complaint}"),
            None => text.to_owned(),
        })
    }
}

impl Reader {
    async fn next(&mut self) -> Result<Vec<Arrival>, SourceError> {
        loop {
            if self.asked == 0 {
                self.ask().await?;
            }
            let message = self.wait().await?;
            self.take(message)?;
            while self.has_room()
                && let Some(message) = self.messages.next().now_or_never()
            {
                let ended = || self.nats.say("the connection was closed");
                self.take(message.ok_or_else(ended)?)?;
            }
            if self.given.len() < self.outstanding && self.asked > 0 {
                continue;
            }
            if self.outstanding > 0 {
                self.given.sort_by_key(|given| given.sequence);
                self.outstanding = 0;
            }
            if !self.given.is_empty() {
                let arrivals =
                    self.given.iter_mut().map(|given| std::mem::take(&mut given.arrival));
                return Ok(arrivals.collect());
            }
        }
    }

    /// Asks for what is outstanding, and no more, if there is some: what is newer is not to be
    /// among it.
    async fn ask(&mut self) -> Result<(), SourceError> {
        let (batch, expires) = match self.outstanding {
            0 => (self.batch, REQUEST),
            outstanding => (outstanding, ACK_WAIT),
        };
        let request = BatchConfig { batch, expires: Some(expires), ..BatchConfig::default() };
        let asked = self.consumer.request_batch(request, self.inbox.clone()).await;
        asked.map_err(|error| self.nats.say(&error.to_string()))?;
        self.asked = batch;
        Ok(())
    }

    /// Waits for what the server sends next.
    async fn wait(&mut self) -> Result<async_nats::Message, SourceError> {
        let lost = self.nats.complaint.lost.clone();
        let waited = tokio::time::timeout(REQUEST + REQUEST_MORE, self.messages.next());
        let Some(waited) = lost.run_until_cancelled(waited).await else {
            return Err(self.nats.say("the connection was lost"));
        };
        let message = waited.map_err(|_| self.nats.say("the server is silent"))?;
        message.ok_or_else(|| self.nats.say("the connection was closed"))
    }

    /// Whether more of what was asked for may be taken at once.
    fn has_room(&self) -> bool {
        self.asked > 0 && self.given.len() < self.batch
    }

    /// Takes a message, or notes what the server says of the request.
    fn take(&mut self, message: async_nats::Message) -> Result<(), SourceError> {
        match message.status {
            None | Some(StatusCode::OK) => {}
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                self.asked = 0;
                return Ok(());
            }
            Some(StatusCode::IDLE_HEARTBEAT) => return Ok(()),
            Some(status) => {
                let said = message.description.unwrap_or_else(|| status.to_string());
                return Err(self.nats.say(&said));
            }
        }
        self.asked = self.asked.saturating_sub(1);
        let message = Message { context: self.nats.jetstream.clone(), message };
        let info = message.info().map_err(|error| SourceError(error.to_string()))?;
        if is_alone(&self.nats.target) && info.consumer_sequence != self.latest + 1 {
            return Err(SourceError("a delivery is missing".to_owned()));
        }
        self.latest = info.consumer_sequence;
        self.lag = (info.pending, Instant::now());
        let (sequence, arrival) = (info.stream_sequence, arrival(&message, &info));
        self.given.push(Given { sequence, message, arrival });
        Ok(())
    }

    /// Tells the server that a message is not to be given again, and why (ADR-27: the reason is in
    /// the advisory).
    async fn refuse(&self, message: &Message, why: &str) -> Result<(), async_nats::Error> {
        let Some(reply) = &message.reply else { return Ok(()) };
        let why = why[..why.floor_char_boundary(REASON_BYTES_MAX)].replace(['\r', '\n'], " ");
        let term = format!("+TERM {why}");
        Ok(self.nats.client.publish(reply.clone(), term.into()).await?)
    }

    async fn tell(&mut self, settlements: &[Settlement]) -> Result<(), SourceError> {
        let given = std::mem::take(&mut self.given);
        for (Given { message, .. }, settlement) in given.iter().zip(settlements) {
            let told = match settlement {
                Settlement::Taken => message.ack_with(AckKind::Ack).await,
                Settlement::Refused(why) => self.refuse(message, why).await,
                Settlement::Again => message.ack_with(AckKind::Nak(None)).await,
            };
            told.map_err(|error| self.nats.say(&error.to_string()))?;
        }
        let flushed = self.nats.client.flush().await;
        flushed.map_err(|error| self.nats.say(&error.to_string()))
    }
}

impl Source for Reader {
    fn receive(&mut self) -> BoxFuture<'_, Result<Vec<Arrival>, SourceError>> {
        self.next().boxed()
    }

    fn settle<'a>(
        &'a mut self,
        settlements: &'a [Settlement],
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        self.tell(settlements).boxed()
    }

    fn lag(&mut self) -> BoxFuture<'_, Option<u64>> {
        async {
            if self.lag.1.elapsed() > LAG_AGE_MAX {
                let asked = tokio::time::timeout(LAG_TIME_MAX, self.consumer.get_info()).await;
                let waiting = asked.ok()?.ok()?.num_pending;
                self.lag = (waiting, Instant::now());
            }
            Some(self.lag.0)
        }
        .boxed()
    }
}

/// Whether nobody else reads by the same consumer, as far as can be known.
fn is_alone(target: &Target) -> bool {
    target.attributes.get("group").is_none()
}

/// A message as it came.
fn arrival(message: &Message, info: &Info<'_>) -> Arrival {
    // A stream that is made anew counts from one again, but at another time.
    let published = info.published.unix_timestamp_nanos();
    let mut arrival = Arrival {
        topic: message.subject.to_string(),
        identity: Some(format!("{}/{}/{published}", info.stream, info.stream_sequence)),
        body: message.payload.clone(),
        ..Arrival::default()
    };
    for (name, values) in message.headers.iter().flat_map(|headers| headers.iter()) {
        let Some(value) = values.first().map(async_nats::HeaderValue::as_str) else { continue };
        let name: &str = name.as_ref();
        let name = name.to_ascii_lowercase();
        if let Some(attribute) = name.strip_prefix("ce-") {
            let text = header::decode(value.as_bytes());
            let text = text.map_or_else(|_| value.to_owned(), std::borrow::Cow::into_owned);
            arrival.attributes.push((attribute.to_owned(), text));
        } else if name == "content-type" {
            arrival.content_type = Some(value.to_owned());
        } else if trace::HEADERS.contains(&&*name) {
            arrival.trace.push((name, value.to_owned()));
        }
    }
    arrival
}
