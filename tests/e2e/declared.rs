//! What a registered document asks holds for clients that nobody here wrote, on every protocol.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use eg_tests::gateway::{Gateway, Options};
use eg_tests::peers;
use eg_tests::subscriber::Subscriber;
use eg_tests::wait::until;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::PROGRAM;

const DOCUMENT: &str = "asyncapi: 3.0.0
info: {title: Orders, version: 1.0.0}
channels:
  placed:
    address: orders/{region}/placed
    parameters: {region: {enum: [eu, us]}}
    messages:
      placed:
        name: order.placed
        contentType: application/json
        x-event-source: /shop/{region}
        x-sunset: '2030-01-02T03:04:05Z'
        payload:
          type: object
          required: [n]
          properties: {n: {type: integer}}
";

/// What is wrong with a payload whose `n` is a text.
const WRONG: &str = "at \"/n\" expected an integer \
    (\"/channels/placed/messages/placed/payload/properties/n/type\"), as Orders of shop says";

async fn register(gateway: &Gateway, check: &str, more: Value) -> String {
    let query = "mutation($in: ApplicationInput!) { createApplication(in: $in) { id } }";
    let made = gateway.graphql(query, json!({ "in": { "name": "shop" } })).await;
    let application = made["createApplication"]["id"].clone();
    let query = "mutation($a: ID!, $in: EventAPIDefinitionInput!) { \
        addEventAPI(applicationID: $a, in: $in) { id warnings } }";
    let mut input = json!({ "name": "Orders", "payloadCheck": check,
        "spec": { "data": DOCUMENT, "eventSpecType": "ASYNC_API", "format": "YAML" } });
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = gateway.graphql(query, json!({ "a": application, "in": input })).await;
    assert_eq!(made["addEventAPI"]["warnings"], json!([]));
    made["addEventAPI"]["id"].as_str().unwrap().to_owned()
}

async fn publish(gateway: &Gateway, payload: &str) -> Value {
    let mut peer = peers::python("declared_publish.py");
    let port = |listener| gateway.address(listener).port().to_string();
    peer.args([port("http"), port("mqtt"), payload.to_owned()]);
    let output = peers::run(peer).await;
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn metrics(gateway: &Gateway) -> String {
    let url = format!("http://{}/metrics", gateway.address("admin"));
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

async fn quarantined(gateway: &Gateway) -> Vec<Value> {
    let query = "{ quarantinedEvents(application: \"shop\") { totalCount data { id \
        quarantine { reason application definition } \
        event { id source type subject origin { protocol binding } } } } }";
    let mut found = gateway.graphql(query, json!({})).await["quarantinedEvents"].take();
    found["data"].as_array_mut().unwrap().drain(..).collect()
}

/// A gateway whose log is in a file.
async fn logging(directory: &Path) -> (Gateway, PathBuf) {
    let (script, log) = (directory.join("gateway"), directory.join("log"));
    let text = format!("#!/bin/sh\nexec {PROGRAM} \"$@\" 2>{}\n", log.display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let options = Options { program: script, config: String::new(), dev: true };
    (Gateway::start_with(options).await, log)
}

#[tokio::test]
async fn the_same_wrong_payload_is_refused_everywhere_with_the_same_words() {
    let directory = tempfile::tempdir().unwrap();
    let (gateway, log) = logging(directory.path()).await;
    register(&gateway, "REJECT", json!({})).await;
    let told = publish(&gateway, r#"{"n": "x"}"#).await;
    let reason = format!("data: {WRONG}");
    for way in ["structured", "raw"] {
        assert_eq!(told[way]["status"], 400, "{told}");
        let errors = &told[way]["body"]["errors"];
        assert_eq!(*errors, json!([{ "field": "data", "detail": WRONG }]), "{way}");
    }
    assert_eq!(told["batch"]["body"][0]["errors"][0]["detail"], WRONG);
    assert_eq!(told["kyma"]["status"], 400);
    let details = &told["kyma"]["body"]["details"][0];
    assert_eq!((&details["field"], &details["moreInfo"]), (&json!("data"), &json!(WRONG)));
    for way in ["mqtt5", "mqtt5-structured"] {
        assert_eq!((&told[way]["code"], &told[way]["reason"]), (&json!(0x99), &json!(reason)));
    }
    assert_eq!(told["mqtt311"]["acknowledged"], false, "3.1.1 has no other word");
    let logged = std::fs::read_to_string(log).unwrap();
    let refused = |line: &&str| line.contains("a message was refused") && line.contains(&reason);
    assert_eq!(logged.lines().filter(refused).count(), 1, "the log has it: {logged}");
    assert!(gateway.journal().await.iter().all(|event| event["type"] != "order.placed"));
    let metrics = metrics(&gateway).await;
    let line = "event_gateway_spec_violations_total{application=\"shop\",definition=\"Orders\",\
        outcome=\"rejected\"} 7";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_payload_without_attributes_becomes_the_declared_event_on_every_protocol() {
    let gateway = Gateway::start(PROGRAM).await;
    let version = json!({ "value": "1.0.0", "deprecated": true });
    register(&gateway, "REJECT", json!({ "version": version })).await;
    let told = publish(&gateway, r#"{"n": 1.0}"#).await;
    for way in ["structured", "batch", "raw"] {
        assert_eq!(told[way]["status"], 202, "{way}: {told}");
    }
    for way in ["structured", "batch", "kyma", "raw"] {
        let headers = &told[way]["headers"];
        assert!(headers["deprecation"].as_str().unwrap().starts_with('@'), "{way}: {told}");
        assert_eq!(headers["sunset"], "Wed, 02 Jan 2030 03:04:05 GMT", "{way}");
    }
    let properties = &told["mqtt5"]["properties"];
    assert_eq!(properties["deprecated"], "Orders 1.0.0 of shop");
    assert_eq!(properties["sunset"], "Wed, 02 Jan 2030 03:04:05 GMT");
    assert_eq!(told["mqtt311"]["acknowledged"], true);
    let journal = gateway.journal().await;
    let declared: Vec<_> =
        journal.iter().filter(|event| event["origin"]["binding"] == "channel").collect();
    let protocols: Vec<_> =
        declared.iter().map(|event| event["origin"]["protocol"].as_str().unwrap()).collect();
    assert_eq!(protocols, ["http", "mqtt-5", "mqtt-3.1.1"]);
    for event in declared {
        let made = (&event["type"], &event["source"]);
        assert_eq!(made, (&json!("order.placed"), &json!("/shop/eu")));
        let text: Value = serde_json::from_str(event["cloudEvent"].as_str().unwrap()).unwrap();
        assert_eq!(text["datacontenttype"], "application/json");
        assert!(event["cloudEvent"].as_str().unwrap().contains(r#"{"n": 1.0}"#), "{event}");
    }
}

#[tokio::test]
async fn what_is_in_quarantine_survives_a_kill_and_is_delivered_once_it_is_mended() {
    let mut gateway = Gateway::start(PROGRAM).await;
    let subscriber = Subscriber::start().await;
    register(&gateway, "QUARANTINE", json!({})).await;
    gateway.subscribe(json!({ "name": "all", "endpoint": subscriber.url() })).await;
    let told = publish(&gateway, r#"{"n": "x"}"#).await;
    assert_eq!(told["raw"]["body"]["status"], "quarantined", "{told}");
    assert_eq!(told["kyma"]["body"]["status"], "quarantined");
    let properties = &told["mqtt5"]["properties"];
    assert_eq!((&told["mqtt5"]["code"], &properties["status"]), (&json!(0), &json!("quarantined")));
    assert_eq!(told["mqtt311"]["acknowledged"], true);
    gateway.kill().await;
    gateway.restart().await;
    let held = quarantined(&gateway).await;
    assert_eq!(held.len(), 7);
    for one in &held {
        assert_eq!(one["quarantine"]["reason"], format!("data: {WRONG}"));
    }
    let raw = held.iter().find(|one| one["event"]["origin"]["binding"] == "channel").unwrap();
    let release = "mutation($id: ID!, $data: String) { \
        releaseQuarantinedEvent(id: $id, data: $data) { sequence subscriptions } }";
    let refused = gateway.graphql_raw(release, json!({ "id": raw["id"] })).await;
    assert_eq!(refused["errors"][0]["message"], format!("data: {WRONG}"));
    let mended = json!({ "id": raw["id"], "data": "{\"n\": 2}" });
    let released = gateway.graphql(release, mended.clone()).await;
    assert_eq!(released["releaseQuarantinedEvent"]["subscriptions"], 1);
    let id = raw["event"]["id"].as_str().unwrap();
    until("it is delivered", async || subscriber.ids().contains(id).then_some(())).await;
    let pushed = subscriber.pushed();
    let push = pushed.iter().find(|push| push.id() == id).unwrap();
    assert_eq!(push.body, b"{\"n\": 2}");
    assert_eq!(gateway.graphql(release, mended).await, released, "it is released once");
    let ids: Vec<_> = held.iter().map(|one| one["id"].clone()).collect();
    let purge = "mutation($ids: [ID!]!) { purgeQuarantinedEvents(ids: $ids) }";
    let purged = gateway.graphql(purge, json!({ "ids": ids })).await;
    assert_eq!(purged["purgeQuarantinedEvents"], 6);
    assert!(quarantined(&gateway).await.is_empty());
}

#[tokio::test]
async fn the_journey_of_an_event_says_that_and_why_it_is_held() {
    let gateway = Gateway::start(PROGRAM).await;
    register(&gateway, "QUARANTINE", json!({})).await;
    let event = json!({ "specversion": "1.0", "id": "1", "source": "/shop",
        "type": "order.placed", "data": { "n": "x" } });
    let (status, _, receipt) = gateway.publish("none", &event).await;
    assert_eq!((status, &receipt["status"]), (202, &json!("quarantined")), "{receipt}");
    let query = "{ event(source: \"/shop\", id: \"1\") { status \
        quarantine { reason } } }";
    let journey = gateway.graphql(query, json!({})).await["event"].take();
    assert_eq!(journey["status"], "quarantined");
    assert_eq!(journey["quarantine"]["reason"], format!("data: {WRONG}"));
    let replay = "mutation { replayEvent(subscription: \"s\", source: \"/shop\", id: \"1\") }";
    let refused = gateway.graphql_raw(replay, json!({})).await;
    let why = refused["errors"][0]["message"].as_str().unwrap();
    assert!(why.contains("in quarantine"), "{why}");
}

/// Gives a command as the administrator; gives back what it printed, and on the standard error.
async fn give(gateway: &Gateway, args: &[&str], input: &str) -> (Value, String) {
    let mut command = Command::new(PROGRAM);
    command.args(["-o", "json"]).args(args).kill_on_drop(true);
    command.env("EVENT_GATEWAY_SERVER", format!("http://{}", gateway.address("admin")));
    if gateway.admin_key().is_some() {
        command.env("EVENT_GATEWAY_TOKEN_FILE", gateway.data().join("first-admin-key"));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

#[tokio::test]
async fn the_quarantine_is_worked_on_by_commands() {
    let gateway = Gateway::start(PROGRAM).await;
    register(&gateway, "QUARANTINE", json!({})).await;
    for id in ["1", "2"] {
        let event = json!({ "specversion": "1.0", "id": id, "source": "/shop",
            "type": "order.placed", "data": {} });
        assert_eq!(gateway.publish("none", &event).await.0, 202);
    }
    let (listed, _) = give(&gateway, &["quarantine", "list", "shop"], "").await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(give(&gateway, &["quarantine", "list", "bank"], "").await.0, json!([]));
    let (first, second) = (listed[0]["id"].as_str().unwrap(), listed[1]["id"].as_str().unwrap());
    let (shown, _) = give(&gateway, &["quarantine", "show", first], "").await;
    let reason = shown["quarantine"]["reason"].as_str().unwrap();
    assert!(reason.contains("expected the member \"n\""), "{shown}");
    let release = ["quarantine", "release", first, "--data-file", "-"];
    let (_, said) = give(&gateway, &release, r#"{"n": "x"}"#).await;
    assert!(said.contains(WRONG), "{said}");
    let (released, said) = give(&gateway, &release, r#"{"n": 1}"#).await;
    assert!(released["sequence"].as_u64() > first.parse().ok(), "{released} {said}");
    let (purged, _) = give(&gateway, &["quarantine", "purge", second], "").await;
    assert_eq!(purged["purged"], 1);
    assert_eq!(give(&gateway, &["quarantine", "list"], "").await.0, json!([]));
}

#[tokio::test]
async fn only_the_application_sends_to_its_path_and_with_what_its_document_asks_for() {
    let options = Options { program: PROGRAM.into(), config: String::new(), dev: false };
    let gateway = Gateway::start_with(options).await;
    let id = register(&gateway, "REJECT", json!({})).await;
    let mut keys = Vec::new();
    for name in ["shop", "bank"] {
        let query = "mutation($in: CredentialInput!) { createCredential(in: $in) { secret } }";
        let input = json!({ "in": { "name": name, "application": name } });
        let made = gateway.graphql(query, input).await;
        keys.push(made["createCredential"]["secret"].as_str().unwrap().to_owned());
    }
    let send = async |key: &str| {
        let url = gateway.url("/shop/channels/orders/us/placed");
        let request = reqwest::Client::new().post(url).bearer_auth(key);
        let request = request.header("content-type", "application/json").body("{\"n\": 1}");
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(send(&keys[0]).await.0, 202);
    let (status, text) = send(&keys[1]).await;
    assert_eq!((status, text.contains("expected a sender of shop")), (403, true), "{text}");
    let security = "servers:\n  s: {host: h, protocol: https, security: [{type: X509}]}\n";
    let spec = json!({ "data": format!("{DOCUMENT}{security}"), "eventSpecType": "ASYNC_API" });
    let query = "mutation($id: ID!, $in: EventAPIDefinitionInput!) { \
        updateEventAPI(id: $id, in: $in) { id } }";
    let input = json!({ "name": "Orders", "spec": spec });
    gateway.graphql(query, json!({ "id": id, "in": input })).await;
    let (status, text) = send(&keys[0]).await;
    assert_eq!((status, text.contains("expected a client certificate")), (403, true), "{text}");
    let journal = gateway.journal().await;
    assert_eq!(journal.len(), 1);
    assert_eq!(journal[0]["source"], "/shop/us");
}
