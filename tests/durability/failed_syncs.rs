//! What a failed sync leaves behind is neither lost nor believed too early, and the store goes on.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use eg_event::{Clock, KeptSession, Owner, Principal, Receipt, Refusal, Sequence, Timestamp};
use eg_storage::{Health, Store};

use crate::crash_volume::{CrashVolume, Failing};
use crate::events::{anyone, small, submission};

/// A store on a disk that can be made to fail, and a clock that is moved by hand.
struct Setup {
    volume: CrashVolume,
    clock: Clock,
    principal: Arc<Principal>,
}

fn clock(hours: u64) -> Clock {
    Clock::by_hand(Timestamp::from_micros(1_700_000_000_000_000).after(Duration::from_hours(hours)))
}

fn session(expiry_s: u32) -> KeptSession {
    KeptSession { client_id: "client".into(), owner: Owner::NOBODY, expiry_s }
}

impl Setup {
    async fn new() -> Self {
        Self { volume: CrashVolume::default(), clock: clock(0), principal: anyone().await }
    }

    fn open(&self) -> Store {
        Store::open_on(Arc::new(self.volume.clone()), &small(), &self.clock).unwrap()
    }

    async fn append(&self, store: &Store, id: &str) -> Result<Receipt, Refusal> {
        let submitted = vec![(submission(&self.principal, id, 10), 0)];
        let answer = store.journal().append(submitted).await.pop().unwrap();
        // The writer answers first; what it does beside is done before anything is made to fail.
        let idle = async {
            while store.journal().usage().unwrap().intake_events > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(2), idle).await.unwrap();
        answer
    }

    fn lose_power(&mut self, seed: u64) {
        self.volume.crash();
        self.volume = self.volume.after_crash(seed);
    }

    /// Every event that was acknowledged is where its receipt says.
    fn verify(&self, acknowledged: &[(impl AsRef<str>, Receipt)]) {
        let store = self.open();
        for (id, receipt) in acknowledged {
            let stored = store.journal().get(receipt.sequence).unwrap();
            assert_eq!(stored.as_ref().map(|stored| stored.event.id()), Some(id.as_ref()));
        }
        store.close().unwrap();
    }

    /// Lets the commit of `work` fail, and lets the time pass until the store tries again.
    async fn fail<T: Debug>(&self, store: &Store, work: impl Future<Output = Result<T, Refusal>>) {
        self.volume.set_failing(Some(Failing::Syncs));
        assert!(matches!(work.await.unwrap_err(), Refusal::Unavailable { .. }));
        let mut health = store.journal().follow_health();
        health.wait_for(|health| matches!(health, Health::Refusing(_))).await.unwrap();
        self.volume.set_failing(None);
        self.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_failure_in_an_empty_file_leaves_the_dedupe_window_whole() {
    let setup = Setup::new().await;
    let store = setup.open();
    setup.append(&store, "a").await.unwrap();
    // The second failure comes before the file that was begun after the first has an event.
    setup.fail(&store, setup.append(&store, "b")).await;
    store.journal().keep_session(session(1)).await.unwrap();
    setup.fail(&store, async { store.journal().keep_session(session(2)).await }).await;
    setup.append(&store, "c").await.unwrap();
    let end = store.journal().end();
    store.close().unwrap();

    let store = setup.open();
    for id in ["a", "b", "c"] {
        let receipt = setup.append(&store, id).await.unwrap();
        assert_eq!((receipt.duplicate, receipt.sequence < end), (true, true), "{id}");
    }
    assert_eq!(store.journal().find("/test", "a").unwrap(), Some(Sequence::FIRST));
    store.close().unwrap();
}

#[tokio::test]
async fn a_file_begun_after_a_failure_is_the_newest_even_when_the_clock_went_back() {
    let mut setup = Setup::new().await;
    setup.clock = clock(1);
    setup.open().close().unwrap();
    setup.clock = clock(0);
    let store = setup.open();
    setup.fail(&store, async { store.journal().keep_session(session(1)).await }).await;
    setup.append(&store, "a").await.unwrap();
    store.close().unwrap();

    let store = setup.open();
    assert_eq!(store.journal().end(), Sequence(2));
    assert_eq!(store.journal().get(Sequence(1)).unwrap().unwrap().event.id(), "a");
    store.close().unwrap();
}

#[tokio::test]
async fn the_store_recovers_while_nobody_sends_anything() {
    let setup = Setup::new().await;
    let store = setup.open();
    let mut health = store.journal().follow_health();
    setup.fail(&store, setup.append(&store, "a")).await;
    let recovered = health.wait_for(|health| *health == Health::Writable);
    tokio::time::timeout(Duration::from_mins(2), recovered).await.unwrap().unwrap();

    setup.volume.set_free_bytes(Some(1000));
    setup.clock.advance(Duration::from_secs(1));
    let refusing = health.wait_for(|health| *health != Health::Writable);
    tokio::time::timeout(Duration::from_mins(2), refusing).await.unwrap().unwrap();
    store.close().unwrap();
}

#[tokio::test]
async fn a_retry_after_a_failed_commit_is_acknowledged_only_when_the_event_is_on_the_disk() {
    for seed in 0..10 {
        let mut setup = Setup::new().await;
        let store = setup.open();
        let first = setup.append(&store, "first").await.unwrap();
        setup.fail(&store, setup.append(&store, "retried")).await;
        let retried = setup.append(&store, "retried").await.unwrap();
        let last = setup.append(&store, "last").await.unwrap();
        setup.lose_power(seed);
        setup.verify(&[("first", first), ("retried", retried), ("last", last)]);
    }
}

#[tokio::test]
async fn a_process_that_starts_after_a_failed_commit_believes_no_more_than_is_on_the_disk() {
    for seed in 0..10 {
        let mut setup = Setup::new().await;
        let store = setup.open();
        let first = setup.append(&store, "first").await.unwrap();
        setup.fail(&store, setup.append(&store, "retried")).await;
        setup.volume = setup.volume.after_kill();
        let store = setup.open();
        let retried = setup.append(&store, "retried").await.unwrap();
        setup.lose_power(seed);
        setup.verify(&[("first", first), ("retried", retried)]);
    }
}

#[tokio::test]
async fn a_file_whose_commit_failed_is_read_and_closed_without_harm() {
    for seed in 0..10 {
        let mut setup = Setup::new().await;
        let store = setup.open();
        let first = setup.append(&store, "first").await.unwrap();
        setup.fail(&store, setup.append(&store, "refused")).await;
        let last = setup.append(&store, "last").await.unwrap();
        store.journal().find("/test", "first").unwrap();
        store.close().unwrap();
        setup.lose_power(seed);
        setup.verify(&[("first", first), ("last", last)]);
    }
}

#[tokio::test]
async fn a_new_file_whose_name_is_not_certain_hides_no_event() {
    let setup = Setup::new().await;
    let store = setup.open();
    let mut acknowledged = Vec::new();
    for n in 0..20 {
        let fails = (5..10).contains(&n);
        setup.volume.set_failing(fails.then_some(Failing::NameSyncs));
        setup.clock.advance(Duration::from_secs(2));
        let id = n.to_string();
        let submitted = vec![(submission(&setup.principal, &id, 20_000), 0)];
        if let Ok(receipt) = store.journal().append(submitted).await.pop().unwrap() {
            acknowledged.push((id, receipt));
        }
    }
    store.close().unwrap();
    assert!(acknowledged.len() >= 15, "{} were taken", acknowledged.len());
    setup.verify(&acknowledged);
}
