//! Facts about events that do not follow their declaration, over a real journal and real delivery.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use eg_auth::policy::{Policy, PolicyConfig, PolicyStore};
use eg_event::principal::Method;
use eg_event::{
    Binding, ChannelMessage, Channels as _, Clock, CloudEvent, Data, Delivery, Ingest as _, Origin,
    Outcome, Principal, Protocol, RawPayload, Receipt, Refusal, Sequence, Sink, Status, Submission,
    Subscription,
};
use eg_storage::{StorageConfig, Store};
use futures_util::future::{BoxFuture, FutureExt as _, ready};

use super::Validator;
use crate::authorize::Authorizer;
use crate::declared::{DeclaredStore, fixture};
use crate::dispatch::registry::Position;
use crate::dispatch::{Dispatch, Outlets};
use crate::ingest::Pipeline;
use crate::metrics::{Levels, Metrics};
use crate::quarantine::{QuarantineConfig, ReleaseError};
use crate::secrets::{Keys, SecretsConfig};
use crate::specs::definition::{Definition, PayloadCheck};

const DOCUMENT: &str = "asyncapi: 3.0.0
info: {title: T, version: '1'}
channels:
  orders:
    address: orders
    messages:
      order:
        name: order
        contentType: application/json
        payload: {type: object, required: [n], properties: {n: {type: integer}}}
";

/// Remembers what it was given.
#[derive(Default)]
struct Receiver(Mutex<Vec<String>>);

impl Sink for Receiver {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Outcome> {
        let event = &delivery.event.event;
        let data = event.data().map(|data| String::from_utf8_lossy(data.bytes()).into_owned());
        self.0.lock().unwrap().push(format!("{} {}", event.id(), data.unwrap_or_default()));
        ready(Outcome::Delivered { status: None }).boxed()
    }
}

/// A way in and out over a store that can be opened again.
struct Bench {
    declared: DeclaredStore,
    receiver: Arc<Receiver>,
    metrics: Arc<Metrics>,
    config: QuarantineConfig,
    live: Option<(Store, Arc<Dispatch>, Pipeline)>,
    directory: tempfile::TempDir,
}

impl Bench {
    async fn new(check: PayloadCheck) -> Self {
        let mut bench = Self {
            declared: DeclaredStore::default(),
            receiver: Arc::default(),
            metrics: Arc::default(),
            config: QuarantineConfig::default(),
            live: None,
            directory: tempfile::tempdir().unwrap(),
        };
        bench.declare(check, DOCUMENT);
        bench.open();
        let subscription = Subscription::new("all", "http://receiver.test/");
        bench.dispatch().create(subscription, Position::Now).await.unwrap();
        bench
    }

    fn declare(&self, check: PayloadCheck, text: &str) {
        let definition =
            Definition { payload_check: check, ..fixture::definition("shop", "d", text) };
        self.declared.replace(fixture::compiled(vec![definition]));
    }

    fn open(&mut self) {
        let clock = Clock::system();
        let path = self.directory.path();
        let store = Store::open(path, &StorageConfig::default(), &clock).unwrap();
        let outlets = Outlets {
            journal: store.journal().clone(),
            ledger: store.ledger().clone(),
            sink: Arc::clone(&self.receiver) as Arc<dyn Sink>,
            keys: Arc::new(Keys::open(&SecretsConfig::default(), path).unwrap()),
            quarantine: self.config,
            clock,
        };
        let dispatch = Dispatch::recover(outlets).unwrap();
        dispatch.start();
        let policy = PolicyStore::new(Policy::compile(&PolicyConfig::default()).unwrap());
        let authorizer = Authorizer::new(policy, Arc::clone(&self.metrics));
        let quarantine = Arc::clone(dispatch.quarantine());
        let validator =
            Validator::new(self.declared.clone(), quarantine, Arc::clone(&self.metrics));
        let (sieves, metrics) = ((authorizer, validator), Arc::clone(&self.metrics));
        let journal = store.journal().clone();
        let pipeline = Pipeline::new(sieves, journal, Arc::clone(&dispatch), metrics);
        self.live = Some((store, dispatch, pipeline));
    }

    async fn close(&mut self) {
        let (store, dispatch, pipeline) = self.live.take().unwrap();
        dispatch.stop(std::future::ready(())).await.unwrap();
        drop((dispatch, pipeline));
        store.close().unwrap();
    }

    fn dispatch(&self) -> &Arc<Dispatch> {
        &self.live.as_ref().unwrap().1
    }

    async fn publish(&self, id: &str, data: &str) -> Result<Receipt, Refusal> {
        self.submit(submission(id, data)).await
    }

    async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let answers = self.live.as_ref().unwrap().2.ingest(vec![submission]).await;
        answers.into_iter().next().unwrap()
    }

    /// What is in quarantine, as `sequence id reason`, once `count` events are.
    async fn quarantined(&self, count: usize) -> Vec<String> {
        until(|| self.dispatch().quarantine().count(None) == count).await;
        let letters = self.dispatch().held_letters(Some("shop"), Sequence(0), 100).await.unwrap();
        let told = |letter: &eg_storage::DeadLetter| {
            format!("{} {} {}", letter.event.sequence, letter.event.event.id(), letter.reason)
        };
        letters.iter().map(told).collect()
    }

    async fn delivered(&self, expected: &[&str]) {
        until(|| *self.receiver.0.lock().unwrap() == expected).await;
    }

    fn count(&self, outcome: &str) -> u64 {
        let labels = format!("application=\"shop\",definition=\"d\",outcome=\"{outcome}\"");
        let line = format!("event_gateway_spec_violations_total{{{labels}}} ");
        let text = self.metrics.render(&Levels::default());
        let found = text.lines().find_map(|found| found.strip_prefix(&line));
        found.map_or(0, |count| count.parse().unwrap())
    }
}

async fn until(holds: impl Fn() -> bool + Send + Sync) {
    let waited = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), waited).await.expect("it holds in time");
}

fn submission(id: &str, data: &str) -> Submission {
    submission_of("application/json", id, data)
}

#[expect(clippy::disallowed_methods, reason = "somebody has to be recognized here")]
fn submission_of(media_type: &str, id: &str, data: &str) -> Submission {
    let mut builder = CloudEvent::builder();
    builder.implied_spec_version();
    for (name, text) in [
        ("id", id),
        ("source", "/shop"),
        ("type", "order"),
        ("datacontenttype", media_type),
        ("region", "eu"),
    ] {
        builder.attribute(name, text).unwrap();
    }
    builder.data(Data::from_body(Some(media_type), data.to_owned().into()));
    let principal = Principal::vouch_for("till", Method::Bearer, None).for_application("shop");
    let origin = Origin {
        protocol: Protocol::Http,
        binding: Binding::Binary,
        remote: None,
        address: "/events".into(),
        client_id: None,
    };
    Submission::new(builder.build().unwrap(), Arc::new(principal), origin)
}

const WRONG: &str = "data: at \"/n\" expected an integer \
    (\"/channels/orders/messages/order/payload/properties/n/type\"), as d of shop says";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_of_checking_treats_a_wrong_payload_as_it_says() {
    let mut bench = Bench::new(PayloadCheck::Reject).await;
    bench.publish("1", r#"{"n": 1}"#).await.unwrap();
    let refused = bench.publish("2", r#"{"n": "x"}"#).await.unwrap_err();
    assert_eq!((refused.to_string().as_str(), bench.count("rejected")), (WRONG, 1));
    bench.declare(PayloadCheck::Warn, DOCUMENT);
    assert!(bench.publish("3", r#"{"n": "x"}"#).await.is_ok());
    assert_eq!(bench.count("warned"), 1);
    bench.declare(PayloadCheck::Off, DOCUMENT);
    assert!(bench.publish("4", "{nonsense").await.is_ok());
    bench.declared.replace(fixture::compiled(Vec::new()));
    assert!(bench.publish("5", "[]").await.is_ok());
    bench.delivered(&["1 {\"n\": 1}", "3 {\"n\": \"x\"}", "4 {nonsense", "5 []"]).await;
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_media_type_is_no_way_round_a_schema() {
    let mut bench = Bench::new(PayloadCheck::Reject).await;
    bench.declare(PayloadCheck::Reject, &DOCUMENT.replace("contentType: application/json", ""));
    let refused = bench.submit(submission_of("text/plain", "1", r#"{"n": "x"}"#)).await;
    let expected = "datacontenttype: expected application/json, found \"text/plain\", as d of \
        shop says";
    assert_eq!(refused.unwrap_err().to_string(), expected);
    assert!(bench.submit(submission_of("application/x+json", "2", r#"{"n": 1}"#)).await.is_ok());
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_quarantine_reaches_nobody_until_it_is_mended_and_released() {
    let mut bench = Bench::new(PayloadCheck::Quarantine).await;
    let receipt = bench.publish("1", r#"{"n": "x"}"#).await.unwrap();
    assert_eq!((receipt.status(), receipt.subscriptions), (Status::Quarantined, 0));
    assert_eq!(bench.quarantined(1).await, [format!("1 1 {WRONG}")]);
    let release = async |data: &str| {
        let dispatch = bench.dispatch();
        dispatch.release_held(Sequence(1), Some(data.to_owned()), &bench.declared).await
    };
    let still = release(r#"{"n": 1.5}"#).await.unwrap_err();
    assert_eq!(still.to_string(), WRONG);
    let released = release(r#"{"n": 2}"#).await.unwrap();
    assert_eq!((released.sequence, released.subscriptions), (Sequence(2), 1));
    bench.delivered(&["1 {\"n\": 2}"]).await;
    assert_eq!(release(r#"{"n": 3}"#).await.unwrap(), released, "it is released once");
    assert!(bench.quarantined(0).await.is_empty());
    let journal = bench.live.as_ref().unwrap().0.journal();
    let stored = journal.get(Sequence(2)).unwrap().unwrap();
    assert_eq!((&*stored.sender.name, stored.held.is_none()), ("till", true));
    assert_eq!(stored.event.extension("region").unwrap().to_string(), "eu");
    bench.delivered(&["1 {\"n\": 2}"]).await;
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_who_mends_an_event_and_sends_it_again_is_not_taken_for_a_duplicate() {
    let mut bench = Bench::new(PayloadCheck::Quarantine).await;
    assert!(!bench.publish("1", "{}").await.unwrap().duplicate);
    let again = bench.publish("1", "{}").await.unwrap();
    assert_eq!((again.duplicate, again.status()), (true, Status::Quarantined));
    let mended = bench.publish("1", r#"{"n": 1}"#).await.unwrap();
    assert_eq!((mended.duplicate, mended.status()), (false, Status::Published));
    bench.delivered(&["1 {\"n\": 1}"]).await;
    assert_eq!(bench.quarantined(1).await.len(), 1);
    assert_eq!(bench.dispatch().quarantine().used().0, 1);
    let data = Some(r#"{"n": 9}"#.to_owned());
    let released = bench.dispatch().release_held(Sequence(1), data, &bench.declared).await;
    assert_eq!(released.unwrap().sequence, mended.sequence, "the same event is there already");
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quarantine_survives_a_restart_and_what_is_purged_stays_away() {
    let mut bench = Bench::new(PayloadCheck::Quarantine).await;
    for id in ["1", "2", "3"] {
        bench.publish(id, "{}").await.unwrap();
    }
    let before = bench.quarantined(3).await;
    assert_eq!(bench.dispatch().purge_held(&[Sequence(2), Sequence(9)]).await.unwrap(), 1);
    bench.close().await;
    bench.open();
    assert_eq!(bench.quarantined(2).await, [before[0].clone(), before[2].clone()]);
    let gone = bench.dispatch().release_held(Sequence(2), None, &bench.declared).await;
    assert!(matches!(gone, Err(ReleaseError::NotFound(Sequence(2)))), "{gone:?}");
    // What is declared now may take what was wrong before.
    bench.declare(PayloadCheck::Reject, &DOCUMENT.replace("required: [n]", "required: []"));
    bench.dispatch().release_held(Sequence(3), None, &bench.declared).await.unwrap();
    bench.delivered(&["3 {}"]).await;
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_quarantine_refuses_and_says_so_until_there_is_room() {
    let mut bench = Bench::new(PayloadCheck::Quarantine).await;
    bench.close().await;
    bench.config.events_max = 2;
    bench.open();
    for id in ["1", "2"] {
        bench.publish(id, "{}").await.unwrap();
    }
    let refused = bench.publish("3", "{}").await.unwrap_err();
    assert!(refused.to_string().ends_with("; the quarantine is full"), "{refused}");
    assert_eq!(bench.quarantined(2).await.len(), 2);
    bench.close().await;
    bench.open();
    assert!(bench.publish("4", "{}").await.is_err(), "also after a restart");
    bench.dispatch().purge_held(&[Sequence(1)]).await.unwrap();
    bench.publish("5", "{}").await.unwrap();
    // Duplicates and refusals take no room.
    bench.quarantined(2).await;
    assert_eq!(bench.dispatch().quarantine().used().0, 2);
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_reads_the_journal_again_passes_over_what_is_in_quarantine() {
    let mut bench = Bench::new(PayloadCheck::Quarantine).await;
    bench.publish("1", "{}").await.unwrap();
    bench.publish("2", r#"{"n": 2}"#).await.unwrap();
    bench.delivered(&["2 {\"n\": 2}"]).await;
    bench.dispatch().rewind("all", Position::Earliest).await.unwrap();
    bench.delivered(&["2 {\"n\": 2}", "2 {\"n\": 2}"]).await;
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_was_found_by_one_version_of_a_document_is_judged_by_the_same() {
    let mut bench = Bench::new(PayloadCheck::Reject).await;
    let found = submission("1", r#"{"n": 1}"#);
    let raw = RawPayload {
        application: Some("shop"),
        address: "orders",
        principal: &found.principal,
        content_type: None,
        payload: b"{}",
    };
    let Ok(Some(ChannelMessage::Data(declared))) = bench.declared.find(&raw) else {
        panic!("the channel is declared");
    };
    bench.declare(PayloadCheck::Reject, &DOCUMENT.replace("type: integer", "type: string"));
    let old = Submission { declaration: Some(declared.declaration), ..found.clone() };
    let answers = bench.live.as_ref().unwrap().2.ingest(vec![old, found]).await;
    assert!(answers[0].is_ok());
    let refused = answers[1].as_ref().unwrap_err().to_string();
    assert!(refused.contains("expected a string"), "{refused}");
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_of_a_batch_has_its_own_answer_whoever_refuses_it() {
    let mut bench = Bench::new(PayloadCheck::Reject).await;
    let foreign = || {
        let mut submission = submission("f", r#"{"n": 1}"#);
        let attributes = eg_event::event::Attributes {
            source: "/bank".into(),
            ..submission.event.attributes().clone()
        };
        submission.event = CloudEvent::from_checked(attributes, None);
        submission
    };
    let good = |id: &str| submission(id, r#"{"n": 1}"#);
    let wrong = |id: &str| submission(id, "{}");
    let batch = vec![foreign(), wrong("1"), good("2"), foreign(), good("3"), wrong("4"), good("5")];
    let answers = bench.live.as_ref().unwrap().2.ingest(batch).await;
    let told: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Ok(receipt) => receipt.id.to_string(),
            Err(Refusal::Forbidden(_)) => "forbidden".to_owned(),
            Err(_) => "wrong".to_owned(),
        })
        .collect();
    assert_eq!(told, ["forbidden", "wrong", "2", "forbidden", "3", "wrong", "5"]);
    bench.close().await;
}
