//! What an operator is told of each misconfiguration, beside real brokers; it is what
//! docs/buses-troubleshooting.md says.

use std::fmt::{Display, Write as _};

use eg_tests::brokers::Broker;
use eg_tests::gateway::Gateway;
use eg_tests::kafka::Kafka;
use eg_tests::openssl::Authority;
use eg_tests::subscriber::{Reaction, Subscriber};
use eg_tests::wait::until;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::registered::{make_stream, try_to_register};

const DOCUMENT: &str = include_str!("../../docs/buses-troubleshooting.md");
/// What more than the brokers take is, in bytes.
const TOO_LARGE: usize = 1500;

/// What is wrong, and how it is asked for.
struct Row(&'static str, Value);

fn row(what: &'static str, url: &str, topic: &str, attributes: &Value) -> Row {
    Row(what, json!({ "url": url, "topic": topic, "attributes": attributes }))
}

impl Row {
    fn with(mut self, auth: Value) -> Self {
        self.1["auth"] = auth;
        self
    }
}

fn basic(username: &str, password: &str) -> Value {
    json!({ "credential": { "basic": { "username": username, "password": password } } })
}

/// What a definition is refused for.
fn senseless() -> Vec<Row> {
    let (nats, mqtt) = ("nats://bus.example", "mqtt://bus.example");
    let certificate = json!({ "certificate": { "certificateChain": "-", "privateKey": "-" } });
    let csrf = json!({ "requestAuth": { "csrf": { "tokenEndpointURL": "https://id.example" } } });
    let oauth = json!({ "credential": { "oauth": { "clientId": "a", "clientSecret": "b",
        "url": "http://10.0.0.1/token" } } });
    vec![
        row("The scheme is none of a bus", "ftp://bus.example", "t", &json!({})),
        row("The URL has a user name", "nats://ann:s3cret@bus.example", "t", &json!({})),
        row("The URL has a path", "nats://bus.example/orders", "t", &json!({})),
        row("An attribute is misspelt", nats, "t", &json!({ "contentmode": "BINARY" })),
        row("An attribute does not exist", nats, "t", &json!({ "colour": "red" })),
        row("An attribute is another bus's", mqtt, "t", &json!({ "stream": "ORDERS" })),
        row("A value does not exist", nats, "t", &json!({ "contentMode": "binary" })),
        row("A number is out of range", nats, "t", &json!({ "maxInFlight": "0" })),
        row("The pauses contradict", nats, "t", &json!({ "retryMaxDelayMs": "10" })),
        row("A timeout is too long", mqtt, "t", &json!({ "requestTimeoutMs": "90000" })),
        row("The authorities are a file name", nats, "t", &json!({ "caCertificates": "ca.pem" })),
        row("The ordering key is no attribute", nats, "t", &json!({ "orderingKey": "data.id" })),
        row("A brace is not closed", nats, "orders.{type", &json!({})),
        row("A brace holds no attribute", nats, "orders.{data.id}", &json!({})),
        row("The topic has a wildcard", mqtt, "orders/#", &json!({})),
        row("The subject has a space", nats, "orders placed", &json!({})),
        row("Attributes have no place", mqtt, "t", &json!({ "protocolVersion": "3.1.1" })),
        row("A certificate without TLS", nats, "t", &json!({})).with(certificate.clone()),
        row("A certificate that is none", "mqtts://bus.example", "t", &json!({})).with(certificate),
        row("CSRF tokens for a bus", nats, "t", &json!({})).with(csrf),
        row("Tokens from a private address", nats, "t", &json!({})).with(oauth),
        row("No attribute of HTTP", "https://bus.example", "t", &json!({ "qos": "1" })),
    ]
}

/// What leads to no broker.
fn astray(nats: &Broker, mqtt: &Broker) -> Vec<Row> {
    let nats_port = nats.port();
    let mqtt_port = mqtt.port();
    let soon = json!({ "requestTimeoutMs": "2000" });
    let at = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
    vec![
        row("The host does not exist", "nats://bus.invalid", "t", &json!({})),
        row("The address is private", "mqtt://10.0.0.1", "t", &json!({})),
        row("Nobody listens (NATS)", "nats://127.0.0.1:1", "t", &json!({})),
        row("Nobody listens (MQTT)", "mqtt://127.0.0.1:1", "t", &json!({})),
        row("NATS is looked for at an MQTT broker", &at("nats", mqtt_port), "t", &soon),
        row("MQTT is looked for at a NATS server", &at("mqtt", nats_port), "t", &soon),
        row("TLS where none is spoken (MQTT)", &at("mqtts", mqtt_port), "t", &soon),
        row("TLS where none is spoken (NATS)", &at("tls+nats", nats_port), "t", &soon),
    ]
}

/// What NATS refuses.
fn refused_by_nats(open: &Broker, closed: &Broker, core: &Broker) -> Vec<Row> {
    let url = |broker: &Broker| format!("nats://127.0.0.1:{}", broker.port());
    let (open, closed, core) = (url(open), url(closed), url(core));
    let keyed = |kind: &str| json!({ "authentication": kind });
    let user = || basic("gateway", "s3cret");
    vec![
        row("No stream takes the subject", &open, "orders", &json!({})),
        row("Another stream takes the subject", &open, "lamps", &json!({ "stream": "ORDERS" })),
        row("The event lacks the attribute", &open, "lamps.{subject}", &json!({})),
        row("JetStream is not enabled", &core, "lamps", &json!({})),
        row("No credential where one is asked for", &closed, "lamps", &json!({})),
        row("The password is wrong", &closed, "lamps", &json!({})).with(basic("gateway", "no")),
        row("The token is wrong", &closed, "lamps", &keyed("TOKEN")).with(basic("gateway", "no")),
        row("The seed is none", &closed, "lamps", &keyed("NKEY")).with(basic("gateway", "no")),
        row("The credentials file is none", &closed, "lamps", &keyed("CREDENTIALS")).with(user()),
        row("The user may not publish there", &closed, "private", &json!({})).with(user()),
        row("The event is too large", &closed, "lamps", &json!({})).with(user()),
    ]
}

/// What MQTT brokers refuse.
fn refused_by_mqtt(closed: &Broker) -> Vec<Row> {
    let url = format!("mqtt://127.0.0.1:{}", closed.port());
    let old = json!({ "protocolVersion": "3.1.1", "contentMode": "STRUCTURED" });
    let user = || basic("gateway", "s3cret");
    vec![
        row("The password is wrong (MQTT 5)", &url, "t", &json!({})).with(basic("gateway", "no")),
        row("The password is wrong (MQTT 3.1.1)", &url, "t", &old).with(basic("gateway", "no")),
        row("The user may not publish there (MQTT)", &url, "private", &json!({})).with(user()),
        row("The event is too large (MQTT)", &url, "t/{source}", &json!({})).with(user()),
        row("The broker has no QoS 2", &url, "t", &json!({ "qos": "2" })).with(user()),
        row("The broker retains nothing", &url, "t", &json!({ "retain": "true" })).with(user()),
    ]
}

/// What RabbitMQ refuses.
fn refused_by_amqp(broker: &Broker) -> Vec<Row> {
    let (old, new) = ("amqp", "amqp10");
    let at = |scheme: &str, path: &str| format!("{scheme}://127.0.0.1:{}{path}", broker.port());
    vec![
        row("No queue gets it (AMQP 0.9.1)", &at(old, ""), "nowhere", &json!({})),
        row("No such exchange", &at(old, ""), "t", &json!({ "exchange": "nowhere" })),
        row("No such virtual host", &at(old, "/nowhere"), "t", &json!({})),
        row("The password is wrong (AMQP 0.9.1)", &at(old, ""), "t", &json!({}))
            .with(basic("guest", "no")),
        row("No such queue (AMQP 1.0)", &at(new, ""), "/queues/nowhere", &json!({})),
    ]
}

/// What TLS brings to light.
fn insecure(authority: &Authority, [good, expired, other]: [&Broker; 3]) -> Vec<Row> {
    let pem = std::fs::read_to_string(authority.file("ca.pem")).unwrap();
    let trusted = json!({ "caCertificates": pem });
    let at = |scheme: &str, broker: &Broker| format!("{scheme}://localhost:{}", broker.port());
    vec![
        row("The authority is not trusted", &at("mqtts", good), "t", &json!({})),
        row("The certificate has ended", &at("mqtts", expired), "t", &trusted),
        row("The certificate is for another name", &at("mqtts", other), "t", &trusted),
        row("A client certificate is missing", &at("mqtts", good), "t", &trusted),
        row("No TLS where it is asked for", &at("mqtt", good), "t", &trusted),
    ]
}

/// What is wrong with Kafka; the brokers show no certificate, a good one, and one for another name,
/// or want a password.
fn of_kafka(
    authority: &Authority,
    nats: &Broker,
    [plain, good, other, closed]: [&Kafka; 4],
) -> Vec<Row> {
    let text = |file: &str| std::fs::read_to_string(authority.file(file)).unwrap();
    // Its client says more than that time is over when there is enough of it.
    let long = |mut attributes: Value| {
        attributes["requestTimeoutMs"] = json!("20000");
        attributes
    };
    let trusted = long(json!({ "caCertificates": text("ca.pem") }));
    let known = json!({ "certificate": { "certificateChain": text("gateway.pem"),
        "privateKey": text("gateway.key") } });
    let at = |scheme: &str, port: &dyn Display| format!("{scheme}://127.0.0.1:{port}");
    let open = plain.url();
    let (open, none) = (open.as_str(), long(json!({})));
    vec![
        row("The topic has a slash (Kafka)", open, "orders/placed", &none),
        row("An attribute is misspelt (Kafka)", open, "t", &json!({ "groups": "g" })),
        row("The mechanism does not exist", open, "t", &json!({ "authentication": "GSSAPI" })),
        row("Nobody listens (Kafka)", "kafka://127.0.0.1:1", "t", &none),
        row("Kafka is looked for at a NATS server", &at("kafka", &nats.port()), "t", &none),
        row("TLS where none is spoken (Kafka)", &at("kafkas", &plain.port()), "t", &trusted),
        row("No TLS where it is asked for (Kafka)", &at("kafka", &good.port()), "t", &none),
        row("The authority is not trusted (Kafka)", &at("kafkas", &good.port()), "t", &none),
        row(
            "The certificate is for another name (Kafka)",
            &at("kafkas", &other.port()),
            "t",
            &trusted,
        )
        .with(known),
        row("A client certificate is missing (Kafka)", &at("kafkas", &good.port()), "t", &trusted),
        row("No broker has the mechanism", open, "t", &none).with(basic("gateway", "s3cret")),
        row("A password is wanted (Kafka)", &closed.url(), "t", &none),
        row("The password is wrong (Kafka)", &closed.url(), "t", &none)
            .with(basic("gateway", "guessed")),
    ]
}

/// What comes of tokens that are not to be had.
fn without_token(broker: &Broker, provider: &Subscriber) -> Vec<Row> {
    let url = format!("nats://127.0.0.1:{}", broker.port());
    let oauth = |url: &str| {
        json!({ "credential": { "oauth": { "clientId": "gateway", "clientSecret": "no",
            "url": url } } })
    };
    vec![
        row("The provider refuses the client", &url, "lamps", &json!({}))
            .with(oauth(&provider.url())),
        row("The provider is down", &url, "lamps", &json!({})).with(oauth("http://127.0.0.1:1/")),
    ]
}

async fn mosquitto_over_tls(authority: &Authority, name: &str) -> Broker {
    let mut broker = Broker::mosquitto().await;
    let file = |name: &str| authority.file(name).display().to_string();
    let tls = format!(
        "certfile {}\nkeyfile {}\ncafile {}\nrequire_certificate true\n",
        file(&format!("{name}.pem")),
        file(&format!("{name}.key")),
        file("ca.pem")
    );
    broker.configure(&tls).await;
    broker
}

async fn closed_mosquitto() -> Broker {
    let mut broker = Broker::mosquitto().await;
    let file = |name: &str| broker.directory().join(name).display().to_string();
    let mut command = tokio::process::Command::new("mosquitto_passwd");
    command.args(["-b", "-c", &file("passwords"), "gateway", "s3cret"]);
    assert!(command.status().await.unwrap().success());
    std::fs::write(file("acl"), "user gateway\ntopic write t/#\n").unwrap();
    let more = format!(
        "allow_anonymous false\npassword_file {}\nacl_file {}\nmax_qos 1\nretain_available false\n\
         max_packet_size 1000\n",
        file("passwords"),
        file("acl")
    );
    broker.configure(&more).await;
    broker
}

async fn closed_nats() -> Broker {
    let mut broker = Broker::nats().await;
    make_stream(&broker).await;
    let more = "max_payload: 1024\nauthorization { users: [{ user: gateway, password: s3cret, \
        permissions: { publish: { deny: private } } }] }\n";
    broker.configure(more).await;
    broker
}

/// What is said when `application` asks for this.
async fn said(gateway: &Gateway, application: &str, Row(what, mut external): Row) -> String {
    let attributes = external["attributes"].as_object_mut().unwrap();
    attributes.insert("retryMaxAttempts".to_owned(), json!("1"));
    attributes.entry("requestTimeoutMs").or_insert_with(|| json!("10000"));
    if let Err(refused) = try_to_register(gateway, application, &external).await {
        return refused;
    }
    let source = format!("/{application}");
    let data_bytes = if what.contains("too large") { TOO_LARGE } else { 1 };
    let event = json!({ "specversion": "1.0", "id": "1", "type": "lamp.lit", "source": source,
        "data": "x".repeat(data_bytes) });
    let request = reqwest::Client::new().post(gateway.url("/events"));
    let request = request.header("content-type", "application/cloudevents+json");
    let answer = request.body(event.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let query = "query($s: String!) { event(source: $s, id: \"1\") { \
        subscriptions { attempts { reason } } } }";
    until(&format!("an attempt has failed: {external}"), async || {
        let journey = gateway.graphql(query, json!({ "s": source })).await;
        let all = journey["event"]["subscriptions"].as_array()?.iter();
        let mut reasons = all.filter_map(|one| one["attempts"][0]["reason"].as_str());
        reasons.next().map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn each_misconfiguration_is_told_as_the_document_says() {
    let authority = Authority::create("Plant").await;
    authority.issue("server", &["-extensions", "server"]).await;
    let past = ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"];
    authority.issue("expired", &[&["-extensions", "server"], &past[..]].concat()).await;
    let names = "[other]\nextendedKeyUsage = serverAuth\nsubjectAltName = DNS:other.example\n";
    std::fs::write(authority.file("other.cnf"), names).unwrap();
    authority.issue("other", &["-extfile", "other.cnf", "-extensions", "other"]).await;
    authority.issue("gateway", &[]).await;
    let plain = Kafka::start().await;
    let secured = Kafka::over_tls(&authority, "server", "gateway").await;
    let foreign = Kafka::over_tls(&authority, "other", "gateway").await;
    let guarded = Kafka::with_users(None).await;
    let good = mosquitto_over_tls(&authority, "server").await;
    let expired = mosquitto_over_tls(&authority, "expired").await;
    let other = mosquitto_over_tls(&authority, "other").await;
    let (open, mqtt) = (Broker::nats().await, Broker::mosquitto().await);
    make_stream(&open).await;
    let mut core = Broker::nats().await;
    core.configure("jetstream: disabled\n").await;
    let (closed, closed_mqtt) = (closed_nats().await, closed_mosquitto().await);
    let rabbit = Broker::rabbitmq().await;
    let denied = json!({ "error": "invalid_client" }).to_string();
    let provider = Subscriber::scripted(move |_, _| Reaction::Text(401, denied.clone())).await;
    let gateway = Gateway::start(PROGRAM).await;
    let rows = [
        senseless(),
        astray(&open, &mqtt),
        refused_by_nats(&open, &closed, &core),
        refused_by_mqtt(&closed_mqtt),
        refused_by_amqp(&rabbit),
        insecure(&authority, [&good, &expired, &other]),
        without_token(&open, &provider),
        of_kafka(&authority, &open, [&plain, &secured, &foreign, &guarded]),
    ];
    let ports = [rabbit.port(), open.port()].map(|port| format!(":{port}"));
    let kafka = [&plain, &secured, &foreign, &guarded].map(|kafka| format!(":{}", kafka.port()));
    let ports = [&ports[..], &kafka[..]].concat();
    let mut table = String::new();
    let generated = format!("{}/buses-troubleshooting.md", env!("CARGO_TARGET_TMPDIR"));
    for (index, row) in rows.into_iter().flatten().enumerate() {
        let what = row.0;
        let said = said(&gateway, &format!("row{index}"), row).await;
        assert!(!said.contains("s3cret"), "{said}");
        let said = ports.iter().fold(said, |said, port| said.replace(port, ":PORT"));
        writeln!(table, "| {what} | {said} |").unwrap();
        std::fs::write(&generated, &table).unwrap();
    }
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| ")).skip(1);
    let documented: Vec<_> = rows.collect();
    assert_eq!(table.lines().collect::<Vec<_>>(), documented, "the table is in {generated}");
}
