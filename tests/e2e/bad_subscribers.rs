//! What a receiver does badly is its own trouble: each case beside a good one, at once.

use std::time::{Duration, Instant};

use eg_tests::gateway::Gateway;
use eg_tests::subscriber::{Pushed, Reaction, Subscriber};
use eg_tests::wait::until;
use serde_json::{Value, json};

use crate::PROGRAM;

/// How many events each case is sent.
const EVENTS: usize = 40;

/// A gateway with one good subscription and one that `script` answers.
async fn side_by_side(
    settings: Value,
    script: impl Fn(&Pushed, usize) -> Reaction + Send + Sync + 'static,
) -> (Gateway, Subscriber, Subscriber) {
    let (good, bad) = (Subscriber::start().await, Subscriber::scripted(script).await);
    let gateway = Gateway::start(PROGRAM).await;
    gateway.subscribe(json!({ "name": "good", "endpoint": good.url() })).await;
    let mut input = json!({ "name": "bad", "endpoint": bad.url() });
    input.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    gateway.subscribe(input).await;
    publish(&gateway, 0..EVENTS).await;
    // The good one has everything while the bad one is at its worst.
    until("the good subscriber has all", async || (good.ids().len() == EVENTS).then_some(())).await;
    assert_eq!(good.count(), EVENTS, "the good subscriber has everything once");
    (gateway, good, bad)
}

async fn publish(gateway: &Gateway, ids: std::ops::Range<usize>) {
    let event = |id: usize| json!({ "specversion": "1.0", "id": id.to_string(), "source": "/s", "type": "t" });
    let batch: Vec<_> = ids.map(event).collect();
    let request = reqwest::Client::new()
        .post(gateway.url("/events"))
        .header("content-type", "application/cloudevents-batch+json")
        .body(Value::Array(batch).to_string());
    assert_eq!(request.send().await.unwrap().status(), 202);
}

async fn until_state(
    gateway: &Gateway,
    what: &str,
    holds: impl Fn(&Value) -> bool + Send + Sync,
) -> Value {
    until(what, async || {
        let state = gateway.subscription("bad").await;
        holds(&state).then_some(state)
    })
    .await
}

fn status(status: u16) -> Reaction {
    Reaction::Status(status, Vec::new())
}

#[tokio::test]
async fn one_that_fails_is_tried_again_and_then_its_events_are_dead_letters() {
    let retry = json!({ "retry": { "initialDelayMs": 20, "maxDelayMs": 50, "maxAttempts": 3 } });
    let (gateway, _good, bad) = side_by_side(retry, |_, _| status(500)).await;
    let state = until_state(&gateway, "all are dead", |bad| bad["deadLetters"] == EVENTS).await;
    assert_eq!((&state["waiting"], &state["retrying"]), (&json!(0), &json!(0)));
    assert_eq!(bad.count(), 3 * EVENTS, "three attempts for each event");
    let query = "{ deadLetters(subscription: \"bad\", first: 1) { totalCount \
        data { reason attempts lastStatus event { id } } } }";
    let letters = gateway.graphql(query, json!({})).await["deadLetters"].take();
    assert_eq!(letters["totalCount"], EVENTS);
    let letter = &letters["data"][0];
    assert_eq!((&letter["attempts"], &letter["lastStatus"]), (&json!(3), &json!(500)));
    assert!(letter["reason"].as_str().unwrap().contains("500"), "{letter}");
}

#[tokio::test]
async fn one_that_recovers_gets_everything() {
    let retry = json!({ "retry": { "initialDelayMs": 20, "maxDelayMs": 100 } });
    let script = |_: &Pushed, before| if before < 60 { status(503) } else { status(200) };
    let (gateway, _good, bad) = side_by_side(retry, script).await;
    let state = until_state(&gateway, "all arrive", |bad| bad["delivered"] == EVENTS).await;
    assert_eq!(state["deadLetters"], 0);
    assert_eq!(bad.ids().len(), EVENTS);
}

#[tokio::test]
async fn one_that_hangs_fails_at_its_time_limit() {
    let limits = json!({ "pushRequestTimeoutMs": 150, "maxInFlight": 4,
        "retry": { "initialDelayMs": 10, "maxDelayMs": 20, "maxAttempts": 2 } });
    let (gateway, _good, _bad) = side_by_side(limits, |_, _| Reaction::Hang).await;
    let journey = until("an attempt has failed", async || {
        let journey = journey(&gateway, "0").await;
        journey["attempts"][0]["verdict"].is_string().then_some(journey)
    })
    .await;
    let attempt = &journey["attempts"][0];
    assert_eq!((&attempt["verdict"], &attempt["status"]), (&json!("failed"), &Value::Null));
    assert!(attempt["latencyMs"].as_f64().unwrap() >= 149.0, "{attempt}");
    assert!(attempt["reason"].as_str().unwrap().contains("150 ms"), "{attempt}");
}

async fn journey(gateway: &Gateway, id: &str) -> Value {
    let query = "query($id: String!) { event(source: \"/s\", id: $id) { subscriptions { name \
        attempts { number at latencyMs status verdict reason } } } }";
    let mut answer = gateway.graphql(query, json!({ "id": id })).await;
    let all = answer["event"]["subscriptions"].take();
    all.as_array().unwrap().iter().find(|one| one["name"] == "bad").unwrap().clone()
}

#[tokio::test]
async fn one_that_asks_for_a_pause_is_left_alone_for_that_long() {
    let busy = |_: &Pushed, before| match before {
        0 => Reaction::Status(429, vec![("retry-after".to_owned(), "2".to_owned())]),
        _ => status(200),
    };
    let settings = json!({ "maxInFlight": 1, "retry": { "initialDelayMs": 10 } });
    let (gateway, _good, bad) = side_by_side(settings, busy).await;
    until_state(&gateway, "all arrive", |bad| bad["delivered"] == EVENTS).await;
    let pushed = bad.pushed();
    let pause = pushed[1].at - pushed[0].at;
    assert!(pause >= Duration::from_millis(1990), "the next attempt came after {pause:?}");
}

#[tokio::test]
async fn one_that_is_gone_is_paused_and_loses_nothing() {
    let gone = |_: &Pushed, before| if before == 0 { status(410) } else { status(200) };
    let (gateway, _good, bad) = side_by_side(json!({ "maxInFlight": 1 }), gone).await;
    let state = until_state(&gateway, "it is paused", |bad| bad["state"] == "PAUSED").await;
    assert!(state["reason"].as_str().unwrap().contains("410"), "{state}");
    assert_eq!(bad.count(), 1, "nothing is sent to who is gone");
    gateway.graphql("mutation { resumeSubscription(name: \"bad\") { name } }", json!({})).await;
    until_state(&gateway, "all arrive", |bad| bad["delivered"] == EVENTS).await;
    assert_eq!(bad.ids().len(), EVENTS);
}

#[tokio::test]
async fn a_status_counts_though_its_body_breaks_off() {
    let breaks_off = |_: &Pushed, before| match before {
        0 => Reaction::CloseMidBody(500),
        1 => Reaction::Close,
        _ => Reaction::CloseMidBody(200),
    };
    let settings = json!({ "maxInFlight": 1, "retry": { "initialDelayMs": 10 } });
    let (gateway, _good, bad) = side_by_side(settings, breaks_off).await;
    until_state(&gateway, "all arrive", |bad| bad["delivered"] == EVENTS).await;
    assert_eq!(bad.count(), EVENTS + 2, "only what was not said to be taken is sent again");
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_not_waited_for() {
    let huge = |_: &Pushed, _| Reaction::Body(200, 10 * 1024 * 1024);
    let (gateway, _good, bad) = side_by_side(json!({ "maxInFlight": 2 }), huge).await;
    until_state(&gateway, "all arrive", |bad| bad["delivered"] == EVENTS).await;
    assert_eq!(bad.count(), EVENTS, "each was taken at once");
}

#[tokio::test]
async fn all_of_them_at_once_slow_nobody() {
    let good = Subscriber::start().await;
    let gateway = Gateway::start(PROGRAM).await;
    let mut bad = Vec::new();
    let reactions = [
        status(500),
        Reaction::Hang,
        status(429),
        status(410),
        Reaction::CloseMidBody(503),
        Reaction::Body(500, 10 * 1024 * 1024),
        Reaction::Close,
        Reaction::Slow(Duration::from_secs(4)),
    ];
    for (number, reaction) in reactions.into_iter().enumerate() {
        let subscriber = Subscriber::scripted(move |_, _| reaction.clone()).await;
        let name = format!("bad-{number}");
        gateway.subscribe(json!({ "name": name, "endpoint": subscriber.url() })).await;
        bad.push(subscriber);
    }
    gateway.subscribe(json!({ "name": "good", "endpoint": good.url() })).await;
    let mut slowest = Duration::ZERO;
    for id in 0..EVENTS {
        let sent = Instant::now();
        publish(&gateway, id..id + 1).await;
        until("it arrives", async || (good.count() == id + 1).then_some(())).await;
        slowest = slowest.max(sent.elapsed());
    }
    assert!(slowest < Duration::from_secs(3), "an event took {slowest:?} beside bad receivers");
    assert!(bad.iter().all(|bad| bad.count() > 0), "every bad receiver was tried");
}
