//! An event by curl and one by `mosquitto_pub`: in, stored, pushed to a webhook, and found again.

use eg_tests::gateway::Gateway;
use eg_tests::peers;
use eg_tests::subscriber::Subscriber;
use eg_tests::wait::until;
use serde_json::{Value, json};

use crate::PROGRAM;

async fn start() -> (Gateway, Subscriber) {
    let subscriber = Subscriber::start().await;
    let gateway = Gateway::start(PROGRAM).await;
    gateway.subscribe(json!({ "name": "hook", "endpoint": subscriber.url() })).await;
    (gateway, subscriber)
}

async fn curl(gateway: &Gateway, headers: &[&str], body: &str) -> Value {
    let mut command = peers::program("curl", "curl");
    command.args(["-sS", "--fail-with-body", "-X", "POST", &gateway.url("/events")]);
    for header in headers {
        command.args(["-H", header]);
    }
    let output = peers::run({
        command.args(["--data-binary", body]);
        command
    });
    serde_json::from_slice(&output.await.stdout).unwrap()
}

async fn mosquitto_pub(gateway: &Gateway, args: &[&str]) {
    let mut command = peers::program("mosquitto_pub", "mosquitto-clients");
    command.args(["-p", &gateway.address("mqtt").port().to_string()]).args(args);
    peers::run(command).await;
}

#[tokio::test]
async fn an_event_by_curl_arrives_as_its_receipt_says() {
    let (gateway, subscriber) = start().await;
    let first = gateway.next_sequence().await;
    let headers = [
        "ce-specversion: 1.0",
        "ce-id: 1001",
        "ce-source: /shop",
        "ce-type: order.created",
        "ce-subject: Z%C3%BCrich%20100%25",
        "ce-tenant: blue",
        "content-type: application/json",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ];
    // Whitespace, key order and the form of numbers are the sender's.
    let body = "{\"z\": 1.00,  \"a\":1e3}\n";
    let receipt = curl(&gateway, &headers, body).await;
    assert_eq!(receipt["status"], "published");
    assert_eq!(receipt["sequence"], first);
    until("the event arrives", async || (subscriber.count() == 1).then_some(())).await;
    let pushed = subscriber.pushed().remove(0);
    assert_eq!(pushed.body, body.as_bytes());
    let expected = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1001"),
        ("ce-source", "/shop"),
        ("ce-type", "order.created"),
        ("ce-subject", "Z%C3%BCrich%20100%25"),
        ("ce-tenant", "blue"),
        ("content-type", "application/json"),
        ("kyma-subscription", "hook"),
    ];
    for (name, value) in expected {
        assert_eq!(pushed.headers.get(name).map(String::as_str), Some(value), "{name}");
    }
    let trace = &pushed.headers["traceparent"];
    assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{trace}");

    let again = curl(&gateway, &headers, body).await;
    assert_eq!((&again["sequence"], &again["duplicate"]), (&json!(first), &json!(true)));
    assert_eq!(gateway.next_sequence().await, first + 1);
}

#[tokio::test]
async fn a_batch_is_taken_event_by_event() {
    let (gateway, subscriber) = start().await;
    let first = gateway.next_sequence().await;
    let event = |id: u32| json!({ "specversion": "1.0", "id": id.to_string(), "source": "/b", "type": "t", "data": id });
    let batch = json!([event(1), event(2), event(3)]).to_string();
    let headers = ["content-type: application/cloudevents-batch+json"];
    let answer = curl(&gateway, &headers, &batch).await;
    let sequences: Vec<_> =
        answer.as_array().unwrap().iter().map(|receipt| receipt["sequence"].clone()).collect();
    assert_eq!(sequences, [first, first + 1, first + 2]);
    until("all arrive", async || (subscriber.ids().len() == 3).then_some(())).await;
}

#[tokio::test]
async fn a_payload_by_mosquitto_pub_becomes_an_event_and_arrives() {
    for version in ["5", "311"] {
        for qos in ["0", "1", "2"] {
            let (gateway, subscriber) = start().await;
            let topic = "plant/press-1/temperature";
            let args = ["-V", version, "-q", qos, "-i", "press-1", "-t", topic, "-m", "21.5"];
            mosquitto_pub(&gateway, &args).await;
            until("it arrives", async || (subscriber.count() == 1).then_some(())).await;
            let pushed = subscriber.pushed().remove(0);
            assert_eq!(pushed.body, b"21.5");
            assert_eq!(pushed.headers["ce-type"], "mqtt.message");
            assert_eq!(pushed.headers["ce-source"], "/mqtt/press-1");
            assert_eq!(pushed.headers["ce-subject"], topic);
        }
    }
}

#[tokio::test]
async fn cloudevents_by_mosquitto_pub_keep_their_attributes() {
    let (gateway, subscriber) = start().await;
    let property = |name, value| ["-D", "PUBLISH", "user-property", name, value];
    let mut args = vec!["-V", "5", "-q", "1", "-t", "any", "-m", "{}"];
    args.extend(property("specversion", "1.0"));
    args.extend(property("id", "binary"));
    args.extend(property("source", "/device"));
    args.extend(property("type", "sensor.read"));
    args.extend(["-D", "PUBLISH", "content-type", "application/json"]);
    mosquitto_pub(&gateway, &args).await;
    let event = r#"{"specversion":"1.0","id":"structured","source":"/device","type":"sensor.read","data":{"n":1.50}}"#;
    mosquitto_pub(&gateway, &["-V", "311", "-q", "1", "-t", "any", "-m", event]).await;
    until("both arrive", async || (subscriber.count() == 2).then_some(())).await;
    for pushed in subscriber.pushed() {
        assert_eq!(pushed.headers["ce-type"], "sensor.read");
        assert_eq!(pushed.headers["ce-source"], "/device");
        let body: &[u8] = if pushed.id() == "binary" { b"{}" } else { br#"{"n":1.50}"# };
        assert_eq!(pushed.body, body, "{}", pushed.id());
    }
}

#[tokio::test]
async fn the_journey_says_who_sent_an_event_and_what_became_of_it() {
    let (gateway, subscriber) = start().await;
    let other = json!({ "name": "other", "endpoint": subscriber.url(), "eventType": "invoice" });
    gateway.subscribe(other).await;
    let sequence = gateway.next_sequence().await;
    let event = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"order"}"#;
    curl(&gateway, &["content-type: application/cloudevents+json"], event).await;
    let query = "{ event(source: \"/shop\", id: \"1\") { sequence status \
        event { sender { name method } origin { protocol binding address remote } } \
        subscriptions { name matched reason state rests attempts { number status verdict } } } }";
    let journey = until("it is delivered", async || {
        let journey = gateway.graphql(query, json!({})).await["event"].take();
        (journey["subscriptions"][0]["state"] == "DELIVERED").then_some(journey)
    })
    .await;
    assert_eq!(journey["sequence"], sequence);
    assert_eq!(journey["event"]["sender"]["method"], "anonymous");
    assert_eq!(journey["event"]["origin"]["protocol"], "http");
    assert_eq!(journey["event"]["origin"]["binding"], "structured");
    let [hook, other] = [&journey["subscriptions"][0], &journey["subscriptions"][1]];
    assert_eq!((&hook["name"], &hook["matched"]), (&json!("hook"), &json!(true)));
    let attempt = json!({ "number": 1, "status": 200, "verdict": "delivered" });
    assert_eq!(hook["attempts"], json!([attempt]));
    assert_eq!((&other["state"], &other["attempts"]), (&json!("NOT_MATCHED"), &json!([])));
    let reason = other["reason"].as_str().unwrap();
    assert!(reason.contains("invoice") && reason.contains("order"), "{reason}");
}
