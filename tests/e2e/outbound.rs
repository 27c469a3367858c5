//! Authentication towards receivers: tokens of a real provider, client certificates that OpenSSL
//! issued, CSRF tokens; and that no secret is found anywhere.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_tests::gateway::{Gateway, Options};
use eg_tests::openssl::Authority;
use eg_tests::peers;
use eg_tests::provider::{CLIENT, Provider};
use eg_tests::subscriber::{Pushed, Reaction, Subscriber};
use eg_tests::wait::{DEADLINE, until};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::PROGRAM;

async fn publish(gateway: &Gateway, id: &str) {
    let event = json!({ "specversion": "1.0", "type": "t", "source": "/s", "id": id, "data": 1 });
    let request = reqwest::Client::new().post(gateway.url("/events"));
    let request = request.header("content-type", "application/cloudevents+json");
    let answer = request.body(event.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}

async fn subscribe(gateway: &Gateway, name: &str, endpoint: &str, auth: &Value) {
    let retry = json!({ "initialDelayMs": 100, "maxDelayMs": 300, "maxAttempts": 1000 });
    let input = json!({ "name": name, "endpoint": endpoint, "auth": auth, "retry": retry });
    gateway.subscribe(input).await;
}

async fn delivered(gateway: &Gateway, name: &str, count: u64) {
    until("the events are delivered", async || {
        (gateway.subscription(name).await["delivered"] == count).then_some(())
    })
    .await;
}

/// What came of each attempt at the event `id` for the first subscription: nothing when it arrived.
async fn attempts(gateway: &Gateway, id: &str) -> Vec<String> {
    let query = "query($id: String!) { event(source: \"/s\", id: $id) { \
        subscriptions { attempts { reason } } } }";
    let journey = gateway.graphql(query, json!({ "id": id })).await;
    let attempts = journey["event"]["subscriptions"][0]["attempts"].as_array().cloned();
    let reason = |attempt: &Value| attempt["reason"].as_str().unwrap_or_default().to_owned();
    attempts.unwrap_or_default().iter().map(reason).collect()
}

fn oauth(provider: &Provider) -> Value {
    json!({ "credential": { "oauth": { "clientId": CLIENT, "clientSecret": "device-secret",
        "url": format!("{}/token", provider.issuer()), "scopes": ["publish"],
        "resource": "urn:event-gateway" } } })
}

/// A receiver in a process of its own, which says `url URL` and then a line for each request.
struct Receiver {
    _child: Child,
    url: String,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(DEADLINE, lines.next_line()).await;
        let first = first.expect("it listens in time").unwrap().unwrap();
        let url = first.strip_prefix("url ").unwrap().to_owned();
        let seen = Arc::<Mutex<Vec<Value>>>::default();
        let list = Arc::clone(&seen);
        #[expect(clippy::disallowed_methods, reason = "it ends with the receiver")]
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                list.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { _child: child, url, seen }
    }

    /// One that verifies tokens as a resource server does: signature, issuer, audience, expiry.
    async fn of_tokens(provider: &Provider) -> Self {
        let mut command = peers::node("token_receiver.cjs");
        command.arg(provider.issuer());
        Self::start(command).await
    }

    fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }

    /// Every token that was good is refused from now on.
    async fn revoke(&self) {
        let url = self.url.replace("/hook", "/test/revoke");
        reqwest::Client::new().post(url).send().await.unwrap();
    }
}

#[tokio::test]
async fn tokens_are_renewed_before_they_end_and_no_attempt_fails() {
    let provider = Provider::start().await;
    provider.set_lifetime(Duration::from_secs(4)).await;
    let receiver = Receiver::of_tokens(&provider).await;
    let gateway = Gateway::start(PROGRAM).await;
    subscribe(&gateway, "s", &receiver.url, &oauth(&provider)).await;
    let mut count = 0;
    until("four tokens were fetched", async || {
        count += 1;
        publish(&gateway, &count.to_string()).await;
        (provider.requests("/token").await >= 4).then_some(())
    })
    .await;
    delivered(&gateway, "s", count).await;
    let seen = receiver.seen();
    assert_eq!(seen.len() as u64, count, "each event was sent once");
    assert!(seen.iter().all(|one| one["status"] == 204 && one["sub"] == CLIENT), "{seen:?}");
    assert!(count > 20, "there were far more events than tokens: {count}");
    assert!(provider.requests("/token").await <= 5);
}

#[tokio::test]
async fn a_provider_that_is_down_fails_attempts_with_its_answer_until_it_is_back() {
    let mut provider = Provider::start().await;
    let receiver = Receiver::of_tokens(&provider).await;
    let gateway = Gateway::start(PROGRAM).await;
    subscribe(&gateway, "s", &receiver.url, &oauth(&provider)).await;
    provider.down().await;
    publish(&gateway, "1").await;
    until("an attempt has failed", async || {
        let reasons = attempts(&gateway, "1").await;
        reasons
            .first()
            .is_some_and(|reason| reason == "the token endpoint answered 503")
            .then_some(())
    })
    .await;
    assert!(receiver.seen().is_empty(), "nothing is sent without a token");
    provider.up().await;
    delivered(&gateway, "s", 1).await;

    receiver.revoke().await;
    publish(&gateway, "2").await;
    delivered(&gateway, "s", 2).await;
    let reasons = attempts(&gateway, "2").await;
    let expected =
        "answered 401: revoked; the token is thrown away, the next attempt has a new one";
    assert_eq!(reasons, [expected, ""]);
    assert_eq!(receiver.seen().len(), 3);

    provider.kill().await;
    receiver.revoke().await;
    publish(&gateway, "3").await;
    until("an attempt says that nobody is there", async || {
        let reasons = attempts(&gateway, "3").await;
        reasons
            .iter()
            .any(|reason| reason == "the token endpoint: connection refused")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_the_provider_does_not_know_is_told_so() {
    let provider = Provider::start().await;
    let receiver = Receiver::of_tokens(&provider).await;
    let gateway = Gateway::start(PROGRAM).await;
    let mut auth = oauth(&provider);
    auth["credential"]["oauth"]["clientSecret"] = json!("wrong-s3cret");
    subscribe(&gateway, "s", &receiver.url, &auth).await;
    let query = "mutation { testSubscription(name: \"s\") { delivered reason } }";
    let result = gateway.graphql(query, json!({})).await["testSubscription"].take();
    assert_eq!(result["reason"], "the token endpoint answered 401: invalid_client");
}

#[tokio::test]
async fn a_receiver_sees_the_certificate_of_each_subscription_and_no_other() {
    let authority = Authority::create("Receivers").await;
    authority.issue("server", &["-extensions", "server"]).await;
    for name in ["one", "two"] {
        authority.issue(name, &[]).await;
    }
    let mut command = peers::python("mtls_receiver.py");
    command.args(["server.pem", "server.key", "ca.pem"].map(|name| authority.file(name)));
    let receiver = Receiver::start(command).await;
    let config = format!("[push]\nca_file = {:?}\n", authority.file("ca.pem"));
    let gateway = Gateway::start_with(Options { program: PROGRAM.into(), config, dev: true }).await;
    let read = |name: &str| std::fs::read_to_string(authority.file(name)).unwrap();
    for name in ["one", "two"] {
        let certificate = json!({ "certificateChain": read(&format!("{name}.pem")),
            "privateKey": read(&format!("{name}.key")) });
        subscribe(&gateway, name, &receiver.url, &json!({ "certificate": certificate })).await;
    }
    subscribe(&gateway, "none", &receiver.url, &Value::Null).await;
    for count in 1..=5 {
        publish(&gateway, &count.to_string()).await;
        delivered(&gateway, "one", count).await;
        delivered(&gateway, "two", count).await;
    }
    let seen = receiver.seen();
    let of = |name: &str| seen.iter().filter(|one| one["name"] == name).count();
    assert_eq!((seen.len(), of("one"), of("two")), (10, 5, 5), "{seen:?}");
    let reason = until("the one without a certificate is refused", async || {
        gateway.subscription("none").await["reason"].as_str().map(str::to_owned)
    })
    .await;
    assert!(!reason.is_empty());

    let query = "{ subscription(name: \"one\") { auth { certificate { subject issuer } } } }";
    let shown = gateway.graphql(query, json!({})).await["subscription"]["auth"].take();
    assert_eq!(shown, json!({ "certificate": { "subject": "CN=one", "issuer": "CN=Receivers" } }));
}

#[tokio::test]
async fn what_a_certificate_cannot_be_is_said_when_the_subscription_is_made() {
    let authority = Authority::create("Receivers").await;
    for name in ["one", "two"] {
        authority.issue(name, &[]).await;
    }
    let gateway = Gateway::start(PROGRAM).await;
    let read = |name: &str| std::fs::read_to_string(authority.file(name)).unwrap();
    let (chain, key, other) = (read("one.pem"), read("one.key"), read("two.key"));
    let rows = [
        ("https://x.test/", "no PEM", &*key, "auth.certificate.certificateChain"),
        ("https://x.test/", &chain, "no PEM", "auth.certificate.privateKey"),
        ("https://x.test/", &chain, &other, "auth.certificate.privateKey"),
        ("http://x.test/", &chain, &key, "auth.certificate"),
    ];
    for (endpoint, chain, key, field) in rows {
        let certificate = json!({ "certificateChain": chain, "privateKey": key });
        let auth = json!({ "certificate": certificate });
        let input = json!({ "in": { "name": "s", "endpoint": endpoint, "auth": auth } });
        let query = "mutation($in: SubscriptionInput!) { createSubscription(in: $in) { name } }";
        let answer = gateway.graphql_raw(query, input).await;
        assert_eq!(answer["errors"][0]["extensions"]["field"], field, "{answer}");
        assert!(!answer.to_string().contains("PRIVATE"), "{answer}");
    }
}

#[tokio::test]
async fn a_csrf_token_is_fetched_sent_with_its_cookies_and_fetched_anew_when_refused() {
    let current = Arc::new(AtomicU32::new(1));
    let script = Arc::clone(&current);
    let receiver =
        Subscriber::scripted(move |pushed, _| csrf(pushed, script.load(Ordering::SeqCst))).await;
    let gateway = Gateway::start(PROGRAM).await;
    let fetch = receiver.url().replace("/hook", "/csrf");
    let basic = json!({ "basic": { "username": "ann", "password": "pa:ss" } });
    let auth = json!({ "credential": basic, "requestAuth": { "csrf": { "tokenEndpointURL": fetch,
        "credential": basic, "additionalQueryParams": { "client": ["001"] } } } });
    subscribe(&gateway, "s", &receiver.url(), &auth).await;
    for id in ["1", "2"] {
        publish(&gateway, id).await;
    }
    delivered(&gateway, "s", 2).await;
    current.store(2, Ordering::SeqCst);
    publish(&gateway, "3").await;
    delivered(&gateway, "s", 3).await;
    let paths: Vec<_> = receiver.pushed().into_iter().map(|pushed| pushed.path).collect();
    let fetched = paths.iter().filter(|path| *path == "/csrf?client=001").count();
    assert_eq!((fetched, paths.len()), (2, 6), "{paths:?}");
    let reasons = attempts(&gateway, "3").await;
    let expected = "answered 403; the CSRF token is thrown away, the next attempt has a new one";
    assert_eq!(reasons, [expected, ""]);
}

/// A receiver whose CSRF token is the one with this number.
fn csrf(pushed: &Pushed, number: u32) -> Reaction {
    let header = |name: &str| pushed.headers.get(name).map_or("", String::as_str);
    let answer = |status, pairs: &[(&str, String)]| {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Reaction::Status(status, pairs.collect())
    };
    if header("authorization") != format!("Basic {}", BASE64.encode("ann:pa:ss")) {
        return answer(401, &[]);
    }
    let (token, cookie) = (format!("t{number}"), format!("session=s{number}"));
    if pushed.path.starts_with("/csrf") && header("x-csrf-token") == "fetch" {
        let cookie = format!("{cookie}; Path=/; HttpOnly");
        return answer(200, &[("x-csrf-token", token), ("set-cookie", cookie)]);
    }
    if header("x-csrf-token") == token && header("cookie") == cookie {
        return answer(204, &[]);
    }
    answer(403, &[("x-csrf-token", "Required".to_owned())])
}

const SECRETS: [&str; 7] = [
    "basic-passw0rd-of-ann",
    "header-va1ue-of-ann",
    "query-va1ue-of-ann",
    "csrf-client-s3cret",
    "csrf-header-va1ue",
    "t0ken-of-the-receiver",
    "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
];

#[tokio::test]
async fn no_secret_is_found_in_the_data_the_log_the_answers_or_the_audit_events() {
    let directory = tempfile::tempdir().unwrap();
    let (log, program) = (directory.path().join("log"), directory.path().join("gateway"));
    let script = format!("#!/bin/sh\nexec {PROGRAM} \"$@\" 2>>{}\n", log.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
    let receiver = Subscriber::scripted(|pushed, _| demanding(pushed)).await;
    let config = "[log]\nfilter = \"trace\"\n".to_owned();
    let mut gateway = Gateway::start_with(Options { program, config, dev: true }).await;
    let authority = Authority::create("Receivers").await;
    authority.issue("one", &[]).await;
    let key = std::fs::read_to_string(authority.file("one.key")).unwrap();
    let key_line = key.lines().nth(3).unwrap().to_owned();
    let auth_file = directory.path().join("auth.json");
    std::fs::write(&auth_file, auth(&receiver).to_string()).unwrap();
    let said = create(&gateway, &receiver.url(), &auth_file, directory.path()).await;
    let certificate = json!({ "privateKey": key,
        "certificateChain": std::fs::read_to_string(authority.file("one.pem")).unwrap() });
    let certificate = json!({ "certificate": certificate });
    subscribe(&gateway, "tls", "https://localhost:1/", &certificate).await;
    publish(&gateway, "1").await;
    publish(&gateway, "2").await;
    delivered(&gateway, "s", 1).await;
    until("attempts at the other have failed", async || {
        (attempts(&gateway, "2").await.len() > 2).then_some(())
    })
    .await;
    let pushed = receiver.pushed();
    let sent = format!("{pushed:?}");
    let basic = BASE64.encode(format!("ann:{}", SECRETS[0]));
    let secrets: Vec<_> = SECRETS.iter().copied().chain([&*basic, &*key_line]).collect();
    for secret in secrets.iter().take(3).chain(&secrets[4..6]).filter(|s| **s != SECRETS[0]) {
        assert!(sent.contains(secret), "{secret} was used");
    }
    let mut found = vec![("the command", said)];
    found.push(("subscription", shown(&gateway).await));
    found.push(("journal", format!("{:?}", gateway.whole_journal().await)));
    found.push(("attempts", attempts(&gateway, "2").await.concat()));
    assert_eq!(gateway.stop().await, Some(0));
    found.push(("log", std::fs::read_to_string(&log).unwrap()));
    for (place, text) in &found {
        assert!(text.len() > 20, "{place} says something: {text}");
        for secret in &secrets {
            assert!(!text.contains(secret), "{secret} is in {place}: {text}");
        }
    }
    let log = &found.last().unwrap().1;
    assert!(log.contains("TRACE"), "everything is logged");
    let mut data = Vec::new();
    read_below(&gateway.data(), &mut data);
    let holds = |text: &str| data.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(&receiver.url()), "what is no secret is found");
    for secret in &secrets {
        assert!(!holds(secret), "{secret} is in the data directory");
    }
}

/// Gives tokens, takes the first event and fails at the second.
fn demanding(pushed: &Pushed) -> Reaction {
    let token = json!({ "access_token": SECRETS[5], "token_type": "Bearer" }).to_string();
    match &*pushed.path {
        "/token" => Reaction::Text(200, token),
        "/csrf" => Reaction::Status(200, vec![("x-csrf-token".to_owned(), SECRETS[5].to_owned())]),
        _ if pushed.id() == "2" => Reaction::Status(500, Vec::new()),
        _ => Reaction::Status(204, Vec::new()),
    }
}

fn auth(receiver: &Subscriber) -> Value {
    let at = |path: &str| receiver.url().replace("/hook", path);
    json!({
        "credential": { "basic": { "username": "ann", "password": SECRETS[0] } },
        "additionalHeaders": { "x-key": [SECRETS[1]] },
        "additionalQueryParams": { "key": [SECRETS[2]] },
        "requestAuth": { "csrf": {
            "tokenEndpointURL": at("/csrf"),
            "credential": { "oauth": { "clientId": "ann", "clientSecret": SECRETS[3],
                "url": at("/token"), "clientAuthentication": "POST" } },
            "additionalHeaders": { "x-key": [SECRETS[4]] },
        } },
    })
}

/// Makes the subscription by the command; gives back what it printed.
async fn create(gateway: &Gateway, endpoint: &str, auth_file: &Path, directory: &Path) -> String {
    let signing = directory.join("signing");
    std::fs::write(&signing, format!("whsec_{}", SECRETS[6])).unwrap();
    let mut command = Command::new(PROGRAM);
    command.env("EVENT_GATEWAY_SERVER", format!("http://{}", gateway.address("admin")));
    command.args(["subscription", "create", "s", "--endpoint", endpoint]);
    command.args(["--retry-initial-delay-ms", "50", "--retry-max-delay-ms", "100", "--auth-file"]);
    command.arg(auth_file).arg("--signing-secret-file").arg(signing).args(["-o", "json"]);
    let output = peers::run(command).await;
    String::from_utf8(output.stdout).unwrap()
}

/// What the management API shows of the authentication.
async fn shown(gateway: &Gateway) -> String {
    let query = "{ subscription(name: \"s\") { auth { \
        credential { ... on BasicCredentialData { username } } \
        additionalHeaders additionalQueryParams requestAuth { csrf { tokenEndpointURL \
        credential { ... on OAuthCredentialData { clientId url clientAuthentication } } \
        additionalHeaders } } } } }";
    let shown = gateway.graphql(query, json!({})).await;
    let auth = &shown["subscription"]["auth"];
    assert_eq!(auth["credential"]["username"], "ann");
    assert_eq!(auth["additionalHeaders"], json!({ "x-key": [] }));
    assert_eq!(auth["requestAuth"]["csrf"]["credential"]["clientId"], "ann");
    shown.to_string()
}

/// The bytes of every file below `folder`.
fn read_below(folder: &Path, bytes: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_below(&path, bytes);
        } else {
            bytes.extend(std::fs::read(&path).unwrap());
        }
    }
}

#[tokio::test]
async fn another_key_is_refused_at_start_and_a_new_one_takes_over_from_the_old() {
    let directory = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let mut command = Command::new(PROGRAM);
        command.args(["secret-key", "create", "-o", "json"]).arg(directory.path().join(name));
        let made: Value = serde_json::from_slice(&peers::run(command).await.stdout).unwrap();
        ids.push(made["key"].as_str().unwrap().to_owned());
    }
    let file = |name: &str| format!("{:?}", directory.path().join(name));
    let receiver = Subscriber::start().await;
    let config = format!("[secrets]\nkey_file = {}\n", file("a"));
    let mut gateway =
        Gateway::start_with(Options { program: PROGRAM.into(), config, dev: true }).await;
    let basic = json!({ "credential": { "basic": { "username": "ann", "password": "s3cret" } } });
    subscribe(&gateway, "s", &receiver.url(), &basic).await;
    assert_eq!(gateway.stop().await, Some(0));
    assert!(!gateway.data().join("secret-key").exists());

    let mut other = Command::new(PROGRAM);
    let key = directory.path().join("b");
    other.args(["serve", "--dev", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--admin"]);
    other.args(["127.0.0.1:0", "--data"]).arg(gateway.data()).kill_on_drop(true);
    other.env("EVENT_GATEWAY__SECRETS__KEY_FILE", key);
    let refused = tokio::time::timeout(DEADLINE, other.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&ids[0]) && said.contains(&ids[1]), "{said}");

    let both =
        format!("[secrets]\nkey_file = {}\nprevious_key_files = [{}]\n", file("b"), file("a"));
    let new = format!("[secrets]\nkey_file = {}\n", file("b"));
    for (id, config) in [("1", both), ("2", new)] {
        gateway.restart_with(&config).await;
        publish(&gateway, id).await;
        until("it is delivered", async || receiver.ids().contains(id).then_some(())).await;
        assert_eq!(gateway.stop().await, Some(0));
    }
    let password = format!("Basic {}", BASE64.encode("ann:s3cret"));
    assert!(receiver.pushed().iter().all(|pushed| pushed.headers["authorization"] == password));
}

#[tokio::test]
async fn secrets_are_kept_by_an_update_but_do_not_follow_to_another_host() {
    let receiver = Subscriber::start().await;
    let gateway = Gateway::start(PROGRAM).await;
    let basic = json!({ "credential": { "basic": { "username": "ann", "password": "s3cret" } } });
    subscribe(&gateway, "s", &receiver.url(), &basic).await;
    let update = async |endpoint: &str, auth: Option<Value>| {
        let mut input = json!({ "name": "s", "endpoint": endpoint });
        if let Some(auth) = auth {
            input["auth"] = auth;
        }
        let query = "mutation($in: SubscriptionInput!) { updateSubscription(name: \"s\", in: $in) \
            { auth { credential { ... on BasicCredentialData { username } } } } }";
        gateway.graphql_raw(query, json!({ "in": input })).await
    };
    let other_path = receiver.url().replace("/hook", "/other");
    let kept = update(&other_path, None).await;
    assert_eq!(kept["data"]["updateSubscription"]["auth"]["credential"]["username"], "ann");
    publish(&gateway, "1").await;
    delivered(&gateway, "s", 1).await;
    let pushed = receiver.pushed().remove(0);
    assert_eq!((&*pushed.path, pushed.headers.contains_key("authorization")), ("/other", true));
    let elsewhere = update("http://127.0.0.2:9/", None).await;
    assert_eq!(elsewhere["errors"][0]["extensions"]["field"], "auth", "{elsewhere}");
    let removed = update("http://127.0.0.2:9/", Some(Value::Null)).await;
    assert_eq!(removed["data"]["updateSubscription"]["auth"], Value::Null, "{removed}");
}
