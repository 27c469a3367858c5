//! What becomes of clients and sessions, as events like any others: handed over in the background,
//! so that no connection waits for it.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use eg_event::event::Attributes;
use eg_event::{CloudEvent, Data, attribute};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use crate::codec::{Requested, Version};
use crate::connection::{Client, Ended};
use crate::server::Server;

/// The `source` of these events.
pub const SOURCE: &str = "/event-gateway/mqtt";
/// What their `type` begins with.
pub const TYPE_PREFIX: &str = "io.event-gateway.mqtt.";
/// How many may wait for the journal; further ones are left out and counted.
const WAITING_MAX: usize = 16_384;
/// How many are handed over together.
const BATCH: usize = 256;

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LifecycleEvent {
    /// A client has been let in.
    ClientConnected,
    /// A connection that had been let in has ended.
    ClientDisconnected,
    /// A session has ended, with its subscriptions and what waited for it.
    SessionEnded,
    /// A client has subscribed.
    ClientSubscribed,
    /// A client has unsubscribed.
    ClientUnsubscribed,
}

impl LifecycleEvent {
    fn ty(self) -> &'static str {
        match self {
            Self::ClientConnected => "client.connected",
            Self::ClientDisconnected => "client.disconnected",
            Self::SessionEnded => "session.ended",
            Self::ClientSubscribed => "client.subscribed",
            Self::ClientUnsubscribed => "client.unsubscribed",
        }
    }
}

/// The events that wait to be handed over.
pub(crate) struct Lifecycle {
    sender: Sender<CloudEvent>,
    receiver: Mutex<Option<Receiver<CloudEvent>>>,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = channel(WAITING_MAX);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Server {
    /// Tells of something that has become of `client_id`, if that is configured.
    fn tell(
        &self,
        kind: LifecycleEvent,
        client_id: &str,
        data: impl FnOnce() -> Map<String, Value>,
    ) {
        if !self.0.config.lifecycle_events.contains(&kind) {
            return;
        }
        let mut data = data();
        data.insert("clientId".to_owned(), client_id.into());
        let is_subject =
            !client_id.is_empty() && attribute::check_text("subject", client_id).is_ok();
        let attributes = Attributes {
            id: format!("{:032x}", rand::random::<u128>()).into(),
            source: SOURCE.into(),
            ty: format!("{TYPE_PREFIX}{}", kind.ty()).into(),
            subject: is_subject.then(|| client_id.into()),
            time: Some(self.0.ports.clock.now().to_string().into()),
            datacontenttype: Some("application/json".into()),
            ..Attributes::default()
        };
        let data = Data::Json(Value::Object(data).to_string().into());
        let event = CloudEvent::from_checked(attributes, Some(data));
        if self.0.lifecycle.sender.try_send(event).is_err() {
            self.0.counters.lifecycle_events_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn tell_connected(&self, client: &Client, is_present: bool) {
        self.tell(LifecycleEvent::ClientConnected, &client.id, || {
            let mut data = whose(client);
            data.insert("sessionPresent".to_owned(), is_present.into());
            data.insert("sessionExpirySeconds".to_owned(), expiry_s(client));
            data
        });
    }

    pub(crate) fn tell_disconnected(&self, client: &Client, ended: Ended) {
        self.tell(LifecycleEvent::ClientDisconnected, &client.id, || {
            let (by, code, reason) = match ended {
                Ended::ByClient(false) => ("client", json!(0), "disconnected"),
                Ended::ByClient(true) => ("client", json!(4), "disconnected_with_will"),
                Ended::Lost => ("network", Value::Null, "connection_lost"),
                Ended::ByServer(reason) => ("server", json!(reason as u8), reason.as_str()),
                Ended::ByOperator(reason) => ("operator", json!(reason as u8), "operator"),
            };
            let mut data = whose(client);
            data.insert("endedBy".to_owned(), by.into());
            data.insert("reasonCode".to_owned(), code);
            data.insert("reason".to_owned(), reason.into());
            data.insert("sessionExpirySeconds".to_owned(), expiry_s(client));
            data
        });
    }

    pub(crate) fn tell_session_ended(&self, client_id: &str) {
        self.tell(LifecycleEvent::SessionEnded, client_id, Map::new);
    }

    pub(crate) fn tell_subscribed(&self, client: &Client, requested: &Requested) {
        self.tell(LifecycleEvent::ClientSubscribed, &client.id, || {
            let mut data = whose(client);
            data.insert("filter".to_owned(), (&*requested.filter).into());
            data.insert("qos".to_owned(), (requested.qos as u8).into());
            data
        });
    }

    pub(crate) fn tell_unsubscribed(&self, client: &Client, filter: &str) {
        self.tell(LifecycleEvent::ClientUnsubscribed, &client.id, || {
            let mut data = whose(client);
            data.insert("filter".to_owned(), filter.into());
            data
        });
    }

    /// An operator has ended a subscription.
    pub(crate) fn tell_unsubscribed_by_operator(&self, client_id: &str, filter: &str) {
        self.tell(LifecycleEvent::ClientUnsubscribed, client_id, || {
            Map::from_iter([("filter".to_owned(), filter.into())])
        });
    }

    /// Hands over what is told until the server stops. What is told after that is left for
    /// [`Server::tell_the_rest`].
    pub(crate) async fn hand_over_lifecycle(&self, stop: &CancellationToken) {
        let slot = &self.0.lifecycle.receiver;
        let taken = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = taken else { return };
        let mut events = Vec::new();
        while let Some(1..) = stop.run_until_cancelled(receiver.recv_many(&mut events, BATCH)).await
        {
            self.0.ports.announce.announce(std::mem::take(&mut events)).await;
        }
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
    }

    /// Hands over what was told until now.
    pub(crate) async fn tell_the_rest(&self) {
        let slot = &self.0.lifecycle.receiver;
        let taken = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = taken else { return };
        let mut events = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            events.push(event);
        }
        if !events.is_empty() {
            self.0.ports.announce.announce(events).await;
        }
    }
}

/// Whose connection it is.
fn whose(client: &Client) -> Map<String, Value> {
    let principal = &client.identity.principal;
    let version = match client.version {
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    };
    let mut data = Map::new();
    data.insert("principal".to_owned(), principal.name().into());
    data.insert("application".to_owned(), principal.application().into());
    data.insert("remote".to_owned(), client.peer.address.to_string().into());
    data.insert("protocolVersion".to_owned(), version.into());
    data
}

/// How long the session outlives the connection; null: for ever.
fn expiry_s(client: &Client) -> Value {
    client.session_expiry.map(|expiry| expiry.as_secs()).into()
}
