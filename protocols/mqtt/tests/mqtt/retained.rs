//! Retained messages, over raw packets.

use std::sync::Arc;
use std::time::Duration;

use eg_auth::Authenticator;
use eg_mqtt::MqttConfig;

use crate::client::Client;
use crate::gateway::{Gateway, Store};
use crate::packet::{Connect, Publish, packet, text};
use crate::subscribe::{Subscriber, both, kept, publish, publisher};
use crate::until;

const QOS_1: u8 = 1;
const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;
const ONLY_IF_NEW: u8 = 1 << 4;
const NEVER: u8 = 2 << 4;

async fn retain(client: &mut Client, topic: &str, payload: &str) -> u8 {
    let answer = client.exchange(&Publish::v5(1, 1, topic).retain().payload(payload).bytes()).await;
    assert_eq!(answer.first, 0x40, "{answer:?}");
    answer.code()
}

#[tokio::test]
async fn who_subscribes_gets_the_last_retained_message_of_each_topic() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    for (topic, payload) in [("r/a", "old"), ("r/a", "new"), ("r/b", "b"), ("other", "o")] {
        assert!(retain(&mut publisher, topic, payload).await < 0x80);
    }
    publish(&mut publisher, "r/a", "not retained").await;
    for connect in both("a") {
        let mut subscriber = Subscriber::begin(&gateway, connect).await;
        assert_eq!(subscriber.subscribe(&[("r/+", 2)]).await, [2]);
        for expected in [("r/a", "new"), ("r/b", "b")] {
            let got = subscriber.take().await;
            assert_eq!((&*got.topic, got.payload()), expected);
            assert_eq!((got.retain, got.qos, got.dup), (true, 1, false));
        }
        assert!(subscriber.gets_nothing().await);
        retain(&mut publisher, "r/c", "live").await;
        let got = subscriber.take().await;
        assert_eq!((got.payload(), got.retain), ("live", false), "it was there already");
        retain(&mut publisher, "r/c", "").await;
        assert_eq!(subscriber.take().await.payload(), "", "the end is told");
    }
    let mut late = Subscriber::begin(&gateway, Connect::v5("late")).await;
    late.subscribe(&[("r/c", 1), ("$share/g/r/#", 1)]).await;
    assert!(late.gets_nothing().await, "neither what has ended nor for those who share");
}

#[tokio::test]
async fn a_subscription_says_whether_it_wants_what_is_retained() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    retain(&mut publisher, "t", "kept").await;
    let mut subscriber = Subscriber::begin(&gateway, Connect::v5("a")).await;
    subscriber.subscribe(&[("t", QOS_1 | NEVER)]).await;
    subscriber.subscribe(&[("t", QOS_1 | ONLY_IF_NEW)]).await;
    assert!(subscriber.gets_nothing().await);
    subscriber.subscribe(&[("+", QOS_1 | ONLY_IF_NEW)]).await;
    assert_eq!(subscriber.take().await.payload(), "kept");
    subscriber.subscribe(&[("t", RETAIN_AS_PUBLISHED)]).await;
    let got = subscriber.take().await;
    assert_eq!((got.payload(), got.qos, got.retain), ("kept", 0, true), "each time it subscribes");
    retain(&mut publisher, "t", "live").await;
    assert!(subscriber.take().await.retain, "as it was published");
    let own = Publish::v5(1, 1, "own/a").retain().payload("mine").bytes();
    subscriber.client.exchange(&own).await;
    subscriber.subscribe(&[("own/+", QOS_1 | NO_LOCAL)]).await;
    assert!(subscriber.gets_nothing().await);
}

#[tokio::test]
async fn a_retained_message_expires() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    for (seconds, topic) in [(10, "t/short"), (100, "t/long")] {
        let message = Publish::v5(1, 1, topic).retain().property(&[2, 0, 0, 0, seconds]);
        publisher.exchange(&message.bytes()).await;
    }
    gateway.clock.advance(Duration::from_secs(30));
    let mut subscriber = Subscriber::begin(&gateway, Connect::v5("a")).await;
    subscriber.subscribe(&[("t/#", 1)]).await;
    let got = subscriber.take().await;
    assert_eq!((&*got.topic, &got.properties[..]), ("t/long", &[2, 0, 0, 0, 70][..]));
    assert!(subscriber.gets_nothing().await);
}

#[tokio::test]
async fn there_is_room_for_so_many_and_who_is_refused_is_told() {
    let gateway = Gateway::start_with(|config| config.retained_messages_max = 1).await;
    let mut publisher = publisher(&gateway).await;
    retain(&mut publisher, "a", "1").await;
    let mut subscriber = Subscriber::begin(&gateway, Connect::v5("a")).await;
    subscriber.subscribe(&[("#", 1)]).await;
    assert_eq!(subscriber.take().await.payload(), "1");
    assert_eq!(retain(&mut publisher, "b", "2").await, 0x97);
    assert!(retain(&mut publisher, "a", "3").await < 0x80, "it has a place");
    assert_eq!(subscriber.take().await.payload(), "3");
    retain(&mut publisher, "a", "").await;
    subscriber.take().await;
    assert!(retain(&mut publisher, "b", "4").await < 0x80, "there is room again");
}

#[tokio::test]
async fn what_is_retained_outlives_the_server_and_the_journal() {
    let store = Arc::<Store>::default();
    let config = || (MqttConfig::default(), Authenticator::anonymous_on_loopback());
    let (first, known) = config();
    let gateway = Gateway::assemble(first, known, Arc::clone(&store)).await;
    let mut client = publisher(&gateway).await;
    retain(&mut client, "t/a", "a").await;
    retain(&mut client, "t/b", "b").await;
    retain(&mut client, "t/b", "").await;
    until("it is written down", || store.retained_count() == 1).await;
    gateway.stop.cancel();
    // Written down before the end, and this after it.
    retain_in_journal(&store).await;
    let (second, known) = config();
    let gateway = Gateway::assemble(second, known, Arc::clone(&store)).await;
    let [_, v5] = kept("a");
    let mut subscriber = Subscriber::begin(&gateway, v5).await;
    subscriber.subscribe(&[("t/#", 1)]).await;
    for expected in ["a", "c"] {
        let got = subscriber.take().await;
        assert_eq!((got.payload(), got.retain), (expected, true));
    }
    store.let_go();
    subscriber.subscribe(&[("t/a", 1)]).await;
    assert_eq!(subscriber.take().await.payload(), "a", "though the journal has let it go");
}

/// A message that reaches the journal of a server that ends before it takes it up.
async fn retain_in_journal(store: &Arc<Store>) {
    let (config, known) = (MqttConfig::default(), Authenticator::anonymous_on_loopback());
    let gateway = Gateway::assemble(config, known, Arc::new(Store::default())).await;
    let mut client = publisher(&gateway).await;
    retain(&mut client, "t/c", "c").await;
    store.put(gateway.store.last());
}

#[tokio::test]
async fn who_is_told_that_it_has_subscribed_has_what_was_retained_over_a_crash() {
    let gateway = Gateway::start().await;
    let mut publisher = publisher(&gateway).await;
    let [_, connect] = kept("a");
    let mut subscriber = Subscriber::begin(&gateway, connect.clone()).await;
    gateway.store.set_unread(true);
    retain(&mut publisher, "t", "kept").await;
    subscriber.client.write(&packet(0x82, &[&[0, 1], &[0], &text("t"), &[1]])).await;
    assert!(subscriber.gets_nothing().await, "what is retained is not known yet");
    gateway.store.set_unread(false);
    assert_eq!(subscriber.client.answer().await.first, 0x90);
    let next = gateway.after_a_crash().await;
    let (mut subscriber, present) = Subscriber::connect(&next, connect).await;
    assert!(present);
    assert_eq!(subscriber.take().await.payload(), "kept");
}
