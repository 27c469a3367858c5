//! Journals that earlier programs wrote.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use eg_event::{Clock, Sequence, Timestamp};
use eg_storage::Store;

use crate::events::{anyone, once, payload, small, submission};

/// What the events of version 1 were taken at, or soon after: 600 of 30 to a commit, and one of an
/// exchange that is still open, in two files and a commit log that nobody closed.
const WRITTEN_AT: Timestamp = Timestamp::from_micros(1_795_276_832_000_000);
const EVENTS: u64 = 601;

fn unpack(directory: &Path) {
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/durability/fixtures/journal-v1.tar.gz");
    let unpacked = Command::new("tar").args(["-xzf", archive, "-C"]).arg(directory).status();
    assert!(unpacked.unwrap().success());
}

#[tokio::test]
async fn a_journal_of_version_1_that_was_not_closed_goes_on_with_every_event() {
    let directory = tempfile::tempdir().unwrap();
    unpack(directory.path());
    let clock = Clock::by_hand(WRITTEN_AT);
    clock.advance(Duration::from_mins(1));
    let principal = anyone().await;
    for life in 0..2 {
        let store = Store::open(directory.path(), &small(), &clock).unwrap();
        let journal = store.journal();
        assert_eq!(journal.end(), Sequence(1 + EVENTS + life), "life {life}");
        for place in 1..EVENTS {
            let stored = journal.get(Sequence(place)).unwrap().unwrap();
            let id = format!("{}-{}", (place - 1) / 30, (place - 1) % 30);
            assert_eq!(stored.event.id(), id);
            assert_eq!(stored.event.data().unwrap().bytes()[..], payload(&id, 300)[..]);
            assert_eq!(stored.sender.application, None);
        }
        let again = once(submission(&principal, "held", 20), "device", 7);
        let told = [submission(&principal, "19-29", 300), again];
        for told in journal.append(told.map(|one| (one, 0)).into()).await {
            assert!(told.unwrap().duplicate, "life {life}");
        }
        assert_eq!(store.journal().find("/test", "7-7").unwrap(), Some(Sequence(218)));
        let new = submission(&principal, &format!("new-{life}"), 300);
        let receipt = journal.append(vec![(new, 0)]).await.pop().unwrap().unwrap();
        assert_eq!(receipt.sequence, Sequence(1 + EVENTS + life));
        store.close().unwrap();
    }
}
