//! What the commit log holds and the journal's file does not hold yet.

use std::sync::Arc;

use eg_event::Sequence;

use crate::block::BlockBuilder;
use crate::commit_log::{Addition, HandshakeChange};
use crate::holdings::Row;
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
    /// Whose the events are: full rows, and the one that grows, which stays when it is written,
    /// to be written again.
    holdings: Vec<Row>,
    growing: Option<Row>,
}

impl Staged {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.handshakes.is_empty()
    }

    /// Adds the event `sequence`, which follows the one before.
    pub(crate) fn event(
        &mut self,
        sequence: Sequence,
        (record, fingerprint): (&[u8], u64),
        application: Option<&Arc<str>>,
    ) {
        let growing = self.growing.get_or_insert_with(|| Row::new(sequence));
        growing.event(application, record.len());
        if growing.is_full() {
            self.holdings.extend(self.growing.take());
        }
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
                let application = record::decode(sequence, record.clone())?.sender.application;
                self.event(sequence, (&record, fingerprint), application.as_ref());
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
        for row in self.holdings.iter().chain(&self.growing) {
            tables.put_holdings(row)?;
        }
        for HandshakeChange { handshake, stands_for } in &self.handshakes {
            match stands_for {
                Some(sequence) => tables.open_handshake(handshake, *sequence)?,
                None => tables.close_handshake(handshake)?,
            }
        }
        Ok(())
    }

    /// Nothing is staged, and what comes next goes into another file.
    pub(crate) fn begin_file(&mut self) {
        self.clear();
        self.growing = None;
    }

    /// Everything is in the file.
    pub(crate) fn clear(&mut self) {
        self.holdings.clear();
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
