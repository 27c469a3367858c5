//! A full or failing disk becomes refusals, and when it has room again events are taken again.

use std::sync::Arc;
use std::time::Duration;

use eg_event::{Clock, Refusal, Sequence, Timestamp};
use eg_storage::{Health, Store};

use crate::crash_volume::{CrashVolume, Failing};
use crate::events::{anyone, small, submission};

#[tokio::test]
async fn a_nearly_full_disk_refuses_before_anything_is_written() {
    let volume = CrashVolume::default();
    let clock = Clock::by_hand(Timestamp::from_micros(1));
    let store = Store::open_on(Arc::new(volume.clone()), &small(), &clock).unwrap();
    let principal = anyone().await;
    volume.set_free_bytes(Some(1000));
    let answers = store.journal().append(vec![(submission(&principal, "1", 10), 0)]).await;
    let Err(Refusal::Unavailable { reason, retry_after }) = &answers[0] else {
        panic!("{answers:?}");
    };
    assert_eq!((&**reason, *retry_after), ("the disk is full", Duration::from_secs(1)));
    assert_eq!(
        *store.journal().follow_health().borrow(),
        Health::Refusing("the disk is full".into())
    );
    volume.set_free_bytes(None);
    clock.advance(Duration::from_secs(1));
    let answers = store.journal().append(vec![(submission(&principal, "1", 10), 0)]).await;
    assert_eq!(answers[0].as_ref().unwrap().sequence, Sequence::FIRST);
    store.close().unwrap();
}

#[tokio::test]
async fn a_disk_that_fills_up_within_a_commit_loses_nothing_and_recovers() {
    let volume = CrashVolume::default();
    let clock = Clock::by_hand(Timestamp::from_micros(1));
    let store = Store::open_on(Arc::new(volume.clone()), &small(), &clock).unwrap();
    let principal = anyone().await;
    let mut acked = Vec::new();
    let mut refused = 0;
    for round in 0..200u64 {
        // The free space is looked at once a second; in between, the disk fills up unseen.
        match round {
            50 => volume.set_free_bytes(Some(0)),
            100 => volume.set_free_bytes(None),
            _ => {}
        }
        if round >= 100 {
            clock.advance(Duration::from_secs(2));
        }
        let id = round.to_string();
        let answers = store.journal().append(vec![(submission(&principal, &id, 20_000), 0)]).await;
        match &answers[0] {
            Ok(receipt) => acked.push((id, receipt.sequence)),
            Err(Refusal::Unavailable { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 10, "{refused} were refused");
    assert!(acked.len() >= 140, "{} were taken", acked.len());
    let rest = store.journal().clone();
    for (id, sequence) in &acked {
        assert_eq!(rest.get(*sequence).unwrap().unwrap().event.id(), id);
    }
    drop(rest);
    store.close().unwrap();
    let again = Store::open_on(Arc::new(volume), &small(), &clock).unwrap();
    for (id, sequence) in &acked {
        assert_eq!(again.journal().get(*sequence).unwrap().unwrap().event.id(), id);
    }
    again.close().unwrap();
}

#[tokio::test]
async fn a_possible_duplicate_that_cannot_be_compared_is_refused_and_not_stored_twice() {
    let volume = CrashVolume::default();
    let store = Store::open_on(Arc::new(volume.clone()), &small(), &Clock::system()).unwrap();
    let principal = anyone().await;
    let append = async |id: &str, size: usize| {
        let submitted = vec![(submission(&principal, id, size), 0)];
        store.journal().append(submitted).await.pop().unwrap()
    };
    append("first", 10).await.unwrap();
    // So many files later, the first one is neither in memory nor open.
    while store.journal().usage().unwrap().files < 8 {
        let id = store.journal().end().to_string();
        append(&id, 20_000).await.unwrap();
    }
    volume.set_failing(Some(Failing::Opens));
    let Err(Refusal::Unavailable { reason, .. }) = append("first", 10).await else {
        panic!("a second copy was taken");
    };
    assert_eq!(&*reason, "the journal cannot be read");
    append("another", 10).await.unwrap();
    volume.set_failing(None);
    let receipt = append("first", 10).await.unwrap();
    assert_eq!((receipt.duplicate, receipt.sequence), (true, Sequence::FIRST));
    store.close().unwrap();
}
