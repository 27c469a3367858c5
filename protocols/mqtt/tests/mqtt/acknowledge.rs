//! Acknowledgements: when they come, in which order, and what they say.

use std::time::Duration;

use eg_event::{InvalidInput, Refusal};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::packet::{Connect, Publish, packet, user};
use crate::until;

const PAUSE: Duration = Duration::from_millis(60);
const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;

/// Publishes one by one, each in a commit of its own that waits.
async fn publish_apart(gateway: &Gateway, client: &mut Client, messages: &[Publish]) {
    for message in messages {
        let waiting = gateway.store.waiting();
        client.write(&message.bytes()).await;
        until("the commit", || gateway.store.waiting() == waiting + 1).await;
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_committed() {
    let gateway = Gateway::start().await;
    gateway.store.hold();
    let rows = [
        (Connect::v5("a"), Publish::v5(1, 1, "t"), PUBACK),
        (Connect::v5("b"), Publish::v5(2, 1, "t"), PUBREC),
        (Connect::v311("c"), Publish::v311(1, 1, "t"), PUBACK),
        (Connect::v311("d"), Publish::v311(2, 1, "t"), PUBREC),
    ];
    for (number, (connect, publish, kind)) in rows.into_iter().enumerate() {
        let mut client = Client::connect(gateway.address, &connect).await;
        publish_apart(&gateway, &mut client, std::slice::from_ref(&publish)).await;
        assert!(client.is_silent_for(PAUSE).await, "{publish:?}");
        gateway.store.complete(0);
        let answer = client.answer().await;
        assert_eq!((answer.first, answer.packet_id(), answer.code()), (kind, 1, 0), "{answer:?}");
        if connect.level == 5 {
            assert_eq!(answer.user("id").as_deref(), Some(gateway.store.last().event.id()));
            assert_eq!(answer.user("sequence"), Some((number + 1).to_string()));
        } else {
            assert_eq!(answer.body, [0, 1]);
        }
    }
}

#[tokio::test]
async fn acknowledgements_come_in_the_order_of_the_packets_whatever_is_committed_first() {
    let gateway = Gateway::start().await;
    gateway.store.hold();
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    let messages = [
        Publish::v5(1, 9, "t"),
        Publish::v5(2, 3, "t"),
        Publish::v5(1, 7, "t"),
        Publish::v5(2, 5, "t"),
    ];
    publish_apart(&gateway, &mut client, &messages).await;
    gateway.store.complete(3);
    gateway.store.complete(1);
    assert!(client.is_silent_for(PAUSE).await);
    gateway.store.complete(0);
    let first = client.answer().await;
    let second = client.answer().await;
    assert_eq!((first.first, first.packet_id()), (PUBACK, 9));
    assert_eq!((second.first, second.packet_id()), (PUBREC, 3));
    assert!(client.is_silent_for(PAUSE).await);
    gateway.store.complete(0);
    let third = client.answer().await;
    let fourth = client.answer().await;
    assert_eq!((third.first, third.packet_id()), (PUBACK, 7));
    assert_eq!((fourth.first, fourth.packet_id()), (PUBREC, 5));
}

#[tokio::test]
async fn messages_that_come_together_are_committed_together() {
    let gateway = Gateway::start().await;
    gateway.store.hold();
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    let together: Vec<u8> =
        (1..=20).flat_map(|id| Publish::v5(1, id, "t").payload(id.to_string()).bytes()).collect();
    client.write(&together).await;
    until("all of them", || gateway.store.count() == 20).await;
    assert_eq!(gateway.store.waiting(), 1);
    gateway.store.complete(0);
    for id in 1..=20 {
        assert_eq!(client.answer().await.packet_id(), id);
    }
    let sent: Vec<String> = (1..=20).map(|id| id.to_string()).collect();
    assert_eq!(gateway.store.payloads(), sent);
}

#[tokio::test]
async fn a_message_that_cannot_be_an_event_is_refused_in_its_place() {
    let gateway = Gateway::start().await;
    gateway.store.hold();
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    let bad = Publish::v5(1, 2, "t").property(&user("specversion", "1.0"));
    let messages = [Publish::v5(1, 1, "t"), bad, Publish::v5(1, 3, "t")];
    client.write(&messages.map(|message| message.bytes()).concat()).await;
    until("the good ones", || gateway.store.waiting() == 2).await;
    assert!(client.is_silent_for(PAUSE).await);
    gateway.store.complete_all();
    for (id, code) in [(1, 0), (2, 0x99), (3, 0)] {
        let answer = client.answer().await;
        assert_eq!((answer.packet_id(), answer.code()), (id, code), "{answer:?}");
    }
    assert_eq!(gateway.store.count(), 2);
}

#[tokio::test]
async fn a_message_that_nobody_subscribes_to_is_acknowledged_as_such() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    let attributes =
        [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "nobody.cares")];
    let event = |qos, id| {
        let message = Publish::v5(qos, id, "t");
        let with = attributes
            .iter()
            .fold(message, |message, (name, value)| message.property(&user(name, value)));
        with.bytes()
    };
    assert_eq!(client.exchange(&event(1, 1)).await.code(), 0x10);
    assert_eq!(client.exchange(&event(2, 2)).await.code(), 0x10);
}

#[tokio::test]
async fn refusals_have_their_code_and_say_why() {
    let wait = Duration::from_secs(7);
    let rows = [
        (Refusal::Busy { retry_after: wait }, 0x97, "too busy, try again in 7 s"),
        (Refusal::TooLarge { limit_bytes: 5 }, 0x97, "larger than the limit of 5 bytes"),
        (
            Refusal::Unavailable { reason: "disk full".into(), retry_after: wait },
            0x97,
            "unavailable: disk full",
        ),
        (Refusal::Forbidden("not this topic".into()), 0x87, "not allowed: not this topic"),
        (
            InvalidInput::new("time", "expected a timestamp").into(),
            0x99,
            "time: expected a timestamp",
        ),
    ];
    let gateway = Gateway::start().await;
    for (refusal, code, reason) in rows {
        let says_when = matches!(refusal, Refusal::Busy { .. } | Refusal::Unavailable { .. });
        gateway.store.refuse(refusal.clone());
        let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
        for qos in [1, 2] {
            let answer = client.exchange(&Publish::v5(qos, 1, "t").bytes()).await;
            assert_eq!(answer.first, if qos == 1 { PUBACK } else { PUBREC });
            assert_eq!((answer.code(), answer.reason().as_str()), (code, reason));
            assert_eq!(answer.user("retry-after").is_some(), says_when, "{refusal:?}");
        }
        // 3.1.1 has no word for it: no acknowledgement, and the end.
        let mut older = Client::connect(gateway.address, &Connect::v311("b")).await;
        older.write(&Publish::v311(1, 1, "t").bytes()).await;
        assert_eq!(older.read().await, None, "{refusal:?}");
    }
    assert_eq!(gateway.store.count(), 0);
}

#[tokio::test]
async fn a_qos_0_message_that_is_refused_is_counted() {
    let gateway = Gateway::start().await;
    gateway.store.refuse(Refusal::TooLarge { limit_bytes: 5 });
    let mut client = Client::connect(gateway.address, &Connect::v311("a")).await;
    client.write(&Publish::v311(0, 0, "t").bytes()).await;
    let dropped =
        || gateway.server.counters().messages_dropped.load(std::sync::atomic::Ordering::Relaxed);
    until("the count", || dropped() == 1).await;
    assert!(client.is_alive().await);
}

#[tokio::test]
async fn a_client_that_takes_small_packets_is_told_less() {
    let gateway = Gateway::start().await;
    let connect = Connect::v5("a").property(&[0x27, 0, 0, 0, 40]);
    let mut client = Client::connect(gateway.address, &connect).await;
    let answer = client.exchange(&Publish::v5(1, 1, "t").bytes()).await;
    assert_eq!((answer.packet_id(), answer.code(), answer.properties()), (1, 0, vec![]));
    client.write(&packet(0x30, &[&[0, 9]])).await;
    let end = client.answer().await;
    assert_eq!((end.first, end.code()), (0xe0, 0x81));

    // One that does not even take a CONNACK is refused, with or without a word.
    for (bytes_max, told) in [(13, true), (5, true), (4, false)] {
        let mut client = Client::open(gateway.address).await;
        client.write(&Connect::v5("c").property(&[0x27, 0, 0, 0, bytes_max]).bytes()).await;
        let connack = client.read().await;
        assert_eq!(connack.as_ref().map(crate::packet::Answer::code), told.then_some(0x95));
        assert_eq!(client.read().await, None);
    }

    // Request Problem Information 0 (MQTT 5.0 section 3.1.2.11.7).
    let connect = Connect::v5("b").property(&[0x17, 0]);
    let mut client = Client::connect(gateway.address, &connect).await;
    gateway.store.refuse(Refusal::Forbidden("no".into()));
    let answer = client.exchange(&Publish::v5(1, 1, "t").bytes()).await;
    assert_eq!((answer.code(), answer.properties()), (0x87, vec![]));
}

#[tokio::test]
async fn what_is_due_is_acknowledged_before_the_connection_ends() {
    let gateway = Gateway::start().await;
    gateway.store.hold();
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    let bad = Publish::v5(1, 2, "a/#").bytes();
    client.write(&[Publish::v5(1, 1, "t").bytes(), bad].concat()).await;
    until("the good one", || gateway.store.waiting() == 1).await;
    assert!(client.is_silent_for(PAUSE).await);
    gateway.store.complete(0);
    let answer = client.answer().await;
    assert_eq!((answer.first, answer.packet_id(), answer.code()), (PUBACK, 1, 0));
    let end = client.answer().await;
    assert_eq!((end.first, end.code()), (0xe0, 0x90));
    assert_eq!(client.read().await, None);
}

#[tokio::test]
async fn what_comes_right_behind_connect_is_answered_behind_connack() {
    let gateway = Gateway::start().await;
    for (connect, publish) in
        [(Connect::v5("a"), Publish::v5(1, 1, "t")), (Connect::v311("b"), Publish::v311(1, 1, "t"))]
    {
        let mut client = Client::open(gateway.address).await;
        let both = [connect.bytes(), publish.bytes()].concat();
        assert_eq!(client.exchange(&both).await.first, 0x20);
        assert_eq!(client.answer().await.first, PUBACK);
        assert!(client.is_alive().await);
    }
    let mut client = Client::open(gateway.address).await;
    let both = [Connect::v5("c").bytes(), Connect::v5("c").bytes()].concat();
    assert_eq!(client.exchange(&both).await.first, 0x20);
    let end = client.answer().await;
    assert_eq!((end.first, end.code()), (0xe0, 0x82));
}

#[tokio::test]
async fn a_message_that_arrived_whole_is_taken_though_its_sender_has_left() {
    let gateway = Gateway::start().await;
    gateway.store.hold();
    for sent in 1..=10 {
        let mut client = Client::connect(gateway.address, &Connect::v311(format!("c{sent}"))).await;
        client.write(&Publish::v311(1, 1, "t").bytes()).await;
        drop(client);
        until("the event", || gateway.store.count() == sent).await;
    }
}
