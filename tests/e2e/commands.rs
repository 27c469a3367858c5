//! The commands, as a person or a script gives them.

use std::process::Output;

use eg_tests::gateway::Gateway;
use eg_tests::subscriber::{Reaction, Subscriber};
use eg_tests::wait::until;
use serde_json::Value;
use tokio::process::Command;

use crate::PROGRAM;

async fn command(gateway: Option<&Gateway>, args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(args).kill_on_drop(true);
    if let Some(gateway) = gateway {
        command.env("EVENT_GATEWAY_SERVER", format!("http://{}", gateway.address("admin")));
        command.env("EVENT_GATEWAY_HTTP", format!("http://{}", gateway.address("http")));
    }
    command.output().await.unwrap()
}

/// Gives a command, and stops the test unless it worked; gives back what it printed.
async fn give(gateway: &Gateway, args: &[&str]) -> String {
    let output = command(Some(gateway), args).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

async fn give_json(gateway: &Gateway, args: &[&str]) -> Value {
    serde_json::from_str(&give(gateway, &[&["-o", "json"], args].concat()).await).unwrap()
}

#[tokio::test]
async fn the_demonstration_delivers_two_events_and_ends() {
    let output = command(None, &["demo"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.matches("delivered at attempt 1").count(), 2, "{said}");
    for part in ["answered 202", "PUBACK 0x00", "over      http", "over      mqtt-5"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[tokio::test]
async fn an_event_is_published_found_and_followed() {
    let subscriber = Subscriber::start().await;
    let gateway = Gateway::start(PROGRAM).await;
    give(&gateway, &["subscription", "create", "s", "--endpoint", &subscriber.url()]).await;
    let event = ["--type", "order", "--source", "/shop", "--id", "1", "-e", "tenant=blue"];
    let publish = ["event", "publish", "--data", "{\"n\": 1}"];
    let receipt = give_json(&gateway, &[&publish[..], &event[..]].concat()).await;
    assert_eq!((&receipt["status"], &receipt["sequence"]), (&"published".into(), &2.into()));
    let journey = until("it is delivered", async || {
        let said = give(&gateway, &["event", "get", "/shop", "1"]).await;
        said.contains("delivered at attempt 1").then_some(said)
    })
    .await;
    for part in ["event 1 of /shop", "as sequence 2", "anonymous", "http, structured", "-> s"] {
        assert!(journey.contains(part), "{part} is not in\n{journey}");
    }
    let tail = give_json(&gateway, &["event", "tail", "--after", "1"]).await;
    assert_eq!((&tail["id"], &tail["dataBytes"]), (&"1".into(), &8.into()));
    assert_eq!(subscriber.pushed()[0].headers["ce-tenant"], "blue");

    give(&gateway, &["event", "replay", "s", "/shop", "1"]).await;
    until("it comes again", async || (subscriber.count() == 2).then_some(())).await;
    let missing = command(Some(&gateway), &["event", "get", "/shop", "2"]).await;
    assert_eq!(missing.status.code(), Some(1));
}

#[tokio::test]
async fn a_subscription_is_made_changed_and_removed() {
    let subscriber = Subscriber::start().await;
    let gateway = Gateway::start(PROGRAM).await;
    let url = subscriber.url();
    let create = ["subscription", "create", "s", "--endpoint", &url, "--type", "order"];
    give(&gateway, &create).await;
    give(&gateway, &["subscription", "update", "s", "--max-in-flight", "3"]).await;
    let found = give_json(&gateway, &["subscription", "get", "s"]).await;
    assert_eq!((&found["maxInFlight"], &found["eventType"]), (&3.into(), &"order".into()));
    give(&gateway, &["subscription", "test", "s"]).await;
    assert_eq!(subscriber.count(), 1);
    give(&gateway, &["subscription", "pause", "s"]).await;
    let table = give(&gateway, &["subscription", "list"]).await;
    assert!(table.starts_with("NAME") && table.contains("PAUSED"), "{table}");
    give(&gateway, &["subscription", "resume", "s"]).await;
    give(&gateway, &["subscription", "delete", "s"]).await;
    assert_eq!(command(Some(&gateway), &["subscription", "get", "s"]).await.status.code(), Some(1));
    let wrong = command(Some(&gateway), &["subscription", "create", "x", "--endpoint", "ftp://x"]);
    let said = String::from_utf8(wrong.await.stderr).unwrap();
    assert!(said.contains("endpoint") && said.contains("http"), "{said}");
}

#[tokio::test]
async fn dead_letters_are_listed_requeued_and_purged() {
    let fails = |_: &_, before| Reaction::Status(if before < 2 { 500 } else { 200 }, Vec::new());
    let subscriber = Subscriber::scripted(fails).await;
    let gateway = Gateway::start(PROGRAM).await;
    let url = subscriber.url();
    let create = ["subscription", "create", "s", "--endpoint", &url, "--retry-max-attempts", "1"];
    give(&gateway, &create).await;
    for id in ["1", "2"] {
        let event = ["event", "publish", "--type", "t", "--source", "/s", "--id", id];
        give(&gateway, &event).await;
    }
    let letters = until("both are dead", async || {
        let letters = give_json(&gateway, &["dead-letter", "list", "s"]).await;
        (letters.as_array().unwrap().len() == 2).then_some(letters)
    })
    .await;
    let id = letters[0]["id"].as_str().unwrap();
    let shown = give_json(&gateway, &["dead-letter", "show", "s", id]).await;
    assert_eq!(shown["lastStatus"], 500);
    give(&gateway, &["dead-letter", "requeue", "s", id]).await;
    until("it arrives", async || (subscriber.count() == 3).then_some(())).await;
    let purged = give_json(&gateway, &["dead-letter", "purge", "s", "--all"]).await;
    assert_eq!(purged["purged"], 1);
}

#[tokio::test]
async fn a_command_that_is_not_understood_exits_with_2() {
    for args in [&["publish"][..], &["event"], &["event", "get", "/s"], &["serve", "--port", "1"]] {
        assert_eq!(command(None, args).await.status.code(), Some(2), "{args:?}");
    }
    let unreachable = ["--server", "http://127.0.0.1:9", "subscription", "list"];
    let output = command(None, &unreachable).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("refused"), "{output:?}");
    let completion = command(None, &["completion", "bash"]).await;
    assert!(String::from_utf8(completion.stdout).unwrap().contains("event-gateway"));
}

const SPEC: &str = "asyncapi: 3.0.0\ninfo: {title: Orders, version: 1.0.0}\nchannels:\n  placed:\n    \
    address: orders/placed\n    messages: {placed: {name: order.placed}}\n";

#[tokio::test]
async fn a_document_is_checked_without_a_gateway() {
    let directory = tempfile::tempdir().unwrap();
    let (good, bad) = (directory.path().join("good.yaml"), directory.path().join("bad.yaml"));
    std::fs::write(&good, SPEC).unwrap();
    std::fs::write(&bad, SPEC.replace("address", "colour")).unwrap();
    let output = command(None, &["spec", "validate", good.to_str().unwrap()]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("Orders 1.0.0, 1 channel"), "{said}");
    let output = command(None, &["spec", "validate", bad.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("bad.yaml: line 5 column 5 at \"/channels/placed/colour\""), "{said}");
}

#[tokio::test]
async fn a_document_is_registered_replaced_and_removed() {
    let gateway = Gateway::start(PROGRAM).await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let labels = file("labels.json", r#"{"team": "sales"}"#);
    let create = ["application", "create", "shop", "--labels-file", &labels];
    let made = give_json(&gateway, &create).await;
    assert_eq!(made["labels"]["team"], "sales");
    let spec = file("spec.yaml", SPEC);
    let external = file(
        "external.json",
        r#"[{"url": "kafka://bus.test", "topic": "orders",
        "auth": {"credential": {"basic": {"username": "ann", "password": "s3cret"}}}}]"#,
    );
    let apply = ["spec", "apply", "--application", "shop", &spec];
    let more = ["--version", "1.0.0", "--external-subscriptions-file", &external];
    let first = give_json(&gateway, &[&apply[..], &more[..]].concat()).await;
    assert_eq!((&first["name"], &first["version"]["value"]), (&"Orders".into(), &"1.0.0".into()));
    assert_eq!(first["externalSubscriptions"][0]["status"]["active"], true);
    let again = give_json(&gateway, &[&apply[..], &["--payload-check", "warn"]].concat()).await;
    assert_eq!((&again["id"], &again["payloadCheck"]), (&first["id"], &"WARN".into()));
    assert_eq!(again["externalSubscriptions"], first["externalSubscriptions"]);
    let same = give_json(&gateway, &apply).await;
    assert_eq!(same["updatedAt"], again["updatedAt"], "nothing has changed");

    let table = give(&gateway, &["spec", "list"]).await;
    assert!(
        table.contains("shop") && table.contains("Orders") && table.contains("WARN"),
        "{table}"
    );
    let one = ["spec", "get", "Orders", "--application", "shop"];
    assert_eq!(give_json(&gateway, &one).await["spec"]["data"], SPEC);
    let refetch = command(Some(&gateway), &["spec", "refetch", "Orders", "--application", "shop"]);
    let said = String::from_utf8(refetch.await.stderr).unwrap();
    assert!(said.contains("the definition has no fetch request"), "{said}");
    give(&gateway, &["spec", "delete", "Orders", "--application", "shop"]).await;
    assert_eq!(give_json(&gateway, &["spec", "list"]).await, Value::Array(Vec::new()));

    give(&gateway, &["runtime", "create", "prod"]).await;
    assert!(give(&gateway, &["runtime", "list"]).await.contains("prod"));
    give(&gateway, &["runtime", "delete", "prod"]).await;
    give(&gateway, &["application", "delete", "shop"]).await;
    assert!(!command(Some(&gateway), &["application", "get", "shop"]).await.status.success());
}
