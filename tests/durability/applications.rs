//! What each application holds, keeps and may hold.

use std::sync::Arc;
use std::time::Duration;

use eg_event::{Binding, Clock, Principal, Refusal, Sequence, Submission, Timestamp};
use eg_storage::{Changes, Journal, Limit, StorageConfig, Store};

use crate::crash_volume::CrashVolume;
use crate::events::{anyone, small, submission};

/// The same on a path that names `application`.
pub(crate) fn named_by_path(application: &str, mut submission: Submission) -> Submission {
    submission.origin.binding = Binding::KymaV1;
    submission.origin.address = format!("/{application}/v1/events").into();
    submission
}

/// An event that is published for `application`.
fn published_for(
    application: &str,
    principal: &Arc<Principal>,
    id: &str,
    size: usize,
) -> Submission {
    named_by_path(application, submission(principal, id, size))
}

struct Setup {
    volume: CrashVolume,
    clock: Clock,
    principal: Arc<Principal>,
}

impl Setup {
    async fn new() -> Self {
        let clock = Clock::by_hand(Timestamp::from_micros(1_700_000_000_000_000));
        Self { volume: CrashVolume::default(), clock, principal: anyone().await }
    }

    fn open(&self) -> Store {
        let config = StorageConfig { segment_bytes: 1 << 20, ..small() };
        Store::open_on(Arc::new(self.volume.clone()), &config, &self.clock).unwrap()
    }

    async fn publish(
        &self,
        store: &Store,
        application: &str,
        id: &str,
        size: usize,
    ) -> Result<eg_event::Receipt, Refusal> {
        let submitted = published_for(application, &self.principal, id, size);
        store.journal().append(vec![(submitted, 0)]).await.remove(0)
    }

    /// Eight megabytes of `shop` with a little of `bank` between, in several files.
    async fn fill(&self, store: &Store) {
        for n in 0..400 {
            self.publish(store, "shop", &format!("shop-{n}"), 20_000).await.unwrap();
            if n % 10 == 0 {
                self.publish(store, "bank", &format!("bank-{n}"), 100).await.unwrap();
            }
        }
        idle(store.journal()).await;
    }
}

/// Waits until the writer, which answers first, has done what it does beside.
async fn idle(journal: &Journal) {
    let idle = async {
        while journal.usage().unwrap().intake_events > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), idle).await.unwrap();
}

fn limit(journal: &Journal, application: &str, limit: Limit) {
    journal.limit([(application.into(), limit)].into());
}

/// What retention does, as the gateway does it.
fn let_go(store: &Store, hold: Option<Sequence>) {
    let outgrown = store.journal().outgrown(hold).unwrap();
    let mut changes = Changes::default();
    for (application, floor) in &outgrown {
        changes.put_floor(application, *floor);
    }
    store.ledger().apply(&changes).unwrap();
    store.journal().let_go(&outgrown);
}

/// How many events of `application` can be read.
fn readable(journal: &Journal, application: &str) -> usize {
    let mut count = 0;
    let mut from = Sequence::FIRST;
    loop {
        let events = journal.scan(from, 1000, 1 << 20).unwrap();
        let Some(last) = events.last() else { return count };
        from = last.sequence.next();
        let is_own = |name: &Option<Arc<str>>| name.as_deref() == Some(application);
        count += events.iter().filter(|event| is_own(&event.sender.application)).count();
    }
}

fn held(journal: &Journal, application: &str) -> u64 {
    journal.held().get(application).map_or(0, |share| share.events)
}

#[tokio::test]
async fn what_applications_hold_is_known_after_a_restart_too() {
    let setup = Setup::new().await;
    let store = setup.open();
    setup.fill(&store).await;
    let before = store.journal().held();
    assert_eq!((before["shop"].events, before["bank"].events), (400, 40));
    assert!((8_000_000..8_200_000).contains(&before["shop"].bytes), "{before:?}");
    store.close().unwrap();
    let store = setup.open();
    assert_eq!(store.journal().held(), before);
    let event = store.journal().get(Sequence::FIRST).unwrap().unwrap();
    assert_eq!(event.sender.application.as_deref(), Some("shop"));
    store.close().unwrap();
}

#[tokio::test]
async fn who_holds_all_that_it_may_is_refused_and_nobody_else_is() {
    let setup = Setup::new().await;
    let store = setup.open();
    limit(store.journal(), "shop", Limit { quota_bytes: Some(5000), ..Limit::default() });
    let first = setup.publish(&store, "shop", "1", 3000).await.unwrap();
    setup.publish(&store, "shop", "2", 3000).await.unwrap();
    let refused = setup.publish(&store, "shop", "3", 1).await.unwrap_err();
    assert!(matches!(refused, Refusal::Quota { .. }), "{refused:?}");
    assert_eq!(refused.to_string(), "the quota of shop is used up: 5000 bytes of stored events");
    let again = setup.publish(&store, "shop", "1", 3000).await.unwrap();
    assert_eq!((again.duplicate, again.sequence), (true, first.sequence));
    setup.publish(&store, "bank", "1", 3000).await.unwrap();
    store.close().unwrap();

    let store = setup.open();
    limit(store.journal(), "shop", Limit { quota_bytes: Some(5000), ..Limit::default() });
    setup.publish(&store, "shop", "3", 1).await.unwrap_err();
    limit(store.journal(), "shop", Limit { quota_bytes: Some(50_000), ..Limit::default() });
    setup.publish(&store, "shop", "3", 1).await.unwrap();
    store.close().unwrap();
}

#[tokio::test]
async fn one_batch_does_not_pass_a_quota() {
    let setup = Setup::new().await;
    let store = setup.open();
    limit(store.journal(), "shop", Limit { quota_bytes: Some(5000), ..Limit::default() });
    let batch = (0..10).map(|n| (published_for("shop", &setup.principal, &n.to_string(), 2000), 0));
    let answers = store.journal().append(batch.collect()).await;
    let taken: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(taken, [true, true, true, false, false, false, false, false, false, false]);
    store.close().unwrap();
}

#[tokio::test]
async fn what_an_application_keeps_no_longer_is_gone_for_good_and_what_others_keep_stays() {
    let setup = Setup::new().await;
    let store = setup.open();
    setup.fill(&store).await;
    let end = store.journal().end();
    limit(store.journal(), "shop", Limit { retention_bytes: Some(2 << 20), ..Limit::default() });
    let_go(&store, None);
    let kept = readable(store.journal(), "shop");
    assert!((50..=104).contains(&kept), "about 2 MiB of 20 kB, less a row: {kept}");
    assert_eq!(u64::try_from(kept).unwrap(), held(store.journal(), "shop"));
    assert_eq!(readable(store.journal(), "bank"), 40);
    assert!(store.journal().get(Sequence::FIRST).unwrap().is_none());
    assert_eq!(store.journal().find("/test", "shop-0").unwrap(), None);
    let bank = store.journal().find("/test", "bank-0").unwrap();
    assert_eq!(bank, Some(Sequence(2)));
    assert_eq!(store.journal().get_many(&[Sequence(1), Sequence(2)]).unwrap().len(), 1);
    // It is still known that it was sent.
    let again = setup.publish(&store, "shop", "shop-0", 20_000).await.unwrap();
    assert_eq!((again.duplicate, again.sequence), (true, Sequence::FIRST));
    store.close().unwrap();

    let store = setup.open();
    assert_eq!(readable(store.journal(), "shop"), kept, "nothing comes back");
    limit(store.journal(), "shop", Limit::default());
    let_go(&store, None);
    assert_eq!(readable(store.journal(), "shop"), kept);
    assert_eq!(store.journal().end(), end);
    store.close().unwrap();
}

#[tokio::test]
async fn events_are_let_go_at_the_age_of_their_application() {
    let setup = Setup::new().await;
    let store = setup.open();
    for hour in 0..10 {
        setup.publish(&store, "shop", &format!("s{hour}"), 10).await.unwrap();
        setup.publish(&store, "bank", &format!("b{hour}"), 10).await.unwrap();
        setup.clock.advance(Duration::from_hours(1));
    }
    let age = |hours| Limit { retention: Some(Duration::from_hours(hours)), ..Limit::default() };
    limit(store.journal(), "shop", age(3));
    let_go(&store, Some(Sequence(9)));
    assert_eq!(readable(store.journal(), "shop"), 6, "a subscription holds the fifth back");
    let_go(&store, None);
    assert_eq!(readable(store.journal(), "shop"), 3);
    assert_eq!(readable(store.journal(), "bank"), 10);
    store.close().unwrap();
}

#[tokio::test]
async fn the_disk_gets_back_what_is_kept_no_longer() {
    let setup = Setup::new().await;
    let store = setup.open();
    setup.fill(&store).await;
    let before = store.journal().usage().unwrap();
    limit(store.journal(), "shop", Limit { retention_bytes: Some(1 << 20), ..Limit::default() });
    let_go(&store, None);
    store.journal().compact().unwrap();
    assert_eq!(store.journal().usage().unwrap(), before, "the dedupe window reads it still");
    setup.clock.advance(Duration::from_hours(2));
    for _ in 0..before.files {
        store.journal().compact().unwrap();
    }
    let after = store.journal().usage().unwrap();
    assert!(after.bytes < before.bytes / 2, "{after:?} of {before:?}");
    assert_eq!(after.end, before.end);
    assert_eq!(readable(store.journal(), "bank"), 40);
    let kept = readable(store.journal(), "shop");
    assert_eq!(store.journal().find("/test", "bank-200").unwrap(), Some(Sequence(222)));
    assert!(store.journal().get(Sequence(100)).unwrap().is_none(), "a gap is no damage");
    let some = [90, 100, 111, 112, 122, 222].map(Sequence);
    let found = store.journal().get_many(&some).unwrap();
    assert_eq!(found.iter().map(|event| event.sequence.0).collect::<Vec<_>>(), [90, 112, 222]);
    store.close().unwrap();

    // Once more, and then everything of it goes.
    let store = setup.open();
    assert_eq!(readable(store.journal(), "shop"), kept);
    assert_eq!(held(store.journal(), "bank"), 40);
    let age = Limit { retention: Some(Duration::from_hours(1)), ..Limit::default() };
    store.journal().limit([("shop".into(), age), ("bank".into(), age)].into());
    let_go(&store, None);
    store.journal().compact().unwrap();
    assert_eq!(store.journal().usage().unwrap().files, 1, "the newest stays");
    assert_eq!(readable(store.journal(), "shop") + readable(store.journal(), "bank"), 0);
    store.close().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_survives_a_crash_at_any_moment_of_a_rewrite() {
    for operations in (0..400).step_by(23) {
        let mut setup = Setup::new().await;
        let store = setup.open();
        setup.fill(&store).await;
        limit(
            store.journal(),
            "shop",
            Limit { retention_bytes: Some(1 << 20), ..Limit::default() },
        );
        let_go(&store, None);
        let kept = readable(store.journal(), "shop");
        setup.clock.advance(Duration::from_hours(2));
        setup.volume.crash_after(operations);
        for _ in 0..4 {
            drop(store.journal().compact());
        }
        setup.volume.crash();
        drop(store.close());
        setup.volume = setup.volume.after_crash(operations);

        let store = setup.open();
        let journal = store.journal();
        assert_eq!((readable(journal, "shop"), readable(journal, "bank")), (kept, 40));
        assert_eq!(held(journal, "bank"), 40, "crash after {operations} operations");
        store.close().unwrap();
    }
}

#[tokio::test]
async fn an_event_that_comes_while_all_before_it_are_let_go_is_held() {
    let setup = Setup::new().await;
    let store = setup.open();
    let shop: Arc<str> = "shop".into();
    for n in 0..300 {
        let (journal, end) = (store.journal().clone(), store.journal().end());
        let floors = [(Arc::clone(&shop), end)];
        journal.let_go(&floors);
        assert_eq!(held(&journal, "shop"), 0);
        let letting_go = std::thread::spawn(move || {
            while journal.end() == end {
                journal.let_go(&floors);
            }
        });
        setup.publish(&store, "shop", &n.to_string(), 100).await.unwrap();
        letting_go.join().unwrap();
        assert_eq!(held(store.journal(), "shop"), 1, "{n}");
    }
    store.close().unwrap();
}

#[tokio::test]
async fn what_is_kept_behind_a_gap_is_found_though_a_large_event_is_before_it() {
    let setup = Setup::new().await;
    let store = setup.open();
    let events = [("bank", "large", 1 << 20), ("shop", "gone", 3 << 20), ("bank", "behind", 100)];
    let batch = events.map(|(name, id, size)| (published_for(name, &setup.principal, id, size), 0));
    assert!(store.journal().append(batch.into()).await.iter().all(Result::is_ok));
    idle(store.journal()).await;
    setup.clock.advance(Duration::from_hours(2));
    let age = Limit { retention: Some(Duration::from_hours(1)), ..Limit::default() };
    limit(store.journal(), "shop", age);
    let_go(&store, None);
    let before = store.journal().usage().unwrap();
    store.journal().compact().unwrap();
    let after = store.journal().usage().unwrap();
    assert_eq!((before.files, after.files), (2, 2));
    assert!(after.bytes < before.bytes / 2, "{after:?} of {before:?}");
    assert_eq!(readable(store.journal(), "bank"), 2);
    store.close().unwrap();
}
