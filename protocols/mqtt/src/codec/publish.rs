//! A message that a client publishes: a view of the packet that it came in.

use bytes::Bytes;
use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::packet::{Properties, Property, v3_1_1, v5_0};

use super::Qos;

/// Payloads up to this size are copied out of their packet, in bytes; larger ones keep it.
const COPY_BYTES_MAX: usize = 1024;

/// PUBLISH, or a will.
#[derive(Clone, Debug)]
pub struct Publish {
    pub(super) packet: Message,
    /// How surely it is to arrive.
    pub qos: Qos,
    /// The packet identifier; 0 for QoS 0.
    pub packet_id: u16,
    /// Whether the broker is asked to keep it for later subscribers.
    pub retain: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Message {
    V311(v3_1_1::Publish),
    V5(v5_0::Publish),
    Will { topic: String, payload: Vec<u8>, properties: Properties },
}

impl Publish {
    /// The topic name; an alias has been resolved.
    #[must_use]
    pub fn topic(&self) -> &str {
        match &self.packet {
            Message::V311(packet) => packet.topic_name(),
            Message::V5(packet) => packet.topic_name(),
            Message::Will { topic, .. } => topic,
        }
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match &self.packet {
            Message::V311(packet) => packet.payload().as_slice(),
            Message::V5(packet) => packet.payload().as_slice(),
            Message::Will { payload, .. } => payload,
        }
    }

    /// The payload to keep.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        let shared = match &self.packet {
            Message::V311(packet) => packet.payload(),
            Message::V5(packet) => packet.payload(),
            Message::Will { payload, .. } => return Bytes::copy_from_slice(payload),
        };
        if shared.len() <= COPY_BYTES_MAX {
            return Bytes::copy_from_slice(shared.as_slice());
        }
        Bytes::from_owner(Shared(shared.clone()))
    }

    /// Content Type (5.0 only).
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.properties().iter().find_map(|property| match property {
            Property::ContentType(value) => Some(value.val()),
            _ => None,
        })
    }

    /// Whether the payload is said to be UTF-8 text (5.0 only).
    #[must_use]
    pub fn is_declared_text(&self) -> bool {
        self.properties().iter().any(|property| {
            matches!(property, Property::PayloadFormatIndicator(value) if value.val() == 1)
        })
    }

    /// Message Expiry Interval, in seconds (5.0 only).
    #[must_use]
    pub fn message_expiry_s(&self) -> Option<u32> {
        self.properties().iter().find_map(|property| match property {
            Property::MessageExpiryInterval(value) => Some(value.val()),
            _ => None,
        })
    }

    /// Response Topic (5.0 only).
    #[must_use]
    pub fn response_topic(&self) -> Option<&str> {
        self.properties().iter().find_map(|property| match property {
            Property::ResponseTopic(value) => Some(value.val()),
            _ => None,
        })
    }

    /// Correlation Data (5.0 only).
    #[must_use]
    pub fn correlation_data(&self) -> Option<&[u8]> {
        self.properties().iter().find_map(|property| match property {
            Property::CorrelationData(value) => Some(value.val()),
            _ => None,
        })
    }

    /// User Properties (5.0 only).
    pub fn user_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties().iter().filter_map(|property| match property {
            Property::UserProperty(value) => Some((value.key(), value.val())),
            _ => None,
        })
    }

    /// The properties that subscribers get, as they are in the packet; the Message Expiry Interval
    /// is told apart, because it counts down.
    #[must_use]
    pub fn forwarded_properties(&self) -> Bytes {
        let is_forwarded = |property: &&Property| {
            !matches!(
                property,
                Property::TopicAlias(_)
                    | Property::MessageExpiryInterval(_)
                    | Property::WillDelayInterval(_)
            )
        };
        let forwarded = self.properties().iter().filter(is_forwarded);
        forwarded.flat_map(Property::to_continuous_buffer).collect()
    }

    pub(super) fn properties(&self) -> &[Property] {
        match &self.packet {
            Message::V311(_) => &[],
            Message::V5(packet) => packet.props(),
            Message::Will { properties, .. } => properties,
        }
    }

    pub(super) fn names_a_subscription(&self) -> bool {
        self.properties()
            .iter()
            .any(|property| matches!(property, Property::SubscriptionIdentifier(_)))
    }
}

/// A payload that keeps its packet alive.
struct Shared(ArcPayload);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}
