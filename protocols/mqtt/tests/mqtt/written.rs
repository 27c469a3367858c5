//! What sessions have on the disk, and what a crash leaves of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use eg_auth::Authenticator;
use eg_mqtt::MqttConfig;

use crate::gateway::Gateway;
use crate::subscribe::{Subscriber, kept, publish, publisher};
use crate::until;

#[tokio::test]
async fn what_does_not_wait_any_more_leaves_no_rows() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let [_, connect] = kept("a");
    let mut subscriber = Subscriber::begin(&gateway, connect.clone()).await;
    subscriber.subscribe(&[("t", 1)]).await;
    drop(subscriber);
    publish(&mut publisher, "t", "").await;
    until("one waits", || gateway.store.row_count() == 2).await;
    let mut subscriber = Subscriber::begin(&gateway, connect.clone()).await;
    subscriber.take().await;
    // Another checkpoint has seen that none waits.
    subscriber.subscribe(&[("u", 1)]).await;
    for _ in 0..1024 {
        publish(&mut publisher, "t", "").await;
        subscriber.take().await;
    }
    subscriber.subscribe(&[("v", 1)]).await;
    assert_eq!(gateway.store.row_count(), 1);
}

#[tokio::test]
async fn what_there_was_no_room_to_write_down_is_written_down_when_there_is() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let [other, connect] = kept("a");
    Subscriber::begin(&gateway, connect.clone()).await.subscribe(&[("t", 1)]).await;
    gateway.store.set_crowded(true);
    publish(&mut publisher, "t", "one").await;
    until("a checkpoint", || gateway.store.times_turned_away() > 0).await;
    gateway.store.set_crowded(false);
    Subscriber::begin(&gateway, other).await.subscribe(&[("u", 1)]).await;
    gateway.store.retain_nothing();
    let next = gateway.after_a_crash().await;
    assert_eq!(Subscriber::begin(&next, connect).await.take().await.payload(), "one");
}

#[tokio::test]
async fn whoever_subscribes_takes_nothing_from_others_over_a_crash() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let [_, connect] = kept("a");
    let mut subscriber = Subscriber::begin(&gateway, connect.clone()).await;
    subscriber.subscribe(&[("t", 1)]).await;
    for round in 0..20 {
        publish(&mut publisher, "t", &round.to_string()).await;
        let got = subscriber.next().await;
        assert_eq!(got.payload(), round.to_string());
        let [_, other] = kept(&format!("other-{round}"));
        Subscriber::begin(&gateway, other).await.subscribe(&[("t", 1)]).await;
        gateway.store.retain_nothing();
        let next = gateway.after_a_crash().await;
        let (mut again, present) = Subscriber::connect(&next, connect.clone()).await;
        assert!(present);
        let all: Vec<_> = (0..=round).map(|round| round.to_string()).collect();
        for expected in all {
            assert_eq!(again.take().await.payload(), expected, "nothing was acknowledged");
        }
    }
}

#[tokio::test]
async fn what_waited_where_there_was_no_more_room_waits_after_a_crash_too() {
    let config = MqttConfig { session_queue_messages_max: 3, ..MqttConfig::default() };
    let anyone = Authenticator::anonymous_on_loopback;
    let gateway = Gateway::assemble(config.clone(), anyone(), Arc::default()).await;
    let mut publisher = publisher(&gateway).await;
    let [_, connect] = kept("a");
    Subscriber::begin(&gateway, connect.clone()).await.subscribe(&[("t", 1)]).await;
    let is_away = async || {
        let connections = &gateway.server.counters().connections;
        until("the client is gone", || connections.load(Ordering::Relaxed) == 1).await;
    };
    let wait = async || until("they wait", || gateway.server.backlog().messages == 3).await;
    is_away().await;
    gateway.store.set_crowded(true);
    for payload in ["1", "2", "3"] {
        publish(&mut publisher, "t", payload).await;
    }
    wait().await;
    gateway.store.set_crowded(false);
    until("they are written down", || gateway.store.row_count() == 2).await;
    gateway.store.set_crowded(true);
    let mut subscriber = Subscriber::begin(&gateway, connect.clone()).await;
    for payload in ["1", "2", "3"] {
        assert_eq!(subscriber.take().await.payload(), payload);
    }
    drop(subscriber);
    is_away().await;
    for payload in ["4", "5", "6"] {
        publish(&mut publisher, "t", payload).await;
    }
    wait().await;
    gateway.store.retain_nothing();
    let next = Gateway::assemble(config, anyone(), gateway.store.after_a_crash()).await;
    let mut subscriber = Subscriber::begin(&next, connect).await;
    for payload in ["1", "2", "3", "4", "5", "6"] {
        assert_eq!(subscriber.take().await.payload(), payload);
    }
}
