//! Events go out to topics, with all attributes and all bytes, and none is lost when a broker is.

use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_tests::brokers::Broker;
use eg_tests::gateway::Gateway;
use eg_tests::peers;
use eg_tests::wait::DEADLINE;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::PROGRAM;
use crate::registered::{drained, make_stream, publish, register};

pub(crate) const DATA: &[u8] = b"\x00\xffcaf\xc3\xa9 \"quoted\"";

/// Reads a topic as a client of its broker does.
pub(crate) struct Reader {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Reader {
    pub(crate) fn start(script: &str, args: &[&str]) -> Self {
        let mut command = peers::python(script);
        command.args(args);
        Self::of(command)
    }

    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, lines }
    }

    pub(crate) async fn line(&mut self) -> String {
        let line = tokio::time::timeout(4 * DEADLINE, self.lines.next_line()).await;
        line.expect("something is read in time").unwrap().expect("more is read")
    }

    pub(crate) async fn message(&mut self) -> Value {
        serde_json::from_str(&self.line().await).unwrap()
    }
}

pub(crate) fn body(message: &Value) -> Vec<u8> {
    BASE64.decode(message["body"].as_str().unwrap()).unwrap()
}

/// Checks the JSON object that an event is in structured content mode.
pub(crate) fn assert_is_structured(message: &Value) {
    let event: Value = serde_json::from_slice(&body(message)).unwrap();
    assert_eq!((&event["id"], &event["type"]), (&json!("1"), &json!("lamp.lit")));
    assert_eq!(event["subject"], "a \"quoted\" subject");
    assert_eq!(event["data_base64"], BASE64.encode(DATA));
}

#[tokio::test]
async fn nats_gets_attributes_as_headers_and_the_bytes_as_they_are() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::nats().await);
    make_stream(&broker).await;
    let url = format!("nats://127.0.0.1:{}", broker.port());
    register(&gateway, &url, "lamps.{type}", json!({ "stream": "LAMPS" })).await;
    publish(&gateway, "1", DATA).await;
    let port = broker.port().to_string();
    let mut reader = Reader::start("nats_bus.py", &[&port, "read", "LAMPS", "1"]);
    let message = reader.message().await;
    assert_eq!(message["topic"], "lamps.lamp.lit");
    assert_eq!(body(&message), DATA);
    let mut headers = message["headers"].clone();
    let expected = json!({
        "ce-specversion": "1.0", "ce-id": "1", "ce-type": "lamp.lit",
        "ce-source": "/lamps/caf%25C3%25A9", "ce-subject": "a%20%22quoted%22%20subject",
        "ce-time": "2026-11-21T10:00:00.125Z", "ce-partitionkey": "7",
        "ce-datacontenttype": "application/octet-stream",
        "Nats-Msg-Id": "/lamps/caf%25C3%25A9%201", "Nats-Expected-Stream": "LAMPS",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    headers.sort_all_objects();
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn nats_gets_one_json_object_in_structured_content_mode() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::nats().await);
    make_stream(&broker).await;
    let url = format!("nats://127.0.0.1:{}", broker.port());
    let attributes = json!({ "contentMode": "STRUCTURED" });
    register(&gateway, &url, "lamps.lit", attributes).await;
    publish(&gateway, "1", DATA).await;
    let port = broker.port().to_string();
    let mut reader = Reader::start("nats_bus.py", &[&port, "read", "LAMPS", "1"]);
    let message = reader.message().await;
    assert_is_structured(&message);
    let media_type = &message["headers"]["content-type"];
    assert_eq!(media_type, "application/cloudevents+json; charset=utf-8");
}

#[tokio::test]
async fn mqtt_gets_attributes_as_user_properties_and_the_bytes_as_they_are() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::mosquitto().await);
    let port = broker.port().to_string();
    let mut reader = Reader::start("mqtt_bus.py", &[&port, "5", "lamps/#", "1"]);
    assert_eq!(reader.line().await, "ready");
    let url = format!("mqtt://127.0.0.1:{port}");
    register(&gateway, &url, "lamps/{partitionkey}", json!({ "qos": "2" })).await;
    publish(&gateway, "1", DATA).await;
    let message = reader.message().await;
    assert_eq!(message["topic"], "lamps/7");
    assert_eq!(body(&message), DATA);
    let expected = json!({
        "specversion": "1.0", "id": "1", "type": "lamp.lit", "source": "/lamps/caf%C3%A9",
        "subject": "a \"quoted\" subject", "time": "2026-11-21T10:00:00.125Z",
        "partitionkey": "7", "content-type": "application/octet-stream",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    assert_eq!(message["headers"], expected);
}

#[tokio::test]
async fn mqtt_3_1_1_gets_one_json_object() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::mosquitto().await);
    let port = broker.port().to_string();
    let mut reader = Reader::start("mqtt_bus.py", &[&port, "3.1.1", "lamps/#", "1"]);
    assert_eq!(reader.line().await, "ready");
    let url = format!("mqtt://127.0.0.1:{port}");
    let attributes = json!({ "protocolVersion": "3.1.1", "contentMode": "STRUCTURED" });
    register(&gateway, &url, "lamps/lit", attributes).await;
    publish(&gateway, "1", DATA).await;
    assert_is_structured(&reader.message().await);
}

/// Publishes `count` events in batches.
pub(crate) async fn publish_many(gateway: &Gateway, count: usize) {
    let client = reqwest::Client::new();
    for first in (0..count).step_by(100) {
        let event = |number: usize| {
            json!({ "specversion": "1.0", "id": number.to_string(), "source": "/lamps",
                "type": "lamp.lit", "data": { "number": number } })
        };
        let batch: Vec<Value> = (first..count.min(first + 100)).map(event).collect();
        let request = client.post(gateway.url("/events"));
        let request = request.header("content-type", "application/cloudevents-batch+json");
        let answer = request.body(json!(batch).to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
}

#[tokio::test]
async fn a_nats_server_that_is_killed_in_mid_stream_loses_nothing_and_gets_nothing_twice() {
    const COUNT: usize = 20_000;
    let (gateway, mut broker) = (Gateway::start(PROGRAM).await, Broker::nats().await);
    make_stream(&broker).await;
    let url = format!("nats://127.0.0.1:{}", broker.port());
    let name = register(&gateway, &url, "lamps.lit", json!({})).await;
    publish_many(&gateway, COUNT / 2).await;
    broker.kill().await;
    publish_many(&gateway, COUNT).await;
    broker.restart().await;
    drained(&gateway, &name).await;
    let port = broker.port().to_string();
    let count = COUNT.to_string();
    let mut reader = Reader::start("nats_bus.py", &[&port, "read", "LAMPS", &count]);
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..COUNT {
        let message = reader.message().await;
        let id = message["headers"]["ce-id"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "the stream removes what comes again");
    }
    assert_eq!(ids.len(), COUNT);
}
