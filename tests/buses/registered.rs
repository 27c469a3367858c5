//! A definition with an external subscription, and events of it.

use eg_tests::brokers::Broker;
use eg_tests::gateway::Gateway;
use eg_tests::peers;
use eg_tests::wait::{self, DEADLINE};
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
    let external = json!({ "url": url, "topic": topic, "attributes": attributes });
    try_to_register(gateway, "lamps", &external).await.unwrap()
}

/// The same for any application and external subscription; or why it is refused.
pub(crate) async fn try_to_register(
    gateway: &Gateway,
    application: &str,
    external: &Value,
) -> Result<String, String> {
    let definition = try_to_register_all(gateway, application, &json!([external])).await?;
    Ok(format!("spec-{definition}-0"))
}

/// Registers the application `lamps` with these external subscriptions. Gives back the definition.
pub(crate) async fn register_all(gateway: &Gateway, external: Value) -> String {
    try_to_register_all(gateway, "lamps", &external).await.unwrap()
}

async fn try_to_register_all(
    gateway: &Gateway,
    application: &str,
    external: &Value,
) -> Result<String, String> {
    let create = "mutation($n: String!) { createApplication(in: { name: $n }) { id } }";
    let made = gateway.graphql(create, json!({ "n": application })).await;
    let spec = "asyncapi: 3.0.0\ninfo: {title: Lamps, version: 1.0.0}\nchannels:\n  lit:\n    \
        address: lamps/lit\n    messages: {lit: {name: lamp.lit}}\n";
    let input = json!({
        "spec": { "eventSpecType": "ASYNC_API", "data": spec },
        "externalSubscriptions": external,
    });
    let app = &made["createApplication"]["id"];
    let added = gateway.graphql_raw(ADD, json!({ "app": app, "in": input })).await;
    match added["data"]["addEventAPI"]["id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => Err(added["errors"][0]["message"].as_str().unwrap().to_owned()),
    }
}

/// Waits until every event was delivered to the subscription `name`.
pub(crate) async fn drained(gateway: &Gateway, name: &str) {
    wait::until_within(4 * DEADLINE, "everything is delivered", async || {
        let stands = gateway.subscription(name).await;
        let left = ["waiting", "inFlight", "retrying", "parked", "deadLetters"];
        left.iter().all(|field| stands[field] == 0).then_some(())
    })
    .await;
}

/// Why each attempt at the event `id` of `/lamps/caf%C3%A9` failed.
pub(crate) async fn failures(gateway: &Gateway, id: &str) -> Vec<String> {
    let query = "query($id: String!) { event(source: \"/lamps/caf%C3%A9\", id: $id) { \
        subscriptions { attempts { reason } } } }";
    let journey = gateway.graphql(query, json!({ "id": id })).await;
    let all = journey["event"]["subscriptions"].as_array().cloned().unwrap_or_default();
    let attempts = all.iter().filter_map(|one| one["attempts"].as_array()).flatten();
    attempts.filter_map(|attempt| Some(attempt["reason"].as_str()?.to_owned())).collect()
}

/// Makes the stream `LAMPS` that takes what is below `lamps`, and `lamps` itself.
pub(crate) async fn make_stream(broker: &Broker) {
    let mut command = peers::python("nats_bus.py");
    command.args([&broker.port().to_string(), "stream", "LAMPS", "lamps", "lamps.>"]);
    peers::run(command).await;
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
