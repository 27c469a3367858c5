//! MQTT clients that nobody here wrote, recognized by the tokens of a real OpenID provider.

use std::process::Stdio;
use std::time::Duration;

use eg_tests::gateway::{Gateway, OPEN_POLICY, Options};
use eg_tests::peers;
use eg_tests::provider::{AUDIENCE, CLIENT, Provider};
use eg_tests::wait::{until, until_within};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Child;

use crate::PROGRAM;

const HOUR: Duration = Duration::from_hours(1);

/// A gateway that takes the tokens of a provider; in development mode also whoever presents
/// nothing.
async fn start(dev: bool) -> (Gateway, Provider) {
    let provider = Provider::start().await;
    let config = provider.config() + OPEN_POLICY;
    (Gateway::start_with(Options { program: PROGRAM.into(), config, dev }).await, provider)
}

async fn mqttjs(gateway: &Gateway, provider: &Provider, args: &[&str]) -> String {
    let mut command = peers::node("mqttjs_token.cjs");
    let url = format!("mqtt://{}", gateway.address("mqtt"));
    command.arg(url).arg(provider.issuer()).args(args);
    String::from_utf8(peers::run(command).await.stdout).unwrap()
}

async fn paho(gateway: &Gateway, version: &str, token: &str) -> String {
    ended(paho_with(gateway, version, token).await).await
}

/// A client that has this for its password.
async fn paho_with(gateway: &Gateway, version: &str, token: &str) -> Child {
    let mut command = peers::python("paho_lifetime.py");
    let port = gateway.address("mqtt").port().to_string();
    command.args([&port, version]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(token.as_bytes()).await.unwrap();
    child
}

async fn ended(child: Child) -> String {
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// What the metrics say of this counter.
async fn counted(gateway: &Gateway, counter: &str) -> u64 {
    let url = format!("http://{}/metrics", gateway.address("admin"));
    let mut request = reqwest::Client::new().get(url);
    if let Ok(key) = std::fs::read_to_string(gateway.data().join("first-admin-key")) {
        request = request.bearer_auth(key.trim());
    }
    let metrics = request.send().await.unwrap().text().await.unwrap();
    let value = metrics.lines().find_map(|line| line.strip_prefix(counter));
    value.expect("the counter is among the metrics").trim().parse().unwrap()
}

/// The payloads of what was published to `topic`.
async fn published(gateway: &Gateway, topic: &str) -> usize {
    let journal = gateway.journal().await;
    journal.iter().filter(|event| event["origin"]["address"] == topic).count()
}

#[tokio::test]
async fn a_session_outlives_its_tokens_without_a_reconnect() {
    let (gateway, provider) = start(true).await;
    // Each token lasts for three seconds at the most, and twelve follow one another by a second.
    let told = mqttjs(&gateway, &provider, &["3", "renew", "12"]).await;
    let words: Vec<&str> = told.split_whitespace().collect();
    assert_eq!((words[0], words[1], words[2]), ("renewed", "12", "acknowledged"));
    let acknowledged: usize = words[3].parse().unwrap();
    assert!(acknowledged > 100, "{told}");
    assert_eq!(published(&gateway, "tokens/mqttjs").await, acknowledged);
    assert_eq!(published(&gateway, "lost/renew").await, 0);
    let journal = gateway.journal().await;
    assert!(journal.iter().all(|event| event["sender"]["name"] == "device"), "{journal:?}");
    let renewed = "event_gateway_mqtt_reauthentications_total{protocol=\"mqtt\"}";
    assert_eq!(counted(&gateway, renewed).await, 12);
}

#[tokio::test]
async fn without_renewal_a_session_ends_at_expiry_with_its_code_and_its_will() {
    let (gateway, provider) = start(true).await;
    let told = mqttjs(&gateway, &provider, &["3", "expire"]).await;
    let (warned, ended) = told.split_once('\n').unwrap();
    let seconds: u32 = warned.strip_prefix("expires in ").unwrap().parse().unwrap();
    assert!(seconds <= 1, "{warned}");
    assert_eq!(ended, "disconnect 160 the credential has expired\n");
    let lost = async || (published(&gateway, "lost/expire").await == 1).then_some(());
    until("the will is there", lost).await;
    let ended = "event_gateway_mqtt_connections_ended_total{protocol=\"mqtt\",reason=\"expired\"}";
    assert_eq!(counted(&gateway, ended).await, 1);
}

#[tokio::test]
async fn a_token_as_the_password_lasts_as_long_as_it_holds() {
    let (gateway, provider) = start(true).await;
    let token = provider.token(Duration::from_secs(3)).await;
    let (newer, older) = tokio::join!(paho(&gateway, "5", &token), paho(&gateway, "311", &token));
    assert_eq!(
        (newer.as_str(), older.as_str()),
        ("acknowledged\nended 160\n", "acknowledged\nended none\n")
    );
    assert_eq!(published(&gateway, "tokens/paho").await, 2);
    let lost = async || (published(&gateway, "lost/paho").await == 2).then_some(());
    until("both wills are there", lost).await;
}

#[tokio::test]
async fn a_revoked_key_ends_its_connections_within_a_second() {
    let config = OPEN_POLICY.to_owned();
    let options = Options { program: PROGRAM.into(), config, dev: true };
    let gateway = Gateway::start_with(options).await;
    let make = "mutation($in: CredentialInput!) { createCredential(in: $in) { \
        secret credential { id } } }";
    let key = async |name: &str| {
        let input = json!({ "in": { "name": name, "kind": "API_KEY" } });
        gateway.graphql(make, input).await["createCredential"].take()
    };
    let (first, other) = (key("first").await, key("other").await);
    let secret = |key: &Value| key["secret"].as_str().unwrap().to_owned();
    let newer = paho_with(&gateway, "5", &secret(&first)).await;
    let older = paho_with(&gateway, "311", &secret(&other)).await;
    let both = async || (published(&gateway, "tokens/paho").await == 2).then_some(());
    until("both have published", both).await;
    let revoked =
        "event_gateway_mqtt_connections_ended_total{protocol=\"mqtt\",reason=\"revoked\"}";
    for (number, (key, client, told)) in
        [(first, newer, "ended 152"), (other, older, "ended none")].into_iter().enumerate()
    {
        assert_eq!(counted(&gateway, revoked).await, number as u64);
        let revoke = "mutation($id: ID!) { revokeCredential(id: $id) { id } }";
        gateway.graphql(revoke, json!({ "id": key["credential"]["id"] })).await;
        let cut = async || (counted(&gateway, revoked).await > number as u64).then_some(());
        until_within(Duration::from_secs(1), "it is cut", cut).await;
        assert_eq!(ended(client).await, format!("acknowledged\n{told}\n"));
        assert_eq!(paho(&gateway, "5", &secret(&key)).await, "refused 134\n");
    }
}

#[tokio::test]
async fn each_way_not_to_be_let_in_has_its_code() {
    let (gateway, provider) = start(false).await;
    let good = provider.token(HOUR).await;
    let key = provider.keys().await["RS256"].clone();
    let claims = json!({ "iss": provider.issuer(), "aud": AUDIENCE, "sub": CLIENT, "exp": 1 });
    let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": key });
    let old = provider.sign(json!({ "header": header, "payload": claims })).await;
    for (token, code) in [(format!("{good}A"), 0x86), (old, 0x87)] {
        for version in ["5", "311"] {
            assert_eq!(paho(&gateway, version, &token).await, format!("refused {code}\n"));
        }
    }
    provider.down().await;
    let options = Options { program: PROGRAM.into(), config: provider.config(), dev: false };
    let without_keys = Gateway::start_with(options).await;
    for version in ["5", "311"] {
        assert_eq!(paho(&without_keys, version, &good).await, format!("refused {}\n", 0x88));
    }
    let refused = |reason| {
        let name = "event_gateway_mqtt_connects_refused_total";
        format!("{name}{{protocol=\"mqtt\",reason=\"{reason}\"}}")
    };
    assert_eq!(counted(&gateway, &refused("bad_user_name_or_password")).await, 2);
    assert_eq!(counted(&gateway, &refused("credential_expired")).await, 2);
    assert_eq!(counted(&without_keys, &refused("server_unavailable")).await, 2);
}

#[tokio::test]
async fn who_came_with_a_token_goes_with_its_issuer() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_closed(PROGRAM, provider.config()).await;
    let token = provider.token(HOUR).await;
    let client = paho_with(&gateway, "5", &token).await;
    let connected = async || (published(&gateway, "tokens/paho").await == 1).then_some(());
    until("it has published", connected).await;
    let without = gateway.config().replace(provider.issuer(), "https://other.example");
    gateway.reload(&without).await;
    assert_eq!(ended(client).await, "acknowledged\nended 152\n");
    assert_eq!(paho(&gateway, "5", &token).await, "refused 134\n");
}
