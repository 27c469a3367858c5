//! The way in from AMQP 1.0: a link with no more credit than there is room, whose messages are
//! accepted only once they are settled.

use std::sync::Arc;
use std::time::Duration;

use eg_event::{Subscription, Timestamp, trace};
use fe2o3_amqp::link::delivery::DeliveryInfo;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::link::{MessageDecodeError, RecvError};
use fe2o3_amqp::types::definitions::{AmqpError, Error};
use fe2o3_amqp::types::messaging::{Body, Message, MessageId};
use fe2o3_amqp::types::primitives::{SimpleValue, Timestamp as Milliseconds, Value};
use fe2o3_amqp::{Delivery, Receiver};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::time::timeout;

use super::connect::Opened;
use super::explain;
use crate::connections::Surroundings;
use crate::login::{Login, Renewal};
use crate::message::attribute_of_amqp;
use crate::source::{Arrival, Settlement, Source, SourceError};
use crate::target::Target;

/// How often a quiet address is left alone to look for a newer token.
const RENEWAL: Duration = Duration::from_secs(20);

/// An address that is read.
struct Reader {
    subscription: Arc<Subscription>,
    address: String,
    messages: Receiver,
    /// How many messages the broker gives before the first is settled.
    in_flight_max: usize,
    /// What was given and not settled.
    given: Vec<DeliveryInfo>,
    renewal: Renewal,
    /// It ends when it is dropped.
    _opened: Opened,
}

/// Begins to read the address that the topic of `target` names.
pub(crate) async fn read(
    target: Target,
    subscription: &Arc<Subscription>,
    around: &Surroundings,
) -> Result<Box<dyn Source>, SourceError> {
    let address = target.topic.text().unwrap_or_default().to_owned();
    let login = Login::of(&target, subscription, around).await?;
    let mut opened = Opened::open(&target, subscription, around, &login).await?;
    let messages = Receiver::builder()
        .name(format!("event-gateway {}", subscription.name))
        .source(&*address)
        .credit_mode(CreditMode::Manual)
        .attach(&mut opened.session)
        .await;
    let refused = |error| SourceError(explain::attach_to_read(&error, &address));
    let mut messages = messages.map_err(refused)?;
    let credit = messages.set_credit(subscription.max_in_flight.into()).await;
    credit.map_err(|error| SourceError(error.to_string()))?;
    Ok(Box::new(Reader {
        subscription: Arc::clone(subscription),
        address,
        messages,
        in_flight_max: usize::from(subscription.max_in_flight),
        given: Vec::new(),
        renewal: login.renewal(around),
        _opened: opened,
    }))
}

impl Reader {
    async fn next(&mut self) -> Result<Vec<Arrival>, SourceError> {
        let mut next = loop {
            if self.renewal.newer(&self.subscription).await?.is_some() {
                return Err(SourceError("its token is renewed by another one".to_owned()));
            }
            if let Ok(next) = timeout(RENEWAL, self.messages.recv::<Body<Value>>()).await {
                break Some(next);
            }
        };
        let mut arrivals = Vec::new();
        while let Some(delivery) = next {
            let (info, arrival) = match delivery {
                Ok(delivery) => (DeliveryInfo::from(&delivery), arrival(&self.address, delivery)),
                Err(RecvError::MessageDecode(MessageDecodeError { info, source })) => {
                    (info, unreadable(&self.address, &source.to_string()))
                }
                Err(error) => return Err(SourceError(explain::receive(&error))),
            };
            self.given.push(info);
            arrivals.push(arrival);
            let has_room = arrivals.len() < self.in_flight_max;
            next = if has_room { self.messages.recv().now_or_never() } else { None };
        }
        Ok(arrivals)
    }

    async fn tell(&mut self, settlements: &[Settlement]) -> Result<(), SourceError> {
        let given = std::mem::take(&mut self.given);
        let room = u32::try_from(given.len()).unwrap_or_default();
        for (delivery, settlement) in given.into_iter().zip(settlements) {
            let told = match settlement {
                Settlement::Taken => self.messages.accept(delivery).await,
                Settlement::Refused(why) => {
                    let error = Error::new(AmqpError::NotAllowed, why.clone(), None);
                    self.messages.reject(delivery, error).await
                }
                Settlement::Again => self.messages.release(delivery).await,
            };
            told.map_err(|error| SourceError(error.to_string()))?;
        }
        let credit = self.messages.credit() + room;
        let granted = self.messages.set_credit(credit).await;
        granted.map_err(|error| SourceError(error.to_string()))
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
        // AMQP 1.0 has no words for it.
        std::future::ready(None).boxed()
    }
}

/// What is no message of AMQP 1.0 (section 3.2), such as one with a list as an application property.
fn unreadable(address: &str, why: &str) -> Arrival {
    let unreadable = Some(format!("expected a message of AMQP 1.0: {why}"));
    Arrival { topic: address.to_owned(), unreadable, ..Arrival::default() }
}

fn arrival(address: &str, delivery: Delivery<Body<Value>>) -> Arrival {
    let message: Message<_> = delivery.into_message();
    let mut arrival = Arrival { topic: address.to_owned(), ..Arrival::default() };
    if let Some(said) = message.properties {
        let at = said.creation_time.map(Milliseconds::into_inner).unwrap_or_default();
        let id = said.message_id.as_ref().map(identifier);
        // A message that has no identifier cannot be told from another like it.
        arrival.identity = id.map(|id| format!("{address}/{id}/{at}"));
        arrival.content_type = said.content_type.map(|media_type| media_type.0);
    }
    for (name, value) in message.application_properties.into_iter().flat_map(|said| said.0) {
        let Some(text) = text(value) else { continue };
        if let Some(attribute) = attribute_of_amqp(&name) {
            arrival.attributes.push((attribute.to_owned(), text));
        } else if trace::HEADERS.contains(&&*name) {
            arrival.trace.push((name, text));
        }
    }
    arrival.body = match message.body {
        Body::Data(parts) => parts.into_iter().flat_map(|part| part.0.into_vec()).collect(),
        Body::Value(value) => match value.0 {
            Value::Binary(bytes) => bytes.into_vec().into(),
            Value::String(text) => text.into(),
            _ => bytes::Bytes::new(),
        },
        Body::Sequence(_) | Body::Empty => bytes::Bytes::new(),
    };
    arrival
}

fn identifier(id: &MessageId) -> String {
    match id {
        MessageId::Ulong(number) => number.to_string(),
        MessageId::String(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// A value of an application property as a text (CloudEvents AMQP binding 1.0.2, section 2.2); none
/// where that makes no sense.
fn text(value: SimpleValue) -> Option<String> {
    Some(match value {
        SimpleValue::String(text) => text,
        SimpleValue::Symbol(symbol) => symbol.0,
        SimpleValue::Bool(yes) => yes.to_string(),
        SimpleValue::Ubyte(number) => number.to_string(),
        SimpleValue::Ushort(number) => number.to_string(),
        SimpleValue::Uint(number) => number.to_string(),
        SimpleValue::Ulong(number) => number.to_string(),
        SimpleValue::Byte(number) => number.to_string(),
        SimpleValue::Short(number) => number.to_string(),
        SimpleValue::Int(number) => number.to_string(),
        SimpleValue::Long(number) => number.to_string(),
        SimpleValue::Timestamp(at) => {
            let micros = u64::try_from(at.into_inner()).ok()?.checked_mul(1000)?;
            Timestamp::from_micros(micros).to_string()
        }
        _ => return None,
    })
}
