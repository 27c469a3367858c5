//! Tokens of a real OpenID provider, over HTTP and MQTT: its keys fetched once, its new keys
//! followed, its absence survived for as long as it was said.

use std::process::Stdio;
use std::time::{Duration, Instant};

use eg_tests::gateway::Gateway;
use eg_tests::opaque_provider::OpaqueProvider;
use eg_tests::peers;
use eg_tests::provider::{CLIENT, Provider};
use eg_tests::wait::until;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::PROGRAM;

const HOUR: Duration = Duration::from_hours(1);
/// How many requests have to share one fetch of the keys.
const REQUESTS: usize = 1000;

fn event(id: &str) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/press", "type": "pressed" })
}

/// Publishes with paho, the token as its password; gives back what it prints.
async fn paho(gateway: &Gateway, user: &str, token: &str) -> String {
    let mut command = peers::python("paho_token.py");
    command.arg(gateway.address("mqtt").port().to_string()).arg(user);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(token.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn client_credentials_publish_over_http_and_the_journey_names_the_subject() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_closed(PROGRAM, provider.config()).await;
    let token = provider.token(HOUR).await;
    let (status, _, receipt) = gateway.publish(&token, &event("1")).await;
    assert_eq!((status, &receipt["sequence"]), (202, &json!(1)), "{receipt}");
    let query = "{ event(source: \"/press\", id: \"1\") { event { sender { name method } } } }";
    let journey = gateway.graphql(query, json!({})).await;
    let sender = &journey["event"]["event"]["sender"];
    assert_eq!((&sender["name"], &sender["method"]), (&json!(CLIENT), &json!("bearer")));
}

#[tokio::test]
async fn a_token_acts_for_the_application_that_it_names_on_kymas_routes() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_closed(PROGRAM, provider.config()).await;
    let client = reqwest::Client::new();
    let rows = [
        (json!({ "application": "shop" }), 200, "published"),
        (json!({ "application": "bank" }), 403, "No valid subject found"),
        (json!({}), 403, "No valid subject found"),
    ];
    for (claims, status, said) in rows {
        let token = provider.token_with(HOUR, claims).await;
        let body = json!({
            "event-type": "order.created", "event-type-version": "v1",
            "event-time": "2026-01-01T00:00:00Z", "data": {},
        });
        let request = client.post(gateway.url("/shop/v1/events")).bearer_auth(token);
        let answer = request.json(&body).send().await.unwrap();
        let (found, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!(found, status, "{text}");
        assert!(text.contains(said) || status == 200, "{text}");
    }
}

#[tokio::test]
async fn paho_publishes_with_a_token_as_its_password() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_closed(PROGRAM, provider.config()).await;
    let token = provider.token(HOUR).await;
    for user in ["", "whoever"] {
        // 16: no matching subscribers, which is a success.
        assert_eq!(paho(&gateway, user, &token).await, "acknowledged 16");
    }
    let journal = gateway.journal().await;
    assert_eq!(journal.len(), 2);
    assert_eq!(journal[0]["sender"], json!({ "name": CLIENT, "method": "bearer" }));
    let broken = format!("{}x", &token[..token.len() - 1]);
    assert!(paho(&gateway, "", &broken).await.starts_with("refused"));
    assert_eq!(gateway.journal().await.len(), 2);
}

#[tokio::test]
async fn keys_are_fetched_once_for_a_thousand_requests_with_different_tokens() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_closed(PROGRAM, provider.config()).await;
    let mut tokens = Vec::new();
    for _ in 0..10 {
        tokens.push(provider.token(HOUR).await);
    }
    // The first ones all at once: nobody has keys yet.
    let first = tokens.iter().enumerate().map(|(number, token)| {
        let (gateway, id) = (&gateway, format!("first-{number}"));
        async move { gateway.publish(token, &event(&id)).await.0 }
    });
    let statuses = futures_util::future::join_all(first).await;
    assert_eq!(statuses, [202; 10]);
    for number in tokens.len()..REQUESTS {
        let token = &tokens[number % tokens.len()];
        let (status, _, answer) = gateway.publish(token, &event(&number.to_string())).await;
        assert_eq!(status, 202, "{answer}");
    }
    assert_eq!(provider.requests("/jwks").await, 1);
    assert_eq!(provider.requests("/.well-known/openid-configuration").await, 1);
}

#[tokio::test]
async fn new_keys_are_followed_and_tokens_of_old_ones_refused() {
    let provider = Provider::start().await;
    let config = provider.config() + "keys_refetch_seconds_min = 1\n";
    let gateway = Gateway::start_closed(PROGRAM, config).await;
    let old = provider.token(HOUR).await;
    assert_eq!(gateway.publish(&old, &event("1")).await.0, 202);
    provider.rotate().await;
    let new = provider.token(HOUR).await;
    until("the new key is known", async || {
        (gateway.publish(&new, &event("2")).await.0 == 202).then_some(())
    })
    .await;
    let (status, _, problem) = gateway.publish(&old, &event("3")).await;
    assert_eq!(status, 401, "{problem}");
    assert_eq!(problem["detail"], "kid: the issuer has no such key");
}

#[tokio::test]
async fn unknown_keys_do_not_make_the_gateway_hammer_the_provider() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_closed(PROGRAM, provider.config()).await;
    assert_eq!(gateway.publish(&provider.token(HOUR).await, &event("1")).await.0, 202);
    let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": "nobody's" });
    let payload = json!({ "iss": provider.issuer() });
    let token = provider.sign(json!({ "header": header, "payload": payload })).await;
    for number in 0..200 {
        assert_eq!(gateway.publish(&token, &event(&number.to_string())).await.0, 401);
    }
    assert!(provider.requests("/jwks").await <= 2);
}

#[tokio::test]
async fn a_provider_that_is_down_is_survived_for_the_stated_time_and_then_named() {
    let provider = Provider::start().await;
    let config = provider.config()
        + "keys_fresh_seconds = 1\nkeys_stale_seconds_max = 4\nkeys_refetch_seconds_min = 1\n";
    let gateway = Gateway::start_closed(PROGRAM, config).await;
    let (used, unused) = (provider.token(HOUR).await, provider.token(HOUR).await);
    let fetched = Instant::now();
    assert_eq!(gateway.publish(&used, &event("0")).await.0, 202);
    provider.down().await;
    let mut taken = 0;
    let (status, headers, problem) = until("the keys are too old", async || {
        taken += 1;
        let (status, headers, answer) = gateway.publish(&used, &event(&taken.to_string())).await;
        (status != 202).then_some((status, headers, answer))
    })
    .await;
    assert!(fetched.elapsed() >= Duration::from_secs(3), "refused after {:?}", fetched.elapsed());
    assert_eq!(status, 503, "{problem}");
    assert_eq!(headers["retry-after"], "1");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(provider.issuer()), "{detail}");
    assert_eq!(gateway.publish(&unused, &event("x")).await.0, 503, "a new token fares no better");
    provider.up().await;
    until("the provider is asked again", async || {
        (gateway.publish(&unused, &event("y")).await.0 == 202).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_expires_on_a_connection_that_stays_open() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_closed(PROGRAM, provider.config()).await;
    let token = provider.token(Duration::from_secs(2)).await;
    assert_eq!(gateway.publish(&token, &event("0")).await.0, 202);
    let mut number = 0;
    let (status, headers, problem) = until("the token expires", async || {
        number += 1;
        let answer = gateway.publish(&token, &event(&number.to_string())).await;
        (answer.0 != 202).then_some(answer)
    })
    .await;
    assert_eq!((status, &problem["detail"]), (401, &json!("exp: the token has expired")));
    let challenge = headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[tokio::test]
async fn opaque_tokens_are_introspected_once_while_the_answer_is_good() {
    let provider = Provider::start().await;
    let directory = tempfile::tempdir().unwrap();
    let config = provider.config() + &provider.introspection_config(directory.path());
    let gateway = Gateway::start_closed(PROGRAM, config).await;
    let token = provider.opaque_token(HOUR).await;
    for number in 0..100 {
        let (status, _, answer) = gateway.publish(&token, &event(&number.to_string())).await;
        assert_eq!(status, 202, "{answer}");
    }
    assert_eq!(gateway.journal().await[0]["sender"]["name"], CLIENT);
    assert_eq!(provider.requests("/token/introspection").await, 1);
    assert_eq!(provider.requests("/jwks").await, 0);
    let (status, _, problem) = gateway.publish("no-such-token", &event("x")).await;
    assert_eq!((status, &problem["detail"]), (401, &json!("token: it is not active")));
    provider.down().await;
    assert_eq!(gateway.publish("another-token", &event("x")).await.0, 503);
    assert_eq!(gateway.publish(&token, &event("x")).await.0, 202, "what is known stays known");
    assert_eq!(paho(&gateway, "", &token).await, "acknowledged 16");
}

#[tokio::test]
async fn tokens_of_two_providers_are_told_apart_and_one_may_be_down() {
    let provider = Provider::start().await;
    let mut other = OpaqueProvider::start().await;
    let directory = tempfile::tempdir().unwrap();
    let config = provider.config() + &other.config(directory.path());
    let gateway = Gateway::start_closed(PROGRAM, config).await;
    let (client, user) = (other.token("event-gateway").await, other.token("ann").await);
    assert_eq!(gateway.publish(&client, &event("1")).await.0, 202);
    assert_eq!(gateway.publish(&user, &event("2")).await.0, 202);
    assert_eq!(gateway.publish(&provider.token(HOUR).await, &event("3")).await.0, 202);
    let names: Vec<_> = gateway
        .journal()
        .await
        .into_iter()
        .map(|mut event| event["sender"]["name"].take())
        .collect();
    assert_eq!(names, ["event-gateway", "ann", CLIENT]);
    assert_eq!(gateway.publish("unknown", &event("4")).await.0, 401);
    other.kill().await;
    assert_eq!(gateway.publish("unknown too", &event("5")).await.0, 400, "no token has a space");
    assert_eq!(gateway.publish("unknown-too", &event("5")).await.0, 503);
    assert_eq!(gateway.publish(&provider.token(HOUR).await, &event("6")).await.0, 202);
}
