//! Requests that break a rule: each is answered with its status and the field at fault, and
//! nothing of it is ingested.

use eg_http::HttpConfig;

use crate::client::{Connection, EVENT, request, send};
use crate::gateway::Gateway;

const STRUCTURED: &str = "content-type: application/cloudevents+json";
const BATCH: &str = "content-type: application/cloudevents-batch+json";

/// A request, the status it is answered with, and the field that the answer names.
type Row = (Vec<u8>, u16, &'static str);

async fn check(rows: Vec<Row>) {
    let config = HttpConfig { batch_events_max: 2, ..HttpConfig::default() };
    let gateway = Gateway::start_with(config).await;
    for (request, status, field) in rows {
        let shown = String::from_utf8_lossy(&request[..request.len().min(400)]).into_owned();
        let answer = send(gateway.address, &request).await;
        assert_eq!(answer.status, status, "{shown}\n{answer:?}");
        if !field.is_empty() {
            assert_eq!(answer.field(), field, "{shown}\n{answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{shown}");
        }
        assert_eq!(gateway.intake.count(), 0, "{shown}");
    }
}

/// A valid event in the binary mode but for the headers that begin with `without`, and with `extra`.
fn binary(without: &str, extra: &[&str]) -> Vec<u8> {
    let rest = EVENT.iter().filter(|line| without.is_empty() || !line.starts_with(without));
    let headers: Vec<&str> = rest.chain(extra).copied().collect();
    request("POST /events", &headers, "")
}

fn structured(body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST /events", &[STRUCTURED], body)
}

/// A JSON event with one more member.
fn member(member: &str) -> Vec<u8> {
    structured(format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t",{member}}}"#))
}

#[tokio::test]
async fn in_the_binary_mode() {
    let long_name = format!("ce-{}: x", "n".repeat(65));
    let not_utf8 = {
        let mut bytes = binary("", &["ce-subject: ?"]);
        let at = bytes.iter().position(|&b| b == b'?').unwrap();
        bytes[at] = 0xff;
        bytes
    };
    let rows: Vec<Row> = vec![
        (request("POST /events", &["content-type: application/json"], "{}"), 400, "ce-specversion"),
        (binary("ce-specversion", &[]), 400, "ce-specversion"),
        (binary("ce-id", &[]), 400, "ce-id"),
        (binary("ce-source", &[]), 400, "ce-source"),
        (binary("ce-type", &[]), 400, "ce-type"),
        (binary("ce-id", &["ce-id:"]), 400, "ce-id"),
        (binary("ce-id", &["ce-id: \"\""]), 400, "ce-id"),
        (binary("", &["CE-ID: 2"]), 400, "ce-id"),
        (binary("ce-specversion", &["ce-specversion: 0.3"]), 400, "ce-specversion"),
        (binary("ce-source", &["ce-source: not%20a%20uri"]), 400, "ce-source"),
        (binary("", &["ce-time: yesterday"]), 400, "ce-time"),
        (binary("", &["ce-dataschema: /relative"]), 400, "ce-dataschema"),
        (binary("", &["ce-subject:"]), 400, "ce-subject"),
        (binary("", &["ce-subject: %FF"]), 400, "ce-subject"),
        (binary("", &["ce-subject: %C0%A0"]), 400, "ce-subject"),
        (binary("", &["ce-subject: \"open"]), 400, "ce-subject"),
        (binary("", &["ce-ext: %07"]), 400, "ce-ext"),
        (not_utf8, 400, "ce-subject"),
        (binary("", &["ce-bad_name: x"]), 400, "ce-bad_name"),
        (binary("", &["ce-with-dash: x"]), 400, "ce-with-dash"),
        (binary("", &["ce-: x"]), 400, "ce-"),
        (binary("", &["ce-data: x"]), 400, "ce-data"),
        (binary("", &["ce-data_base64: x"]), 400, "ce-data_base64"),
        (binary("", &["ce-datacontenttype: text/plain"]), 400, "ce-datacontenttype"),
        (binary("", &["content-type: json"]), 400, "content-type"),
        (binary("", &["content-type:"]), 400, "content-type"),
        (binary("", &["content-type: a/b", "content-type: c/d"]), 400, "content-type"),
    ];
    let long = send_long(&long_name).await;
    assert_eq!(long.0, 400);
    assert!(long.1.starts_with("ce-nnn") && long.1.len() < 80, "{}", long.1);
    check(rows).await;
}

async fn send_long(header: &str) -> (u16, String) {
    let gateway = Gateway::start().await;
    let answer = send(gateway.address, &binary("", &[header])).await;
    (answer.status, answer.field())
}

#[tokio::test]
async fn in_the_structured_mode() {
    let minimal = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
    let rows: Vec<Row> = vec![
        (structured(""), 400, "body"),
        (structured("{"), 400, "body"),
        (structured("null"), 400, "body"),
        (structured("\"text\""), 400, "body"),
        (structured(format!("[{minimal}]")), 400, "body"),
        (structured(format!("{minimal} {minimal}")), 400, "body"),
        (structured(b"{\"specversion\":\"1.0\",\"id\":\"\xff\"}"), 400, "body"),
        (structured("{}"), 400, "specversion"),
        (structured(minimal.replace(r#""id":"1","#, "")), 400, "id"),
        (structured(minimal.replace("1.0", "1.1")), 400, "specversion"),
        (structured(minimal.replace(r#""1""#, "1")), 400, "id"),
        (structured(minimal.replace("/s", "a b")), 400, "source"),
        (member(r#""id":"2""#), 400, "body"),
        (member(r#""time":7"#), 400, "time"),
        (member(r#""subject":"""#), 400, "subject"),
        (member(r#""ext":1.5"#), 400, "ext"),
        (member(r#""ext":99999999999"#), 400, "ext"),
        (member(r#""ext":{}"#), 400, "ext"),
        (member(r#""ext":"\u0007""#), 400, "ext"),
        (member(r#""BadName":"x""#), 400, "BadName"),
        (member(r#""datacontenttype":"json""#), 400, "datacontenttype"),
        (member(r#""data_base64":"*""#), 400, "data_base64"),
        (member(r#""data_base64":7"#), 400, "data_base64"),
        (member(r#""data":1,"data_base64":"AQ==""#), 400, "data_base64"),
        (request("POST /events", &[BATCH], minimal), 400, "body"),
        (request("POST /events", &[BATCH], "[{},{},{}]"), 400, "body"),
        (request("POST /events", &[BATCH], "[{}"), 400, "body"),
    ];
    check(rows).await;
}

#[tokio::test]
async fn by_form_size_path_method_or_credential() {
    let large = HttpConfig::default().body_bytes_max + 1;
    let length = format!("content-length: {large}");
    let announced = format!(
        "POST /events HTTP/1.1\r\nhost: localhost\r\n{}\r\n{length}\r\n\r\n",
        EVENT.join("\r\n")
    );
    let chunk = "a".repeat(usize::try_from(large).unwrap());
    let chunked = format!(
        "POST /events HTTP/1.1\r\nhost: localhost\r\n{}\r\ntransfer-encoding: chunked\r\n\r\n{large:x}\r\n{chunk}\r\n0\r\n\r\n",
        EVENT.join("\r\n")
    );
    let many: Vec<String> = (0..101).map(|n| format!("x-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = format!("x-long: {}", "x".repeat(70_000));
    let media = |text: &str| request("POST /events", &[&format!("content-type: {text}")], "{}");
    let rows: Vec<Row> = vec![
        (media("application/cloudevents+xml"), 415, "content-type"),
        (media("application/cloudevents"), 415, "content-type"),
        (media("application/cloudeventsx"), 415, "content-type"),
        (media("Application/CloudEvents-Batch+Avro"), 415, "content-type"),
        (media("application/cloudevents+json; charset=utf-16"), 415, "content-type"),
        (media("application/cloudevents-batch+json;charset=latin1"), 415, "content-type"),
        (binary("", &["content-encoding: gzip"]), 415, "content-encoding"),
        (
            binary("", &["content-encoding: identity", "content-encoding: br"]),
            415,
            "content-encoding",
        ),
        (announced.into_bytes(), 413, ""),
        (chunked.into_bytes(), 413, ""),
        (request("GET /events", &EVENT, ""), 405, ""),
        (request("PUT /events", &EVENT, ""), 405, ""),
        (request("DELETE /events", &EVENT, ""), 405, ""),
        (request("POST /", &EVENT, ""), 404, ""),
        (request("POST /events/", &EVENT, ""), 404, ""),
        (request("POST /Events", &EVENT, ""), 404, ""),
        (binary("", &["authorization: Bearer"]), 400, "authorization"),
        (binary("", &["authorization: Basic !"]), 400, "authorization"),
        (binary("", &["authorization: Bearer a", "authorization: Bearer b"]), 400, "authorization"),
        (binary("", &["authorization: Digest x"]), 401, ""),
        (binary("", &many), 431, ""),
        (binary("", &[&long]), 431, ""),
        (b"POST /events HTTP/1.1\r\ncontent-length: x\r\n\r\n".to_vec(), 400, ""),
        (b"POST /events HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n".to_vec(), 400, ""),
        (b"nonsense\r\n\r\n".to_vec(), 400, ""),
    ];
    check(rows).await;
}

#[tokio::test]
async fn a_body_that_stops_half_way_is_not_an_event() {
    let gateway = Gateway::start().await;
    for framing in ["content-length: 10\r\n\r\n12345", "transfer-encoding: chunked\r\n\r\n5\r\n123"]
    {
        let mut connection = Connection::open(gateway.address).await;
        let head =
            format!("POST /events HTTP/1.1\r\nhost: localhost\r\n{}\r\n", EVENT.join("\r\n"));
        connection.write(format!("{head}{framing}").as_bytes()).await;
        connection.finish().await;
        if let Some(answer) = connection.read().await {
            assert_eq!((answer.status, answer.field().as_str()), (400, "body"));
        }
        assert_eq!(gateway.intake.count(), 0);
    }
}
