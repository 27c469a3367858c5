//! The few MQTT packets that load takes, written and read by hand: a library would cost the
//! generator what is to be measured of the server.

use super::MqttVersion;

/// PINGREQ.
pub(super) const PINGREQ: [u8; 2] = [0xc0, 0];
/// DISCONNECT.
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// How many bytes of a payload say who sent it, as how manieth, and when.
pub(super) const STAMP_BYTES: usize = 24;

/// What a publication says of itself in the first bytes of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Which run of the generator it belongs to.
    pub(super) run: u32,
    /// Which of the publishers sent it.
    pub(super) publisher: u32,
    /// How many that one had sent before.
    pub(super) sequence: u64,
    /// When it was to be sent, in nanoseconds since the beginning of the run.
    pub(super) at_ns: u64,
}

impl Stamp {
    fn write(self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.run.to_le_bytes());
        out[4..8].copy_from_slice(&self.publisher.to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.at_ns.to_le_bytes());
    }

    /// Reads the stamp of a payload; none when it has no room for one.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let (run, rest) = payload.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (at_ns, _) = rest.split_first_chunk()?;
        Some(Self {
            run: u32::from_le_bytes(*run),
            publisher: u32::from_le_bytes(*publisher),
            sequence: u64::from_le_bytes(*sequence),
            at_ns: u64::from_le_bytes(*at_ns),
        })
    }
}

/// A PUBLISH that is copied for each publication, with the packet identifier and stamp filled in.
#[derive(Clone, Debug)]
pub(super) struct PublishTemplate {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    payload_at: usize,
}

impl PublishTemplate {
    pub(super) fn new(version: MqttVersion, topic: &str, qos: u8, payload: &[u8]) -> Self {
        let mut body = Vec::new();
        text(&mut body, topic.as_bytes());
        let packet_id_at = (qos > 0).then_some(body.len());
        if qos > 0 {
            body.extend_from_slice(&[0, 0]);
        }
        if version == MqttVersion::V5 {
            body.push(0);
        }
        body.extend_from_slice(payload);
        let bytes = packet(0x30 | qos << 1, &body);
        let head = bytes.len() - body.len();
        let payload_at = bytes.len() - payload.len();
        Self { bytes, packet_id_at: packet_id_at.map(|at| head + at), payload_at }
    }

    /// Appends the packet with `packet_id`, and `stamp` if the payload has room for one.
    pub(super) fn write(&self, packet_id: u16, stamp: Option<Stamp>, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(at) = self.packet_id_at {
            out[begin + at..begin + at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        if let Some(stamp) = stamp {
            stamp.write(&mut out[begin + self.payload_at..]);
        }
    }
}

/// CONNECT with a clean start and no keep alive.
pub(super) fn connect(
    version: MqttVersion,
    client_id: &str,
    username: Option<&str>,
    password: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, b"MQTT");
    body.push(if version == MqttVersion::V5 { 5 } else { 4 });
    body.push(2 | u8::from(username.is_some()) << 7 | u8::from(password.is_some()) << 6);
    body.extend_from_slice(&[0, 0]);
    if version == MqttVersion::V5 {
        body.push(0);
    }
    text(&mut body, client_id.as_bytes());
    for field in [username.map(str::as_bytes), password].into_iter().flatten() {
        text(&mut body, field);
    }
    packet(0x10, &body)
}

/// SUBSCRIBE to one filter.
pub(super) fn subscribe(version: MqttVersion, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    if version == MqttVersion::V5 {
        body.push(0);
    }
    text(&mut body, filter.as_bytes());
    body.push(qos);
    packet(0x82, &body)
}

/// A packet of two bytes after its head: PUBACK, PUBREC, PUBREL or PUBCOMP without a code.
pub(super) fn reply(kind: Reply, packet_id: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&[kind as u8, 2]);
    out.extend_from_slice(&packet_id.to_be_bytes());
}

/// The first byte of a reply.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    Puback = 0x40,
    Pubrec = 0x50,
    Pubrel = 0x62,
    Pubcomp = 0x70,
}

/// A packet from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// CONNACK with its code, and how many publications may be under way towards the broker.
    Connack { code: u8, receive_maximum: u16 },
    /// PUBLISH; the packet identifier of QoS 0 is 0.
    Publish { qos: u8, packet_id: u16, payload: &'a [u8] },
    /// PUBACK: packet identifier and code.
    Puback(u16, u8),
    /// PUBREC: packet identifier and code.
    Pubrec(u16, u8),
    /// PUBREL with its packet identifier.
    Pubrel(u16),
    /// PUBCOMP: packet identifier and code.
    Pubcomp(u16, u8),
    /// SUBACK with the code of its only filter.
    Suback(u8),
    /// PINGRESP.
    Pingresp,
    /// DISCONNECT with its code.
    Disconnect(u8),
    /// Anything else.
    Other,
}

/// Reads the first packet of `bytes`, and how long it is; none when it is not complete.
pub(super) fn read(version: MqttVersion, bytes: &[u8]) -> Option<(Packet<'_>, usize)> {
    let (length, head) = variable_integer(bytes.get(1..)?)?;
    let end = 1 + head + length;
    let body = bytes.get(1 + head..end)?;
    let packet_id = match body {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    // A packet without a code means success.
    let code = body.get(2).copied().unwrap_or(0);
    let packet = match bytes[0] >> 4 {
        2 => connack(version, body),
        3 => publish(version, bytes[0] >> 1 & 3, body).unwrap_or(Packet::Other),
        4 => Packet::Puback(packet_id, code),
        5 => Packet::Pubrec(packet_id, code),
        6 => Packet::Pubrel(packet_id),
        7 => Packet::Pubcomp(packet_id, code),
        9 => Packet::Suback(body.last().copied().unwrap_or(0x80)),
        13 => Packet::Pingresp,
        14 => Packet::Disconnect(body.first().copied().unwrap_or(0)),
        _ => Packet::Other,
    };
    Some((packet, end))
}

fn publish(version: MqttVersion, qos: u8, body: &[u8]) -> Option<Packet<'_>> {
    let topic = usize::from(u16::from_be_bytes(*body.first_chunk()?));
    let mut rest = body.get(2 + topic..)?;
    let mut packet_id = 0;
    if qos > 0 {
        let (id, after) = rest.split_first_chunk()?;
        packet_id = u16::from_be_bytes(*id);
        rest = after;
    }
    if version == MqttVersion::V5 {
        let (length, head) = variable_integer(rest)?;
        rest = rest.get(head + length..)?;
    }
    Some(Packet::Publish { qos, packet_id, payload: rest })
}

fn connack(version: MqttVersion, body: &[u8]) -> Packet<'_> {
    let code = body.get(1).copied().unwrap_or(0x80);
    let properties = match (version, body.get(2..)) {
        (MqttVersion::V5, Some(rest)) => {
            variable_integer(rest).and_then(|(length, head)| rest.get(head..head + length))
        }
        _ => None,
    };
    Packet::Connack { code, receive_maximum: receive_maximum(properties.unwrap_or(&[])) }
}

/// What the properties of a CONNACK say of it (MQTT 5.0 section 3.2.2.3.3).
fn receive_maximum(mut properties: &[u8]) -> u16 {
    let text =
        |at: &[u8]| at.first_chunk().map(|length| 2 + usize::from(u16::from_be_bytes(*length)));
    while let [identifier, rest @ ..] = properties {
        let length = match identifier {
            0x21 => return rest.first_chunk().map_or(u16::MAX, |value| u16::from_be_bytes(*value)),
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => Some(1),
            0x13 | 0x22 => Some(2),
            0x11 | 0x27 => Some(4),
            0x26 => text(rest).and_then(|name| Some(name + text(rest.get(name..)?)?)),
            _ => text(rest),
        };
        properties = length.and_then(|length| rest.get(length..)).unwrap_or(&[]);
    }
    u16::MAX
}

/// A variable byte integer, and how many bytes it takes.
fn variable_integer(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, shift) in [0, 7, 14, 21].into_iter().enumerate() {
        let byte = *bytes.get(at)?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value, at + 1));
        }
    }
    Some((value, 4))
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        if length == 0 {
            out.push(byte);
            break;
        }
        out.push(byte | 0x80);
    }
    out.extend_from_slice(body);
    out
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    // Longer texts are cut by the caller's arguments.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&text[..usize::from(length)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_has_the_bytes_of_the_standard() {
        let mut out = Vec::new();
        PublishTemplate::new(MqttVersion::V5, "a/b", 1, b"xy").write(0x0102, None, &mut out);
        assert_eq!(out, [0x32, 10, 0, 3, b'a', b'/', b'b', 1, 2, 0, b'x', b'y']);
        out.clear();
        PublishTemplate::new(MqttVersion::V311, "a", 0, &[7; 200]).write(9, None, &mut out);
        assert_eq!(out[..6], [0x30, 0xcb, 1, 0, 1, b'a']);
        assert_eq!(out.len(), 3 + 203);
    }

    #[test]
    fn a_stamp_comes_back_with_its_publication() {
        let stamp = Stamp { run: 1, publisher: 2, sequence: 3, at_ns: u64::MAX };
        for version in [MqttVersion::V311, MqttVersion::V5] {
            for qos in [0, 1, 2] {
                let mut out = Vec::new();
                let template = PublishTemplate::new(version, "a/b", qos, &[b'x'; 30]);
                template.write(7, Some(stamp), &mut out);
                let Some((Packet::Publish { payload, packet_id, .. }, _)) = read(version, &out)
                else {
                    panic!("{out:?}");
                };
                assert_eq!(Stamp::read(payload), Some(stamp));
                assert_eq!((payload.len(), payload[24]), (30, b'x'));
                assert_eq!(packet_id, if qos == 0 { 0 } else { 7 });
            }
        }
        assert_eq!(Stamp::read(&[0; 23]), None);
    }

    #[test]
    fn packets_are_read_one_by_one() {
        let rows: [(&[u8], _); 11] = [
            (&[0x40, 2, 1, 2], Some((Packet::Puback(0x0102, 0), 4))),
            (&[0x40, 4, 0, 9, 0x97, 0, 99], Some((Packet::Puback(9, 0x97), 6))),
            (&[0x50, 2, 0, 1], Some((Packet::Pubrec(1, 0), 4))),
            (&[0x62, 2, 0, 1], Some((Packet::Pubrel(1), 4))),
            (&[0x70, 2, 0, 1], Some((Packet::Pubcomp(1, 0), 4))),
            (&[0x90, 4, 0, 1, 0, 0x87], Some((Packet::Suback(0x87), 6))),
            (&[0xd0, 0], Some((Packet::Pingresp, 2))),
            (&[0xe0, 1, 0x8b], Some((Packet::Disconnect(0x8b), 3))),
            (&[0x30, 3, 0, 9, b'a'], Some((Packet::Other, 5))),
            (&[0x40, 2, 1], None),
            (&[0x40], None),
        ];
        for (bytes, expected) in rows {
            assert_eq!(read(MqttVersion::V5, bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn connack_tells_how_many_publications_may_be_under_way() {
        let properties =
            [0x12, 0, 1, b'c', 0x26, 0, 1, b'k', 0, 1, b'v', 0x25, 1, 0x13, 0, 9, 0x21, 1, 0];
        let mut bytes = vec![0x20, 3 + 19, 0, 0, 19];
        bytes.extend_from_slice(&properties);
        let told = Packet::Connack { code: 0, receive_maximum: 256 };
        assert_eq!(read(MqttVersion::V5, &bytes), Some((told, bytes.len())));
        let untold = Packet::Connack { code: 5, receive_maximum: 65_535 };
        assert_eq!(read(MqttVersion::V311, &[0x20, 2, 0, 5]), Some((untold, 4)));
    }

    #[test]
    fn connect_carries_the_credential() {
        let bytes = connect(MqttVersion::V311, "c", Some("u"), Some(b"p"));
        let expected = [
            0x10, 19, 0, 4, b'M', b'Q', b'T', b'T', 4, 0xc2, 0, 0, 0, 1, b'c', 0, 1, b'u', 0, 1,
            b'p',
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn subscribe_names_filter_and_quality() {
        let bytes = subscribe(MqttVersion::V5, "a/#", 1);
        assert_eq!(bytes, [0x82, 9, 0, 1, 0, 0, 3, b'a', b'/', b'#', 1]);
        assert_eq!(subscribe(MqttVersion::V311, "a", 0), [0x82, 6, 0, 1, 0, 1, b'a', 0]);
    }
}
