//! What changes of event definitions is followed by a client of GraphQL over WebSocket.

use std::process::Stdio;
use std::time::Duration;

use eg_event::Clock;
use eg_tests::gateway::{Gateway, Options};
use eg_tests::peers;
use eg_tests::wait::DEADLINE;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::PROGRAM;

struct Follower {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(gateway: &Gateway, token: Option<&str>) -> Self {
        let mut command = peers::node("follow_events.cjs");
        command.arg(format!("ws://{}/graphql", gateway.address("admin"))).args(token);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, lines }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(DEADLINE, self.lines.next_line()).await;
        line.expect("it says something in time").unwrap().unwrap_or_default()
    }

    async fn told(&mut self) -> Value {
        serde_json::from_str(&self.line().await).unwrap()
    }
}

const SPEC: &str = "asyncapi: 3.0.0\ninfo: {title: Lamps, version: '1'}\n";
const CREATE: &str = "mutation($in: ApplicationInput!) { createApplication(in: $in) { id } }";

async fn token(gateway: &Gateway, name: &str, role: &str) -> (String, String) {
    expiring_token(gateway, name, role, None).await
}

async fn expiring_token(
    gateway: &Gateway,
    name: &str,
    role: &str,
    expires_at: Option<String>,
) -> (String, String) {
    let query = "mutation($in: CredentialInput!) { createCredential(in: $in) { secret \
        credential { id } } }";
    let input = json!({ "name": name, "kind": "API_KEY", "roles": [role],
        "expiresAt": expires_at });
    let made = gateway.graphql(query, json!({ "in": input })).await;
    let made = &made["createCredential"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["secret"]), text(&made["credential"]["id"]))
}

async fn register(gateway: &Gateway, name: &str) -> Value {
    let spec = json!({ "spec": { "data": SPEC, "eventSpecType": "ASYNC_API" } });
    let input = json!({ "in": { "name": name, "eventAPIs": [spec] } });
    gateway.graphql(CREATE, input).await["createApplication"]["id"].take()
}

#[tokio::test]
async fn changes_are_followed_until_the_credential_is_revoked() {
    let options = Options { program: PROGRAM.into(), config: String::new(), dev: false };
    let gateway = Gateway::start_with(options).await;
    let (secret, id) = token(&gateway, "agent", "application:read").await;
    let mut follower = Follower::start(&gateway, Some(&secret));
    assert_eq!(follower.line().await, "connected");
    let refused = follower.told().await;
    let text = refused["errors"][0]["message"].as_str().unwrap();
    assert!(text.starts_with("expected a subscription"), "{refused}");

    // Messages are taken in order: once the refusal is there, the subscription after it may still
    // be on its way, so something is registered until it is seen.
    let mut number = 0;
    let first = loop {
        number += 1;
        register(&gateway, &format!("lamps-{number}")).await;
        let wait = Duration::from_millis(500);
        if let Ok(told) = tokio::time::timeout(wait, follower.told()).await {
            break told;
        }
    };
    let application = &first["data"]["eventsChanged"];
    assert_eq!((&application["kind"], &application["eventAPI"]), (&json!("CREATED"), &Value::Null));
    let definition = follower.told().await;
    let definition = &definition["data"]["eventsChanged"];
    assert_eq!(definition["applicationID"], application["applicationID"]);
    assert_eq!(definition["eventAPI"]["name"], "Lamps");
    let url = definition["eventAPI"]["application"]["eventingConfiguration"]["defaultURL"].clone();
    assert!(url.as_str().unwrap().starts_with(&gateway.url("/lamps-")), "{url}");

    let delete = "mutation($id: ID!) { deleteApplication(id: $id) { id } }";
    gateway.graphql(delete, json!({ "id": definition["applicationID"] })).await;
    // What else was registered meanwhile is told before.
    while follower.told().await["data"]["eventsChanged"]["kind"] != "DELETED" {}

    let revoke = "mutation($id: ID!) { revokeCredential(id: $id) { id } }";
    gateway.graphql(revoke, json!({ "id": id })).await;
    assert_eq!(follower.told().await, json!({ "closed": 4403 }));
    let names = gateway.graphql("{ applications { data { name } } }", json!({})).await;
    assert!(!names.to_string().contains("sneaked"), "{names}");
}

#[tokio::test]
async fn who_follows_is_cut_off_when_the_credential_expires() {
    let options = Options { program: PROGRAM.into(), config: String::new(), dev: false };
    let gateway = Gateway::start_with(options).await;
    let soon = Clock::system().now().after(Duration::from_secs(10)).to_string();
    let (secret, _) = expiring_token(&gateway, "agent", "application:read", Some(soon)).await;
    let mut follower = Follower::start(&gateway, Some(&secret));
    assert_eq!(follower.line().await, "connected");
    follower.told().await;
    assert_eq!(follower.told().await, json!({ "closed": 4403 }));
}

#[tokio::test]
async fn who_may_not_read_definitions_does_not_follow_them() {
    let options = Options { program: PROGRAM.into(), config: String::new(), dev: false };
    let mut gateway = Gateway::start_with(options).await;
    let mut nobody = Follower::start(&gateway, None);
    assert_eq!(nobody.told().await, json!({ "status": 401 }));
    let (secret, _) = token(&gateway, "device", "device").await;
    let mut device = Follower::start(&gateway, Some(&secret));
    assert_eq!(device.line().await, "connected");
    // The mutation is refused too, before or after.
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(device.told().await["errors"][0]["extensions"]["error_code"].clone());
    }
    assert!(codes.contains(&json!(23)), "{codes:?}");
    assert_eq!(gateway.stop().await, Some(0), "who follows does not keep the gateway");
}
