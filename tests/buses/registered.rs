//! A definition with an external subscription, and events of it.

use eg_tests::gateway::Gateway;
use serde_json::{Value, json};

const ADD: &str = "mutation($app: ID!, $in: EventAPIDefinitionInput!) { \
    addEventAPI(applicationID: $app, in: $in) { id } }";

/// Registers the application `lamps`, whose events of the type `lamp.lit` go to a topic of a bus.
/// Gives back the name of the subscription that takes them there.
pub(crate) async fn register(
    gateway: &Gateway,
    url: &str,
    topic: &str,
    attributes: Value,
) -> String {
    let external = json!([{ "url": url, "topic": topic, "attributes": attributes }]);
    format!("spec-{}-0", register_all(gateway, external).await)
}

/// Registers the application `lamps` with these external subscriptions. Gives back the definition.
pub(crate) async fn register_all(gateway: &Gateway, external: Value) -> String {
    let create = "mutation { createApplication(in: { name: \"lamps\" }) { id } }";
    let made = gateway.graphql(create, json!({})).await;
    let spec = "asyncapi: 3.0.0\ninfo: {title: Lamps, version: 1.0.0}\nchannels:\n  lit:\n    \
        address: lamps/lit\n    messages: {lit: {name: lamp.lit}}\n";
    let input = json!({
        "spec": { "eventSpecType": "ASYNC_API", "data": spec },
        "externalSubscriptions": external,
    });
    let app = &made["createApplication"]["id"];
    let added = gateway.graphql(ADD, json!({ "app": app, "in": input })).await;
    added["addEventAPI"]["id"].as_str().unwrap().to_owned()
}

/// Publishes an event of the type `lamp.lit` with attributes of every kind; its payload is `data`.
pub(crate) async fn publish(gateway: &Gateway, id: &str, data: &[u8]) {
    let request = reqwest::Client::new().post(gateway.url("/events"));
    let request = request
        .header("ce-specversion", "1.0")
        .header("ce-id", id)
        .header("ce-source", "/lamps/caf%25C3%25A9")
        .header("ce-type", "lamp.lit")
        .header("ce-subject", "a%20%22quoted%22 subject")
        .header("ce-time", "2026-11-21T10:00:00.125Z")
        .header("ce-partitionkey", "7")
        .header("content-type", "application/octet-stream")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let answer = request.body(data.to_vec()).send().await.unwrap();
    assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
}
