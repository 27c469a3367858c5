//! Packets that break a rule: each ends the connection, with a code that fits where one is sent.

use crate::client::Client;
use crate::server::{PACKET_BYTES, Server, unique};
use crate::wire::{
    BOTH, Connect, Message, Properties, SUBSCRIPTION_ID, TOPIC_ALIAS, Version, packet, subscribe,
    unsubscribe,
};

/// What mosquitto 2.0.11 lets pass.
const LAX: [&str; 13] = [
    "#",
    "DUP with QoS 0",
    "PINGREQ with flags 0100",
    "PINGREQ with something in it",
    "PINGRESP",
    "PUBACK with flags 0001",
    "PUBREC with flags 1111",
    "SUBACK",
    "UNSUBACK",
    "a payload format of 2",
    "a subscription identifier",
    "a/+",
    "no local on a shared subscription",
];

/// The packet ends an accepted connection.
async fn assert_ends(server: &Server, version: Version, bytes: &[u8], codes: &[u8], what: &str) {
    if LAX.contains(&what) && server.is_excused("lets it pass") {
        return;
    }
    let mut client = Client::new(server, version, &unique("c")).await;
    client.send(bytes).await;
    client.assert_closed(codes, what).await;
}

const MALFORMED: &[u8] = &[0x81, 0x82];

#[tokio::test]
async fn flags_that_are_reserved_end_the_connection() {
    covers!("MQTT3:2.2.2-1", "MQTT3:2.2.2-2", "MQTT3:3.6.1-1", "MQTT3:3.8.1-1");
    covers!("MQTT3:3.10.1-1", "MQTT3:3.14.1-1", "MQTT3:4.8.0-1");
    covers!("MQTT5:2.1.3-1", "MQTT5:3.6.1-1", "MQTT5:3.8.1-1", "MQTT5:3.10.1-1");
    covers!("MQTT5:3.14.1-1", "MQTT5:4.13.1-1");
    let server = Server::shared().await;
    for version in BOTH {
        let mut subscribe = subscribe(version, 1, &Properties::default(), &[("a", 0)]);
        let mut unsubscribe = unsubscribe(version, 1, &["a"]);
        subscribe[0] = 0x80;
        unsubscribe[0] = 0xa0;
        let rows: [(&[u8], &str); 7] = [
            (&[0x60, 2, 0, 1], "PUBREL with flags 0000"),
            (&subscribe, "SUBSCRIBE with flags 0000"),
            (&unsubscribe, "UNSUBSCRIBE with flags 0000"),
            (&[0xe1, 0], "DISCONNECT with flags 0001"),
            (&[0xc4, 0], "PINGREQ with flags 0100"),
            (&[0x41, 2, 0, 1], "PUBACK with flags 0001"),
            (&[0x5f, 2, 0, 1], "PUBREC with flags 1111"),
        ];
        for (bytes, what) in rows {
            assert_ends(&server, version, bytes, MALFORMED, what).await;
        }
    }
}

#[tokio::test]
async fn auth_with_flags_ends_the_connection() {
    covers!("MQTT5:3.15.1-1");
    let server = Server::shared().await;
    assert_ends(&server, Version::V5, &[0xf1, 0], MALFORMED, "AUTH with flags 0001").await;
}

#[tokio::test]
async fn packets_that_no_client_sends_end_the_connection() {
    covers!("MQTT3:4.8.0-1", "MQTT5:4.13.1-1");
    let server = Server::shared().await;
    for version in BOTH {
        let rows: [(&[u8], &str); 6] = [
            (&[0x00, 0], "type 0"),
            (&[0x20, 2, 0, 0], "CONNACK"),
            (&[0x90, 3, 0, 1, 0], "SUBACK"),
            (&[0xb0, 2, 0, 1], "UNSUBACK"),
            (&[0xd0, 0], "PINGRESP"),
            (&[0xf0, 0], "AUTH where none is due"),
        ];
        for (bytes, what) in rows {
            assert_ends(&server, version, bytes, MALFORMED, what).await;
        }
    }
}

#[tokio::test]
async fn lengths_that_do_not_fit_end_the_connection() {
    covers!("MQTT3:4.8.0-1", "MQTT5:4.13.1-1");
    let server = Server::shared().await;
    for version in BOTH {
        let rows: [(&[u8], &str); 6] = [
            (&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01], "a length of five bytes"),
            (&[0x30, 2, 0, 9], "a topic beyond the end"),
            (&[0x32, 4, 0, 1, b'a', 0], "no room for the packet identifier"),
            (&[0x40, 1, 0], "half a packet identifier"),
            (&[0x82, 5, 0, 1, 0, 0, 9], "a filter beyond the end"),
            (&[0xc0, 1, 0], "PINGREQ with something in it"),
        ];
        for (bytes, what) in rows {
            assert_ends(&server, version, bytes, &[0x81, 0x82, 0x95], what).await;
        }
    }
}

#[tokio::test]
async fn publications_that_cannot_be_end_the_connection() {
    covers!("MQTT3:3.3.1-4", "MQTT3:3.3.2-2", "MQTT3:4.7.1-1", "MQTT3:4.7.3-1");
    covers!("MQTT5:3.3.1-4", "MQTT5:3.3.2-2", "MQTT5:4.7.0-1", "MQTT5:4.7.3-1");
    covers!("MQTT3:2.3.1-1", "MQTT5:2.2.1-3");
    let server = Server::shared().await;
    for version in BOTH {
        let of = |message: Message| message.encode(version);
        let mut qos_3 = of(Message::new("a", "x").qos(1).id(1));
        qos_3[0] = 0x36;
        let rows = [
            (qos_3, "QoS 3"),
            (of(Message::new("a/#", "x")), "`#` in a topic"),
            (of(Message::new("+/a", "x")), "`+` in a topic"),
            (of(Message::new("", "x")), "no topic"),
            (of(Message::new("a", "x").qos(1).id(0)), "packet identifier 0"),
            (of(Message::new("a", "x").qos(2).id(0)), "packet identifier 0 with QoS 2"),
        ];
        for (bytes, what) in rows {
            assert_ends(&server, version, &bytes, &[0x81, 0x82, 0x90], what).await;
        }
    }
}

#[tokio::test]
async fn dup_with_qos_0_ends_the_connection() {
    covers!("MQTT3:3.3.1-2", "MQTT5:3.3.1-2");
    let server = Server::shared().await;
    for version in BOTH {
        let bytes = Message::new("a", "x").dup().encode(version);
        assert_ends(&server, version, &bytes, MALFORMED, "DUP with QoS 0").await;
    }
}

#[tokio::test]
async fn text_that_is_no_utf_8_ends_the_connection() {
    covers!("MQTT3:1.5.3-1", "MQTT3:1.5.3-2", "MQTT3:3.3.2-1", "MQTT3:3.8.3-1");
    covers!("MQTT3:3.10.3-1", "MQTT3:4.7.3-2");
    covers!("MQTT5:1.5.4-1", "MQTT5:1.5.4-2", "MQTT5:3.3.2-1", "MQTT5:3.8.3-1");
    covers!("MQTT5:3.10.3-1", "MQTT5:4.7.3-2");
    let server = Server::shared().await;
    let none: &[u8] = &[];
    for version in BOTH {
        let properties: &[u8] = if version == Version::V5 { &[0] } else { none };
        for bad in [&b"a\xff"[..], b"\xed\xa0\x80", b"a\0b", b"\xf4\x90\x80\x80"] {
            let length = [0, u8::try_from(bad.len()).unwrap()];
            let rows = [
                (0x30, [none, &length, bad, properties, b"x"].concat(), "PUBLISH"),
                (0x82, [&[0, 1], properties, &length, bad, &[0]].concat(), "SUBSCRIBE"),
                (0xa2, [&[0, 1], properties, &length, bad].concat(), "UNSUBSCRIBE"),
            ];
            for (first, rest, what) in rows {
                let what = format!("{what} {bad:02x?}");
                let bytes = packet(first, &rest);
                let codes = &[0x81, 0x82, 0x8f, 0x90];
                assert_ends(&server, version, &bytes, codes, &what).await;
            }
        }
    }
}

#[tokio::test]
async fn strings_in_properties_are_utf_8() {
    covers!("MQTT5:1.5.7-1", "MQTT5:3.3.2-13", "MQTT5:3.3.2-19", "MQTT5:1.5.4-1");
    let server = Server::shared().await;
    let rows: [(&[u8], &str); 5] = [
        (&[4, 0x08, 0, 1, 0xff], "the response topic"),
        (&[4, 0x03, 0, 1, 0xff], "the content type"),
        (&[7, 0x26, 0, 1, 0xff, 0, 1, b'v'], "the name of a user property"),
        (&[7, 0x26, 0, 1, b'n', 0, 1, 0xff], "the value of a user property"),
        (&[7, 0x26, 0, 1, b'n', 0, 1, 0], "U+0000 in a user property"),
    ];
    for (properties, what) in rows {
        let bytes = packet(0x30, &[&[0, 1, b'a'], properties, b"x"].concat());
        assert_ends(&server, Version::V5, &bytes, MALFORMED, what).await;
    }
}

#[tokio::test]
async fn a_response_topic_with_wildcards_ends_the_connection() {
    covers!("MQTT5:3.3.2-14");
    let server = Server::shared().await;
    for topic in ["a/+", "#"] {
        let properties = Properties::default().text(crate::wire::RESPONSE_TOPIC, topic);
        let bytes = Message::new("a", "x").with(properties).encode(Version::V5);
        assert_ends(&server, Version::V5, &bytes, &[0x81, 0x82, 0x90], topic).await;
    }
}

#[tokio::test]
async fn properties_that_cannot_be_end_the_connection() {
    covers!("MQTT5:4.13.1-1", "MQTT5:3.3.2-8", "MQTT5:3.3.4-6", "MQTT5:3.3.2-9");
    covers!("MQTT5:3.2.2-17");
    let server = Server::strict().await;
    let rows: [(&[u8], &[u8], &str); 11] = [
        (&[2, 0x7f, 0], MALFORMED, "one that does not exist"),
        (&[4, 0x01, 0, 0x01, 0], MALFORMED, "the payload format twice"),
        (&[2, 0x01, 2], MALFORMED, "a payload format of 2"),
        (&[10, 2, 0, 0, 0, 9, 2, 0, 0, 0, 9], MALFORMED, "the expiry twice"),
        (&[5, 0x11, 0, 0, 0, 9], MALFORMED, "a property of CONNECT"),
        (&[3, 0x23, 0, 0], &[0x81, 0x82, 0x94], "alias 0"),
        (&[3, 0x23, 0, 99], &[0x81, 0x94], "an alias above the maximum"),
        (&[2, 0x0b, 1], MALFORMED, "a subscription identifier"),
        (&[8, 3, 0, 1, b'a', 3, 0, 1, b'b'], MALFORMED, "the content type twice"),
        (&[9, 0x01, 0], &[0x81, 0x82], "a length beyond the end"),
        (&[1, 0x02], MALFORMED, "a value that is missing"),
    ];
    for (properties, codes, what) in rows {
        let bytes = packet(0x32, &[&[0, 1, b'a', 0, 1], properties].concat());
        assert_ends(&server, Version::V5, &bytes, codes, what).await;
    }
    let unknown = Properties::default().number(TOPIC_ALIAS, 2);
    let bytes = Message::new("", "x").with(unknown).encode(Version::V5);
    assert_ends(&server, Version::V5, &bytes, &[0x82, 0x94], "an alias without a topic").await;
}

#[tokio::test]
async fn subscriptions_that_cannot_be_end_the_connection() {
    covers!("MQTT3:3.8.3-3", "MQTT3:3.8.3-4", "MQTT3:3.10.3-2");
    covers!("MQTT5:3.8.3-2", "MQTT5:3.8.3-5", "MQTT5:3.10.3-2", "MQTT5:3.8.3-4");
    let server = Server::shared().await;
    let none = Properties::default();
    for version in BOTH {
        let of = |id, filter, options| subscribe(version, id, &none, &[(filter, options)]);
        let mut rows = vec![
            (subscribe(version, 1, &none, &[]), "no filter"),
            (unsubscribe(version, 1, &[]), "nothing to unsubscribe from"),
            (of(1, "a", 3), "QoS 3"),
            (of(1, "a", 0x40), "reserved bits"),
            (of(1, "a", 0x80), "reserved bits"),
            (of(0, "a", 0), "packet identifier 0"),
            (unsubscribe(version, 0, &["a"]), "UNSUBSCRIBE with packet identifier 0"),
        ];
        if version == Version::V3 {
            rows.push((of(1, "a", 4), "an option of MQTT 5"));
        } else {
            let zero = none.clone().number(SUBSCRIPTION_ID, 0);
            rows.push((of(1, "a", 0x30), "retain handling 3"));
            rows.push((of(1, "$share/g/a", 4), "no local on a shared subscription"));
            rows.push((subscribe(version, 1, &zero, &[("a", 0)]), "subscription identifier 0"));
        }
        for (bytes, what) in rows {
            assert_ends(&server, version, &bytes, MALFORMED, what).await;
        }
    }
}

/// A filter that cannot be is refused in SUBACK, or ends the connection.
#[tokio::test]
async fn filters_that_cannot_be_are_not_granted() {
    covers!("MQTT3:4.7.1-2", "MQTT3:4.7.1-3", "MQTT3:4.7.3-1", "MQTT5:4.7.1-1");
    covers!("MQTT5:4.7.1-2", "MQTT5:4.7.3-1", "MQTT5:4.8.2-1", "MQTT5:4.8.2-2");
    let server = Server::shared().await;
    let bad = ["a/#/b", "a#", "#a", "a+", "a/+b", "+a/b", "", "##"];
    let shared = ["$share/", "$share//a", "$share/g", "$share/g/", "$share/g+/a", "$share/#/a"];
    for version in BOTH {
        let shared = if version == Version::V5 { &shared[..] } else { &[] };
        for filter in bad.iter().chain(shared) {
            if shared.contains(filter) && server.is_excused("grants it") {
                continue;
            }
            let mut client = Client::new(&server, version, &unique("c")).await;
            let bytes = subscribe(version, 1, &Properties::default(), &[(filter, 0)]);
            client.send(&bytes).await;
            match client.next().await {
                None => {}
                Some(crate::wire::Packet::Disconnect { code, .. }) => {
                    assert!(matches!(code, 0x81 | 0x82 | 0x8f), "{filter}: {code:02x}");
                }
                Some(crate::wire::Packet::Granted { codes, .. }) => {
                    let expected: &[u8] = if version == Version::V3 { &[0x80] } else { &[0x8f] };
                    assert_eq!(codes, expected, "{filter} is not granted");
                }
                other => panic!("{filter}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_packet_that_is_too_large_ends_the_connection() {
    covers!("MQTT5:3.2.2-15");
    let server = Server::strict().await;
    let large = vec![b'x'; PACKET_BYTES as usize];
    for version in BOTH {
        let bytes = Message::new("a", large.clone()).encode(version);
        assert_ends(&server, version, &bytes, &[0x95], "a packet over the maximum").await;
    }
    let connect = Connect::new(Version::V5, unique("c"));
    let client = Client::open(&server, &connect).await;
    assert_eq!(client.properties.get(crate::wire::MAXIMUM_PACKET), Some(PACKET_BYTES));
}

#[tokio::test]
async fn acknowledgements_of_nothing_do_no_harm() {
    covers!("MQTT3:2.3.1-6", "MQTT5:2.2.1-5");
    let server = Server::shared().await;
    for version in BOTH {
        let mut client = Client::new(&server, version, &unique("c")).await;
        // PUBREL of an unknown packet identifier is answered all the same, lest the client wait.
        client.send(&[0x62, 2, 0, 9]).await;
        let code = client.acknowledged(crate::wire::PUBCOMP, 9).await;
        assert!(matches!(code, 0 | 0x92), "{code:02x}");
    }
}
