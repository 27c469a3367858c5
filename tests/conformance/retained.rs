//! Retained messages: the last of a topic, for those who subscribe later.

use crate::client::Client;
use crate::server::{Server, unique};
use crate::wire::{
    BOTH, Connect, MESSAGE_EXPIRY, Message, Properties, SUBSCRIPTION_ID, USER_PROPERTY, Version,
    packet,
};

/// What a new subscription gets before something published now: payload, QoS and RETAIN.
async fn kept(server: &Server, version: Version, filter: &str, end: &str) -> Vec<(String, u8)> {
    let mut client = Client::new(server, version, &unique("c")).await;
    client.subscribe(filter, 2).await;
    client.publish(Message::new(end, "end").qos(2)).await;
    let mut all = Vec::new();
    loop {
        let message = client.message().await;
        if message.payload == b"end" {
            client.disconnect().await;
            return all;
        }
        assert!(message.retain, "{message:?} comes for the subscription");
        assert!(!message.dup);
        all.push((message.text().to_owned(), message.qos));
    }
}

#[tokio::test]
async fn the_last_message_with_retain_is_kept_with_its_qos() {
    covers!("MQTT3:3.3.1-5", "MQTT3:3.3.1-6", "MQTT3:3.3.1-7", "MQTT3:3.3.1-8");
    covers!("MQTT3:3.3.1-12", "MQTT5:3.3.1-5", "MQTT5:3.3.1-8", "MQTT5:3.3.1-9");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::new(&server, version, &unique("c")).await;
        assert_eq!(kept(&server, version, &topic, &topic).await, []);
        let mut watcher = Client::new(&server, version, &unique("c")).await;
        watcher.subscribe(&topic, 2).await;
        for (payload, qos) in [("first", 1), ("second", 2), ("third", 0), ("fourth", 1)] {
            client.publish(Message::new(&topic, payload).qos(qos).retained()).await;
            client.publish(Message::new(&topic, "without").qos(qos)).await;
            watcher.before("without").await;
            let found = kept(&server, version, &topic, &topic).await;
            assert_eq!(found, [(payload.to_owned(), qos)]);
        }
    }
}

#[tokio::test]
async fn an_empty_message_with_retain_is_delivered_and_removes() {
    covers!("MQTT3:3.3.1-10", "MQTT3:3.3.1-11", "MQTT5:3.3.1-6", "MQTT5:3.3.1-7");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::new(&server, version, &unique("c")).await;
        for qos in 0..3 {
            client.publish(Message::new(&topic, "kept").qos(1).retained()).await;
            let mut watcher = Client::new(&server, version, &unique("c")).await;
            watcher.subscribe(&topic, 2).await;
            assert_eq!(watcher.message().await.text(), "kept");
            client.publish(Message::new(&topic, "").qos(qos).retained()).await;
            let message = watcher.message().await;
            assert_eq!((message.payload.len(), message.retain), (0, false));
            assert_eq!(kept(&server, version, &topic, &topic).await, []);
        }
        // An empty message without RETAIN removes nothing.
        client.publish(Message::new(&topic, "kept").qos(1).retained()).await;
        client.publish(Message::new(&topic, "").qos(1)).await;
        assert_eq!(kept(&server, version, &topic, &topic).await.len(), 1);
    }
}

#[tokio::test]
async fn retain_is_not_passed_on_to_established_subscriptions() {
    covers!("MQTT3:3.3.1-9", "MQTT5:3.3.1-12");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::new(&server, version, &unique("c")).await;
        client.subscribe(&topic, 1).await;
        client.publish(Message::new(&topic, "x").qos(1).retained()).await;
        assert!(!client.message().await.retain);
    }
}

#[tokio::test]
async fn retain_is_as_published_where_the_subscription_says_so() {
    covers!("MQTT5:3.3.1-12", "MQTT5:3.3.1-13");
    let server = Server::shared().await;
    let topic = unique("t");
    let mut plain = Client::new(&server, Version::V5, &unique("c")).await;
    plain.subscribe(&topic, 0x01).await;
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    client.subscribe(&topic, 0x01 | 0x08).await;
    for retain in [true, false] {
        let mut message = Message::new(&topic, "x").qos(1);
        message.retain = retain;
        client.publish(message).await;
        assert_eq!(client.message().await.retain, retain);
        assert!(!plain.message().await.retain);
    }
}

#[tokio::test]
async fn wildcards_get_each_matching_topic() {
    covers!("MQTT3:3.3.1-6", "MQTT5:3.3.1-9");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::new(&server, version, &unique("c")).await;
        for name in ["a", "b", "a/c", "a/b/c", ""] {
            let full = format!("{topic}/{name}");
            client.publish(Message::new(&full, &full).qos(1).retained()).await;
        }
        let rows: [(&str, &[&str]); 4] = [
            ("#", &["", "a", "a/b/c", "a/c", "b"]),
            ("+", &["", "a", "b"]),
            ("a/#", &["a", "a/b/c", "a/c"]),
            ("+/+/c", &["a/b/c"]),
        ];
        for (filter, expected) in rows {
            let filter = format!("{topic}/{filter}");
            let end = filter.replace(['+', '#'], "z");
            let found = kept(&server, version, &filter, &end).await;
            let mut names: Vec<_> = found.into_iter().map(|(payload, _)| payload).collect();
            names.sort();
            let expected = expected.iter().map(|name| format!("{topic}/{name}"));
            assert_eq!(names, expected.collect::<Vec<_>>(), "{filter}");
        }
    }
}

#[tokio::test]
async fn the_qos_of_the_subscription_counts_for_what_is_retained() {
    covers!("MQTT3:3.8.4-6", "MQTT5:3.8.4-8");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::new(&server, version, &unique("c")).await;
        client.publish(Message::new(&topic, "x").qos(2).retained()).await;
        for qos in 0..3 {
            let mut subscriber = Client::new(&server, version, &unique("c")).await;
            subscriber.subscribe(&topic, qos).await;
            let message = subscriber.message().await;
            assert_eq!((message.qos, message.retain), (qos, true));
        }
    }
}

#[tokio::test]
async fn subscribing_again_sends_retained_messages_again() {
    covers!("MQTT3:3.8.4-3", "MQTT5:3.8.4-4", "MQTT5:3.3.1-9");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::new(&server, version, &unique("c")).await;
        client.publish(Message::new(&topic, "x").qos(1).retained()).await;
        for _ in 0..3 {
            client.subscribe(&topic, 1).await;
            let message = client.message().await;
            assert_eq!((message.text(), message.retain), ("x", true));
        }
    }
}

#[tokio::test]
async fn retain_handling_says_when_retained_messages_are_sent() {
    covers!("MQTT5:3.3.1-9", "MQTT5:3.3.1-10", "MQTT5:3.3.1-11");
    let server = Server::shared().await;
    let topic = unique("t");
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    client.publish(Message::new(&topic, "kept").qos(1).retained()).await;
    // Each row: retain handling, and whether the retained message comes.
    let rows = [(2, false), (1, false), (0, true), (1, false), (2, false), (0, true)];
    for (handling, comes) in rows {
        client.subscribe(&topic, 0x01 | handling << 4).await;
        client.publish(Message::new(&topic, "end").qos(1)).await;
        let found = client.before("end").await;
        assert_eq!(found.len(), usize::from(comes), "retain handling {handling}");
    }
    client.unsubscribe(&[&topic]).await;
    client.subscribe(&topic, 0x01 | 1 << 4).await;
    assert_eq!(client.message().await.text(), "kept", "the subscription is new");
}

#[tokio::test]
async fn a_retained_message_comes_as_it_was_published() {
    covers!("MQTT5:3.3.2-17", "MQTT5:3.3.2-20", "MQTT5:3.3.4-3", "MQTT5:3.3.2-6");
    let server = Server::shared().await;
    let topic = unique("t");
    let properties = Properties::default()
        .number(MESSAGE_EXPIRY, 600)
        .text(crate::wire::CONTENT_TYPE, "text/plain")
        .pair("b", "2")
        .pair("a", "1");
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    client.publish(Message::new(&topic, "x").qos(1).retained().with(properties.clone())).await;
    let identified = Properties::default().number(SUBSCRIPTION_ID, 7);
    client.subscribe_with(&identified, &[(&topic, 1)]).await;
    let found = client.message().await.properties;
    assert_eq!(found.pairs(), properties.pairs());
    assert_eq!(found.bytes(crate::wire::CONTENT_TYPE), Some(&b"text/plain"[..]));
    assert_eq!(found.numbers(SUBSCRIPTION_ID), [7]);
    assert!(found.get(MESSAGE_EXPIRY).is_some_and(|left| (590..=600).contains(&left)));
    assert!(found.has(USER_PROPERTY));
}

#[tokio::test]
async fn a_retained_message_expires() {
    covers!("MQTT5:3.3.2-5");
    let server = Server::shared().await;
    let topic = unique("t");
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    let brief = Properties::default().number(MESSAGE_EXPIRY, 1);
    client.publish(Message::new(&topic, "x").qos(1).retained().with(brief)).await;
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    assert_eq!(kept(&server, Version::V5, &topic, &topic).await, []);
}

#[tokio::test]
async fn retained_messages_outlive_the_session_that_published_them() {
    covers!("MQTT3:3.1.2-7", "MQTT5:3.3.1-5");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let connect = Connect::new(version, unique("c"));
        let mut client = Client::open(&server, &connect).await;
        client.publish(Message::new(&topic, "x").qos(1).retained()).await;
        client.send(&packet(0xe0, &[])).await;
        client.closed().await;
        Client::open(&server, &connect).await.disconnect().await;
        assert_eq!(kept(&server, version, &topic, &topic).await.len(), 1);
    }
}

#[tokio::test]
async fn subscriptions_of_several_filters_get_what_is_retained_for_each() {
    covers!("MQTT3:3.8.4-4", "MQTT5:3.8.4-5");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::new(&server, version, &unique("c")).await;
        let names = ["a", "b"].map(|name| format!("{topic}/{name}"));
        for name in &names {
            client.publish(Message::new(name, name).qos(1).retained()).await;
        }
        let filters = names.each_ref().map(|name| (&**name, 1));
        assert_eq!(client.subscribe_with(&Properties::default(), &filters).await, [1, 1]);
        let mut found = [client.message().await.topic, client.message().await.topic];
        found.sort();
        assert_eq!(found, names);
    }
}
