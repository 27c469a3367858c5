//! AMQP 0.9.1: published as mandatory and persistent, and done when the broker has confirmed that a
//! queue has it.

mod connect;
mod explain;
mod read;
mod runtime;

use eg_event::{Delivery, Subscription, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _};
use lapin::options::QueueDeclareOptions;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, ExchangeKind};

use self::connect::Opened;
use self::explain::{explain, short};
pub(crate) use self::read::read;
use crate::connections::{Connection, Surroundings};
use crate::error::PublishError;
use crate::message::{self, Headers, Message, as_it_is};
use crate::target::Target;

/// The delivery mode of what a queue keeps on disk (AMQP 0.9.1, basic class).
const PERSISTENT: u8 = 2;

/// A connection to a broker of AMQP 0.9.1.
pub(crate) struct Amqp {
    target: Target,
    exchange: ShortString,
    headers: Headers,
    opened: Opened,
    channel: Channel,
}

impl Amqp {
    pub(crate) async fn connect(
        target: Target,
        subscription: &Subscription,
        around: &Surroundings,
    ) -> Result<Self, PublishError> {
        let exchange = target.attributes.get("exchange").unwrap_or_default();
        let exchange =
            short("attributes.exchange", exchange).map_err(PublishError::NotConnected)?;
        let opened = Opened::open(&target, subscription, around).await?;
        let refused = |error| PublishError::NotConnected(explain(&error));
        if !exchange.as_str().is_empty() {
            check_exchange(&opened, &exchange).await.map_err(refused)?;
        }
        let channel = opened.connection.create_channel().await.map_err(refused)?;
        let confirm = ConfirmSelectOptions::default();
        channel.confirm_select(confirm).await.map_err(refused)?;
        let headers = message::amqp(&target);
        Ok(Self { target, exchange, headers, opened, channel })
    }

    async fn hand_over(&self, delivery: &Delivery) -> Result<(), PublishError> {
        self.opened.renew(&delivery.subscription).await?;
        let event = &delivery.event.event;
        let key = self.target.topic.fill(event, as_it_is);
        let key = key.and_then(|key| short("topic", &key)).map_err(PublishError::NotConfirmed)?;
        let message = Message::of(delivery, self.target.is_structured(), &self.headers);
        let properties = properties(delivery, &message).map_err(PublishError::NotConfirmed)?;
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let published = async {
            let exchange = self.exchange.clone();
            let sent =
                self.channel.basic_publish(exchange, key, options, &message.body, properties);
            sent.await?.await
        };
        let confirmation = tokio::select! {
            biased;
            why = self.opened.blocked() => {
                let why = format!("the broker takes nothing for now: {why} (connection.blocked)");
                return Err(PublishError::NotConfirmed(why));
            }
            confirmation = published => confirmation,
        };
        let lost = |error| PublishError::Lost(explain(&error));
        match confirmation.map_err(lost)? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back)) => {
                let (code, text) = (back.reply_code, &back.reply_text);
                let (exchange, key) = (&back.exchange, &back.routing_key);
                Err(PublishError::NotConfirmed(format!(
                    "no queue takes the routing key {key} of the exchange '{exchange}' ({code} \
                     {text}): make a queue, and bind it",
                )))
            }
            Confirmation::Nack(None) => Err(PublishError::NotConfirmed(
                "the broker refuses it (basic.nack): its queue may be full".to_owned(),
            )),
            Confirmation::NotRequested => {
                Err(PublishError::Lost("the broker confirms nothing".to_owned()))
            }
        }
    }

    async fn look(&self) -> Result<String, PublishError> {
        if !self.exchange.as_str().is_empty() {
            return Ok(format!("connected; the exchange {} is there", self.exchange));
        }
        let Some(queue) = self.target.topic.text() else {
            return Ok("connected; the events say to which queues they go".to_owned());
        };
        let queue = short("topic", queue).map_err(PublishError::NotConnected)?;
        let found = count(&self.opened, &queue).await;
        let waiting = found.map_err(|error| PublishError::NotConnected(explain(&error)))?;
        Ok(format!("connected; {waiting} messages wait in the queue {queue}"))
    }
}

impl Connection for Amqp {
    fn publish<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), PublishError>> {
        self.hand_over(delivery).boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Result<String, PublishError>> {
        self.look().boxed()
    }
}

fn properties(delivery: &Delivery, message: &Message) -> Result<BasicProperties, String> {
    let event = &delivery.event.event;
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    if let Ok(id) = ShortString::try_new(event.id()) {
        properties = properties.with_message_id(id);
    }
    if let Some(time) = event.time().and_then(Timestamp::parse_rfc3339) {
        properties = properties.with_timestamp(time.as_secs());
    }
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        if name == "content-type" {
            properties = properties.with_content_type(short("datacontenttype", value)?);
        } else {
            headers.insert(short(name, name)?, AMQPValue::LongString(value.as_str().into()));
        }
    }
    Ok(properties.with_headers(headers))
}

/// Fails when there is no such exchange. On a channel of its own: a failure closes it.
async fn check_exchange(opened: &Opened, exchange: &ShortString) -> lapin::Result<()> {
    let channel = opened.connection.create_channel().await?;
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let kind = ExchangeKind::Direct;
    channel.exchange_declare(exchange.clone(), kind, passive, FieldTable::default()).await?;
    channel.close(200, "seen".into()).await
}

/// How many messages wait in a queue; fails when there is none. On a channel of its own: a failure
/// closes it.
async fn count(opened: &Opened, queue: &ShortString) -> lapin::Result<u64> {
    let channel = opened.connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = channel.queue_declare(queue.clone(), passive, FieldTable::default()).await?;
    channel.close(200, "seen".into()).await?;
    Ok(found.message_count().into())
}
