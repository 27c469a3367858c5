//! Whatever a client sends, before and after CONNECT, cut anywhere: it is read or refused, and what
//! is read becomes an event or an error. The first byte says where the stream is cut.
#![no_main]

use eg_event::Timestamp;
use eg_mqtt::codec::{Accept, AuthStep, Codec, Incoming, Read, Version};
use eg_mqtt::identifier::Identifiers;
use eg_mqtt::mapping::Mappings;
use eg_mqtt::normalize::{Context, normalize};
use libfuzzer_sys::fuzz_target;

const PACKET_BYTES_MAX: u32 = 64 * 1024;

fuzz_target!(|input: &[u8]| {
    let Some((cut, stream)) = input.split_first() else { return };
    for connect in [&b""[..], V311, V5, V5_WITH_METHOD] {
        let stream = [connect, stream].concat();
        read(&stream, usize::from(*cut).max(1));
    }
});

const V311: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c";
const V5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c";
/// It is asked for its token, so that what follows comes before CONNACK.
const V5_WITH_METHOD: &[u8] =
    b"\x10\x1b\x00\x04MQTT\x05\x02\x00\x3c\x0d\x15\x00\x0aOAUTH2-JWT\x00\x01c";

fn read(stream: &[u8], piece_bytes: usize) {
    let mut codec = Codec::new(PACKET_BYTES_MAX, 4096);
    let mut out = Vec::new();
    let mut connected = false;
    for piece in stream.chunks(piece_bytes) {
        let mut bytes = piece;
        loop {
            let Read { packets, end, .. } = codec.read(bytes, &mut out);
            for packet in &packets {
                take(packet);
            }
            if end.is_some() {
                return;
            }
            match packets.first() {
                Some(Incoming::Connect(connect)) if connect.authentication_method.is_some() => {
                    codec.auth(AuthStep::Continue, "OAUTH2-JWT", &[], &mut out);
                    bytes = &[];
                    continue;
                }
                Some(Incoming::Connect(_) | Incoming::Auth(_)) if !connected => connected = true,
                _ => break,
            }
            if !codec.accept(&accept(), &mut out) {
                return;
            }
            bytes = &[];
        }
    }
}

fn take(packet: &Incoming) {
    let Incoming::Publish(message) = packet else { return };
    let mappings = Mappings::new(&[]).expect("no mapping is wrong");
    for version in [Version::V311, Version::V5] {
        let context = Context {
            version,
            client_id: "c",
            user: "",
            now: Timestamp::default(),
            now_text: "1970-01-01T00:00:00Z",
            mappings: &mappings,
            identifiers: &Identifiers::default(),
            declared: None,
        };
        drop(normalize(message, context));
    }
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
