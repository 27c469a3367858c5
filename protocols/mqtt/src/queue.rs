//! What waits for a session: references to events, never copies, so that a slow or absent client
//! costs 16 bytes a message.

use std::collections::VecDeque;
use std::sync::Arc;

use eg_event::Sequence;

use crate::codec::Qos;

/// How many messages may wait while what came before a crash is matched again.
const MATCHED_AGAIN_MESSAGES_MAX: usize = 1_000_000;

/// An event that a session is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Which event.
    pub(crate) sequence: Sequence,
    /// About how large it is, in bytes.
    pub(crate) bytes: u32,
    /// Which subscription identifiers go with it, by their place in [`Labels`].
    pub(crate) identifiers: u16,
    /// The shared subscription that it came by, by its place in [`Labels`]; 0: none.
    pub(crate) group: u8,
    /// How it goes out.
    pub(crate) flags: Flags,
}

/// How a message goes out, in a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    const QOS: u8 = 0b11;
    const RETAIN: u8 = 1 << 2;
    const LATE: u8 = 1 << 3;

    pub(crate) fn new(qos: Qos, retain: bool) -> Self {
        Self(qos as u8 | if retain { Self::RETAIN } else { 0 })
    }

    /// It does not come in the order of the journal.
    pub(crate) fn late(self) -> Self {
        Self(self.0 | Self::LATE)
    }

    pub(crate) fn is_late(self) -> bool {
        self.0 & Self::LATE != 0
    }

    pub(crate) fn retain(self) -> bool {
        self.0 & Self::RETAIN != 0
    }

    pub(crate) fn qos(self) -> Qos {
        match self.0 & Self::QOS {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        }
    }

    /// What an overlapping subscription adds: the higher quality of service, and the flag RETAIN
    /// if one of them wants it.
    fn and(self, other: Self) -> Self {
        let qos = (self.0 & Self::QOS).max(other.0 & Self::QOS);
        Self(qos | (self.0 | other.0) & !Self::QOS)
    }
}

/// What references of one session name by a small number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    /// Sets of subscription identifiers; the first is empty.
    pub(crate) identifiers: Vec<Arc<[u32]>>,
    /// The filters of shared subscriptions; the first is none.
    pub(crate) groups: Vec<Arc<str>>,
}

impl Default for Labels {
    fn default() -> Self {
        Self { identifiers: vec![Arc::from([])], groups: vec![Arc::from("")] }
    }
}

impl Labels {
    /// The number of a set of subscription identifiers; that of none when there are too many sets.
    pub(crate) fn identifiers(&mut self, set: &[u32]) -> u16 {
        let at = self.identifiers.iter().position(|known| **known == *set);
        let at = at.or_else(|| {
            (self.identifiers.len() < usize::from(u16::MAX)).then(|| {
                self.identifiers.push(set.into());
                self.identifiers.len() - 1
            })
        });
        at.and_then(|at| u16::try_from(at).ok()).unwrap_or(0)
    }

    /// The number of the filter of a shared subscription; 0 when there are too many.
    pub(crate) fn group(&mut self, filter: &str) -> u8 {
        let at = self.groups.iter().position(|known| **known == *filter);
        let at = at.or_else(|| {
            (self.groups.len() < usize::from(u8::MAX)).then(|| {
                self.groups.push(filter.into());
                self.groups.len() - 1
            })
        });
        at.and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
    }

    /// The subscription identifiers of a message.
    pub(crate) fn of(&self, reference: &Reference) -> Arc<[u32]> {
        let at = usize::from(reference.identifiers);
        self.identifiers.get(at).map_or_else(|| Arc::from([]), Arc::clone)
    }

    /// The set with one more.
    fn with(&mut self, identifiers: u16, more: u16) -> u16 {
        let set = |at: u16| self.identifiers.get(usize::from(at)).map_or(&[][..], |set| set);
        let (known, more) = (set(identifiers), set(more));
        let added = more.iter().filter(|one| !known.contains(one));
        let all: Vec<u32> = known.iter().chain(added).copied().collect();
        self.identifiers(&all)
    }
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimit {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
    /// No more than the application may have, either.
    pub(crate) heeds_application: bool,
}

impl QueueLimit {
    /// For what came before the start and is matched again after a crash: it may have had its room
    /// from what had gone out since the session was written down, and now waits again.
    pub(crate) const MATCHED_AGAIN: Self =
        Self { messages: MATCHED_AGAIN_MESSAGES_MAX, bytes: u64::MAX, heeds_application: false };
}

/// Messages in the order in which they are to go out.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    references: VecDeque<Reference>,
    bytes: u64,
    /// The one that came last, until it is certain that no overlapping subscription adds to it.
    open: Option<Reference>,
    /// How many have left the queue.
    pub(crate) head: u64,
}

impl Queue {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.references.len() + usize::from(self.open.is_some())
    }

    /// How many bytes the events have that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes + self.open.map_or(0, |open| open.bytes.into())
    }

    /// Adds a message, or adds what another subscription says to the one that came last. Says
    /// whether there was room.
    pub(crate) fn push(
        &mut self,
        reference: Reference,
        labels: &mut Labels,
        limit: QueueLimit,
    ) -> bool {
        if self.adds_to_last(&reference)
            && let Some(open) = &mut self.open
        {
            open.flags = open.flags.and(reference.flags);
            open.identifiers = labels.with(open.identifiers, reference.identifiers);
            return true;
        }
        self.settle();
        let is_empty = self.references.is_empty();
        let fits = self.references.len() < limit.messages
            && self.bytes + u64::from(reference.bytes) <= limit.bytes;
        if !fits && !is_empty {
            return false;
        }
        self.open = Some(reference);
        true
    }

    /// Whether it is the same message as the one that came last, by another subscription.
    pub(crate) fn adds_to_last(&self, reference: &Reference) -> bool {
        self.open.is_some_and(|open| {
            open.sequence == reference.sequence && (open.group, reference.group) == (0, 0)
        })
    }

    /// The last sequence before the one to which something may still be added.
    pub(crate) fn before_open(&self) -> Option<Sequence> {
        self.open.map(|open| Sequence(open.sequence.0.saturating_sub(1)))
    }

    /// Nothing is added any more to what came last.
    pub(crate) fn settle(&mut self) {
        if let Some(open) = self.open.take() {
            self.bytes += u64::from(open.bytes);
            self.references.push_back(open);
        }
    }

    /// The next one, which stays.
    pub(crate) fn front(&self) -> Option<&Reference> {
        self.references.front()
    }

    /// Takes the next one.
    pub(crate) fn pop(&mut self) -> Option<Reference> {
        let taken = self.references.pop_front()?;
        self.bytes -= u64::from(taken.bytes);
        self.head += 1;
        if self.references.is_empty() && self.references.capacity() > 64 {
            self.references.shrink_to(16);
        }
        Some(taken)
    }

    /// Takes out those that `leaves` names, in order; the others stay, and count anew.
    pub(crate) fn extract(&mut self, leaves: impl Fn(&Reference) -> bool) -> Vec<Reference> {
        self.settle();
        let (gone, left): (Vec<_>, VecDeque<_>) = {
            let all = std::mem::take(&mut self.references);
            let mut gone = Vec::new();
            let mut left = VecDeque::new();
            for reference in all {
                if leaves(&reference) {
                    gone.push(reference);
                } else {
                    left.push_back(reference);
                }
            }
            (gone, left)
        };
        if !gone.is_empty() {
            // Every place changes: they are new places.
            self.head += gone.len() as u64 + left.len() as u64;
        }
        self.bytes = left.iter().map(|reference| u64::from(reference.bytes)).sum();
        self.references = left;
        gone
    }

    /// Those that wait from the place `from` on, and their places.
    pub(crate) fn from(&self, from: u64) -> impl Iterator<Item = (u64, &Reference)> {
        let skip = usize::try_from(from.saturating_sub(self.head)).unwrap_or(usize::MAX);
        (self.head..).zip(&self.references).skip(skip)
    }

    /// Those of `sequence` and later ones, from the last on, and those that come in no order.
    pub(crate) fn since(&self, sequence: Sequence) -> impl Iterator<Item = &Reference> {
        let is_later = move |one: &&Reference| one.flags.is_late() || one.sequence >= sequence;
        self.references.iter().rev().take_while(is_later)
    }

    /// The place behind the last one.
    pub(crate) fn end(&self) -> u64 {
        self.head + self.references.len() as u64
    }

    /// Those that wait have new places, from `head` on.
    pub(crate) fn renumber(&mut self, head: u64) {
        self.head = head;
    }

    /// Puts one back that was read from the disk.
    pub(crate) fn restore(&mut self, reference: Reference) {
        self.bytes += u64::from(reference.bytes);
        self.references.push_back(reference);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn reference(sequence: u64, qos: Qos) -> Reference {
        let flags = Flags::new(qos, false);
        Reference { sequence: Sequence(sequence), bytes: 10, identifiers: 0, group: 0, flags }
    }

    const LIMIT: QueueLimit = QueueLimit { messages: 3, bytes: 1000, heeds_application: true };

    #[test]
    fn overlapping_subscriptions_make_one_message_of_the_highest_quality() {
        let (mut queue, mut labels) = (Queue::default(), Labels::default());
        let labelled = |identifiers, qos| Reference { identifiers, ..reference(1, qos) };
        let (one, two) = (labels.identifiers(&[1]), labels.identifiers(&[2]));
        queue.push(labelled(one, Qos::AtMostOnce), &mut labels, LIMIT);
        queue.push(labelled(two, Qos::AtLeastOnce), &mut labels, LIMIT);
        queue.push(labelled(0, Qos::AtMostOnce), &mut labels, LIMIT);
        queue.settle();
        let only = queue.pop().unwrap();
        assert_eq!((only.flags.qos(), &*labels.of(&only)), (Qos::AtLeastOnce, &[1, 2][..]));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_full_queue_takes_nothing_more() {
        let (mut queue, mut labels) = (Queue::default(), Labels::default());
        let taken = (1..6).filter(|sequence| {
            queue.push(reference(*sequence, Qos::AtMostOnce), &mut labels, LIMIT)
        });
        assert_eq!(taken.count(), 3);
        queue.settle();
        assert_eq!((queue.len(), queue.bytes()), (3, 30));
    }

    #[test]
    fn what_is_taken_out_of_the_middle_leaves_the_order() {
        let (mut queue, mut labels) = (Queue::default(), Labels::default());
        for sequence in 1..4 {
            queue.push(reference(sequence, Qos::AtMostOnce), &mut labels, LIMIT);
        }
        let gone = queue.extract(|reference| reference.sequence == Sequence(2));
        assert_eq!(gone, [reference(2, Qos::AtMostOnce)]);
        let left: Vec<_> =
            queue.from(0).map(|(at, reference)| (at, reference.sequence.0)).collect();
        assert_eq!(left, [(3, 1), (4, 3)]);
    }
}
