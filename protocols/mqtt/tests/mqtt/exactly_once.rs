//! QoS 2: an event counts once, however often it is sent, over connections and restarts.

use std::sync::Arc;
use std::time::Duration;

use eg_auth::Authenticator;
use eg_event::Refusal;
use eg_mqtt::MqttConfig;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::packet::{Connect, Publish, pubrel};
use crate::subscribe::{Subscriber, kept, publisher};
use crate::until;

const PAUSE: Duration = Duration::from_millis(60);
const PUBREC: u8 = 0x50;
const PUBCOMP: u8 = 0x70;

/// Both versions, with a session that outlives its connections.
fn clients() -> [(Connect, Publish); 2] {
    [
        (Connect::v5("a").expiry(600), Publish::v5(2, 1, "t")),
        (Connect::v311("b").resume(), Publish::v311(2, 1, "t")),
    ]
}

#[tokio::test]
async fn a_message_that_is_sent_again_counts_once_over_connections() {
    let gateway = Gateway::start().await;
    for (number, (connect, publish)) in clients().into_iter().enumerate() {
        let taken = || gateway.store.count() - number;
        let mut client = Client::connect(gateway.address, &connect).await;
        assert_eq!(client.exchange(&publish.bytes()).await.first, PUBREC);
        assert_eq!(client.exchange(&publish.clone().again().bytes()).await.first, PUBREC);
        assert_eq!(taken(), 1);
        drop(client);

        let connect = connect.resume();
        let (mut client, connack) = Client::try_connect(gateway.address, &connect).await;
        assert!(connack.session_present(), "{connack:?}");
        let again = client.exchange(&publish.clone().again().bytes()).await;
        assert_eq!((again.first, again.packet_id(), again.code()), (PUBREC, 1, 0));
        if connect.level == 5 {
            assert_eq!(again.user("duplicate").as_deref(), Some("true"));
        }
        assert_eq!(taken(), 1);
        let completed = client.exchange(&pubrel(1)).await;
        assert_eq!((completed.first, completed.packet_id(), completed.code()), (PUBCOMP, 1, 0));
        drop(client);

        let (mut client, connack) = Client::try_connect(gateway.address, &connect).await;
        assert!(connack.session_present(), "{connack:?}");
        // Its PUBCOMP may have been lost, so that this is no error.
        let again = client.exchange(&pubrel(1)).await;
        assert_eq!((again.first, again.packet_id(), again.code()), (PUBCOMP, 1, 0));
        assert_eq!(taken(), 1);
        // The identifier is free for another message.
        assert_eq!(client.exchange(&publish.bytes()).await.first, PUBREC);
        assert_eq!(taken(), 2);
        assert_eq!(client.exchange(&pubrel(1)).await.code(), 0);
        gateway.store.clear_but(number + 1);
    }
}

#[tokio::test]
async fn an_exchange_that_is_open_outlives_the_server() {
    let first = Gateway::start().await;
    for (connect, publish) in clients() {
        let mut client = Client::connect(first.address, &connect).await;
        assert_eq!(client.exchange(&publish.bytes()).await.first, PUBREC);
    }
    first.stop.cancel();
    let store = Arc::clone(&first.store);
    let anyone = Authenticator::anonymous_on_loopback();
    let second = Gateway::assemble(MqttConfig::default(), anyone, store).await;
    for (connect, publish) in clients() {
        let (mut client, connack) = Client::try_connect(second.address, &connect.resume()).await;
        assert!(connack.session_present(), "{connack:?}");
        assert_eq!(client.exchange(&publish.again().bytes()).await.first, PUBREC);
        assert_eq!(client.exchange(&pubrel(1)).await.code(), 0);
    }
    assert_eq!(second.store.count(), 2);
}

#[tokio::test]
async fn a_message_that_comes_again_before_its_commit_is_judged_by_the_store() {
    let gateway = Gateway::start().await;
    gateway.store.hold();
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    client.write(&Publish::v5(2, 1, "t").bytes()).await;
    until("the first", || gateway.store.waiting() == 1).await;
    client.write(&Publish::v5(2, 1, "t").again().bytes()).await;
    until("the second", || gateway.store.waiting() == 2).await;
    assert!(client.is_silent_for(PAUSE).await);
    gateway.store.complete_all();
    assert_eq!(client.answer().await.first, PUBREC);
    assert_eq!(client.answer().await.first, PUBREC);
    assert_eq!(gateway.store.count(), 1);
}

#[tokio::test]
async fn pubcomp_waits_until_the_release_is_durable() {
    let gateway = Gateway::start().await;
    for (connect, publish) in clients() {
        let mut client = Client::connect(gateway.address, &connect).await;
        assert_eq!(client.exchange(&publish.bytes()).await.first, PUBREC);
        gateway.store.hold();
        client.write(&pubrel(1)).await;
        until("the release", || gateway.store.waiting() == 1).await;
        assert!(client.is_silent_for(PAUSE).await);
        gateway.store.complete_all();
        assert_eq!(client.answer().await.first, PUBCOMP);
    }
}

#[tokio::test]
async fn a_clean_start_forgets_what_was_open() {
    let gateway = Gateway::start().await;
    for (connect, publish) in clients() {
        let before = gateway.store.count();
        let mut client = Client::connect(gateway.address, &connect).await;
        assert_eq!(client.exchange(&publish.bytes()).await.first, PUBREC);
        drop(client);
        let clean = connect.clone().flags(0b10);
        let (mut client, connack) = Client::try_connect(gateway.address, &clean).await;
        assert!(!connack.session_present(), "{connack:?}");
        assert_eq!(client.exchange(&publish.bytes()).await.first, PUBREC);
        assert_eq!(gateway.store.count(), before + 2);
    }
}

#[tokio::test]
async fn a_session_that_has_expired_is_forgotten() {
    let gateway = Gateway::start().await;
    let connect = Connect::v5("a").expiry(5);
    let mut client = Client::connect(gateway.address, &connect).await;
    assert_eq!(client.exchange(&Publish::v5(2, 1, "t").bytes()).await.first, PUBREC);
    client.write(&[0xe0, 0]).await;
    assert_eq!(client.read().await, None);
    gateway.clock.advance(Duration::from_secs(6));
    let (mut client, connack) = Client::try_connect(gateway.address, &connect.resume()).await;
    assert!(!connack.session_present(), "{connack:?}");
    let answer = client.exchange(&Publish::v5(2, 1, "t").bytes()).await;
    assert_eq!((answer.first, answer.user("duplicate")), (PUBREC, None));
    assert_eq!(gateway.store.count(), 2);
}

#[tokio::test]
async fn a_session_that_ends_with_its_connection_leaves_nothing_to_the_next() {
    let gateway = Gateway::start().await;
    for round in 1..=20 {
        let connect = Connect::v5("a").resume();
        let (mut client, connack) = Client::try_connect(gateway.address, &connect).await;
        assert!(!connack.session_present(), "{round}: {connack:?}");
        assert_eq!(client.exchange(&Publish::v5(2, 1, "t").bytes()).await.code(), 0);
        assert_eq!(gateway.store.count(), round);
        if round % 2 == 0 {
            client.write(&[0xe0, 0]).await;
            assert_eq!(client.read().await, None);
        }
    }
}

#[tokio::test]
async fn what_was_to_go_out_when_its_exchange_could_not_be_noted_goes_out_after_a_restart() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let [_, v5] = kept("a");
    let mut subscriber = Subscriber::begin(&gateway, v5.clone()).await;
    subscriber.subscribe(&[("t", 2), ("$share/g/u", 2)]).await;
    drop(subscriber);
    let all = [("t", "one"), ("u", "two"), ("t", "three")];
    for (packet_id, (topic, payload)) in (1..).zip(all) {
        publisher.exchange(&Publish::v5(2, packet_id, topic).payload(payload).bytes()).await;
    }
    gateway.store.refuse(Refusal::Busy { retry_after: PAUSE });
    let mut subscriber = Subscriber::begin(&gateway, v5.clone()).await;
    assert_eq!(subscriber.client.answer().await.first, 0xe0);
    gateway.store.refuse(None);
    let one_at_a_time = v5.clone().property(&[0x21, 0, 1]);
    let mut subscriber = Subscriber::begin(&gateway, one_at_a_time.clone()).await;
    assert_eq!(subscriber.next().await.payload(), "one");
    let gateway = gateway.restart().await;
    let mut subscriber = Subscriber::begin(&gateway, one_at_a_time).await;
    for (topic, payload) in all {
        let got = subscriber.take().await;
        assert_eq!((&*got.topic, got.payload(), got.qos), (topic, payload, 2));
    }
    assert!(subscriber.gets_nothing().await);
}
