//! What is published on a Kafka topic that is read becomes events, once each and in order, whatever is
//! cut or killed.

use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_tests::gateway::Gateway;
use eg_tests::kafka::Kafka;
use eg_tests::peers;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::PROGRAM;
use crate::consume::{event, journal, structured, with};
use crate::deliver::DATA;
use crate::killed::{COUNT, assert_whole_and_in_order, reached};
use crate::registered::register;

pub(crate) async fn write(broker: &Kafka, topic: &str, message: &Value) {
    let mut command = broker.client();
    command.args(["write", topic]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = child.stdin.take().unwrap();
    lines.write_all(message.to_string().as_bytes()).await.unwrap();
    drop(lines);
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn kafka_headers_become_attributes_and_the_bytes_stay_as_they_are() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Kafka::start().await);
    broker.make_topic("lamps", 3).await;
    let headers = json!({
        "ce_specversion": "1.0", "ce_id": "1", "ce_type": "lamp.lit",
        "ce_source": "/lamps/caf%C3%A9", "ce_subject": "a \"quoted\" subject",
        "ce_time": "2026-11-21T10:00:00.125Z", "ce_partitionkey": "7",
        "content-type": "application/octet-stream",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    let message = json!({ "key": "7", "headers": headers, "body": BASE64.encode(DATA) });
    write(&broker, "lamps", &message).await;
    let (whole, headers) = structured();
    let body = BASE64.encode(whole.to_string());
    let message = json!({ "key": "7", "headers": headers, "body": body });
    write(&broker, "lamps", &message).await;
    register(&gateway, &broker.url(), "lamps", with(json!({}))).await;
    let found = journal(&gateway, 2).await;
    let expected = json!({
        "specversion": "1.0", "id": "1", "type": "lamp.lit", "source": "/lamps/caf%C3%A9",
        "subject": "a \"quoted\" subject", "time": "2026-11-21T10:00:00.125Z",
        "partitionkey": "7", "datacontenttype": "application/octet-stream",
        "data_base64": BASE64.encode(DATA),
    });
    assert_eq!(event(&found[0]), expected);
    assert_eq!(found[0]["origin"]["protocol"], "kafka");
    assert_eq!(event(&found[1]), whole);
}

/// Puts events on the topic `lamps`, ten keys in turn.
async fn put(broker: &Kafka, first: u64, count: u64) {
    let mut command = broker.client();
    command.args(["many", "lamps", &count.to_string(), &first.to_string()]);
    peers::run(command).await;
}

/// Checks that every event comes in once, and those of a key in order. One more of each key comes
/// behind all others.
async fn assert_all_come_in_order(gateway: &Gateway, broker: &Kafka) {
    put(broker, COUNT, 10).await;
    reached(gateway, COUNT).await;
    let count = usize::try_from(COUNT + 10).unwrap();
    assert_whole_and_in_order(&journal(gateway, count).await, count);
}

#[tokio::test]
async fn kafka_is_cut_off_and_the_gateway_killed_and_every_event_is_there_once_in_order() {
    let (mut gateway, broker) = (Gateway::start(PROGRAM).await, Kafka::start().await);
    broker.make_topic("lamps", 4).await;
    put(&broker, 0, COUNT).await;
    register(&gateway, &broker.url(), "lamps", with(json!({}))).await;
    reached(&gateway, COUNT / 10).await;
    broker.cut_off();
    broker.connect();
    reached(&gateway, COUNT / 4).await;
    gateway.kill().await;
    gateway.restart().await;
    assert_all_come_in_order(&gateway, &broker).await;
}

#[tokio::test]
async fn a_kafka_broker_and_the_gateway_are_killed_and_every_event_is_there_once_in_order() {
    let (mut gateway, mut broker) = (Gateway::start(PROGRAM).await, Kafka::start_kept().await);
    broker.make_topic("lamps", 1).await;
    put(&broker, 0, COUNT).await;
    register(&gateway, &broker.url(), "lamps", with(json!({}))).await;
    reached(&gateway, COUNT / 10).await;
    broker.kill().await;
    broker.restart().await;
    reached(&gateway, COUNT / 4).await;
    broker.kill().await;
    gateway.kill().await;
    gateway.restart().await;
    broker.restart().await;
    assert_all_come_in_order(&gateway, &broker).await;
}
