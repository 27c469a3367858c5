//! RabbitMQ gets events over AMQP 0.9.1, and gives those that are on its queues.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_tests::brokers::Broker;
use eg_tests::gateway::Gateway;
use eg_tests::peers;
use eg_tests::wait;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::consume::{event, journal};
use crate::deliver::{DATA, Reader, assert_is_structured, body};
use crate::registered::{publish, register};

/// Makes a queue, and with an exchange and a key binds it.
pub(crate) async fn queue(broker: &Broker, arguments: &[&str]) {
    let mut command = peers::python("amqp_bus.py");
    command.args([&*broker.port().to_string(), "queue"]).args(arguments);
    peers::run(command).await;
}

pub(crate) fn reader(broker: &Broker, queue: &str, count: usize) -> Reader {
    let (port, count) = (broker.port().to_string(), count.to_string());
    Reader::start("amqp_bus.py", &[&port, "read", queue, &count])
}

/// Waits until a delivery has failed, and gives back why.
pub(crate) async fn failure(gateway: &Gateway, name: &str) -> String {
    wait::until("a delivery fails", async || {
        let reason = gateway.subscription(name).await["reason"].take();
        reason.as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn amqp_gets_attributes_as_headers_and_the_bytes_as_they_are() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::rabbitmq().await);
    queue(&broker, &["lamps", "house", "lamp.#"]).await;
    let url = format!("amqp://127.0.0.1:{}/%2f", broker.port());
    register(&gateway, &url, "{type}.{partitionkey}", json!({ "exchange": "house" })).await;
    publish(&gateway, "1", DATA).await;
    let message = reader(&broker, "lamps", 1).message().await;
    assert_eq!(body(&message), DATA);
    let expected = json!({
        "topic": "lamp.lit.7", "exchange": "house", "messageId": "1", "deliveryMode": 2,
        "contentType": "application/octet-stream", "timestamp": 1_795_255_200,
        "body": message["body"],
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
async fn amqp_gets_one_json_object_in_structured_content_mode() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::rabbitmq().await);
    queue(&broker, &["lamps"]).await;
    let url = format!("amqp://127.0.0.1:{}", broker.port());
    register(&gateway, &url, "lamps", json!({ "contentMode": "STRUCTURED" })).await;
    publish(&gateway, "1", DATA).await;
    let message = reader(&broker, "lamps", 1).message().await;
    assert_is_structured(&message);
    assert_eq!(message["contentType"], "application/cloudevents+json; charset=utf-8");
}

#[tokio::test]
async fn what_rabbitmq_cannot_route_has_failed_until_a_queue_takes_it() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::rabbitmq().await);
    let url = format!("amqp://127.0.0.1:{}", broker.port());
    let name = register(&gateway, &url, "lamps", json!({})).await;
    publish(&gateway, "1", DATA).await;
    let why = failure(&gateway, &name).await;
    assert!(why.contains("no queue takes the routing key lamps"), "{why}");
    queue(&broker, &["lamps"]).await;
    assert_eq!(reader(&broker, "lamps", 1).message().await["messageId"], "1");
}

/// Publishes one message on a queue.
pub(crate) async fn put(broker: &Broker, script: &str, queue: &str, message: &Value) {
    let mut command = peers::python(script);
    command.args([&*broker.port().to_string(), "publish", queue, &message.to_string()]);
    peers::run(command).await;
}

/// A message with attributes of every kind, in binary content mode, and the event that it is.
pub(crate) fn message_and_event() -> (Value, Value) {
    let data = BASE64.encode(DATA);
    let message = json!({
        "body": data, "contentType": "application/octet-stream", "messageId": "1",
        "headers": {
            "cloudEvents_specversion": "1.0", "cloudEvents_id": "1",
            "cloudEvents_type": "lamp.lit", "cloudEvents_source": "/lamps/caf%C3%A9",
            "cloudEvents_subject": "a \"quoted\" subject", "cloudEvents_number": 7,
            "cloudEvents_time": "2026-11-21T10:00:00.125Z", "other": "x",
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        },
    });
    let event = json!({
        "specversion": "1.0", "id": "1", "type": "lamp.lit", "source": "/lamps/caf%C3%A9",
        "subject": "a \"quoted\" subject", "time": "2026-11-21T10:00:00.125Z", "number": "7",
        "datacontenttype": "application/octet-stream", "data_base64": data,
    });
    (message, event)
}

/// Checks that messages in both content modes become events, once each, and that one that can never
/// be an event is not given again.
pub(crate) async fn assert_is_read(scheme: &str, script: &str, topic: &str) {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::rabbitmq().await);
    queue(&broker, &["lamps"]).await;
    let url = format!("{scheme}://127.0.0.1:{}", broker.port());
    register(&gateway, &url, topic, json!({ "direction": "consume" })).await;
    let (binary, mut expected) = message_and_event();
    put(&broker, script, topic, &binary).await;
    put(
        &broker,
        script,
        topic,
        &json!({
            "body": BASE64.encode("{"), "contentType": "application/cloudevents+json",
        }),
    )
    .await;
    put(&broker, script, topic, &binary).await;
    expected["id"] = json!("2");
    put(&broker, script, topic, &json!({
        "body": BASE64.encode(expected.to_string()), "contentType": "application/cloudevents+json",
    })).await;
    let found = journal(&gateway, 2).await;
    assert_eq!(event(&found[1]), expected);
    expected["id"] = json!("1");
    assert_eq!(event(&found[0]), expected);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["sender"], json!({ "name": "lamps", "method": "bus" }));
    assert_eq!(found[0]["origin"]["address"], format!("{url}/{topic}"));
    wait::until("the queue is empty", async || (left(&broker).await == 0).then_some(())).await;
}

/// How many messages are in the queue `lamps`, once nobody reads it.
pub(crate) async fn left(broker: &Broker) -> u64 {
    let mut command = peers::python("amqp_bus.py");
    command.args([&*broker.port().to_string(), "count", "lamps"]);
    String::from_utf8(peers::run(command).await.stdout).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn amqp_messages_become_events_once_each_and_are_settled_after_that() {
    assert_is_read("amqp", "amqp_bus.py", "lamps").await;
}
