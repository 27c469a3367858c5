//! Facts about the way out, over a real store and a receiver in memory.

mod interrupted;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eg_auth::{Authenticate as _, Authenticator, Credential, Peer};
use eg_event::{
    Binding, Clock, CloudEvent, Delivery, Filter, Origin, Outcome, Protocol, Sequence, Sink,
    Submission, Subscription, Timestamp,
};
use eg_storage::{StorageConfig, Store};
use futures_util::future::{BoxFuture, FutureExt as _};
use serde_json::json;

use super::change::Wanted;
use super::lane::View;
use super::registry::{Position, RegistryError};
use super::{Dispatch, Outlets};
use crate::journey;
use crate::quarantine::QuarantineConfig;
use crate::secrets::{Keys, SecretError, SecretsConfig};

type Script = Box<dyn Fn(&Delivery) -> Outcome + Send + Sync>;

/// A receiver that does what a script says, and remembers what it was sent.
struct Receiver {
    script: Mutex<Script>,
    sent: Mutex<Vec<(String, String, u32)>>,
    wait: Duration,
}

impl Sink for Receiver {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Outcome> {
        async move {
            if !self.wait.is_zero() {
                tokio::time::sleep(self.wait).await;
            }
            let to = delivery.subscription.name.clone();
            let id = delivery.event.event.id().to_owned();
            self.sent.lock().unwrap().push((to, id, delivery.attempt));
            (self.script.lock().unwrap_or_else(PoisonError::into_inner))(delivery)
        }
        .boxed()
    }
}

fn delivered() -> Outcome {
    Outcome::Delivered { status: Some(200) }
}

fn failed(status: u16) -> Outcome {
    Outcome::Failed {
        status: Some(status),
        reason: format!("answered {status}"),
        retry_after: None,
    }
}

/// A store with a dispatch over it, which can be stopped and started again.
struct Bench {
    directory: tempfile::TempDir,
    receiver: Arc<Receiver>,
    config: StorageConfig,
    live: Option<(Store, Arc<Dispatch>)>,
}

impl Bench {
    fn new(script: impl Fn(&Delivery) -> Outcome + Send + Sync + 'static) -> Self {
        Self::with(script, Duration::ZERO, StorageConfig::default())
    }

    fn with(
        script: impl Fn(&Delivery) -> Outcome + Send + Sync + 'static,
        wait: Duration,
        config: StorageConfig,
    ) -> Self {
        let receiver =
            Receiver { script: Mutex::new(Box::new(script)), sent: Mutex::default(), wait };
        let directory = tempfile::tempdir().unwrap();
        let mut bench = Self { directory, receiver: Arc::new(receiver), config, live: None };
        bench.start();
        bench
    }

    fn start(&mut self) {
        let clock = Clock::system();
        let store = Store::open(self.directory.path(), &self.config, &clock).unwrap();
        let outlets = Outlets {
            journal: store.journal().clone(),
            ledger: store.ledger().clone(),
            sink: Arc::clone(&self.receiver) as Arc<dyn Sink>,
            keys: Arc::new(self.keys().unwrap()),
            quarantine: QuarantineConfig::default(),
            clock,
        };
        let dispatch = Dispatch::recover(outlets).unwrap();
        dispatch.start();
        self.live = Some((store, dispatch));
    }

    fn keys(&self) -> Result<Keys, SecretError> {
        Keys::open(&SecretsConfig::default(), self.directory.path())
    }

    async fn stop(&mut self) {
        let (store, dispatch) = self.live.take().unwrap();
        dispatch.stop(tokio::time::sleep(Duration::from_secs(5))).await.unwrap();
        drop(dispatch);
        store.close().unwrap();
    }

    fn script(&self, script: impl Fn(&Delivery) -> Outcome + Send + Sync + 'static) {
        *self.receiver.script.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(script);
    }

    fn dispatch(&self) -> &Arc<Dispatch> {
        &self.live.as_ref().unwrap().1
    }

    fn store(&self) -> &Store {
        &self.live.as_ref().unwrap().0
    }

    async fn publish(&self, events: &[(&str, &str)]) -> Vec<u32> {
        let principal = Authenticator::anonymous_on_loopback()
            .authenticate(&Credential::None, &Peer::new("127.0.0.1:1".parse().unwrap()))
            .await
            .unwrap();
        let submissions = events.iter().map(|(id, subject)| {
            let mut builder = CloudEvent::builder();
            for (name, text) in [
                ("specversion", "1.0"),
                ("id", *id),
                ("source", "/s"),
                ("type", "t"),
                ("subject", *subject),
            ] {
                builder.attribute(name, text).unwrap();
            }
            let origin = Origin {
                protocol: Protocol::Http,
                binding: Binding::Binary,
                remote: None,
                address: "/events".into(),
                client_id: None,
            };
            let event = builder.build().unwrap();
            let submission = Submission::new(event, Arc::clone(&principal), origin);
            let matching = self.dispatch().count_matching(&submission.event, &submission.origin);
            (submission, matching)
        });
        let receipts = self.store().journal().append(submissions.collect()).await;
        receipts.into_iter().map(|receipt| receipt.unwrap().subscriptions).collect()
    }

    async fn publish_numbers(&self, numbers: std::ops::Range<u32>) {
        let ids: Vec<_> = numbers.map(|n| n.to_string()).collect();
        let events: Vec<_> = ids.iter().map(|id| (&**id, "x")).collect();
        self.publish(&events).await;
    }

    fn view(&self, name: &str) -> View {
        self.dispatch().get(name).unwrap().lane().view()
    }

    /// The ids that were sent to a subscription, in order.
    fn sent(&self, name: &str) -> Vec<String> {
        let sent = self.receiver.sent.lock().unwrap();
        sent.iter().filter(|(to, ..)| to == name).map(|(_, id, _)| id.clone()).collect()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !condition(self) {
            assert!(started.elapsed() < Duration::from_mins(2), "in vain until {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_sent(&self, name: &str, count: usize) {
        self.until("events are sent", |bench| bench.sent(name).len() >= count).await;
    }
}

fn subscription(name: &str) -> Subscription {
    let mut subscription = Subscription::new(name, "http://receiver.test/");
    subscription.retry.initial_delay_ms = 20;
    subscription.retry.max_delay_ms = 50;
    subscription
}

#[tokio::test]
async fn a_subscription_that_is_made_beside_one_that_is_changed_misses_nothing() {
    let bench = Bench::new(|_| delivered());
    bench.dispatch().create(subscription("old"), Position::Now).await.unwrap();
    let mut changed = subscription("old");
    changed.max_in_flight = 1;
    let subscriptions = vec![(subscription("new"), Position::Earliest), (changed, Position::Now)];
    let wanted = Wanted { subscriptions, ..Wanted::default() };
    let routing = bench.dispatch().routing.lock().await;
    // It waits for its turn first, and the tailer after it.
    let establish = bench.dispatch().establish(wanted, None, false);
    let publish = async {
        bench.publish_numbers(0..3).await;
        drop(routing);
    };
    let (established, ()) = tokio::join!(establish, publish);
    established.unwrap();
    for name in ["new", "old"] {
        bench.until_sent(name, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_reaches_those_whom_it_concerns_as_its_receipt_says() {
    let mut bench = Bench::new(|_| delivered());
    assert_eq!(bench.publish(&[("before", "a")]).await, [0]);
    let mut only_a = subscription("only-a");
    only_a.filters = Filter::parse_list(&json!([{"exact": {"subject": "a"}}])).unwrap();
    bench.dispatch().create(only_a, Position::Now).await.unwrap();
    bench.dispatch().create(subscription("all"), Position::Now).await.unwrap();
    assert_eq!(bench.publish(&[("1", "a"), ("2", "b"), ("3", "a")]).await, [2, 1, 2]);
    bench.until_sent("all", 3).await;
    bench.until_sent("only-a", 2).await;
    assert_eq!(bench.sent("only-a"), ["1", "3"]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_from_the_earliest_event_gets_the_past_and_then_the_present() {
    let mut bench = Bench::new(|_| delivered());
    bench.publish_numbers(0..3000).await;
    bench.dispatch().create(subscription("all"), Position::Earliest).await.unwrap();
    bench.publish_numbers(3000..4000).await;
    bench.until_sent("all", 4000).await;
    let expected: Vec<_> = (0..4000).map(|n| n.to_string()).collect();
    assert_eq!(bench.sent("all"), expected);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_tried_again_and_then_parked_and_can_be_requeued() {
    let mut bench = Bench::new(|delivery| match delivery.event.event.id() {
        "poison" => failed(500),
        "flaky" if delivery.attempt < 3 => failed(503),
        _ => delivered(),
    });
    let mut patient = subscription("s");
    patient.retry.max_attempts = 4;
    bench.dispatch().create(patient, Position::Now).await.unwrap();
    bench.publish(&[("poison", "a"), ("flaky", "b"), ("good", "c")]).await;
    bench.until("one is parked", |bench| bench.view("s").dead_letters == 1).await;
    bench.until("two are delivered", |bench| bench.view("s").delivered == 2).await;
    assert_eq!(bench.sent("s").iter().filter(|id| *id == "poison").count(), 4);

    let journey = journey::follow(
        bench.dispatch(),
        bench.store().journal(),
        bench.store().ledger(),
        ("/s".to_owned(), "poison".to_owned()),
    );
    let journey = journey.await.unwrap().unwrap();
    let considered = &journey.considered[0];
    assert_eq!(considered.rests(), "dead letter");
    assert_eq!(considered.attempts.len(), 4);
    assert!(considered.attempts.iter().all(|attempt| attempt.status == Some(500)));

    bench.stop().await;
    bench.start();
    assert_eq!(bench.view("s").dead_letters, 1, "also after a restart");
    bench.script(|_| delivered());
    let poison = Sequence::FIRST;
    assert_eq!(bench.dispatch().requeue("s", &[poison, Sequence(99)]).await.unwrap(), 1);
    bench.until("nothing is parked", |bench| bench.view("s").dead_letters == 0).await;
    assert_eq!(bench.sent("s").last().unwrap(), "poison");
    bench.stop().await;
    bench.start();
    assert_eq!(bench.view("s").dead_letters, 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_key_holds_up_no_other_key() {
    let mut bench = Bench::new(|delivery| match delivery.event.event.subject() {
        Some("bad") if delivery.attempt < 4 => failed(500),
        _ => delivered(),
    });
    let mut ordered = subscription("s");
    ordered.ordering = eg_event::subscription::Ordering::Key;
    ordered.retry.initial_delay_ms = 200;
    ordered.retry.max_delay_ms = 200;
    bench.dispatch().create(ordered, Position::Now).await.unwrap();
    bench
        .publish(&[("b1", "bad"), ("b2", "bad"), ("g1", "good"), ("g2", "good"), ("b3", "bad")])
        .await;
    bench.until("all are delivered", |bench| bench.view("s").delivered == 5).await;
    let sent = bench.sent("s");
    let place = |id: &str| sent.iter().rposition(|sent| sent == id).unwrap();
    assert!(place("g2") < place("b1"), "{sent:?}");
    assert!(place("b1") < place("b2") && place("b2") < place("b3"), "{sent:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_gone_pauses_its_subscription_and_loses_nothing() {
    let mut bench = Bench::new(|_| Outcome::Gone { status: Some(410) });
    bench.dispatch().create(subscription("s"), Position::Now).await.unwrap();
    bench.publish(&[("1", "a")]).await;
    bench.until("it is paused", |bench| bench.view("s").paused.is_some()).await;
    bench.publish(&[("2", "a"), ("3", "a")]).await;
    bench.until("the journal has been routed", |bench| bench.view("s").waiting == 2).await;
    bench.stop().await;
    bench.start();
    assert!(bench.view("s").paused.unwrap().contains("410"), "also after a restart");
    bench.script(|_| delivered());
    bench.dispatch().resume("s").await.unwrap();
    bench.until("all are delivered", |bench| bench.view("s").delivered == 3).await;
    assert_eq!(bench.sent("s"), ["1", "1", "2", "3"]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_asks_to_wait_gets_nothing_until_then() {
    let mut bench = Bench::new(|delivery| match delivery.attempt {
        1 if delivery.event.event.id() == "1" => Outcome::Failed {
            status: Some(429),
            reason: "answered 429".to_owned(),
            retry_after: Some(Duration::from_millis(400)),
        },
        _ => delivered(),
    });
    let mut single = subscription("s");
    single.max_in_flight = 1;
    bench.dispatch().create(single, Position::Now).await.unwrap();
    let started = Instant::now();
    bench.publish(&[("1", "a"), ("2", "a")]).await;
    bench.until("both are delivered", |bench| bench.view("s").delivered == 2).await;
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_receiver_costs_few_attempts_and_gets_everything_when_it_is_back() {
    let mut bench = Bench::new(|delivery| match &*delivery.subscription.name {
        "dead" => failed(503),
        _ => delivered(),
    });
    bench.dispatch().create(subscription("dead"), Position::Now).await.unwrap();
    bench.dispatch().create(subscription("alive"), Position::Now).await.unwrap();
    bench.publish_numbers(0..10_000).await;
    bench.until("the living one has all", |bench| bench.view("alive").delivered == 10_000).await;
    let dead = bench.view("dead");
    assert!(dead.is_failing && dead.retrying + dead.in_flight < 50, "{dead:?}");
    bench.stop().await;
    bench.start();
    bench.script(|_| delivered());
    bench.until("it has all", |bench| bench.view("dead").delivered == 10_000).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rewinding_delivers_again_and_pausing_holds_back() {
    let mut bench = Bench::new(|_| delivered());
    bench.dispatch().create(subscription("s"), Position::Now).await.unwrap();
    bench.publish_numbers(0..5).await;
    bench.until_sent("s", 5).await;
    bench.dispatch().pause("s", "for a test").await.unwrap();
    bench.dispatch().rewind("s", Position::Sequence(Sequence(3))).await.unwrap();
    bench.publish_numbers(5..7).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.sent("s").len(), 5);
    bench.dispatch().resume("s").await.unwrap();
    bench.until_sent("s", 10).await;
    assert_eq!(bench.sent("s")[5..], ["2", "3", "4", "5", "6"]);
    bench.stop().await;
    bench.start();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.sent("s").len(), 10, "nothing is repeated after an orderly stop");
    let later = Timestamp::from_micros(Clock::system().now().as_micros() + 1_000_000);
    bench.dispatch().rewind("s", Position::Time(later)).await.unwrap();
    bench.dispatch().replay("s", Sequence(1)).await.unwrap();
    bench.until_sent("s", 11).await;
    assert_eq!(bench.sent("s")[10], "0");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_in_mid_stream_loses_and_repeats_nothing() {
    let mut bench =
        Bench::with(|_| delivered(), Duration::from_millis(1), StorageConfig::default());
    bench.dispatch().create(subscription("s"), Position::Now).await.unwrap();
    for round in 0..20u32 {
        bench.publish_numbers(round * 50..(round + 1) * 50).await;
        let mut changed = subscription("s");
        changed.max_in_flight = 1 + u16::try_from(round).unwrap();
        bench.dispatch().update(changed).await.unwrap();
    }
    bench.until("all are delivered", |bench| bench.view("s").delivered == 1000).await;
    let mut sent: Vec<u32> = bench.sent("s").iter().map(|id| id.parse().unwrap()).collect();
    sent.sort_unstable();
    assert_eq!(sent, (0..1000).collect::<Vec<_>>());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_lets_go_is_counted_and_dead_letters_outlive_it() {
    let config = StorageConfig {
        segment_bytes: 1 << 16,
        retention_bytes: 1 << 16,
        fresh_bytes_max: 1 << 12,
        ..StorageConfig::default()
    };
    let mut bench = Bench::with(|_| failed(500), Duration::ZERO, config);
    let mut hasty = subscription("s");
    hasty.retry.max_attempts = 1;
    bench.dispatch().create(hasty, Position::Now).await.unwrap();
    bench.publish(&[("dead", "a")]).await;
    bench.until("it is parked", |bench| bench.view("s").dead_letters == 1).await;
    bench.dispatch().pause("s", "for a test").await.unwrap();
    for round in 0..20 {
        bench.publish_numbers(round * 100..(round + 1) * 100).await;
    }
    bench.until("all are routed", |bench| bench.view("s").waiting == 2000).await;
    // Or the gateway has done so by itself.
    bench.dispatch().release().await.unwrap();
    let before = bench.dispatch().outlets.journal.usage().unwrap().first;
    assert!(before > Sequence(500), "{before}");
    bench.script(|_| delivered());
    bench.dispatch().resume("s").await.unwrap();
    let settled = |view: &View| view.lost + view.delivered == 2000 && view.waiting == 0;
    bench.until("the rest is delivered", |bench| settled(&bench.view("s"))).await;
    assert_eq!(bench.view("s").lost, before.0 - 2);
    assert_eq!(bench.dispatch().requeue("s", &[Sequence::FIRST]).await.unwrap(), 1);
    bench.until("it arrives", |bench| bench.sent("s").last().is_some_and(|id| id == "dead")).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_event_is_not_sent() {
    let mut bench = Bench::new(|_| delivered());
    bench.dispatch().create(subscription("s"), Position::Now).await.unwrap();
    let principal = Authenticator::anonymous_on_loopback()
        .authenticate(&Credential::None, &Peer::new("127.0.0.1:1".parse().unwrap()))
        .await
        .unwrap();
    for (id, expiry) in [("late", "2020-01-01T00:00:00Z"), ("early", "2999-01-01T00:00:00Z")] {
        let mut builder = CloudEvent::builder();
        for (name, text) in [
            ("specversion", "1.0"),
            ("id", id),
            ("source", "/s"),
            ("type", "t"),
            ("expirytime", expiry),
        ] {
            builder.attribute(name, text).unwrap();
        }
        let origin = Origin {
            protocol: Protocol::Http,
            binding: Binding::Binary,
            remote: None,
            address: "/events".into(),
            client_id: None,
        };
        let event = builder.build().unwrap();
        let submission = Submission::new(event, Arc::clone(&principal), origin);
        bench.store().journal().append(vec![(submission, 1)]).await[0].as_ref().unwrap();
    }
    bench.until_sent("s", 1).await;
    assert_eq!(bench.sent("s"), ["early"]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_unique_and_unknown_ones_are_told() {
    let mut bench = Bench::new(|_| delivered());
    let dispatch = Arc::clone(bench.dispatch());
    dispatch.create(subscription("s"), Position::Now).await.unwrap();
    let twice = dispatch.create(subscription("s"), Position::Now).await.err().unwrap();
    assert!(matches!(twice, RegistryError::NotUnique(..)), "{twice}");
    let unknown = dispatch.pause("other", "x").await.err().unwrap();
    assert_eq!(unknown.to_string(), "there is no subscription called \"other\"");
    dispatch.delete("s").await.unwrap();
    assert!(dispatch.get("s").is_none());
    dispatch.create(subscription("s"), Position::Now).await.unwrap();
    drop(dispatch);
    bench.stop().await;
}
