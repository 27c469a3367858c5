//! What a subscriber gets: QoS, packet identifiers, order, flow control and sizes.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::server::{Server, unique};
use crate::wire::{
    self, BOTH, Connect, MAXIMUM_PACKET, Message, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet,
    Properties, RECEIVE_MAXIMUM, TOPIC_ALIAS, TOPIC_ALIAS_MAXIMUM, Version, acknowledge,
};

#[tokio::test]
async fn the_lower_qos_of_publication_and_subscription_counts() {
    covers!("MQTT3:3.8.4-6", "MQTT5:3.8.4-8", "MQTT3:4.3.1-1", "MQTT5:4.3.1-1");
    covers!("MQTT3:3.3.1-2", "MQTT5:3.3.1-2", "MQTT3:2.3.1-5", "MQTT5:2.2.1-2");
    covers!("MQTT3:4.3.2-1", "MQTT5:4.3.2-2", "MQTT5:4.3.3-2", "MQTT3:2.3.1-4");
    covers!("MQTT5:2.2.1-4", "MQTT3:4.5.0-1", "MQTT5:4.5.0-1");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut publisher = Client::new(&server, version, &unique("c")).await;
        for granted in 0..3 {
            let mut subscriber = Client::new(&server, version, &unique("c")).await;
            subscriber.subscribe(&topic, granted).await;
            for qos in 0..3 {
                publisher.publish(Message::new(&topic, "x").qos(qos)).await;
                let message = subscriber.message().await;
                assert_eq!((message.qos, message.dup), (qos.min(granted), false));
                assert_eq!(message.id > 0, message.qos > 0);
            }
        }
    }
}

#[tokio::test]
async fn packet_identifiers_are_not_used_twice_at_once() {
    covers!("MQTT3:2.3.1-4", "MQTT3:4.3.2-1", "MQTT3:4.3.3-1", "MQTT5:2.2.1-4");
    covers!("MQTT5:4.3.2-1", "MQTT5:4.3.3-1");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut subscriber = Client::new(&server, version, &unique("c")).await;
        subscriber.subscribe(&topic, 2).await;
        let mut publisher = Client::new(&server, version, &unique("c")).await;
        let mut used = BTreeSet::new();
        for number in 0..15 {
            publisher.publish(Message::new(&topic, "x").qos(1 + number % 2)).await;
            let message = subscriber.publication().await;
            assert!(message.id > 0 && used.insert(message.id), "{} is in use", message.id);
        }
    }
}

#[tokio::test]
async fn qos_2_to_a_subscriber_goes_step_by_step() {
    covers!("MQTT3:4.3.3-1", "MQTT5:4.3.3-4", "MQTT5:3.6.2-1", "MQTT5:4.3.3-6");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut subscriber = Client::new(&server, version, &unique("c")).await;
        subscriber.subscribe(&topic, 2).await;
        let mut publisher = Client::new(&server, version, &unique("c")).await;
        publisher.publish(Message::new(&topic, "x").qos(2)).await;
        let message = subscriber.publication().await;
        subscriber.assert_quiet().await;
        subscriber.send(&acknowledge(PUBREC, message.id, 0)).await;
        assert_eq!(subscriber.acknowledged(PUBREL, message.id).await, 0);
        subscriber.assert_quiet().await;
        subscriber.send(&acknowledge(PUBCOMP, message.id, 0)).await;
        subscriber.assert_quiet().await;
    }
}

#[tokio::test]
async fn a_topic_is_ordered() {
    covers!("MQTT3:4.6.0-5", "MQTT3:4.6.0-6", "MQTT5:4.6.0-5", "MQTT5:4.6.0-6");
    let server = Server::shared().await;
    for (version, qos) in BOTH.into_iter().flat_map(|version| [0, 1, 2].map(|qos| (version, qos))) {
        let topic = unique("t");
        let mut subscriber = Client::new(&server, version, &unique("c")).await;
        subscriber.subscribe(&topic, qos).await;
        let mut publisher = Client::new(&server, version, &unique("c")).await;
        for number in 0..50 {
            publisher.publish(Message::new(&topic, number.to_string()).qos(qos)).await;
        }
        for number in 0..50 {
            assert_eq!(subscriber.message().await.text(), number.to_string(), "QoS {qos}");
        }
    }
}

#[tokio::test]
async fn dup_of_a_publisher_is_not_passed_on() {
    covers!("MQTT3:3.3.1-3", "MQTT5:3.3.1-3");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut subscriber = Client::new(&server, version, &unique("c")).await;
        subscriber.subscribe(&topic, 2).await;
        let mut publisher = Client::new(&server, version, &unique("c")).await;
        for qos in [1, 2] {
            publisher.publish(Message::new(&topic, "x").qos(qos).dup()).await;
            assert!(!subscriber.message().await.dup);
        }
    }
}

#[tokio::test]
async fn no_more_than_the_receive_maximum_is_under_way() {
    covers!("MQTT5:3.3.4-9", "MQTT5:3.3.4-10", "MQTT5:4.9.0-1", "MQTT5:4.9.0-2");
    covers!("MQTT5:4.9.0-3");
    let server = Server::shared().await;
    let topic = unique("t");
    let connect = Connect::new(Version::V5, unique("c")).number(RECEIVE_MAXIMUM, 2);
    let mut subscriber = Client::open(&server, &connect).await;
    subscriber.subscribe(&topic, 2).await;
    let mut publisher = Client::new(&server, Version::V5, &unique("c")).await;
    for number in 0..4 {
        let qos = 1 + number % 2;
        publisher.publish(Message::new(&topic, number.to_string()).qos(qos)).await;
    }
    publisher.publish(Message::new(&topic, "end").qos(1)).await;
    let first = subscriber.publication().await;
    let second = subscriber.publication().await;
    assert_eq!((first.text(), second.text()), ("0", "1"));
    let mut other = Client::new(&server, Version::V5, &unique("c")).await;
    other.subscribe(&topic, 0).await;
    publisher.publish(Message::new(&topic, "0 goes on").qos(0)).await;
    other.message().await;
    // QoS 0 does not count, and neither does anything that is no PUBLISH.
    subscriber.subscribe("other", 0).await;
    let rest = subscriber.quiet_but_qos_0().await;
    assert!(rest, "nothing with QoS > 0 comes");
    subscriber.send(&acknowledge(PUBREC, second.id, 0)).await;
    subscriber.acknowledged(PUBREL, second.id).await;
    assert!(subscriber.quiet_but_qos_0().await, "PUBREC below 0x80 gives nothing back");
    subscriber.send(&acknowledge(PUBCOMP, second.id, 0)).await;
    let third = subscriber.publication().await;
    assert_eq!(third.text(), "2");
    assert!(subscriber.quiet_but_qos_0().await, "one was given back");
    subscriber.send(&acknowledge(PUBACK, first.id, 0)).await;
    let fourth = subscriber.publication().await;
    assert_eq!(fourth.text(), "3");
    subscriber.send(&acknowledge(PUBREC, fourth.id, 0x80)).await;
    assert_eq!(subscriber.publication().await.text(), "end", "a refusal gives one back");
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again() {
    covers!("MQTT5:4.4.0-2", "MQTT5:4.3.3-9");
    let server = Server::shared().await;
    let topic = unique("t");
    let connect = Connect::new(Version::V5, unique("c")).resume();
    let mut subscriber = Client::open(&server, &connect).await;
    subscriber.subscribe(&topic, 2).await;
    let mut publisher = Client::new(&server, Version::V5, &unique("c")).await;
    for qos in [1, 2] {
        publisher.publish(Message::new(&topic, "refused").qos(qos)).await;
        let message = subscriber.publication().await;
        let first = if qos == 1 { PUBACK } else { PUBREC };
        subscriber.send(&acknowledge(first, message.id, 0x83)).await;
    }
    subscriber.ping().await;
    subscriber.disconnect().await;
    let mut subscriber = Client::open(&server, &connect).await;
    publisher.publish(Message::new(&topic, "end").qos(1)).await;
    assert_eq!(subscriber.before("end").await, [""; 0]);
}

#[tokio::test]
async fn a_message_too_large_for_a_client_is_dropped_for_it_alone() {
    covers!("MQTT5:3.1.2-27", "MQTT5:3.1.2-28");
    let server = Server::shared().await;
    let topic = unique("t");
    for qos in 0..3 {
        let small = Connect::new(Version::V5, unique("c")).number(MAXIMUM_PACKET, 100);
        let mut small = Client::open(&server, &small).await;
        small.subscribe(&topic, 2).await;
        let mut large = Client::new(&server, Version::V5, &unique("c")).await;
        large.subscribe(&topic, 2).await;
        let mut publisher = Client::new(&server, Version::V5, &unique("c")).await;
        for payload in ["small", &"x".repeat(200), "end"] {
            publisher.publish(Message::new(&topic, payload).qos(qos)).await;
        }
        assert_eq!(small.before("end").await, ["small"]);
        assert_eq!(large.before("end").await.len(), 2);
    }
}

#[tokio::test]
async fn no_packet_is_larger_than_a_client_takes() {
    covers!("MQTT5:3.1.2-27", "MQTT5:3.2.2-19", "MQTT5:3.2.2-20", "MQTT5:3.4.2-2");
    covers!("MQTT5:3.4.2-3", "MQTT5:3.5.2-2", "MQTT5:3.5.2-3", "MQTT5:3.6.2-2");
    covers!("MQTT5:3.6.2-3", "MQTT5:3.7.2-2", "MQTT5:3.7.2-3", "MQTT5:3.9.2-1");
    covers!("MQTT5:3.9.2-2", "MQTT5:3.11.2-1", "MQTT5:3.11.2-2", "MQTT5:3.14.2-3");
    covers!("MQTT5:3.14.2-4");
    const BYTES_MAX: usize = 60;
    let server = Server::strict().await;
    let connect = Connect::new(Version::V5, unique("c")).number(MAXIMUM_PACKET, 60);
    let mut client = Client::open(&server, &connect).await;
    assert!(client.largest_bytes() <= BYTES_MAX, "CONNACK");
    let forbidden = format!("{}/t", crate::server::FORBIDDEN);
    for topic in [&*forbidden, "t"] {
        client.subscribe_with(&Properties::default(), &[(topic, 2), ("a/#", 0)]).await;
        client.unsubscribe(&[topic, "none"]).await;
        client.publish(Message::new(topic, "x").qos(1)).await;
        client.publish(Message::new(topic, "x").qos(2)).await;
    }
    client.send(&Message::new("a/#", "x").encode(Version::V5)).await;
    client.closed().await;
    assert!(client.largest_bytes() <= BYTES_MAX, "{} bytes", client.largest_bytes());
}

#[tokio::test]
async fn aliases_are_sent_to_those_alone_that_take_them() {
    covers!("MQTT5:3.1.2-29", "MQTT5:3.1.2-30", "MQTT5:3.3.2-11", "MQTT5:3.3.2-7");
    let server = Server::shared().await;
    let topic = unique("t");
    let takes = Connect::new(Version::V5, unique("c")).number(TOPIC_ALIAS_MAXIMUM, 2).resume();
    for (connect, maximum) in [(Connect::new(Version::V5, unique("c")), 0), (takes, 2)] {
        let filter = format!("{topic}/#");
        for connection in 0..2 {
            let mut subscriber = Client::open(&server, &connect).await;
            subscriber.subscribe(&filter, 1).await;
            let mut publisher = Client::new(&server, Version::V5, &unique("c")).await;
            let mut known = std::collections::BTreeMap::new();
            for number in 0..12 {
                let name = format!("{topic}/{}", number % 4);
                publisher.publish(Message::new(&name, "x").qos(number % 2)).await;
                let message = subscriber.message().await;
                let alias = message.properties.get(TOPIC_ALIAS);
                assert!(alias.is_none_or(|alias| (1..=maximum).contains(&alias)), "{alias:?}");
                if message.topic.is_empty() {
                    let alias = alias.expect("a topic or an alias");
                    assert_eq!(known.get(&alias), Some(&name), "connection {connection}");
                } else {
                    assert_eq!(message.topic, name);
                    alias.and_then(|alias| known.insert(alias, name));
                }
            }
            // Every acknowledgement has arrived: nothing comes again.
            subscriber.ping().await;
        }
    }
}

#[tokio::test]
async fn a_message_comes_as_it_was_published() {
    covers!("MQTT5:3.3.2-4", "MQTT5:3.3.2-15", "MQTT5:3.3.2-16", "MQTT5:3.3.2-17");
    covers!("MQTT5:3.3.2-18", "MQTT5:3.3.2-20", "MQTT5:1.5.4-3", "MQTT3:1.5.3-3");
    covers!("MQTT5:1.5.7-1", "MQTT5:1.5.5-1");
    let server = Server::shared().await;
    let properties = Properties::default()
        .number(wire::PAYLOAD_FORMAT, 1)
        .text(wire::CONTENT_TYPE, "text/\u{feff}plain")
        .text(wire::RESPONSE_TOPIC, "answers/\u{e9}/1")
        .text(wire::CORRELATION_DATA, [0, 0xff, 0, 1])
        .pair("b", "2")
        .pair("a", "1")
        .pair("b", "2")
        .pair("", "")
        .pair("b", &"long ".repeat(60));
    let topic = format!("{}/\u{feff}\u{1f980} x", unique("t"));
    for qos in 0..3 {
        let mut old = Client::new(&server, Version::V3, &unique("c")).await;
        old.subscribe(&topic, 2).await;
        let mut subscriber = Client::new(&server, Version::V5, &unique("c")).await;
        subscriber.subscribe(&topic, 2).await;
        let mut publisher = Client::new(&server, Version::V5, &unique("c")).await;
        let payload = "caf\u{e9} \u{feff}".as_bytes();
        let message = Message::new(&topic, payload).qos(qos).with(properties.clone());
        publisher.publish(message).await;
        let found = subscriber.message().await;
        assert_eq!((&found.topic, &*found.payload), (&topic, payload));
        assert_eq!(found.properties.pairs(), properties.pairs(), "in their order");
        let sorted = |properties: &Properties| {
            let mut all = properties.0.clone();
            all.sort_by_key(|(property, _)| *property);
            all
        };
        assert_eq!(sorted(&found.properties), sorted(&properties));
        let found = old.message().await;
        assert_eq!((&found.topic, &*found.payload), (&topic, payload));
    }
}

#[tokio::test]
async fn any_bytes_of_any_length_come_through() {
    covers!("MQTT3:7.1.1-1", "MQTT5:4.2.0-1", "MQTT5:1.5.5-1");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut subscriber = Client::new(&server, version, &unique("c")).await;
        subscriber.subscribe(&topic, 1).await;
        let mut publisher = Client::new(&server, version, &unique("c")).await;
        for length in [0, 1, 100, 127, 128, 16_300, 16_384, 70_000, 500_000] {
            let bytes: Vec<u8> = (0..=255).cycle().take(length).collect();
            publisher.publish(Message::new(&topic, &bytes).qos(1)).await;
            let found = subscriber.message().await;
            assert!(found.payload == bytes, "{length} bytes");
        }
    }
}

#[tokio::test]
async fn packets_may_come_in_any_pieces() {
    covers!("MQTT3:7.1.1-1", "MQTT5:4.2.0-1");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::bare(&server, version).await;
        let filters = [(&*topic, 1)];
        let mut all = Connect::new(version, unique("c")).encode();
        all.extend(wire::subscribe(version, 1, &Properties::default(), &filters));
        all.extend(Message::new(&topic, "one").qos(1).id(2).encode(version));
        all.extend(Message::new(&topic, "two").encode(version));
        for byte in all {
            client.send(&[byte]).await;
        }
        assert_eq!(client.connack().await, Some(0));
        assert_eq!(client.granted(0x90, 1).await, [1]);
        client.acknowledged(PUBACK, 2).await;
        let Some(Packet::Publish(one)) = client.next().await else { panic!("expected PUBLISH") };
        assert_eq!(one.text(), "one");
        assert_eq!(client.message().await.text(), "two");
    }
}
