//! Applications and their event definitions, registered by clients that nobody here wrote.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use eg_tests::gateway::{Gateway, Options};
use eg_tests::peers;
use eg_tests::subscriber::Subscriber;
use eg_tests::wait::{DEADLINE, until};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::PROGRAM;

fn admin(gateway: &Gateway) -> String {
    format!("http://{}", gateway.address("admin"))
}

#[tokio::test]
async fn what_is_registered_by_api_is_published_and_delivered_also_to_an_external_bus() {
    let mut gateway = Gateway::start(PROGRAM).await;
    let receiver = Subscriber::start().await;
    let url = format!("http://{}", receiver.address());
    let mut client = peers::python("register_event_api.py");
    client.arg(admin(&gateway)).arg(&url);
    let told = peers::run(client).await;
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["published"]["status"], "published");
    until("it arrives twice", async || (receiver.count() >= 2).then_some(())).await;
    let pushed = receiver.pushed();
    let to = |path: &str| pushed.iter().find(|one| one.path == path).unwrap();
    assert_eq!(to("/lambda").headers["ce-event-type"], "order.placed");
    let bus: Value = serde_json::from_slice(&to("/bus/orders/placed").body).unwrap();
    assert_eq!((&bus["source"], &bus["data"]), (&json!("shop"), &json!({ "order": 1 })));

    assert_eq!(gateway.stop().await, Some(0));
    gateway.restart().await;
    let query = "query($id: ID!) { eventAPI(id: $id) { name application { name } \
        externalSubscriptions { status { active subscription } } } }";
    let kept = gateway.graphql(query, json!({ "id": told["definition"] })).await;
    assert_eq!(kept["eventAPI"]["name"], "Orders");
    let status = &kept["eventAPI"]["externalSubscriptions"][0]["status"];
    assert_eq!(status["active"], true);
    let name = status["subscription"].as_str().unwrap();
    assert_eq!(gateway.subscription(name).await["delivered"], 1, "what is not declared stays");
    assert_eq!(receiver.count(), 2);
}

/// A server of documents in a process of its own.
struct Documents {
    _child: Child,
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Documents {
    async fn serve(directory: &Path, name: &str, password: &str) -> Self {
        let mut command = peers::python("document_server.py");
        command.arg(directory).args([name, password]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(DEADLINE, lines.next_line()).await;
        let first = first.expect("it listens in time").unwrap().unwrap();
        let url = first.strip_prefix("url ").unwrap().to_owned();
        let asked = Arc::<Mutex<Vec<Value>>>::default();
        let list = Arc::clone(&asked);
        #[expect(clippy::disallowed_methods, reason = "it ends with the server")]
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                list.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { _child: child, url, asked }
    }
}

fn spec(reference: &str) -> String {
    format!(
        "asyncapi: 3.0.0\ninfo: {{title: Lamps, version: 1.0.0}}\nchannels:\n  lit:\n    \
         address: lamps/lit\n    messages: {{lit: {{$ref: '{reference}'}}}}\n"
    )
}

const MOVED: &str = "asyncapi: 3.0.0\ninfo: {title: Moved, version: 1.0.0}\n";
const MESSAGE: &str = "messages:\n  lit: {name: lamp.lit, payload: {type: object}}\n";

const ADD: &str = "mutation($app: ID!, $in: EventAPIDefinitionInput!) { \
    addEventAPI(applicationID: $app, in: $in) { id name spec { data format fetchRequest { url \
    auth { credential { __typename } } status { condition message } } } } }";
const REFETCH: &str = "mutation($id: ID!) { refetchEventAPISpec(eventID: $id) { data \
    fetchRequest { status { condition message } } } }";

async fn application(gateway: &Gateway) -> Value {
    let create = "mutation { createApplication(in: { name: \"lamps\" }) { id } }";
    gateway.graphql(create, json!({})).await["createApplication"]["id"].take()
}

fn fetched(url: &str, password: &str) -> Value {
    let auth = json!({ "credential": { "basic": { "username": "ann", "password": password } } });
    json!({ "name": "lamps", "spec": { "eventSpecType": "ASYNC_API",
        "fetchRequest": { "url": url, "auth": auth } } })
}

async fn add(gateway: &Gateway, app: &Value, input: Value) -> Value {
    let mut made = gateway.graphql(ADD, json!({ "app": app, "in": input })).await;
    made["addEventAPI"].take()
}

#[tokio::test]
async fn a_document_is_fetched_with_what_it_refers_to_and_secrets_stay_at_its_origin() {
    let gateway = Gateway::start(PROGRAM).await;
    let app = application(&gateway).await;
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let elsewhere = Documents::serve(there.path(), "", "").await;
    let home = Documents::serve(here.path(), "ann", "s3cret").await;
    std::fs::write(there.path().join("more.yaml"), MESSAGE).unwrap();
    let chain =
        format!("messages:\n  lit: {{$ref: '{}/more.yaml#/messages/lit'}}\n", elsewhere.url);
    std::fs::write(here.path().join("common.yaml"), chain).unwrap();
    std::fs::write(here.path().join("spec.yaml"), spec("common.yaml#/messages/lit")).unwrap();

    let url = format!("{}/spec.yaml", home.url);
    let made = add(&gateway, &app, fetched(&url, "s3cret")).await;
    let request = &made["spec"]["fetchRequest"];
    assert_eq!(request["status"], json!({ "condition": "SUCCEEDED", "message": null }));
    assert_eq!(request["auth"], json!({ "credential": { "__typename": "BasicCredentialData" } }));
    assert_eq!(made["spec"]["data"], spec("common.yaml#/messages/lit"));
    let asked = until("both were asked", async || {
        let (home, elsewhere) = (home.asked.lock().unwrap(), elsewhere.asked.lock().unwrap());
        (home.len() == 2 && elsewhere.len() == 1).then(|| (home.clone(), elsewhere.clone()))
    })
    .await;
    assert!(asked.0.iter().all(|request| request["credentials"] == true), "{asked:?}");
    assert_eq!(asked.1, [json!({ "path": "/more.yaml", "credentials": false })]);

    std::fs::write(there.path().join("moved.yaml"), MOVED).unwrap();
    let mut moved =
        fetched(&format!("{}/elsewhere/{}/moved.yaml", home.url, elsewhere.url), "s3cret");
    moved["name"] = json!("moved");
    let moved = add(&gateway, &app, moved).await;
    assert_eq!(moved["spec"]["fetchRequest"]["status"]["condition"], "SUCCEEDED", "{moved}");
    let told = until("the other server was asked", async || {
        elsewhere.asked.lock().unwrap().get(1).cloned()
    })
    .await;
    assert_eq!(told, json!({ "path": "/moved.yaml", "credentials": false }));

    let broken = spec("common.yaml#/messages/lit").replace("address", "colour");
    std::fs::write(here.path().join("spec.yaml"), broken).unwrap();
    let again = gateway.graphql(REFETCH, json!({ "id": made["id"] })).await;
    let again = &again["refetchEventAPISpec"];
    assert_eq!(again["data"], made["spec"]["data"], "what was there stays");
    let status = &again["fetchRequest"]["status"];
    assert_eq!(status["condition"], "FAILED");
    let message = status["message"].as_str().unwrap();
    assert!(message.starts_with("line 5 column 5 at \"/channels/lit/colour\""), "{message}");

    let anew = spec("common.yaml#/messages/lit").replace("lamps/lit", "lamps/on");
    std::fs::write(here.path().join("spec.yaml"), &anew).unwrap();
    let again = gateway.graphql(REFETCH, json!({ "id": made["id"] })).await;
    assert_eq!(again["refetchEventAPISpec"]["data"], anew);
}

#[tokio::test]
async fn a_document_that_cannot_be_fetched_leaves_a_definition_that_says_why() {
    let gateway = Gateway::start(PROGRAM).await;
    let app = application(&gateway).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("large.yaml"), vec![b' '; (1 << 20) + 1]).unwrap();
    std::fs::write(directory.path().join("spec.yaml"), spec("#/components/none")).unwrap();
    let lost = spec("lost.yaml#/x");
    std::fs::write(directory.path().join("lost-reference.yaml"), lost).unwrap();
    let server = Documents::serve(directory.path(), "ann", "s3cret").await;
    let rows = [
        ("spec.yaml", "wrong", "answered 401"),
        ("none.yaml", "s3cret", "answered 404"),
        ("large.yaml", "s3cret", "answered more than 1048576 bytes"),
        ("spec.yaml", "s3cret", "line 6 column"),
        ("elsewhere/none.yaml", "s3cret", "answered 404"),
        ("lost-reference.yaml", "s3cret", "lost.yaml could not be fetched: answered 404"),
    ];
    for (index, (path, password, expected)) in rows.into_iter().enumerate() {
        let mut input = fetched(&format!("{}/{path}", server.url), password);
        input["name"] = json!(format!("lamps {index}"));
        let made = add(&gateway, &app, input).await;
        let status = &made["spec"]["fetchRequest"]["status"];
        assert_eq!((&status["condition"], &made["spec"]["data"]), (&json!("FAILED"), &Value::Null));
        let message = status["message"].as_str().unwrap();
        assert!(message.contains(expected) && !message.contains("s3cret"), "{path}: {message}");
    }
    let mut input = fetched(&format!("{}/spec.yaml", server.url), "s3cret");
    input["spec"]["fetchRequest"]["mode"] = json!("PACKAGE");
    let made = add(&gateway, &app, input).await;
    let status = &made["spec"]["fetchRequest"]["status"];
    assert_eq!(status["condition"], "INITIAL");
    assert_eq!(status["message"], "mode PACKAGE: currently unsupported");
}

#[tokio::test]
async fn documents_are_not_fetched_from_where_events_may_not_be_sent() {
    let options = Options { program: PROGRAM.into(), config: String::new(), dev: false };
    let gateway = Gateway::start_with(options).await;
    let app = application(&gateway).await;
    let server = Subscriber::start().await;
    let secret = "http://169.254.169.254/latest/meta-data";
    for (index, url) in [server.url(), secret.to_owned()].iter().enumerate() {
        let mut input = fetched(url, "s3cret");
        input["name"] = json!(format!("lamps {index}"));
        let made = add(&gateway, &app, input).await;
        let status = &made["spec"]["fetchRequest"]["status"];
        let message = status["message"].as_str().unwrap();
        assert!(message.contains("address not allowed"), "{message}");
        let reference = spec(&format!("{url}#/x"));
        let input = json!({ "spec": { "data": reference, "eventSpecType": "ASYNC_API" } });
        let refused = gateway.graphql_raw(ADD, json!({ "app": app, "in": input })).await;
        let message = refused["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("address not allowed"), "{message}");
        assert_eq!(refused["errors"][0]["extensions"]["error_code"], 22);
        let bus = json!([{ "url": url, "topic": "t" }]);
        let input = json!({ "externalSubscriptions": bus,
            "spec": { "data": "asyncapi: 3.0.0\ninfo: {title: T, version: '1'}\n",
                "eventSpecType": "ASYNC_API" } });
        let refused = gateway.graphql_raw(ADD, json!({ "app": app, "in": input })).await;
        let field = &refused["errors"][0]["extensions"]["field"];
        assert_eq!(field, "externalSubscriptions[0].url", "{refused}");
    }
    assert_eq!(server.connections(), 0);
}
