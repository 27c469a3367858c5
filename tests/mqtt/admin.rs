//! What operators see of clients that nobody here wrote, and how they end them.

use eg_tests::gateway::{Gateway, Options};
use eg_tests::peers;
use eg_tests::wait::until;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::PROGRAM;
use crate::subscriber::Subscriber;

/// What a command prints for programs.
async fn ask(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = run(gateway, &[&["-o", "json"], arguments].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn run(gateway: &Gateway, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(PROGRAM);
    command.arg("--server").arg(format!("http://{}", gateway.address("admin")));
    command.args(arguments).output().await.unwrap()
}

/// What is said of a client, once `is_so` of it.
async fn client_that(
    gateway: &Gateway,
    id: &str,
    is_so: impl Fn(&Value) -> bool + Send + Sync,
) -> Value {
    until("the client is seen so", async || {
        let client = ask(gateway, &["mqtt", "client", "get", id]).await;
        Some(client).filter(&is_so)
    })
    .await
}

async fn paho(gateway: &Gateway, arguments: &[&str]) -> Subscriber {
    let mut command = peers::python("paho_subscribe.py");
    command.arg(gateway.address("mqtt").port().to_string()).args(arguments);
    Subscriber::subscribed(command).await
}

async fn mqttjs(gateway: &Gateway, url: &str, arguments: &[&str]) -> Subscriber {
    let mut command = peers::node("mqttjs_subscribe.cjs");
    command.arg(url.replace("PORT", &gateway.address("http").port().to_string())).args(arguments);
    Subscriber::subscribed(command).await
}

async fn publish(gateway: &Gateway, arguments: &[&str]) {
    let mut command = peers::program("mosquitto_pub", "mosquitto-clients");
    let port = gateway.address("mqtt").port().to_string();
    command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1"]).args(arguments);
    assert!(command.status().await.unwrap().success(), "{arguments:?}");
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn operators_see_who_is_connected_what_was_said_and_who_subscribes_to_what() {
    let gateway = Gateway::start(PROGRAM).await;
    let _paho = paho(&gateway, &["5", "paho", "1", "a/#", "$share/g/b"]).await;
    let _mqttjs =
        mqttjs(&gateway, "ws://127.0.0.1:PORT/mqtt", &["311", "mqttjs", "2", "a/+"]).await;
    publish(&gateway, &["-t", "a/1", "-m", "hello"]).await;
    let seen = |client: &Value| client["connection"]["messagesSent"] == 1;
    let paho = client_that(&gateway, "paho", seen).await;
    let connection = &paho["connection"];
    for (member, expected) in [
        ("protocolVersion", json!("5.0")),
        ("transport", json!("TCP")),
        ("keepAliveSeconds", json!(30)),
        ("receiveMaximum", json!(65535)),
        ("principal", json!("anonymous")),
        ("messagesReceived", json!(0)),
    ] {
        assert_eq!(connection[member], expected, "{member}: {connection}");
    }
    assert!(connection["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(connection["bytesReceived"].as_u64() > Some(20), "{connection}");
    let session = &paho["session"];
    assert_eq!((&session["isPersistent"], &session["expirySeconds"]), (&json!(true), &json!(3600)));
    let filters = paho["subscriptions"].as_array().unwrap();
    assert_eq!(
        (&filters[0]["filter"], &filters[0]["shareGroup"]),
        (&json!("$share/g/b"), &json!("g"))
    );
    assert_eq!((&filters[1]["filter"], &filters[1]["qos"]), (&json!("a/#"), &json!(1)));
    let mqttjs = client_that(&gateway, "mqttjs", seen).await;
    let connection = &mqttjs["connection"];
    assert_eq!(connection["transport"], "WEB_SOCKET");
    assert_eq!(connection["protocolVersion"], "3.1.1");

    assert_eq!(ids(&ask(&gateway, &["mqtt", "client", "list"]).await), ["mqttjs", "paho"]);
    let of_paho = ask(&gateway, &["mqtt", "session", "list", "--id-prefix", "pa"]).await;
    assert_eq!(ids(&of_paho), ["paho"]);
    let all = ask(&gateway, &["mqtt", "subscription", "list"]).await;
    let all: Vec<_> = all.as_array().unwrap().iter().map(|one| &one["filter"]).collect();
    assert_eq!(all, ["a/+", "$share/g/b", "a/#"]);
    let query = "query($after: String) { mqttSubscriptions(first: 2, after: $after) { \
        data { filter } pageInfo { endCursor hasNextPage } totalCount } }";
    let page = gateway.graphql(query, json!({})).await["mqttSubscriptions"].take();
    assert_eq!(page["totalCount"], 3);
    assert_eq!(
        (&page["data"][1]["filter"], &page["pageInfo"]["hasNextPage"]),
        (&json!("$share/g/b"), &json!(true))
    );
    let after = json!({ "after": page["pageInfo"]["endCursor"] });
    let page = gateway.graphql(query, after).await["mqttSubscriptions"].take();
    assert_eq!(page["data"], json!([{ "filter": "a/#" }]));

    let query = "query($of: Int) { mqttClients(first: 1) { data { id \
        subscriptions(first: $of) { data { filter } totalCount } } totalCount } \
        of: mqttClients(filter: { idPrefix: \"pa\" }) { totalCount } }";
    let page = gateway.graphql(query, json!({ "of": 1 })).await;
    assert_eq!(
        (&page["mqttClients"]["totalCount"], &page["of"]["totalCount"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(page["mqttClients"]["data"][0]["subscriptions"]["totalCount"], 1);
    let refused = gateway.graphql_raw(query, json!({ "of": 1000 })).await;
    assert_eq!(refused["errors"][0]["message"], "Query is too complex.");

    let table = run(&gateway, &["mqtt", "client", "list"]).await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.starts_with("CLIENT  PRINCIPAL"), "{table}");
    assert_eq!(table.lines().count(), 3);
}

#[tokio::test]
async fn an_operator_ends_a_connection_and_the_session_goes_on() {
    let gateway = Gateway::start(PROGRAM).await;
    let paho = paho(&gateway, &["5", "paho", "1", "a/#"]).await;
    let before = ask(&gateway, &["mqtt", "client", "get", "paho"]).await;
    let ended = ask(&gateway, &["mqtt", "client", "disconnect", "paho"]).await;
    assert_eq!(ended["connection"]["address"], before["connection"]["address"]);
    // It comes back by itself, and finds its session.
    let is_back = |client: &Value| {
        client["connected"] == true
            && client["connection"]["address"] != before["connection"]["address"]
    };
    let back = client_that(&gateway, "paho", is_back).await;
    assert_eq!(back["session"]["createdAt"], before["session"]["createdAt"]);
    publish(&gateway, &["-t", "a/1", "-m", "after"]).await;
    assert_eq!(paho.line(0).await, "after");
    let metrics =
        reqwest::get(format!("http://{}/metrics", gateway.address("admin"))).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let counted =
        "event_gateway_mqtt_connections_ended_total{protocol=\"mqtt\",reason=\"operator\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    let refused = run(&gateway, &["mqtt", "client", "disconnect", "nobody"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let log = gateway.whole_journal().await;
    let is_audited =
        |event: &&Value| event["type"] == "io.event-gateway.audit.disconnectMqttClient";
    let audited: Vec<_> = log.iter().filter(is_audited).map(|event| &event["subject"]).collect();
    assert_eq!(audited, ["paho", "nobody"]);
}

#[tokio::test]
async fn a_client_is_told_the_code_with_which_an_operator_ends_its_connection() {
    let gateway = Gateway::start(PROGRAM).await;
    let mut command = peers::program("mosquitto_sub", "mosquitto-clients");
    let port = gateway.address("mqtt").port().to_string();
    command.args(["-d", "-V", "5", "-p", &port, "-i", "told", "-t", "a", "-c", "-x", "60"]);
    let client = Subscriber::start(command);
    let subscribed = |client: &Value| client["session"]["subscriptions"] == 1;
    let is_there = async || {
        let all = ask(&gateway, &["mqtt", "client", "list"]).await;
        all.get(0).filter(|one| subscribed(one)).map(|_| ())
    };
    until("the client has subscribed", is_there).await;
    let end = ["mqtt", "client", "disconnect", "told", "--reason-code", "137"];
    ask(&gateway, &end).await;
    until("the client says why", async || {
        client.lines().iter().any(|line| line.contains("DISCONNECT (137)")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_operator_ends_sessions_and_subscriptions_for_good() {
    let mut gateway = Gateway::start(PROGRAM).await;
    let paho = paho(&gateway, &["5", "paho", "1", "a", "b"]).await;
    let gone = ask(&gateway, &["mqtt", "subscription", "delete", "paho", "a"]).await;
    assert_eq!(gone["session"]["subscriptions"], 1);
    publish(&gateway, &["-t", "a", "-m", "unheard"]).await;
    publish(&gateway, &["-t", "b", "-m", "heard"]).await;
    assert_eq!(paho.line(0).await, "heard");
    gateway.kill().await;
    gateway.restart().await;
    let kept = |client: &Value| client["connected"] == true;
    let client = client_that(&gateway, "paho", kept).await;
    assert_eq!(client["session"]["subscriptions"], 1, "the end of a subscription is durable");
    assert_eq!(client["session"]["createdAt"], Value::Null);

    ask(&gateway, &["mqtt", "session", "delete", "paho"]).await;
    // It comes back, and finds no session.
    until("the client finds no session", async || {
        paho.lines().iter().any(|line| line == "lost").then_some(())
    })
    .await;
    let client = client_that(&gateway, "paho", kept).await;
    assert_eq!(client["session"]["subscriptions"], 0);
    let refused = run(&gateway, &["mqtt", "session", "delete", "nobody"]).await;
    assert_eq!(refused.status.code(), Some(1));
}

#[tokio::test]
async fn operators_see_what_is_retained_and_end_it() {
    let mut gateway = Gateway::start(PROGRAM).await;
    for (topic, payload) in [("plant/1/state", "on"), ("plant/2/state", "off"), ("other", "x")] {
        publish(&gateway, &["-r", "-t", topic, "-m", payload]).await;
    }
    let topics = async |gateway: &Gateway, arguments: &[&str]| {
        let list = ask(gateway, &[&["mqtt", "retained", "list"], arguments].concat()).await;
        let topics = list.as_array().unwrap().iter().map(|one| one["topic"].clone());
        topics.collect::<Vec<_>>()
    };
    until("they are retained", async || {
        let all = topics(&gateway, &[]).await;
        (all == ["other", "plant/1/state", "plant/2/state"]).then_some(())
    })
    .await;
    assert_eq!(topics(&gateway, &["plant/+/state"]).await, ["plant/1/state", "plant/2/state"]);
    let one = ask(&gateway, &["mqtt", "retained", "get", "plant/2/state"]).await;
    assert_eq!((&one["payload"], &one["payloadBase64"]), (&json!("off"), &json!("b2Zm")));
    let cut = ["mqtt", "retained", "get", "plant/2/state", "--payload-bytes-max", "2"];
    let cut = ask(&gateway, &cut).await;
    assert_eq!((&cut["payload"], &cut["isCut"]), (&json!("of"), &json!(true)));
    assert_eq!(cut["payloadBytes"], 3);
    let query = "{ mqttRetainedMessages(filter: \"plant/+/state\", first: 1) { totalCount } }";
    let all = gateway.graphql(query, json!({})).await;
    assert_eq!(all["mqttRetainedMessages"]["totalCount"], 2);
    ask(&gateway, &["mqtt", "retained", "delete", "plant/1/state"]).await;
    gateway.kill().await;
    gateway.restart().await;
    assert_eq!(topics(&gateway, &["#"]).await, ["other", "plant/2/state"]);
    let refused = run(&gateway, &["mqtt", "retained", "list", "a/#/b"]).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("filter: expected a topic filter"));
}

#[tokio::test]
async fn viewers_look_at_clients_and_do_not_end_them() {
    let options = Options { program: PROGRAM.into(), config: String::new(), dev: false };
    let gateway = Gateway::start_with(options).await;
    let query = "mutation($in: CredentialInput!) { createCredential(in: $in) { secret } }";
    let input = json!({ "name": "viewer", "roles": ["viewer"] });
    let made = gateway.graphql(query, json!({ "in": input })).await;
    let key = gateway.directory().join("viewer");
    std::fs::write(&key, made["createCredential"]["secret"].as_str().unwrap()).unwrap();
    let key = key.to_str().unwrap();
    let list = ask(&gateway, &["--token-file", key, "mqtt", "session", "list"]).await;
    assert_eq!(list, json!([]));
    let arguments = ["--token-file", key, "mqtt", "session", "delete", "x"];
    let refused = run(&gateway, &arguments).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not allowed"));
}
