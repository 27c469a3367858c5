//! Who the gateway is to a Kafka broker over TLS, in both directions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_tests::gateway::Gateway;
use eg_tests::kafka::Kafka;
use eg_tests::openssl::Authority;
use serde_json::json;

use crate::PROGRAM;
use crate::consume::{event, journal, structured, with};
use crate::deliver::{DATA, body};
use crate::kafka::read;
use crate::kafka_read::write;
use crate::registered::{publish, register_all};

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
    let external = |topic: &str, mut attributes: serde_json::Value| {
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
