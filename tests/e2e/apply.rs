//! `event-gateway apply`: manifests as files, all or nothing, as often as one likes.

use std::path::Path;
use std::process::Output;

use eg_tests::gateway::Gateway;
use eg_tests::subscriber::Subscriber;
use eg_tests::wait::until;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::PROGRAM;

fn subscription(endpoint: &str) -> String {
    format!(
        "apiVersion: eventing.kyma-project.io/v1alpha1\nkind: Subscription\nmetadata:\n  \
            name: test-sub\n  namespace: production\nspec:\n  endpoint: {endpoint}\n  \
            push_request_timeout_ms: 2000\n  max_inflight: 10\n  \
            include_subscription_name_header: true\n  event_type: order-created\n  \
            event_type_version: v1\n  source_id: external-application\n"
    )
}

const ACTIVATION: &str = "apiVersion: applicationconnector.kyma-project.io/v1alpha1\n\
    kind: EventActivation\nmetadata:\n  name: ec-default\n  namespace: production\nspec:\n  \
    displayName: EC Default\n  sourceId: external-application\n";

async fn apply(gateway: &Gateway, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    let server = format!("http://{}", gateway.address("admin"));
    command.args(["apply", "--server", &server]).args(arguments);
    let piped = std::process::Stdio::piped;
    command.stdin(piped()).stdout(piped()).stderr(piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    child.wait_with_output().await.unwrap()
}

fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Everything that an apply could change.
async fn state(gateway: &Gateway) -> Value {
    let query = "{ subscriptions { data { key endpoint source maxInFlight createdAt updatedAt \
            conditions { status lastTransitionTime } } } \
        eventActivations { data { namespace name sourceId displayName createdAt updatedAt } } }";
    gateway.graphql(query, json!({})).await
}

/// A directory with a manifest in each of two files, one of them deeper.
fn directory(endpoint: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    std::fs::create_dir(directory.path().join("more")).unwrap();
    put("a.yaml", &subscription(endpoint));
    put("more/b.yml", ACTIVATION);
    put("notes.txt", "not a manifest");
    directory
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_directory_is_applied_as_a_whole_and_a_second_time_changes_nothing() {
    let subscriber = Subscriber::start().await;
    let gateway = Gateway::start(PROGRAM).await;
    let directory = directory(&subscriber.url());
    let files = ["-f", text(directory.path())];
    let dry = told(&apply(&gateway, &[&files[..], &["--dry-run"]].concat(), "").await);
    assert!(dry.contains("subscription production/test-sub created (dry run)"), "{dry}");
    assert_eq!(state(&gateway).await["subscriptions"]["data"], json!([]), "a dry run");

    let first = told(&apply(&gateway, &files, "").await);
    assert!(first.contains("eventactivation production/ec-default created\n"), "{first}");
    let event = json!({ "specversion": "1.0", "source": "external-application", "id": "1",
        "type": "order-created", "eventtypeversion": "v1", "data": { "n": 1 } });
    let request = reqwest::Client::new()
        .post(gateway.url("/events"))
        .header("content-type", "application/cloudevents+json")
        .body(event.to_string());
    assert_eq!(request.send().await.unwrap().status(), 202);
    until("it is delivered", async || (subscriber.count() == 1).then_some(())).await;
    let pushed = subscriber.pushed().remove(0);
    assert_eq!(pushed.headers["kyma-subscription"], "test-sub");
    assert_eq!(pushed.headers["ce-event-type"], "order-created");
    assert_eq!(pushed.body, b"{\"n\":1}");

    let (before, sequence) = (state(&gateway).await, gateway.next_sequence().await);
    let second = told(&apply(&gateway, &files, "").await);
    let lines: Vec<_> = second.lines().collect();
    let expected = [
        "subscription production/test-sub unchanged",
        "eventactivation production/ec-default unchanged",
    ];
    assert_eq!(lines, expected);
    assert_eq!(state(&gateway).await, before);
    assert_eq!(gateway.next_sequence().await, sequence + 1, "one audit event, for the call");
}

#[tokio::test]
async fn a_difference_is_shown_by_field_and_what_is_not_in_files_stays() {
    let gateway = Gateway::start(PROGRAM).await;
    let directory = directory("http://127.0.0.1:9/");
    told(&apply(&gateway, &["-f", text(directory.path())], "").await);
    let renamed = ACTIVATION.replace("EC Default", "Shop");
    let dry = told(&apply(&gateway, &["-f", "-", "--dry-run"], &renamed).await);
    let expected = "eventactivation production/ec-default updated (dry run)\n  \
        ~ displayName: \"EC Default\" -> \"Shop\"\n";
    assert_eq!(dry, expected);
    told(&apply(&gateway, &["-f", "-"], &renamed).await);
    let after = state(&gateway).await;
    assert_eq!(after["eventActivations"]["data"][0]["displayName"], "Shop");
    assert_eq!(after["subscriptions"]["data"][0]["key"], "production/test-sub");
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_names_file_and_line() {
    let gateway = Gateway::start(PROGRAM).await;
    let directory = directory("http://127.0.0.1:9/");
    let bad = ACTIVATION.replace("  sourceId", "  sourceID");
    std::fs::write(directory.path().join("more/c.json"), "{\n  \"kind\": \"Pod\"\n}").unwrap();
    std::fs::write(directory.path().join("more/b.yml"), format!("---\n{bad}")).unwrap();
    let refused = apply(&gateway, &["-f", text(directory.path())], "").await;
    assert_eq!(refused.status.code(), Some(1));
    let errors = String::from_utf8(refused.stderr).unwrap();
    for expected in [
        "more/b.yml:9:3: spec.sourceID: unknown field; did you mean \"sourceId\"?",
        "more/c.json:2:3: kind: expected",
    ] {
        assert!(errors.contains(expected), "{errors}");
    }
    let after = state(&gateway).await;
    assert_eq!(after["subscriptions"]["data"], json!([]));
    assert_eq!(after["eventActivations"]["data"], json!([]));
    let missing = apply(&gateway, &["-f", "/nowhere/at/all.yaml"], "").await;
    assert!(String::from_utf8(missing.stderr).unwrap().contains("/nowhere/at/all.yaml"));
}

#[tokio::test]
async fn event_activations_can_be_managed_from_the_command_line() {
    let gateway = Gateway::start(PROGRAM).await;
    let server = format!("http://{}", gateway.address("admin"));
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["activation", "-o", "json", "--server", &server]).args(arguments);
        command.output().await.unwrap()
    };
    told(&run(&["create", "prod", "a", "--source-id", "shop"]).await);
    let shown: Value = serde_json::from_str(&told(&run(&["get", "prod", "a"]).await)).unwrap();
    assert_eq!((&shown["sourceId"], &shown["namespace"]), (&json!("shop"), &json!("prod")));
    let listed: Value =
        serde_json::from_str(&told(&run(&["list", "--namespace", "test"]).await)).unwrap();
    assert_eq!(listed, json!([]));
    told(&run(&["delete", "prod", "a"]).await);
    assert_eq!(run(&["get", "prod", "a"]).await.status.code(), Some(1));
}

const DEFINITION: &str = "apiVersion: event-gateway.io/v1\nkind: EventAPIDefinition\nmetadata:\n  \
    name: orders\nspec:\n  application: shop\n  spec:\n    data: |\n      asyncapi: 2.6.0\n      \
    info: {title: Orders, version: 1.0.0}\n      channels: {}\n";
const APPLICATION: &str = "apiVersion: event-gateway.io/v1\nkind: Application\nmetadata:\n  \
    name: shop\nspec:\n  description: Sells\n";

const DOCUMENT: &str = "asyncapi: 3.0.0\nx-application: shop\ninfo: {title: Returns, version: 1.0.0}\n\
    channels:\n  returned:\n    address: orders/returned\n    messages: {returned: {name: \
    order.returned}}\n";

#[tokio::test]
async fn a_document_is_applied_as_it_is_and_a_bad_one_changes_nothing() {
    let gateway = Gateway::start(PROGRAM).await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("shop.yaml"), APPLICATION).unwrap();
    std::fs::write(file("returns.yaml"), DOCUMENT).unwrap();
    let known = "{ applications { data { name eventAPIs { data { name spec { data } } } } } }";
    let empty = gateway.graphql(known, json!({})).await;
    let arguments = ["-f", text(directory.path())];
    for (wrong, said) in [
        ("address", "line 6 column 5 at \"/channels/returned/colour\""),
        ("x-application", "x-application: expected the name of the application"),
    ] {
        std::fs::write(file("returns.yaml"), DOCUMENT.replace(wrong, "colour")).unwrap();
        let refused = apply(&gateway, &arguments, "").await;
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(why.contains("returns.yaml:") && why.contains(said), "{why}");
        assert_eq!(gateway.graphql(known, json!({})).await, empty);
    }
    std::fs::write(file("returns.yaml"), DOCUMENT).unwrap();
    let first = told(&apply(&gateway, &arguments, "").await);
    assert_eq!(first.matches(" created").count(), 2, "{first}");
    let registered = gateway.graphql(known, json!({})).await;
    let definition = &registered["applications"]["data"][0]["eventAPIs"]["data"][0];
    assert_eq!(*definition, json!({ "name": "Returns", "spec": { "data": DOCUMENT } }));
    let second = told(&apply(&gateway, &arguments, "").await);
    assert_eq!(second.matches(" unchanged").count(), 2, "{second}");
}

#[tokio::test]
async fn applications_and_definitions_are_applied_with_the_rest_or_nothing_is() {
    let subscriber = Subscriber::start().await;
    let directory = directory(&subscriber.url());
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("1.yaml"), DEFINITION).unwrap();
    std::fs::write(file("2.yaml"), APPLICATION).unwrap();
    let gateway = Gateway::start(PROGRAM).await;
    let known = "{ applications { data { name updatedAt } } subscriptions { data { key } } }";
    let empty = gateway.graphql(known, json!({})).await;
    let arguments = ["-f", text(directory.path())];

    let broken = DEFINITION.replace("name: orders", "name: other").replace("2.6.0", "nine");
    std::fs::write(file("3.yaml"), broken).unwrap();
    let refused = apply(&gateway, &arguments, "").await;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("3.yaml:"), "{why}");
    assert_eq!(gateway.graphql(known, json!({})).await, empty);

    std::fs::remove_file(file("3.yaml")).unwrap();
    told(&apply(&gateway, &["-f", text(directory.path()), "--dry-run"], "").await);
    assert_eq!(gateway.graphql(known, json!({})).await, empty);
    let first = told(&apply(&gateway, &arguments, "").await);
    assert_eq!(first.matches(" created").count(), 4, "{first}");
    let after = gateway.graphql(known, json!({})).await;
    let second = told(&apply(&gateway, &arguments, "").await);
    assert_eq!(second.matches(" unchanged").count(), 4, "{second}");
    assert_eq!(gateway.graphql(known, json!({})).await, after);
}
