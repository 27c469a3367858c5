//! Facts about single steps of a lane.

use super::*;

const HOUR: Duration = Duration::from_hours(1);
const FIRST: Sequence = Sequence(0);

fn key() -> Box<str> {
    "one key".into()
}

fn fail(lane: &mut Lane, now: Timestamp) {
    let again = Settled::Again { due: now.after(HOUR), status: None, reason: "down".to_owned() };
    lane.settle(FIRST, again, (now, HOUR));
}

/// What comes next once something does, and when that is.
fn after_waiting(lane: &mut Lane, mut now: Timestamp) -> (Next, Timestamp) {
    loop {
        match lane.next(now, 10) {
            Next::Wait(Some(until)) => now = until,
            next => return (next, now),
        }
    }
}

#[test]
fn a_receiver_that_is_back_is_noticed_though_all_that_waits_is_of_one_key() {
    let mut lane = Lane::starting(1, FIRST, FIRST);
    lane.push(&[FIRST, Sequence(1), Sequence(2)]);
    let mut now = Timestamp::from_micros(1_000_000);
    assert_eq!(lane.take(FIRST, Some(key()), now), Some(Taken::Attempt(1)));
    for attempt in 2..=FAILURES_UNTIL_DOWN {
        fail(&mut lane, now);
        now = now.after(HOUR);
        assert_eq!(lane.retake(FIRST, Some(key()), now), Some(Taken::Attempt(attempt)));
    }
    fail(&mut lane, now);
    let due = now.after(HOUR);

    for parked in [Sequence(1), Sequence(2)] {
        let (next, at) = after_waiting(&mut lane, now);
        assert_eq!(next, Next::New(parked));
        assert_eq!(lane.take(parked, Some(key()), at), Some(Taken::Parked));
    }
    // A failure before its time neither counts nor puts off the next attempt.
    for _ in 0..3 {
        let (next, at) = after_waiting(&mut lane, now);
        assert_eq!(next, Next::Retry(FIRST));
        assert!(now < at && at < now.after(HOUR / 10), "{at} is not soon after {now}");
        assert_eq!(lane.retake(FIRST, Some(key()), at), Some(Taken::Probe(FAILURES_UNTIL_DOWN)));
        fail(&mut lane, at);
        now = at;
    }
    assert_eq!(lane.first_retry(), Some((due, FIRST)));

    let (_, at) = after_waiting(&mut lane, now);
    assert_eq!(lane.retake(FIRST, Some(key()), at), Some(Taken::Probe(FAILURES_UNTIL_DOWN)));
    lane.settle(FIRST, Settled::Done { delivered: true }, (at, HOUR));
    assert_eq!(lane.next(at, 10), Next::Retry(Sequence(1)));
}

#[test]
fn an_event_that_is_asked_for_behind_a_later_one_of_its_key_goes_on_when_that_is_moved() {
    let mut lane = Lane::starting(1, Sequence(1), Sequence(1));
    let now = Timestamp::from_micros(1_000_000);
    lane.push(&[Sequence(5)]);
    assert_eq!(lane.next(now, 10), Next::New(Sequence(5)));
    assert_eq!(lane.take(Sequence(5), Some(key()), now), Some(Taken::Attempt(1)));
    lane.replay(Sequence(2), now);
    assert_eq!(lane.retake(Sequence(2), Some(key()), now), Some(Taken::Parked));
    lane.rewind(Sequence(4), Sequence(6));
    assert_eq!(lane.next(now, 10), Next::Retry(Sequence(2)));
    assert_eq!(lane.retake(Sequence(2), Some(key()), now), Some(Taken::Attempt(1)));
    lane.rescanned(Sequence(4), Sequence(6), vec![Sequence(5)]);
    assert_eq!(lane.next(now, 10), Next::New(Sequence(5)));
    assert_eq!(lane.take(Sequence(5), Some(key()), now), Some(Taken::Parked));
    lane.settle(Sequence(2), Settled::Done { delivered: true }, (now, HOUR));
    assert_eq!(lane.next(now, 10), Next::Retry(Sequence(5)));
}

#[test]
fn a_dead_letter_that_is_removed_and_dead_again_before_that_is_written_down_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (config, clock) = (eg_storage::StorageConfig::default(), eg_event::Clock::system());
    let store = eg_storage::Store::open(directory.path(), &config, &clock).unwrap();
    let mut lane = Lane::starting(1, FIRST, FIRST);
    let now = Timestamp::from_micros(1_000_000);
    lane.push(&[FIRST]);
    assert_eq!(lane.next(now, 10), Next::New(FIRST));
    assert_eq!(lane.take(FIRST, None, now), Some(Taken::Attempt(1)));
    lane.settle(FIRST, dead(FIRST), (now, HOUR));
    assert!(lane.purge(FIRST));
    lane.replay(FIRST, now);
    assert_eq!(lane.retake(FIRST, None, now), Some(Taken::Attempt(1)));
    lane.settle(FIRST, dead(FIRST), (now, HOUR));
    let mut changes = eg_storage::Changes::default();
    lane.save(&mut changes);
    store.ledger().apply(&changes).unwrap();
    assert_eq!(store.ledger().dead_letter_sequences(1).unwrap(), [FIRST]);
    store.close().unwrap();
}

/// The event at `sequence` is given up.
fn dead(sequence: Sequence) -> Settled {
    let event = eg_event::CloudEvent::from_checked(eg_event::event::Attributes::default(), None);
    let sender = eg_event::submission::Sender {
        name: "somebody".into(),
        method: eg_event::principal::Method::Anonymous,
        application: None,
    };
    let origin = eg_event::Origin {
        protocol: eg_event::Protocol::Internal,
        binding: eg_event::Binding::Structured,
        remote: None,
        address: "".into(),
        client_id: None,
    };
    Settled::Dead(Box::new(DeadLetter {
        event: StoredEvent {
            sequence,
            received_at: Timestamp::default(),
            event,
            sender,
            origin,
            trace: eg_event::TraceContext::default(),
            held: None,
            message: None,
        },
        parked_at: Timestamp::default(),
        first_attempt_at: Timestamp::default(),
        attempts: 1,
        last_status: None,
        reason: "for a test".to_owned(),
        requeued: false,
    }))
}
