//! Who the gateway is towards brokers: access tokens of a real provider, and client certificates.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use eg_tests::brokers::Broker;
use eg_tests::gateway::Gateway;
use eg_tests::openssl::Authority;
use eg_tests::provider::{CLIENT, Provider};
use eg_tests::subscriber::{Reaction, Subscriber};
use eg_tests::wait::until;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::registered::{failures, make_stream, publish, try_to_register};

pub(crate) fn oauth(provider: &Provider) -> Value {
    json!({ "credential": { "oauth": { "clientId": CLIENT, "clientSecret": "device-secret",
        "url": format!("{}/token", provider.issuer()), "scopes": ["publish"],
        "resource": "urn:event-gateway" } } })
}

async fn delivered(gateway: &Gateway, name: &str, count: usize) {
    until("the events are delivered", async || {
        (gateway.subscription(name).await["delivered"] == count).then_some(())
    })
    .await;
}

/// Publishes events until four tokens were fetched; each is delivered at the first attempt. Gives back
/// how many there were.
pub(crate) async fn delivered_while_tokens_end(
    gateway: &Gateway,
    provider: &Provider,
    name: &str,
) -> usize {
    let mut count = 0;
    until("four tokens were fetched", async || {
        count += 1;
        publish(gateway, &count.to_string(), b"1").await;
        (provider.requests("/token").await >= 4).then_some(())
    })
    .await;
    delivered(gateway, name, count).await;
    for id in 1..=count {
        assert_eq!(failures(gateway, &id.to_string()).await, [""; 0], "event {id}");
    }
    count
}

#[tokio::test]
async fn mqtt_goes_over_to_a_new_token_before_the_old_one_ends_and_no_attempt_fails() {
    let provider = Provider::start().await;
    provider.set_lifetime(Duration::from_secs(6)).await;
    // A broker that checks tokens, and closes the connection of who has one that has ended.
    let broker = Gateway::start_closed(PROGRAM, provider.config()).await;
    let gateway = Gateway::start(PROGRAM).await;
    let external = json!({ "url": format!("mqtt://{}", broker.address("mqtt")),
        "topic": "lamps/lit", "auth": oauth(&provider) });
    let name = try_to_register(&gateway, "lamps", &external).await.unwrap();
    let count = delivered_while_tokens_end(&gateway, &provider, &name).await;
    assert_eq!(broker.journal().await.len(), count);
}

#[tokio::test]
async fn nats_gets_a_fresh_token_with_every_connection() {
    let mut broker = Broker::nats().await;
    make_stream(&broker).await;
    broker.configure("authorization { token: first }").await;
    let granted = Arc::new(Mutex::new("first"));
    let handed_out = Arc::clone(&granted);
    let provider = Subscriber::scripted(move |_, _| {
        let token = *handed_out.lock().unwrap();
        let body = json!({ "access_token": token, "token_type": "bearer", "expires_in": 1 });
        Reaction::Text(200, body.to_string())
    })
    .await;
    let gateway = Gateway::start(PROGRAM).await;
    let auth = json!({ "credential": { "oauth": { "clientId": "gateway", "clientSecret": "s3cret",
        "url": provider.url() } } });
    let external = json!({ "url": format!("nats://127.0.0.1:{}", broker.port()),
        "topic": "lamps.lit", "auth": auth, "attributes": { "retryMaxDelayMs": "1000" } });
    let name = try_to_register(&gateway, "lamps", &external).await.unwrap();
    publish(&gateway, "1", b"1").await;
    delivered(&gateway, &name, 1).await;
    *granted.lock().unwrap() = "second";
    broker.configure("authorization { token: second }").await;
    publish(&gateway, "2", b"1").await;
    delivered(&gateway, &name, 2).await;
}

/// What makes a gateway known by its certificate, which `authority` has issued.
async fn shown(authority: &Authority) -> Value {
    authority.issue("server", &["-extensions", "server"]).await;
    authority.issue("gateway", &[]).await;
    let read = |file: &str| std::fs::read_to_string(authority.file(file)).unwrap();
    json!({ "certificate": { "certificateChain": read("gateway.pem"),
        "privateKey": read("gateway.key") } })
}

async fn is_delivered(url: &str, auth: &Value, authority: &Authority) {
    let gateway = Gateway::start(PROGRAM).await;
    let authorities = std::fs::read_to_string(authority.file("ca.pem")).unwrap();
    let external = json!({ "url": url, "topic": "lamps", "auth": auth,
        "attributes": { "caCertificates": authorities } });
    let name = try_to_register(&gateway, "lamps", &external).await.unwrap();
    publish(&gateway, "1", b"1").await;
    delivered(&gateway, &name, 1).await;
    assert_eq!(failures(&gateway, "1").await, [""; 0]);
}

#[tokio::test]
async fn nats_knows_the_gateway_by_its_certificate() {
    let authority = Authority::create("Plant").await;
    let auth = shown(&authority).await;
    let mut broker = Broker::nats().await;
    make_stream(&broker).await;
    let file = |name: &str| authority.file(name).display().to_string();
    let tls = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify_and_map: true }}\n\
         authorization {{ users: [{{ user: \"CN=gateway\" }}] }}\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    broker.configure(&tls).await;
    is_delivered(&format!("tls+nats://localhost:{}", broker.port()), &auth, &authority).await;
}

#[tokio::test]
async fn mqtt_knows_the_gateway_by_its_certificate() {
    let authority = Authority::create("Plant").await;
    let auth = shown(&authority).await;
    let mut broker = Broker::mosquitto().await;
    let file = |name: &str| authority.file(name).display().to_string();
    let tls = format!(
        "certfile {}\nkeyfile {}\ncafile {}\nrequire_certificate true\n\
         use_identity_as_username true\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    broker.configure(&tls).await;
    is_delivered(&format!("mqtts://localhost:{}", broker.port()), &auth, &authority).await;
}
