//! An event on its way in, with everything known about how it came; and the same event once stored.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::channel::Declaration;
use crate::clock::Timestamp;
use crate::event::CloudEvent;
use crate::principal::{Method, Principal};
use crate::receipt::Sequence;
use crate::trace::TraceContext;

/// Over what an event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1 or HTTP/2.
    Http,
    /// MQTT 3.1.1.
    Mqtt311,
    /// MQTT 5.0.
    Mqtt5,
    /// The gateway itself: requeue, lifecycle and audit events.
    Internal,
}

impl Protocol {
    /// The word for metrics and journeys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Mqtt311 => "mqtt-3.1.1",
            Self::Mqtt5 => "mqtt-5",
            Self::Internal => "internal",
        }
    }
}

/// How an event was normalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Binding {
    /// Attributes beside the payload (HTTP headers, MQTT 5 user properties).
    Binary,
    /// One JSON object.
    Structured,
    /// One of a JSON array.
    Batch,
    /// Kyma's `/v1/events` body.
    KymaV1,
    /// Kyma's `/v2/events` body.
    KymaV2,
    /// A payload without attributes, turned into an event by the topic mapping.
    Mapped,
    /// A payload without attributes, sent to a channel that a registered document declares.
    Channel,
}

impl Binding {
    /// The word for journeys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Structured => "structured",
            Self::Batch => "batch",
            Self::KymaV1 => "kyma-v1",
            Self::KymaV2 => "kyma-v2",
            Self::Mapped => "mapped",
            Self::Channel => "channel",
        }
    }
}

/// Where an event came from, as far as the connection tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Over what.
    pub protocol: Protocol,
    /// How it was normalized.
    pub binding: Binding,
    /// The peer's address; `None` for events of the gateway itself.
    pub remote: Option<SocketAddr>,
    /// What the sender addressed: the request path, or the MQTT topic.
    pub address: Box<str>,
    /// The MQTT client identifier.
    pub client_id: Option<Arc<str>>,
}

/// The MQTT exchange under which an event counts once however often it is sent: a session and a
/// packet identifier (MQTT 5.0 section 4.3.3, QoS 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handshake {
    /// The session's client identifier.
    pub client_id: Arc<str>,
    /// The packet identifier of the PUBLISH.
    pub packet_id: u16,
}

/// What an MQTT publication says beside its topic and its event, so that subscribers get it as it
/// came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The quality of service that it was published with: 0, 1 or 2.
    pub qos: u8,
    /// Whether later subscribers are to get it too.
    pub retain: bool,
    /// How long after it came it is of use, in seconds.
    pub expiry_s: Option<u32>,
    /// Its properties as they are in the packet (MQTT 5.0 section 3.3.2.3), but for those that
    /// belong to one connection, and the expiry.
    pub properties: Bytes,
    /// What stands before and behind the event's data in a payload that is a whole event.
    pub envelope: Option<(Bytes, Bytes)>,
}

/// An event handed over by a protocol.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The event.
    pub event: CloudEvent,
    /// Who hands it over.
    pub principal: Arc<Principal>,
    /// How it came.
    pub origin: Origin,
    /// The trace it belongs to.
    pub trace: TraceContext,
    /// Set when the sender asks for exactly once (QoS 2).
    pub handshake: Option<Handshake>,
    /// The identifier was made by the gateway for this very event, so that no other can have it.
    pub id_assigned: bool,
    /// What a registered document says of it, where the protocol had to ask.
    pub declaration: Option<Declaration>,
    /// Set when the event is to be kept and delivered to nobody.
    pub held: Option<Box<Hold>>,
    /// What the MQTT publication says beside; none: nothing, with QoS 0.
    pub message: Option<Box<Message>>,
}

impl Submission {
    /// An event that `principal` hands over; of everything else there is nothing.
    #[must_use]
    pub fn new(event: CloudEvent, principal: Arc<Principal>, origin: Origin) -> Self {
        Self {
            event,
            principal,
            origin,
            trace: TraceContext::default(),
            handshake: None,
            id_assigned: false,
            declaration: None,
            held: None,
            message: None,
        }
    }

    /// The application that the path of a request names.
    #[must_use]
    pub fn path_application(&self) -> Option<&str> {
        let origin = &self.origin;
        let is_named = match origin.binding {
            Binding::KymaV1 | Binding::KymaV2 => true,
            _ => origin.protocol == Protocol::Http && origin.address.contains("/channels/"),
        };
        origin.address.split('/').nth(1).filter(|_| is_named)
    }

    /// The application that it is published for: the one that its path names, or else its
    /// principal's.
    #[must_use]
    pub fn application(&self) -> Option<&str> {
        self.path_application().or_else(|| self.principal.application())
    }

    /// Its sender, to be kept beside the event.
    #[must_use]
    pub fn sender(&self) -> Sender {
        let own = self.principal.shared_application();
        let application = self.application().map(|named| match own {
            Some(own) if *own == *named => own,
            _ => named.into(),
        });
        let principal = &self.principal;
        Sender { name: principal.shared_name(), method: principal.method(), application }
    }
}

/// Why an event is in quarantine: kept, and delivered to nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The application whose document the event does not follow.
    pub application: Box<str>,
    /// The document, by the name of its definition.
    pub definition: Box<str>,
    /// What is wrong with the event.
    pub reason: Box<str>,
}

/// An event in the journal, with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// When the gateway took it.
    pub received_at: Timestamp,
    /// The event.
    pub event: CloudEvent,
    /// The name of the principal who sent it, and how they were recognized.
    pub sender: Sender,
    /// How it came.
    pub origin: Origin,
    /// The trace it belongs to.
    pub trace: TraceContext,
    /// Why it is kept and delivered to nobody, if so.
    pub held: Option<Box<Hold>>,
    /// What the MQTT publication said beside; none: nothing, with QoS 0.
    pub message: Option<Box<Message>>,
}

/// The sender of a stored event, for journeys and the `authcontext` extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The principal's name.
    pub name: Arc<str>,
    /// How they were recognized.
    pub method: Method,
    /// The application that they published for.
    pub application: Option<Arc<str>>,
}
