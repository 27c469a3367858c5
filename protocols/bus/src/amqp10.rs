//! AMQP 1.0: transferred unsettled, and done when the broker has settled it as accepted.

mod connect;
mod explain;
mod read;

use std::collections::HashMap;
use std::sync::Arc;

use eg_event::{Delivery, Subscription, Timestamp};
use fe2o3_amqp::Sender;
use fe2o3_amqp::types::messaging::{
    ApplicationProperties, Data, Header, Message as Transfer, Outcome, Properties,
};
use fe2o3_amqp::types::primitives::{OrderedMap, SimpleValue, Timestamp as Milliseconds};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::Mutex;

use self::connect::Opened;
use self::explain::{attach, condition, send};
pub(crate) use self::read::read;
use crate::connections::{Connection, Surroundings};
use crate::error::PublishError;
use crate::login;
use crate::message::{self, Headers, Message, as_it_is};
use crate::target::Target;

/// How many addresses have a link at once; others wait for theirs until one is given up.
const LINKS_MAX: usize = 64;

/// What addresses of RabbitMQ begin with that are queues which have to be there.
const RABBITMQ_QUEUE: &str = "/amq/queue/";

/// A way to a broker of AMQP 1.0.
pub(crate) struct Amqp10 {
    target: Target,
    headers: Headers,
    subscription: Subscription,
    around: Surroundings,
    live: Mutex<Arc<Live>>,
}

/// A connection, which ends after the last delivery that goes over it.
struct Live {
    name: String,
    renewal: login::Renewal,
    opened: Mutex<Opened>,
    links: Mutex<HashMap<String, Arc<Mutex<Sender>>>>,
}

impl Amqp10 {
    pub(crate) async fn connect(
        target: Target,
        subscription: &Subscription,
        around: &Surroundings,
    ) -> Result<Self, PublishError> {
        let live = Live::open(&target, subscription, around).await?;
        Ok(Self {
            headers: message::amqp(&target),
            target,
            subscription: subscription.clone(),
            around: around.clone(),
            live: Mutex::new(Arc::new(live)),
        })
    }

    /// The connection; another one once there is a newer token.
    async fn live(&self) -> Result<Arc<Live>, PublishError> {
        let mut live = self.live.lock().await;
        if live.renewal.newer(&self.subscription).await?.is_some() {
            let renewed = Live::open(&self.target, &self.subscription, &self.around).await;
            // It is not shown again: without it this connection is of no use.
            let renewed = renewed.map_err(|error| PublishError::Lost(error.to_string()));
            *live = Arc::new(renewed?);
        }
        Ok(Arc::clone(&live))
    }

    async fn hand_over(&self, delivery: &Delivery) -> Result<(), PublishError> {
        let event = &delivery.event.event;
        let address = self.target.topic.fill(event, as_it_is);
        let address = address.map_err(PublishError::NotConfirmed)?;
        let live = self.live().await?;
        let link = live.link(&address).await?;
        let message = Message::of(delivery, self.target.is_structured(), &self.headers);
        let transfer = transfer(delivery, message);
        let lost = |error| PublishError::Lost(send(&error));
        let sent = link.lock().await.send_batchable(transfer).await.map_err(lost)?;
        let why = match sent.await.map_err(lost)? {
            Outcome::Accepted(_) => return Ok(()),
            Outcome::Rejected(rejected) => {
                let said = rejected.error.as_ref().map(condition);
                format!(
                    "the broker rejects it{}",
                    said.map(|said| format!(": {said}")).unwrap_or_default()
                )
            }
            Outcome::Released(_) => {
                format!(
                    "the broker releases it: nothing takes it at {address}; make a queue, and bind it"
                )
            }
            Outcome::Modified(_) => "the broker has not taken it (modified)".to_owned(),
        };
        Err(PublishError::NotConfirmed(why))
    }

    async fn look(&self) -> Result<String, PublishError> {
        let Some(address) = self.target.topic.text() else {
            return Ok("connected; the events say to which addresses they go".to_owned());
        };
        self.live().await?.link(address).await?;
        Ok(format!("connected, and attached to {address}"))
    }
}

impl Live {
    async fn open(
        target: &Target,
        subscription: &Subscription,
        around: &Surroundings,
    ) -> Result<Self, PublishError> {
        let login = login::Login::of(target, subscription, around).await?;
        let opened = Opened::open(target, subscription, around, &login).await?;
        Ok(Self {
            name: format!("event-gateway {}", subscription.name),
            renewal: login.renewal(around),
            opened: Mutex::new(opened),
            links: Mutex::default(),
        })
    }

    /// The link to an address.
    async fn link(&self, address: &str) -> Result<Arc<Mutex<Sender>>, PublishError> {
        let mut links = self.links.lock().await;
        if let Some(link) = links.get(address) {
            return Ok(Arc::clone(link));
        }
        if links.len() >= LINKS_MAX {
            // Those that are in use stay until they are done.
            links.clear();
        }
        let name = format!("{} {address}", self.name);
        let mut opened = self.opened.lock().await;
        if address.starts_with(RABBITMQ_QUEUE) {
            // RabbitMQ before 4.0 accepts what is sent to a queue that is not there, and drops it.
            let found = opened.check(&format!("{name}, to look"), address).await;
            found.map_err(PublishError::NotConfirmed)?;
        }
        let made = Sender::attach(&mut opened.session, name, address).await;
        let made = made.map_err(|error| PublishError::Lost(attach(&error, address)))?;
        let link = Arc::new(Mutex::new(made));
        links.insert(address.to_owned(), Arc::clone(&link));
        Ok(link)
    }
}

impl Connection for Amqp10 {
    fn publish<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), PublishError>> {
        self.hand_over(delivery).boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Result<String, PublishError>> {
        self.look().boxed()
    }
}

/// The message of an event (CloudEvents AMQP binding 1.0.2, section 3).
fn transfer(delivery: &Delivery, message: Message) -> Transfer<Data> {
    let event = &delivery.event.event;
    let mut properties = Properties::builder().message_id(event.id().to_owned()).build();
    let time = event.time().and_then(Timestamp::parse_rfc3339);
    let milliseconds = time.and_then(|time| i64::try_from(time.as_micros() / 1000).ok());
    properties.creation_time = milliseconds.map(Milliseconds::from_milliseconds);
    let mut said = OrderedMap::new();
    for (name, value) in message.headers {
        if name == "content-type" {
            properties.content_type = Some(value.into());
        } else {
            said.insert(name.into_owned(), SimpleValue::String(value));
        }
    }
    Transfer::builder()
        .header(Header::builder().durable(true).build())
        .properties(properties)
        .application_properties(ApplicationProperties(said))
        .data(Data(message.body.to_vec().into()))
        .build()
}
