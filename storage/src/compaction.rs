//! Writes a file of the journal anew with the events of it that are still kept.

use eg_event::{Sequence, StoredEvent};

use crate::block::BlockBuilder;
use crate::error::StoreError;
use crate::holdings::Row;
use crate::record;
use crate::segment::{Segment, Tables};
use crate::window;

/// How much is read and written at once, in bytes.
const CHUNK_BYTES: usize = 4 << 20;

/// Reads a file from its beginning, and copies what is kept.
pub(crate) struct Compaction<'a> {
    old: &'a Segment,
    keeps: &'a dyn Fn(&StoredEvent) -> bool,
    next: Sequence,
    rows: Vec<Row>,
}

/// Events without a gap between them, on their way into rows.
#[derive(Default)]
struct Run {
    first: Sequence,
    block: BlockBuilder,
    fingerprints: Vec<u8>,
}

impl<'a> Compaction<'a> {
    /// Copies those events of `old` that `keeps` says.
    pub(crate) fn new(old: &'a Segment, keeps: &'a dyn Fn(&StoredEvent) -> bool) -> Self {
        Self { old, keeps, next: old.name.first, rows: Vec::new() }
    }

    /// Reads the next part, which [`Kept::write`] copies; none: there is no more.
    pub(crate) fn read(&mut self) -> Result<Option<Kept>, StoreError> {
        let blocks = self.old.blocks(self.next, CHUNK_BYTES)?;
        let mut kept = Vec::new();
        let mut is_end = true;
        for (begin, block) in blocks {
            for (index, sequence) in (0..block.len()).zip((begin.0..).map(Sequence)) {
                if sequence < self.next {
                    continue;
                }
                is_end = false;
                self.next = sequence.next();
                let damaged = |cause| StoreError::damaged(self.old.file(), sequence, cause);
                let bytes = block.record(index).map_err(damaged)?;
                let event = record::decode(sequence, bytes.clone()).map_err(damaged)?;
                if (self.keeps)(&event) {
                    self.count(&event, bytes.len());
                    kept.push((event, bytes));
                }
            }
        }
        Ok((!is_end).then(|| Kept { events: kept, key: self.old.fingerprint_key() }))
    }

    fn count(&mut self, event: &StoredEvent, record_bytes: usize) {
        if self.rows.last().is_none_or(Row::is_full) {
            self.rows.push(Row::new(event.sequence));
        }
        if let Some(row) = self.rows.last_mut() {
            row.event(event.sender.application.as_ref(), record_bytes);
        }
    }

    /// What applications hold of what was copied.
    pub(crate) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// The same, before the end.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }
}

/// A part of a file that is kept.
pub(crate) struct Kept {
    events: Vec<(StoredEvent, bytes::Bytes)>,
    key: u64,
}

impl Kept {
    /// Writes it into another file.
    pub(crate) fn write(&self, tables: &mut Tables<'_>) -> Result<(), redb::StorageError> {
        let mut run = Run::default();
        for (event, record) in &self.events {
            if run.block.is_full() || run.next() != event.sequence {
                run.write(tables)?;
                run.first = event.sequence;
            }
            let identity = (event.event.source(), event.event.id());
            let fingerprint = window::fingerprint(self.key, identity, event.held.is_some());
            run.block.push(record);
            run.fingerprints.extend_from_slice(&fingerprint.to_le_bytes());
        }
        run.write(tables)
    }
}

impl Run {
    fn next(&self) -> Sequence {
        Sequence(self.first.0 + self.block.len() as u64)
    }

    fn write(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::StorageError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let mut row = Vec::new();
        self.block.finish(&mut row);
        tables.put_block(self.first, &row)?;
        tables.put_fingerprints(self.first, &self.fingerprints)?;
        self.fingerprints.clear();
        Ok(())
    }
}

/// What stands in the way of reading, where the error is the other file's.
pub(crate) fn reading(error: StoreError) -> redb::Error {
    redb::Error::Io(std::io::Error::other(error))
}
