//! Reading the journal: the latest events from memory, older ones from their files.
//!
//! These calls may wait for the disk; asynchronous code makes them on a blocking thread.

use std::sync::Arc;

use eg_event::{Sequence, StoredEvent, Timestamp};

use crate::error::{OpenError, StoreError};
use crate::fresh::Fresh;
use crate::record::{self, Identity};
use crate::segment::Segment;
use crate::segments::Segments;
use crate::window;

/// Reads for as long as it borrows the journal's parts.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    segments: &'a Segments,
    fresh: &'a Fresh,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(segments: &'a Segments, fresh: &'a Fresh) -> Self {
        Self { segments, fresh }
    }

    /// The event at `sequence`; `None` when it is not in the journal (any more, or yet).
    pub(crate) fn get(&self, sequence: Sequence) -> Result<Option<Arc<StoredEvent>>, OpenError> {
        if let Some(event) = self.fresh.get(sequence) {
            return Ok(Some(event));
        }
        let found = self.scan_files(sequence, 1, 1)?;
        Ok(found.into_iter().next().filter(|event| event.sequence == sequence))
    }

    /// The events at `sequences`, which ascend; those that are gone are left out. Neighbours that
    /// share a block are read together.
    pub(crate) fn get_many(
        &self,
        sequences: &[Sequence],
    ) -> Result<Vec<Arc<StoredEvent>>, OpenError> {
        let mut found = Vec::with_capacity(sequences.len());
        let mut rest = sequences;
        while let [first, ..] = rest {
            if let Some(event) = self.fresh.get(*first) {
                found.push(event);
                rest = &rest[1..];
                continue;
            }
            let Some(segment) = self.segments.holding(*first)? else {
                break;
            };
            let Some((begin, block)) = segment.blocks(*first, 1)?.into_iter().next() else {
                rest = &rest[1..];
                continue;
            };
            let end = Sequence(begin.0 + block.len() as u64);
            let in_block = rest.partition_point(|sequence| *sequence < end).max(1);
            let is_inside = |sequence: &&Sequence| (begin..end).contains(*sequence);
            for sequence in rest[..in_block].iter().filter(is_inside) {
                let index = usize::try_from(sequence.0 - begin.0).unwrap_or(usize::MAX);
                let read = block.record(index).and_then(|bytes| record::decode(*sequence, bytes));
                found.push(Arc::new(read.map_err(|cause| damaged(&segment, *sequence, cause))?));
            }
            rest = &rest[in_block..];
        }
        Ok(found)
    }

    /// The events from `from` on, or from the first that is still there: at most `events_max`,
    /// and no more blocks than make about `bytes_max` bytes.
    pub(crate) fn scan(
        &self,
        from: Sequence,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Arc<StoredEvent>>, OpenError> {
        loop {
            if let Some(events) = self.fresh.from(from, events_max) {
                return Ok(events);
            }
            let unfiled = self.fresh.unfiled();
            let found = self.scan_files(from, events_max, bytes_max)?;
            if !found.is_empty() {
                return Ok(found);
            }
            // What is in no file yet may follow what has been let go.
            if let Some(events) = self.fresh.from(from.max(unfiled), events_max) {
                return Ok(events);
            }
            // Unless it has gone into one since that was read.
            if self.fresh.unfiled() == unfiled {
                return Ok(Vec::new());
            }
        }
    }

    fn scan_files(
        &self,
        from: Sequence,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Arc<StoredEvent>>, OpenError> {
        let mut from = from;
        while let Some(segment) = self.segments.holding(from)? {
            let from_here = from.max(segment.name.first);
            // Asked before it is read: while there is none, this one may still grow.
            let next = self.segments.first_after(from_here);
            let mut events = Vec::new();
            'blocks: for (begin, block) in segment.blocks(from_here, bytes_max)? {
                for index in 0..block.len() {
                    let sequence = Sequence(begin.0 + index as u64);
                    if sequence < from_here {
                        continue;
                    }
                    if events.len() == events_max {
                        break 'blocks;
                    }
                    let read =
                        block.record(index).and_then(|bytes| record::decode(sequence, bytes));
                    events
                        .push(Arc::new(read.map_err(|cause| damaged(&segment, sequence, cause))?));
                }
            }
            match next {
                Some(next) if events.is_empty() => from = next,
                _ => return Ok(events),
            }
        }
        Ok(Vec::new())
    }

    /// Which event is at `sequence`.
    pub(crate) fn identity(&self, sequence: Sequence) -> Result<Option<Identity>, OpenError> {
        if let Some(event) = self.fresh.get(sequence) {
            let (id, source) = (event.event.id().into(), event.event.source().into());
            return Ok(Some(Identity { id, source, held: event.held.is_some() }));
        }
        self.record(sequence, record::decode_identity)
    }

    /// When the event at `sequence` was received.
    pub(crate) fn received_at(&self, sequence: Sequence) -> Result<Option<Timestamp>, OpenError> {
        if let Some(event) = self.fresh.get(sequence) {
            return Ok(Some(event.received_at));
        }
        self.record(sequence, record::decode_received_at)
    }

    fn record<T>(
        &self,
        sequence: Sequence,
        read: fn(bytes::Bytes) -> Result<T, crate::Damaged>,
    ) -> Result<Option<T>, OpenError> {
        let Some(segment) = self.segments.holding(sequence)? else {
            return Ok(None);
        };
        let Some((begin, block)) = segment.blocks(sequence, 1)?.into_iter().next() else {
            return Ok(None);
        };
        let index = sequence.0.checked_sub(begin.0).filter(|index| *index < block.len() as u64);
        let Some(index) = index.and_then(|index| usize::try_from(index).ok()) else {
            return Ok(None);
        };
        let value = block.record(index).and_then(read);
        Ok(Some(value.map_err(|cause| damaged(&segment, sequence, cause))?))
    }

    /// The first event received at `at` or later, by halving; events of about the same time may
    /// stand in either order. The end of the journal when there is none.
    pub(crate) fn first_since(
        &self,
        at: Timestamp,
        first: Sequence,
        end: Sequence,
    ) -> Result<Sequence, OpenError> {
        let (mut low, mut high) = (first.0, end.0);
        while low < high {
            let middle = low + (high - low) / 2;
            // What is there at `middle`, or else after it: before that nothing is.
            match self.scan(Sequence(middle), 1, 1)?.first() {
                Some(event) if event.received_at >= at => high = middle,
                Some(event) => low = event.sequence.0 + 1,
                None => high = middle,
            }
        }
        Ok(Sequence(low))
    }

    /// The latest event with this source and id, wherever it is in the journal: in no file yet,
    /// or found by the fingerprints of every file, newest file first.
    pub(crate) fn find(&self, source: &str, id: &str) -> Result<Option<Sequence>, OpenError> {
        if let Some(found) = self.fresh.find_unfiled(source, id) {
            return Ok(Some(found));
        }
        for name in self.segments.names().into_iter().rev() {
            let Some(segment) = self.segments.by_name(&name)? else {
                continue;
            };
            let wanted = [false, true].map(|held| {
                window::fingerprint(segment.fingerprint_key(), (source, id), held).to_le_bytes()
            });
            let mut candidates = Vec::new();
            segment.fingerprints(|first, row| {
                let places = row.chunks_exact(8).zip(first.0..);
                let is_wanted = |print: &[u8]| wanted.iter().any(|known| known == print);
                candidates.extend(places.filter(|(print, _)| is_wanted(print)).map(|(_, at)| at));
            })?;
            for sequence in candidates.into_iter().rev().map(Sequence) {
                let identity = self.identity(sequence)?;
                if identity.is_some_and(|known| *known.id == *id && *known.source == *source) {
                    return Ok(Some(sequence));
                }
            }
        }
        Ok(None)
    }
}

fn damaged(segment: &Segment, at: Sequence, cause: crate::Damaged) -> StoreError {
    StoreError::damaged(segment.file(), at, cause)
}
