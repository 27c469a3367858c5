//! How much may be under way, and what becomes of a client that sends more, or reads less.

use std::time::{Duration, Instant};

use eg_event::Refusal;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::packet::{Connect, PINGREQ, Publish, packet, pubrel, text};
use crate::{PATIENCE, until};

const PAUSE: Duration = Duration::from_millis(100);
const BUSY: Refusal = Refusal::Busy { retry_after: Duration::from_secs(1) };

#[tokio::test]
async fn no_more_publications_are_under_way_than_the_receive_maximum() {
    let gateway = Gateway::start_with(|config| config.receive_maximum = 2).await;
    gateway.store.hold();
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    // QoS 0 does not count.
    let messages = [(1, 1), (0, 0), (2, 2), (0, 0), (1, 3)];
    let together = messages.map(|(qos, id)| Publish::v5(qos, id, "t").bytes()).concat();
    client.write(&together).await;
    until("those before", || gateway.store.count() == 4).await;
    gateway.store.complete_all();
    assert_eq!(client.answer().await.packet_id(), 1);
    assert_eq!(client.answer().await.packet_id(), 2);
    let end = client.answer().await;
    assert_eq!((end.first, end.code()), (0xe0, 0x93));
    assert_eq!(client.read().await, None);
    assert_eq!(gateway.store.count(), 4);
}

#[tokio::test]
async fn what_is_acknowledged_makes_room_for_the_next() {
    let gateway = Gateway::start_with(|config| config.receive_maximum = 1).await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    for id in 1..=5 {
        assert_eq!(client.exchange(&Publish::v5(1, id, "t").bytes()).await.first, 0x40);
        assert_eq!(client.exchange(&Publish::v5(2, id, "t").bytes()).await.first, 0x50);
        // QoS 2 is under way until PUBCOMP; the same message again is no other one.
        assert_eq!(client.exchange(&Publish::v5(2, id, "t").again().bytes()).await.first, 0x50);
        assert_eq!(client.exchange(&pubrel(id)).await.first, 0x70);
    }
    // A refusal ends an exchange at PUBREC.
    gateway.store.refuse(Refusal::TooLarge { limit_bytes: 1 });
    for id in 6..=8 {
        assert_eq!(client.exchange(&Publish::v5(2, id, "t").bytes()).await.code(), 0x97);
    }
    gateway.store.refuse(None);
    client.write(&[Publish::v5(2, 1, "t").bytes(), Publish::v5(1, 2, "t").bytes()].concat()).await;
    assert_eq!(client.answer().await.first, 0x50);
    assert_eq!(client.answer().await.code(), 0x93);
}

#[tokio::test]
async fn a_topic_alias_stands_for_the_last_topic_it_was_sent_with() {
    let gateway = Gateway::start_with(|config| config.topic_alias_maximum = 2).await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    let messages =
        [("one", 1), ("", 1), ("two", 2), ("", 1), ("", 2), ("three", 1), ("", 1), ("", 2)];
    for (topic, alias) in messages {
        let message = Publish::v5(1, 1, topic).property(&[0x23, 0, alias]);
        assert_eq!(client.exchange(&message.bytes()).await.code(), 0);
    }
    let topics: Vec<_> =
        gateway.store.taken().iter().map(|one| one.origin.address.to_string()).collect();
    assert_eq!(topics, ["one", "one", "two", "one", "two", "three", "three", "two"]);
    // It is the connection's own.
    let mut other = Client::connect(gateway.address, &Connect::v5("a")).await;
    other.write(&Publish::v5(1, 1, "").property(&[0x23, 0, 1]).bytes()).await;
    assert_eq!(other.answer().await.code(), 0x82);
}

#[tokio::test]
async fn nothing_is_read_while_the_store_is_full_and_other_connections_live_on() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    let mut other = Client::connect(gateway.address, &Connect::v5("b")).await;
    gateway.store.refuse(BUSY);
    gateway.store.set_full(true);
    let refused = client.exchange(&Publish::v5(1, 1, "t").bytes()).await;
    assert_eq!(refused.code(), 0x97);
    gateway.store.refuse(None);
    client.write(&[Publish::v5(1, 2, "t").bytes(), PINGREQ.to_vec()].concat()).await;
    assert!(client.is_silent_for(PAUSE).await);
    assert_eq!(gateway.store.count(), 0);
    assert_eq!(other.exchange(&Publish::v5(1, 1, "t").bytes()).await.code(), 0);
    assert!(other.is_alive().await);
    gateway.store.set_full(false);
    let mut kinds = [client.answer().await.first, client.answer().await.first];
    kinds.sort_unstable();
    assert_eq!(kinds, [0x40, 0xd0]);
}

#[tokio::test]
async fn a_client_that_waits_for_room_in_vain_is_let_go() {
    let gateway = Gateway::start_with(|config| config.stall_seconds_max = 1).await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    gateway.store.refuse(BUSY);
    gateway.store.set_full(true);
    assert_eq!(client.exchange(&Publish::v5(1, 1, "t").bytes()).await.code(), 0x97);
    let end = client.answer().await;
    assert_eq!((end.first, end.code()), (0xe0, 0x97));
    assert_eq!(client.read().await, None);
}

#[tokio::test]
async fn a_commit_that_does_not_come_ends_the_connection_without_acknowledgement() {
    let gateway = Gateway::start_with(|config| config.stall_seconds_max = 1).await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    gateway.store.hold();
    client.write(&Publish::v5(1, 1, "t").bytes()).await;
    let end = client.answer().await;
    assert_eq!((end.first, end.code()), (0xe0, 0x97));
    assert_eq!(client.read().await, None);
}

/// CONNECT, and so many messages right behind it.
fn together(client_id: &str, count: u16) -> Vec<u8> {
    let publish = |id| Publish::v5(1, id, "t").bytes();
    let messages: Vec<_> = (1..=count).flat_map(publish).collect();
    [Connect::v5(client_id).bytes(), messages].concat()
}

/// Sends that; says whether all is acknowledged.
async fn send_together(client: &mut Client, (client_id, count): (&str, u16)) -> bool {
    assert_eq!(client.exchange(&together(client_id, count)).await.first, 0x20);
    for _ in 0..count {
        if client.answer().await.first != 0x40 {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn a_subscriber_that_reads_late_gets_everything_without_asking() {
    const COUNT: usize = 300;
    let gateway = Gateway::start().await;
    let mut slow = Client::open_with_receive_buffer(gateway.address, 4096).await;
    assert_eq!(slow.exchange(&Connect::v5("slow").bytes()).await.code(), 0);
    let subscribe = packet(0x82, &[&[0, 1, 0], &text("t"), &[0]]);
    assert_eq!(slow.exchange(&subscribe).await.first, 0x90);
    let mut publisher = Client::connect(gateway.address, &Connect::v5("publisher")).await;
    let message = Publish::v5(1, 1, "t").payload("x".repeat(60_000)).bytes();
    for _ in 0..COUNT {
        assert_eq!(publisher.exchange(&message).await.first, 0x40);
    }
    for _ in 0..COUNT {
        assert_eq!(slow.answer().await.first, 0x30);
    }
}

#[tokio::test]
async fn who_takes_its_connection_over_waits_as_that_did() {
    let gateway = Gateway::start_with(|config| config.client_messages_per_second_max = 10).await;
    let mut first = Client::open(gateway.address).await;
    assert!(send_together(&mut first, ("fast", 30)).await);
    let mut second = Client::open(gateway.address).await;
    assert_eq!(second.exchange(&together("fast", 1)).await.first, 0x20);
    let mut other = Client::open(gateway.address).await;
    assert!(send_together(&mut other, ("other", 1)).await);
    assert!(second.is_silent_for(10 * PAUSE).await);
    // What came right behind CONNECT is not lost.
    assert_eq!(second.answer().await.first, 0x40);
}

#[tokio::test]
async fn who_connects_again_goes_on_at_its_pace() {
    let gateway = Gateway::start_with(|config| config.client_messages_per_second_max = 10).await;
    let mut first = Client::open(gateway.address).await;
    assert!(send_together(&mut first, ("fast", 30)).await);
    first.finish().await;
    assert_eq!(first.read().await, None);
    let mut second = Client::open(gateway.address).await;
    assert!(send_together(&mut second, ("fast", 20)).await);
    // Had it begun anew, a second would do.
    second.write(&PINGREQ).await;
    assert!(second.is_silent_for(13 * PAUSE).await);
    assert!(second.is_alive().await);
}

#[tokio::test]
async fn keep_alive_is_not_counted_while_nothing_is_read() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a").keep_alive(1)).await;
    gateway.store.refuse(BUSY);
    gateway.store.set_full(true);
    assert_eq!(client.exchange(&Publish::v5(1, 1, "t").bytes()).await.code(), 0x97);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        client.write(&PINGREQ).await;
        assert!(client.is_silent_for(Duration::from_millis(500)).await);
    }
    gateway.store.set_full(false);
    assert_eq!(client.answer().await.first, 0xd0);
}

#[tokio::test]
async fn only_so_many_events_of_a_connection_wait_for_the_disk() {
    let gateway = Gateway::start_with(|config| config.pending_events_max = 10).await;
    gateway.store.hold();
    let mut client = Client::connect(gateway.address, &Connect::v311("a")).await;
    let message = Publish::v311(0, 0, "t").payload(vec![b'x'; 60_000]).bytes();
    for _ in 0..10 {
        client.write(&message).await;
    }
    until("the first", || gateway.store.count() == 10).await;
    // What is sent beyond stays in the network's buffers until they are full, too.
    let mut sent = 10;
    while sent < 1000 && client.try_write(&message, PAUSE).await {
        sent += 1;
    }
    assert!(sent < 1000, "the client could go on sending");
    assert!(gateway.store.count() < 20, "{} events were taken", gateway.store.count());
    gateway.store.complete_all();
    until("the others", || gateway.store.count() >= sent).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_from_and_let_go() {
    let gateway = Gateway::start_with(|config| {
        config.output_bytes_max = 4096;
        config.stall_seconds_max = 1;
    })
    .await;
    let mut client = Client::open_with_receive_buffer(gateway.address, 4096).await;
    assert_eq!(client.exchange(&Connect::v311("a").bytes()).await.code(), 0);
    let pings = PINGREQ.repeat(1024);
    let open = || gateway.server.counters().connections.load(std::sync::atomic::Ordering::Relaxed);
    let began = Instant::now();
    let mut sent_bytes = 0;
    while open() > 0 {
        assert!(began.elapsed() < PATIENCE * 3, "it kept its place after {sent_bytes} bytes");
        // Goes on where the last write was cut, so that every packet is a right one.
        let rest = &pings[sent_bytes % PINGREQ.len()..];
        match client.write_some(rest, Duration::from_millis(50)).await {
            0 => tokio::time::sleep(Duration::from_millis(5)).await,
            count => sent_bytes += count,
        }
    }
    assert!(sent_bytes < 64 << 20, "a client that reads nothing could go on sending");
}
