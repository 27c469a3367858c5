//! What outlives a connection, and for how long.

use std::time::Duration;

use crate::client::Client;
use crate::server::{Server, unique};
use crate::wire::{
    BOTH, Connect, Message, PUBCOMP, PUBREC, PUBREL, Properties, SESSION_EXPIRY, Version,
    acknowledge, packet,
};

/// Publishes as somebody else.
async fn publish(server: &Server, message: Message) {
    let mut publisher = Client::new(server, Version::V5, &unique("p")).await;
    publisher.publish(message).await;
    publisher.disconnect().await;
}

#[tokio::test]
async fn a_session_that_is_not_clean_goes_on_with_what_was_published_meanwhile() {
    covers!("MQTT3:3.1.2-4", "MQTT3:3.1.2-5", "MQTT3:3.2.2-2", "MQTT3:3.2.2-3");
    covers!("MQTT3:3.1.3-2", "MQTT3:4.1.0-1", "MQTT3:4.5.0-1", "MQTT3:4.6.0-6");
    covers!("MQTT5:3.1.2-5", "MQTT5:3.1.2-6", "MQTT5:3.1.2-25", "MQTT5:3.2.2-3");
    covers!("MQTT5:3.1.3-2", "MQTT5:4.5.0-1", "MQTT5:4.6.0-5");
    let server = Server::shared().await;
    for version in BOTH {
        let (topic, connect) = (unique("t"), Connect::new(version, unique("c")).resume());
        let mut client = Client::open(&server, &connect).await;
        assert!(!client.session_present);
        client.subscribe(&topic, 2).await;
        client.disconnect().await;
        for number in 0..20 {
            let message = Message::new(&topic, number.to_string());
            publish(&server, message.qos(1 + number % 2)).await;
        }
        let mut client = Client::open(&server, &connect).await;
        assert!(client.session_present);
        for number in 0..20 {
            let message = client.message().await;
            assert_eq!(message.text(), number.to_string());
            assert!(!message.dup, "it was not sent before");
        }
        publish(&server, Message::new(&topic, "live").qos(1)).await;
        assert_eq!(client.message().await.text(), "live");
    }
}

#[tokio::test]
async fn a_clean_session_begins_with_nothing() {
    covers!("MQTT3:3.1.2-6", "MQTT3:3.1.4-3", "MQTT3:3.2.2-1", "MQTT3:3.2.2-3");
    covers!("MQTT5:3.1.2-4", "MQTT5:3.1.4-4", "MQTT5:3.2.2-2");
    let server = Server::shared().await;
    for version in BOTH {
        let (topic, name) = (unique("t"), unique("c"));
        let mut client = Client::open(&server, &Connect::new(version, &name).resume()).await;
        client.subscribe(&topic, 1).await;
        client.disconnect().await;
        publish(&server, Message::new(&topic, "missed").qos(1)).await;
        let mut client = Client::new(&server, version, &name).await;
        assert!(!client.session_present);
        publish(&server, Message::new(&topic, "no longer subscribed").qos(1)).await;
        client.subscribe(&topic, 1).await;
        publish(&server, Message::new(&topic, "end").qos(1)).await;
        assert_eq!(client.before("end").await, [""; 0]);
        client.disconnect().await;
        let client = Client::open(&server, &Connect::new(version, &name).resume()).await;
        assert!(!client.session_present, "a clean session ends with its connection");
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_as_it_was() {
    covers!("MQTT3:3.3.1-1", "MQTT3:4.4.0-1", "MQTT3:4.3.2-1", "MQTT3:2.3.1-4");
    covers!("MQTT5:3.3.1-1", "MQTT5:4.4.0-1", "MQTT5:4.3.2-3", "MQTT5:4.3.3-3");
    let server = Server::shared().await;
    for version in BOTH {
        let (topic, connect) = (unique("t"), Connect::new(version, unique("c")).resume());
        let mut client = Client::open(&server, &connect).await;
        client.subscribe(&topic, 2).await;
        let mut sent = Vec::new();
        for number in 0..4 {
            let message = Message::new(&topic, number.to_string());
            publish(&server, message.qos(1 + number % 2)).await;
            sent.push(client.publication().await);
        }
        client.ping().await;
        client.vanish().await;
        for _ in 0..2 {
            let mut client = Client::open(&server, &connect).await;
            assert!(client.session_present);
            for earlier in &sent {
                let again = client.publication().await;
                assert!(again.dup, "{again:?}");
                let facts = |one: &Message| (one.id, one.payload.clone(), one.qos);
                assert_eq!(facts(&again), facts(earlier));
            }
            client.assert_quiet().await;
            client.vanish().await;
        }
        let mut client = Client::open(&server, &connect).await;
        for _ in 0..4 {
            client.message().await;
        }
        client.ping().await;
        client.disconnect().await;
        let mut client = Client::open(&server, &connect).await;
        client.assert_quiet().await;
    }
}

#[tokio::test]
async fn pubrel_is_sent_again_and_publish_is_not() {
    covers!("MQTT3:4.4.0-1", "MQTT3:4.3.3-1", "MQTT5:4.4.0-1", "MQTT5:4.3.3-5");
    covers!("MQTT5:4.3.3-6");
    let server = Server::shared().await;
    for version in BOTH {
        let (topic, connect) = (unique("t"), Connect::new(version, unique("c")).resume());
        let mut client = Client::open(&server, &connect).await;
        client.subscribe(&topic, 2).await;
        publish(&server, Message::new(&topic, "once").qos(2)).await;
        let message = client.publication().await;
        client.send(&acknowledge(PUBREC, message.id, 0)).await;
        client.acknowledged(PUBREL, message.id).await;
        client.vanish().await;
        let mut client = Client::open(&server, &connect).await;
        assert_eq!(client.acknowledged(PUBREL, message.id).await, 0);
        client.assert_quiet().await;
        client.send(&acknowledge(PUBCOMP, message.id, 0)).await;
        client.ping().await;
        client.disconnect().await;
        let mut client = Client::open(&server, &connect).await;
        client.assert_quiet().await;
    }
}

#[tokio::test]
async fn nothing_is_sent_again_within_a_connection() {
    covers!("MQTT5:4.4.0-1");
    let server = Server::shared().await;
    let topic = unique("t");
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    client.subscribe(&topic, 1).await;
    publish(&server, Message::new(&topic, "first").qos(1)).await;
    client.publication().await;
    client.assert_quiet().await;
    publish(&server, Message::new(&topic, "second").qos(1)).await;
    assert_eq!(client.publication().await.text(), "second");
}

#[tokio::test]
async fn a_second_connection_takes_the_session_over() {
    covers!("MQTT3:3.1.4-2", "MQTT3:4.1.0-2", "MQTT5:3.1.4-3", "MQTT5:4.13.2-1");
    covers!("MQTT5:3.14.2-1", "MQTT5:3.14.2-2", "MQTT5:3.14.4-1", "MQTT5:3.14.4-2");
    covers!("MQTT5:4.1.0-1");
    let server = Server::shared().await;
    for version in BOTH {
        let (topic, connect) = (unique("t"), Connect::new(version, unique("c")).resume());
        let mut first = Client::open(&server, &connect).await;
        first.subscribe(&topic, 1).await;
        let mut second = Client::open(&server, &connect).await;
        assert!(second.session_present);
        let told = first.closed().await;
        if told.is_some() || !server.is_excused("closes before it is read") {
            assert_eq!(told, (version == Version::V5).then_some(0x8e));
        }
        publish(&server, Message::new(&topic, "x").qos(1)).await;
        assert_eq!(second.message().await.text(), "x");
        let third = Client::new(&server, version, &connect.client_id).await;
        assert!(!third.session_present, "clean: nothing is gone on with");
        second.closed().await;
    }
}

#[tokio::test]
async fn a_session_of_5_ends_when_its_expiry_has_passed() {
    covers!("MQTT5:4.1.0-2", "MQTT5:3.1.2-25", "MQTT5:4.1.0-1");
    let server = Server::shared().await;
    let open = async |name: &str, expiry| {
        let mut connect = Connect::new(Version::V5, name).lasting(expiry);
        connect.clean = false;
        Client::open(&server, &connect).await
    };
    let [none, brief, long] = ["c", "c", "c"].map(unique);
    for (name, expiry) in [(&none, 0), (&brief, 1), (&long, 60)] {
        open(name, expiry).await.disconnect().await;
    }
    assert!(!open(&none, 0).await.session_present);
    // While the connection is open, nothing expires.
    let mut open_still = open(&unique("c"), 1).await;
    open_still.subscribe("a", 0).await;
    tokio::time::sleep(Duration::from_millis(2200)).await;
    open_still.ping().await;
    assert!(!open(&brief, 1).await.session_present);
    assert!(open(&long, 60).await.session_present);
}

#[tokio::test]
async fn disconnect_can_change_the_expiry() {
    covers!("MQTT5:3.1.2-25", "MQTT5:4.1.0-2");
    let server = Server::shared().await;
    let expiry = |seconds: u8| packet(0xe0, &[0, 5, SESSION_EXPIRY, 0, 0, 0, seconds]);
    let connect = Connect::new(Version::V5, unique("c")).resume();
    let mut client = Client::open(&server, &connect).await;
    client.send(&expiry(0)).await;
    client.closed().await;
    let mut client = Client::open(&server, &connect).await;
    assert!(!client.session_present, "the session ended with the connection");
    client.send(&expiry(60)).await;
    client.closed().await;
    assert!(Client::open(&server, &connect).await.session_present);
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    client.send(&expiry(60)).await;
    client.assert_closed(&[0x82], "an expiry where there was none").await;
}

#[tokio::test]
async fn a_subscription_is_kept_with_its_options() {
    covers!("MQTT5:4.1.0-1", "MQTT5:3.1.2-25");
    let server = Server::shared().await;
    let (topic, connect) = (unique("t"), Connect::new(Version::V5, unique("c")).resume());
    let mut client = Client::open(&server, &connect).await;
    let identified = Properties::default().number(crate::wire::SUBSCRIPTION_ID, 268_435_455);
    // QoS 1, no local, retain as published.
    client.subscribe_with(&identified, &[(&topic, 0x01 | 0x04 | 0x08)]).await;
    client.disconnect().await;
    let mut client = Client::open(&server, &connect).await;
    client.publish(Message::new(&topic, "own").qos(1)).await;
    publish(&server, Message::new(&topic, "other").qos(2).retained()).await;
    let message = client.message().await;
    assert_eq!((message.text(), message.qos, message.retain), ("other", 1, true));
    assert_eq!(message.properties.numbers(crate::wire::SUBSCRIPTION_ID), [268_435_455]);
}

#[tokio::test]
async fn messages_wait_for_a_session_in_the_order_of_their_publishing() {
    covers!("MQTT3:3.1.2-5", "MQTT5:4.5.0-1", "MQTT5:4.6.0-6");
    let server = Server::shared().await;
    for version in BOTH {
        let (topic, connect) = (unique("t"), Connect::new(version, unique("c")).resume());
        let filter = format!("{topic}/#");
        let mut client = Client::open(&server, &connect).await;
        client.subscribe(&filter, 1).await;
        client.vanish().await;
        let mut publisher = Client::new(&server, version, &unique("p")).await;
        for number in 0..300 {
            let name = format!("{topic}/{}", number % 3);
            publisher.publish(Message::new(name, number.to_string()).qos(1)).await;
        }
        let mut client = Client::open(&server, &connect).await;
        for number in 0..300 {
            assert_eq!(client.message().await.text(), number.to_string());
        }
    }
}
