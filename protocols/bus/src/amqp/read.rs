//! The way in from AMQP 0.9.1: a consumer that is given no more than is settled, and acknowledges
//! only that.
//!
//! What a consumer was given that the broker still takes for alive, such as one whose line is broken,
//! comes again only when it is gone, and a new one would overtake it. So none begins before that: it
//! asks to be the only one.

use std::sync::Arc;
use std::time::Duration;

use eg_event::{Subscription, Timestamp, trace};
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions,
};
use lapin::types::{AMQPValue, DeliveryTag, FieldTable, ShortString};
use lapin::{Channel, Consumer};

use tokio::time::timeout;

use super::connect::Opened;
use super::count;
use super::explain::{explain, short};
use crate::connections::Surroundings;
use crate::message::attribute_of_amqp;
use crate::source::{Arrival, Settlement, Source, SourceError};
use crate::target::Target;

/// How often a quiet queue is left alone to look for a newer token.
const RENEWAL: Duration = Duration::from_secs(20);

/// A queue that is read.
struct Reader {
    subscription: Arc<Subscription>,
    opened: Opened,
    channel: Channel,
    queue: ShortString,
    messages: Consumer,
    /// How many messages the broker gives before the first is settled.
    in_flight_max: usize,
    /// What was given and not settled.
    given: Vec<DeliveryTag>,
}

/// Begins to read the queue that the topic of `target` names.
pub(crate) async fn read(
    target: Target,
    subscription: &Arc<Subscription>,
    around: &Surroundings,
) -> Result<Box<dyn Source>, SourceError> {
    let queue = target.topic.text().unwrap_or_default();
    let queue = short("topic", queue).map_err(SourceError)?;
    let opened = Opened::open(&target, subscription, around).await?;
    let refused = |error| SourceError(explain(&error));
    let channel = opened.connection.create_channel().await.map_err(refused)?;
    let in_flight_max = subscription.max_in_flight;
    channel.basic_qos(in_flight_max, BasicQosOptions::default()).await.map_err(refused)?;
    // It is what the broker shows for it, and has to be the only one of its channel.
    let tag = format!("event-gateway-{}", subscription.name);
    let tag = ShortString::try_new(tag).unwrap_or_default();
    let exclusive = target.attributes.get("exclusive") == Some("true");
    let options = BasicConsumeOptions { exclusive, ..BasicConsumeOptions::default() };
    let messages = channel.basic_consume(queue.clone(), tag, options, FieldTable::default()).await;
    Ok(Box::new(Reader {
        subscription: Arc::clone(subscription),
        opened,
        channel,
        queue,
        messages: messages.map_err(refused)?,
        in_flight_max: usize::from(in_flight_max),
        given: Vec::new(),
    }))
}

impl Reader {
    async fn next(&mut self) -> Result<Vec<Arrival>, SourceError> {
        let mut next = loop {
            self.opened.renew(&self.subscription).await?;
            if let Ok(next) = timeout(RENEWAL, self.messages.next()).await {
                break Some(next);
            }
        };
        let mut arrivals = Vec::new();
        while let Some(delivery) = next {
            let ended =
                || SourceError(format!("the broker gives no more of the queue {}", self.queue));
            let delivery = delivery.ok_or_else(ended)?;
            let delivery = delivery.map_err(|error| SourceError(explain(&error)))?;
            self.given.push(delivery.delivery_tag);
            arrivals.push(arrival(&self.queue, delivery));
            let has_room = arrivals.len() < self.in_flight_max;
            next = if has_room { self.messages.next().now_or_never() } else { None };
        }
        Ok(arrivals)
    }

    async fn tell(&mut self, settlements: &[Settlement]) -> Result<(), SourceError> {
        let given = std::mem::take(&mut self.given);
        let settled: Vec<_> = given.into_iter().zip(settlements).collect();
        for (index, (tag, settlement)) in settled.iter().enumerate() {
            let told = match settlement {
                // What came before it is settled, so that it can stand for those before it.
                Settlement::Taken => match settled.get(index + 1) {
                    Some((_, Settlement::Taken)) => continue,
                    _ => self.channel.basic_ack(*tag, BasicAckOptions { multiple: true }).await,
                },
                Settlement::Refused(_) => {
                    self.channel.basic_reject(*tag, BasicRejectOptions { requeue: false }).await
                }
                Settlement::Again => {
                    let again = BasicNackOptions { multiple: false, requeue: true };
                    self.channel.basic_nack(*tag, again).await
                }
            };
            told.map_err(|error| SourceError(explain(&error)))?;
        }
        Ok(())
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
        async { count(&self.opened, &self.queue).await.ok() }.boxed()
    }
}

fn arrival(queue: &ShortString, delivery: Delivery) -> Arrival {
    let said = &delivery.properties;
    // A message that has no identifier cannot be told from another like it.
    let identity = said.message_id().as_ref().map(|id| {
        let at = said.timestamp().unwrap_or_default();
        format!("{queue}/{id}/{at}")
    });
    let mut arrival = Arrival {
        topic: delivery.routing_key.to_string(),
        content_type: said.content_type().as_ref().map(ToString::to_string),
        identity,
        ..Arrival::default()
    };
    for (name, value) in said.headers().iter().flat_map(FieldTable::inner) {
        let Some(text) = text(value) else { continue };
        let name = name.as_str();
        if let Some(attribute) = attribute_of_amqp(name) {
            arrival.attributes.push((attribute.to_owned(), text));
        } else if trace::HEADERS.contains(&name) {
            arrival.trace.push((name.to_owned(), text));
        }
    }
    arrival.body = delivery.data.into();
    arrival
}

/// A value of a header as a text; none where that makes no sense.
fn text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok()?,
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(yes) => yes.to_string(),
        AMQPValue::ShortShortInt(number) => number.to_string(),
        AMQPValue::ShortShortUInt(number) => number.to_string(),
        AMQPValue::ShortInt(number) => number.to_string(),
        AMQPValue::ShortUInt(number) => number.to_string(),
        AMQPValue::LongInt(number) => number.to_string(),
        AMQPValue::LongUInt(number) => number.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        AMQPValue::Timestamp(seconds) => {
            Timestamp::from_micros(seconds.checked_mul(1_000_000)?).to_string()
        }
        _ => return None,
    })
}
