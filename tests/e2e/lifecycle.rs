//! The life of the process: ready, stopped in order, started again, one at a time.

use std::time::Duration;

use eg_tests::gateway::Gateway;
use eg_tests::subscriber::{Reaction, Subscriber};
use eg_tests::wait::until;
use serde_json::json;
use tokio::process::Command;

use crate::PROGRAM;

async fn publish(gateway: &Gateway, id: &str) {
    let event = json!({ "specversion": "1.0", "id": id, "source": "/s", "type": "t" });
    let request = reqwest::Client::new()
        .post(gateway.url("/events"))
        .header("content-type", "application/cloudevents+json")
        .body(event.to_string());
    assert_eq!(request.send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn a_stop_finishes_what_is_under_way_and_a_start_goes_on_from_there() {
    let slow = |_: &_, _| Reaction::Slow(Duration::from_millis(500));
    let subscriber = Subscriber::scripted(slow).await;
    let mut gateway = Gateway::start(PROGRAM).await;
    let input = json!({ "name": "s", "endpoint": subscriber.url(), "maxInFlight": 1 });
    gateway.subscribe(input).await;
    publish(&gateway, "1").await;
    publish(&gateway, "2").await;
    until("the first is under way", async || (subscriber.count() == 1).then_some(())).await;
    assert_eq!(gateway.stop().await, Some(0));
    assert_eq!(subscriber.count(), 1, "nothing new was begun");
    gateway.restart().await;
    until("the second has arrived", async || {
        let state = gateway.subscription("s").await;
        (state["delivered"] == 2).then_some(())
    })
    .await;
    let ids: Vec<_> = subscriber.pushed().iter().map(|pushed| pushed.id().to_owned()).collect();
    assert_eq!(ids, ["1", "2"], "the first is not sent again");
}

#[tokio::test]
async fn a_store_belongs_to_one_process() {
    let gateway = Gateway::start(PROGRAM).await;
    let data = gateway.data();
    let second = Command::new(PROGRAM)
        .args(["serve", "--dev", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"])
        .args(["--admin", "127.0.0.1:0", "--data", data.to_str().unwrap()])
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another process"), "{said}");
    publish(&gateway, "1").await;
}

#[tokio::test]
async fn health_and_metrics_say_how_it_is() {
    let gateway = Gateway::start(PROGRAM).await;
    publish(&gateway, "1").await;
    let get = async |path: &str| {
        let url = format!("http://{}{path}", gateway.address("admin"));
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("/livez").await.0, 200);
    assert_eq!(get("/readyz").await.0, 200);
    let (status, metrics) = get("/metrics").await;
    assert_eq!(status, 200);
    let expected = [
        "event_gateway_events_received_total{protocol=\"http\",result=\"ignored\"} 1",
        "event_gateway_journal_next_sequence 2",
        "event_gateway_writable 1",
    ];
    for line in expected {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
}
