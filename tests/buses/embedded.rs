//! The broker rumqttd within the test, in both directions and both content modes, beside a client
//! that nobody here wrote.

use std::collections::HashMap;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_tests::acme::free_port;
use eg_tests::gateway::Gateway;
use eg_tests::{peers, wait};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::consume::{event, journal, reading, structured, with};
use crate::deliver::{DATA, Reader, assert_is_structured, body};
use crate::registered::{publish, register, register_all};

/// Starts a broker for MQTT 5 that ends with the test; gives back its port.
async fn broker() -> u16 {
    let port = free_port();
    let connections = ConnectionSettings {
        connection_timeout_ms: 60_000,
        max_payload_size: 1 << 20,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "v5".to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = RouterConfig {
        max_connections: 10,
        max_outgoing_packet_count: 200,
        max_segment_size: 1 << 20,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    let servers = HashMap::from([("1".to_owned(), server)]);
    let mut broker = Broker::new(Config { router, v5: Some(servers), ..Config::default() });
    std::thread::spawn(move || drop(broker.start()));
    let reachable = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok();
    wait::until("the broker listens", reachable).await;
    port
}

#[tokio::test]
async fn rumqttd_gets_events_with_all_attributes_in_both_content_modes() {
    let (gateway, port) = (Gateway::start(PROGRAM).await, broker().await);
    let url = format!("mqtt://127.0.0.1:{port}");
    let external = json!([
        { "url": url, "topic": "lamps/binary/{partitionkey}" },
        { "url": url, "topic": "lamps/structured", "attributes": { "contentMode": "STRUCTURED" } },
    ]);
    let mut reader = Reader::start("mqtt_bus.py", &[&port.to_string(), "5", "lamps/#", "2"]);
    assert_eq!(reader.line().await, "ready");
    register_all(&gateway, external).await;
    publish(&gateway, "1", DATA).await;
    let mut messages = [reader.message().await, reader.message().await];
    messages.sort_by_key(|message| message["topic"].to_string());
    let [binary, structured] = messages;
    assert_eq!(binary["topic"], "lamps/binary/7");
    assert_eq!(body(&binary), DATA);
    let expected = json!({
        "specversion": "1.0", "id": "1", "type": "lamp.lit", "source": "/lamps/caf%C3%A9",
        "subject": "a \"quoted\" subject", "time": "2026-11-21T10:00:00.125Z",
        "partitionkey": "7", "content-type": "application/octet-stream",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    assert_eq!(binary["headers"], expected);
    assert_is_structured(&structured);
}

async fn write(port: u16, headers: Value, body: &[u8]) {
    let message = json!({ "topic": "lamps/lit", "headers": headers, "body": BASE64.encode(body) });
    let mut command = peers::python("mqtt_bus_publish.py");
    command.args([&port.to_string(), "5", "one", &message.to_string()]);
    peers::run(command).await;
}

#[tokio::test]
async fn what_is_published_on_rumqttd_becomes_events_in_both_content_modes() {
    let (gateway, port) = (Gateway::start(PROGRAM).await, broker().await);
    let url = format!("mqtt://127.0.0.1:{port}");
    register(&gateway, &url, "lamps/#", with(json!({}))).await;
    reading(&gateway).await;
    let headers = json!({
        "specversion": "1.0", "id": "1", "type": "lamp.lit", "source": "/lamps/caf%C3%A9",
        "subject": "a \"quoted\" subject", "time": "2026-11-21T10:00:00.125Z",
        "partitionkey": "7", "content-type": "application/octet-stream",
    });
    write(port, headers, DATA).await;
    let (whole, headers) = structured();
    write(port, headers, whole.to_string().as_bytes()).await;
    let found = journal(&gateway, 2).await;
    let binary = json!({
        "specversion": "1.0", "id": "1", "type": "lamp.lit", "source": "/lamps/caf%C3%A9",
        "subject": "a \"quoted\" subject", "time": "2026-11-21T10:00:00.125Z",
        "partitionkey": "7", "datacontenttype": "application/octet-stream",
        "data_base64": BASE64.encode(DATA),
    });
    assert_eq!(event(&found[0]), binary);
    assert_eq!(event(&found[1]), whole);
    assert_eq!(found[0]["origin"]["address"], format!("{url}/lamps/lit"));
}
