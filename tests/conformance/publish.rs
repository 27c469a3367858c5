//! What a client publishes: each QoS is answered as it has to be, and counts once.

use crate::client::Client;
use crate::server::{Server, unique};
use crate::wire::{
    self, BOTH, Connect, MESSAGE_EXPIRY, Message, PUBACK, PUBCOMP, PUBREC, PUBREL, Properties,
    RECEIVE_MAXIMUM, TOPIC_ALIAS, TOPIC_ALIAS_MAXIMUM, Version, acknowledge,
};

#[tokio::test]
async fn each_qos_is_answered_as_it_has_to_be() {
    covers!("MQTT3:3.3.4-1", "MQTT3:2.3.1-5", "MQTT3:2.3.1-6", "MQTT3:4.3.2-2");
    covers!("MQTT3:4.3.3-2", "MQTT5:3.3.4-1", "MQTT5:2.2.1-2", "MQTT5:2.2.1-5");
    covers!("MQTT5:4.3.2-4", "MQTT5:4.3.3-8", "MQTT5:4.3.3-11");
    covers!("MQTT5:3.4.2-1", "MQTT5:3.5.2-1", "MQTT5:3.7.2-1");
    let server = Server::shared().await;
    for version in BOTH {
        let mut client = Client::new(&server, version, &unique("c")).await;
        let topic = unique("t");
        client.publish(Message::new(&topic, "0")).await;
        client.assert_quiet().await;
        for id in [1, 0x1234, 0xffff] {
            client.send(&Message::new(&topic, "1").qos(1).id(id).encode(version)).await;
            let code = client.acknowledged(PUBACK, id).await;
            assert!(matches!(code, 0 | 0x10), "{code:02x}");
            client.send(&Message::new(&topic, "2").qos(2).id(id).encode(version)).await;
            let code = client.acknowledged(PUBREC, id).await;
            assert!(matches!(code, 0 | 0x10), "{code:02x}");
            client.send(&acknowledge(PUBREL, id, 0)).await;
            assert_eq!(client.acknowledged(PUBCOMP, id).await, 0);
        }
        client.assert_quiet().await;
    }
}

#[tokio::test]
async fn a_packet_identifier_is_new_after_puback_whatever_dup_says() {
    covers!("MQTT3:4.3.2-2", "MQTT5:4.3.2-5", "MQTT3:3.3.1-3", "MQTT5:3.3.1-3");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut subscriber = Client::new(&server, version, &unique("c")).await;
        subscriber.subscribe(&topic, 1).await;
        let mut client = Client::new(&server, version, &unique("c")).await;
        for payload in ["1", "2"] {
            let message = Message::new(&topic, payload).qos(1).id(7).dup();
            client.send(&message.encode(version)).await;
            client.acknowledged(PUBACK, 7).await;
            let message = subscriber.message().await;
            assert_eq!((message.text(), message.dup), (payload, false));
        }
    }
}

#[tokio::test]
async fn qos_2_counts_once_until_it_is_released() {
    covers!("MQTT3:4.3.3-2", "MQTT5:4.3.3-10", "MQTT5:4.3.3-12");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut subscriber = Client::new(&server, version, &unique("c")).await;
        subscriber.subscribe(&topic, 2).await;
        let mut client = Client::new(&server, version, &unique("c")).await;
        let once = Message::new(&topic, "once").qos(2).id(7);
        client.send(&once.encode(version)).await;
        client.acknowledged(PUBREC, 7).await;
        client.send(&once.clone().dup().encode(version)).await;
        client.acknowledged(PUBREC, 7).await;
        for _ in 0..2 {
            client.send(&acknowledge(PUBREL, 7, 0)).await;
            client.acknowledged(PUBCOMP, 7).await;
        }
        client.send(&Message::new(&topic, "again").qos(2).id(7).encode(version)).await;
        client.acknowledged(PUBREC, 7).await;
        client.send(&acknowledge(PUBREL, 7, 0)).await;
        client.acknowledged(PUBCOMP, 7).await;
        client.publish(Message::new(&topic, "end").qos(2)).await;
        assert_eq!(subscriber.before("end").await, ["once", "again"]);
    }
}

#[tokio::test]
async fn qos_2_counts_once_over_connections() {
    covers!("MQTT3:4.3.3-2", "MQTT3:4.4.0-1", "MQTT3:4.1.0-1", "MQTT5:4.3.3-10");
    covers!("MQTT5:4.1.0-1");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut subscriber = Client::new(&server, version, &unique("c")).await;
        subscriber.subscribe(&topic, 2).await;
        let connect = Connect::new(version, unique("c")).resume();
        let once = Message::new(&topic, "once").qos(2).id(7);
        let mut client = Client::open(&server, &connect).await;
        client.send(&once.encode(version)).await;
        client.acknowledged(PUBREC, 7).await;
        client.vanish().await;
        let mut client = Client::open(&server, &connect).await;
        assert!(client.session_present);
        client.send(&once.dup().encode(version)).await;
        client.acknowledged(PUBREC, 7).await;
        client.send(&acknowledge(PUBREL, 7, 0)).await;
        client.acknowledged(PUBCOMP, 7).await;
        client.publish(Message::new(&topic, "end").qos(2)).await;
        assert_eq!(subscriber.before("end").await, ["once"]);
    }
}

#[tokio::test]
async fn the_qos_2_exchange_goes_on_after_the_message_has_expired() {
    covers!("MQTT5:4.3.3-13");
    let server = Server::shared().await;
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    let expiry = Properties::default().number(MESSAGE_EXPIRY, 1);
    let message = Message::new(unique("t"), "brief").qos(2).id(7).with(expiry);
    client.send(&message.encode(Version::V5)).await;
    client.acknowledged(PUBREC, 7).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    client.send(&acknowledge(PUBREL, 7, 0)).await;
    assert_eq!(client.acknowledged(PUBCOMP, 7).await, 0);
}

#[tokio::test]
async fn aliases_up_to_the_maximum_are_taken_and_end_with_the_connection() {
    covers!("MQTT5:3.3.2-7", "MQTT5:3.3.2-12");
    let server = Server::shared().await;
    let connect = Connect::new(Version::V5, unique("c")).resume();
    let topic = unique("t");
    let mut subscriber = Client::new(&server, Version::V5, &unique("c")).await;
    subscriber.subscribe(&format!("{topic}/#"), 1).await;
    let mut client = Client::open(&server, &connect).await;
    let maximum = client.properties.get(TOPIC_ALIAS_MAXIMUM).unwrap_or(0);
    assert!(maximum > 0, "the server takes aliases");
    let alias = |number| Properties::default().number(TOPIC_ALIAS, number);
    for number in 1..=maximum {
        let name = format!("{topic}/{number}");
        client.publish(Message::new(&name, "full").qos(1).with(alias(number))).await;
        client.publish(Message::new("", "short").qos(1).with(alias(number))).await;
        for payload in ["full", "short"] {
            let message = subscriber.message().await;
            assert_eq!((&*message.topic, message.text()), (&*name, payload));
            assert!(!message.properties.has(TOPIC_ALIAS), "the subscriber takes none");
        }
    }
    let other = format!("{topic}/other");
    client.publish(Message::new(&other, "moved").qos(1).with(alias(1))).await;
    client.publish(Message::new("", "there").qos(1).with(alias(1))).await;
    assert_eq!(subscriber.message().await.topic, other);
    assert_eq!(subscriber.message().await.topic, other, "an alias can be set anew");
    client.disconnect().await;
    let mut client = Client::open(&server, &connect).await;
    client.send(&Message::new("", "lost").qos(1).id(1).with(alias(1)).encode(Version::V5)).await;
    client.assert_closed(&[0x82, 0x94], "an alias of the last connection").await;
}

#[tokio::test]
async fn more_publications_than_the_receive_maximum_end_the_connection() {
    covers!("MQTT5:3.3.4-7", "MQTT5:4.9.0-2", "MQTT5:3.3.4-8");
    let server = Server::strict().await;
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    let maximum = client.properties.get(RECEIVE_MAXIMUM).unwrap_or(65_535);
    assert_eq!(maximum, 5, "what the server takes at once");
    let topic = unique("t");
    let of = |id| Message::new(&topic, "x").qos(2).id(id).encode(Version::V5);
    for id in 1..=5 {
        client.send(&of(id)).await;
    }
    for id in 1..=5 {
        client.acknowledged(PUBREC, id).await;
    }
    client.ping().await;
    client.send(&of(6)).await;
    client.assert_closed(&[0x93], "the sixth at once").await;
}

#[tokio::test]
async fn a_publication_that_is_not_allowed_is_told_or_ends_the_connection() {
    covers!("MQTT3:3.3.5-2", "MQTT5:3.4.2-1", "MQTT5:3.5.2-1", "MQTT5:4.3.3-9");
    let server = Server::strict().await;
    if server.is_excused("has no rules here") {
        return;
    }
    let topic = format!("{}/{}", crate::server::FORBIDDEN, unique("t"));
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    for qos in [1, 2, 2] {
        let message = Message::new(&topic, "x").qos(qos).id(7);
        client.send(&message.encode(Version::V5)).await;
        let first = if qos == 1 { PUBACK } else { PUBREC };
        assert_eq!(client.acknowledged(first, 7).await, 0x87);
    }
    let message = Message::new("allowed", "x").qos(2).id(7);
    client.send(&message.encode(Version::V5)).await;
    assert!(client.acknowledged(PUBREC, 7).await < 0x80, "the packet identifier is new again");
    client.publish(Message::new(&topic, "x")).await;
    client.ping().await;
    let mut client = Client::new(&server, Version::V3, &unique("c")).await;
    client.send(&Message::new(&topic, "x").qos(1).id(7).encode(Version::V3)).await;
    match client.next().await {
        None | Some(wire::Packet::Acknowledge { first: PUBACK, id: 7, .. }) => {}
        other => panic!("expected PUBACK or the end, found {other:?}"),
    }
}

#[tokio::test]
async fn reasons_are_kept_from_whoever_does_not_want_them() {
    covers!("MQTT5:3.1.2-32");
    let server = Server::strict().await;
    if server.is_excused("has no rules here") {
        return;
    }
    let connect = Connect::new(Version::V5, unique("c")).number(wire::REQUEST_PROBLEM, 0);
    let mut client = Client::open(&server, &connect).await;
    let topic = format!("{}/t", crate::server::FORBIDDEN);
    client.send(&Message::new(&topic, "x").qos(1).id(1).encode(Version::V5)).await;
    client.send(&wire::subscribe(Version::V5, 2, &Properties::default(), &[(&topic, 0)])).await;
    client.send(&wire::unsubscribe(Version::V5, 3, &[&topic])).await;
    for _ in 0..3 {
        let (wire::Packet::Acknowledge { properties, .. }
        | wire::Packet::Granted { properties, .. }) = client.next().await.unwrap()
        else {
            panic!("expected PUBACK, SUBACK and UNSUBACK");
        };
        assert_eq!(properties, Properties::default());
    }
}
