//! Facts about the registry, over a real ledger and dispatch that are closed and opened again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eg_event::outbound::{Auth, Credential, SecretText};
use eg_event::{Clock, Timestamp};
use eg_http::{HttpSink, PushConfig};
use eg_storage::{StorageConfig, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::change::{
    ApplicationInput, AuthChange, Change, ChangeKind, Changed, DefinitionInput, Entry,
    ExternalInput, Owner, SpecInput,
};
use super::error::{Rejected, SpecsError};
use super::registry::{Follow, Outlets, Registry};
use super::snapshot::Snapshot;
use crate::dispatch::change::Wanted;
use crate::dispatch::{self, Dispatch};
use crate::secrets::{self, Keys, SecretsConfig};

const SPEC: &str = "asyncapi: 3.0.0\ninfo: {title: Orders, version: 1.0.0}\nchannels:\n  placed:\n    \
    address: orders/placed\n    messages: {placed: {name: order.placed}}\n";

/// Refuses applications called `refused`, and counts what it follows.
struct Follower(Arc<AtomicUsize>);

impl Follow for Follower {
    fn prepare(&self, next: &Snapshot) -> Result<Box<dyn FnOnce() + Send>, Vec<String>> {
        if next.application_named("refused").is_some() {
            return Err(vec!["refused is refused".to_owned()]);
        }
        let followed = Arc::clone(&self.0);
        Ok(Box::new(move || {
            followed.fetch_add(1, Ordering::Relaxed);
        }))
    }
}

struct Bench {
    store: Store,
    dispatch: Arc<Dispatch>,
    registry: Registry,
    followed: Arc<AtomicUsize>,
    clock: Clock,
}

impl Bench {
    fn open(directory: &Path) -> Self {
        Self::open_with(directory, &SecretsConfig::default())
    }

    fn open_with(directory: &Path, secrets: &SecretsConfig) -> Self {
        let clock = Clock::by_hand(Timestamp::from_micros(1_700_000_000_000_000));
        let store = Store::open(directory, &StorageConfig::default(), &clock).unwrap();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let http = HttpSink::new(&PushConfig::default(), clock.clone(), tasks, stop).unwrap();
        let http = Arc::new(http);
        let keys = Arc::new(Keys::open(secrets, directory).unwrap());
        let dispatch = Dispatch::recover(dispatch::Outlets {
            quarantine: crate::quarantine::QuarantineConfig::default(),
            journal: store.journal().clone(),
            ledger: store.ledger().clone(),
            sink: Arc::clone(&http) as _,
            keys: Arc::clone(&keys),
            clock: clock.clone(),
        });
        let dispatch = dispatch.unwrap();
        let followed = Arc::<AtomicUsize>::default();
        let registry = Registry::open(Outlets {
            ledger: store.ledger().clone(),
            keys,
            clock: clock.clone(),
            http,
            check_target: Arc::new(|_| Ok(())),
            dispatch: Arc::clone(&dispatch),
            follower: Arc::new(Follower(Arc::clone(&followed))),
        });
        Self { store, dispatch, registry: registry.unwrap(), followed, clock }
    }

    async fn close(self) {
        self.dispatch.stop(std::future::ready(())).await.unwrap();
        drop((self.registry, self.dispatch));
        self.store.close().unwrap();
    }

    fn pushes(&self) -> Vec<String> {
        self.dispatch.all().iter().map(|one| one.definition().subscription.name.clone()).collect()
    }
}

fn application(name: &str) -> Change {
    Change::CreateApplication(ApplicationInput { name: name.to_owned(), ..Default::default() })
}

fn auth() -> Arc<Auth> {
    let password = SecretText::new("s3cret");
    let credential = Some(Credential::Basic { username: "ann".to_owned(), password });
    Arc::new(Auth { credential, ..Auth::default() })
}

fn input() -> DefinitionInput {
    let spec = SpecInput { data: Some(SPEC.to_owned()), ..SpecInput::default() };
    let external = ExternalInput {
        url: "https://bus.test/in".to_owned(),
        auth: AuthChange::Set(auth()),
        topic: "orders".to_owned(),
        attributes: std::collections::BTreeMap::new(),
    };
    DefinitionInput { spec, external_subscriptions: vec![external], ..DefinitionInput::default() }
}

fn definition(owner: &str) -> Change {
    let owner = Owner::Name(owner.to_owned());
    Change::CreateDefinition { owner, to: Box::new(input()) }
}

fn kinds(changed: &[Changed]) -> Vec<ChangeKind> {
    changed.iter().map(|one| one.kind).collect()
}

#[tokio::test]
async fn a_plan_says_what_would_change_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::open(directory.path());
    let changes = vec![application("shop"), definition("shop")];
    let planned = bench.registry.apply_with(changes.clone(), Wanted::default(), true).await;
    let (planned, _) = planned.unwrap();
    assert_eq!(kinds(&planned), [ChangeKind::Created; 2]);
    assert!(bench.registry.snapshot().applications().is_empty() && bench.pushes().is_empty());
    let made = bench.registry.apply(changes).await.unwrap();
    assert_eq!(kinds(&made), kinds(&planned));
    assert_eq!(bench.pushes().len(), 1);
    bench.close().await;
}

#[tokio::test]
async fn what_is_so_already_is_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::open(directory.path());
    let made = bench.registry.apply(vec![application("shop"), definition("shop")]).await.unwrap();
    let Entry::Definition(made) = &made[1].entry else { panic!("{made:?}") };
    let before = bench.registry.snapshot();
    bench.clock.advance(std::time::Duration::from_secs(1));
    let same = Change::UpdateDefinition { id: made.id.clone(), to: Box::new(input()) };
    let changed = bench.registry.apply(vec![same]).await.unwrap();
    assert_eq!(kinds(&changed), [ChangeKind::Unchanged]);
    assert!(Arc::ptr_eq(&before, &bench.registry.snapshot()));
    let other = DefinitionInput { group: Some("g".to_owned()), ..input() };
    let other = Change::UpdateDefinition { id: made.id.clone(), to: Box::new(other) };
    let changed = bench.registry.apply(vec![other]).await.unwrap();
    let Entry::Definition(changed) = &changed[0].entry else { panic!("{changed:?}") };
    assert!(changed.updated_at > made.updated_at && changed.created_at == made.created_at);
    bench.close().await;
}

#[tokio::test]
async fn one_wrong_change_or_a_contradiction_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::open(directory.path());
    let mut news = bench.registry.news();
    let apply = async |changes| bench.registry.apply(changes).await.unwrap_err();
    let twice = apply(vec![application("shop"), definition("shop"), application("shop")]).await;
    assert!(matches!(twice, Rejected { place: Some(2), error: SpecsError::NotUnique(..) }));
    let nobodys = apply(vec![application("shop"), definition("shops")]).await;
    assert!(matches!(nobodys, Rejected { place: Some(1), error: SpecsError::NotFound(..) }));
    let refused = apply(vec![application("shop"), application("refused")]).await;
    assert!(matches!(refused, Rejected { place: None, error: SpecsError::Conflicts(_) }));
    for reserved in ["mqtt", "event-gateway"] {
        let refused = apply(vec![application(reserved)]).await;
        assert!(matches!(refused.error, SpecsError::Invalid(_)), "{reserved}");
    }
    assert!(bench.registry.snapshot().applications().is_empty());
    assert!(bench.store.ledger().documents("application").unwrap().is_empty());
    assert!(news.try_recv().is_err(), "nobody is told");
    assert_eq!(bench.followed.load(Ordering::Relaxed), 1, "what holds at the start alone");
    bench.registry.apply(vec![application("shop")]).await.unwrap();
    assert_eq!(bench.followed.load(Ordering::Relaxed), 2);
    assert_eq!(kinds(&news.try_recv().unwrap()), [ChangeKind::Created]);
    bench.close().await;
}

#[tokio::test]
async fn what_is_registered_is_there_after_a_restart_and_what_was_interrupted_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::open(directory.path());
    bench.registry.apply(vec![application("shop"), definition("shop")]).await.unwrap();
    let before = bench.registry.snapshot();
    let pushes = bench.pushes();
    // As if the process had ended between registering it and following from it.
    bench.dispatch.delete(&pushes[0]).await.unwrap();
    bench.close().await;

    let bench = Bench::open(directory.path());
    let after = bench.registry.snapshot();
    assert_eq!(after.definitions(), before.definitions());
    assert_eq!(after.definitions()[0].external_subscriptions[0].auth, Some(auth()));
    assert!(bench.pushes().is_empty());
    bench.registry.settle().await.unwrap();
    assert_eq!(bench.pushes(), pushes);
    assert_eq!(bench.followed.load(Ordering::Relaxed), 1, "the follower knows it");

    let id = after.applications()[0].id.clone();
    bench.registry.apply(vec![Change::DeleteApplication { id }]).await.unwrap();
    assert!(bench.pushes().is_empty());
    bench.close().await;
    let bench = Bench::open(directory.path());
    assert!(bench.registry.snapshot().definitions().is_empty());
    bench.close().await;
}

#[tokio::test]
async fn secrets_are_sealed_under_the_key_of_today() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    secrets::create(&old).unwrap();
    secrets::create(&new).unwrap();
    let config = |current: &Path, previous: &[&Path]| SecretsConfig {
        key_file: Some(current.to_owned()),
        previous_key_files: previous.iter().map(|path| (*path).to_owned()).collect(),
    };
    let data = directory.path().join("data");
    let bench = Bench::open_with(&data, &config(&old, &[]));
    bench.registry.apply(vec![application("shop"), definition("shop")]).await.unwrap();
    bench.close().await;
    Bench::open_with(&data, &config(&new, &[&old])).close().await;
    let bench = Bench::open_with(&data, &config(&new, &[]));
    let definitions = bench.registry.snapshot().definitions();
    assert_eq!(definitions[0].external_subscriptions[0].auth, Some(auth()));
    let documents = bench.store.ledger().documents("event-definition").unwrap();
    let text = String::from_utf8(documents[0].1.clone()).unwrap();
    assert!(text.contains("bus.test") && !text.contains("s3cret"), "{text}");
    bench.close().await;
}

#[tokio::test]
async fn events_of_a_renamed_application_are_pushed_by_its_new_name() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::open(directory.path());
    let made = bench.registry.apply(vec![application("shop"), definition("shop")]).await.unwrap();
    let Entry::Application(shop) = &made[0].entry else { panic!("{made:?}") };
    let to = ApplicationInput { name: "store".to_owned(), ..Default::default() };
    let renamed = Change::UpdateApplication { id: shop.id.clone(), to };
    bench.registry.apply(vec![renamed]).await.unwrap();
    let all = bench.dispatch.all();
    let filters = format!("{:?}", all[0].definition().subscription.filters);
    assert!(filters.contains("/store") && !filters.contains("/shop"), "{filters}");
    assert_eq!(all.len(), 1);
    bench.close().await;
}
