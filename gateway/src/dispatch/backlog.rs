//! The events that wait for a subscription: references in the order of the journal, the ends of
//! the queue in memory and its middle on the disk.

use std::collections::VecDeque;

use eg_event::Sequence;
use eg_storage::{Changes, Chunk};

/// How many references make a chunk. A subscription that has fallen behind keeps two chunks in
/// memory, and writes a row for each such number of events.
pub const CHUNK: usize = 4096;

/// A queue of references. What it holds is on the disk after each [`Backlog::save`].
#[derive(Debug, Default)]
pub struct Backlog {
    /// What is taken from.
    head: VecDeque<Sequence>,
    /// The row that holds what is left of the head, and perhaps more that was taken since.
    head_row: Option<Sequence>,
    /// Rows that come after the head.
    stored: VecDeque<Chunk>,
    /// Full chunks that come after those and have not been written.
    spilled: VecDeque<Vec<Sequence>>,
    /// What is added to.
    tail: Vec<Sequence>,
    /// How much of the tail is in a row under its first reference.
    tail_saved: usize,
    /// Rows that are no longer needed.
    obsolete: Vec<Sequence>,
}

/// What is at the front of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// A reference.
    Ready(Sequence),
    /// A chunk that has to be read and given to [`Backlog::loaded`].
    OnDisk(Chunk),
    /// Nothing.
    Empty,
}

impl Backlog {
    /// The queue as the ledger has it.
    #[must_use]
    pub fn recovered(chunks: Vec<Chunk>) -> Self {
        Self { stored: chunks.into(), ..Self::default() }
    }

    /// Adds a reference, which is larger than all others.
    pub fn push(&mut self, sequence: Sequence) {
        self.tail.push(sequence);
        if self.tail.len() >= CHUNK {
            self.spilled.push_back(std::mem::take(&mut self.tail));
            self.tail_saved = 0;
        }
    }

    /// What is at the front.
    pub fn front(&mut self) -> Front {
        if let Some(first) = self.head.front() {
            return Front::Ready(*first);
        }
        self.obsolete.extend(self.head_row.take());
        if let Some(chunk) = self.stored.front() {
            return Front::OnDisk(*chunk);
        }
        let was_saved = if let Some(chunk) = self.spilled.pop_front() {
            // Before it was full, this chunk was the tail and may have been saved as that.
            self.head_row = chunk.first().copied();
            self.head = chunk.into();
            false
        } else {
            let saved = std::mem::take(&mut self.tail_saved);
            self.head_row = self.tail.first().copied().filter(|_| saved > 0);
            self.head = std::mem::take(&mut self.tail).into();
            saved == self.head.len()
        };
        if !was_saved {
            // The row, if there is one, lacks what came since: it is written anew.
            self.obsolete.extend(self.head_row.take());
        }
        self.head.front().map_or(Front::Empty, |first| Front::Ready(*first))
    }

    /// The next references, at most `count` of those in memory.
    pub fn peek(&self, count: usize) -> impl Iterator<Item = Sequence> {
        self.head.iter().take(count).copied()
    }

    /// Takes the reference at the front.
    pub fn pop(&mut self) -> Option<Sequence> {
        self.head.pop_front()
    }

    /// Takes over the chunk that [`Front::OnDisk`] asked for; references before `from` were taken
    /// in an earlier life.
    pub fn loaded(&mut self, first: Sequence, references: Vec<Sequence>, from: Sequence) {
        if self.head.is_empty() && self.stored.front().is_some_and(|chunk| chunk.first == first) {
            self.stored.pop_front();
            self.head_row = Some(first);
            self.head = references.into_iter().filter(|sequence| *sequence >= from).collect();
        }
    }

    /// Puts references that come before all others at the front, when there is nothing.
    pub fn refill(&mut self, references: Vec<Sequence>) {
        self.obsolete.extend(self.head_row.take());
        self.head = references.into();
    }

    /// Whether everything before `until` has been taken, as far as it was ever here.
    #[must_use]
    pub fn is_empty_before(&self, until: Sequence) -> bool {
        self.head.is_empty() && self.stored.front().is_none_or(|chunk| chunk.first >= until)
    }

    /// How many references wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let in_memory = self.head.len() + self.tail.len();
        let spilled: usize = self.spilled.iter().map(Vec::len).sum();
        let stored: u64 = self.stored.iter().map(|chunk| chunk.count).sum();
        stored + (in_memory + spilled) as u64
    }

    /// The first reference, as far as memory tells.
    #[must_use]
    pub fn first(&self) -> Option<Sequence> {
        let head = self.head.front().copied();
        let stored = self.stored.front().map(|chunk| chunk.first);
        let spilled = self.spilled.front().and_then(|chunk| chunk.first().copied());
        head.or(stored).or(spilled).or_else(|| self.tail.first().copied())
    }

    /// Whether `sequence` waits; `None` when only the disk could tell.
    #[must_use]
    pub fn holds(&self, sequence: Sequence) -> Option<bool> {
        let in_memory = self.head.binary_search(&sequence).is_ok()
            || self.spilled.iter().any(|chunk| chunk.binary_search(&sequence).is_ok())
            || self.tail.binary_search(&sequence).is_ok();
        let last = self.stored.partition_point(|chunk| chunk.first <= sequence);
        if in_memory { Some(true) } else { (last == 0).then_some(false) }
    }

    /// Forgets all references.
    pub fn clear(&mut self) {
        let rows = self.stored.iter().map(|chunk| chunk.first);
        let spilled = self.spilled.iter().filter_map(|chunk| chunk.first().copied());
        let obsolete: Vec<_> = rows
            .chain(spilled)
            .chain(self.head_row)
            .chain(self.tail.first().copied())
            .chain(self.obsolete.iter().copied())
            .collect();
        *self = Self { obsolete, ..Self::default() };
    }

    /// Forgets the references before `sequence`; says how many there were, as far as memory
    /// tells. A chunk on the disk goes when all of it lies before.
    pub fn forget_before(&mut self, sequence: Sequence) -> u64 {
        let mut forgotten = 0;
        let in_head = self.head.partition_point(|known| *known < sequence);
        forgotten += self.head.drain(..in_head).count() as u64;
        while let [chunk, next, ..] = *self.stored.make_contiguous()
            && next.first <= sequence
        {
            forgotten += chunk.count;
            self.obsolete.push(chunk.first);
            self.stored.pop_front();
        }
        forgotten
    }

    /// Writes down what is not on the disk, and removes the rows that are no longer needed.
    pub fn save(&mut self, subscription: u64, changes: &mut Changes) {
        for first in self.obsolete.drain(..) {
            changes.remove_references(subscription, first);
        }
        if self.head_row.is_none() && !self.head.is_empty() {
            changes.put_references(subscription, self.head.make_contiguous());
            self.head_row = self.head.front().copied();
        }
        for chunk in self.spilled.drain(..) {
            changes.put_references(subscription, &chunk);
            if let Some(first) = chunk.first() {
                self.stored.push_back(Chunk { first: *first, count: chunk.len() as u64 });
            }
        }
        if self.tail.len() > self.tail_saved {
            changes.put_references(subscription, &self.tail);
            self.tail_saved = self.tail.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    /// Takes the next reference, reading chunks from `disk`.
    fn take(
        backlog: &mut Backlog,
        disk: &BTreeMap<Sequence, Vec<Sequence>>,
        from: Sequence,
    ) -> Option<Sequence> {
        loop {
            match backlog.front() {
                Front::Ready(_) => return backlog.pop(),
                Front::OnDisk(chunk) => {
                    backlog.loaded(chunk.first, disk[&chunk.first].clone(), from);
                }
                Front::Empty => return None,
            }
        }
    }

    /// Saves into a real ledger and reads all rows back, as a restart would.
    fn save(
        backlog: &mut Backlog,
        ledger: &eg_storage::Ledger,
    ) -> BTreeMap<Sequence, Vec<Sequence>> {
        let mut changes = Changes::default();
        backlog.save(1, &mut changes);
        ledger.apply(&changes).unwrap();
        let chunks = ledger.outstanding(1).unwrap().chunks;
        chunks.iter().map(|c| (c.first, ledger.references(1, *c).unwrap().unwrap())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn references_come_out_in_order_also_after_a_restart_at_any_save(
            steps in prop::collection::vec((0u8..10, 0usize..6000), 1..30),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let store = eg_storage::Store::open(directory.path(), &eg_storage::StorageConfig::default(), &eg_event::Clock::system()).unwrap();
            let mut backlog = Backlog::default();
            let mut disk = BTreeMap::new();
            let (mut next_in, mut next_out) = (1u64, 1u64);
            for (step, count) in steps {
                match step {
                    0..4 => for _ in 0..count { backlog.push(Sequence(next_in)); next_in += 1; },
                    4..8 => for _ in 0..count {
                        let taken = take(&mut backlog, &disk, Sequence(next_out));
                        prop_assert_eq!(taken, (next_out < next_in).then_some(Sequence(next_out)));
                        if taken.is_some() { next_out += 1; }
                    },
                    8 => disk = save(&mut backlog, store.ledger()),
                    _ => {
                        disk = save(&mut backlog, store.ledger());
                        backlog = Backlog::recovered(store.ledger().outstanding(1).unwrap().chunks);
                    }
                }
                prop_assert!(backlog.waiting() >= next_in - next_out);
            }
            while let Some(taken) = take(&mut backlog, &disk, Sequence(next_out)) {
                prop_assert_eq!(taken, Sequence(next_out));
                next_out += 1;
            }
            prop_assert_eq!(next_out, next_in);
            backlog.front();
            disk = save(&mut backlog, store.ledger());
            prop_assert!(disk.is_empty(), "an empty queue leaves no rows: {:?}", disk.keys());
            store.close().unwrap();
        }
    }
}
