//! What the commit log holds and the journal's file does not hold yet.

use eg_event::Sequence;

use crate::block::BlockBuilder;
use crate::commit_log::{Addition, HandshakeChange};
use crate::record::{self, Identity};
use crate::segment::Tables;
use crate::varint::Damaged;
use crate::window;

/// Accepted events and handshakes on their way into the journal's file.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// Full blocks, each with the sequence of its first record.
    rows: Vec<(Sequence, Vec<u8>)>,
    block: BlockBuilder,
    /// The fingerprint of every event, and the sequence of the first.
    fingerprints: Vec<u8>,
    first: Option<Sequence>,
    handshakes: Vec<HandshakeChange>,
}

impl Staged {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.handshakes.is_empty()
    }

    /// Adds the event `sequence`, which follows the one before.
    pub(crate) fn event(&mut self, sequence: Sequence, record: &[u8], fingerprint: u64) {
        self.first.get_or_insert(sequence);
        self.block.push(record);
        self.fingerprints.extend_from_slice(&fingerprint.to_le_bytes());
        if self.block.is_full() {
            self.close_block(sequence.next());
        }
    }

    pub(crate) fn handshake(&mut self, change: HandshakeChange) {
        self.handshakes.push(change);
    }

    /// Adds what a commit added, but for the events before `next`. Says which event comes after it.
    pub(crate) fn addition(
        &mut self,
        addition: Addition,
        next: Sequence,
        fingerprint_key: u64,
    ) -> Result<Sequence, Damaged> {
        let mut sequence = addition.first;
        if sequence > next {
            return Err(Damaged("the commit log does not continue the journal"));
        }
        for record in addition.records {
            if sequence >= next {
                let Identity { id, source, held } = record::decode_identity(record.clone())?;
                let fingerprint = window::fingerprint(fingerprint_key, (&source, &id), held);
                self.event(sequence, &record, fingerprint);
            }
            sequence = sequence.next();
        }
        self.handshakes.extend(addition.handshakes);
        Ok(sequence.max(next))
    }

    /// Writes everything into a commit of the journal's file; `next` follows the last event.
    pub(crate) fn write(
        &mut self,
        tables: &mut Tables<'_>,
        next: Sequence,
    ) -> Result<(), redb::StorageError> {
        if !self.block.is_empty() {
            self.close_block(next);
        }
        for (first, row) in &self.rows {
            tables.put_block(*first, row)?;
        }
        if let Some(first) = self.first {
            tables.put_fingerprints(first, &self.fingerprints)?;
        }
        for HandshakeChange { handshake, stands_for } in &self.handshakes {
            match stands_for {
                Some(sequence) => tables.open_handshake(handshake, *sequence)?,
                None => tables.close_handshake(handshake)?,
            }
        }
        Ok(())
    }

    /// Everything is in the file, or is to be forgotten.
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.block.clear();
        self.fingerprints.clear();
        self.first = None;
        self.handshakes.clear();
    }

    fn close_block(&mut self, next: Sequence) {
        let first = Sequence(next.0 - self.block.len() as u64);
        let mut row = Vec::new();
        self.block.finish(&mut row);
        self.rows.push((first, row));
    }
}
