//! Bytes of any kind: the codec reads them or says what is wrong, however they are cut.

use eg_mqtt::codec::{Accept, AuthStep, Codec, Incoming, Read};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::packet::{
    Connect, PINGREQ, Publish, packet, properties, pubrel, string_property, text, user,
};

/// Right packets, to be made wrong.
pub(crate) fn packets(version: u8) -> Vec<Vec<u8>> {
    let publish = |qos, topic| {
        let message = Publish { version, ..Publish::v5(qos, 5, topic) };
        if version == 5 {
            message.property(&[0x23, 0, 1]).property(&user("id", "7"))
        } else {
            message
        }
    };
    let none = if version == 5 { properties(&[]) } else { Vec::new() };
    let mut list = vec![
        publish(0, "a/b").bytes(),
        publish(1, "a").bytes(),
        publish(2, "a").again().bytes(),
        pubrel(5),
        PINGREQ.to_vec(),
        packet(0x82, &[&[0, 9], &none, &text("a/+"), &[1]]),
        packet(0xa2, &[&[0, 9], &none, &text("a/+")]),
        packet(0x40, &[&[0, 1]]),
        packet(0x50, &[&[0, 1]]),
        packet(0x70, &[&[0, 1]]),
        packet(0xe0, &[]),
    ];
    if version == 5 {
        list.push(publish(1, "").bytes());
        list.push(packet(0x62, &[&[0, 5, 0], &properties(&[&user("a", "b")])]));
        list.push(packet(0xe0, &[&[4], &properties(&[&[0x11, 0, 0, 0, 9]])]));
        let method = string_property(0x15, "OAUTH2-JWT");
        list.push(packet(0xf0, &[&[0x18], &properties(&[&method, &[0x16, 0, 1, b't']])]));
        list.push(packet(0xf0, &[&[0x19], &properties(&[&method])]));
    }
    list
}

fn connect(version: u8) -> Connect {
    let connect = if version == 5 { Connect::v5("c").expiry(9) } else { Connect::v311("c") };
    connect.will("lost", "gone", &[&[0x18, 0, 0, 0, 1]])
}

fn accept() -> Accept {
    Accept {
        session_present: false,
        assigned_client_id: None,
        session_expiry_s: None,
        keep_alive_s: None,
        receive_maximum: 10,
        topic_alias_maximum: 2,
        authentication_method: None,
        user_properties: Vec::new(),
    }
}

/// What a codec makes of `stream` when it comes in pieces of this size.
fn read(stream: &[u8], piece_bytes: usize) -> (Vec<String>, Option<String>) {
    let mut codec = Codec::new(2048, 512);
    let mut out = Vec::new();
    let mut packets = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        let mut bytes = piece;
        loop {
            let Read { packets: found, end, .. } = codec.read(bytes, &mut out);
            let connect = found.first().filter(|_| packets.is_empty());
            packets.extend(found.iter().map(|packet| format!("{packet:?}")));
            if end.is_some() {
                return (packets, end.map(|reason| format!("{reason:?}")));
            }
            let Some(Incoming::Connect(connect)) = connect else { break };
            if connect.authentication_method.is_some() {
                // What follows may come before CONNACK.
                codec.auth(AuthStep::Continue, "OAUTH2-JWT", &[], &mut out);
                bytes = &[];
                continue;
            }
            // Some bytes make a client that takes no packet as large as CONNACK.
            if !codec.accept(&accept(), &mut out) {
                return (packets, Some("CONNACK does not fit".to_owned()));
            }
            bytes = &[];
        }
    }
    (packets, None)
}

proptest! {
    #[test]
    fn any_bytes_are_read_the_same_however_they_come(stream in vec(any::<u8>(), 0..200), cut in 1..50_usize) {
        prop_assert_eq!(read(&stream, 1000), read(&stream, cut));
    }

    #[test]
    fn a_connect_with_wrong_bytes_is_read_the_same_however_it_comes(
        version in 4..6_u8,
        wrong in vec((any::<Index>(), any::<u8>()), 0..4),
        cut in 1..20_usize,
    ) {
        let mut stream = connect(version).bytes();
        for (at, byte) in wrong {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        prop_assert_eq!(read(&stream, 1000), read(&stream, cut));
    }

    #[test]
    fn packets_with_wrong_bytes_are_read_the_same_however_they_come(
        version in 4..6_u8,
        has_method in any::<bool>(),
        order in vec(any::<Index>(), 1..12),
        wrong in vec((any::<Index>(), any::<u8>()), 0..4),
        cut in 1..60_usize,
    ) {
        let known = packets(version);
        let mut behind: Vec<u8> = order.iter().flat_map(|at| at.get(&known).clone()).collect();
        for (at, byte) in wrong {
            let at = at.index(behind.len());
            behind[at] = byte;
        }
        let method = string_property(0x15, "OAUTH2-JWT");
        let method = if version == 5 && has_method { method } else { Vec::new() };
        let stream = [connect(version).property(&method).bytes(), behind].concat();
        prop_assert_eq!(read(&stream, 5000), read(&stream, cut));
    }
}
