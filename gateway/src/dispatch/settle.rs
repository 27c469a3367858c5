//! What the outcome of an attempt means for the event.

use eg_event::{Outcome, StoredEvent, Subscription, Timestamp};
use eg_storage::{Attempt, DeadLetter, Verdict};
use rand::Rng;

use super::backoff;
use super::lane::Settled;

/// An attempt that has ended.
#[derive(Clone, Debug)]
pub struct Attempted<'a> {
    /// The event.
    pub event: &'a StoredEvent,
    /// For whom.
    pub subscription: &'a Subscription,
    /// Which attempt it was, from 1.
    pub number: u32,
    /// It was made before its time, to see whether the receiver is back: no event is given up by it.
    pub is_probe: bool,
    /// When the first one was made.
    pub first_attempt_at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
}

/// What follows from an outcome.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What becomes of the event.
    pub settled: Settled,
    /// How the attempt is logged.
    pub verdict: Verdict,
    /// What the receiver answered.
    pub status: Option<u16>,
    /// What went wrong, in words; empty when nothing did.
    pub reason: String,
    /// The whole subscription is paused, for this reason.
    pub pause: Option<String>,
    /// The receiver asked that nothing be sent before this.
    pub hold_until: Option<Timestamp>,
}

/// Decides. Anything but success is tried again until the subscription's policy gives up; a
/// receiver that is gone pauses the subscription, and the event stays for when it is resumed.
pub fn decide(attempted: &Attempted<'_>, now: Timestamp, rng: &mut impl Rng) -> Decision {
    match &attempted.outcome {
        Outcome::Delivered { status } => Decision {
            settled: Settled::Done { delivered: true },
            verdict: Verdict::Delivered,
            status: *status,
            reason: String::new(),
            pause: None,
            hold_until: None,
        },
        Outcome::Gone { status } => {
            let reason = "the receiver answered that it is gone (410)".to_owned();
            Decision {
                settled: Settled::Again { due: now, status: *status, reason: reason.clone() },
                verdict: Verdict::Failed,
                status: *status,
                pause: Some(reason.clone()),
                reason,
                hold_until: None,
            }
        }
        Outcome::Failed { status, reason, retry_after } => {
            let (status, reason) = (*status, reason.clone());
            let hold_until = retry_after.map(|wait| now.after(wait.min(backoff::RETRY_AFTER_MAX)));
            let retry = &attempted.subscription.retry;
            let exhausted =
                backoff::exhausted(retry, attempted.number, attempted.first_attempt_at, now);
            let given_up = exhausted.filter(|_| !attempted.is_probe);
            let (settled, verdict) = if let Some(why) = given_up {
                let letter = dead_letter(attempted, status, format!("{why}: {reason}"), now);
                (Settled::Dead(Box::new(letter)), Verdict::Dead)
            } else {
                let due = now.after(backoff::delay(retry, attempted.number, *retry_after, rng));
                (Settled::Again { due, status, reason: reason.clone() }, Verdict::Failed)
            };
            Decision { settled, verdict, status, reason, pause: None, hold_until }
        }
    }
}

fn dead_letter(
    attempted: &Attempted<'_>,
    status: Option<u16>,
    reason: String,
    now: Timestamp,
) -> DeadLetter {
    DeadLetter {
        event: attempted.event.clone(),
        parked_at: now,
        first_attempt_at: attempted.first_attempt_at,
        attempts: attempted.number,
        last_status: status,
        reason,
        requeued: false,
    }
}

impl Decision {
    /// The entry for the log of attempts.
    #[must_use]
    pub fn log_entry(&self, subscription: u64, event: &StoredEvent, timing: Timing) -> Attempt {
        Attempt {
            subscription,
            sequence: event.sequence,
            at: timing.began_at,
            latency_us: timing.latency_us,
            number: timing.number,
            verdict: self.verdict,
            status: self.status,
            reason: self.reason.clone(),
        }
    }
}

/// When an attempt was made, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// When it began.
    pub began_at: Timestamp,
    /// How long it took, in microseconds.
    pub latency_us: u32,
    /// Which attempt it was, from 1.
    pub number: u32,
    /// It was made before its time, to see whether the receiver is back.
    pub is_probe: bool,
}
