//! What operators and retention do to a lane.

use std::collections::HashSet;

use eg_event::{Sequence, Timestamp};
use eg_storage::{DeadLetter, Exception};

use super::{FAILURES_UNTIL_DOWN, Lane, Phase, Rescan, Unsettled};

impl Lane {
    /// Makes no more attempts until [`Lane::resume`].
    pub fn pause(&mut self, reason: String) {
        self.paused = Some(reason);
    }

    /// Goes on after a pause, at once.
    pub fn resume(&mut self) {
        self.paused = None;
        self.hold_until = Timestamp::default();
        self.failures = 0;
    }

    /// Makes attempts, or none, as event activations say. A pause is independent of it.
    pub fn activate(&mut self, is_activated: bool) {
        self.inactive = !is_activated;
    }

    /// Takes the receiver for down, as it was before a restart: it is tried with a single event.
    pub fn presume_down(&mut self) {
        self.failures = FAILURES_UNTIL_DOWN;
    }

    /// Whether no attempts are begun, until somebody says otherwise.
    pub(super) fn is_held(&self) -> bool {
        self.paused.is_some() || self.inactive
    }

    /// Why no attempts are made, if so.
    #[must_use]
    pub fn paused(&self) -> Option<&str> {
        self.paused.as_deref()
    }

    /// Moves to `to`: every matching event from there on is delivered (again), and none before it
    /// that was not taken up. `tailer` is where the tailer's references will begin.
    pub fn rewind(&mut self, to: Sequence, tailer: Sequence) {
        self.backlog.clear();
        let again: Vec<_> = self.unsettled.range(to..).map(|(sequence, _)| *sequence).collect();
        for sequence in again {
            self.drop_unsettled(sequence);
        }
        let held = self.unsettled.values().filter(|unsettled| unsettled.phase != Phase::Parked);
        let held: HashSet<_> = held.filter_map(|unsettled| unsettled.key.clone()).collect();
        for (key, mut waiting) in std::mem::take(&mut self.keys) {
            waiting.retain(|known| *known < to);
            if held.contains(&key) {
                self.keys.insert(key, waiting);
            } else if let Some(next) = waiting.pop_front() {
                // It was asked for after the dropped event, though it comes before it.
                self.keys.insert(key, waiting);
                self.let_go(next);
            }
        }
        self.handed = to;
        self.routed = to.max(tailer);
        self.rescan = (to < tailer).then_some(Rescan { next: to, until: tailer });
        self.dirty = true;
    }

    fn drop_unsettled(&mut self, sequence: Sequence) {
        let Some(unsettled) = self.unsettled.remove(&sequence) else { return };
        match unsettled.phase {
            Phase::InFlight => self.in_flight -= 1,
            Phase::Parked => self.parked -= 1,
            Phase::Retrying => {
                self.retries.remove(&(unsettled.exception.due, sequence));
            }
        }
        self.changed.insert(sequence);
    }

    /// Puts a dead letter back into delivery; says whether it was one.
    pub fn requeue(&mut self, letter: DeadLetter, now: Timestamp) -> bool {
        let sequence = letter.event.sequence;
        if !self.dead_letters.contains(&sequence) || self.unsettled.contains_key(&sequence) {
            return false;
        }
        let exception = Exception { due: now, ..Exception::default() };
        let unsettled = Unsettled {
            phase: Phase::Retrying,
            begun: 0,
            exception,
            key: None,
            requeued: true,
            is_probe: false,
        };
        self.unsettled.insert(sequence, unsettled);
        self.retries.insert((now, sequence));
        self.letters.push(DeadLetter { requeued: true, ..letter });
        self.changed.insert(sequence);
        self.dirty = true;
        true
    }

    /// Puts any event into delivery at once, unless it is there already.
    pub fn replay(&mut self, sequence: Sequence, now: Timestamp) {
        let waits = self.backlog.holds(sequence) == Some(true);
        if waits || self.unsettled.contains_key(&sequence) || self.dead_letters.contains(&sequence)
        {
            return;
        }
        let exception = Exception { due: now, ..Exception::default() };
        let unsettled = Unsettled {
            phase: Phase::Retrying,
            begun: 0,
            exception,
            key: None,
            requeued: false,
            is_probe: false,
        };
        self.unsettled.insert(sequence, unsettled);
        self.retries.insert((now, sequence));
        self.changed.insert(sequence);
        self.dirty = true;
    }

    /// Removes a dead letter for good; says whether it was one.
    pub fn purge(&mut self, sequence: Sequence) -> bool {
        let idle = !self.unsettled.contains_key(&sequence);
        let removed = idle && self.dead_letters.remove(&sequence);
        if removed {
            self.letters_done.push(sequence);
            self.dirty = true;
        }
        removed
    }

    /// Forgets what retention lets go, everything before `sequence`, and counts it. Dead letters
    /// keep their copy.
    pub fn forget_before(&mut self, sequence: Sequence) -> u64 {
        let lost_before = self.lost;
        let waiting = self.backlog.forget_before(sequence);
        let gone: Vec<_> = self.unsettled.range(..sequence).map(|(known, _)| *known).collect();
        for known in gone {
            let kept = self
                .unsettled
                .get(&known)
                .is_some_and(|unsettled| unsettled.requeued || unsettled.phase == Phase::InFlight);
            if !kept {
                self.give_up_lost(known);
            }
        }
        if let Some(rescan) = &mut self.rescan
            && rescan.next < sequence
        {
            rescan.next = sequence;
            self.dirty = true;
        }
        self.lost += waiting;
        self.dirty |= waiting > 0;
        self.lost - lost_before
    }

    /// Drops an unsettled event that can no longer be read, and counts it.
    pub fn give_up_lost(&mut self, sequence: Sequence) {
        let Some(unsettled) = self.unsettled.get(&sequence) else { return };
        match unsettled.phase {
            Phase::InFlight => self.in_flight -= 1,
            Phase::Parked => self.parked -= 1,
            Phase::Retrying => {
                self.retries.remove(&(unsettled.exception.due, sequence));
            }
        }
        self.lost += 1;
        self.dirty = true;
        self.changed.insert(sequence);
        self.finish(sequence);
    }

    /// The oldest event that the subscription still needs from the journal.
    #[must_use]
    pub fn oldest_needed(&self) -> Option<Sequence> {
        let rescan = self.rescan.map(|rescan| rescan.next);
        let unsettled = self.unsettled.first_key_value().map(|(sequence, _)| *sequence);
        [rescan, unsettled, self.backlog.first()].into_iter().flatten().min()
    }
}
