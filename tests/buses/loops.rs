//! What goes round, what has to wait, and what is no longer read.

use eg_tests::brokers::Broker;
use eg_tests::gateway::Gateway;
use eg_tests::wait;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::consume::{journal, nats, publish, reading, reads_nats, status};
use crate::registered::{publish as publish_http, register_all};

#[tokio::test]
async fn an_event_that_was_read_from_a_subject_is_not_sent_back_to_it() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::nats().await);
    nats(&broker, ["stream", "LAMPS", "lamps.>"]).await;
    let url = format!("nats://127.0.0.1:{}", broker.port());
    let out = json!({ "url": url, "topic": "lamps.lit" });
    let back =
        json!({ "url": url, "topic": "lamps.lit", "attributes": { "direction": "consume" } });
    let definition = register_all(&gateway, json!([back, out])).await;
    reading(&gateway).await;
    publish_http(&gateway, "ours", b"1").await;
    let headers = json!({
        "ce-specversion": "1.0", "ce-id": "theirs", "ce-type": "lamp.lit", "ce-source": "/lamps"
    });
    publish(&broker, "lamps.lit", headers, b"2").await;
    wait::until("both came from the subject", async || {
        let seen = status(&gateway).await["reading"].take();
        (seen["taken"] == 1 && seen["duplicates"] == 1).then_some(())
    })
    .await;
    assert_eq!(journal(&gateway, 2).await.len(), 2);
    let query =
        "{ event(source: \"/lamps\", id: \"theirs\") { subscriptions { name matched reason } } }";
    let journey = gateway.graphql(query, json!({})).await["event"].take();
    let only: &Value = &journey["subscriptions"][0];
    assert_eq!(
        (&only["matched"], &only["name"]),
        (&json!(false), &json!(format!("spec-{definition}-1")))
    );
    assert_eq!(only["reason"], format!("it was read from there ({url}/lamps.lit)"));
    let stands = gateway.subscription(&format!("spec-{definition}-1")).await;
    assert_eq!((&stands["delivered"], &stands["waiting"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn what_cannot_be_stored_yet_waits_on_the_bus_and_comes_when_there_is_room() {
    let (gateway, broker) = reads_nats(json!({ "maxInFlight": "5" })).await;
    let limit = "mutation($bytes: Int) { limitApplication(name: \"lamps\", in: { quotaBytes: $bytes }) { \
        events } }";
    gateway.graphql(limit, json!({ "bytes": 1500 })).await;
    nats(&broker, ["many", "lamps.lit", "0-100"]).await;
    let waits = wait::until("the bus waits", async || {
        let status = status(&gateway).await;
        let message = status["message"].as_str().unwrap_or_default();
        let is_asked_again = status["reading"]["lag"].as_u64() > Some(50);
        (message.starts_with("waits: the quota of lamps") && is_asked_again).then_some(status)
    })
    .await;
    let reading = &waits["reading"];
    let number = |field: &str| reading[field].as_u64().unwrap();
    assert!(number("taken") < 50 && number("refused") == 0, "{waits}");
    assert!(number("lag") + number("taken") + 5 >= 100, "no more than 5 were given: {waits}");
    gateway.graphql(limit, json!({ "bytes": 1_000_000 })).await;
    let found = journal(&gateway, 100).await;
    let ids: Vec<_> = found.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (0..100).map(|id| id.to_string()).collect::<Vec<_>>());
}

const READING: &str = "event_gateway_bus_reading{subscription=\"";

async fn metrics(gateway: &Gateway) -> String {
    let url = format!("http://{}/metrics", gateway.address("admin"));
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_topic_is_read_until_its_definition_is_removed_and_goes_on_where_it_was() {
    let (gateway, broker) = (Gateway::start(PROGRAM).await, Broker::nats().await);
    nats(&broker, ["stream", "LAMPS", "lamps.>"]).await;
    let url = format!("nats://127.0.0.1:{}", broker.port());
    let attributes = json!({ "direction": "consume", "group": "lamps-of-the-gateway" });
    let external = json!([{ "url": url, "topic": "lamps.>", "attributes": attributes }]);
    let definition = register_all(&gateway, external.clone()).await;
    nats(&broker, ["many", "lamps.lit", "0-10"]).await;
    journal(&gateway, 10).await;
    assert!(metrics(&gateway).await.contains(READING));
    let remove = "mutation($id: ID!) { deleteApplication(id: $id) { id } }";
    let owner = "{ applications { data { id } } }";
    let owner = gateway.graphql(owner, json!({})).await["applications"]["data"][0]["id"].take();
    gateway.graphql(remove, json!({ "id": owner })).await;
    nats(&broker, ["many", "lamps.lit", "10-10"]).await;
    wait::until("nothing is said of what is gone", async || {
        (!metrics(&gateway).await.contains("subscription=\"")).then_some(())
    })
    .await;
    let metrics = metrics(&gateway).await;
    let taken = "event_gateway_bus_consumed_total{bus=\"nats\",outcome=\"taken\"} 10";
    assert!(metrics.contains(taken), "{metrics}");
    assert_eq!(gateway.journal().await.len(), 10);
    assert_ne!(register_all(&gateway, external).await, definition);
    let found = journal(&gateway, 20).await;
    assert_eq!(found[10]["id"], "10");
}
