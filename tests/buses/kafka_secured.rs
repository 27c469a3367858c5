//! Who the gateway is to a Kafka broker: by its certificate, a password or a token, in both directions.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_tests::gateway::Gateway;
use eg_tests::kafka::{Kafka, PASSWORD, USER};
use eg_tests::openssl::Authority;
use eg_tests::provider::Provider;
use eg_tests::wait::until;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::authenticated::{delivered_while_tokens_end, oauth};
use crate::consume::{event, journal, structured, with};
use crate::deliver::{DATA, body};
use crate::kafka::read;
use crate::kafka_read::write;
use crate::registered::{failures, publish, register_all};

#[tokio::test]
async fn kafka_takes_a_client_certificate_in_both_directions() {
    let authority = Authority::create("Plant").await;
    authority.issue("server", &["-extensions", "server"]).await;
    authority.issue("gateway", &[]).await;
    let (gateway, broker) =
        (Gateway::start(PROGRAM).await, Kafka::over_tls(&authority, "server", "gateway").await);
    broker.make_topic("out", 1).await;
    broker.make_topic("in", 1).await;
    let (theirs, headers) = structured();
    let whole = BASE64.encode(theirs.to_string());
    write(&broker, "in", &json!({ "key": "7", "headers": headers, "body": whole })).await;
    let text = |file: &str| std::fs::read_to_string(authority.file(file)).unwrap();
    let certificate = json!({ "certificateChain": text("gateway.pem"),
        "privateKey": text("gateway.key") });
    let external = |topic: &str, mut attributes: Value| {
        attributes["caCertificates"] = json!(text("ca.pem"));
        json!({ "url": broker.url(), "topic": topic, "attributes": attributes,
            "auth": { "certificate": certificate } })
    };
    let both = json!([external("in", with(json!({}))), external("out", json!({}))]);
    register_all(&gateway, both).await;
    let found = journal(&gateway, 1).await;
    assert_eq!(event(&found[0]), theirs);
    publish(&gateway, "ours", DATA).await;
    let mut reader = read(&broker, "out", 2);
    let messages = [reader.message().await, reader.message().await];
    let of = |id: &str| messages.iter().find(|message| message["headers"]["ce_id"] == id).unwrap();
    assert_eq!((body(of("ours")), body(of("s1"))), (DATA.to_vec(), DATA.to_vec()));
}

#[tokio::test]
async fn kafka_takes_a_name_and_a_password_by_each_mechanism_in_both_directions() {
    let broker = Kafka::with_users(None).await;
    broker.make_topic("in", 1).await;
    let (theirs, headers) = structured();
    let whole = BASE64.encode(theirs.to_string());
    write(&broker, "in", &json!({ "key": "7", "headers": headers, "body": whole })).await;
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        broker.make_topic(mechanism, 1).await;
        let gateway = Gateway::start(PROGRAM).await;
        let external = |topic: &str, password: &str, mut attributes: Value| {
            attributes["authentication"] = json!(mechanism);
            let basic = json!({ "username": USER, "password": password });
            json!({ "url": broker.url(), "topic": topic, "attributes": attributes,
                "auth": { "credential": { "basic": basic } } })
        };
        let all = json!([
            external("in", PASSWORD, with(json!({}))),
            external(mechanism, PASSWORD, json!({})),
            external("refused", "guessed", json!({})),
        ]);
        register_all(&gateway, all).await;
        let found = journal(&gateway, 1).await;
        assert_eq!(event(&found[0]), theirs, "{mechanism}");
        publish(&gateway, "ours", DATA).await;
        let mut reader = read(&broker, mechanism, 2);
        let messages = [reader.message().await, reader.message().await];
        let ours = messages.iter().find(|message| message["headers"]["ce_id"] == "ours").unwrap();
        assert_eq!(body(ours), DATA, "{mechanism}");
        let reason = until("one of them is refused", async || {
            failures(&gateway, "ours").await.into_iter().find(|reason| !reason.is_empty())
        })
        .await;
        let hint = "the broker does not let the gateway in: check auth.credential";
        assert!(reason.contains(hint) && !reason.contains("guessed"), "{mechanism}: {reason}");
    }
}

#[tokio::test]
async fn kafka_is_shown_a_new_token_before_the_old_one_ends_and_no_attempt_fails() {
    let provider = Provider::start().await;
    provider.set_lifetime(Duration::from_secs(8)).await;
    let broker = Kafka::with_users(Some(provider.issuer())).await;
    broker.make_topic("lamps", 1).await;
    let gateway = Gateway::start(PROGRAM).await;
    let external = json!([{ "url": broker.url(), "topic": "lamps", "auth": oauth(&provider) }]);
    let name = format!("spec-{}-0", register_all(&gateway, external).await);
    delivered_while_tokens_end(&gateway, &provider, &name).await;
    let mut reader = read(&broker, "lamps", 1);
    assert_eq!(reader.message().await["headers"]["ce_id"], "1");
}
