//! Subscriptions under way: paused, moved, changed, in order, signed, read by others.

use eg_tests::gateway::Gateway;
use eg_tests::peers;
use eg_tests::subscriber::{Pushed, Reaction, Subscriber};
use eg_tests::wait::until;
use serde_json::{Value, json};

use crate::PROGRAM;

async fn publish(gateway: &Gateway, attributes: Value) {
    let mut event = json!({ "specversion": "1.0", "source": "/s", "type": "t" });
    event.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    let request = reqwest::Client::new()
        .post(gateway.url("/events"))
        .header("content-type", "application/cloudevents+json")
        .body(event.to_string());
    assert_eq!(request.send().await.unwrap().status(), 202);
}

async fn until_count(subscriber: &Subscriber, count: usize) {
    until("the events arrive", async || (subscriber.count() >= count).then_some(())).await;
}

fn ids(subscriber: &Subscriber) -> Vec<String> {
    subscriber.pushed().iter().map(|pushed| pushed.id().to_owned()).collect()
}

#[tokio::test]
async fn events_wait_while_a_subscription_is_paused_also_over_a_restart() {
    let subscriber = Subscriber::start().await;
    let mut gateway = Gateway::start(PROGRAM).await;
    let input = json!({ "name": "s", "endpoint": subscriber.url(), "maxInFlight": 1 });
    gateway.subscribe(input).await;
    gateway.graphql("mutation { pauseSubscription(name: \"s\") { name } }", json!({})).await;
    publish(&gateway, json!({ "id": "1" })).await;
    gateway.kill().await;
    gateway.restart().await;
    publish(&gateway, json!({ "id": "2" })).await;
    let state = until("both wait", async || {
        let state = gateway.subscription("s").await;
        (state["waiting"] == 2).then_some(state)
    })
    .await;
    assert_eq!((&state["state"], subscriber.count()), (&json!("PAUSED"), 0));
    gateway.graphql("mutation { resumeSubscription(name: \"s\") { name } }", json!({})).await;
    until_count(&subscriber, 2).await;
    assert_eq!(ids(&subscriber), ["1", "2"]);
}

#[tokio::test]
async fn the_past_can_be_delivered_again() {
    let subscriber = Subscriber::start().await;
    let gateway = Gateway::start(PROGRAM).await;
    for id in 1..=3 {
        publish(&gateway, json!({ "id": id.to_string() })).await;
    }
    let input = json!({ "name": "s", "endpoint": subscriber.url(), "startAt": "EARLIEST",
        "maxInFlight": 1 });
    gateway.subscribe(input).await;
    until_count(&subscriber, 3).await;
    let rewind = "mutation { rewindSubscription(name: \"s\", toSequence: 2) { name } }";
    gateway.graphql(rewind, json!({})).await;
    until_count(&subscriber, 5).await;
    let replay = "mutation { replayEvent(subscription: \"s\", source: \"/s\", id: \"1\") }";
    gateway.graphql(replay, json!({})).await;
    until_count(&subscriber, 6).await;
    assert_eq!(ids(&subscriber), ["1", "2", "3", "2", "3", "1"]);
}

#[tokio::test]
async fn an_update_holds_from_the_next_event_on_and_loses_none() {
    let (old, new) = (Subscriber::start().await, Subscriber::start().await);
    let gateway = Gateway::start(PROGRAM).await;
    gateway.subscribe(json!({ "name": "s", "endpoint": old.url() })).await;
    let update = "mutation($in: SubscriptionInput!) \
        { updateSubscription(name: \"s\", in: $in) { name } }";
    for id in 0..60 {
        publish(&gateway, json!({ "id": id.to_string() })).await;
        if id == 29 {
            let input = json!({ "name": "s", "endpoint": new.url() });
            gateway.graphql(update, json!({ "in": input })).await;
        }
    }
    until("all arrive", async || (old.ids().len() + new.ids().len() >= 60).then_some(())).await;
    assert!((30..60).all(|id: u32| new.ids().contains(&id.to_string())), "{:?}", new.ids());
}

#[tokio::test]
async fn a_dead_letter_can_be_delivered_after_all() {
    let fails = |pushed: &Pushed, before| match pushed.id() {
        "poison" if before < 3 => Reaction::Status(500, Vec::new()),
        _ => Reaction::Status(200, Vec::new()),
    };
    let subscriber = Subscriber::scripted(fails).await;
    let gateway = Gateway::start(PROGRAM).await;
    let retry = json!({ "initialDelayMs": 10, "maxDelayMs": 20, "maxAttempts": 2 });
    gateway.subscribe(json!({ "name": "s", "endpoint": subscriber.url(), "retry": retry })).await;
    publish(&gateway, json!({ "id": "poison" })).await;
    publish(&gateway, json!({ "id": "good" })).await;
    let letters = until("it is dead", async || {
        let query = "{ deadLetters(subscription: \"s\") { data { id event { id cloudEvent } } } }";
        let letters = gateway.graphql(query, json!({})).await["deadLetters"]["data"].take();
        (letters.as_array().unwrap().len() == 1).then_some(letters)
    })
    .await;
    assert_eq!(letters[0]["event"]["id"], "poison");
    let requeue = "mutation($ids: [ID!]!) { requeueDeadLetters(subscription: \"s\", ids: $ids) }";
    let count = gateway.graphql(requeue, json!({ "ids": [letters[0]["id"]] })).await;
    assert_eq!(count["requeueDeadLetters"], 1);
    until("it is delivered", async || {
        let state = gateway.subscription("s").await;
        (state["delivered"] == 2 && state["deadLetters"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn events_of_one_key_arrive_in_order_and_a_failing_key_stops_no_other() {
    let fails = |pushed: &Pushed, before| {
        let of_bad_key = pushed.headers["ce-partitionkey"] == "bad";
        let status = if of_bad_key && before < 30 { 500 } else { 200 };
        Reaction::Status(status, Vec::new())
    };
    let subscriber = Subscriber::scripted(fails).await;
    let gateway = Gateway::start(PROGRAM).await;
    let retry = json!({ "initialDelayMs": 10, "maxDelayMs": 30, "maxAttempts": 100 });
    gateway
        .subscribe(json!({ "name": "s", "endpoint": subscriber.url(), "ordering": "KEY",
            "maxInFlight": 16, "retry": retry }))
        .await;
    for number in 0..20 {
        for key in ["a", "bad", "b"] {
            let id = format!("{key}-{number:02}");
            publish(&gateway, json!({ "id": id, "partitionkey": key })).await;
        }
    }
    until("all arrive", async || (subscriber.ids().len() == 60).then_some(())).await;
    for key in ["a", "bad", "b"] {
        let mut of_key = ids(&subscriber);
        of_key.retain(|id| id.starts_with(&format!("{key}-")));
        of_key.dedup();
        assert!(of_key.is_sorted(), "{key}: {of_key:?}");
    }
}

#[tokio::test]
async fn filters_let_pass_what_they_say() {
    let subscriber = Subscriber::start().await;
    let gateway = Gateway::start(PROGRAM).await;
    let filters = json!([
        { "prefix": { "type": "order." } },
        { "not": { "suffix": { "subject": "/test" } } },
        { "sql": "amount > 100 AND region IN ('eu', 'us')" },
    ]);
    gateway
        .subscribe(json!({ "name": "s", "endpoint": subscriber.url(), "filters": filters }))
        .await;
    let rows = [
        ("1", "order.made", "a", 101, "eu"),
        ("2", "order.made", "a", 100, "eu"),
        ("3", "invoice.made", "a", 101, "eu"),
        ("4", "order.made", "a/test", 101, "eu"),
        ("5", "order.made", "a", 101, "cn"),
        ("6", "order.paid", "a", 500, "us"),
    ];
    for (id, ty, subject, amount, region) in rows {
        let attributes = json!({ "id": id, "type": ty, "subject": subject, "amount": amount,
            "region": region });
        publish(&gateway, attributes).await;
    }
    until("nothing is left to deliver", async || {
        let state = gateway.subscription("s").await;
        (state["delivered"] == 2 && state["waiting"] == 0 && state["inFlight"] == 0).then_some(())
    })
    .await;
    assert_eq!(ids(&subscriber), ["1", "6"]);
}

#[tokio::test]
async fn what_is_pushed_can_be_read_and_verified_by_libraries_of_others() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for mode in ["BINARY", "STRUCTURED"] {
        let subscriber = Subscriber::start().await;
        let gateway = Gateway::start(PROGRAM).await;
        gateway
            .subscribe(json!({ "name": "s", "endpoint": subscriber.url(), "contentMode": mode,
                "signingSecrets": [secret] }))
            .await;
        let event = json!({ "id": "1", "subject": "Z\u{fc}rich \"100%\"", "tenant": "blue",
            "time": "2026-01-02T03:04:05.678Z", "data": { "n": 1 } });
        publish(&gateway, event).await;
        until_count(&subscriber, 1).await;
        let pushed = subscriber.pushed().remove(0);
        let request = json!({ "headers": pushed.headers, "secret": secret,
            "body": String::from_utf8(pushed.body).unwrap() });
        let mut reader = peers::python("read_push.py");
        reader.arg(request.to_string());
        let read: Value = serde_json::from_slice(&peers::run(reader).await.stdout).unwrap();
        assert_eq!(read["verified"], true, "{mode}");
        let expected = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t",
            "subject": "Z\u{fc}rich \"100%\"", "tenant": "blue" });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&read["attributes"][name], value, "{mode} {name}");
        }
        assert_eq!(read["data"], json!({ "n": 1 }));
    }
}
