//! What the server says of itself.

use std::sync::atomic::Ordering;

use crate::gateway::Gateway;
use crate::packet::Connect;
use crate::subscribe::{Subscriber, both};
use crate::until;

#[tokio::test]
async fn who_subscribes_to_it_learns_how_the_server_fares() {
    let gateway = Gateway::start_with(|config| config.sys_interval_seconds = 1).await;
    for connect in both("a") {
        let mut subscriber = Subscriber::begin(&gateway, connect).await;
        subscriber.subscribe(&[("$SYS/broker/version", 1), ("$SYS/broker/clients/+", 1)]).await;
        // One client is connected, as is told once that has changed.
        let (mut version, mut is_told) = (None, false);
        while version.is_none() || !is_told {
            let got = subscriber.take().await;
            assert_eq!(got.qos, 0, "{got:?}");
            is_told |= (&*got.topic, got.payload()) == ("$SYS/broker/clients/connected", "1");
            if got.topic == "$SYS/broker/version" {
                version = Some(got);
            }
        }
        let version = version.unwrap();
        assert!(version.payload().starts_with("event-gateway version "), "{version:?}");
        let mut late = Subscriber::begin(&gateway, Connect::v5("late")).await;
        late.subscribe(&[("$SYS/broker/version", 1)]).await;
        assert!(late.take().await.retain, "it was there already");
        drop((subscriber, late));
        let connections = &gateway.server.counters().connections;
        until("the end", || connections.load(Ordering::Relaxed) == 0).await;
    }
    let mut subscriber = Subscriber::begin(&gateway, Connect::v5("b")).await;
    subscriber.subscribe(&[("#", 1), ("+/broker/version", 1)]).await;
    assert!(subscriber.gets_nothing().await, "wildcards do not stand for it");
    assert_eq!(gateway.store.count(), 0, "it is not in the journal");
}

#[tokio::test]
async fn without_an_interval_nothing_is_said() {
    let gateway = Gateway::start_with(|config| config.sys_interval_seconds = 0).await;
    let mut subscriber = Subscriber::begin(&gateway, Connect::v5("a")).await;
    subscriber.subscribe(&[("$SYS/#", 1)]).await;
    assert!(subscriber.gets_nothing().await);
}
