//! The dedupe window: which of the latest events has a given source and id.
//!
//! Random keys in a B-tree are what this store cannot afford, so the window is in memory: a ring
//! of fingerprints in the order of the journal, and a hash table of places in the ring. A
//! fingerprint that is found is only a hint; the caller compares the stored event itself.

use eg_event::Sequence;
use hashbrown::HashTable;

/// The latest events by fingerprint, bounded by count.
#[derive(Debug)]
pub(crate) struct Window {
    /// The fingerprint of the event `sequence` is at `sequence % capacity`; 0 stands for none.
    ring: Box<[u64]>,
    table: HashTable<u32>,
    /// The oldest sequence that is in the window.
    oldest: u64,
    /// The sequence that comes next.
    next: u64,
}

/// The fingerprint of an event's identity, under a key that outsiders do not know; never 0. One
/// that is in quarantine has another than the mended one with the same source and id.
pub(crate) fn fingerprint(key: u64, (source, id): (&str, &str), held: bool) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(key);
    hasher.update(source.as_bytes());
    hasher.update(&[0]);
    hasher.update(id.as_bytes());
    if held {
        hasher.update(&[0, 1]);
    }
    hasher.digest().max(1)
}

impl Window {
    /// An empty window for `capacity` events, the next of which is `next`.
    pub(crate) fn new(capacity: u32, next: Sequence) -> Self {
        let ring = vec![0; usize::try_from(capacity).unwrap_or(0)].into_boxed_slice();
        Self { ring, table: HashTable::new(), oldest: next.0, next: next.0 }
    }

    /// Remembers the event `self.next` by `fingerprint`, or passes over one whose identity nobody
    /// can repeat (`None`). The oldest event makes room.
    pub(crate) fn push(&mut self, fingerprint: Option<u64>) {
        if self.ring.is_empty() {
            self.next += 1;
            return;
        }
        if self.next - self.oldest == self.ring.len() as u64 {
            self.forget_oldest();
        }
        let slot = self.slot(self.next);
        self.ring[slot] = fingerprint.unwrap_or(0);
        if let Some(fingerprint) = fingerprint {
            let ring = &self.ring;
            let slot = u32::try_from(slot).unwrap_or(u32::MAX);
            self.table.insert_unique(fingerprint, slot, |&slot| ring[slot as usize]);
        }
        self.next += 1;
    }

    /// The events that may have this fingerprint, usually none and hardly ever more than one.
    pub(crate) fn candidates(&self, fingerprint: u64) -> impl Iterator<Item = Sequence> {
        let slots = self.table.iter_hash(fingerprint);
        slots.filter(move |&&slot| self.ring[slot as usize] == fingerprint).map(|&slot| {
            let newest = self.slot(self.next - 1);
            let back = (newest + self.ring.len() - slot as usize) % self.ring.len();
            Sequence(self.next - 1 - back as u64)
        })
    }

    /// Forgets every event before `sequence`.
    pub(crate) fn forget_before(&mut self, sequence: Sequence) {
        while self.oldest < sequence.0.min(self.next) && !self.ring.is_empty() {
            self.forget_oldest();
        }
    }

    /// Takes back the events from `sequence` on, which were not committed after all.
    pub(crate) fn take_back(&mut self, sequence: Sequence) {
        while self.next > sequence.0.max(self.oldest) {
            self.next -= 1;
            if !self.ring.is_empty() {
                self.remove_slot(self.slot(self.next));
            }
        }
        self.next = sequence.0;
        self.oldest = self.oldest.min(self.next);
    }

    fn forget_oldest(&mut self) {
        self.remove_slot(self.slot(self.oldest));
        self.oldest += 1;
    }

    fn remove_slot(&mut self, slot: usize) {
        let fingerprint = std::mem::take(&mut self.ring[slot]);
        if fingerprint != 0
            && let Ok(entry) = self.table.find_entry(fingerprint, |&found| found as usize == slot)
        {
            entry.remove();
        }
    }

    fn slot(&self, sequence: u64) -> usize {
        usize::try_from(sequence % self.ring.len() as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_is_found_until_newer_ones_push_it_out() {
        let mut window = Window::new(3, Sequence(10));
        for fingerprint in [7, 8, 9] {
            window.push(Some(fingerprint));
        }
        assert_eq!(window.candidates(7).collect::<Vec<_>>(), [Sequence(10)]);
        window.push(None);
        assert_eq!(window.candidates(7).count(), 0);
        assert_eq!(window.candidates(9).collect::<Vec<_>>(), [Sequence(12)]);
        window.forget_before(Sequence(12));
        assert_eq!(window.candidates(8).count(), 0);
        window.take_back(Sequence(12));
        assert_eq!(window.candidates(9).count(), 0);
        window.push(Some(5));
        assert_eq!(window.candidates(5).collect::<Vec<_>>(), [Sequence(12)]);
    }

    #[test]
    fn a_window_of_nothing_remembers_nothing() {
        let mut window = Window::new(0, Sequence(1));
        window.push(Some(7));
        window.take_back(Sequence(1));
        window.forget_before(Sequence(9));
        assert_eq!(window.candidates(7).count(), 0);
    }

    #[test]
    fn sources_and_ids_do_not_run_into_each_other() {
        let of = |key, source, id| fingerprint(key, (source, id), false);
        assert_ne!(of(1, "/a", "b"), of(1, "/ab", ""));
        assert_ne!(of(1, "/a", "b"), of(2, "/a", "b"));
        assert_ne!(of(1, "/a", "b"), fingerprint(1, ("/a", "b"), true));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(Option<u64>),
        ForgetBefore(u64),
        TakeBack(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => prop::option::of(1u64..6).prop_map(Step::Push),
            1 => (0u64..40).prop_map(Step::ForgetBefore),
            1 => (0u64..40).prop_map(Step::TakeBack),
        ]
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_list(steps in prop::collection::vec(step(), 0..60)) {
            let mut window = Window::new(8, Sequence(1));
            let mut list: Vec<(u64, Option<u64>)> = Vec::new();
            let mut next = 1;
            for step in steps {
                match step {
                    Step::Push(fingerprint) => {
                        window.push(fingerprint);
                        list.push((next, fingerprint));
                        next += 1;
                        if list.len() > 8 { list.remove(0); }
                    }
                    Step::ForgetBefore(sequence) => {
                        window.forget_before(Sequence(sequence));
                        list.retain(|(known, _)| *known >= sequence);
                    }
                    // Only what the last commit brought is ever taken back.
                    Step::TakeBack(back) => {
                        let to = next - back.min(list.len() as u64);
                        window.take_back(Sequence(to));
                        list.retain(|(known, _)| *known < to);
                        next = to;
                    }
                }
                for fingerprint in 1..6 {
                    let mut found: Vec<_> = window.candidates(fingerprint).map(|s| s.0).collect();
                    found.sort_unstable();
                    let expected: Vec<_> = list.iter().filter(|(_, f)| *f == Some(fingerprint)).map(|(s, _)| *s).collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
