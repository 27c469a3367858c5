//! API keys and passwords: made and shown once, locked out when guessed, useless once revoked.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::time::Duration;

use eg_tests::gateway::{Gateway, OPEN_POLICY, Options};
use eg_tests::peers;
use eg_tests::provider::Provider;
use eg_tests::wait::until;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::PROGRAM;

fn event(id: &str) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/s", "type": "t" })
}

/// Gives a command as the first administrator, the key in a file.
async fn command(gateway: &Gateway, args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(args).kill_on_drop(true);
    command.env("EVENT_GATEWAY_SERVER", format!("http://{}", gateway.address("admin")));
    command.env("EVENT_GATEWAY_TOKEN_FILE", gateway.data().join("first-admin-key"));
    command.output().await.unwrap()
}

async fn give(gateway: &Gateway, args: &[&str]) -> Value {
    let output = command(gateway, &[&["-o", "json"], args].concat()).await;
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn publish_basic(gateway: &Gateway, name: &str, password: &str) -> reqwest::Response {
    let request = reqwest::Client::new().post(gateway.url("/events"));
    let request = request.basic_auth(name, Some(password));
    let request = request.header("content-type", "application/cloudevents+json");
    request.body(event("basic").to_string()).send().await.unwrap()
}

#[tokio::test]
async fn the_first_key_is_in_a_file_for_its_owner_alone_and_made_once() {
    let mut gateway = Gateway::start_closed(PROGRAM, String::new()).await;
    let file = gateway.data().join("first-admin-key");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = gateway.admin_key().unwrap();
    assert_eq!(gateway.publish(&key, &event("1")).await.0, 202);
    let listed = give(&gateway, &["token", "list"]).await;
    assert_eq!(
        (listed[0]["name"].as_str(), &listed[0]["roles"]),
        (Some("first-admin"), &json!(["admin"]))
    );

    std::fs::remove_file(&file).unwrap();
    gateway.kill().await;
    gateway.restart().await;
    assert!(!file.exists(), "there is an administrator already");
    assert_eq!(gateway.publish(&key, &event("2")).await.0, 202);
}

#[tokio::test]
async fn a_key_is_shown_once_works_everywhere_and_ends_when_it_is_revoked() {
    let gateway = Gateway::start_closed(PROGRAM, String::new()).await;
    let create = ["token", "create", "press", "--application", "shop", "--role", "device"];
    let made = give(&gateway, &create).await;
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert!(secret.starts_with("egk_"), "{secret}");
    let listed = command(&gateway, &["-o", "json", "token", "list"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains(id) && !listed.contains(secret) && !listed.contains("argon2"));

    assert_eq!(gateway.publish(secret, &event("1")).await.0, 202);
    assert_eq!(publish_basic(&gateway, "anything", secret).await.status(), 202);
    let mut mosquitto = peers::program("mosquitto_pub", "mosquitto-clients");
    let port = gateway.address("mqtt").port().to_string();
    mosquitto.args(["-p", &port, "-u", "press", "-P", secret, "-q", "1", "-t", "t", "-m", "x"]);
    peers::run(mosquitto).await;
    let client = reqwest::Client::new();
    let subscribed = client.get(gateway.url("/shop/v1/events/subscribed")).bearer_auth(secret);
    assert_eq!(subscribed.send().await.unwrap().status(), 200);
    let journal = gateway.journal().await;
    assert_eq!(journal.len(), 3);
    for event in &journal {
        assert_eq!(event["sender"], json!({ "name": "press", "method": "api-key" }));
    }

    give(&gateway, &["token", "revoke", id]).await;
    let (status, _, problem) = gateway.publish(secret, &event("2")).await;
    assert_eq!((status, &problem["detail"]), (401, &json!("the API key has been revoked")));
    let again = command(&gateway, &["token", "revoke", "0000000000000000"]).await;
    assert_eq!(again.status.code(), Some(1));
}

#[tokio::test]
async fn a_password_belongs_to_its_name_and_may_expire() {
    let gateway = Gateway::start_closed(PROGRAM, String::new()).await;
    let create = ["token", "create", "press", "--password", "--expires", "3s"];
    let secret = give(&gateway, &create).await["secret"].as_str().unwrap().to_owned();
    assert_eq!(publish_basic(&gateway, "press", &secret).await.status(), 202);
    assert_eq!(publish_basic(&gateway, "other", &secret).await.status(), 401);
    let twice = command(&gateway, &create).await;
    assert!(String::from_utf8_lossy(&twice.stderr).contains("already a password"), "{twice:?}");
    let answer = until("it expires", async || {
        let answer = publish_basic(&gateway, "press", &secret).await;
        (answer.status() != 202).then_some(answer)
    })
    .await;
    assert!(answer.text().await.unwrap().contains("the password has expired"));
    let past = ["token", "create", "past", "--expires", "2001-01-01T00:00:00Z"];
    let past = command(&gateway, &past).await;
    assert!(String::from_utf8_lossy(&past.stderr).contains("in.expiresAt"), "{past:?}");
}

#[tokio::test]
async fn guessing_is_locked_out_and_the_right_password_waits_too() {
    let config = "[auth]\nfailures_max = 3\nlock_out_seconds_max = 3\n".to_owned();
    let gateway = Gateway::start_closed(PROGRAM, config).await;
    let secret = give(&gateway, &["token", "create", "ann", "--password"]).await;
    let secret = secret["secret"].as_str().unwrap();
    for guess in ["a", "b", "c"] {
        assert_eq!(publish_basic(&gateway, "ann", guess).await.status(), 401);
    }
    let locked = publish_basic(&gateway, "ann", secret).await;
    assert_eq!(locked.status(), 429);
    assert_eq!(locked.headers()["retry-after"], "1");
    assert_eq!(publish_basic(&gateway, "bob", "a").await.status(), 401, "others are not");
    until("the lock-out ends", async || {
        (publish_basic(&gateway, "ann", secret).await.status() == 202).then_some(())
    })
    .await;
    assert_eq!(gateway.journal().await.len(), 1);
}

#[tokio::test]
async fn development_mode_checks_what_a_configured_method_can_check() {
    let provider = Provider::start().await;
    let options =
        Options { program: PROGRAM.into(), config: provider.config() + OPEN_POLICY, dev: true };
    let gateway = Gateway::start_with(options).await;
    let anonymous = reqwest::Client::new().post(gateway.url("/events"));
    let anonymous = anonymous.header("content-type", "application/cloudevents+json");
    let answer = anonymous.body(event("1").to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let token = provider.token(Duration::from_mins(1)).await;
    assert_eq!(gateway.publish(&token, &event("2")).await.0, 202);
    assert_eq!(gateway.publish(&token[1..], &event("3")).await.0, 401);
    assert_eq!(publish_basic(&gateway, "x", "no password was made").await.status(), 202);
    let senders: Vec<_> =
        gateway.journal().await.into_iter().map(|mut e| e["sender"]["name"].take()).collect();
    assert_eq!(senders, ["anonymous", "device", "anonymous"]);
}

#[tokio::test]
async fn the_management_port_asks_for_a_credential_too() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_closed(PROGRAM, provider.config()).await;
    let token = provider.token(Duration::from_mins(1)).await;
    let url = format!("http://{}/graphql", gateway.address("admin"));
    let ask = |token: String| {
        let request = reqwest::Client::new().post(&url).bearer_auth(token);
        request.json(&json!({ "query": "{ nextSequence }" })).send()
    };
    assert_eq!(ask(token.clone()).await.unwrap().status(), 200);
    let refused = ask(format!("{token}x")).await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.headers()["www-authenticate"].to_str().unwrap().contains("invalid_token"));
    let mut command = Command::new(PROGRAM);
    command.args(["subscription", "list"]).env("EVENT_GATEWAY_TOKEN", &token);
    command.env("EVENT_GATEWAY_SERVER", format!("http://{}", gateway.address("admin")));
    assert!(command.output().await.unwrap().status.success());
}

/// Sends the head of a request and half of its body.
async fn begin(gateway: &Gateway, listener: &str, head: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address(listener)).await.unwrap();
    let length = body.len();
    let head =
        format!("{head}\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..length / 2]).await.unwrap();
    stream
}

#[tokio::test]
async fn nothing_is_taken_whose_credential_is_revoked_before_its_end() {
    let gateway = Gateway::start_closed(PROGRAM, String::new()).await;
    let made = give(&gateway, &["token", "create", "shop", "--application", "shop"]).await;
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let head = |path: &str, content_type: &str| {
        let line = format!("POST {path} HTTP/1.1");
        format!("{line}\r\nauthorization: Bearer {secret}\r\ncontent-type: {content_type}")
    };
    let kyma = json!({
        "event-type": "t", "event-type-version": "v1", "event-time": "2018-10-16T15:00:00Z",
        "data": 1
    });
    let mutation = json!({ "query":
        "mutation { createCredential(in: { name: \"mole\", roles: [\"admin\"] }) { secret } }" });
    let rows = [
        ("http", head("/events", "application/cloudevents+json"), event("1")),
        ("http", head("/shop/v1/events", "application/json"), kyma),
        ("admin", head("/graphql", "application/json"), mutation),
    ];
    let mut halves = Vec::new();
    for (listener, head, body) in &rows {
        let body = body.to_string();
        halves.push((begin(&gateway, listener, head, &body).await, body));
    }
    let metrics = format!("http://{}/metrics", gateway.address("admin"));
    let recognized = || reqwest::Client::new().get(&metrics).bearer_auth(secret).send();
    assert_eq!(recognized().await.unwrap().status(), 200, "the key is good, and known by now");
    give(&gateway, &["token", "revoke", id]).await;
    for (mut stream, body) in halves {
        stream.write_all(&body.as_bytes()[body.len() / 2..]).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(answer.contains("the API key has been revoked"), "{answer}");
    }
    assert_eq!(gateway.journal().await.len(), 0);
    let listed = give(&gateway, &["token", "list"]).await;
    assert!(!listed.to_string().contains("mole"), "{listed}");
}

#[tokio::test]
async fn attempts_that_fail_are_counted_by_protocol_and_reason() {
    let gateway = Gateway::start_closed(PROGRAM, String::new()).await;
    give(&gateway, &["token", "create", "ann", "--password"]).await;
    assert_eq!(publish_basic(&gateway, "ann", "guess").await.status(), 401);
    assert_eq!(publish_basic(&gateway, "ann", "guess").await.status(), 401);
    let nobody = reqwest::get(format!("http://{}/metrics", gateway.address("admin"))).await;
    assert_eq!(nobody.unwrap().status(), 401);
    let mut mosquitto = peers::program("mosquitto_pub", "mosquitto-clients");
    let port = gateway.address("mqtt").port().to_string();
    mosquitto.args(["-p", &port, "-u", "ann", "-P", "guess", "-t", "t", "-m", "x"]);
    assert!(!mosquitto.output().await.unwrap().status.success());
    let metrics = reqwest::Client::new()
        .get(format!("http://{}/metrics", gateway.address("admin")))
        .bearer_auth(gateway.admin_key().unwrap());
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    for (protocol, reason, count) in [
        ("http", "invalid", 2),
        ("mqtt", "invalid", 1),
        ("admin", "missing", 1),
        ("http", "locked_out", 0),
    ] {
        let name = "event_gateway_authentication_failures_total";
        let line = format!("{name}{{protocol=\"{protocol}\",reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}
