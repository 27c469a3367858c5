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
