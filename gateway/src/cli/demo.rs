//! `demo`: a gateway in a temporary directory, a registered document, one subscriber, one event
//! over HTTP and one over MQTT, and the way that each of them took.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use eg_event::Clock;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::CliError;
use super::client::Client;
use super::event;
use super::output::Output;
use crate::assemble::Gateway;
use crate::bench;
use crate::config::Config;
use crate::run::RunError;

/// How long each step may take.
const STEP_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the gateway may take to end.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(5);
/// The topic that the device publishes to.
const TOPIC: &str = "plant/press-1/temperature";

/// What the device's payloads are: `AsyncAPI` that is registered.
const DOCUMENT: &str = "asyncapi: 3.0.0
info: {title: Presses, version: 1.0.0}
channels:
  temperature:
    address: plant/{press}/temperature
    parameters: {press: {description: The name of the press.}}
    messages:
      measured:
        name: press.temperature
        contentType: application/json
        payload:
          type: object
          required: [celsius]
          properties: {celsius: {type: number, maximum: 400}}
";

/// Runs the demonstration; fails when an event does not arrive.
pub(super) fn run(output: &mut Output) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| CliError::Run(RunError::Runtime(cause)))?;
    let directory = tempfile::tempdir()
        .map_err(|cause| CliError::Io { what: "temporary directory".to_owned(), cause })?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config { dev: true, ..Config::default() };
    config.data_directory = directory.path().join("data");
    (config.listen.http, config.listen.mqtt, config.listen.admin) = (any, any, any);
    runtime.block_on(async {
        let gateway = Gateway::assemble(config, Clock::system()).await.map_err(RunError::from)?;
        output.line(&format!("a gateway in {}", directory.path().display()));
        let address = |name| gateway.addresses().iter().find(|(known, _)| *known == name);
        let ports =
            ["http", "mqtt", "admin"].map(|name| address(name).map_or(any, |found| found.1));
        let (stop, stopped) = oneshot::channel::<()>();
        let running = gateway.run(async { drop(stopped.await) }, SHUTDOWN_TIME_MAX);
        let shown = async {
            let shown = show(ports, output).await;
            drop(stop);
            shown
        };
        let (ran, shown) = tokio::join!(running, shown);
        ran.map_err(RunError::from)?;
        shown
    })
}

/// An event as the subscriber was sent it.
struct Arrival {
    source: String,
    id: String,
    payload: Bytes,
}

async fn show([http, mqtt, admin]: [SocketAddr; 3], output: &mut Output) -> Result<(), CliError> {
    let (endpoint, mut arrivals) = subscriber().await?;
    let client = Client::of(&format!("http://{admin}"))?;
    let query = "mutation($in: SubscriptionInput!) { createSubscription(in: $in) { name } }";
    let input = json!({ "in": { "name": "demo", "endpoint": endpoint } });
    client.graphql(query, input, "createSubscription").await?;
    output.line(&format!("subscription demo pushes every event to {endpoint}\n"));

    let create = "mutation($in: ApplicationInput!) { createApplication(in: $in) { name } }";
    let spec = json!({ "eventSpecType": "ASYNC_API", "data": DOCUMENT });
    let input = json!({ "in": { "name": "plant", "eventAPIs": [{ "spec": spec }] } });
    client.graphql(create, input, "createApplication").await?;
    output.line("application plant publishes what this document declares:\n");
    DOCUMENT.lines().for_each(|line| output.line(&format!("  {line}")));
    output.line("");

    let event = json!({
        "specversion": "1.0", "type": "order.created", "source": "/shop", "id": "order-1001",
        "data": { "total": 12.50 },
    });
    output.line(&format!("POST http://{http}/events   {event}"));
    let receipt = client.publish(&format!("http://{http}"), event.to_string()).await?;
    output.line(&format!("  answered 202: {receipt}"));
    let first = arrival(&mut arrivals, output).await?;

    publish(mqtt, r#"{"celsius": "warm"}"#, 0x99, output).await?;
    output.line("  which says that the payload is not what the document declares\n");
    publish(mqtt, r#"{"celsius": 21.5}"#, 0, output).await?;
    let second = arrival(&mut arrivals, output).await?;

    for Arrival { source, id, .. } in [first, second] {
        event::get(&client, &source, &id, output).await?;
    }
    output.line("both events arrived");
    Ok(())
}

/// Publishes a payload as a device does; fails when another code than `expected` answers it.
async fn publish(
    mqtt: SocketAddr,
    payload: &str,
    expected: u8,
    output: &mut Output,
) -> Result<(), CliError> {
    output.line(&format!("PUBLISH {TOPIC} at {mqtt}, MQTT 5, QoS 1   {payload}"));
    let code = bench::publish_once(mqtt, TOPIC, payload.as_bytes()).await?;
    output.line(&format!("  answered PUBACK {code:#04x}"));
    if code == expected {
        return Ok(());
    }
    Err(CliError::Unsuccessful(format!("expected PUBACK {expected:#04x}")))
}

/// Starts a subscriber; gives back its URL, and what it is sent.
async fn subscriber() -> Result<(String, mpsc::Receiver<Arrival>), CliError> {
    let failed = |cause| CliError::Io { what: "subscriber".to_owned(), cause };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
    let endpoint = format!("http://{}/hook", listener.local_addr().map_err(failed)?);
    let (sender, arrivals) = mpsc::channel(16);
    let take =
        async |State(sender): State<mpsc::Sender<Arrival>>, headers: HeaderMap, payload: Bytes| {
            let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
            let (source, id) = (text("ce-source").to_owned(), text("ce-id").to_owned());
            match sender.send(Arrival { source, id, payload }).await {
                Ok(()) => StatusCode::NO_CONTENT,
                Err(_) => StatusCode::GONE,
            }
        };
    let routes = Router::new().route("/hook", post(take)).with_state(sender);
    #[expect(clippy::disallowed_methods, reason = "it ends with the demonstration")]
    drop(tokio::spawn(async move { axum::serve(listener, routes).await }));
    Ok((endpoint, arrivals))
}

async fn arrival(
    arrivals: &mut mpsc::Receiver<Arrival>,
    output: &mut Output,
) -> Result<Arrival, CliError> {
    let arrived = timeout(STEP_TIME_MAX, arrivals.recv()).await.ok().flatten();
    let none = || CliError::Unsuccessful(format!("nothing arrived within {STEP_TIME_MAX:?}"));
    let arrival = arrived.ok_or_else(none)?;
    output.line(&format!(
        "  pushed to the subscriber: id {}, {}\n",
        arrival.id,
        String::from_utf8_lossy(&arrival.payload)
    ));
    Ok(arrival)
}
