//! Packets that break a rule: each is answered with its code, or with the end of the connection
//! where the version has no words for it, and nothing of it is ingested.

use std::time::Duration;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::packet::{
    Answer, Connect, PINGREQ, Publish, packet, properties, pubrel, string_property, text, user,
};

/// What a packet is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The end of the connection, without a word.
    Close,
    /// CONNACK of 3.1.1, and the end.
    Return(u8),
    /// CONNACK of 5, and the end.
    Connack(u8),
    /// DISCONNECT, and the end.
    Disconnect(u8),
    /// A packet with this first byte and this reason code; the connection goes on.
    Answer(u8, u8),
}

use Expected::{Answer as Answered, Close, Connack, Disconnect, Return};

/// What is wrong, the bytes, and the answer.
type Row = (&'static str, Vec<u8>, Expected);

/// Sends each row on a connection of its own, behind `connect` if there is one.
async fn check(connect: impl Fn(usize) -> Option<Connect>, rows: Vec<Row>) {
    let gateway = Gateway::start_with(|config| {
        config.packet_bytes_max = 4096;
        config.connect_bytes_max = 1024;
        config.topic_alias_maximum = 2;
    })
    .await;
    let mut wrong = Vec::new();
    for (number, (name, bytes, expected)) in rows.into_iter().enumerate() {
        let mut client = match connect(number) {
            Some(connect) => Client::connect(gateway.address, &connect).await,
            None => Client::open(gateway.address).await,
        };
        client.write(&bytes).await;
        // What is cut short has no answer; only its end can be seen.
        if name.ends_with("cut short") {
            client.finish().await;
        }
        let Some(found) = client.read_within(Duration::from_secs(2)).await else {
            wrong.push(format!("{name}: expected {expected:x?}, and nothing came"));
            continue;
        };
        let goes_on = matches!(expected, Answered(..));
        let as_expected = found.as_ref().map_or(Close, |found| read(found, expected)) == expected;
        if !as_expected {
            wrong.push(format!("{name}: expected {expected:x?}, found {found:02x?}"));
        } else if goes_on && !client.is_alive().await {
            wrong.push(format!("{name}: the connection did not go on"));
        } else if !goes_on && let Some(more) = found.and(client.read().await) {
            wrong.push(format!("{name}: more came after the end, {more:?}"));
        }
        let taken = gateway.store.count();
        if taken > 0 {
            wrong.push(format!("{name}: {taken} events were taken"));
            gateway.store.clear();
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

fn read(found: &Answer, expected: Expected) -> Expected {
    match (found.first, found.body.len(), expected) {
        (0x20, 2, _) => Return(found.code()),
        (0x20, _, _) => Connack(found.code()),
        (0xe0, ..) => Disconnect(found.code()),
        // A packet of two bytes has its code as the only one after the packet identifier.
        (first, ..) => Answered(first, found.body.get(2).copied().unwrap_or(0)),
    }
}

/// Every packet of these rows is the first of its connection.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn in_place_of_connect() {
    let v5 = || Connect::v5("c");
    let v311 = || Connect::v311("c");
    let with = |property: &[u8]| v5().property(property).bytes();
    let named = |name, level| Connect { name, level, ..Connect::v311("c") }.bytes();
    let (topic, message) = (text("t"), text("m"));
    let will = |flags, fields: &[&[u8]]| v5().flags(flags).payload(fields).bytes();
    let rows: Vec<Row> = vec![
        ("PUBLISH", Publish::v311(0, 0, "t").bytes(), Close),
        ("PINGREQ", PINGREQ.to_vec(), Close),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Close),
        ("a packet of type 0", vec![0, 0], Close),
        (
            "flags in the fixed header",
            {
                let mut b = v311().bytes();
                b[0] = 0x11;
                b
            },
            Close,
        ),
        ("a remaining length of five bytes", vec![0x10, 0xff, 0xff, 0xff, 0xff, 1], Close),
        ("a CONNECT larger than its limit", Connect::v5([b'c'; 1100]).bytes(), Close),
        ("nothing behind the fixed header", vec![0x10, 0], Close),
        ("CONNECT cut short", v5().bytes()[..9].to_vec(), Close),
        ("the fixed header cut short", vec![0x10, 0x80], Close),
        // The name and the level.
        ("another name, level 4", named("MQTX", 4), Close),
        (
            "another name, level 5",
            {
                let mut b = v5().bytes();
                b[4] = b'X';
                b
            },
            Close,
        ),
        ("the name of 3.1", named("MQIsdp", 3), Return(1)),
        ("the level of 3.1", named("MQTT", 3), Return(1)),
        ("level 0", named("MQTT", 0), Return(1)),
        ("a bridge's level 4", named("MQTT", 0x84), Return(1)),
        ("level 6", named("MQTT", 6), Connack(0x84)),
        // 3.1.1 has no return code for a malformed CONNECT.
        ("3.1.1: the reserved flag", v311().flags(0b11).bytes(), Close),
        ("3.1.1: will QoS 3", v311().flags(0b1_1110).payload(&[&topic, &message]).bytes(), Close),
        ("3.1.1: will QoS without a will", v311().flags(0b1010).bytes(), Close),
        ("3.1.1: will retain without a will", v311().flags(0b10_0010).bytes(), Close),
        ("3.1.1: a will without fields", v311().flags(0b110).bytes(), Close),
        (
            "3.1.1: a password without a user name",
            v311().flags(0x42).payload(&[&topic]).bytes(),
            Close,
        ),
        ("3.1.1: a user name that is missing", v311().flags(0x82).bytes(), Close),
        ("3.1.1: bytes behind the payload", v311().payload(&[b"more"]).bytes(), Close),
        ("3.1.1: an identifier that is not UTF-8", Connect::v311([0xff]).bytes(), Close),
        ("3.1.1: U+0000 in the identifier", Connect::v311("a\0").bytes(), Close),
        ("3.1.1: no identifier for a session", Connect::v311("").resume().bytes(), Return(2)),
        ("3.1.1: a wildcard in the will's topic", v311().will("a/#", "m", &[]).bytes(), Close),
        ("3.1.1: a will without a topic", v311().will("", "m", &[]).bytes(), Close),
        // 5 has.
        ("the reserved flag", v5().flags(0b11).bytes(), Connack(0x81)),
        ("will QoS 3", will(0b1_1110, &[&[0], &topic, &message]), Connack(0x81)),
        ("will QoS without a will", v5().flags(0b1010).bytes(), Connack(0x81)),
        ("will retain without a will", v5().flags(0b10_0010).bytes(), Connack(0x81)),
        ("a will without fields", v5().flags(0b110).bytes(), Connack(0x81)),
        ("a user name that is missing", v5().flags(0x82).bytes(), Connack(0x81)),
        ("bytes behind the payload", v5().payload(&[b"more"]).bytes(), Connack(0x81)),
        ("an identifier that is not UTF-8", Connect::v5([0xc3, 0x28]).bytes(), Connack(0x81)),
        ("a surrogate in the identifier", Connect::v5([0xed, 0xa0, 0x80]).bytes(), Connack(0x81)),
        ("U+0000 in the identifier", Connect::v5("a\0").bytes(), Connack(0x81)),
        ("an unknown property", with(&[0x7f, 0]), Connack(0x81)),
        ("a property of PUBLISH", with(&[0x23, 0, 1]), Connack(0x81)),
        (
            "properties that end too late",
            {
                let mut b = v5().bytes();
                b[12] = 9;
                b
            },
            Connack(0x81),
        ),
        ("session expiry twice", v5().expiry(1).expiry(1).bytes(), Connack(0x82)),
        ("receive maximum 0", with(&[0x21, 0, 0]), Connack(0x82)),
        ("maximum packet size 0", with(&[0x27, 0, 0, 0, 0]), Connack(0x82)),
        ("request problem information 2", with(&[0x17, 2]), Connack(0x82)),
        ("request response information 2", with(&[0x19, 2]), Connack(0x82)),
        ("authentication data without a method", with(&[0x16, 0, 1, b'x']), Connack(0x82)),
        ("an authentication method", with(&string_property(0x15, "SCRAM")), Connack(0x8c)),
        ("a wildcard in the will's topic", v5().will("+", "m", &[]).bytes(), Connack(0x90)),
        ("a will without a topic", v5().will("", "m", &[]).bytes(), Connack(0x82)),
        ("a will for the server's topics", v5().will("$SYS/x", "m", &[]).bytes(), Connack(0x87)),
        (
            "will delay twice",
            v5().will("t", "m", &[&[0x18, 0, 0, 0, 1], &[0x18, 0, 0, 0, 1]]).bytes(),
            Connack(0x82),
        ),
        ("a topic alias for a will", v5().will("t", "m", &[&[0x23, 0, 1]]).bytes(), Connack(0x81)),
        (
            "a will that is not the text it is said to be",
            will(0b110, &[&properties(&[&[1, 1]]), &topic, &text([0xff])]),
            Connack(0x99),
        ),
    ];
    check(|_| None, rows).await;
}

/// Every packet of these rows comes from an MQTT 5 client that has been let in.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn from_a_client_of_version_5() {
    let publish = |topic: &[u8]| Publish::v5(1, 1, topic).bytes();
    let with = |property: &[u8]| Publish::v5(1, 1, "t").property(property).bytes();
    let flags = |flags| Publish { flags, ..Publish::v5(1, 1, "t") }.bytes();
    let nameless = |property: &[u8]| Publish::v5(1, 1, "").property(property).bytes();
    let subscribe = |filters: &[&[u8]]| packet(0x82, &[&[0, 1, 0], &filters.concat()]);
    let filter = |options: u8| subscribe(&[&text("a/b"), &[options]]);
    let mut rows: Vec<Row> = vec![
        ("a second CONNECT", Connect::v5("c").bytes(), Disconnect(0x82)),
        ("QoS 3", flags(0b110), Disconnect(0x81)),
        ("DUP with QoS 0", flags(0b1000), Disconnect(0x81)),
        ("packet identifier 0", Publish::v5(1, 0, "t").bytes(), Disconnect(0x82)),
        ("packet identifier 0, QoS 2", Publish::v5(2, 0, "t").bytes(), Disconnect(0x82)),
        ("a topic that is not UTF-8", publish(&[b'a', 0xff]), Disconnect(0x81)),
        ("a surrogate in the topic", publish(&[0xed, 0xa0, 0x80]), Disconnect(0x81)),
        ("an overlong U+0000 in the topic", publish(&[0xc0, 0x80]), Disconnect(0x81)),
        ("U+0000 in the topic", publish(b"a\0"), Disconnect(0x81)),
        ("# in the topic", publish(b"a/#"), Disconnect(0x90)),
        ("+ in the topic", publish(b"a/+/b"), Disconnect(0x90)),
        ("no topic and no alias", publish(b""), Disconnect(0x82)),
        ("topic alias 0", with(&[0x23, 0, 0]), Disconnect(0x94)),
        ("topic alias over the maximum", with(&[0x23, 0, 3]), Disconnect(0x94)),
        ("an alias that nobody set", nameless(&[0x23, 0, 2]), Disconnect(0x82)),
        ("topic alias twice", with(&[0x23, 0, 1, 0x23, 0, 1]), Disconnect(0x82)),
        ("an unknown property", with(&[0x7f, 0]), Disconnect(0x81)),
        ("a property of CONNECT", with(&[0x11, 0, 0, 0, 1]), Disconnect(0x81)),
        ("a property that is cut off", with(&[0x02, 0, 0]), Disconnect(0x81)),
        ("payload format indicator 2", with(&[1, 2]), Disconnect(0x82)),
        ("payload format indicator twice", with(&[1, 0, 1, 0]), Disconnect(0x82)),
        ("message expiry twice", with(&[2, 0, 0, 0, 1, 2, 0, 0, 0, 1]), Disconnect(0x82)),
        ("content type twice", with(&string_property(3, "a/b").repeat(2)), Disconnect(0x82)),
        ("correlation data twice", with(&[9, 0, 1, 0, 9, 0, 1, 0]), Disconnect(0x82)),
        ("a wildcard in the response topic", with(&string_property(8, "a/#")), Disconnect(0x82)),
        ("a content type that is not UTF-8", with(&[3, 0, 1, 0xff]), Disconnect(0x81)),
        ("U+0000 in a user property", with(&user("a\0", "b")), Disconnect(0x81)),
        ("a user property without a value", with(&[0x26, 0, 1, b'a']), Disconnect(0x81)),
        ("a subscription identifier", with(&[0x0b, 1]), Disconnect(0x82)),
        (
            "properties that end too late",
            packet(0x32, &[&text("t"), &[0, 1], &[9]]),
            Disconnect(0x81),
        ),
        (
            "a property length of five bytes",
            packet(0x32, &[&text("t"), &[0, 1], &[0xff, 0xff, 0xff, 0xff, 1]]),
            Disconnect(0x81),
        ),
        ("a topic that ends too late", packet(0x30, &[&[0, 9], b"t"]), Disconnect(0x81)),
        ("PUBLISH with nothing in it", packet(0x30, &[]), Disconnect(0x81)),
        ("PUBLISH without packet identifier", packet(0x32, &[&text("t")]), Disconnect(0x81)),
        (
            "a remaining length of five bytes",
            vec![0x32, 0xff, 0xff, 0xff, 0xff, 1],
            Disconnect(0x81),
        ),
        (
            "larger than the maximum",
            Publish::v5(1, 1, "t").payload([b'x'; 4096]).bytes(),
            Disconnect(0x95),
        ),
        ("PUBLISH cut short", publish(b"topic")[..6].to_vec(), Close),
        ("a fixed header cut short", vec![0x32, 0x80], Close),
        // Other packets.
        ("type 0", vec![0, 0], Disconnect(0x81)),
        ("CONNACK", packet(0x20, &[&[0, 0, 0]]), Disconnect(0x82)),
        ("SUBACK", packet(0x90, &[&[0, 1, 0, 0]]), Disconnect(0x82)),
        ("UNSUBACK", packet(0xb0, &[&[0, 1, 0, 0]]), Disconnect(0x82)),
        ("PINGRESP", vec![0xd0, 0], Disconnect(0x82)),
        ("PUBREL for nothing", pubrel(7), Answered(0x70, 0x92)),
        ("PUBREL with other flags", packet(0x60, &[&[0, 1]]), Disconnect(0x81)),
        ("PUBREL for identifier 0", pubrel(0), Disconnect(0x82)),
        ("PUBREL with a reason that it has not", packet(0x62, &[&[0, 1, 0x80]]), Disconnect(0x81)),
        ("PUBACK with flags", packet(0x42, &[&[0, 1]]), Disconnect(0x81)),
        ("PINGREQ with flags", vec![0xc1, 0], Disconnect(0x81)),
        ("PINGREQ with a body", vec![0xc0, 1, 0], Disconnect(0x81)),
        ("DISCONNECT with flags", vec![0xe1, 0], Disconnect(0x81)),
        ("DISCONNECT with an unknown reason", packet(0xe0, &[&[0x01]]), Disconnect(0x81)),
        (
            "a session expiry where there was none",
            packet(0xe0, &[&[0, 5, 0x11, 0, 0, 0, 9]]),
            Disconnect(0x82),
        ),
        ("AUTH without a method", vec![0xf0, 0], Disconnect(0x82)),
        (
            "AUTH that nobody asked for",
            packet(0xf0, &[&[0x18], &properties(&[&string_property(0x15, "x")])]),
            Disconnect(0x82),
        ),
        ("AUTH with flags", vec![0xf1, 0], Disconnect(0x81)),
        (
            "SUBSCRIBE with other flags",
            packet(0x80, &[&[0, 1, 0], &text("a"), &[0]]),
            Disconnect(0x81),
        ),
        ("SUBSCRIBE with no filter", subscribe(&[]), Disconnect(0x82)),
        (
            "SUBSCRIBE with identifier 0",
            packet(0x82, &[&[0, 0, 0], &text("a"), &[0]]),
            Disconnect(0x82),
        ),
        ("SUBSCRIBE with QoS 3", filter(3), Disconnect(0x82)),
        ("SUBSCRIBE with reserved bits", filter(0x40), Disconnect(0x81)),
        ("SUBSCRIBE with retain handling 3", filter(0x30), Disconnect(0x82)),
        ("SUBSCRIBE to an empty filter", subscribe(&[&text(""), &[0]]), Disconnect(0x82)),
        (
            "SUBSCRIBE to a filter that is not UTF-8",
            subscribe(&[&text([0xff]), &[0]]),
            Disconnect(0x81),
        ),
        (
            "subscription identifier 0",
            packet(0x82, &[&[0, 1, 2, 0x0b, 0], &text("a"), &[0]]),
            Disconnect(0x82),
        ),
        ("UNSUBSCRIBE with no filter", packet(0xa2, &[&[0, 1, 0]]), Disconnect(0x82)),
        ("UNSUBSCRIBE with other flags", packet(0xa0, &[&[0, 1, 0], &text("a")]), Disconnect(0x81)),
        // Packets that are well formed and cannot be taken.
        (
            "a payload that is not the text it is said to be",
            Publish::v5(1, 9, "t").property(&[1, 1]).payload([0xff]).bytes(),
            Answered(0x40, 0x99),
        ),
        (
            "the same with QoS 2",
            Publish::v5(2, 9, "t").property(&[1, 1]).payload([0xff]).bytes(),
            Answered(0x50, 0x99),
        ),
        ("a topic of the server's", Publish::v5(1, 9, "$SYS/x").bytes(), Answered(0x40, 0x87)),
    ];
    rows.push(("a topic of 65,535 bytes", publish(&vec![b'a'; 65_535]), Disconnect(0x95)));
    check(|number| Some(Connect::v5(format!("c{number}"))), rows).await;
}

/// Every packet of these rows comes from a 3.1.1 client that has been let in, and can only be
/// answered with the end.
#[tokio::test]
async fn from_a_client_of_version_3_1_1() {
    let publish = |topic: &[u8]| Publish::v311(1, 1, topic).bytes();
    let flags = |flags| Publish { flags, ..Publish::v311(1, 1, "t") }.bytes();
    let wrong = [
        ("a second CONNECT", Connect::v311("c").bytes()),
        ("QoS 3", flags(0b110)),
        ("DUP with QoS 0", flags(0b1000)),
        ("packet identifier 0", Publish::v311(1, 0, "t").bytes()),
        ("a topic that is not UTF-8", publish(&[b'a', 0xff])),
        ("U+0000 in the topic", publish(b"a\0")),
        ("# in the topic", publish(b"a/#")),
        ("+ in the topic", publish(b"+")),
        ("an empty topic", publish(b"")),
        ("a topic that ends too late", packet(0x30, &[&[0, 9], b"t"])),
        ("PUBLISH without packet identifier", packet(0x32, &[&text("t")])),
        ("larger than the maximum", Publish::v311(1, 1, "t").payload([b'x'; 4096]).bytes()),
        ("a remaining length of five bytes", vec![0x32, 0xff, 0xff, 0xff, 0xff, 1]),
        ("PUBLISH cut short", publish(b"topic")[..6].to_vec()),
        ("type 0", vec![0, 0]),
        ("AUTH", vec![0xf0, 0]),
        ("CONNACK", packet(0x20, &[&[0, 0]])),
        ("SUBACK", packet(0x90, &[&[0, 1, 0]])),
        ("PINGRESP", vec![0xd0, 0]),
        ("PUBREL with other flags", packet(0x60, &[&[0, 1]])),
        ("PUBREL for identifier 0", pubrel(0)),
        ("PUBREL with a body too long", packet(0x62, &[&[0, 1, 0]])),
        ("PINGREQ with flags", vec![0xc1, 0]),
        ("PINGREQ with a body", vec![0xc0, 1, 0]),
        ("DISCONNECT with a body", vec![0xe0, 1, 0]),
        ("SUBSCRIBE with other flags", packet(0x80, &[&[0, 1], &text("a"), &[0]])),
        ("SUBSCRIBE with no filter", packet(0x82, &[&[0, 1]])),
        ("SUBSCRIBE with QoS 3", packet(0x82, &[&[0, 1], &text("a"), &[3]])),
        ("SUBSCRIBE with reserved bits", packet(0x82, &[&[0, 1], &text("a"), &[4]])),
        ("SUBSCRIBE with identifier 0", packet(0x82, &[&[0, 0], &text("a"), &[0]])),
        ("SUBSCRIBE to an empty filter", packet(0x82, &[&[0, 1], &text(""), &[0]])),
        ("UNSUBSCRIBE with no filter", packet(0xa2, &[&[0, 1]])),
        ("UNSUBSCRIBE with other flags", packet(0xa0, &[&[0, 1], &text("a")])),
        // 3.1.1 can only be told by the end, and by the missing acknowledgement.
        ("a topic of the server's", publish(b"$SYS/x")),
    ];
    let mut rows: Vec<Row> = wrong.into_iter().map(|(name, bytes)| (name, bytes, Close)).collect();
    rows.push(("PUBREL for nothing", pubrel(7), Answered(0x70, 0)));
    check(|number| Some(Connect::v311(format!("c{number}"))), rows).await;
}
