//! Input that breaks a rule, over every way in: each gets an error that names what is wrong, and
//! leaves nothing behind.

use eg_tests::gateway::Gateway;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::PROGRAM;

const EVENT: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// Content type, body, status, and the field that the problem names.
type Body = (&'static str, &'static str, u16, &'static str);

const BODIES: [Body; 27] = [
    (EVENT, "", 400, "body"),
    (EVENT, "{", 400, "body"),
    (EVENT, "null", 400, "body"),
    (EVENT, "[]", 400, "body"),
    (EVENT, "{}", 400, "specversion"),
    (EVENT, r#"{"specversion":"1.0","source":"/s","type":"t"}"#, 400, "id"),
    (EVENT, r#"{"specversion":"1.0","id":"1","type":"t"}"#, 400, "source"),
    (EVENT, r#"{"specversion":"1.0","id":"1","source":"/s"}"#, 400, "type"),
    (EVENT, r#"{"specversion":"2.0","id":"1","source":"/s","type":"t"}"#, 400, "specversion"),
    (EVENT, r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#, 400, "id"),
    (EVENT, r#"{"specversion":"1.0","id":7,"source":"/s","type":"t"}"#, 400, "id"),
    (EVENT, r#"{"specversion":"1.0","id":"1","source":"a b","type":"t"}"#, 400, "source"),
    (EVENT, r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"now"}"#, 400, "time"),
    (EVENT, r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","Up":"x"}"#, 400, "Up"),
    (EVENT, r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","e":1.5}"#, 400, "e"),
    (EVENT, r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","e":{}}"#, 400, "e"),
    (EVENT, r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","e":9999999999}"#, 400, "e"),
    (
        EVENT,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":""}"#,
        400,
        "subject",
    ),
    (
        EVENT,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","dataschema":"x"}"#,
        400,
        "dataschema",
    ),
    (
        EVENT,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"*"}"#,
        400,
        "data_base64",
    ),
    (EVENT, r#"{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t"}"#, 400, "body"),
    (EVENT, r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"} x"#, 400, "body"),
    (BATCH, r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#, 400, "body"),
    (BATCH, "[{}", 400, "body"),
    ("application/cloudevents+xml", "<event/>", 415, "content-type"),
    ("application/json", "{}", 400, "ce-specversion"),
    ("json", "{}", 400, "content-type"),
];

#[tokio::test]
async fn over_http() {
    let gateway = Gateway::start(PROGRAM).await;
    let client = reqwest::Client::new();
    for (media_type, body, status, field) in BODIES {
        let request = client.post(gateway.url("/events")).header("content-type", media_type);
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), status, "{body}");
        let problem: Value = answer.json().await.unwrap();
        let named = problem["errors"][0]["field"].as_str().or_else(|| problem["field"].as_str());
        assert!(named == Some(field) || status == 415, "{body}: {problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
    }
    assert_eq!(gateway.next_sequence().await, 1, "nothing is left");
}

/// CONNECT of MQTT 5 with a clean start and the client identifier `c`.
const CONNECT: &[u8] = &[0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, b'c'];

/// What is wrong, the packet, and the answer's first byte and reason code.
type Packet = (&'static str, &'static [u8], (u8, u8));

const PACKETS: [Packet; 14] = [
    ("QoS 3", &[0x36, 6, 0, 1, b't', 0, 1, 0], (0xe0, 0x81)),
    ("a reserved type", &[0x00, 0], (0xe0, 0x81)),
    ("wrong flags", &[0x60, 2, 0, 1], (0xe0, 0x81)),
    ("no topic", &[0x32, 5, 0, 0, 0, 1, 0], (0xe0, 0x82)),
    ("a wildcard", &[0x32, 6, 0, 1, b'#', 0, 1, 0], (0xe0, 0x90)),
    ("packet identifier 0", &[0x32, 6, 0, 1, b't', 0, 0, 0], (0xe0, 0x82)),
    ("alias 0", &[0x32, 9, 0, 1, b't', 0, 1, 3, 0x23, 0, 0], (0xe0, 0x94)),
    ("alias over the maximum", &[0x32, 9, 0, 1, b't', 0, 1, 3, 0x23, 1, 0], (0xe0, 0x94)),
    ("a second CONNECT", CONNECT, (0xe0, 0x82)),
    ("a property that does not exist", &[0x32, 8, 0, 1, b't', 0, 1, 2, 0x7f, 0], (0xe0, 0x81)),
    ("a string that is not UTF-8", &[0x32, 7, 0, 2, 0xff, 0xfe, 0, 1, 0], (0xe0, 0x81)),
    ("text that is not text", &[0x32, 9, 0, 1, b't', 0, 1, 2, 1, 1, 0xff], (0x40, 0x99)),
    (
        "a CloudEvent without attributes",
        b"\x32\x25\x00\x01t\x00\x01\x1f\x03\x00\x1capplication/cloudevents+json",
        (0x40, 0x99),
    ),
    (
        "a CloudEvent that is no JSON",
        b"\x32\x27\x00\x01t\x00\x01\x1f\x03\x00\x1capplication/cloudevents+json{x",
        (0x40, 0x99),
    ),
];

#[tokio::test]
async fn over_mqtt() {
    let gateway = Gateway::start(PROGRAM).await;
    for (what, packet, expected) in PACKETS {
        let mut stream = TcpStream::connect(gateway.address("mqtt")).await.unwrap();
        stream.write_all(CONNECT).await.unwrap();
        let (first, _) = read_packet(&mut stream).await;
        assert_eq!(first, 0x20, "{what}: CONNACK");
        stream.write_all(packet).await.unwrap();
        let (first, body) = read_packet(&mut stream).await;
        let code = if first == 0xe0 { body[0] } else { body[2] };
        assert_eq!((first, code), expected, "{what}: {first:02x} {body:02x?}");
    }
    assert_eq!(gateway.next_sequence().await, 1, "nothing is left");
}

async fn read_packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let first = stream.read_u8().await.unwrap();
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = stream.read_u8().await.unwrap();
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (first, body)
}

#[tokio::test]
async fn in_subscriptions_and_their_expressions() {
    let gateway = Gateway::start(PROGRAM).await;
    let sql = |text: &str| json!({ "filters": [{ "sql": text }] });
    let rows: Vec<(Value, &str)> = vec![
        (json!({ "name": "" }), "name"),
        (json!({ "name": "a b" }), "name"),
        (json!({ "endpoint": "not a url" }), "endpoint"),
        (json!({ "endpoint": "ftp://127.0.0.1/" }), "endpoint"),
        (json!({ "endpoint": "http://169.254.169.254/" }), "endpoint"),
        (json!({ "maxInFlight": 0 }), "maxInFlight"),
        (json!({ "maxInFlight": 401 }), "maxInFlight"),
        (json!({ "pushRequestTimeoutMs": 60001 }), "pushRequestTimeoutMs"),
        (json!({ "retry": { "maxAttempts": 0 } }), "maxAttempts"),
        (json!({ "signingSecrets": ["secret"] }), "signingSecret"),
        (json!({ "filters": [{ "exact": {} }] }), "filters"),
        (json!({ "filters": [{ "like": { "type": "x" } }] }), "filters"),
        (json!({ "filters": [{ "exact": { "Type": "x" } }] }), "filters"),
        (json!({ "filters": [{ "not": [] }] }), "filters"),
        (json!({ "filters": "x" }), "filters"),
        (sql(""), "sql"),
        (sql("type ="), "sql"),
        (sql("= 'x'"), "sql"),
        (sql("type = 'x"), "sql"),
        (sql("type = 'x')"), "sql"),
        (sql("(type = 'x'"), "sql"),
        (sql("type == 'x'"), "sql"),
        (sql("type LIKE 7"), "sql"),
        (sql("type IN ()"), "sql"),
        (sql("type IN ('a',)"), "sql"),
        (sql("EXISTS 'x'"), "sql"),
        (sql("1 +"), "sql"),
        (sql("99999999999 = 1"), "sql"),
        (sql("NOT"), "sql"),
        (sql("a AND AND b"), "sql"),
        (sql("type = 'x' # comment"), "sql"),
        (sql("\u{1F600}"), "sql"),
    ];
    let query = "mutation($in: SubscriptionInput!) { createSubscription(in: $in) { name } }";
    for (wrong, named) in rows {
        let mut input = json!({ "name": "s", "endpoint": "http://127.0.0.1:9/" });
        input.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let answer = gateway.graphql_raw(query, json!({ "in": input })).await;
        let message = answer["errors"][0]["message"].as_str();
        let message = message.unwrap_or_else(|| panic!("{wrong} was taken: {answer}"));
        assert!(message.contains(named), "{wrong}: {message}");
    }
    let all = gateway.graphql("{ subscriptions { totalCount } }", json!({})).await;
    assert_eq!(all["subscriptions"]["totalCount"], 0, "nothing is left");
}
