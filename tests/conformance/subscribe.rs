//! SUBSCRIBE and UNSUBSCRIBE: what is granted, what matches, and how often it comes.

use crate::client::Client;
use crate::server::{FORBIDDEN, Server, unique};
use crate::wire::{
    self, BOTH, Connect, Message, PUBACK, Properties, SUBSCRIPTION_ID, Version, acknowledge,
};

fn identified(id: u32) -> Properties {
    Properties::default().number(SUBSCRIPTION_ID, id)
}

#[tokio::test]
async fn each_filter_is_answered_in_its_order() {
    covers!("MQTT3:2.3.1-7", "MQTT3:3.8.4-1", "MQTT3:3.8.4-2", "MQTT3:3.8.4-4");
    covers!("MQTT3:3.8.4-5", "MQTT3:3.9.3-1", "MQTT3:3.9.3-2");
    covers!("MQTT5:2.2.1-6", "MQTT5:3.8.4-1", "MQTT5:3.8.4-2", "MQTT5:3.8.4-5");
    covers!("MQTT5:3.8.4-6", "MQTT5:3.8.4-7", "MQTT5:3.9.3-1", "MQTT5:3.9.3-2");
    let server = Server::shared().await;
    for version in BOTH {
        let mut client = Client::new(&server, version, &unique("c")).await;
        let filters = [("a", 2), ("b/+", 0), ("c/#", 1), ("+", 2), ("/", 0)];
        for id in [1, 0x1234, 0xffff] {
            client.send(&wire::subscribe(version, id, &Properties::default(), &filters)).await;
            assert_eq!(client.granted(0x90, id).await, [2, 0, 1, 2, 0]);
        }
        let many: Vec<String> = (0..50).map(|number| format!("many/{number}")).collect();
        let filters: Vec<_> = many.iter().map(|filter| (&**filter, 1)).collect();
        let codes = client.subscribe_with(&Properties::default(), &filters).await;
        assert_eq!(codes, [1; 50]);
    }
}

#[tokio::test]
async fn a_forbidden_filter_is_refused_and_the_others_granted() {
    covers!("MQTT3:3.8.4-5", "MQTT3:3.9.3-2", "MQTT5:3.8.4-7", "MQTT5:3.9.3-2");
    let server = Server::strict().await;
    if server.is_excused("has no rules here") {
        return;
    }
    for version in BOTH {
        let refused = if version == Version::V3 { 0x80 } else { 0x87 };
        let mut client = Client::new(&server, version, &unique("c")).await;
        let below = format!("{FORBIDDEN}/a");
        let all = format!("{FORBIDDEN}/#");
        let wild = format!("{FORBIDDEN}/+/b");
        let filters = [("allowed/#", 1), (&below, 1), (&all, 2), ("fine", 2), (&wild, 0)];
        let codes = client.subscribe_with(&Properties::default(), &filters).await;
        assert_eq!(codes, [1, refused, refused, 2, refused]);
        client.publish(Message::new("fine", "x").qos(1)).await;
        assert_eq!(client.message().await.text(), "x", "the connection goes on");
        // What covers more than is forbidden cannot deliver what is.
        let covers = client.subscribe_with(&Properties::default(), &[("#", 0)]).await;
        assert!(covers == [refused] || covers == [0], "{covers:02x?}");
    }
}

#[tokio::test]
async fn the_same_filter_again_replaces_the_subscription() {
    covers!("MQTT3:3.8.4-3", "MQTT5:3.8.4-3", "MQTT5:3.8.4-4");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::new(&server, version, &unique("c")).await;
        let mut publisher = Client::new(&server, version, &unique("p")).await;
        for (qos, id) in [(2, 1), (0, 2), (1, 3)] {
            let options =
                if version == Version::V3 { Properties::default() } else { identified(id) };
            client.subscribe_with(&options, &[(&topic, qos)]).await;
            publisher.publish(Message::new(&topic, "x").qos(2)).await;
            let message = client.message().await;
            assert_eq!(message.qos, qos);
            if version == Version::V5 {
                assert_eq!(message.properties.numbers(SUBSCRIPTION_ID), [id]);
            }
        }
        publisher.publish(Message::new(&topic, "end").qos(1)).await;
        assert_eq!(client.before("end").await, [""; 0], "one subscription, one copy");
    }
}

#[tokio::test]
async fn a_replaced_subscription_loses_nothing() {
    covers!("MQTT3:3.8.4-3", "MQTT5:3.8.4-4");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::new(&server, version, &unique("c")).await;
        client.subscribe(&topic, 1).await;
        let mut publisher = Client::new(&server, version, &unique("p")).await;
        for number in 0..30 {
            let id = publisher.id();
            let message = Message::new(&topic, number.to_string()).qos(1).id(id);
            publisher.send(&message.encode(version)).await;
            client.subscribe(&topic, 1).await;
            publisher.acknowledged(PUBACK, id).await;
        }
        for number in 0..30 {
            assert_eq!(client.message().await.text(), number.to_string());
        }
    }
}

#[tokio::test]
async fn overlapping_subscriptions_give_the_highest_qos() {
    covers!("MQTT3:3.3.5-1", "MQTT5:3.3.4-2", "MQTT5:3.3.4-3", "MQTT5:3.3.4-4");
    covers!("MQTT5:3.3.4-5");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let filters =
            [(format!("{topic}/#"), 0), (format!("{topic}/+"), 2), (format!("{topic}/a"), 1)];
        let mut client = Client::new(&server, version, &unique("c")).await;
        for (number, (filter, qos)) in (1..).zip(&filters) {
            let of =
                if version == Version::V3 { Properties::default() } else { identified(number) };
            client.subscribe_with(&of, &[(filter, *qos)]).await;
        }
        let mut publisher = Client::new(&server, version, &unique("p")).await;
        let name = format!("{topic}/a");
        let mut copies_before = None;
        for _ in 0..2 {
            publisher.publish(Message::new(&name, "x").qos(2)).await;
            publisher.publish(Message::new(&name, "end").qos(2)).await;
            let (mut copies, mut ids, mut qos, mut ends) = (0, Vec::new(), 0, 0);
            while ends == 0 || ends < copies {
                let message = client.message().await;
                if message.payload == b"end" {
                    ends += 1;
                    continue;
                }
                copies += 1;
                ids.extend(message.properties.numbers(SUBSCRIPTION_ID));
                qos = qos.max(message.qos);
            }
            if version == Version::V5 || !server.is_excused("takes the QoS of any of them") {
                assert_eq!(qos, 2);
            }
            if version == Version::V5 {
                ids.sort_unstable();
                assert_eq!(ids, [1, 2, 3], "in one copy or in three");
            }
            assert!(copies == 1 || copies == 3, "{copies} copies");
            assert!(copies_before.is_none_or(|before| before == copies), "always as many");
            copies_before = Some(copies);
        }
    }
}

#[tokio::test]
async fn a_subscription_without_identifier_sends_none() {
    covers!("MQTT5:3.3.4-3", "MQTT5:3.3.4-4");
    let server = Server::shared().await;
    let topic = unique("t");
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    client.subscribe(&topic, 1).await;
    client.publish(Message::new(&topic, "x").qos(1)).await;
    assert_eq!(client.message().await.properties.numbers(SUBSCRIPTION_ID), [0_u32; 0]);
    for id in [1, 127, 128, 16_383, 16_384, 2_097_152, 268_435_455] {
        client.subscribe_with(&identified(id), &[(&topic, 1)]).await;
        client.publish(Message::new(&topic, "x").qos(1)).await;
        assert_eq!(client.message().await.properties.numbers(SUBSCRIPTION_ID), [id]);
    }
    client.subscribe(&topic, 1).await;
    client.publish(Message::new(&topic, "x").qos(1)).await;
    let found = client.message().await.properties.numbers(SUBSCRIPTION_ID);
    assert_eq!(found, [0_u32; 0], "the new subscription has none");
}

#[tokio::test]
async fn no_local_keeps_a_clients_own_messages_from_it() {
    covers!("MQTT5:3.8.3-3");
    let server = Server::shared().await;
    let topic = unique("t");
    let connect = Connect::new(Version::V5, unique("c")).resume();
    let mut client = Client::open(&server, &connect).await;
    client.subscribe(&topic, 0x01 | 0x04).await;
    let mut other = Client::new(&server, Version::V5, &unique("c")).await;
    other.subscribe(&topic, 0x01).await;
    client.publish(Message::new(&topic, "own").qos(1)).await;
    other.publish(Message::new(&topic, "other").qos(1)).await;
    assert_eq!(client.before("other").await, [""; 0]);
    assert_eq!(other.before("other").await, ["own"]);
    client.publish(Message::new(&topic, "own").qos(1)).await;
    client.disconnect().await;
    let mut client = Client::open(&server, &connect).await;
    other.publish(Message::new(&topic, "other").qos(1)).await;
    assert_eq!(client.before("other").await, [""; 0], "it is of the session, not the connection");
}

#[tokio::test]
async fn every_unsubscribe_is_answered() {
    covers!("MQTT3:2.3.1-7", "MQTT3:3.10.4-4", "MQTT3:3.10.4-5", "MQTT3:3.10.4-6");
    covers!("MQTT5:2.2.1-6", "MQTT5:3.10.4-4", "MQTT5:3.10.4-5", "MQTT5:3.10.4-6");
    covers!("MQTT5:3.11.3-1", "MQTT5:3.11.3-2");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::new(&server, version, &unique("c")).await;
        let [a, b] = ["a", "b"].map(|name| format!("{topic}/{name}"));
        client.subscribe_with(&Properties::default(), &[(&a, 1), (&b, 1)]).await;
        let codes = client.unsubscribe(&[&a, "none", &b, &a]).await;
        let expected: &[u8] = if version == Version::V3 { &[] } else { &[0x00, 0x11, 0x00, 0x11] };
        assert_eq!(codes, expected);
        client.send(&wire::unsubscribe(version, 0xffff, &["none"])).await;
        client.granted(0xb0, 0xffff).await;
    }
}

#[tokio::test]
async fn unsubscribing_removes_the_very_filter_and_nothing_else() {
    covers!("MQTT3:3.10.4-1", "MQTT3:3.10.4-2", "MQTT5:3.10.4-1", "MQTT5:3.10.4-2");
    let server = Server::shared().await;
    for version in BOTH {
        let topic = unique("t");
        let mut client = Client::new(&server, version, &unique("c")).await;
        let [all, a, end] = ["#", "a", "end"].map(|name| format!("{topic}/{name}"));
        client.subscribe(&all, 1).await;
        for not_it in [&a, &format!("{topic}/+"), &topic, &all.to_uppercase()] {
            client.unsubscribe(&[not_it]).await;
        }
        client.publish(Message::new(&a, "x").qos(1)).await;
        assert_eq!(client.message().await.text(), "x");
        client.subscribe(&end, 1).await;
        client.unsubscribe(&[&all]).await;
        client.publish(Message::new(&a, "after").qos(1)).await;
        client.publish(Message::new(&end, "end").qos(1)).await;
        assert_eq!(client.before("end").await, [""; 0]);
    }
}

#[tokio::test]
async fn what_was_begun_before_unsubscribing_is_completed() {
    covers!("MQTT3:3.10.4-3", "MQTT5:3.10.4-3");
    let server = Server::shared().await;
    for version in BOTH {
        let (topic, connect) = (unique("t"), Connect::new(version, unique("c")).resume());
        let mut client = Client::open(&server, &connect).await;
        client.subscribe(&topic, 2).await;
        client.publish(Message::new(&topic, "one").qos(1)).await;
        let one = client.publication().await;
        client.publish(Message::new(&topic, "two").qos(2)).await;
        let two = client.publication().await;
        client.unsubscribe(&[&topic]).await;
        client.complete(two.id).await;
        client.ping().await;
        client.vanish().await;
        let mut client = Client::open(&server, &connect).await;
        let again = client.publication().await;
        assert_eq!((again.text(), again.id, again.dup), ("one", one.id, true));
        client.send(&acknowledge(PUBACK, one.id, 0)).await;
        client.assert_quiet().await;
    }
}
