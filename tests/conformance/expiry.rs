//! Message expiry: counted down while a message waits, and final.

use std::time::Duration;

use crate::client::Client;
use crate::server::{Server, unique};
use crate::wire::{
    Connect, MESSAGE_EXPIRY, Message, Properties, RECEIVE_MAXIMUM, Version, acknowledge,
};

fn lasting(topic: &str, payload: &str, seconds: u32) -> Message {
    let expiry = Properties::default().number(MESSAGE_EXPIRY, seconds);
    Message::new(topic, payload).qos(2).with(expiry)
}

#[tokio::test]
async fn the_expiry_is_less_by_the_time_waited() {
    covers!("MQTT5:3.3.2-5", "MQTT5:3.3.2-6");
    let server = Server::shared().await;
    let (topic, connect) = (unique("t"), Connect::new(Version::V5, unique("c")).resume());
    let mut client = Client::open(&server, &connect).await;
    client.subscribe(&topic, 2).await;
    client.publish(lasting(&topic, "live", 100)).await;
    let live = client.message().await.properties.get(MESSAGE_EXPIRY);
    assert!(matches!(live, Some(99 | 100)), "{live:?}");
    client.ping().await;
    client.disconnect().await;
    let mut publisher = Client::new(&server, Version::V5, &unique("p")).await;
    publisher.publish(lasting(&topic, "brief", 1)).await;
    publisher.publish(lasting(&topic, "long", 100)).await;
    publisher.publish(Message::new(&topic, "for ever").qos(1)).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let mut client = Client::open(&server, &connect).await;
    let long = client.message().await;
    assert_eq!(long.text(), "long", "the brief one has expired");
    let left = long.properties.get(MESSAGE_EXPIRY);
    assert!(left.is_some_and(|left| (90..=98).contains(&left)), "{left:?}");
    let last = client.message().await;
    assert_eq!((last.text(), last.properties.get(MESSAGE_EXPIRY)), ("for ever", None));
}

#[tokio::test]
async fn what_has_been_sent_does_not_expire() {
    covers!("MQTT5:4.3.3-7");
    let server = Server::shared().await;
    let (topic, connect) = (unique("t"), Connect::new(Version::V5, unique("c")).resume());
    let mut client = Client::open(&server, &connect).await;
    client.subscribe(&topic, 2).await;
    let mut publisher = Client::new(&server, Version::V5, &unique("p")).await;
    publisher.publish(lasting(&topic, "brief", 1)).await;
    let sent = client.publication().await;
    client.vanish().await;
    tokio::time::sleep(Duration::from_millis(1600)).await;
    let mut client = Client::open(&server, &connect).await;
    if server.is_excused("forgets it") {
        return;
    }
    let again = client.publication().await;
    assert_eq!((again.id, again.dup, again.text()), (sent.id, true, "brief"));
    client.complete(again.id).await;
}

#[tokio::test]
async fn what_waits_behind_a_full_window_expires() {
    covers!("MQTT5:3.3.2-5");
    let server = Server::shared().await;
    if server.is_excused("delivers it all the same") {
        return;
    }
    let topic = unique("t");
    let connect = Connect::new(Version::V5, unique("c")).number(RECEIVE_MAXIMUM, 1);
    let mut client = Client::open(&server, &connect).await;
    client.subscribe(&topic, 1).await;
    let mut publisher = Client::new(&server, Version::V5, &unique("p")).await;
    for (payload, seconds) in [("first", 60), ("brief", 1), ("end", 60)] {
        publisher.publish(lasting(&topic, payload, seconds)).await;
    }
    let first = client.publication().await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    client.send(&acknowledge(0x40, first.id, 0)).await;
    assert_eq!(client.message().await.text(), "end");
}
