//! Events go out to Kafka topics, with all attributes and all bytes, in order, whatever is cut or
//! killed.

use std::collections::{BTreeMap, BTreeSet};

use eg_tests::gateway::Gateway;
use eg_tests::kafka::Kafka;
use eg_tests::wait;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::deliver::{DATA, Reader, assert_is_structured, body};
use crate::registered::{drained, publish, register};

/// How many events are under way when something is cut or killed.
const COUNT: usize = 50_000;
/// So many events are handed over at once where they stay in the order of their keys.
const KEYS: usize = 400;

pub(crate) fn read(broker: &Kafka, topic: &str, count: usize) -> Reader {
    let mut command = broker.client();
    command.args(["read", topic, &count.to_string()]);
    Reader::of(command)
}

#[tokio::test]
async fn kafka_gets_attributes_as_headers_and_the_bytes_as_they_are() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Kafka::start().await);
    broker.make_topic("lamps.lamp.lit", 3).await;
    register(&gateway, &broker.url(), "lamps.{type}", json!({})).await;
    publish(&gateway, "1", DATA).await;
    let message = read(&broker, "lamps.lamp.lit", 1).message().await;
    assert_eq!(body(&message), DATA);
    assert_eq!(message["key"], "7");
    let mut headers = message["headers"].clone();
    headers.sort_all_objects();
    let expected = json!({
        "ce_specversion": "1.0", "ce_id": "1", "ce_type": "lamp.lit",
        "ce_source": "/lamps/caf%C3%A9", "ce_subject": "a \"quoted\" subject",
        "ce_time": "2026-11-21T10:00:00.125Z", "ce_partitionkey": "7",
        "content-type": "application/octet-stream",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn kafka_gets_one_json_object_in_structured_content_mode() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Kafka::start().await);
    broker.make_topic("lamps", 1).await;
    let attributes = json!({ "contentMode": "STRUCTURED" });
    register(&gateway, &broker.url(), "lamps", attributes).await;
    publish(&gateway, "1", DATA).await;
    let message = read(&broker, "lamps", 1).message().await;
    assert_is_structured(&message);
    let media_type = &message["headers"]["content-type"];
    assert_eq!(media_type, "application/cloudevents+json; charset=utf-8");
    assert_eq!(message["key"], "7");
}

/// Publishes the events with these numbers, each with a key.
async fn publish_keyed(gateway: &Gateway, numbers: std::ops::Range<usize>) {
    let client = reqwest::Client::new();
    let numbers: Vec<_> = numbers.collect();
    for batch in numbers.chunks(100) {
        let event = |number: &usize| {
            json!({ "specversion": "1.0", "id": number.to_string(), "source": "/lamps",
                "type": "lamp.lit", "partitionkey": (number % KEYS).to_string() })
        };
        let batch: Vec<Value> = batch.iter().map(event).collect();
        let request = client.post(gateway.url("/events"));
        let request = request.header("content-type", "application/cloudevents-batch+json");
        let answer = request.body(json!(batch).to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
}

/// Waits until the topic has some of the events.
async fn some_delivered(gateway: &Gateway, name: &str) {
    wait::until("some are delivered", async || {
        let delivered = gateway.subscription(name).await["delivered"].as_u64()?;
        (delivered > 1_000).then_some(())
    })
    .await;
}

/// Reads until every event was there, and checks that those of one key came in order when what came
/// again is left out. Gives back what came again.
async fn assert_all_came_in_order(broker: &Kafka) -> BTreeSet<usize> {
    let mut reader = read(broker, "lamps", 2 * COUNT);
    let (mut seen, mut last) = (BTreeSet::new(), BTreeMap::<usize, usize>::new());
    let mut again = BTreeSet::new();
    while seen.len() < COUNT {
        let message = reader.message().await;
        let number: usize = message["headers"]["ce_id"].as_str().unwrap().parse().unwrap();
        if !seen.insert(number) {
            again.insert(number);
            continue;
        }
        if let Some(before) = last.insert(number % KEYS, number) {
            assert!(before < number, "{number} came after {before}");
        }
    }
    again
}

#[tokio::test]
async fn a_kafka_broker_that_is_cut_off_in_mid_stream_loses_nothing_and_keeps_the_order() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Kafka::start().await);
    broker.make_topic("lamps", 4).await;
    let name = register(&gateway, &broker.url(), "lamps", json!({ "ordering": "KEY" })).await;
    publish_keyed(&gateway, 0..COUNT / 2).await;
    some_delivered(&gateway, &name).await;
    broker.cut_off();
    publish_keyed(&gateway, COUNT / 2..COUNT).await;
    broker.connect();
    drained(&gateway, &name).await;
    assert_all_came_in_order(&broker).await;
}

#[tokio::test]
async fn a_kafka_broker_that_is_killed_in_mid_stream_has_everything_in_order() {
    let (gateway, mut broker) = (Gateway::start(PROGRAM).await, Kafka::start_kept().await);
    broker.make_topic("lamps", 1).await;
    // Each request of the producer takes the object store as long, whatever is in it.
    let attributes = json!({ "ordering": "KEY", "maxInFlight": KEYS.to_string() });
    let name = register(&gateway, &broker.url(), "lamps", attributes).await;
    publish_keyed(&gateway, 0..COUNT / 2).await;
    some_delivered(&gateway, &name).await;
    broker.kill().await;
    publish_keyed(&gateway, COUNT / 2..COUNT).await;
    broker.restart().await;
    drained(&gateway, &name).await;
    assert_all_came_in_order(&broker).await;
}

#[tokio::test]
async fn a_gateway_that_is_killed_in_mid_stream_loses_nothing_and_keeps_the_order() {
    let (mut gateway, broker) = (Gateway::start(PROGRAM).await, Kafka::start().await);
    broker.make_topic("lamps", 4).await;
    let name = register(&gateway, &broker.url(), "lamps", json!({ "ordering": "KEY" })).await;
    publish_keyed(&gateway, 0..COUNT / 2).await;
    some_delivered(&gateway, &name).await;
    gateway.kill().await;
    gateway.restart().await;
    publish_keyed(&gateway, COUNT / 2..COUNT).await;
    drained(&gateway, &name).await;
    let again = assert_all_came_in_order(&broker).await;
    assert!(again.into_iter().all(|number| number < COUNT / 2), "once since it is there again");
}
