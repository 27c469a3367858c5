//! What goes to subscribers: PUBLISH and PUBREL. Written here and not by the protocol library, so
//! that one encoding of an event serves all who get it.

use std::collections::HashMap;

use super::{Codec, Qos, Version};

const PUBLISH: u8 = 0x30;
/// PUBREL with the flags that it has to have (MQTT 5.0 section 2.1.3).
const PUBREL: u8 = 0x62;
const MESSAGE_EXPIRY: u8 = 0x02;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
const TOPIC_ALIAS: u8 = 0x23;

/// What stands before the payload of one PUBLISH.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// How surely it is to arrive.
    pub qos: Qos,
    /// The packet identifier; 0 for QoS 0.
    pub packet_id: u16,
    /// It may have been sent before.
    pub dup: bool,
    /// The flag RETAIN.
    pub retain: bool,
    /// The topic name.
    pub topic: &'a str,
    /// The identifiers of the subscriptions that it matches.
    pub identifiers: &'a [u32],
    /// How long it is still of use, in seconds.
    pub expiry_s: Option<u32>,
    /// Its other properties, as they are sent.
    pub properties: &'a [u8],
}

/// The names that stand for topics on one connection (MQTT 5.0 section 3.3.2.3.4).
#[derive(Debug, Default)]
pub(super) struct Aliases {
    maximum: u16,
    known: HashMap<Box<str>, u16>,
}

impl Aliases {
    /// At most `maximum`, as the client said.
    pub(super) fn new(maximum: u16) -> Self {
        Self { maximum, known: HashMap::new() }
    }

    /// The alias of a topic, and whether the client knows it.
    fn of(&mut self, topic: &str) -> Option<(u16, bool)> {
        /// Shorter topics gain nothing, in bytes.
        const TOPIC_BYTES_MIN: usize = 4;
        /// More are not kept for a client, whatever it would take.
        const ALIASES_MAX: u16 = 256;
        if self.maximum == 0 || topic.len() < TOPIC_BYTES_MIN {
            return None;
        }
        if let Some(alias) = self.known.get(topic) {
            return Some((*alias, true));
        }
        let next = u16::try_from(self.known.len()).ok()?.checked_add(1)?;
        (next <= self.maximum.min(ALIASES_MAX)).then(|| {
            self.known.insert(topic.into(), next);
            (next, false)
        })
    }
}

impl Codec {
    /// Writes a PUBLISH up to its payload, which has `payload_bytes`. Says whether it did: not if
    /// the client takes no packet as large as that (MQTT 5.0 section 3.1.2.11.4).
    pub fn publish(&mut self, head: &Head<'_>, payload_bytes: usize, out: &mut Vec<u8>) -> bool {
        let is_v5 = self.version == Some(Version::V5);
        // Whether it fits is said of the packet with its topic, which is the larger one.
        let alias_bytes = if is_v5 && self.aliases.maximum > 0 { 3 } else { 0 };
        let properties = if is_v5 { properties_bytes(head) + alias_bytes } else { 0 };
        let id_bytes = if head.qos == Qos::AtMostOnce { 0 } else { 2 };
        let fixed = id_bytes + payload_bytes;
        let whole = 2 + head.topic.len() + fixed;
        let whole = if is_v5 { whole + integer_bytes(properties) + properties } else { whole };
        if 1 + integer_bytes(whole) + whole > self.client_packet_bytes_max || whole > 0x0fff_ffff {
            return false;
        }
        let alias = if is_v5 { self.aliases.of(head.topic) } else { None };
        let topic = if alias.is_some_and(|(_, known)| known) { "" } else { head.topic };
        let properties = properties_bytes(head) + if alias.is_some() { 3 } else { 0 };
        let mut remaining = 2 + topic.len() + fixed;
        if is_v5 {
            remaining += integer_bytes(properties) + properties;
        }
        let flag = |is: bool, bit: u8| if is { bit } else { 0 };
        out.push(PUBLISH | flag(head.dup, 8) | (head.qos as u8) << 1 | flag(head.retain, 1));
        put_integer(remaining, out);
        put_u16(topic.len(), out);
        out.extend_from_slice(topic.as_bytes());
        if id_bytes > 0 {
            out.extend_from_slice(&head.packet_id.to_be_bytes());
        }
        if is_v5 {
            put_integer(properties, out);
            put_properties(head, alias.map(|(alias, _)| alias), out);
        }
        true
    }

    /// Writes PUBREL; `is_unknown`: nothing is known of the packet identifier (MQTT 5.0 section
    /// 3.6.2.1).
    pub fn release(&mut self, packet_id: u16, is_unknown: bool, out: &mut Vec<u8>) {
        let [high, low] = packet_id.to_be_bytes();
        if is_unknown && self.version == Some(Version::V5) {
            out.extend_from_slice(&[PUBREL, 3, high, low, 0x92]);
        } else {
            out.extend_from_slice(&[PUBREL, 2, high, low]);
        }
    }
}

fn properties_bytes(head: &Head<'_>) -> usize {
    let identifiers = head.identifiers.iter().map(|one| 1 + integer_bytes(*one as usize));
    let expiry = if head.expiry_s.is_some() { 5 } else { 0 };
    head.properties.len() + expiry + identifiers.sum::<usize>()
}

fn put_properties(head: &Head<'_>, alias: Option<u16>, out: &mut Vec<u8>) {
    if let Some(seconds) = head.expiry_s {
        out.push(MESSAGE_EXPIRY);
        out.extend_from_slice(&seconds.to_be_bytes());
    }
    if let Some(alias) = alias {
        out.push(TOPIC_ALIAS);
        out.extend_from_slice(&alias.to_be_bytes());
    }
    for identifier in head.identifiers {
        out.push(SUBSCRIPTION_IDENTIFIER);
        put_integer(*identifier as usize, out);
    }
    out.extend_from_slice(head.properties);
}

/// How many bytes a variable byte integer has (MQTT 5.0 section 1.5.5).
fn integer_bytes(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

fn put_integer(mut value: usize, out: &mut Vec<u8>) {
    let low = |value| u8::try_from(value & 0x7f).unwrap_or(0);
    while value > 0x7f {
        out.push(0x80 | low(value));
        value >>= 7;
    }
    out.push(low(value));
}

fn put_u16(value: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes());
}

/// Properties as bytes, for those that no packet brought.
#[derive(Debug, Default)]
pub struct PropertiesWriter(Vec<u8>);

impl PropertiesWriter {
    /// The payload is UTF-8 text.
    pub fn text(&mut self) {
        self.0.extend_from_slice(&[0x01, 1]);
    }

    /// Content Type.
    pub fn content_type(&mut self, media_type: &str) {
        self.0.push(0x03);
        self.string(media_type);
    }

    /// A User Property.
    pub fn user_property(&mut self, name: &str, value: &str) {
        self.0.push(0x26);
        self.string(name);
        self.string(value);
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// A text that no packet can hold is cut short.
    fn string(&mut self, text: &str) {
        let end = text.floor_char_boundary(usize::from(u16::MAX));
        put_u16(end, &mut self.0);
        self.0.extend_from_slice(&text.as_bytes()[..end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head<'_> = Head {
        qos: Qos::AtLeastOnce,
        packet_id: 7,
        dup: false,
        retain: true,
        topic: "a/bc",
        identifiers: &[],
        expiry_s: None,
        properties: &[],
    };

    fn codec(version: Version, aliases: u16) -> Codec {
        let mut codec = Codec::new(1000, 1000);
        codec.version = Some(version);
        codec.aliases = Aliases::new(aliases);
        codec
    }

    #[test]
    fn a_message_is_written_as_its_version_has_it() {
        let mut out = Vec::new();
        assert!(codec(Version::V311, 0).publish(&HEAD, 3, &mut out));
        assert_eq!(out, b"\x33\x0b\0\x04a/bc\0\x07");
        let head = Head {
            identifiers: &[1, 300],
            expiry_s: Some(5),
            properties: &[1, 1],
            dup: true,
            ..HEAD
        };
        let mut out = Vec::new();
        assert!(codec(Version::V5, 0).publish(&head, 0, &mut out));
        let properties = b"\x0c\x02\0\0\0\x05\x0b\x01\x0b\xac\x02\x01\x01";
        assert_eq!(out, [b"\x3b\x15\0\x04a/bc\0\x07", &properties[..]].concat());
    }

    #[test]
    fn a_topic_is_named_once_and_then_by_its_alias() {
        let mut codec = codec(Version::V5, 1);
        let head = Head { qos: Qos::AtMostOnce, retain: false, ..HEAD };
        let mut write = |topic| {
            let mut out = Vec::new();
            codec.publish(&Head { topic, ..head }, 0, &mut out);
            out
        };
        assert_eq!(write("a/bc"), b"\x30\x0a\0\x04a/bc\x03\x23\0\x01");
        assert_eq!(write("a/bc"), b"\x30\x06\0\0\x03\x23\0\x01");
        assert_eq!(write("d/ef"), b"\x30\x07\0\x04d/ef\0");
    }

    #[test]
    fn a_message_that_is_larger_than_the_client_takes_is_left_out() {
        let mut codec = codec(Version::V5, 0);
        let size = |payload: usize| 1 + 1 + 2 + 4 + 2 + 1 + payload;
        codec.client_packet_bytes_max = size(10);
        let mut out = Vec::new();
        assert!(!codec.publish(&HEAD, 11, &mut out) && out.is_empty());
        assert!(codec.publish(&HEAD, 10, &mut out));
        assert_eq!(out.len(), size(0));
    }
}
