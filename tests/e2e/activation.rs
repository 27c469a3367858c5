//! Event activations: in whatever order they and subscriptions come and go, each ends in the right
//! conditions within a second, and no event is lost or delivered too early.

use std::time::Duration;

use eg_tests::gateway::Gateway;
use eg_tests::subscriber::Subscriber;
use eg_tests::wait::{until, until_within};
use serde_json::{Value, json};

use crate::PROGRAM;

/// How long conditions may take to be right.
const CONDITIONS_TIME_MAX: Duration = Duration::from_secs(1);

/// A gateway with a receiver, for one order of steps.
struct Scene {
    gateway: Gateway,
    subscriber: Subscriber,
    published: u32,
}

/// What is done in a scene.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The subscription `prod/orders` asks for this source.
    Subscribe(&'static str),
    /// It asks for another one.
    Ask(&'static str),
    /// An activation of this name lets this source into this namespace.
    Activate(&'static str, &'static str, &'static str),
    /// It is for another source.
    Change(&'static str, &'static str),
    Deactivate(&'static str),
    Pause,
    Resume,
    /// The gateway is killed, and started again.
    Restart,
    /// An event of this source comes.
    Publish(&'static str),
}

use Step::{Activate, Ask, Change, Deactivate, Pause, Publish, Restart, Resume, Subscribe};

const ACTIVATION: &str = "namespace name sourceId displayName createdAt updatedAt";

async fn publish(gateway: &Gateway, event: &Value) -> Value {
    let request = reqwest::Client::new()
        .post(gateway.url("/events"))
        .header("content-type", "application/cloudevents+json")
        .body(event.to_string());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 202);
    answer.json().await.unwrap()
}

impl Scene {
    async fn new() -> Self {
        let (gateway, subscriber) = (Gateway::start(PROGRAM).await, Subscriber::start().await);
        Self { gateway, subscriber, published: 0 }
    }

    fn input(&self, source: &str) -> Value {
        json!({ "name": "orders", "namespace": "prod", "source": source, "maxInFlight": 1,
            "contentMode": "KYMA", "endpoint": self.subscriber.url() })
    }

    async fn take(&mut self, step: Step) {
        let mutation = |name: &str| {
            format!("mutation($in: EventActivationInput!) {{ {name}(in: $in) {{ {ACTIVATION} }} }}")
        };
        match step {
            Subscribe(source) => self.gateway.subscribe(self.input(source)).await,
            Ask(source) => {
                let update = "mutation($in: SubscriptionInput!) \
                    { updateSubscription(name: \"prod/orders\", in: $in) { name } }";
                let variables = json!({ "in": self.input(source) });
                self.gateway.graphql(update, variables).await;
            }
            Activate(namespace, name, source) => {
                let input = json!({ "namespace": namespace, "name": name, "sourceId": source });
                let create = mutation("createEventActivation");
                self.gateway.graphql(&create, json!({ "in": input })).await;
            }
            Change(name, source) => {
                let input = json!({ "namespace": "prod", "name": name, "sourceId": source });
                let update = mutation("updateEventActivation").replace(
                    "(in: $in)",
                    &format!("(namespace: \"prod\", name: {name:?}, in: $in)"),
                );
                self.gateway.graphql(&update, json!({ "in": input })).await;
            }
            Deactivate(name) => {
                let delete = format!(
                    "mutation {{ deleteEventActivation(namespace: \"prod\", name: {name:?}) {{ name }} }}"
                );
                self.gateway.graphql(&delete, json!({})).await;
            }
            Pause => self.simple("pauseSubscription").await,
            Resume => self.simple("resumeSubscription").await,
            Restart => {
                self.gateway.kill().await;
                self.gateway.restart().await;
            }
            Publish(source) => {
                self.published += 1;
                let event = json!({ "specversion": "1.0", "source": source, "type": "order.made",
                    "id": self.published.to_string(), "eventtypeversion": "v1" });
                let receipt = publish(&self.gateway, &event).await;
                assert_eq!(receipt["status"], "published", "who waits counts");
            }
        }
    }

    async fn simple(&self, mutation: &str) {
        let query = format!("mutation {{ {mutation}(name: \"prod/orders\") {{ name }} }}");
        self.gateway.graphql(&query, json!({})).await;
    }

    async fn subscription(&self) -> Value {
        let query = "{ subscription(name: \"prod/orders\") { key name namespace state waiting \
            delivered conditions { type status reason message lastTransitionTime } } }";
        self.gateway.graphql(query, json!({})).await["subscription"].take()
    }

    /// Waits for statuses: of `events-activated`, and of `is-ready` with its reason.
    async fn until_conditions(&self, order: &[Step], expected: (bool, bool, &str)) {
        let what = format!("{order:?} gives {expected:?}");
        until_within(CONDITIONS_TIME_MAX, &what, async || {
            let shown = self.subscription().await;
            let [activated, ready] = [0, 1].map(|place| shown["conditions"][place].clone());
            assert_eq!(
                (&activated["type"], &ready["type"]),
                (&json!("events-activated"), &json!("is-ready"))
            );
            let found = (activated["status"] == "True", ready["status"] == "True");
            let reached =
                (found, &ready["reason"]) == ((expected.0, expected.1), &json!(expected.2));
            reached.then_some(())
        })
        .await;
    }

    fn delivered(&self) -> Vec<String> {
        let pushed = self.subscriber.pushed();
        pushed.iter().map(|pushed| pushed.headers["ce-event-id"].clone()).collect()
    }
}

/// What is done, the conditions that follow, what may not have arrived by then; and what makes
/// everything arrive.
type Row = (&'static [Step], (bool, bool, &'static str), &'static [&'static str], &'static [Step]);
const ON: (bool, bool, &str) = (true, true, "Ready");
const OFF: (bool, bool, &str) = (false, false, "EventsNotActivated");
const PAUSED: (bool, bool, &str) = (true, false, "Paused");
const ORDERS: [Row; 14] = [
    // Subscription first, then the activation.
    (&[Subscribe("shop"), Publish("shop")], OFF, &["1"], &[Activate("prod", "a", "shop")]),
    // Activation first.
    (&[Activate("prod", "a", "shop"), Subscribe("shop"), Publish("shop")], ON, &[], &[]),
    // Removed, and there again.
    (
        &[Activate("prod", "a", "shop"), Subscribe("shop"), Deactivate("a"), Publish("shop")],
        OFF,
        &["1"],
        &[Activate("prod", "b", "shop")],
    ),
    // The activation is for another source, then for this one again.
    (
        &[Activate("prod", "a", "shop"), Subscribe("shop"), Change("a", "other"), Publish("shop")],
        OFF,
        &["1"],
        &[Change("a", "shop")],
    ),
    // The activation was for another source.
    (
        &[Activate("prod", "a", "other"), Subscribe("shop"), Publish("shop")],
        OFF,
        &["1"],
        &[Change("a", "shop")],
    ),
    // Two activations, of which one goes.
    (
        &[
            Activate("prod", "a", "shop"),
            Activate("prod", "b", "shop"),
            Subscribe("shop"),
            Deactivate("a"),
            Publish("shop"),
        ],
        ON,
        &[],
        &[],
    ),
    // Two activations, of which both go.
    (
        &[
            Activate("prod", "a", "shop"),
            Activate("prod", "b", "shop"),
            Subscribe("shop"),
            Deactivate("a"),
            Change("b", "other"),
            Publish("shop"),
        ],
        OFF,
        &["1"],
        &[Change("b", "shop")],
    ),
    // Another namespace does not count.
    (
        &[Activate("test", "a", "shop"), Subscribe("shop"), Publish("shop")],
        OFF,
        &["1"],
        &[Activate("prod", "a", "shop")],
    ),
    // The subscription asks for another source, and what it asked for before waits with it.
    (
        &[Activate("prod", "a", "shop"), Subscribe("shop"), Ask("farm"), Publish("farm")],
        OFF,
        &["1"],
        &[Activate("prod", "b", "farm")],
    ),
    (
        &[Subscribe("shop"), Publish("shop"), Activate("prod", "b", "farm")],
        OFF,
        &["1"],
        &[Ask("farm")],
    ),
    // An operator's pause is independent, whichever comes first and goes first.
    (
        &[
            Activate("prod", "a", "shop"),
            Subscribe("shop"),
            Pause,
            Deactivate("a"),
            Publish("shop"),
            Activate("prod", "a", "shop"),
        ],
        PAUSED,
        &["1"],
        &[Resume],
    ),
    (
        &[Subscribe("shop"), Pause, Publish("shop"), Resume],
        OFF,
        &["1"],
        &[Activate("prod", "a", "shop")],
    ),
    // A restart in between, on either side.
    (
        &[
            Activate("prod", "a", "shop"),
            Subscribe("shop"),
            Deactivate("a"),
            Publish("shop"),
            Restart,
            Publish("shop"),
        ],
        OFF,
        &["1", "2"],
        &[Activate("prod", "a", "shop")],
    ),
    (
        &[
            Subscribe("shop"),
            Publish("shop"),
            Pause,
            Restart,
            Activate("prod", "a", "shop"),
            Restart,
        ],
        PAUSED,
        &["1"],
        &[Resume],
    ),
];

#[tokio::test]
async fn whatever_the_order_conditions_are_right_and_no_event_is_lost_or_early() {
    for (before, conditions, held, after) in ORDERS {
        let mut scene = Scene::new().await;
        for step in before {
            scene.take(*step).await;
        }
        scene.until_conditions(before, conditions).await;
        if !held.is_empty() {
            until("they wait", async || {
                (scene.subscription().await["waiting"] == held.len()).then_some(())
            })
            .await;
            assert_eq!(scene.delivered(), Vec::<String>::new(), "{before:?}: too early");
        }
        for step in after {
            scene.take(*step).await;
        }
        scene.until_conditions(after, ON).await;
        let all: Vec<String> = (1..=scene.published).map(|id| id.to_string()).collect();
        until("all arrive", async || (scene.delivered().len() >= all.len()).then_some(())).await;
        assert_eq!(scene.delivered(), all, "{before:?} {after:?}");
        let name = &scene.subscriber.pushed()[0].headers["kyma-subscription"];
        assert_eq!(name, "orders", "the header has the plain name");
    }
}

#[tokio::test]
async fn no_attempt_begins_once_a_deactivation_is_answered() {
    let mut scene = Scene::new().await;
    scene.take(Activate("prod", "a", "shop")).await;
    scene.take(Subscribe("shop")).await;
    for _ in 0..10 {
        for _ in 0..20 {
            scene.take(Publish("shop")).await;
        }
        scene.take(Deactivate("a")).await;
        // What was under way may end; there is at most one such.
        let begun = scene.subscriber.count();
        scene.take(Publish("shop")).await;
        until("it has been routed", async || {
            let next = scene.gateway.next_sequence().await;
            let shown = scene.gateway.subscription("prod/orders").await;
            let idle = shown["inFlight"] == 0;
            let settled = shown["waiting"].as_u64().unwrap() + shown["delivered"].as_u64().unwrap();
            (idle && next > 0 && settled == u64::from(scene.published)).then_some(())
        })
        .await;
        assert!(
            scene.subscriber.count() <= begun + 1,
            "{begun} before, {} after",
            scene.subscriber.count()
        );
        scene.take(Activate("prod", "a", "shop")).await;
        let all = scene.published as usize;
        until("all arrive", async || (scene.subscriber.count() >= all).then_some(())).await;
    }
    let all: Vec<String> = (1..=scene.published).map(|id| id.to_string()).collect();
    assert_eq!(scene.delivered(), all);
}

#[tokio::test]
async fn the_time_of_a_condition_moves_with_its_status_alone_also_over_a_restart() {
    let mut scene = Scene::new().await;
    let times = async |scene: &Scene| {
        let shown = scene.subscription().await;
        [0, 1].map(|place| shown["conditions"][place]["lastTransitionTime"].clone())
    };
    scene.take(Subscribe("shop")).await;
    let first = times(&scene).await;
    scene.take(Pause).await;
    scene.take(Activate("test", "a", "shop")).await;
    assert_eq!(times(&scene).await, first, "paused, and not ready as before");
    scene.take(Restart).await;
    assert_eq!(times(&scene).await, first, "a restart is no transition");
    scene.take(Activate("prod", "a", "shop")).await;
    let second = times(&scene).await;
    assert!(second[0] != first[0] && second[1] == first[1], "{first:?} {second:?}");
    scene.take(Resume).await;
    let third = times(&scene).await;
    assert!(third[0] == second[0] && third[1] != second[1], "{second:?} {third:?}");
}

#[tokio::test]
async fn a_receiver_that_is_down_is_told_of_also_after_a_restart() {
    let mut scene = Scene::new().await;
    let dead = "http://127.0.0.1:9/";
    let retry = json!({ "initialDelayMs": 5, "maxDelayMs": 10, "maxAttempts": 10000 });
    let input = json!({ "name": "s", "endpoint": dead, "retry": retry });
    scene.gateway.subscribe(input).await;
    let condition = async |scene: &Scene| {
        let query = "{ subscription(name: \"s\") { conditions { type status reason message \
            lastTransitionTime } } }";
        scene.gateway.graphql(query, json!({})).await["subscription"]["conditions"].take()
    };
    assert_eq!(condition(&scene).await[0]["reason"], "NotGoverned");
    let event = json!({ "specversion": "1.0", "source": "/s", "type": "t", "id": "1" });
    publish(&scene.gateway, &event).await;
    let down = until("it counts as down", async || {
        let shown = condition(&scene).await;
        (shown[1]["reason"] == "ReceiverDown").then_some(shown)
    })
    .await;
    assert_eq!((&down[0]["status"], &down[1]["status"]), (&json!("True"), &json!("False")));
    assert_eq!(scene.gateway.stop().await, Some(0));
    scene.gateway.restart().await;
    let after = condition(&scene).await;
    assert_eq!(after[1]["lastTransitionTime"], down[1]["lastTransitionTime"], "{down} {after}");
    let update =
        "mutation($in: SubscriptionInput!) { updateSubscription(name: \"s\", in: $in) { name } }";
    let input = json!({ "name": "s", "endpoint": scene.subscriber.url() });
    scene.gateway.graphql(update, json!({ "in": input })).await;
    until("it is ready", async || (condition(&scene).await[1]["reason"] == "Ready").then_some(()))
        .await;
}

#[tokio::test]
async fn names_are_unique_in_their_namespace_and_bad_ones_are_refused_by_field() {
    let scene = Scene::new().await;
    for namespace in [Value::Null, json!("prod"), json!("test")] {
        let mut input = scene.input("shop");
        input["namespace"] = namespace;
        scene.gateway.subscribe(input).await;
    }
    let names = scene.gateway.graphql("{ subscriptions { data { key name } } }", json!({})).await;
    let keys = names["subscriptions"]["data"].as_array().unwrap().iter();
    assert_eq!(
        keys.map(|one| one["key"].clone()).collect::<Vec<_>>(),
        ["orders", "prod/orders", "test/orders"]
    );
    let create = "mutation($in: SubscriptionInput!) { createSubscription(in: $in) { name } }";
    let again = scene.gateway.graphql_raw(create, json!({ "in": scene.input("shop") })).await;
    assert_eq!(
        again["errors"][0]["message"],
        "there is already a subscription called \"prod/orders\""
    );
    let activate =
        "mutation($in: EventActivationInput!) { createEventActivation(in: $in) { name } }";
    let rows = [
        ("namespace", json!({ "namespace": "Prod", "name": "a", "sourceId": "shop" })),
        ("name", json!({ "namespace": "prod", "name": "a/b", "sourceId": "shop" })),
        ("sourceId", json!({ "namespace": "prod", "name": "a", "sourceId": "/shop" })),
    ];
    for (field, input) in rows {
        let refused = scene.gateway.graphql_raw(activate, json!({ "in": input })).await;
        assert_eq!(refused["errors"][0]["extensions"]["field"], field, "{refused}");
    }
}
