//! What outside parties see of what is registered, and that the document of it is one.

use std::process::Stdio;

use eg_spec::{Document, Fetched, Format, Limits, Spec};
use eg_tests::gateway::{Gateway, Options};
use eg_tests::peers;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::PROGRAM;

/// Both applications have one like it, so that every name clashes.
const SPEC: &str = "asyncapi: 3.0.0
info: {title: Orders, version: 1.0.0}
channels:
  placed:
    address: NAME/orders/{store}
    parameters: {store: {description: The store., enum: [north, south]}}
    messages: {placed: {$ref: '#/components/messages/placed'}}
operations:
  take: {action: receive, channel: {$ref: '#/channels/placed'}}
components:
  messages:
    placed:
      name: order.placed
      contentType: application/json
      payload: {$ref: '#/components/schemas/order'}
      examples: [{payload: {id: 1, lines: []}}]
  schemas:
    order:
      type: object
      required: [id]
      properties: {id: {type: integer}, lines: {type: array, items: {$ref: '#/components/schemas/line'}}}
    line: {type: object, properties: {of: {$ref: '#/components/schemas/line'}}}
";

/// A gateway where `shop` and `bank` have registered what they send.
async fn gateway() -> Gateway {
    let options = Options { program: PROGRAM.into(), config: String::new(), dev: false };
    let gateway = Gateway::start_with(options).await;
    for name in ["shop", "bank"] {
        let create = "mutation($in: ApplicationInput!) { createApplication(in: $in) { id } }";
        let made = gateway.graphql(create, json!({ "in": { "name": name } })).await;
        let add = "mutation($app: ID!, $in: EventAPIDefinitionInput!) { \
            addEventAPI(applicationID: $app, in: $in) { id } }";
        let spec = json!({ "eventSpecType": "ASYNC_API", "data": SPEC.replace("NAME", name) });
        let version = json!({ "value": "1.2.0", "deprecated": name == "bank" });
        let input = json!({ "name": "Orders", "spec": spec, "version": version });
        let app = &made["createApplication"]["id"];
        gateway.graphql(add, json!({ "app": app, "in": input })).await;
    }
    gateway
}

async fn key(gateway: &Gateway, name: &str, application: Option<&str>, roles: &[&str]) -> String {
    let query = "mutation($in: CredentialInput!) { createCredential(in: $in) { secret } }";
    let input = json!({ "name": name, "application": application, "roles": roles });
    let made = gateway.graphql(query, json!({ "in": input })).await;
    made["createCredential"]["secret"].as_str().unwrap().to_owned()
}

async fn get(gateway: &Gateway, path: &str, key: &str) -> Response {
    let response = Client::new().get(gateway.url(path)).bearer_auth(key).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

async fn catalog(gateway: &Gateway, key: &str) -> Value {
    get(gateway, "/catalog", key).await.json().await.unwrap()
}

/// What the official parser makes of a document.
async fn parsed(text: &str) -> Value {
    let mut command = peers::node("asyncapi_parse.cjs");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut parser = command.spawn().unwrap();
    let line = json!({ "name": "catalog", "text": text }).to_string() + "\n";
    let mut input = parser.stdin.take().unwrap();
    let write = async move { input.write_all(line.as_bytes()).await.unwrap() };
    let ((), output) = tokio::join!(write, parser.wait_with_output());
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn everybody_sees_what_they_have_a_right_to() {
    let gateway = gateway().await;
    let nobody = reqwest::get(gateway.url("/catalog")).await.unwrap();
    assert_eq!(nobody.status(), 401);
    assert!(nobody.headers().contains_key("www-authenticate"));

    let shop = catalog(&gateway, &key(&gateway, "till", Some("shop"), &[]).await).await;
    let entries = shop["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{shop}");
    let entry = &entries[0];
    for (member, expected) in [
        ("application", json!("shop")),
        ("definition", json!("Orders")),
        ("version", json!("1.2.0")),
        ("address", json!("shop/orders/{store}")),
        ("eventType", json!("order.placed")),
        ("contentType", json!("application/json")),
        ("example", json!({ "id": 1, "lines": [] })),
        ("mayPublish", json!(true)),
        ("maySubscribe", json!(false)),
        ("retentionHours", json!(168)),
        ("deprecated", json!(false)),
    ] {
        assert_eq!(entry[member], expected, "{member}");
    }
    assert_eq!(entry["parameters"][0]["values"], json!(["north", "south"]));
    let urls: Vec<_> =
        shop["connections"].as_array().unwrap().iter().map(|one| &one["url"]).collect();
    let mqtt = format!("mqtt://{}", gateway.address("mqtt"));
    assert!(urls.contains(&&json!(mqtt)), "{urls:?}");
    assert!(urls.contains(&&json!(gateway.url("").trim_end_matches('/'))), "{urls:?}");

    let stranger = catalog(&gateway, &key(&gateway, "stranger", None, &[]).await).await;
    assert_eq!((&stranger["entries"], &stranger["connections"]), (&json!([]), &json!([])));

    let viewer = catalog(&gateway, &key(&gateway, "viewer", None, &["viewer"]).await).await;
    let entries = viewer["entries"].as_array().unwrap();
    let bank = (&entries[0]["application"], &entries[0]["mayPublish"], &entries[0]["deprecated"]);
    assert_eq!(bank, (&json!("bank"), &json!(false), &json!(true)));
    assert_eq!(entries.len(), 2);

    let query = "{ catalog(application: \"shop\") { entries { application address schema } } }";
    let managed = gateway.graphql(query, json!({})).await;
    assert_eq!(managed["catalog"]["entries"][0]["address"], "shop/orders/{store}");
}

#[tokio::test]
async fn the_merged_document_is_valid_whatever_names_clash() {
    let gateway = gateway().await;
    let shop = key(&gateway, "till", Some("shop"), &[]).await;
    let viewer = key(&gateway, "viewer", None, &["viewer"]).await;
    let mut tags = Vec::new();
    for (key, channels, sends) in [(&shop, 1, 1), (&viewer, 2, 0)] {
        let response = get(&gateway, "/catalog/asyncapi.json", key).await;
        tags.push(response.headers()["etag"].to_str().unwrap().to_owned());
        let text = response.text().await.unwrap();

        let told = parsed(&text).await;
        assert_eq!(told["errors"], json!([]), "{text}");
        assert_eq!(told["read"]["channels"].as_object().unwrap().len(), channels);
        let operations = told["read"]["operations"].as_array().unwrap();
        assert_eq!(operations.iter().filter(|one| one["action"] == "send").count(), sends);
        let document =
            Document::parse(text.as_bytes(), Format::Json, None, &Limits::default()).unwrap();
        let spec = Spec::read(&document, &Fetched::default()).unwrap();
        let channel = spec.channels.last().unwrap();
        assert_eq!(channel.address.as_deref(), Some("shop/orders/{store}"));
        let payload = channel.messages[0].payload.as_ref().unwrap().root();
        assert_eq!(payload["required"], json!(["id"]), "references lead where they led");
    }
    assert_ne!(tags[0], tags[1]);
    let again = Client::new()
        .get(gateway.url("/catalog/asyncapi.json"))
        .bearer_auth(&shop)
        .header("if-none-match", &tags[0])
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 304);
    let trust_store = reqwest::get(gateway.url("/catalog/ca.pem")).await.unwrap();
    assert_eq!(trust_store.status(), 404, "there is no TLS here");
}

#[tokio::test]
async fn the_trust_store_is_what_the_server_can_be_checked_by() {
    let options = Options { program: PROGRAM.into(), config: String::new(), dev: false };
    let gateway = Gateway::start_tls(options, "").await;
    let pem = reqwest::get(gateway.url("/catalog/ca.pem")).await.unwrap().bytes().await.unwrap();
    let authority = reqwest::Certificate::from_pem(&pem).unwrap();
    let client = Client::builder().tls_certs_only([authority]).build().unwrap();
    let url = format!("https://localhost:{}/catalog", gateway.address("https").port());
    assert_eq!(client.get(url).send().await.unwrap().status(), 401);
}
