//! The journal on a real directory: order, duplicates, files, retention, locks.

use std::sync::Arc;
use std::time::Duration;

use eg_event::{Clock, Handshake, Sequence, Status, Timestamp};
use eg_storage::{OpenError, StorageConfig, Store};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::crash_volume::CrashVolume;
use crate::events::{anyone, held, once, small, submission, with_subject};

#[tokio::test]
async fn events_are_numbered_from_one_in_the_order_of_acceptance_and_stay_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let principal = anyone().await;
    for life in 0..3u64 {
        let store = Store::open(directory.path(), &small(), &Clock::system()).unwrap();
        let ids: Vec<_> = (0..500).map(|n| format!("{life}-{n}")).collect();
        let submissions = ids.iter().map(|id| (submission(&principal, id, 300), 7)).collect();
        let receipts = store.journal().append(submissions).await;
        for (receipt, place) in receipts.into_iter().zip(1 + life * 500..) {
            let receipt = receipt.unwrap();
            assert_eq!((receipt.sequence, receipt.subscriptions), (Sequence(place), 7));
        }
        assert_eq!(store.journal().end(), Sequence(1 + (life + 1) * 500));
        store.close().unwrap();
    }
    let store = Store::open(directory.path(), &small(), &Clock::system()).unwrap();
    let journal = store.journal();
    assert!(journal.usage().unwrap().files > 1, "small files were rolled");
    assert_eq!(journal.get(Sequence(777)).unwrap().unwrap().event.id(), "1-276");
    assert_eq!(journal.find("/test", "2-499").unwrap(), Some(Sequence(1500)));
    assert_eq!(journal.find("/test", "nobody").unwrap(), None);
    let wanted = [3, 4, 499, 500, 501, 1500, 9999].map(Sequence);
    let found: Vec<_> = journal.get_many(&wanted).unwrap().iter().map(|e| e.sequence.0).collect();
    assert_eq!(found, [3, 4, 499, 500, 501, 1500]);
    store.close().unwrap();
}

#[tokio::test]
async fn a_second_event_with_the_same_source_and_id_gets_the_first_ones_receipt() {
    let directory = tempfile::tempdir().unwrap();
    let principal = anyone().await;
    let one =
        || vec![(submission(&principal, "one", 10), 0), (submission(&principal, "one", 10), 0)];
    for life in 0..2 {
        let store = Store::open(directory.path(), &small(), &Clock::system()).unwrap();
        let receipts = store.journal().append(one()).await;
        let duplicates: Vec<_> = receipts.iter().map(|r| r.as_ref().unwrap().duplicate).collect();
        assert_eq!(duplicates, [life > 0, true]);
        assert!(receipts.iter().all(|r| r.as_ref().unwrap().sequence == Sequence::FIRST));
        assert_eq!(store.journal().end(), Sequence(2));
        store.close().unwrap();
    }
}

#[tokio::test]
async fn an_event_in_quarantine_and_the_mended_one_are_no_duplicates_of_each_other() {
    let volume = CrashVolume::default();
    let principal = anyone().await;
    let both = || {
        let mended = submission(&principal, "one", 10);
        vec![(held(mended.clone()), 0), (mended, 1)]
    };
    for life in 0..3 {
        let image = Arc::new(if life == 2 { volume.after_kill() } else { volume.clone() });
        let store = Store::open_on(image, &small(), &Clock::system()).unwrap();
        for _ in 0..2 {
            let receipts = store.journal().append(both()).await;
            let places: Vec<_> = receipts.iter().map(|r| r.as_ref().unwrap().sequence.0).collect();
            assert_eq!(places, [1, 2], "in life {life}");
            assert_eq!(receipts[0].as_ref().unwrap().status(), Status::Quarantined);
            assert_eq!(receipts[1].as_ref().unwrap().status(), Status::Published);
        }
        let journal = store.journal();
        assert_eq!(journal.find("/test", "one").unwrap(), Some(Sequence(2)), "the latest");
        let released = (*journal.get(Sequence(1)).unwrap().unwrap()).clone();
        let again = journal.append_released(released, 0).await.pop().unwrap().unwrap();
        assert_eq!((again.duplicate, again.sequence), (true, Sequence(2)));
        store.close().unwrap();
    }
}

#[tokio::test]
async fn the_dedupe_window_ends_by_count_and_by_age() {
    let directory = tempfile::tempdir().unwrap();
    let principal = anyone().await;
    let clock = Clock::by_hand(Timestamp::from_micros(1_700_000_000_000_000));
    let config = StorageConfig { dedupe_events: 10, dedupe_minutes: 5, ..small() };
    let store = Store::open(directory.path(), &config, &clock).unwrap();
    let append = async |id: &str| {
        let receipts = store.journal().append(vec![(submission(&principal, id, 10), 0)]).await;
        receipts[0].as_ref().unwrap().duplicate
    };
    assert!(!append("a").await && append("a").await);
    for n in 0..10 {
        append(&n.to_string()).await;
    }
    assert!(!append("a").await, "ten others have come since");
    for _ in 0..7 {
        clock.advance(Duration::from_mins(1));
        append("tick").await;
    }
    assert!(!append("a").await, "seven minutes have passed");
    store.close().unwrap();
}

#[tokio::test]
async fn a_handshake_makes_an_event_count_once_until_it_is_released() {
    let directory = tempfile::tempdir().unwrap();
    let principal = anyone().await;
    let sent = |id: &str| vec![(once(submission(&principal, id, 10), "client", 7), 0)];
    let store = Store::open(directory.path(), &small(), &Clock::system()).unwrap();
    assert_eq!(store.journal().append(sent("first")).await[0].as_ref().unwrap().sequence.0, 1);
    store.close().unwrap();

    let store = Store::open(directory.path(), &small(), &Clock::system()).unwrap();
    let journal = store.journal();
    assert_eq!(journal.open_in_session("client"), [7]);
    let again = journal.append(sent("other id, same exchange")).await;
    assert_eq!(again[0].as_ref().unwrap().sequence.0, 1);
    let handshake = Handshake { client_id: "client".into(), packet_id: 7 };
    journal.release(handshake).await.unwrap();
    assert_eq!(journal.append(sent("second")).await[0].as_ref().unwrap().sequence.0, 2);
    journal.forget_session("client".into()).await.unwrap();
    store.close().unwrap();

    let store = Store::open(directory.path(), &small(), &Clock::system()).unwrap();
    assert!(store.journal().open_in_session("client").is_empty());
    store.close().unwrap();
}

#[tokio::test]
async fn open_handshakes_move_along_when_a_file_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let principal = anyone().await;
    let store = Store::open(directory.path(), &small(), &Clock::system()).unwrap();
    let held = once(submission(&principal, "held", 10), "client", 9);
    store.journal().append(vec![(held, 0)]).await[0].as_ref().unwrap();
    for n in 0..40 {
        let id = n.to_string();
        store.journal().append(vec![(submission(&principal, &id, 20_000), 0)]).await;
    }
    assert!(store.journal().usage().unwrap().files > 2);
    store.close().unwrap();
    let store = Store::open(directory.path(), &small(), &Clock::system()).unwrap();
    assert_eq!(store.journal().open_in_session("client"), [9]);
    store.close().unwrap();
}

#[tokio::test]
async fn large_attributes_count_towards_the_limits_like_large_payloads() {
    let directory = tempfile::tempdir().unwrap();
    let principal = anyone().await;
    let store = Store::open(directory.path(), &small(), &Clock::system()).unwrap();
    let journal = store.journal();
    for n in 0..40 {
        let mut submitted = submission(&principal, "0", 0);
        submitted.event = with_subject(&n.to_string(), &"s".repeat(10_000));
        journal.append(vec![(submitted, 0)]).await[0].as_ref().unwrap();
    }
    assert!(journal.usage().unwrap().files > 2, "400 KB do not fit in a file of 128 KiB");
    assert!(journal.get_fresh(Sequence(34)).is_none(), "70 KB do not fit in 64 KiB of memory");
    assert!(journal.get_fresh(Sequence(36)).is_some());
    store.close().unwrap();
}

#[tokio::test]
async fn retention_lets_whole_files_go_and_numbers_are_not_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let principal = anyone().await;
    let clock = Clock::by_hand(Timestamp::from_micros(1_700_000_000_000_000));
    let store = Store::open(directory.path(), &small(), &clock).unwrap();
    let journal = store.journal();
    for n in 0..60 {
        let id = n.to_string();
        journal.append(vec![(submission(&principal, &id, 20_000), 0)]).await[0].as_ref().unwrap();
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(journal.expired(None).unwrap(), None);
    // The writer answers first and looks afterwards whether the file is old.
    let idle = async {
        while journal.usage().unwrap().intake_events > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), idle).await.unwrap();
    clock.advance(Duration::from_hours(168));
    assert_eq!(journal.expired(Some(Sequence::FIRST)).unwrap(), None, "held back");
    let keep_from = journal.expired(None).unwrap().unwrap();
    journal.drop_before(keep_from).unwrap();
    let usage = journal.usage().unwrap();
    assert_eq!((usage.first, usage.files), (keep_from, 1));
    assert_eq!(journal.scan(Sequence::FIRST, 1, 1).unwrap()[0].sequence, keep_from);
    assert!(journal.get(Sequence::FIRST).unwrap().is_none());
    assert_eq!(journal.find("/test", "0").unwrap(), None);
    let end = journal.end();
    store.close().unwrap();
    let store = Store::open(directory.path(), &small(), &clock).unwrap();
    assert_eq!(store.journal().end(), end);
    store.close().unwrap();
}

#[tokio::test]
async fn many_readers_of_many_files_never_lock_each_other_out() {
    let volume = CrashVolume::default();
    let principal = anyone().await;
    let store = Store::open_on(Arc::new(volume), &small(), &Clock::system()).unwrap();
    let journal = store.journal();
    while journal.usage().unwrap().files < 8 {
        let id = journal.end().to_string();
        journal.append(vec![(submission(&principal, &id, 20_000), 0)]).await[0].as_ref().unwrap();
    }
    let end = journal.end().0;
    // More files than stay open, so that reads close files that others want.
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let mut rng = StdRng::seed_from_u64(seed);
                for _ in 0..100 {
                    let at = Sequence(rng.random_range(1..end));
                    let found = journal.get(at).unwrap().unwrap();
                    assert_eq!(found.event.id(), at.to_string());
                }
            });
        }
    });
    store.close().unwrap();
}

#[tokio::test]
async fn events_are_found_by_the_time_they_came() {
    let directory = tempfile::tempdir().unwrap();
    let principal = anyone().await;
    let clock = Clock::by_hand(Timestamp::from_micros(1_000_000));
    let store = Store::open(directory.path(), &small(), &clock).unwrap();
    for n in 0..50 {
        let id = n.to_string();
        store.journal().append(vec![(submission(&principal, &id, 5000), 0)]).await;
        clock.advance(Duration::from_secs(1));
    }
    let since = |secs: u64| store.journal().first_since(Timestamp::from_micros(secs * 1_000_000));
    assert_eq!(since(0).unwrap(), Sequence(1));
    assert_eq!(since(10).unwrap(), Sequence(10));
    assert_eq!(since(1000).unwrap(), Sequence(51));
    store.close().unwrap();
}

#[test]
fn a_second_process_is_told_that_the_store_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let first = Store::open(directory.path(), &small(), &Clock::system()).unwrap();
    let second = Store::open(directory.path(), &small(), &Clock::system());
    let Err(error @ OpenError::InUse { .. }) = second else { panic!("{second:?}") };
    assert!(error.to_string().contains("another process uses this data directory"), "{error}");
    first.close().unwrap();
    Store::open(directory.path(), &small(), &Clock::system()).unwrap().close().unwrap();
}

#[test]
fn limits_that_make_no_sense_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = StorageConfig { segment_bytes: 1, ..StorageConfig::default() };
    let error = Store::open(directory.path(), &config, &Clock::system()).unwrap_err();
    assert!(error.to_string().starts_with("storage.segment_bytes: expected at least"), "{error}");
}

#[tokio::test]
async fn who_reads_from_what_is_gone_finds_the_first_that_is_there_while_it_goes_to_the_disk() {
    let config = StorageConfig {
        segment_bytes: 1 << 16,
        commit_log_bytes: 1 << 14,
        fresh_bytes_max: 1 << 12,
        ..small()
    };
    let volume = Arc::new(CrashVolume::default());
    let store = Store::open_on(volume, &config, &Clock::system()).unwrap();
    let principal = anyone().await;
    let journal = store.journal().clone();
    let reader = std::thread::spawn(move || {
        while journal.end() < Sequence(6000) {
            journal.drop_before(journal.end()).unwrap();
            let first = journal.usage().unwrap().first;
            let is_there = journal.end() > first;
            let found = journal.scan_all(Sequence(1), 1, 1).unwrap();
            if is_there {
                assert_eq!(found.first().map(|event| event.sequence), Some(first));
            }
        }
    });
    for n in 0..2000 {
        let events = (0..3).map(|i| (submission(&principal, &format!("{n}-{i}"), 1500), 0));
        let receipts = store.journal().append(events.collect()).await;
        assert!(receipts.iter().all(Result::is_ok));
    }
    reader.join().unwrap();
    store.close().unwrap();
}
