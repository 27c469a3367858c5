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
pub(crate) async fn nats(broker: &Broker, args: [&str; 3]) {
    let mut command = peers::python("nats_bus.py");
    command.arg(broker.port().to_string()).args(args);
    peers::run(command).await;
}

pub(crate) async fn publish(broker: &Broker, topic: &str, headers: Value, body: &[u8]) {
    let body = BASE64.encode(body);
    let message = json!({ "topic": topic, "headers": headers, "body": body }).to_string();
    nats(broker, ["publish", &message, "-"]).await;
}

/// Runs the MQTT peer to its end.
pub(crate) async fn mqtt(broker: &Broker, args: [&str; 3]) {
    let mut command = peers::python("mqtt_bus_publish.py");
    command.arg(broker.port().to_string()).args(args);
    peers::run(command).await;
}

async fn publish_mqtt(broker: &Broker, version: &str, headers: Value, body: &[u8]) {
    let message = json!({ "topic": "lamps/lit", "headers": headers, "body": BASE64.encode(body) });
    mqtt(broker, [version, "one", &message.to_string()]).await;
}

/// A gateway that reads `lamps/#` from an MQTT broker.
pub(crate) async fn reads_mqtt(attributes: Value) -> (Gateway, Broker) {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::mosquitto().await);
    let url = format!("mqtt://127.0.0.1:{}", broker.port());
    register(&gateway, &url, "lamps/#", with(attributes)).await;
    reading(&gateway).await;
    (gateway, broker)
}

/// What the management API says of the topic that is read.
pub(crate) async fn status(gateway: &Gateway) -> Value {
    let query = "{ applications { data { eventAPIs { data { externalSubscriptions { status { \
        active message reading { connected lag taken duplicates refused \
        lastRefusal { reason } } } } } } } } }";
    let shown = gateway.graphql(query, json!({})).await;
    let definition = &shown["applications"]["data"][0]["eventAPIs"]["data"][0];
    definition["externalSubscriptions"][0]["status"].clone()
}

/// Waits until the topic is read.
pub(crate) async fn reading(gateway: &Gateway) {
    wait::until("the topic is read", async || {
        (status(gateway).await["reading"]["connected"] == true).then_some(())
    })
    .await;
}

/// A gateway that reads `lamps.>` from a NATS server.
pub(crate) async fn reads_nats(attributes: Value) -> (Gateway, Broker) {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::nats().await);
    nats(&broker, ["stream", "LAMPS", "lamps.>"]).await;
    let url = format!("nats://127.0.0.1:{}", broker.port());
    register(&gateway, &url, "lamps.>", with(attributes)).await;
    (gateway, broker)
}

pub(crate) fn with(mut attributes: Value) -> Value {
    attributes["direction"] = json!("consume");
    attributes
}

/// The journal, once it has `count` events.
pub(crate) async fn journal(gateway: &Gateway, count: usize) -> Vec<Value> {
    wait::until(&format!("{count} events are in the journal"), async || {
        let found = gateway.journal().await;
        (found.len() >= count).then_some(found)
    })
    .await
}

pub(crate) fn event(entry: &Value) -> Value {
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

/// One event in the JSON format of CloudEvents.
pub(crate) fn structured() -> (Value, Value) {
    let event = json!({
        "specversion": "1.0", "id": "s1", "type": "lamp.lit", "source": "/lamps/7",
        "partitionkey": "7", "datacontenttype": "application/octet-stream",
        "data_base64": BASE64.encode(DATA),
    });
    (event, json!({ "content-type": "application/cloudevents+json; charset=utf-8" }))
}

#[tokio::test]
async fn a_whole_event_is_taken_from_nats_and_a_batch_is_refused_with_the_reason() {
    let (gateway, broker) = reads_nats(json!({})).await;
    let batch = json!({ "content-type": "application/cloudevents-batch+json" });
    publish(&broker, "lamps.lit", batch, b"[]").await;
    let (expected, headers) = structured();
    publish(&broker, "lamps.lit", headers, expected.to_string().as_bytes()).await;
    let found = journal(&gateway, 1).await;
    assert_eq!(event(&found[0]), expected);
    assert_eq!(found[0]["origin"]["binding"], "structured");
    let status = status(&gateway).await;
    let reading = &status["reading"];
    assert_eq!((&reading["taken"], &reading["refused"]), (&json!(1), &json!(1)));
    let reason = reading["lastRefusal"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("content type: expected one event"), "{reason}");
}

#[tokio::test]
async fn a_plain_message_becomes_what_its_channel_declares_under_a_name_that_stays() {
    let (gateway, broker) = reads_nats(json!({})).await;
    let headers = json!({ "content-type": "application/json" });
    publish(&broker, "lamps.lit", headers, b"{\"on\":true}").await;
    publish(&broker, "lamps.other", json!({}), b"on").await;
    let found = journal(&gateway, 2).await;
    let (declared, other) = (event(&found[0]), event(&found[1]));
    assert_eq!((&declared["type"], &declared["data"]), (&json!("lamp.lit"), &json!({"on": true})));
    assert_eq!(found[0]["origin"]["binding"], "channel");
    assert_eq!((&other["type"], &other["source"]), (&json!("nats.message"), &json!("/lamps")));
    assert_eq!((&other["subject"], &other["data_base64"]), (&json!("lamps.other"), &json!("b24=")));
    assert!(other["id"].as_str().unwrap().starts_with("LAMPS/2/"), "{other}");
}

#[tokio::test]
async fn what_the_application_may_not_publish_is_refused_and_the_next_is_taken() {
    let (gateway, broker) = reads_nats(json!({})).await;
    let headers = |id: &str, source: &str| json!({ "ce-specversion": "1.0", "ce-id": id, "ce-type": "lamp.lit", "ce-source": source });
    publish(&broker, "lamps.lit", headers("1", "/event-gateway/audit"), b"").await;
    publish(&broker, "lamps.lit", headers("2", "/lamps"), b"").await;
    let found = journal(&gateway, 1).await;
    assert_eq!(found[0]["id"], "2");
    let status = status(&gateway).await;
    let reason = status["reading"]["lastRefusal"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("not allowed: source: expected another than"), "{reason}");
    assert_eq!(status["active"], true, "{status}");
}

#[tokio::test]
async fn mqtt_user_properties_become_attributes_and_the_bytes_stay_as_they_are() {
    for qos in ["1", "2"] {
        let (gateway, broker) = reads_mqtt(json!({ "qos": qos })).await;
        let headers = json!({
            "specversion": "1.0", "id": "1", "type": "lamp.lit", "source": "/lamps/caf%C3%A9",
            "subject": "a \"quoted\" subject", "time": "2026-11-21T10:00:00.125Z",
            "partitionkey": "7", "content-type": "application/octet-stream",
        });
        publish_mqtt(&broker, "5", headers, DATA).await;
        let (expected, headers) = structured();
        publish_mqtt(&broker, "5", headers, expected.to_string().as_bytes()).await;
        let headers = json!({ "content-type": "application/json" });
        publish_mqtt(&broker, "5", headers, b"{\"on\":true}").await;
        let found = journal(&gateway, 3).await;
        let binary = json!({
            "specversion": "1.0", "id": "1", "type": "lamp.lit", "source": "/lamps/caf%C3%A9",
            "subject": "a \"quoted\" subject", "time": "2026-11-21T10:00:00.125Z",
            "partitionkey": "7", "datacontenttype": "application/octet-stream",
            "data_base64": BASE64.encode(DATA),
        });
        assert_eq!(event(&found[0]), binary);
        assert_eq!(event(&found[1]), expected);
        let plain = event(&found[2]);
        assert_eq!((&plain["type"], &plain["data"]), (&json!("lamp.lit"), &json!({"on": true})));
        assert_eq!(found[2]["origin"]["protocol"], "mqtt-bus");
    }
}

#[tokio::test]
async fn mqtt_3_1_1_gives_whole_events_and_plain_messages() {
    let (gateway, broker) = reads_mqtt(json!({ "protocolVersion": "3.1.1" })).await;
    let (expected, _) = structured();
    publish_mqtt(&broker, "3.1.1", json!({}), expected.to_string().as_bytes()).await;
    publish_mqtt(&broker, "3.1.1", json!({}), b"{\"on\":true}").await;
    let found = journal(&gateway, 2).await;
    assert_eq!(event(&found[0]), expected);
    assert_eq!(found[1]["origin"]["binding"], "channel");
}
