//! RabbitMQ gets events over AMQP 1.0, and gives those that are on its queues.

use eg_tests::brokers::Broker;
use eg_tests::gateway::Gateway;
use eg_tests::wait;
use serde_json::json;

use crate::PROGRAM;
use crate::amqp::{assert_is_read, failure, left, message_and_event, put, queue};
use crate::consume::{event, journal, status};
use crate::deliver::{DATA, Reader, assert_is_structured, body};
use crate::registered::{publish, register};

fn reader(broker: &Broker, address: &str, count: usize) -> Reader {
    let (port, count) = (broker.port().to_string(), count.to_string());
    Reader::start("amqp10_bus.py", &[&port, "read", address, &count])
}

#[tokio::test]
async fn amqp_1_0_gets_attributes_as_application_properties_and_the_bytes_as_they_are() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::rabbitmq().await);
    queue(&broker, &["lamps", "house", "lamp.#"]).await;
    let url = format!("amqp10://127.0.0.1:{}", broker.port());
    register(&gateway, &url, "/exchange/house/{type}", json!({})).await;
    publish(&gateway, "1", DATA).await;
    let message = reader(&broker, "/amq/queue/lamps", 1).message().await;
    assert_eq!(body(&message), DATA);
    let expected = json!({
        "messageId": "1", "durable": true, "createdAt": 1_795_255_200.125,
        "contentType": "application/octet-stream", "body": message["body"],
        "headers": {
            "cloudEvents_specversion": "1.0", "cloudEvents_id": "1",
            "cloudEvents_type": "lamp.lit", "cloudEvents_source": "/lamps/caf%C3%A9",
            "cloudEvents_subject": "a \"quoted\" subject",
            "cloudEvents_time": "2026-11-21T10:00:00.125Z", "cloudEvents_partitionkey": "7",
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        },
    });
    assert_eq!(message, expected);
}

#[tokio::test]
async fn amqp_1_0_gets_one_json_object_in_structured_content_mode() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::rabbitmq().await);
    queue(&broker, &["lamps"]).await;
    let url = format!("amqp10://127.0.0.1:{}/%2f", broker.port());
    let structured = json!({ "contentMode": "STRUCTURED" });
    register(&gateway, &url, "/amq/queue/lamps", structured).await;
    publish(&gateway, "1", DATA).await;
    let message = reader(&broker, "/amq/queue/lamps", 1).message().await;
    assert_is_structured(&message);
    assert_eq!(message["contentType"], "application/cloudevents+json; charset=utf-8");
}

#[tokio::test]
async fn what_has_no_queue_over_amqp_1_0_has_failed_until_there_is_one() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::rabbitmq().await);
    let url = format!("amqp10://127.0.0.1:{}", broker.port());
    let name = register(&gateway, &url, "/amq/queue/lamps", json!({})).await;
    publish(&gateway, "1", DATA).await;
    let why = failure(&gateway, &name).await;
    assert!(why.contains("no queue 'lamps'"), "{why}");
    queue(&broker, &["lamps"]).await;
    assert_eq!(reader(&broker, "/amq/queue/lamps", 1).message().await["messageId"], "1");
}

#[tokio::test]
async fn amqp_1_0_messages_become_events_once_each_and_are_settled_after_that() {
    assert_is_read("amqp10", "amqp10_bus.py", "/amq/queue/lamps").await;
}

#[tokio::test]
async fn what_is_no_message_of_amqp_1_0_is_refused_and_holds_up_nothing() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::rabbitmq().await);
    queue(&broker, &["lamps"]).await;
    let url = format!("amqp10://127.0.0.1:{}", broker.port());
    register(&gateway, &url, "/amq/queue/lamps", json!({ "direction": "consume" })).await;
    let (message, expected) = message_and_event();
    // The broker passes on what no application property may be.
    let mut odd = message.clone();
    odd["headers"]["list"] = json!([1, "a"]);
    for one in [odd, message] {
        put(&broker, "amqp10_bus.py", "/amq/queue/lamps", &one).await;
    }
    let found = journal(&gateway, 1).await;
    assert_eq!(event(&found[0]), expected);
    let status = status(&gateway).await;
    let why = status["reading"]["lastRefusal"]["reason"].as_str().unwrap();
    assert!(why.contains("message") && why.contains("AMQP 1.0"), "{why}");
    wait::until("the queue is empty", async || (left(&broker).await == 0).then_some(())).await;
}
