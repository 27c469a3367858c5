//! Brokers and the gateway are killed like by a power failure, in the middle of 50,000 events: every
//! one is in the journal once, and those of a key are in their order.

use eg_tests::brokers::Broker;
use eg_tests::gateway::Gateway;
use eg_tests::{peers, wait};
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::consume::{mqtt, reading, reads_nats, status, with};
use crate::deliver::Reader;
use crate::registered::{drained, make_stream, register};

pub(crate) const COUNT: u64 = 50_000;

/// Checks that the journal has the events 0 to `count` once each, and those of a key in order.
pub(crate) fn assert_whole_and_in_order(found: &[Value], count: usize) {
    let ids = found.iter().map(|entry| entry["id"].as_str().unwrap().parse().unwrap());
    let mut next: Vec<usize> = (0..10).collect();
    for id in ids {
        let id: usize = id;
        assert_eq!(id, next[id % 10], "the next one of its key, once");
        next[id % 10] += 10;
    }
    assert!(next.into_iter().all(|next| next >= count), "{} events", found.len());
    assert_eq!(found.len(), count);
}

/// Waits until the journal has `count` events.
pub(crate) async fn reached(gateway: &Gateway, count: u64) {
    wait::until_within(4 * wait::DEADLINE, "events come in", async || {
        (gateway.next_sequence().await > count).then_some(())
    })
    .await;
}

/// Waits until the journal has `count` events and a few more moments have brought no other.
async fn settled(gateway: &Gateway, count: u64) -> Vec<Value> {
    let time_max = 6 * wait::DEADLINE;
    wait::until_within(time_max, "every event is in the journal", async || {
        let status = status(gateway).await;
        let has_all = gateway.next_sequence().await > count;
        (has_all && status["reading"]["lag"].as_u64().unwrap_or(0) == 0).then_some(())
    })
    .await;
    gateway.journal().await
}

#[tokio::test]
async fn nats_and_the_gateway_are_killed_in_mid_stream_and_every_event_is_there_once_in_order() {
    let (mut gateway, mut broker) = reads_nats(json!({})).await;
    let (port, many) = (broker.port().to_string(), format!("0-{COUNT}"));
    let mut command = peers::python("nats_bus.py");
    let mut writer = command.args([&port, "many", "lamps.lit", &many]).spawn().unwrap();
    reached(&gateway, COUNT / 10).await;
    gateway.kill().await;
    gateway.restart().await;
    reached(&gateway, COUNT / 5).await;
    broker.kill().await;
    broker.restart().await;
    reached(&gateway, COUNT / 2).await;
    gateway.kill().await;
    broker.kill().await;
    broker.restart().await;
    gateway.restart().await;
    assert!(writer.wait().await.unwrap().success());
    let found = settled(&gateway, COUNT).await;
    assert_whole_and_in_order(&found, usize::try_from(COUNT).unwrap());
}

#[tokio::test]
async fn an_mqtt_broker_and_the_gateway_are_killed_and_every_event_is_there_once_in_order() {
    let mut gateway = Gateway::start(PROGRAM).await;
    let mut broker = Broker::mosquitto_that_saves_when_told().await;
    let url = format!("mqtt://127.0.0.1:{}", broker.port());
    register(&gateway, &url, "lamps/#", with(json!({}))).await;
    reading(&gateway).await;
    gateway.kill().await;
    mqtt(&broker, ["5", "many", &format!("lamps/lit-0-{COUNT}")]).await;
    broker.save().await;
    gateway.restart().await;
    reached(&gateway, COUNT / 10).await;
    gateway.kill().await;
    gateway.restart().await;
    reached(&gateway, COUNT / 5).await;
    broker.kill().await;
    broker.restart().await;
    reached(&gateway, COUNT / 2).await;
    gateway.kill().await;
    broker.kill().await;
    broker.restart().await;
    gateway.restart().await;
    let found = settled(&gateway, COUNT).await;
    assert_whole_and_in_order(&found, usize::try_from(COUNT).unwrap());
}

/// Publishes `count` events over HTTP, ten keys in turn, however often the gateway
/// goes away meanwhile.
async fn publish_many(url: String, count: u64) {
    let client = reqwest::Client::new();
    for start in (0..count).step_by(500) {
        let event = |number: u64| {
            json!({ "specversion": "1.0", "id": number.to_string(), "source": "/lamps",
                "type": "lamp.lit", "partitionkey": (number % 10).to_string(),
                "data": { "number": number } })
        };
        let batch = json!((start..start + 500).map(event).collect::<Vec<_>>()).to_string();
        wait::until_within(2 * wait::DEADLINE, "the gateway takes events", async || {
            let request = client.post(&url).body(batch.clone());
            let request = request.header("content-type", "application/cloudevents-batch+json");
            let answer = request.send().await.ok()?;
            (answer.status() == 202).then_some(())
        })
        .await;
    }
}

/// Waits until `count` events have been delivered since the gateway was started.
async fn delivered(gateway: &Gateway, name: &str, count: u64) {
    wait::until_within(4 * wait::DEADLINE, "events go out", async || {
        let stands = gateway.subscription(name).await;
        (stands["delivered"].as_u64() >= Some(count)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nats_has_every_event_once_and_in_order_when_it_and_the_gateway_are_killed() {
    let (mut gateway, mut broker) = (Gateway::start(PROGRAM).await, Broker::nats().await);
    make_stream(&broker).await;
    let url = format!("nats://127.0.0.1:{}", broker.port());
    let name = register(&gateway, &url, "lamps.lit", json!({ "ordering": "KEY" })).await;
    let events = gateway.url("/events");
    let killed = async {
        delivered(&gateway, &name, COUNT / 50).await;
        gateway.kill().await;
        gateway.restart().await;
        delivered(&gateway, &name, COUNT / 20).await;
        broker.kill().await;
        broker.restart().await;
        delivered(&gateway, &name, COUNT / 10).await;
        broker.kill().await;
        gateway.kill().await;
        gateway.restart().await;
        broker.restart().await;
    };
    tokio::join!(publish_many(events, COUNT), killed);
    drained(&gateway, &name).await;
    let (port, count) = (broker.port().to_string(), COUNT.to_string());
    let mut reader = Reader::start("nats_bus.py", &[&port, "read", "LAMPS", &count]);
    let mut found = Vec::new();
    for _ in 0..COUNT {
        let message = reader.message().await;
        found.push(json!({ "id": message["headers"]["ce-id"] }));
    }
    assert_whole_and_in_order(&found, usize::try_from(COUNT).unwrap());
}

#[tokio::test]
async fn an_mqtt_broker_has_every_event_in_order_when_the_gateway_is_killed_and_it_is_restarted() {
    let mut gateway = Gateway::start(PROGRAM).await;
    let mut broker = Broker::mosquitto_that_saves_when_told().await;
    let port = broker.port().to_string();
    let mut reader = Reader::start("mqtt_bus.py", &[&port, "5", "lamps/#", "100000000"]);
    assert_eq!(reader.line().await, "ready");
    let url = format!("mqtt://127.0.0.1:{port}");
    let name = register(&gateway, &url, "lamps/lit", json!({ "ordering": "KEY" })).await;
    let events = gateway.url("/events");
    let killed = async {
        delivered(&gateway, &name, COUNT / 50).await;
        gateway.kill().await;
        gateway.restart().await;
        delivered(&gateway, &name, COUNT / 20).await;
        broker.stop().await;
        broker.restart().await;
        delivered(&gateway, &name, COUNT / 10).await;
        gateway.kill().await;
        broker.stop().await;
        broker.restart().await;
        gateway.restart().await;
    };
    let read = async {
        let (mut known, mut found) = (std::collections::HashSet::new(), Vec::new());
        while found.len() < usize::try_from(COUNT).unwrap() {
            let line = reader.line().await;
            // The reader says again that it is ready when it has come back.
            let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
            let id = message["headers"]["id"].clone();
            // At least once: what comes again has the same identifier.
            if known.insert(id.to_string()) {
                found.push(json!({ "id": id }));
            }
        }
        found
    };
    let ((), (), found) = tokio::join!(publish_many(events, COUNT), killed, read);
    assert_whole_and_in_order(&found, usize::try_from(COUNT).unwrap());
}
