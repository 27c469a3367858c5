//! Wills: when they are published, and when not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eg_auth::Authenticator;
use eg_event::Refusal;
use eg_mqtt::MqttConfig;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::packet::{Connect, Publish, packet, user};
use crate::until;

const PAUSE: Duration = Duration::from_millis(150);
const DELAY_1_S: [u8; 5] = [0x18, 0, 0, 0, 1];
const DELAY_LONG: [u8; 5] = [0x18, 0, 1, 0, 0];

fn with_will(connect: Connect) -> Connect {
    connect.will("lost/a", "gone", &[])
}

fn delayed(connect: Connect, delay: [u8; 5]) -> Connect {
    connect.will("lost/a", "gone", &[&delay])
}

/// How a connection ends, and whether its will is published.
type Row = (&'static str, Vec<u8>, bool);

#[tokio::test]
async fn a_will_is_published_unless_the_client_says_goodbye() {
    let rows: Vec<(Connect, Row)> = vec![
        (Connect::v5("a"), ("the client is gone", vec![], true)),
        (Connect::v5("b"), ("DISCONNECT 0", vec![0xe0, 0], false)),
        (Connect::v5("c"), ("DISCONNECT 0, written out", packet(0xe0, &[&[0]]), false)),
        (Connect::v5("d"), ("DISCONNECT 4", packet(0xe0, &[&[4]]), true)),
        (Connect::v5("e"), ("DISCONNECT 0x80", packet(0xe0, &[&[0x80, 0]]), true)),
        (Connect::v5("f"), ("a malformed packet", vec![0, 0], true)),
        (Connect::v5("g"), ("a wrong topic", Publish::v5(1, 1, "#").bytes(), true)),
        (Connect::v311("h"), ("the client is gone, 3.1.1", vec![], true)),
        (Connect::v311("i"), ("DISCONNECT, 3.1.1", vec![0xe0, 0], false)),
        (Connect::v311("j"), ("a malformed packet, 3.1.1", vec![0, 0], true)),
    ];
    let gateway = Gateway::start().await;
    for (connect, (name, bytes, published)) in rows {
        let mut client = Client::connect(gateway.address, &with_will(connect)).await;
        client.write(&bytes).await;
        drop(client);
        if published {
            until(name, || gateway.store.count() == 1).await;
            let will = gateway.store.last();
            assert_eq!(&*will.origin.address, "lost/a", "{name}");
            assert_eq!(gateway.store.payloads(), ["gone"], "{name}");
        } else {
            tokio::time::sleep(PAUSE).await;
            assert_eq!(gateway.store.count(), 0, "{name}");
        }
        gateway.store.clear_but(0);
    }
}

#[tokio::test]
async fn a_goodbye_counts_though_the_store_is_slow() {
    let gateway = Gateway::start_with(|config| config.stall_seconds_max = 1).await;
    gateway.store.hold();
    let mut client = Client::connect(gateway.address, &with_will(Connect::v5("a"))).await;
    client.write(&[Publish::v5(1, 1, "t").bytes(), vec![0xe0, 0]].concat()).await;
    assert_eq!(client.read().await, None);
    gateway.stop.cancel();
    gateway.tasks.close();
    gateway.tasks.wait().await;
    assert_eq!(gateway.store.payloads(), ["payload"]);
}

#[tokio::test]
async fn a_will_is_published_when_the_client_is_silent_for_too_long() {
    let gateway = Gateway::start().await;
    let connect = with_will(Connect::v5("a")).keep_alive(1);
    let mut client = Client::connect(gateway.address, &connect).await;
    assert_eq!(client.answer().await.code(), 0x8d);
    until("the will", || gateway.store.count() == 1).await;
}

#[tokio::test]
async fn a_will_comes_behind_what_its_client_published() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(gateway.address, &with_will(Connect::v5("a"))).await;
    client.write(&Publish::v5(0, 0, "t").bytes()).await;
    drop(client);
    until("both", || gateway.store.count() == 2).await;
    assert_eq!(gateway.store.payloads(), ["payload", "gone"]);
}

#[tokio::test]
async fn a_will_is_an_event_by_its_user_properties() {
    let gateway = Gateway::start().await;
    let attributes =
        [("specversion", "1.0"), ("id", "7"), ("source", "/till"), ("type", "till.lost")];
    let attributes = attributes.map(|(name, value)| user(name, value));
    let attributes: Vec<&[u8]> = attributes.iter().map(Vec::as_slice).collect();
    let connect = Connect::v5("a").will("lost/a", "gone", &attributes);
    drop(Client::connect(gateway.address, &connect).await);
    until("the will", || gateway.store.count() == 1).await;
    let event = gateway.store.last().event;
    assert_eq!((event.id(), event.source(), event.ty()), ("7", "/till", "till.lost"));

    // One that is no event is refused while its client is there to be told.
    let connect = Connect::v5("b").will("lost/a", "gone", &attributes[..3]);
    let (_, connack) = Client::try_connect(gateway.address, &connect).await;
    assert_eq!(connack.code(), 0x99);
    assert!(connack.reason().starts_with("the will is no event: type: "), "{connack:?}");
}

#[tokio::test]
async fn a_will_waits_for_its_delay() {
    let gateway = Gateway::start().await;
    let connect = delayed(Connect::v5("a").expiry(60), DELAY_1_S);
    drop(Client::connect(gateway.address, &connect).await);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(gateway.store.count(), 0);
    until("the will", || gateway.store.count() == 1).await;
}

#[tokio::test]
async fn a_will_does_not_wait_longer_than_its_session() {
    let gateway = Gateway::start().await;
    // The session ends with the connection.
    drop(Client::connect(gateway.address, &delayed(Connect::v5("a"), DELAY_LONG)).await);
    until("the will", || gateway.store.count() == 1).await;
    // A clean start ends it.
    let connect = delayed(Connect::v5("a").expiry(60), DELAY_LONG);
    drop(Client::connect(gateway.address, &connect).await);
    tokio::time::sleep(PAUSE).await;
    assert_eq!(gateway.store.count(), 1);
    let _next = Client::connect(gateway.address, &Connect::v5("a")).await;
    until("the second will", || gateway.store.count() == 2).await;
    until("nothing is kept", || gateway.store.wills() == 0).await;
}

#[tokio::test]
async fn a_will_is_published_though_the_server_is_lost_before_its_client() {
    let gateway = Gateway::start().await;
    let address = gateway.address;
    let _lost = Client::connect(address, &with_will(Connect::v5("a"))).await;
    let mut goodbye = Client::connect(address, &with_will(Connect::v5("b"))).await;
    let waiting = delayed(Connect::v5("c").expiry(60), DELAY_1_S);
    let _waiting = Client::connect(address, &waiting).await;
    drop(Client::connect(address, &delayed(Connect::v5("d").expiry(60), DELAY_LONG)).await);
    until("all are kept", || gateway.store.wills() == 4).await;
    goodbye.write(&[0xe0, 0]).await;
    until("one is not needed", || gateway.store.wills() == 3).await;

    let store = gateway.store.after_a_crash();
    let (config, known) = (MqttConfig::default(), Authenticator::anonymous_on_loopback());
    let next = Gateway::assemble(config, known, Arc::clone(&store)).await;
    let _back = Client::connect(next.address, &Connect::v5("d").expiry(60).resume()).await;
    until("the one without delay", || store.count() == 1).await;
    until("the one with a delay", || store.count() == 2 && store.wills() == 0).await;
}

#[tokio::test]
async fn a_will_that_waits_when_the_server_stops_is_left_for_the_next_start() {
    let gateway = Gateway::start().await;
    let connect = delayed(Connect::v5("a").expiry(60), DELAY_LONG);
    drop(Client::connect(gateway.address, &connect).await);
    until("it is kept", || gateway.store.wills() == 1).await;
    let counters = gateway.server.counters();
    until("the loss", || counters.connections.load(Ordering::Relaxed) == 0).await;
    gateway.stop.cancel();
    gateway.tasks.close();
    gateway.tasks.wait().await;
    assert_eq!((gateway.store.count(), gateway.store.wills()), (0, 1));
}

#[tokio::test]
async fn a_will_for_which_there_is_no_room_is_published_when_there_is() {
    let gateway = Gateway::start().await;
    let client = Client::connect(gateway.address, &with_will(Connect::v5("a"))).await;
    gateway.store.refuse(Refusal::Busy { retry_after: PAUSE });
    drop(client);
    let counters = gateway.server.counters();
    until("the loss", || counters.connections.load(Ordering::Relaxed) == 0).await;
    gateway.store.refuse(None);
    until("the will", || gateway.store.payloads() == ["gone"]).await;
    until("it is kept no longer", || gateway.store.wills() == 0).await;
}

#[tokio::test]
async fn a_will_for_which_there_is_no_room_when_the_server_stops_is_left_for_the_next_start() {
    let gateway = Gateway::start().await;
    let _client = Client::connect(gateway.address, &with_will(Connect::v5("a"))).await;
    until("it is kept", || gateway.store.wills() == 1).await;
    let retry_after = Duration::from_hours(1);
    gateway.store.refuse(Refusal::Unavailable { reason: "stopping".into(), retry_after });
    gateway.stop.cancel();
    gateway.tasks.close();
    gateway.tasks.wait().await;
    gateway.server.settle().await;
    assert_eq!((gateway.store.count(), gateway.store.wills()), (0, 1));
}

#[tokio::test]
async fn a_will_is_not_published_when_the_client_is_back_in_time() {
    let gateway = Gateway::start().await;
    let connect = delayed(Connect::v5("a").expiry(60), DELAY_1_S);
    drop(Client::connect(gateway.address, &connect).await);
    tokio::time::sleep(PAUSE).await;
    let _back = Client::connect(gateway.address, &Connect::v5("a").expiry(60).resume()).await;

    // A take-over is being back, too.
    let connect = delayed(Connect::v5("b").expiry(60), DELAY_1_S);
    let _lost = Client::connect(gateway.address, &connect).await;
    let _back = Client::connect(gateway.address, &Connect::v5("b").expiry(60).resume()).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(gateway.store.count(), 0);
}

#[tokio::test]
async fn a_take_over_publishes_a_will_that_has_no_delay_or_no_session_to_wait_with() {
    let gateway = Gateway::start().await;
    let _first = Client::connect(gateway.address, &with_will(Connect::v5("a").expiry(60))).await;
    let _next = Client::connect(gateway.address, &Connect::v5("a").expiry(60).resume()).await;
    until("the first will", || gateway.store.count() == 1).await;
    let connect = delayed(Connect::v5("b").expiry(60), DELAY_LONG);
    let _second = Client::connect(gateway.address, &connect).await;
    let _next = Client::connect(gateway.address, &Connect::v5("b")).await;
    until("the second will", || gateway.store.count() == 2).await;
}
