//! RabbitMQ and the gateway are killed in mid-stream, and nothing is lost, in either direction.

use std::collections::{HashMap, HashSet};

use eg_tests::brokers::Broker;
use eg_tests::gateway::Gateway;
use eg_tests::peers;
use eg_tests::wait::{self, DEADLINE};
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::amqp::{queue, reader};
use crate::consume::{journal, status};
use crate::deliver::Reader;
use crate::registered::drained;
use crate::registered::register;

const COUNT: usize = 50_000;
const KEYS: usize = 100;

fn event(number: usize) -> Value {
    json!({ "specversion": "1.0", "id": number.to_string(), "source": "/lamps",
        "type": "lamp.lit", "partitionkey": (number % KEYS).to_string() })
}

/// Publishes all events in batches, each until the gateway has acknowledged it.
async fn publish_all(url: &str) {
    let client = reqwest::Client::new();
    for first in (0..COUNT).step_by(100) {
        let batch: Vec<Value> = (first..first + 100).map(event).collect();
        let body = json!(batch).to_string();
        wait::until("a batch is acknowledged", async || {
            let request = client.post(url).body(body.clone());
            let request = request.header("content-type", "application/cloudevents-batch+json");
            let answer = request.send().await.ok()?;
            (answer.status() == 202).then_some(())
        })
        .await;
    }
}

/// Waits until so many were delivered.
async fn delivered(gateway: &Gateway, name: &str, count: usize) {
    wait::until_within(4 * DEADLINE, "some are delivered", async || {
        let delivered = gateway.subscription(name).await["delivered"].as_u64()?;
        (delivered >= u64::try_from(count).unwrap()).then_some(())
    })
    .await;
}

/// Delivers to a queue while the broker and the gateway are killed, and reads it: everything is
/// there, and the first of each is in the order of its key.
async fn assert_nothing_is_lost(scheme: &str, topic: &str) {
    let (mut gateway, mut broker) = (Gateway::start(PROGRAM).await, Broker::rabbitmq().await);
    queue(&broker, &["lamps"]).await;
    let url = format!("{scheme}://127.0.0.1:{}", broker.port());
    let name = register(&gateway, &url, topic, json!({ "ordering": "KEY" })).await;
    let events = gateway.url("/events");
    tokio::join!(publish_all(&events), async {
        delivered(&gateway, &name, COUNT / 10).await;
        broker.kill().await;
        broker.restart().await;
        delivered(&gateway, &name, COUNT / 4).await;
        gateway.kill().await;
        gateway.restart().await;
    });
    drained(&gateway, &name).await;
    let mut reader = reader(&broker, "lamps", 2 * COUNT);
    let (mut seen, mut latest) = (HashSet::new(), HashMap::new());
    while seen.len() < COUNT {
        let message = reader.message().await;
        let number: usize = message["messageId"].as_str().unwrap().parse().unwrap();
        if seen.insert(number) {
            let before = latest.insert(number % KEYS, number);
            assert!(before.is_none_or(|before| before < number), "{before:?} before {number}");
        }
    }
}

#[tokio::test]
async fn what_goes_to_amqp_is_all_there_in_the_order_of_keys_after_kills_on_both_sides() {
    assert_nothing_is_lost("amqp", "lamps").await;
}

#[tokio::test]
async fn what_goes_to_amqp_1_0_is_all_there_in_the_order_of_keys_after_kills_on_both_sides() {
    assert_nothing_is_lost("amqp10", "/amq/queue/lamps").await;
}

/// Puts events on the queue.
async fn fill(broker: &Broker, first: usize, count: usize) {
    let mut command = peers::python("amqp_bus.py");
    let (port, first, count) = (broker.port().to_string(), first.to_string(), count.to_string());
    command.args([&*port, "fill", "lamps", &first, &count]);
    peers::run(command).await;
}

/// Waits until the journal has got so far.
async fn taken(gateway: &Gateway, count: usize) {
    wait::until_within(4 * DEADLINE, "enough is in the journal", async || {
        (gateway.next_sequence().await > u64::try_from(count).unwrap()).then_some(())
    })
    .await;
}

/// Reads a queue while the broker and the gateway are killed: everything is in the journal once, in
/// the order of the queue.
async fn assert_everything_is_taken(scheme: &str, topic: &str) {
    let (mut gateway, mut broker) = (Gateway::start(PROGRAM).await, Broker::rabbitmq().await);
    queue(&broker, &["lamps"]).await;
    fill(&broker, 0, COUNT).await;
    let url = format!("{scheme}://127.0.0.1:{}", broker.port());
    register(&gateway, &url, topic, json!({ "direction": "consume" })).await;
    taken(&gateway, COUNT / 10).await;
    broker.kill().await;
    broker.restart().await;
    taken(&gateway, COUNT / 3).await;
    gateway.kill().await;
    gateway.restart().await;
    taken(&gateway, COUNT).await;
    let journal = gateway.journal().await;
    let ids = journal.iter().map(|entry| entry["id"].as_str().unwrap().parse::<usize>().unwrap());
    assert!(ids.eq(0..COUNT), "{} events", journal.len());
}

#[tokio::test]
async fn what_comes_from_amqp_is_in_the_journal_once_and_in_order_after_kills_on_both_sides() {
    assert_everything_is_taken("amqp", "lamps").await;
}

#[tokio::test]
async fn what_comes_from_amqp_1_0_is_in_the_journal_once_and_in_order_after_kills_on_both_sides() {
    assert_everything_is_taken("amqp10", "/amq/queue/lamps").await;
}

#[tokio::test]
async fn nothing_on_a_queue_overtakes_what_a_reader_was_given_that_is_not_gone_yet() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::rabbitmq().await);
    queue(&broker, &["lamps"]).await;
    fill(&broker, 0, 20).await;
    let port = broker.port().to_string();
    let mut holder = Reader::start("amqp_bus.py", &[&port, "hold", "lamps", "10"]);
    assert_eq!(holder.line().await, "ready");
    let url = format!("amqp://127.0.0.1:{port}");
    register(&gateway, &url, "lamps", json!({ "direction": "consume" })).await;
    wait::until("the queue is somebody else's", async || {
        let status = status(&gateway).await;
        let why = status["message"].as_str()?;
        why.contains("set the attribute exclusive to false").then_some(())
    })
    .await;
    drop(holder);
    let found = journal(&gateway, 20).await;
    let ids = found.iter().map(|entry| entry["id"].as_str().unwrap().parse::<usize>().unwrap());
    assert!(ids.eq(0..20), "{found:?}");
}
