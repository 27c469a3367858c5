//! How a connection begins: CONNECT and CONNACK.

use crate::client::Client;
use crate::server::{KEEP_ALIVE_S, Server, unique};
use crate::wire::{
    ASSIGNED_CLIENT_ID, BOTH, Connect, DISCONNECT, Message, PAYLOAD_FORMAT, PINGREQ, Packet,
    Properties, REQUEST_RESPONSE, RESPONSE_INFORMATION, SERVER_KEEP_ALIVE, TOPIC_ALIAS,
    TOPIC_ALIAS_MAXIMUM, Version, WILL_DELAY, field, packet, subscribe,
};

/// CONNECT from its parts: protocol name, version, flags and what follows the keep alive.
fn connect(name: &str, version: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    field(&mut body, name);
    body.extend([version, flags, 0, 60]);
    body.extend(rest);
    packet(0x10, &body)
}

/// Fields of a payload, after the empty properties that MQTT 5 has before it.
fn payload(version: Version, fields: &[&[u8]]) -> Vec<u8> {
    let mut all = if version == Version::V5 { vec![0] } else { vec![] };
    for bytes in fields {
        field(&mut all, bytes);
    }
    all
}

fn number(version: Version) -> u8 {
    if version == Version::V3 { 4 } else { 5 }
}

/// What is sent on a new connection ends it, with CONNACK of one of the codes if any.
async fn assert_refused(version: Version, bytes: &[u8], codes: &[u8], what: &str) {
    let server = Server::shared().await;
    let mut client = Client::bare(&server, version).await;
    client.send(bytes).await;
    match client.next().await {
        None => {}
        Some(Packet::Connack { flags: 0, code, .. }) if codes.contains(&code) => {
            assert_eq!(client.next().await, None, "{what}: the connection is closed");
        }
        other => panic!("{what}: expected the end with one of {codes:02x?}, found {other:02x?}"),
    }
}

#[tokio::test]
async fn an_accepted_connect_is_answered_with_connack_alone() {
    covers!("MQTT3:3.1.4-4", "MQTT3:3.2.0-1", "MQTT3:7.1.1-1", "MQTT5:4.2.0-1", "MQTT5:3.1.4-5");
    covers!("MQTT5:3.2.0-1", "MQTT5:3.2.0-2", "MQTT5:3.2.2-1", "MQTT5:3.2.2-8");
    covers!("MQTT3:7.0.0-2", "MQTT5:2.2.2-1", "MQTT3:3.12.4-1", "MQTT5:3.12.4-1");
    let server = Server::shared().await;
    for version in BOTH {
        let mut client = Client::new(&server, version, &unique("c")).await;
        assert!(!client.session_present);
        client.assert_quiet().await;
        client.disconnect().await;
    }
}

#[tokio::test]
async fn nothing_but_connect_begins_a_connection() {
    covers!("MQTT3:3.1.0-1", "MQTT5:3.1.0-1", "MQTT5:3.14.0-1");
    for version in BOTH {
        let publish = Message::new("a", "x").encode(version);
        let subscribe = subscribe(version, 1, &Properties::default(), &[("a", 0)]);
        for bytes in [PINGREQ, DISCONNECT, &publish, &subscribe, &[0xf0, 0], &[0x20, 2, 0, 0]] {
            let server = Server::shared().await;
            let mut client = Client::bare(&server, version).await;
            client.send(bytes).await;
            assert_eq!(client.next().await, None, "{bytes:02x?} ends the connection in silence");
        }
    }
}

#[tokio::test]
async fn a_second_connect_ends_the_connection() {
    covers!("MQTT3:3.1.0-2", "MQTT5:3.1.0-2");
    let server = Server::shared().await;
    for version in BOTH {
        let connect = Connect::new(version, unique("c"));
        let mut client = Client::open(&server, &connect).await;
        client.send(&connect.encode()).await;
        client.assert_closed(&[0x82], "a second CONNECT").await;
    }
}

#[tokio::test]
async fn another_protocol_or_version_is_refused() {
    covers!("MQTT3:3.1.2-1", "MQTT3:3.1.2-2", "MQTT5:3.1.2-1", "MQTT5:3.1.2-2");
    for version in BOTH {
        let rest = payload(version, &[b"c"]);
        for name in ["", "mqtt", "MQTX", "MQIsdp", "HTTP/1.1"] {
            let bytes = connect(name, number(version), 2, &rest);
            assert_refused(version, &bytes, &[0x01, 0x84], name).await;
        }
    }
    let server = Server::shared().await;
    let mut client = Client::bare(&server, Version::V3).await;
    client.send(&connect("MQTT", 3, 2, &payload(Version::V3, &[b"c"]))).await;
    let code = client.connack().await;
    assert!(code.is_none_or(|code| code == 1), "a level that is none: {code:?}");
    for version in [6, 0x7f] {
        let mut client = Client::bare(&server, Version::V3).await;
        client.send(&connect("MQTT", version, 2, &payload(Version::V3, &[b"c"]))).await;
        let code = client.connack().await;
        assert!(matches!(code, Some(0x01 | 0x84) | None), "version {version}: {code:?}");
        assert_eq!(client.next().await, None, "the connection is closed");
        if !server.is_excused("says nothing at all") {
            assert!(code.is_some(), "version {version} is told");
        }
    }
}

#[tokio::test]
async fn flags_of_connect_that_cannot_be_are_refused() {
    covers!("MQTT3:3.1.2-3", "MQTT3:3.1.2-11", "MQTT3:3.1.2-13", "MQTT3:3.1.2-14");
    covers!("MQTT3:3.1.2-15", "MQTT3:3.1.2-22", "MQTT3:3.1.4-1", "MQTT3:3.2.2-6");
    covers!("MQTT5:3.1.2-3", "MQTT5:3.1.2-11", "MQTT5:3.1.2-13", "MQTT5:3.1.2-14");
    covers!("MQTT5:3.1.2-15", "MQTT5:3.1.4-1");
    for version in BOTH {
        let alone = payload(version, &[b"c"]);
        let mut will = alone.clone();
        will.extend(payload(version, &[b"a", b"w"]));
        let mut user = alone.clone();
        field(&mut user, "password");
        let rows = [
            (0x03, &alone, "the reserved flag"),
            (0x0a, &alone, "will QoS without a will"),
            (0x22, &alone, "will retain without a will"),
            (0x1e, &will, "will QoS 3"),
        ];
        for (flags, rest, what) in rows {
            let bytes = connect("MQTT", number(version), flags, rest);
            assert_refused(version, &bytes, &[0x81, 0x82], what).await;
        }
        if version == Version::V3 {
            let bytes = connect("MQTT", 4, 0x42, &user);
            assert_refused(version, &bytes, &[], "a password without a user name").await;
        }
    }
}

#[tokio::test]
async fn fields_of_connect_are_those_that_the_flags_say() {
    covers!("MQTT3:3.1.2-9", "MQTT3:3.1.2-18", "MQTT3:3.1.2-19", "MQTT3:3.1.2-20");
    covers!("MQTT3:3.1.2-21", "MQTT3:3.1.3-1", "MQTT3:3.1.3-3");
    covers!("MQTT5:3.1.2-9", "MQTT5:3.1.2-18", "MQTT5:3.1.2-19", "MQTT5:3.1.2-20");
    covers!("MQTT5:3.1.2-21", "MQTT5:3.1.3-1", "MQTT5:3.1.3-3");
    for version in BOTH {
        let none = payload(version, &[]);
        let alone = payload(version, &[b"c"]);
        let more = payload(version, &[b"c", b"more"]);
        let mut topic = alone.clone();
        topic.extend(payload(version, &[b"a"]));
        let rows = [
            (0x02, &none, "no client identifier"),
            (0x06, &alone, "no will"),
            (0x06, &topic, "no will message"),
            (0x82, &alone, "no user name"),
            (0xc2, &more, "no password"),
            (0x02, &more, "a field too many"),
        ];
        for (flags, rest, what) in rows {
            if flags == 0x02 && rest == &more && Server::shared().await.is_excused("takes it") {
                continue;
            }
            let bytes = connect("MQTT", number(version), flags, rest);
            assert_refused(version, &bytes, &[0x81, 0x82], what).await;
        }
    }
}

#[tokio::test]
async fn strings_of_connect_are_utf_8_without_null() {
    covers!("MQTT3:3.1.3-4", "MQTT3:3.1.3-10", "MQTT3:3.1.3-11", "MQTT3:1.5.3-1");
    covers!("MQTT3:1.5.3-2");
    covers!("MQTT5:3.1.3-4", "MQTT5:3.1.3-9", "MQTT5:3.1.3-10", "MQTT5:1.5.4-1");
    covers!("MQTT5:1.5.4-2");
    let bad: [&[u8]; 4] = [b"\xff", b"a\xed\xa0\x80", b"a\0b", b"\xc0\x80"];
    for (version, bad) in BOTH.into_iter().flat_map(|version| bad.map(|bad| (version, bad))) {
        let mut will = payload(version, &[b"c"]);
        will.extend(payload(version, &[bad, b"w"]));
        let rows = [
            (0x02, payload(version, &[bad]), "the client identifier"),
            (0x06, will, "the will topic"),
            (0x82, payload(version, &[b"c", bad]), "the user name"),
        ];
        for (flags, rest, what) in rows {
            if flags == 0x82 && Server::shared().await.is_excused("does not look at user names") {
                continue;
            }
            let bytes = connect("MQTT", number(version), flags, &rest);
            assert_refused(version, &bytes, &[0x02, 0x81, 0x82, 0x85, 0x90], what).await;
        }
    }
}

#[tokio::test]
async fn client_identifiers_of_letters_and_digits_are_allowed() {
    covers!("MQTT3:3.1.3-5", "MQTT5:3.1.3-5");
    let server = Server::shared().await;
    for version in BOTH {
        for client_id in
            ["7", "abcdefghijklmnopqrstuvw", "ABCDEFGHIJKLMNOPQRSTUVW", "xyzXYZ0123456789"]
        {
            Client::new(&server, version, client_id).await.disconnect().await;
        }
    }
}

#[tokio::test]
async fn an_empty_client_identifier_gets_one_assigned() {
    covers!("MQTT3:3.1.3-6", "MQTT5:3.1.3-6", "MQTT5:3.1.3-7", "MQTT5:3.2.2-16");
    let server = Server::shared().await;
    for version in BOTH {
        let mut first = Client::new(&server, version, "").await;
        let mut second = Client::new(&server, version, "").await;
        first.ping().await;
        second.ping().await;
        if version == Version::V5 {
            let [one, other] = [&first, &second].map(|client| {
                let assigned = client.properties.bytes(ASSIGNED_CLIENT_ID).expect("it is told");
                String::from_utf8(assigned.to_vec()).unwrap()
            });
            assert_ne!(one, other);
            let again = Client::new(&server, version, &one).await;
            assert!(!again.properties.has(ASSIGNED_CLIENT_ID), "that is not assigned");
            first.assert_closed(&[0x8e], "the name is that of the session").await;
        }
    }
}

#[tokio::test]
async fn a_session_of_5_without_client_identifier_is_resumed_by_the_assigned_one() {
    covers!("MQTT5:3.1.3-7");
    let server = Server::shared().await;
    let client = Client::open(&server, &Connect::new(Version::V5, "").resume()).await;
    assert!(!client.session_present);
    let assigned = client.properties.bytes(ASSIGNED_CLIENT_ID).unwrap();
    let assigned = String::from_utf8(assigned.to_vec()).unwrap();
    client.disconnect().await;
    let client = Client::open(&server, &Connect::new(Version::V5, assigned).resume()).await;
    assert!(client.session_present);
}

#[tokio::test]
async fn an_empty_client_identifier_of_3_1_1_that_is_not_clean_is_rejected() {
    covers!("MQTT3:3.1.3-8", "MQTT3:3.1.3-9", "MQTT3:3.2.2-4", "MQTT3:3.2.2-5");
    let server = Server::shared().await;
    let connect = Connect::new(Version::V3, "").resume();
    let (mut client, code) = Client::attempt(&server, &connect).await;
    assert_eq!(code, Some(2));
    assert_eq!(client.next().await, None, "the connection is closed");
}

#[tokio::test]
async fn nothing_after_a_refused_connect_is_processed() {
    covers!("MQTT3:3.1.4-5", "MQTT5:3.1.4-6", "MQTT5:3.1.4-2", "MQTT5:3.1.3-8");
    covers!("MQTT5:3.2.2-6", "MQTT5:3.2.2-7", "MQTT5:4.13.2-1");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut watcher = Client::new(&server, version, &unique("c")).await;
        watcher.subscribe(&topic, 0).await;
        let mut client = Client::bare(&server, version).await;
        // 3.1.1 refuses the identifier, and both what is no UTF-8 in a will topic.
        let mut bytes = match version {
            Version::V3 => Connect::new(version, "").resume().encode(),
            Version::V5 => connect("MQTT", 9, 2, &payload(version, &[b"c"])),
        };
        bytes.extend(Message::new(&topic, "stray").encode(version));
        client.send(&bytes).await;
        while client.next().await.is_some() {}
        watcher.publish(Message::new(&topic, "end")).await;
        assert_eq!(watcher.before("end").await, [""; 0]);
    }
}

#[tokio::test]
async fn a_server_keep_alive_is_told_where_the_client_would_be_slower() {
    covers!("MQTT5:3.2.2-22", "MQTT5:3.1.2-24");
    let strict = Server::strict().await;
    let slow = Connect::new(Version::V5, unique("c")).keep_alive(60);
    let client = Client::open(&strict, &slow).await;
    assert_eq!(client.properties.get(SERVER_KEEP_ALIVE), Some(KEEP_ALIVE_S.into()));
    let quick = Connect::new(Version::V5, unique("c")).keep_alive(KEEP_ALIVE_S - 1);
    let client = Client::open(&strict, &quick).await;
    assert_eq!(client.properties.get(SERVER_KEEP_ALIVE), None, "the client's own counts");
    let shared = Server::shared().await;
    let client = Client::new(&shared, Version::V5, &unique("c")).await;
    assert_eq!(client.properties.get(SERVER_KEEP_ALIVE), None, "none is imposed here");
}

#[tokio::test]
async fn a_topic_alias_maximum_of_0_is_as_good_as_none() {
    covers!("MQTT5:3.1.2-30");
    let server = Server::shared().await;
    let connect = Connect::new(Version::V5, unique("c")).number(TOPIC_ALIAS_MAXIMUM, 0);
    Client::open(&server, &connect).await.assert_quiet().await;
}

#[tokio::test]
async fn response_information_is_for_whoever_asks() {
    covers!("MQTT5:3.1.2-31");
    let server = Server::shared().await;
    let silent = Connect::new(Version::V5, unique("c"));
    for connect in [silent.clone(), silent.number(REQUEST_RESPONSE, 0)] {
        let client = Client::open(&server, &connect).await;
        assert!(!client.properties.has(RESPONSE_INFORMATION));
    }
    let asking = Connect::new(Version::V5, unique("c")).number(REQUEST_RESPONSE, 1);
    Client::open(&server, &asking).await.disconnect().await;
}

#[tokio::test]
async fn properties_of_connect_that_cannot_be_are_refused() {
    covers!("MQTT5:4.13.1-1");
    let rows: [(&[u8], &str); 13] = [
        (&[5, 0x11, 0, 0, 0], "an expiry cut short"),
        (&[10, 0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1], "two expiries"),
        (&[3, 0x21, 0, 0], "a receive maximum of 0"),
        (&[6, 0x21, 0, 1, 0x21, 0, 1], "two receive maxima"),
        (&[5, 0x27, 0, 0, 0, 0], "a maximum packet size of 0"),
        (&[2, 0x17, 2], "request problem information of 2"),
        (&[2, 0x19, 2], "request response information of 2"),
        (&[4, 0x17, 1, 0x17, 1], "two of request problem information"),
        (&[2, 0x01, 0], "a property of PUBLISH"),
        (&[2, 0x24, 1], "a property of CONNACK"),
        (&[2, 0x7f, 0], "a property that does not exist"),
        (&[4, 0x16, 0, 1, b'x'], "authentication data without a method"),
        (&[0x80, 0x80, 0x80, 0x80, 0x01], "a length of five bytes"),
    ];
    for (properties, what) in rows {
        let is_data = what.starts_with("authentication data");
        if is_data && Server::shared().await.is_excused("takes it") {
            continue;
        }
        let mut rest = properties.to_vec();
        field(&mut rest, "c");
        let bytes = connect("MQTT", 5, 2, &rest);
        assert_refused(Version::V5, &bytes, &[0x81, 0x82, 0x8c, 0x87], what).await;
    }
    let will = |properties| {
        let mut message = Message::new("a", "w");
        message.properties = properties;
        Connect::new(Version::V5, unique("c")).will(message).encode()
    };
    let none = Properties::default();
    for (bytes, what) in [
        (will(none.clone().number(TOPIC_ALIAS, 1)), "an alias in a will"),
        (will(none.clone().number(WILL_DELAY, 1).number(WILL_DELAY, 1)), "two delays of a will"),
        (will(none.number(PAYLOAD_FORMAT, 2)), "a payload format of 2"),
    ] {
        if what.ends_with("of 2") && Server::shared().await.is_excused("takes it") {
            continue;
        }
        assert_refused(Version::V5, &bytes, &[0x81, 0x82], what).await;
    }
}
