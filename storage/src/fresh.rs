//! The latest events in memory, so that delivering what has just come in reads no disk.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use eg_event::{Sequence, StoredEvent};
use tokio::sync::watch;

use crate::record;

/// What an event costs beside its texts and its payload, in bytes, roughly.
const EVENT_BYTES: usize = 512;

/// The latest committed events, bounded in bytes, and the end of the journal.
#[derive(Debug)]
pub(crate) struct Fresh {
    events: RwLock<Ring>,
    bytes_max: usize,
    end: watch::Sender<Sequence>,
}

#[derive(Debug)]
struct Ring {
    events: VecDeque<Arc<StoredEvent>>,
    bytes: usize,
    /// Events from here on are in no file yet, and stay in memory until they are.
    unfiled: Sequence,
}

impl Fresh {
    /// Nothing in memory yet; the next event will be `next`.
    pub(crate) fn new(bytes_max: usize, next: Sequence) -> Self {
        let ring = Ring { events: VecDeque::new(), bytes: 0, unfiled: next };
        Self { events: RwLock::new(ring), bytes_max, end: watch::Sender::new(next) }
    }

    /// The files hold every event before `next`.
    pub(crate) fn filed(&self, next: Sequence) {
        let mut ring = self.events.write().unwrap_or_else(PoisonError::into_inner);
        ring.unfiled = next;
        ring.shrink(self.bytes_max);
    }

    /// Takes over what a commit made durable, and tells whoever waits for it.
    pub(crate) fn push(&self, committed: Vec<Arc<StoredEvent>>) {
        let Some(last) = committed.last() else { return };
        let end = last.sequence.next();
        let mut ring = self.events.write().unwrap_or_else(PoisonError::into_inner);
        // After a failed commit the journal may go on elsewhere than where the ring ends.
        let continues =
            ring.events.back().is_none_or(|back| back.sequence.next() == committed[0].sequence);
        if !continues {
            ring.events.clear();
            ring.bytes = 0;
        }
        for event in committed {
            ring.bytes += event_bytes(&event);
            ring.events.push_back(event);
        }
        ring.shrink(self.bytes_max);
        drop(ring);
        self.end.send_replace(end);
    }

    /// The event at `sequence`, if it is in memory.
    pub(crate) fn get(&self, sequence: Sequence) -> Option<Arc<StoredEvent>> {
        let ring = self.events.read().unwrap_or_else(PoisonError::into_inner);
        ring.events.get(ring.index_of(sequence)?).map(Arc::clone)
    }

    /// The events from `from` on, at most `events_max`, if `from` is in memory.
    pub(crate) fn from(&self, from: Sequence, events_max: usize) -> Option<Vec<Arc<StoredEvent>>> {
        let ring = self.events.read().unwrap_or_else(PoisonError::into_inner);
        let begin = ring.index_of(from)?;
        let end = ring.events.len().min(begin.saturating_add(events_max));
        Some(ring.events.range(begin..end).map(Arc::clone).collect())
    }

    /// The first sequence that is in no file yet.
    pub(crate) fn unfiled(&self) -> Sequence {
        self.events.read().unwrap_or_else(PoisonError::into_inner).unfiled
    }

    /// The latest event with this source and id that is in no file yet.
    pub(crate) fn find_unfiled(&self, source: &str, id: &str) -> Option<Sequence> {
        let ring = self.events.read().unwrap_or_else(PoisonError::into_inner);
        let is =
            |event: &&Arc<StoredEvent>| event.event.id() == id && event.event.source() == source;
        let unfiled = |event: &&Arc<StoredEvent>| event.sequence >= ring.unfiled;
        ring.events.iter().rev().take_while(unfiled).find(is).map(|event| event.sequence)
    }

    /// The end of the journal: the sequence that the next event will have.
    pub(crate) fn end(&self) -> Sequence {
        *self.end.borrow()
    }

    /// Follows the end of the journal.
    pub(crate) fn follow_end(&self) -> watch::Receiver<Sequence> {
        self.end.subscribe()
    }
}

impl Ring {
    fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max && self.events.len() > 1 {
            let filed = |oldest: &mut Arc<StoredEvent>| oldest.sequence < self.unfiled;
            let Some(oldest) = self.events.pop_front_if(filed) else { return };
            self.bytes -= event_bytes(&oldest);
        }
    }

    fn index_of(&self, sequence: Sequence) -> Option<usize> {
        let first = self.events.front()?.sequence;
        let index = usize::try_from(sequence.0.checked_sub(first.0)?).ok()?;
        (index < self.events.len()).then_some(index)
    }
}

fn event_bytes(event: &StoredEvent) -> usize {
    EVENT_BYTES + record::content_bytes(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::full;
    use eg_event::CloudEvent;
    use eg_event::event::Attributes;

    fn events(range: std::ops::Range<u64>) -> Vec<Arc<StoredEvent>> {
        range.map(|sequence| Arc::new(full(sequence))).collect()
    }

    #[test]
    fn the_ring_keeps_the_latest_within_its_bytes() {
        let fresh = Fresh::new(3 * event_bytes(&full(1)), Sequence(1));
        fresh.push(events(1..3));
        fresh.push(events(3..6));
        assert!(fresh.get(Sequence(1)).is_some(), "what is in no file stays");
        fresh.filed(Sequence(6));
        assert_eq!(fresh.end(), Sequence(6));
        assert!(fresh.get(Sequence(2)).is_none());
        assert_eq!(fresh.get(Sequence(3)).unwrap().sequence, Sequence(3));
        assert_eq!(fresh.from(Sequence(4), 10).unwrap().len(), 2);
        assert!(fresh.from(Sequence(6), 10).is_none());
    }

    #[test]
    fn large_attributes_fill_the_ring_like_large_payloads() {
        let mut event = full(1);
        let attributes = Attributes {
            subject: Some("s".repeat(10_000).into()),
            ..event.event.attributes().clone()
        };
        event.event = CloudEvent::from_checked(attributes, None);
        let fresh = Fresh::new(15_000, Sequence(1));
        let second = StoredEvent { sequence: Sequence(2), ..event.clone() };
        fresh.filed(Sequence(3));
        fresh.push(vec![Arc::new(event), Arc::new(second)]);
        assert!(fresh.get(Sequence(1)).is_none());
        assert!(fresh.get(Sequence(2)).is_some());
    }

    #[test]
    fn a_gap_empties_the_ring() {
        let fresh = Fresh::new(1 << 20, Sequence(1));
        fresh.push(events(1..3));
        fresh.push(events(7..8));
        assert!(fresh.get(Sequence(2)).is_none());
        assert!(fresh.get(Sequence(7)).is_some());
    }
}
