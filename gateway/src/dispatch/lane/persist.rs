//! How a lane is written down, and read back at start.

use std::collections::BTreeSet;

use eg_event::{Sequence, Timestamp};
use eg_storage::{Changes, Cursor, Outstanding};

use super::{Backlog, Lane, Phase, Rescan, Unsettled};

impl Lane {
    /// A lane as the ledger has it. What was under way is tried again at once; with `in_order`,
    /// everything is, since only then it shows which events share a key.
    #[must_use]
    pub fn recovered(
        number: u64,
        found: Outstanding,
        dead_letters: BTreeSet<Sequence>,
        in_order: bool,
    ) -> Self {
        let Outstanding { cursor, exceptions, chunks } = found;
        let rescan = cursor.rescan.map(|next| Rescan { next, until: cursor.rescan_until });
        let mut lane = Self {
            number,
            handed: cursor.handed,
            routed: cursor.routed,
            lost: cursor.lost,
            delivered: cursor.delivered,
            rescan: rescan.filter(|rescan| rescan.next < rescan.until),
            backlog: Backlog::recovered(chunks),
            dead_letters,
            ..Self::default()
        };
        for (sequence, mut exception) in exceptions {
            if in_order {
                exception.due = Timestamp::default();
            }
            lane.retries.insert((exception.due, sequence));
            lane.written.insert(sequence);
            let requeued = lane.dead_letters.contains(&sequence);
            let unsettled = Unsettled {
                phase: Phase::Retrying,
                begun: 0,
                exception,
                key: None,
                requeued,
                is_probe: false,
            };
            lane.unsettled.insert(sequence, unsettled);
        }
        lane
    }

    /// Writes down what has changed since the last time.
    pub fn save(&mut self, changes: &mut Changes) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let cursor = Cursor {
            handed: self.handed,
            routed: self.routed,
            lost: self.lost,
            delivered: self.delivered,
            rescan: self.rescan.map(|rescan| rescan.next),
            rescan_until: self.rescan.map_or(Sequence(0), |rescan| rescan.until),
        };
        changes.put_cursor(self.number, &cursor);
        for sequence in std::mem::take(&mut self.changed) {
            if let Some(unsettled) = self.unsettled.get(&sequence) {
                changes.put_exception(self.number, sequence, &unsettled.exception);
                self.written.insert(sequence);
            } else if self.written.remove(&sequence) {
                changes.remove_exception(self.number, sequence);
            }
        }
        self.backlog.save(self.number, changes);
        for letter in self.letters.drain(..) {
            changes.put_dead_letter(self.number, &letter);
        }
        // One that has been given up again since is a dead letter anew.
        for sequence in self.letters_done.drain(..).filter(|done| !self.dead_letters.contains(done))
        {
            changes.remove_dead_letter(self.number, sequence);
        }
    }
}
