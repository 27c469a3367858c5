//! What senders get for events that are taken, in each mode.

use std::time::Duration;

use eg_auth::Authenticator;
use eg_event::submission::{Binding, Protocol};
use eg_event::{Data, Refusal};
use eg_http::HttpConfig;
use serde_json::{Value, json};

use crate::client::{Connection, EVENT, event, request, send};
use crate::gateway::Gateway;

const STRUCTURED: &str = "content-type: Application/CloudEvents+JSON; charset=UTF-8";
const BATCH: &str = "content-type: application/cloudevents-batch+json";

#[tokio::test]
async fn a_binary_event_is_taken_as_it_came() {
    let gateway = Gateway::start().await;
    let mut headers = EVENT.to_vec();
    headers.extend([
        "CE-Subject: Euro%20%E2%82%AC",
        "content-type: application/json",
        "x-request-id: r-1",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "cookie: no",
    ]);
    let request = request("POST /events?x=1", &headers, r#"{"price":1.10}"#);
    let mut connection = Connection::open(gateway.address).await;
    let answer = connection.exchange(&request).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-request-id"), Some("r-1"));
    let receipt = json!({
        "id": "1", "source": "/shop", "sequence": 1, "status": "published",
        "reason": "Message successfully published to the channel", "subscriptions": 1
    });
    assert_eq!(answer.json(), receipt);

    let taken = gateway.intake.last();
    assert_eq!(taken.event.subject(), Some("Euro \u{20ac}"));
    assert!(matches!(taken.event.data(), Some(Data::Json(text)) if *text == r#"{"price":1.10}"#));
    assert_eq!(taken.origin.protocol, Protocol::Http);
    assert_eq!(taken.origin.binding, Binding::Binary);
    assert_eq!(&*taken.origin.address, "/events");
    assert!(taken.origin.remote.unwrap().ip().is_loopback());
    assert_eq!(taken.principal.name(), "anonymous");
    assert_eq!(taken.trace.iter().count(), 2);
    assert!(!taken.id_assigned);

    let again = connection.exchange(&request).await.json();
    assert_eq!((&again["sequence"], &again["duplicate"]), (&json!(1), &json!(true)));
    assert_eq!(gateway.intake.count(), 1);
}

#[tokio::test]
async fn an_event_that_nobody_subscribes_to_is_ignored_and_kept() {
    let gateway = Gateway::start().await;
    let headers = [EVENT[0], EVENT[1], EVENT[2], "ce-type: nobody.cares"];
    let answer = send(gateway.address, &request("POST /events", &headers, "")).await.json();
    assert_eq!((&answer["status"], &answer["subscriptions"]), (&json!("ignored"), &json!(0)));
    assert_eq!(gateway.intake.last().event.data(), None);
}

#[tokio::test]
async fn a_structured_event_keeps_its_payload_byte_for_byte() {
    let gateway = Gateway::start().await;
    let body = r#" {"specversion":"1.0","id":"1","source":"/s","type":"t","n":5,"data": {"b":1.10, "a":12345678901234567890123} } "#;
    let answer = send(gateway.address, &request("POST /events", &[STRUCTURED], body)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let taken = gateway.intake.last();
    assert_eq!(taken.origin.binding, Binding::Structured);
    let expected = r#"{"b":1.10, "a":12345678901234567890123}"#;
    assert_eq!(taken.event.data().unwrap().bytes(), expected);
}

#[tokio::test]
async fn each_event_of_a_batch_has_its_own_answer() {
    let gateway = Gateway::start().await;
    let body = r#"[{"specversion":"1.0","id":"1","source":"/s","type":"t"},
                   {"specversion":"1.0","id":"2","source":"a b","type":"t"},
                   {"specversion":"1.0","id":"3","source":"/s","type":"t"},
                   {"specversion":"1.0","id":"1","source":"/s","type":"t"}]"#;
    let answer = send(gateway.address, &request("POST /events", &[BATCH], body)).await;
    assert_eq!(answer.status, 202);
    let answers: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answers[0]["sequence"], 1);
    assert_eq!(answers[1]["status"], 400);
    assert_eq!(answers[1]["errors"][0]["field"], "source");
    assert_eq!(answers[2]["sequence"], 2);
    assert_eq!((&answers[3]["sequence"], &answers[3]["duplicate"]), (&json!(1), &json!(true)));
    assert_eq!(gateway.intake.count(), 2);

    let empty = send(gateway.address, &request("POST /events", &[BATCH], "[]")).await;
    assert_eq!((empty.status, empty.body.as_str()), (202, "[]"));
}

#[tokio::test]
async fn a_chunked_body_is_put_together() {
    let gateway = Gateway::start().await;
    let head = format!("POST /events HTTP/1.1\r\nhost: localhost\r\n{}\r\n", EVENT.join("\r\n"));
    let chunks = "transfer-encoding: chunked\r\ncontent-type: text/plain\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let answer = send(gateway.address, format!("{head}{chunks}").as_bytes()).await;
    assert_eq!(answer.status, 202);
    assert_eq!(gateway.intake.last().event.data().unwrap().bytes(), "abcde");
}

#[tokio::test]
async fn a_sender_that_asks_first_is_told_to_go_on_or_why_not() {
    let gateway = Gateway::start().await;
    let head = |length: u32| {
        let lines = EVENT.join("\r\n");
        format!(
            "POST /events HTTP/1.1\r\nhost: localhost\r\n{lines}\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut connection = Connection::open(gateway.address).await;
    let go_on = connection.exchange(head(5).as_bytes()).await;
    assert_eq!(go_on.status, 100);
    assert_eq!(connection.exchange(b"12345").await.status, 202);

    let too_large = send(gateway.address, head(2_000_000).as_bytes()).await;
    assert_eq!(too_large.status, 413);
    assert_eq!(too_large.json()["detail"], "larger than the limit of 1048576 bytes");
}

#[tokio::test]
async fn a_sender_that_does_not_stop_still_reads_why_it_was_refused() {
    let gateway = Gateway::start().await;
    let large = request("POST /events", &EVENT, "x".repeat(8 * 1024 * 1024));
    let mut connection = Connection::open(gateway.address).await;
    assert!(connection.write(&large).await, "the connection was reset");
    assert_eq!(connection.read().await.unwrap().status, 413);
    assert!(connection.is_closed_within(crate::PATIENCE).await);
}

#[tokio::test]
async fn a_sender_that_has_closed_its_half_gets_its_answer() {
    let gateway = Gateway::start().await;
    gateway.intake.hold();
    let mut connection = Connection::open(gateway.address).await;
    connection.write(&event()).await;
    connection.finish().await;
    crate::until("the event", || gateway.intake.count() == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    gateway.intake.release();
    assert_eq!(connection.read().await.unwrap().status, 202);
}

#[tokio::test]
async fn methods_that_a_path_takes_are_told() {
    let gateway = Gateway::start().await;
    let options = send(gateway.address, &request("OPTIONS /events", &[], "")).await;
    assert_eq!((options.status, options.header("allow")), (204, Some("options, post")));
    let put = send(gateway.address, &request("PUT /events", &[], "")).await;
    assert_eq!((put.status, put.header("allow")), (405, Some("options, post")));
    assert_eq!(put.json()["title"], "Method Not Allowed");
}

#[tokio::test]
async fn the_webhook_handshake_is_answered_to_origins_on_the_list() {
    let webhook_origins = vec!["eventemitter.example.com".to_owned()];
    let gateway =
        Gateway::start_with(HttpConfig { webhook_origins, ..HttpConfig::default() }).await;
    let ask = |origin: &str| {
        let origin = format!("WebHook-Request-Origin: {origin}");
        request("OPTIONS /events", &[&origin, "WebHook-Request-Rate: 120"], "")
    };
    let known = send(gateway.address, &ask("eventemitter.example.com")).await;
    assert_eq!(known.header("webhook-allowed-origin"), Some("eventemitter.example.com"));
    assert_eq!(known.header("webhook-allowed-rate"), Some("*"));
    let unknown = send(gateway.address, &ask("other.example.com")).await;
    assert_eq!(unknown.header("webhook-allowed-origin"), None);
}

#[tokio::test]
async fn whoever_is_not_recognized_is_asked_for_a_token_before_the_body_is_read() {
    let closed = Authenticator::closed();
    let gateway = Gateway::assemble(HttpConfig::default(), closed, []).await;
    let answer = send(gateway.address, &event()).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("www-authenticate"), Some("bearer realm=\"event-gateway\""));
    let unsent = "POST /events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer abc\r\ncontent-length: 5\r\n\r\n";
    let answer = send(gateway.address, unsent.as_bytes()).await;
    assert_eq!(answer.status, 401);
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert_eq!(gateway.intake.count(), 0);
}

#[tokio::test]
async fn what_cannot_be_stored_now_is_refused_with_a_time_to_try_again() {
    let gateway = Gateway::start().await;
    gateway.intake.refuse(Refusal::Busy { retry_after: Duration::from_millis(1500) });
    let busy = send(gateway.address, &event()).await;
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("2")));
    let batch = r#"[{"specversion":"1.0","id":"1","source":"/s","type":"t"}]"#;
    let busy = send(gateway.address, &request("POST /events", &[BATCH], batch)).await;
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("2")));
    let retry_after = Duration::from_secs(30);
    gateway.intake.refuse(Refusal::Unavailable { reason: "disk full".into(), retry_after });
    let full = send(gateway.address, &event()).await;
    assert_eq!((full.status, full.header("retry-after")), (503, Some("30")));
    assert_eq!(full.json()["detail"], "disk full");
}

#[tokio::test]
async fn an_event_that_arrived_whole_is_taken_though_its_sender_has_left() {
    let gateway = Gateway::start().await;
    gateway.intake.hold();
    for sent in 1..=20 {
        let id = format!("ce-id: {sent}");
        let headers = [EVENT[0], &id, EVENT[2], EVENT[3]];
        let mut connection = Connection::open(gateway.address).await;
        connection.write(&request("POST /events", &headers, "payload")).await;
        drop(connection);
        crate::until("the event", || gateway.intake.count() == sent).await;
    }
}
