//! The few MQTT packets that load takes, written and read by hand: a library would cost the
//! generator what is to be measured of the server.

use super::MqttVersion;

/// A PUBLISH that is copied for each publication, with the packet identifier filled in.
#[derive(Clone, Debug)]
pub(super) struct PublishTemplate {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
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
        Self { bytes, packet_id_at: packet_id_at.map(|at| head + at) }
    }

    /// Appends the packet with `packet_id`.
    pub(super) fn write(&self, packet_id: u16, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(at) = self.packet_id_at {
            out[begin + at..begin + at + 2].copy_from_slice(&packet_id.to_be_bytes());
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

/// PUBREL for `packet_id`.
pub(super) fn pubrel(packet_id: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x62, 2]);
    out.extend_from_slice(&packet_id.to_be_bytes());
}

/// PINGREQ.
pub(super) const PINGREQ: [u8; 2] = [0xc0, 0];
/// DISCONNECT.
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// A packet from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// CONNACK with its code.
    Connack(u8),
    /// PUBACK: packet identifier and code.
    Puback(u16, u8),
    /// PUBREC: packet identifier and code.
    Pubrec(u16, u8),
    /// PUBCOMP: packet identifier and code.
    Pubcomp(u16, u8),
    /// PINGRESP.
    Pingresp,
    /// DISCONNECT with its code.
    Disconnect(u8),
    /// Anything else.
    Other,
}

/// Reads the first packet of `bytes`, and how long it is; none when it is not complete.
pub(super) fn answer(bytes: &[u8]) -> Option<(Answer, usize)> {
    let mut length = 0;
    let mut at = 1;
    for shift in [0, 7, 14, 21] {
        let byte = *bytes.get(at)?;
        at += 1;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    let body = bytes.get(at..at + length)?;
    let packet_id = match body {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    // A packet without a code means success.
    let code = body.get(2).copied().unwrap_or(0);
    let answer = match bytes[0] >> 4 {
        2 => Answer::Connack(body.get(1).copied().unwrap_or(0)),
        4 => Answer::Puback(packet_id, code),
        5 => Answer::Pubrec(packet_id, code),
        7 => Answer::Pubcomp(packet_id, code),
        13 => Answer::Pingresp,
        14 => Answer::Disconnect(body.first().copied().unwrap_or(0)),
        _ => Answer::Other,
    };
    Some((answer, at + length))
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
        PublishTemplate::new(MqttVersion::V5, "a/b", 1, b"xy").write(0x0102, &mut out);
        assert_eq!(out, [0x32, 10, 0, 3, b'a', b'/', b'b', 1, 2, 0, b'x', b'y']);
        out.clear();
        PublishTemplate::new(MqttVersion::V311, "a", 0, &[7; 200]).write(9, &mut out);
        assert_eq!(out[..6], [0x30, 0xcb, 1, 0, 1, b'a']);
        assert_eq!(out.len(), 3 + 203);
    }

    #[test]
    fn answers_are_read_one_by_one() {
        let rows: [(&[u8], _); 9] = [
            (&[0x40, 2, 1, 2], Some((Answer::Puback(0x0102, 0), 4))),
            (&[0x40, 4, 0, 9, 0x97, 0, 99], Some((Answer::Puback(9, 0x97), 6))),
            (&[0x50, 2, 0, 1], Some((Answer::Pubrec(1, 0), 4))),
            (&[0x70, 2, 0, 1], Some((Answer::Pubcomp(1, 0), 4))),
            (&[0x20, 2, 0, 5], Some((Answer::Connack(5), 4))),
            (&[0xd0, 0], Some((Answer::Pingresp, 2))),
            (&[0xe0, 1, 0x8b], Some((Answer::Disconnect(0x8b), 3))),
            (&[0x40, 2, 1], None),
            (&[0x40], None),
        ];
        for (bytes, expected) in rows {
            assert_eq!(answer(bytes), expected, "{bytes:?}");
        }
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
}
