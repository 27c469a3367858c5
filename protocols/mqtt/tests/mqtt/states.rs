//! Whatever a client sends in any state of its connection and its session, cut anywhere: the server
//! answers in whole packets or ends the connection, nothing hangs, and when it stops nothing is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eg_auth::{Authenticate, Authenticator, Credential, Live, Peer, Unauthenticated};
use eg_event::Principal;
use eg_event::principal::Method;
use eg_mqtt::MqttConfig;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

use crate::gateway::{Gateway, Store, start};

/// The flag of a state in which the stream is sent as it is.
pub(crate) const AS_IT_IS: u8 = 0x80;
/// How many states there are.
pub(crate) const STATES: u8 = 16;
/// How many bytes of an input are used.
const INPUT_BYTES_MAX: usize = 4096;
/// How long is waited for what the server may say. Time only passes while nothing else happens.
const MOMENT: Duration = Duration::from_millis(1);
/// How long anything may take, in the time of the runtime.
const PATIENCE: Duration = Duration::from_hours(1);

/// Tries an input. Its first three bytes choose the state, how the stream is cut, and how the
/// connection ends. The rest is packets whose frames are made whole, so that what is inside is what
/// is read, or, if the state says so, the stream as it is.
pub(crate) fn try_input(input: &[u8]) {
    let Some(([state, cut, end], rest)) = input.split_first_chunk() else { return };
    let rest = &rest[..rest.len().min(INPUT_BYTES_MAX)];
    let stream = if state & AS_IT_IS == 0 { framed(rest) } else { rest.to_vec() };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(live(*state, &stream, usize::from(*cut).max(1), *end));
}

/// One server, with a subscriber to everything, and the connection that is looked at.
async fn live(state: u8, stream: &[u8], cut: usize, end: u8) {
    let recognize = Arc::new(Recognize(Authenticator::anonymous_on_loopback()));
    let around = (start(), Live::default());
    let store = Arc::<Store>::default();
    let gateway = Gateway::assemble_with(config(), recognize, store, around).await;
    let mut witness = connect(&gateway);
    say(&mut witness, &[V5_KEPT_OF_WITNESS, SUBSCRIBE_ALL_V5].concat(), usize::MAX).await;
    let mut client = connect(&gateway);
    for part in opening(state) {
        say(&mut client, part, usize::MAX).await;
    }
    say(&mut client, stream, cut).await;
    if end & 1 != 0 {
        // Somebody else has something for it meanwhile.
        say(&mut witness, PUBLISH_QOS2_V5, usize::MAX).await;
        hear(&mut client).await;
    }
    if end & 2 != 0 {
        gateway.clock.advance(Duration::from_secs(100));
        hear(&mut client).await;
    }
    if end & 4 != 0 {
        drop(client);
        let mut again = connect(&gateway);
        say(&mut again, if end & 8 != 0 { V311_KEPT } else { V5_KEPT }, usize::MAX).await;
        say(&mut again, stream, cut).await;
    } else if end & 8 != 0 {
        // It is there to the end, and is told so.
        gateway.stop.cancel();
        hear(&mut client).await;
    }
    drop(witness);
    gateway.stop.cancel();
    gateway.tasks.close();
    timeout(PATIENCE, gateway.tasks.wait()).await.unwrap();
    let connections = gateway.server.counters().connections.load(Ordering::Relaxed);
    assert_eq!(connections, 0, "every connection gives back its place");
}

/// Small limits, so that they are met.
fn config() -> MqttConfig {
    MqttConfig {
        packet_bytes_max: 16 * 1024,
        connect_bytes_max: 4096,
        receive_maximum: 4,
        ..MqttConfig::default()
    }
}

fn connect(gateway: &Gateway) -> DuplexStream {
    let (near, far) = tokio::io::duplex(4096);
    gateway.server.attach(far, Peer::new(([127, 0, 0, 1], 40_000).into()));
    near
}

/// Writes `stream` in pieces, and reads what comes in between: the kinds of its packets.
async fn say(client: &mut DuplexStream, stream: &[u8], cut: usize) -> Vec<u8> {
    let mut kinds = Vec::new();
    for piece in stream.chunks(cut) {
        match timeout(PATIENCE, client.write_all(piece)).await {
            Ok(Ok(())) => kinds.extend(hear(client).await),
            Ok(Err(_)) => break,
            Err(elapsed) => panic!("the server neither reads nor closes: {elapsed}"),
        }
    }
    kinds
}

/// What the server answers on the way into a state: the kinds of its packets, in ascending order.
pub(crate) async fn answers(state: u8) -> Vec<u8> {
    let recognize = Arc::new(Recognize(Authenticator::anonymous_on_loopback()));
    let around = (start(), Live::default());
    let gateway = Gateway::assemble_with(config(), recognize, Arc::default(), around).await;
    let mut client = connect(&gateway);
    let mut kinds = Vec::new();
    for part in opening(state) {
        kinds.extend(say(&mut client, part, usize::MAX).await);
    }
    kinds.sort_unstable();
    kinds
}

/// Reads what there is. It is whole packets, each of a kind that a server sends.
async fn hear(client: &mut DuplexStream) -> Vec<u8> {
    let mut kinds = Vec::new();
    let mut heard = Vec::new();
    while let Ok(Ok(1..)) = timeout(MOMENT, client.read_buf(&mut heard)).await {}
    let mut rest = &heard[..];
    while let [first, after @ ..] = rest {
        let (length, length_bytes) = variable_integer(after).unwrap();
        rest = after.get(length_bytes + length..).unwrap();
        let kind = first >> 4;
        let is_of_a_server = matches!(kind, 2..=7 | 9 | 11 | 13..=15);
        assert!(is_of_a_server, "a server does not send {first:#04x}");
        assert!(kind != 3 || (first >> 1) & 3 < 3, "there is no QoS 3");
        kinds.push(kind);
    }
    kinds
}

fn variable_integer(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Packets of which each is its first byte, how long it is, and its body.
fn framed(mut bytes: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let [first, length, rest @ ..] = bytes {
        let length = usize::from(*length).min(rest.len());
        let (body, next) = rest.split_at(length);
        stream.push(*first);
        let low = u8::try_from(length & 0x7f).unwrap();
        match length >> 7 {
            0 => stream.push(low),
            high => stream.extend([low | 0x80, u8::try_from(high).unwrap()]),
        }
        stream.extend_from_slice(body);
        bytes = next;
    }
    stream
}

/// What brings a connection into a state.
fn opening(state: u8) -> &'static [&'static [u8]] {
    const OPENINGS: [&[&[u8]]; STATES as usize] = [
        &[],
        &[V311],
        &[V5],
        &[V311_KEPT, SUBSCRIBE_ALL_V311],
        &[V5_KEPT, SUBSCRIBE_ALL_V5],
        &[V5_KEPT, SUBSCRIBE_SHARED_V5],
        // QoS 2 from the client: PUBREC has come, PUBREL has not been sent.
        &[V311_KEPT, PUBLISH_QOS2_V311],
        &[V5_KEPT, PUBLISH_QOS2_V5],
        // QoS 2 to the client: PUBLISH has come and is not answered; or PUBREL has come.
        &[V311_KEPT, SUBSCRIBE_ALL_V311, PUBLISH_QOS2_V311, PUBREL],
        &[V5_KEPT, SUBSCRIBE_ALL_V5, PUBLISH_QOS2_V5, PUBREL],
        &[V5_KEPT, SUBSCRIBE_ALL_V5, PUBLISH_QOS2_V5, PUBREL, PUBREC],
        // QoS 1 to the client, by way of a topic alias.
        &[V5_SMALL, SUBSCRIBE_ALL_V5, PUBLISH_QOS1_ALIAS_V5],
        // Between AUTH and AUTH: before CONNACK, let in by it, and again in a session.
        &[V5_WITH_METHOD],
        &[V5_WITH_METHOD, AUTH_TOKEN],
        &[V5_WITH_METHOD, AUTH_TOKEN, SUBSCRIBE_ALL_V5, AUTH_AGAIN],
        &[V5_WITH_WILL, SUBSCRIBE_ALL_V5],
    ];
    OPENINGS[usize::from(state % STATES)]
}

const V311: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c";
const V311_KEPT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x3c\x00\x01c";
const V5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c";
/// A session of 100 seconds.
const V5_KEPT: &[u8] = b"\x10\x13\x00\x04MQTT\x05\x00\x00\x3c\x05\x11\x00\x00\x00\x64\x00\x01c";
const V5_KEPT_OF_WITNESS: &[u8] =
    b"\x10\x13\x00\x04MQTT\x05\x00\x00\x00\x05\x11\x00\x00\x00\x64\x00\x01w";
/// Takes packets of 100 bytes, one at a time, with two topic aliases.
const V5_SMALL: &[u8] =
    b"\x10\x19\x00\x04MQTT\x05\x02\x00\x3c\x0b\x21\x00\x01\x22\x00\x02\x27\x00\x00\x00\x64\x00\x01c";
/// It is asked for its token, so that what follows comes before CONNACK.
const V5_WITH_METHOD: &[u8] =
    b"\x10\x1b\x00\x04MQTT\x05\x02\x00\x3c\x0d\x15\x00\x0aOAUTH2-JWT\x00\x01c";
/// With a will of QoS 1 that is retained and waits a second.
const V5_WITH_WILL: &[u8] =
    b"\x10\x1a\x00\x04MQTT\x05\x2e\x00\x3c\x00\x00\x01c\x05\x18\x00\x00\x00\x01\x00\x01a\x00\x01w";
const AUTH_TOKEN: &[u8] = b"\xf0\x15\x18\x13\x15\x00\x0aOAUTH2-JWT\x16\x00\x03you";
const AUTH_AGAIN: &[u8] = b"\xf0\x0f\x19\x0d\x15\x00\x0aOAUTH2-JWT";
const SUBSCRIBE_ALL_V311: &[u8] = b"\x82\x06\x00\x01\x00\x01#\x02";
/// With a subscription identifier, and one that overlaps.
const SUBSCRIBE_ALL_V5: &[u8] = b"\x82\x0f\x00\x01\x02\x0b\x05\x00\x01#\x02\x00\x03a/+\x09";
const SUBSCRIBE_SHARED_V5: &[u8] = b"\x82\x10\x00\x01\x00\x00\x0a$share/g/#\x02";
const PUBLISH_QOS1_ALIAS_V5: &[u8] = b"\x32\x0c\x00\x03a/b\x00\x01\x03\x23\x00\x01p";
const PUBLISH_QOS2_V311: &[u8] = b"\x34\x08\x00\x03a/b\x00\x01p";
const PUBLISH_QOS2_V5: &[u8] = b"\x34\x09\x00\x03a/b\x00\x01\x00p";
const PUBREC: &[u8] = b"\x50\x02\x00\x01";
const PUBREL: &[u8] = b"\x62\x02\x00\x01";

/// Takes every token but `bad`, and whoever has none.
struct Recognize(Authenticator);

impl Authenticate for Recognize {
    fn authenticate<'a>(
        &'a self,
        credential: &'a Credential,
        peer: &'a Peer,
    ) -> BoxFuture<'a, Result<Arc<Principal>, Unauthenticated>> {
        let token = match credential {
            Credential::Bearer(token) => &**token,
            Credential::Basic { name, .. } => &**name,
            _ => return self.0.authenticate(credential, peer),
        };
        let recognized = match token {
            "bad" => Err(Unauthenticated::Invalid("it is bad".into())),
            #[expect(clippy::disallowed_methods, reason = "the part of auth is played here")]
            name => Ok(Arc::new(Principal::vouch_for(name, Method::Bearer, None))),
        };
        Box::pin(std::future::ready(recognized))
    }
}
