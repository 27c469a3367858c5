//! The ledger: changes are durable together, and every reader finds what was written.

use eg_event::{Clock, Sequence, Timestamp};
use eg_storage::{
    Attempt, Changes, Chunk, Cursor, DeadLetter, Exception, StorageConfig, Store, Verdict,
};

use crate::events::{anyone, small, submission};

fn attempt(sequence: u64) -> Attempt {
    Attempt {
        subscription: 1,
        sequence: Sequence(sequence),
        at: Timestamp::from_micros(1),
        latency_us: 10,
        number: 1,
        verdict: Verdict::Failed,
        status: Some(500),
        reason: "answered 500".to_owned(),
    }
}

#[tokio::test]
async fn what_a_subscription_has_outstanding_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), &small(), &Clock::system()).unwrap();
    let principal = anyone().await;
    store.journal().append(vec![(submission(&principal, "dead", 10), 1)]).await;
    let event = (*store.journal().get(Sequence(1)).unwrap().unwrap()).clone();
    let cursor = Cursor {
        handed: Sequence(5),
        routed: Sequence(9),
        lost: 0,
        delivered: 2,
        ..Cursor::default()
    };
    let exception = Exception { attempts: 2, ..Exception::default() };
    let letter = DeadLetter {
        event,
        parked_at: Timestamp::from_micros(5),
        first_attempt_at: Timestamp::from_micros(4),
        attempts: 3,
        last_status: Some(500),
        reason: "answered 500".to_owned(),
        requeued: false,
    };
    let mut changes = Changes::default();
    changes.put_document("subscription", "orders", b"{}".to_vec());
    changes.put_document("subscriptions", "not of this kind", b"{}".to_vec());
    changes.put_routed(Sequence(9));
    changes.put_cursor(1, &cursor);
    changes.put_exception(1, Sequence(3), &exception);
    changes.put_exception(2, Sequence(3), &exception);
    changes.put_references(1, &[Sequence(6), Sequence(8)]);
    changes.put_dead_letter(1, &letter);
    changes.log_attempts([attempt(1), attempt(2), attempt(1)]);
    store.ledger().apply(&changes).unwrap();
    store.close().unwrap();

    let store = Store::open(directory.path(), &small(), &Clock::system()).unwrap();
    let ledger = store.ledger();
    assert_eq!(ledger.documents("subscription").unwrap(), [("orders".to_owned(), b"{}".to_vec())]);
    assert_eq!(ledger.routed().unwrap(), Sequence(9));
    let outstanding = ledger.outstanding(1).unwrap();
    assert_eq!(outstanding.cursor, cursor);
    assert_eq!(outstanding.exceptions, [(Sequence(3), exception)]);
    assert_eq!(outstanding.chunks, [Chunk { first: Sequence(6), count: 2 }]);
    let chunk =
        |first, count| ledger.references(1, Chunk { first: Sequence(first), count }).unwrap();
    assert_eq!(chunk(6, 2), Some(vec![Sequence(6), Sequence(8)]));
    // It is to have three, and is not written with them yet.
    assert_eq!(chunk(6, 3), None);
    assert_eq!(chunk(8, 1), None);
    assert_eq!(ledger.dead_letters(1, Sequence(0), 10).unwrap(), [letter]);
    assert!(ledger.dead_letters(1, Sequence(1), 10).unwrap().is_empty());
    assert_eq!(ledger.attempts(Sequence(1)).unwrap(), [attempt(1), attempt(1)]);

    let mut changes = Changes::default();
    changes.remove_document("subscription", "orders");
    changes.remove_subscription(1);
    ledger.apply(&changes).unwrap();
    assert!(ledger.documents("subscription").unwrap().is_empty());
    let nothing = ledger.outstanding(1).unwrap();
    assert!(nothing.exceptions.is_empty() && nothing.chunks.is_empty());
    assert!(ledger.dead_letters(1, Sequence(0), 10).unwrap().is_empty());
    assert_eq!(ledger.outstanding(2).unwrap().exceptions.len(), 1, "the other one keeps its own");
    assert!(store.journal().end() >= Sequence(9), "the journal never begins before the ledger");
    store.close().unwrap();
}

#[test]
fn the_oldest_attempts_make_room() {
    let directory = tempfile::tempdir().unwrap();
    let config = StorageConfig { attempts_bytes_max: 1 << 16, ..small() };
    let store = Store::open(directory.path(), &config, &Clock::system()).unwrap();
    for sequence in 1..=200 {
        let mut changes = Changes::default();
        changes.log_attempts((0..50).map(|_| attempt(sequence)));
        store.ledger().apply(&changes).unwrap();
    }
    assert!(store.ledger().attempts(Sequence(1)).unwrap().is_empty());
    assert_eq!(store.ledger().attempts(Sequence(200)).unwrap().len(), 50);
    store.close().unwrap();
}
