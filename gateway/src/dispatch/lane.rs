//! Where one subscription stands: what waits, what is under way, what is to be tried again, and
//! what happens next. No I/O and no clock: every decision is a function of this state.

#[cfg(test)]
mod facts;
#[cfg(test)]
mod model;
mod operate;
mod persist;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use eg_event::subscription::Ordering;
use eg_event::{Sequence, StoredEvent, Subscription, Timestamp};
use eg_storage::{Chunk, DeadLetter, Exception};

use super::backlog::{Backlog, Front};
pub use view::{Place, View};

/// So many events may wait for another attempt before no new ones are taken up.
const RETRYING_MAX: usize = 1000;
/// So many events may wait behind others with the same key before no new ones are taken up.
const PARKED_MAX: usize = 100_000;
/// After so many failures in a row a receiver counts as down, and is tried with single events.
const FAILURES_UNTIL_DOWN: u32 = 5;
/// A receiver that is down is tried with a waiting event at least this often.
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// An event that was taken up and is not settled.
#[derive(Clone, Debug)]
struct Unsettled {
    phase: Phase,
    /// Which of all attempts of the lane the latest one was.
    begun: u64,
    exception: Exception,
    key: Option<Box<str>>,
    /// It is kept as a dead letter until this delivery ends.
    requeued: bool,
    /// The attempt under way is before its time, to see whether the receiver is back: it does not
    /// count if it fails.
    is_probe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// An attempt is under way.
    InFlight,
    /// Another attempt is due at the exception's time.
    Retrying,
    /// An event with the same key is ahead of it.
    Parked,
}

/// The journal is being read again for this subscription alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rescan {
    /// Where reading goes on.
    pub next: Sequence,
    /// Where the tailer's references begin.
    pub until: Sequence,
}

/// What a lane does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Attempt this event again.
    Retry(Sequence),
    /// Take up this event for the first time.
    New(Sequence),
    /// Read the references of this chunk.
    Load(Chunk),
    /// Read the journal for what matches.
    Rescan(Rescan),
    /// Nothing until something happens, or until the given instant.
    Wait(Option<Timestamp>),
}

/// What taking up an event came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// An attempt begins, the one with this number.
    Attempt(u32),
    /// An attempt begins before its time, after the one with this number.
    Probe(u32),
    /// An event with the same key is ahead; this one waits.
    Parked,
}

/// How an attempt ended, as far as the lane's state goes.
#[derive(Clone, Debug)]
pub enum Settled {
    /// The event is done with: delivered, or expired.
    Done {
        /// Whether it was delivered.
        delivered: bool,
    },
    /// It is tried again.
    Again {
        /// When.
        due: Timestamp,
        /// What the receiver answered.
        status: Option<u16>,
        /// What went wrong.
        reason: String,
    },
    /// It is given up.
    Dead(Box<DeadLetter>),
}

/// The state of one lane.
#[derive(Debug, Default)]
pub struct Lane {
    number: u64,
    handed: Sequence,
    routed: Sequence,
    lost: u64,
    delivered: u64,
    rescan: Option<Rescan>,
    backlog: Backlog,
    unsettled: BTreeMap<Sequence, Unsettled>,
    in_flight: usize,
    /// How many attempts were begun.
    begun: u64,
    parked: usize,
    retries: BTreeSet<(Timestamp, Sequence)>,
    /// The events that wait for another of the same key, by key.
    keys: HashMap<Box<str>, VecDeque<Sequence>>,
    paused: Option<String>,
    /// No event activation lets its events through.
    inactive: bool,
    hold_until: Timestamp,
    failures: u32,
    probe_at: Timestamp,
    /// What was tried last before its time.
    probed: Option<(Timestamp, Sequence)>,
    dead_letters: BTreeSet<Sequence>,
    last_error: Option<String>,
    last_delivered_at: Option<Timestamp>,
    dirty: bool,
    changed: BTreeSet<Sequence>,
    written: BTreeSet<Sequence>,
    letters: Vec<DeadLetter>,
    letters_done: Vec<Sequence>,
}

impl Lane {
    /// A lane that begins at `start`, and is to read the journal from `from` on before that.
    #[must_use]
    pub fn starting(number: u64, from: Sequence, start: Sequence) -> Self {
        let rescan = (from < start).then_some(Rescan { next: from, until: start });
        Self {
            number,
            handed: from.min(start),
            routed: start,
            rescan,
            dirty: true,
            ..Self::default()
        }
    }

    /// Takes over references from the tailer; those that it has already are passed over.
    pub fn push(&mut self, sequences: &[Sequence]) {
        for sequence in sequences.iter().filter(|sequence| **sequence >= self.routed) {
            self.backlog.push(*sequence);
            self.dirty = true;
        }
        if let Some(last) = sequences.last() {
            self.routed = self.routed.max(last.next());
        }
    }

    /// Notes that the tailer has routed everything before `position`: what it routes again after a
    /// restart, perhaps by other filters, is passed over.
    pub fn routed_to(&mut self, position: Sequence) {
        if self.routed < position {
            self.routed = position;
            self.dirty = true;
        }
    }

    /// What to do next, with room for another attempt.
    pub fn next(&mut self, now: Timestamp, in_flight_max: usize) -> Next {
        if self.is_held() || self.in_flight >= in_flight_max {
            return Next::Wait(None);
        }
        if now < self.hold_until {
            return Next::Wait(Some(self.hold_until));
        }
        let due = self.first_retry();
        if let Some((at, sequence)) = due
            && at <= now
        {
            return Next::Retry(sequence);
        }
        let due = due.map(|(at, _)| at);
        let is_down = self.failures >= FAILURES_UNTIL_DOWN;
        if is_down && (now < self.probe_at || self.in_flight > 0) {
            let probe = (self.in_flight == 0).then_some(self.probe_at);
            return Next::Wait(due.into_iter().chain(probe).min());
        }
        let is_full = self.retries.len() >= RETRYING_MAX || self.parked >= PARKED_MAX;
        let next = if is_full { Next::Wait(None) } else { self.take_from() };
        match next {
            // Nothing new can show that the receiver is back, and others wait for those that failed.
            Next::Wait(_) if is_down && (is_full || self.parked > 0) => {
                self.probe().map_or(Next::Wait(due), Next::Retry)
            }
            Next::Wait(_) => Next::Wait(due),
            next => next,
        }
    }

    /// What to try before its time: those that wait take turns, since one may fail for a reason of
    /// its own.
    fn probe(&self) -> Option<Sequence> {
        let after = self.probed.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.retries.range((after, Bound::Unbounded));
        let mut in_turn = later.chain(&self.retries);
        in_turn
            .find(|(at, sequence)| self.is_retried(*at, *sequence))
            .map(|(_, sequence)| *sequence)
    }

    fn is_retried(&self, at: Timestamp, sequence: Sequence) -> bool {
        self.unsettled.get(&sequence).is_some_and(|unsettled| {
            unsettled.phase == Phase::Retrying && unsettled.exception.due == at
        })
    }

    /// Whether attempts are under way, and others follow.
    #[must_use]
    pub fn is_delivering(&self, now: Timestamp) -> bool {
        self.in_flight > 0
            && !self.is_held()
            && now >= self.hold_until
            && self.failures < FAILURES_UNTIL_DOWN
    }

    /// The attempt that is due first.
    fn first_retry(&mut self) -> Option<(Timestamp, Sequence)> {
        while let Some((at, sequence)) = self.retries.first().copied() {
            if self.is_retried(at, sequence) {
                return Some((at, sequence));
            }
            self.retries.pop_first();
        }
        None
    }

    /// What reading on comes to: first what is being read again, then what the tailer routed.
    fn take_from(&mut self) -> Next {
        loop {
            if let Some(rescan) = self.rescan
                && self.backlog.is_empty_before(rescan.until)
            {
                return Next::Rescan(rescan);
            }
            match self.backlog.front() {
                // It is under way already: an operator asked for it.
                Front::Ready(sequence) if self.unsettled.contains_key(&sequence) => {
                    self.pop(sequence);
                }
                Front::Ready(sequence) => return Next::New(sequence),
                Front::OnDisk(chunk) => return Next::Load(chunk),
                Front::Empty => return Next::Wait(None),
            }
        }
    }

    /// Takes the reference at the front.
    fn pop(&mut self, sequence: Sequence) {
        self.backlog.pop();
        self.handed = self.handed.max(sequence.next());
        self.dirty = true;
    }

    /// The next events that will be taken up, as far as memory tells.
    #[must_use]
    pub fn coming(&self, count: usize) -> Vec<Sequence> {
        self.backlog.peek(count).collect()
    }

    /// Takes over the references of a chunk.
    pub fn loaded(&mut self, first: Sequence, references: Vec<Sequence>) {
        self.backlog.loaded(first, references, self.handed);
    }

    /// Takes over what reading the journal again found from `from` up to `next`, unless the lane
    /// has been moved meanwhile.
    pub fn rescanned(&mut self, from: Sequence, next: Sequence, found: Vec<Sequence>) {
        let Some(rescan) = self.rescan.filter(|rescan| rescan.next == from) else { return };
        self.dirty = true;
        self.rescan = (next < rescan.until).then_some(Rescan { next, ..rescan });
        let found: Vec<_> = found.into_iter().filter(|at| *at < rescan.until).collect();
        if !found.is_empty() {
            self.backlog.refill(found);
        }
    }

    /// Takes up the event at the front for the first time, with the key that it is ordered by.
    /// `None` when no attempts are made since [`Lane::next`] said so.
    pub fn take(
        &mut self,
        sequence: Sequence,
        key: Option<Box<str>>,
        now: Timestamp,
    ) -> Option<Taken> {
        if self.is_held() {
            return None;
        }
        self.pop(sequence);
        let exception = Exception { due: now, first_attempt_at: now, ..Exception::default() };
        let mut unsettled = Unsettled {
            phase: Phase::InFlight,
            begun: 0,
            exception,
            key: key.clone(),
            requeued: false,
            is_probe: false,
        };
        if let Some(waiting) = key.as_ref().and_then(|key| self.keys.get_mut(key)) {
            waiting.push_back(sequence);
            unsettled.phase = Phase::Parked;
            // Its time runs from its own first attempt.
            unsettled.exception.first_attempt_at = Timestamp::default();
            self.parked += 1;
            self.changed.insert(sequence);
            self.unsettled.insert(sequence, unsettled);
            return Some(Taken::Parked);
        }
        if let Some(key) = key {
            self.keys.insert(key, VecDeque::new());
        }
        self.begun += 1;
        unsettled.begun = self.begun;
        self.changed.insert(sequence);
        self.unsettled.insert(sequence, unsettled);
        self.in_flight += 1;
        Some(Taken::Attempt(1))
    }

    /// Passes over the event at the front, which the journal no longer has.
    pub fn pass_over(&mut self, sequence: Sequence) {
        self.pop(sequence);
        self.lost += 1;
    }

    /// Begins another attempt at an event, or parks one whose key is busy, as can be after a
    /// restart. `None` when the event has been settled meanwhile, or no attempts are made.
    pub fn retake(
        &mut self,
        sequence: Sequence,
        key: Option<Box<str>>,
        now: Timestamp,
    ) -> Option<Taken> {
        if self.is_held() {
            return None;
        }
        let unsettled = self.unsettled.get_mut(&sequence)?;
        if !self.retries.remove(&(unsettled.exception.due, sequence)) {
            return None;
        }
        if unsettled.exception.first_attempt_at == Timestamp::default() {
            unsettled.exception.first_attempt_at = now;
        }
        self.dirty = true;
        if unsettled.key.is_none()
            && let Some(key) = key
        {
            unsettled.key = Some(key.clone());
            if let Some(waiting) = self.keys.get_mut(&key) {
                unsettled.phase = Phase::Parked;
                self.parked += 1;
                waiting.push_back(sequence);
                return Some(Taken::Parked);
            }
            self.keys.insert(key, VecDeque::new());
        }
        self.begun += 1;
        unsettled.begun = self.begun;
        unsettled.phase = Phase::InFlight;
        self.in_flight += 1;
        let Exception { due, attempts, .. } = unsettled.exception;
        unsettled.is_probe = now < due && attempts > 0;
        if unsettled.is_probe {
            self.probed = Some((due, sequence));
            return Some(Taken::Probe(attempts));
        }
        Some(Taken::Attempt(attempts + 1))
    }

    /// Which attempt at the event is under way, of all that the lane has begun.
    #[must_use]
    pub fn under_way(&self, sequence: Sequence) -> Option<u64> {
        let unsettled = self.unsettled.get(&sequence)?;
        (unsettled.phase == Phase::InFlight).then_some(unsettled.begun)
    }

    /// When the first attempt at an event under way was made.
    #[must_use]
    pub fn first_attempt_at(&self, sequence: Sequence) -> Option<Timestamp> {
        self.unsettled.get(&sequence).map(|unsettled| unsettled.exception.first_attempt_at)
    }

    /// Notes how an attempt ended. A receiver that is down is tried at least as often as the
    /// subscription's `retry_delay_max` says. An event that the lane no longer knows, since it was moved
    /// meanwhile, is let be.
    pub fn settle(
        &mut self,
        sequence: Sequence,
        settled: Settled,
        (now, retry_delay_max): (Timestamp, Duration),
    ) {
        let in_flight = |unsettled: &&mut Unsettled| unsettled.phase == Phase::InFlight;
        let Some(unsettled) = self.unsettled.get_mut(&sequence).filter(in_flight) else { return };
        let is_probe = std::mem::take(&mut unsettled.is_probe);
        unsettled.exception.attempts += u32::from(!is_probe);
        self.in_flight -= 1;
        self.dirty = true;
        self.changed.insert(sequence);
        match settled {
            Settled::Done { delivered } => {
                self.finish(sequence);
                self.succeeded(delivered, now);
            }
            Settled::Again { due, status, reason } => {
                self.last_error = Some(reason.clone());
                // It comes again when it would have, or at once if that is wanted.
                let due = if is_probe && now < due { unsettled.exception.due } else { due };
                unsettled.phase = Phase::Retrying;
                unsettled.exception.due = due;
                unsettled.exception.last_status = status;
                unsettled.exception.last_reason = reason;
                self.retries.insert((due, sequence));
                self.failed(now, retry_delay_max);
            }
            Settled::Dead(letter) => {
                self.last_error = Some(letter.reason.clone());
                unsettled.requeued = false;
                self.dead_letters.insert(sequence);
                self.letters.push(*letter);
                self.finish(sequence);
                self.failed(now, retry_delay_max);
            }
        }
    }

    /// A receiver that is back gets at once what had to wait while it was down.
    fn succeeded(&mut self, delivered: bool, now: Timestamp) {
        if !delivered {
            return;
        }
        self.delivered += 1;
        self.last_delivered_at = Some(now);
        if std::mem::take(&mut self.failures) < FAILURES_UNTIL_DOWN {
            return;
        }
        for (_, sequence) in std::mem::take(&mut self.retries) {
            if let Some(unsettled) = self.unsettled.get_mut(&sequence) {
                unsettled.exception.due = now;
                self.retries.insert((now, sequence));
            }
        }
    }

    fn failed(&mut self, now: Timestamp, retry_delay_max: Duration) {
        self.failures = self.failures.saturating_add(1);
        let beyond = self.failures.saturating_sub(FAILURES_UNTIL_DOWN).min(10);
        let longest = PROBE_INTERVAL_MAX.min(retry_delay_max);
        let interval = Duration::from_millis(500 << beyond).min(longest);
        self.probe_at = now.after(interval);
    }

    /// Removes an event that is done with, and lets the next one of its key go.
    fn finish(&mut self, sequence: Sequence) {
        let Some(unsettled) = self.unsettled.remove(&sequence) else { return };
        if unsettled.requeued {
            self.dead_letters.remove(&sequence);
            self.letters_done.push(sequence);
        }
        let Some(key) = unsettled.key else { return };
        let Some(waiting) = self.keys.get_mut(&key) else { return };
        if unsettled.phase == Phase::Parked {
            waiting.retain(|known| *known != sequence);
            return;
        }
        let Some(next) = waiting.pop_front() else {
            self.keys.remove(&key);
            return;
        };
        self.let_go(next);
    }

    /// Lets an event that waited for its key be attempted.
    fn let_go(&mut self, parked: Sequence) {
        if let Some(unsettled) = self.unsettled.get_mut(&parked) {
            unsettled.phase = Phase::Retrying;
            self.parked -= 1;
            self.retries.insert((unsettled.exception.due, parked));
        }
    }

    /// Makes no attempt before `until`: the receiver asked for it.
    pub fn hold(&mut self, until: Timestamp) {
        self.hold_until = self.hold_until.max(until);
    }
}

/// The key that a subscription orders `event` by; `None` when order does not matter.
#[must_use]
pub fn ordering_key(subscription: &Subscription, event: &StoredEvent) -> Option<Box<str>> {
    if subscription.ordering == Ordering::None {
        return None;
    }
    let text = |name: &str| eg_event::filter::attribute_text(&event.event, name);
    let key = match &subscription.ordering_key {
        Some(name) => text(name),
        None => text("partitionkey").or_else(|| text("subject")).or_else(|| text("source")),
    };
    Some(key.unwrap_or_default().into())
}
