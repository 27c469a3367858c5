//! What is told of clients and sessions.

use eg_event::CloudEvent;
use eg_mqtt::lifecycle::LifecycleEvent::{
    ClientConnected, ClientDisconnected, ClientSubscribed, ClientUnsubscribed, SessionEnded,
};
use serde_json::Value;

use crate::gateway::Gateway;
use crate::packet::{Connect, packet, text};
use crate::subscribe::Subscriber;
use crate::until;

fn told(event: &CloudEvent) -> (String, Value) {
    let ty = event.ty().strip_prefix("io.event-gateway.mqtt.").unwrap().to_owned();
    assert_eq!((event.source(), event.subject()), ("/event-gateway/mqtt", Some("a")));
    (ty, serde_json::from_slice(event.data().unwrap().bytes()).unwrap())
}

#[tokio::test]
async fn what_becomes_of_a_client_is_told_in_order_with_the_reason() {
    let all =
        [ClientConnected, ClientDisconnected, ClientSubscribed, ClientUnsubscribed, SessionEnded];
    let gateway = Gateway::start_with(|config| config.lifecycle_events = all.to_vec()).await;
    let mut subscriber = Subscriber::begin(&gateway, Connect::v5("a")).await;
    subscriber.subscribe(&[("t/#", 1), ("secret", 1)]).await;
    subscriber.client.exchange(&packet(0xa2, &[&[0, 8], &[0], &text("t/#"), &text("no")])).await;
    drop(subscriber);
    let store = &gateway.store;
    until("the end is told", || store.announced().len() == 5).await;
    let announced: Vec<_> = store.announced().iter().map(told).collect();
    let types: Vec<_> = announced.iter().map(|(ty, _)| &**ty).collect();
    let expected = ["client.connected", "client.subscribed", "client.unsubscribed"];
    assert_eq!(types[..3], expected);
    assert!(types[3..].contains(&"session.ended") && types[3..].contains(&"client.disconnected"));
    let of = |ty: &str| &announced.iter().find(|(told, _)| told == ty).unwrap().1;
    let connected = of("client.connected");
    assert_eq!(connected["protocolVersion"], "5.0");
    assert_eq!(connected["sessionPresent"], false);
    assert_eq!(of("client.subscribed")["filter"], "t/#");
    let disconnected = of("client.disconnected");
    assert_eq!(
        (&disconnected["endedBy"], &disconnected["reason"]),
        (&"network".into(), &"connection_lost".into())
    );
}

#[tokio::test]
async fn only_what_is_configured_is_told() {
    let gateway =
        Gateway::start_with(|config| config.lifecycle_events = vec![ClientDisconnected]).await;
    for bytes in [vec![0xe0, 0], packet(0xe0, &[&[4]]), vec![0, 0]] {
        let mut subscriber = Subscriber::begin(&gateway, Connect::v5("a")).await;
        subscriber.client.write(&bytes).await;
    }
    until("three ends are told", || gateway.store.announced().len() == 3).await;
    let mut codes: Vec<_> =
        gateway.store.announced().iter().map(|one| told(one).1["reasonCode"].clone()).collect();
    codes.sort_by_key(Value::as_u64);
    assert_eq!(codes, [0, 4, 0x81]);
}
