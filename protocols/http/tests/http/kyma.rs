//! Kyma's routes, as Kyma's clients know them.

use std::time::Duration;

use eg_auth::Authenticator;
use eg_event::submission::Binding;
use eg_event::{Data, Refusal};
use eg_http::HttpConfig;
use serde_json::{Value, json};

use crate::client::{Answer, request, send};
use crate::gateway::Gateway;

const ID: &str = "4ea567cf-812b-49d9-a4b2-cb5ddf464094";

fn v1() -> Value {
    json!({
        "event-type": "order.created", "event-type-version": "v1", "event-id": ID,
        "event-time": "2012-11-01T22:08:41+00:00", "data": {"orderCode": "1"}
    })
}

fn v2() -> Value {
    json!({
        "id": ID, "specversion": "0.3", "type": "order.created", "eventtypeversion": "v1",
        "time": "2012-11-01T22:08:41+00:00", "data": {"orderCode": "1"}
    })
}

/// `body` with the member `name` set, or left out where `value` is `None`.
fn with(mut body: Value, name: &str, value: Option<Value>) -> String {
    let members = body.as_object_mut().unwrap();
    match value {
        Some(value) => drop(members.insert(name.to_owned(), value)),
        None => drop(members.remove(name)),
    }
    body.to_string()
}

async fn post(gateway: &Gateway, path: &str, body: impl AsRef<[u8]>) -> Answer {
    let headers = ["content-type: application/json", "x-request-id: r-1"];
    send(gateway.address, &request(&format!("POST {path}"), &headers, body)).await
}

#[tokio::test]
async fn a_v1_event_becomes_a_cloudevent_of_its_application() {
    let gateway = Gateway::start().await;
    let body = v1().to_string().replace(r#"{"orderCode":"1"}"#, r#"{ "price": 1.10 }"#);
    let answer = post(&gateway, "/shop/v1/events", &body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-request-id"), Some("r-1"));
    let published = json!({
        "event-id": ID, "status": "published",
        "reason": "Message successfully published to the channel"
    });
    assert_eq!(answer.json(), published);
    let taken = gateway.intake.last();
    let event = &taken.event;
    assert_eq!((event.id(), event.source(), event.ty()), (ID, "shop", "order.created"));
    assert_eq!(event.time(), Some("2012-11-01T22:08:41+00:00"));
    assert_eq!(event.extension("eventtypeversion").unwrap().to_string(), "v1");
    assert_eq!(event.datacontenttype(), Some("application/json"));
    assert_eq!(event.data().unwrap().bytes(), r#"{ "price": 1.10 }"#);
    assert_eq!((taken.origin.binding, taken.id_assigned), (Binding::KymaV1, false));
}

#[tokio::test]
async fn an_event_without_identifier_gets_one_and_one_without_subscribers_is_ignored() {
    let gateway = Gateway::start().await;
    let body = with(v1(), "event-id", None).replace("order.created", "nobody.cares");
    let answer = post(&gateway, "/shop/v1/events", body).await.json();
    assert_eq!(answer["event-id"].as_str().unwrap().len(), 36);
    assert_eq!(answer["status"], "ignored");
    assert_eq!(
        answer["reason"],
        "Event was ignored as there are no subscriptions or consumers configured for this event"
    );
    assert!(gateway.intake.last().id_assigned);
}

#[tokio::test]
async fn the_source_is_the_bodys_else_the_headers_else_the_application() {
    let gateway = Gateway::start().await;
    let header = ["source-id: from.header"];
    let plain = with(v1(), "event-id", None);
    let named = with(v1(), "source-id", Some(json!("from.body")));
    for (body, source) in [(plain, "from.header"), (named, "from.body")] {
        let answer = send(gateway.address, &request("POST /shop/v1/events", &header, body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(gateway.intake.last().event.source(), source);
    }
    let wrong = request("POST /shop/v1/events", &["source-id: not_dotted"], v1().to_string());
    let answer = send(gateway.address, &wrong).await.json();
    assert_eq!(answer["details"][0]["field"], "Source-Id");
    assert_eq!(answer["details"][0]["type"], "invalid_header");
}

#[tokio::test]
async fn a_v2_event_is_lifted_to_cloudevents_1_0() {
    let gateway = Gateway::start().await;
    let mut body = v2();
    body["subject"] = json!("s");
    body["schemaurl"] = json!("https://x.test/schema");
    assert_eq!(post(&gateway, "/shop/v2/events", body.to_string()).await.status, 200);
    let taken = gateway.intake.last();
    let event = &taken.event;
    assert_eq!((event.id(), event.source(), event.subject()), (ID, "shop", Some("s")));
    assert_eq!(event.dataschema(), Some("https://x.test/schema"));
    assert_eq!(event.extension("eventtypeversion").unwrap().to_string(), "v1");
    assert!(matches!(event.data(), Some(Data::Json(_))));
    assert_eq!(taken.origin.binding, Binding::KymaV2);

    let mut body = v2();
    body["id"] = json!(ID.replace('4', "5"));
    body["datacontentencoding"] = json!("base64");
    body["data"] = json!("AQID");
    assert_eq!(post(&gateway, "/shop/v2/events", body.to_string()).await.status, 200);
    let data = gateway.intake.last().event.data().cloned();
    assert_eq!(data, Some(Data::Binary(bytes::Bytes::from_static(&[1, 2, 3]))));
}

#[tokio::test]
async fn a_body_that_breaks_a_rule_is_refused_in_kymas_words() {
    let gateway = Gateway::start().await;
    let long = Some(json!("a".repeat(254)));
    let text = |text: &str| Some(json!(text));
    let rows: Vec<(&str, String, &str, &str)> = vec![
        ("v1", with(v1(), "event-type", None), "event-type", "missing_field"),
        ("v1", with(v1(), "event-type", text("")), "event-type", "missing_field"),
        ("v1", with(v1(), "event-type-version", None), "event-type-version", "missing_field"),
        ("v1", with(v1(), "event-time", None), "event-time", "missing_field"),
        ("v1", with(v1(), "data", None), "data", "missing_field"),
        ("v1", with(v1(), "data", text("")), "data", "missing_field"),
        ("v1", with(v1(), "data", Some(Value::Null)), "data", "missing_field"),
        ("v1", with(v1(), "source-id", long.clone()), "source-id", "invalid_field_length"),
        ("v1", with(v1(), "event-type", long.clone()), "event-type", "invalid_field_length"),
        (
            "v1",
            with(v1(), "event-type-version", text("12345")),
            "event-type-version",
            "invalid_field_length",
        ),
        ("v1", with(v1(), "source-id", text("a_b")), "source-id", "invalid_field"),
        ("v1", with(v1(), "event-type", text("a..b")), "event-type", "invalid_field"),
        (
            "v1",
            with(v1(), "event-type-version", text("v.1")),
            "event-type-version",
            "invalid_field",
        ),
        ("v1", with(v1(), "event-time", text("yesterday")), "event-time", "invalid_field"),
        ("v1", with(v1(), "event-id", text("1")), "event-id", "invalid_field"),
        ("v1", "{}".to_owned(), "event-type", "missing_field"),
        ("v2", with(v2(), "id", None), "id", "missing_field"),
        ("v2", with(v2(), "specversion", None), "specversion", "missing_field"),
        ("v2", with(v2(), "type", None), "type", "missing_field"),
        ("v2", with(v2(), "eventtypeversion", None), "eventtypeversion", "missing_field"),
        ("v2", with(v2(), "time", None), "time", "missing_field"),
        ("v2", with(v2(), "data", None), "data", "missing_field"),
        ("v2", with(v2(), "type", long), "type", "invalid_field_length"),
        ("v2", with(v2(), "source", text("a b")), "source", "invalid_field"),
        ("v2", with(v2(), "specversion", text("1.0")), "specversion", "invalid_field"),
        ("v2", with(v2(), "time", text("1")), "time", "invalid_field"),
        ("v2", with(v2(), "id", text("1")), "id", "invalid_field"),
        (
            "v2",
            with(v2(), "datacontentencoding", text("gzip")),
            "datacontentencoding",
            "invalid_field",
        ),
        ("v2", with(v2(), "BadName", text("x")), "BadName", "invalid_field"),
        ("v2", with(v2(), "nested", Some(json!({}))), "nested", "invalid_field"),
    ];
    for (version, body, field, kind) in rows {
        let answer = post(&gateway, &format!("/shop/{version}/events"), &body).await;
        assert_eq!(answer.status, 400, "{body}");
        let error = answer.json();
        assert_eq!(error["status"], 400, "{body}");
        assert_eq!(error["type"], "validation_violation", "{body}");
        assert_eq!(error["details"][0]["field"], field, "{body}");
        assert_eq!(error["details"][0]["type"], kind, "{body}");
    }
    assert_eq!(gateway.intake.count(), 0);
}

#[tokio::test]
async fn what_is_missing_comes_before_what_is_wrong() {
    let gateway = Gateway::start().await;
    let body = json!({"event-type": "a..b", "event-type-version": "12345", "event-time": "1"});
    let first_fault = |error: &Value| error["details"][0]["field"].as_str().unwrap().to_owned();
    let error = post(&gateway, "/shop/v1/events", body.to_string()).await.json();
    assert_eq!(first_fault(&error), "data");
    let error = post(&gateway, "/shop/v1/events", with(body.clone(), "data", Some(json!(1)))).await;
    assert_eq!(first_fault(&error.json()), "event-type-version");
    let exact = json!({
        "status": 400, "type": "validation_violation", "message": "Invalid field", "moreInfo": "",
        "details": [{
            "field": "event-type-version", "type": "invalid_field_length",
            "message": "Invalid field", "moreInfo": "Field length must be at max: 4"
        }]
    });
    assert_eq!(error.json(), exact);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_or_stored_is_never_ignored() {
    let gateway = Gateway::start().await;
    for body in ["", "{", "[]", r#"{"event-type":5}"#, r#"{"data":1,"data":2}"#] {
        let answer = post(&gateway, "/shop/v1/events", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["type"], "bad_payload_syntax", "{body}");
    }
    let large = with(v1(), "data", Some(json!("x".repeat(65_536))));
    let answer = post(&gateway, "/shop/v1/events", &large).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["type"], "request_body_too_large");
    assert_eq!(answer.json()["message"], "Request body too large");

    let retry_after = Duration::from_secs(3);
    gateway.intake.refuse(Refusal::Unavailable { reason: "disk full".into(), retry_after });
    let answer = post(&gateway, "/shop/v1/events", v1().to_string()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("3")));
    assert_eq!(answer.json()["type"], "internal_server_error");
    assert_eq!(gateway.intake.count(), 0);
}

#[tokio::test]
async fn a_rule_broken_further_in_is_told_by_kymas_field() {
    let gateway = Gateway::start().await;
    let invalid = eg_event::InvalidInput::new("type", "expected a type that is registered");
    gateway.intake.refuse(invalid.into());
    let error = post(&gateway, "/shop/v1/events", v1().to_string()).await.json();
    assert_eq!(error["details"][0]["field"], "event-type");
    assert_eq!(error["details"][0]["moreInfo"], "expected a type that is registered");
}

#[tokio::test]
async fn what_is_subscribed_to_can_be_asked() {
    let gateway = Gateway::start().await;
    let ask =
        |application: &str| request(&format!("GET /{application}/v1/events/subscribed"), &[], "");
    let answer = send(gateway.address, &ask("shop")).await;
    assert_eq!(answer.status, 200);
    let expected = json!({"eventsInfo": [{"name": "order.created", "version": "v1"}]});
    assert_eq!(answer.json(), expected);
    assert_eq!(send(gateway.address, &ask("bank")).await.json(), json!({"eventsInfo": []}));
}

#[tokio::test]
async fn paths_methods_and_senders_that_do_not_fit_are_told_so_in_kymas_words() {
    let gateway = Gateway::start().await;
    let rows = [
        ("GET /shop/v1/events", 405, "Method not allowed."),
        ("PUT /shop/v2/events", 405, "Method not allowed."),
        ("POST /shop/v1/events/subscribed", 405, "Method not allowed."),
        ("POST /not_an_application/v1/events", 404, "Requested resource could not be found."),
        ("POST /%2e/v1/events", 404, "Requested resource could not be found."),
    ];
    for (line, status, error) in rows {
        let answer = send(gateway.address, &request(line, &[], "")).await;
        assert_eq!(answer.status, status, "{line}");
        assert_eq!(answer.json(), json!({"code": status, "error": error}), "{line}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{line}");
    }
    let closed = Gateway::assemble(HttpConfig::default(), Authenticator::closed(), []).await;
    let answer = post(&closed, "/shop/v1/events", v1().to_string()).await;
    assert_eq!((answer.status, &answer.json()["code"]), (401, &json!(401)));
    assert!(answer.header("www-authenticate").is_some());
}
