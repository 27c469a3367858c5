//! What is published on a topic that is read becomes events of the application, once each, and a
//! message is settled on its bus only after that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_tests::brokers::Broker;
use eg_tests::gateway::Gateway;
use eg_tests::peers;
use eg_tests::wait;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::registered::register;

const DATA: &[u8] = b"\x00\xffcaf\xc3\xa9 \"quoted\"";

/// Runs the NATS peer to its end.
async fn nats(broker: &Broker, args: [&str; 3]) {
    let mut command = peers::python("nats_bus.py");
    command.arg(broker.port().to_string()).args(args);
    peers::run(command).await;
}

async fn publish(broker: &Broker, topic: &str, headers: Value, body: &[u8]) {
    let body = BASE64.encode(body);
    let message = json!({ "topic": topic, "headers": headers, "body": body }).to_string();
    nats(broker, ["publish", &message, "-"]).await;
}

/// A gateway that reads `lamps.>` from a NATS server.
async fn reads_nats(attributes: Value) -> (Gateway, Broker) {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::nats().await);
    nats(&broker, ["stream", "LAMPS", "lamps.>"]).await;
    let url = format!("nats://127.0.0.1:{}", broker.port());
    register(&gateway, &url, "lamps.>", with(attributes)).await;
    (gateway, broker)
}

fn with(mut attributes: Value) -> Value {
    attributes["direction"] = json!("consume");
    attributes
}

/// The journal, once it has `count` events.
async fn journal(gateway: &Gateway, count: usize) -> Vec<Value> {
    wait::until(&format!("{count} events are in the journal"), async || {
        let found = gateway.journal().await;
        (found.len() >= count).then_some(found)
    })
    .await
}

fn event(entry: &Value) -> Value {
    serde_json::from_str(entry["cloudEvent"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn nats_headers_become_attributes_and_the_bytes_stay_as_they_are() {
    let (gateway, broker) = reads_nats(json!({})).await;
    let headers = json!({
        "ce-specversion": "1.0", "ce-id": "1", "ce-type": "lamp.lit",
        "ce-source": "/lamps/caf%25C3%25A9", "ce-subject": "a%20%22quoted%22%20subject",
        "ce-time": "2026-11-21T10:00:00.125Z", "ce-partitionkey": "7",
        "ce-datacontenttype": "application/octet-stream",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    publish(&broker, "lamps.lit", headers, DATA).await;
    let found = journal(&gateway, 1).await;
    let expected = json!({
        "specversion": "1.0", "id": "1", "type": "lamp.lit", "source": "/lamps/caf%C3%A9",
        "subject": "a \"quoted\" subject", "time": "2026-11-21T10:00:00.125Z",
        "partitionkey": "7", "datacontenttype": "application/octet-stream",
        "data_base64": BASE64.encode(DATA),
    });
    assert_eq!(event(&found[0]), expected);
    assert_eq!(found[0]["sender"], json!({ "name": "lamps", "method": "bus" }));
    let address = format!("nats://127.0.0.1:{}/lamps.lit", broker.port());
    let origin = json!({
        "protocol": "nats", "binding": "binary", "address": address, "clientId": null
    });
    assert_eq!(found[0]["origin"], origin);
}
