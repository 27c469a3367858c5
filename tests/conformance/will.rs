//! Wills: published when a connection ends otherwise than agreed, when they are due, and only then.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::server::{Server, unique};
use crate::wire::{
    self, BOTH, Connect, Message, PINGREQ, Properties, SESSION_EXPIRY, Version, WILL_DELAY, packet,
};

/// How long to be sure that nothing comes, where nothing may.
const LONGER_THAN_DUE: Duration = Duration::from_millis(300);

/// A client with a will, and one that watches its topic.
struct Pair {
    topic: String,
    watcher: Client,
    client: Client,
}

impl Pair {
    async fn new(
        server: &Server,
        version: Version,
        change: impl FnOnce(Connect, Message) -> Connect,
    ) -> Self {
        let topic = unique("t");
        let mut watcher = Client::new(server, version, &unique("w")).await;
        watcher.subscribe(&topic, 2).await;
        let connect = Connect::new(version, unique("c"));
        let connect = change(connect, Message::new(&topic, "will").qos(1));
        let client = Client::open(server, &connect).await;
        Self { topic, watcher, client }
    }

    /// Everything that is published before something now.
    async fn published(mut self, server: &Server) -> Vec<String> {
        let mut publisher = Client::new(server, Version::V5, &unique("p")).await;
        publisher.publish(Message::new(&self.topic, "end").qos(1)).await;
        self.watcher.before("end").await
    }
}

#[tokio::test]
async fn a_will_is_published_when_the_connection_breaks() {
    covers!("MQTT3:3.1.2-8", "MQTT3:3.1.2-9", "MQTT3:3.1.2-10", "MQTT3:3.1.2-14");
    covers!("MQTT5:3.1.2-7", "MQTT5:3.1.2-8", "MQTT5:3.1.2-9", "MQTT5:3.1.2-10");
    covers!("MQTT5:3.1.2-14");
    let server = Server::shared().await;
    for (version, qos) in BOTH.into_iter().flat_map(|version| [0, 1, 2].map(|qos| (version, qos))) {
        let mut pair =
            Pair::new(&server, version, |connect, will| connect.will(will.qos(qos))).await;
        pair.watcher.assert_quiet().await;
        let name = unique("c");
        pair.client.ping().await;
        let Pair { topic, mut watcher, client } = pair;
        client.vanish().await;
        let will = watcher.message().await;
        assert_eq!((will.text(), will.qos, will.retain), ("will", qos, false), "{name}");
        let pair = Pair { topic, watcher, client: Client::new(&server, version, &name).await };
        assert_eq!(pair.published(&server).await, [""; 0], "once");
    }
}

#[tokio::test]
async fn a_will_is_published_when_the_client_breaks_a_rule() {
    covers!("MQTT3:3.1.2-8", "MQTT5:3.1.2-8");
    let server = Server::shared().await;
    for version in BOTH {
        let mut pair = Pair::new(&server, version, Connect::will).await;
        pair.client.send(&[0x00, 0]).await;
        pair.client.closed().await;
        assert_eq!(pair.watcher.message().await.text(), "will");
    }
}

#[tokio::test]
async fn a_will_is_published_when_another_connection_takes_the_session() {
    covers!("MQTT3:3.1.2-8", "MQTT3:3.1.4-2", "MQTT5:3.1.2-8", "MQTT5:3.1.4-3");
    let server = Server::shared().await;
    for version in BOTH {
        let name = unique("c");
        let mut pair = Pair::new(&server, version, |connect, will| {
            Connect { client_id: name.clone(), ..connect }.will(will)
        })
        .await;
        let second = Client::new(&server, version, &name).await;
        assert_eq!(pair.watcher.message().await.text(), "will");
        drop(second);
    }
}

#[tokio::test]
async fn a_client_that_says_goodbye_has_no_will() {
    covers!("MQTT3:3.14.4-3", "MQTT3:3.1.2-10", "MQTT5:3.14.4-3", "MQTT5:3.1.2-10");
    let server = Server::shared().await;
    for version in BOTH {
        let pair = Pair::new(&server, version, Connect::will).await;
        let Pair { topic, watcher, client } = pair;
        client.disconnect().await;
        let client = Client::new(&server, version, &unique("c")).await;
        let published = Pair { topic, watcher, client }.published(&server).await;
        assert_eq!(published, [""; 0]);
    }
}

#[tokio::test]
async fn disconnect_with_will_message_has_the_will_published() {
    covers!("MQTT5:3.1.2-8", "MQTT5:3.14.4-3");
    let server = Server::shared().await;
    for code in [0x04, 0x80] {
        if code == 0x80 && server.is_excused("forgets the will") {
            continue;
        }
        let mut pair = Pair::new(&server, Version::V5, Connect::will).await;
        pair.client.send(&packet(0xe0, &[code])).await;
        pair.client.closed().await;
        assert_eq!(pair.watcher.message().await.text(), "will", "0x{code:02x}");
    }
}

#[tokio::test]
async fn without_a_will_none_is_published() {
    covers!("MQTT3:3.1.2-12", "MQTT5:3.1.2-12");
    let server = Server::shared().await;
    for version in BOTH {
        let name = unique("c");
        let of = |connect, _| Connect { client_id: name.clone(), ..connect };
        let Pair { topic, watcher, client } = Pair::new(&server, version, of).await;
        client.vanish().await;
        let client = Client::new(&server, version, &name).await;
        let published = Pair { topic, watcher, client }.published(&server).await;
        assert_eq!(published, [""; 0]);
    }
}

#[tokio::test]
async fn a_will_is_of_its_connection_alone() {
    covers!("MQTT3:3.1.2-10", "MQTT3:3.1.2-12", "MQTT5:3.1.2-10", "MQTT5:3.1.2-12");
    let server = Server::shared().await;
    for version in BOTH {
        let name = unique("c");
        let of = |connect, will| Connect { client_id: name.clone(), ..connect }.resume().will(will);
        let Pair { topic, watcher, client } = Pair::new(&server, version, of).await;
        client.disconnect().await;
        let without = Connect::new(version, &name).resume();
        Client::open(&server, &without).await.vanish().await;
        let client = Client::new(&server, version, &unique("c")).await;
        let published = Pair { topic, watcher, client }.published(&server).await;
        assert_eq!(published, [""; 0]);
    }
}

#[tokio::test]
async fn a_will_is_retained_when_it_says_so() {
    covers!("MQTT3:3.1.2-16", "MQTT3:3.1.2-17", "MQTT5:3.1.2-16", "MQTT5:3.1.2-17");
    let server = Server::shared().await;
    for (version, retain) in
        BOTH.into_iter().flat_map(|version| [(version, false), (version, true)])
    {
        let of = |connect: Connect, mut will: Message| {
            will.retain = retain;
            connect.will(will)
        };
        let Pair { topic, mut watcher, client } = Pair::new(&server, version, of).await;
        client.vanish().await;
        assert!(!watcher.message().await.retain, "the subscription was there before");
        let mut late = Client::new(&server, version, &unique("c")).await;
        late.subscribe(&topic, 1).await;
        if retain {
            let message = late.message().await;
            assert_eq!((message.text(), message.retain), ("will", true));
        }
        watcher.publish(Message::new(&topic, "end").qos(1)).await;
        assert_eq!(late.before("end").await, [""; 0]);
    }
}

#[tokio::test]
async fn a_will_comes_with_its_properties() {
    covers!("MQTT5:3.3.2-4", "MQTT5:3.3.2-17", "MQTT5:3.1.2-9");
    let server = Server::shared().await;
    let properties = Properties::default()
        .number(wire::PAYLOAD_FORMAT, 1)
        .text(wire::CONTENT_TYPE, "text/plain")
        .text(wire::RESPONSE_TOPIC, "answers")
        .text(wire::CORRELATION_DATA, [0, 1])
        .pair("b", "2")
        .pair("a", "1");
    let of = |connect: Connect, will: Message| connect.will(will.with(properties.clone()));
    let Pair { mut watcher, client, .. } = Pair::new(&server, Version::V5, of).await;
    client.vanish().await;
    let found = watcher.message().await.properties;
    assert_eq!(found.pairs(), properties.pairs());
    for property in [wire::CONTENT_TYPE, wire::RESPONSE_TOPIC, wire::CORRELATION_DATA] {
        assert_eq!(found.bytes(property), properties.bytes(property));
    }
    assert_eq!(found.get(wire::PAYLOAD_FORMAT), Some(1));
    assert!(!found.has(WILL_DELAY));
}

/// A connection with a will that waits, and a session that lasts.
async fn delayed(server: &Server, name: &str, delay: u32, expiry: u32) -> Pair {
    Pair::new(server, Version::V5, |connect, will| {
        let delay = Properties::default().number(WILL_DELAY, delay);
        let mut connect = Connect { client_id: name.to_owned(), ..connect }.lasting(expiry);
        connect.clean = false;
        connect.will(will.with(delay))
    })
    .await
}

#[tokio::test]
async fn a_will_waits_for_its_delay() {
    covers!("MQTT5:3.1.2-8", "MQTT5:3.1.2-7");
    let server = Server::shared().await;
    let Pair { mut watcher, client, .. } = delayed(&server, &unique("c"), 1, 60).await;
    client.vanish().await;
    let begun = Instant::now();
    assert_eq!(watcher.message().await.text(), "will");
    assert!(begun.elapsed() > Duration::from_millis(700), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_will_comes_no_later_than_the_session_ends() {
    covers!("MQTT5:3.1.2-8");
    let server = Server::shared().await;
    let Pair { mut watcher, client, .. } = delayed(&server, &unique("c"), 60, 1).await;
    client.vanish().await;
    assert_eq!(watcher.message().await.text(), "will");
    // A clean start ends the session too.
    let name = unique("c");
    let Pair { mut watcher, client, .. } = delayed(&server, &name, 60, 60).await;
    client.vanish().await;
    if server.is_excused("publishes no will when a clean start ends the session") {
        return;
    }
    let _clean = Client::new(&server, Version::V5, &name).await;
    assert_eq!(watcher.message().await.text(), "will");
}

#[tokio::test]
async fn a_client_that_comes_back_in_time_has_no_will_published() {
    covers!("MQTT5:3.1.2-26");
    let server = Server::shared().await;
    let name = unique("c");
    let Pair { topic, watcher, client } = delayed(&server, &name, 1, 60).await;
    client.vanish().await;
    let connect = Connect::new(Version::V5, &name).resume();
    let client = Client::open(&server, &connect).await;
    assert!(client.session_present);
    tokio::time::sleep(Duration::from_secs(1) + LONGER_THAN_DUE).await;
    let published = Pair { topic, watcher, client }.published(&server).await;
    assert_eq!(published, [""; 0]);
}

#[tokio::test]
async fn an_expiry_of_0_at_the_end_publishes_the_will_at_once() {
    covers!("MQTT5:3.1.2-8", "MQTT5:4.1.0-2");
    let server = Server::shared().await;
    if server.is_excused("waits for the delay") {
        return;
    }
    let mut pair = delayed(&server, &unique("c"), 60, 60).await;
    pair.client.send(&packet(0xe0, &[0x04, 5, SESSION_EXPIRY, 0, 0, 0, 0])).await;
    pair.client.closed().await;
    assert_eq!(pair.watcher.message().await.text(), "will");
}

#[tokio::test]
async fn a_quiet_client_is_disconnected_and_its_will_published() {
    covers!("MQTT3:3.1.2-24", "MQTT3:3.1.2-8", "MQTT5:3.1.2-24", "MQTT5:3.2.2-22");
    covers!("MQTT5:3.1.2-8");
    let server = Server::shared().await;
    let quiet = async |version| {
        let mut pair =
            Pair::new(&server, version, |connect, will| connect.keep_alive(1).will(will)).await;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            pair.client.send(PINGREQ).await;
        }
        pair.client.ping().await;
        let quiet = Instant::now();
        pair.client.assert_closed(&[0x8d], "a quiet client").await;
        let took = quiet.elapsed();
        let slack = if server.is_excused("looks once in a while") { 6000 } else { 1200 };
        let due = Duration::from_millis(1400)..Duration::from_millis(1500 + slack);
        assert!(due.contains(&took), "{took:?}");
        assert_eq!(pair.watcher.message().await.text(), "will");
    };
    tokio::join!(quiet(Version::V3), quiet(Version::V5));
}

#[tokio::test]
async fn without_keep_alive_a_client_may_be_quiet() {
    covers!("MQTT3:3.1.2-24", "MQTT5:3.1.2-24");
    let server = Server::shared().await;
    let quiet = async |version| {
        let connect = Connect::new(version, unique("c")).keep_alive(0);
        let mut client = Client::open(&server, &connect).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        client.ping().await;
    };
    tokio::join!(quiet(Version::V3), quiet(Version::V5));
}
