//! A run of records with consecutive sequences, as one row of the journal holds them.
//!
//! The layout is in `DESIGN.md`, chapter "Block".

use bytes::Bytes;

use crate::varint::Damaged;

/// The version of the block and record layout that this code writes, and the only one it reads.
pub(crate) const VERSION: u8 = 1;

/// A block is closed when it has reached this size, in bytes: a row of 64 KiB fills whole pages
/// of the file, and reading one event costs no more than reading its block.
pub(crate) const BYTES_TARGET: usize = 60 * 1024;

const HEADER: usize = 1 + 4;
const OFFSET: usize = 4;

/// Records on their way into a row.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    ends: Vec<u32>,
    records: Vec<u8>,
}

impl BlockBuilder {
    /// Appends one record.
    pub(crate) fn push(&mut self, record: &[u8]) {
        self.records.extend_from_slice(record);
        // A record is far below 4 GiB (bodies and packets are limited), and a block is closed at 60 KiB.
        self.ends.push(u32::try_from(self.records.len()).unwrap_or(u32::MAX));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.records.len() + self.ends.len() * OFFSET >= BYTES_TARGET
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn clear(&mut self) {
        self.ends.clear();
        self.records.clear();
    }

    /// The row's value; the builder is empty again afterwards and keeps its memory.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        out.clear();
        out.push(VERSION);
        out.extend_from_slice(&u32::try_from(self.ends.len()).unwrap_or(u32::MAX).to_le_bytes());
        for end in &self.ends {
            out.extend_from_slice(&end.to_le_bytes());
        }
        out.extend_from_slice(&self.records);
        self.clear();
    }
}

/// A block read from a row; records are slices of it.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    value: Bytes,
    count: usize,
}

/// How many records there are in the block `value`; `None` when it is cut off.
pub(crate) fn count(value: &[u8]) -> Option<u64> {
    Some(le_u32(value.get(1..HEADER)?)? as u64)
}

impl Block {
    pub(crate) fn parse(value: Bytes) -> Result<Self, Damaged> {
        let version = *value.first().ok_or(Damaged("a block is empty"))?;
        if version != VERSION {
            return Err(Damaged("a block has an unknown version"));
        }
        let count = value.get(1..HEADER).and_then(le_u32).ok_or(Damaged("a block is cut off"))?;
        let block = Self { value, count };
        if count == 0 || block.value.len() < block.records_at() {
            return Err(Damaged("a block is cut off"));
        }
        Ok(block)
    }

    /// How many records there are; at least one.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The record at `index`.
    pub(crate) fn record(&self, index: usize) -> Result<Bytes, Damaged> {
        let begin = if index == 0 { 0 } else { self.end(index - 1)? };
        let end = self.end(index)?;
        let records_at = self.records_at();
        if begin > end || records_at + end > self.value.len() {
            return Err(Damaged("a record lies outside its block"));
        }
        Ok(self.value.slice(records_at + begin..records_at + end))
    }

    fn end(&self, index: usize) -> Result<usize, Damaged> {
        let at = HEADER + index * OFFSET;
        let in_table = index < self.count;
        let end = self.value.get(at..at + OFFSET).filter(|_| in_table).and_then(le_u32);
        end.ok_or(Damaged("a record lies outside its block"))
    }

    fn records_at(&self) -> usize {
        HEADER + self.count * OFFSET
    }
}

fn le_u32(bytes: &[u8]) -> Option<usize> {
    bytes.try_into().ok().and_then(|bytes| usize::try_from(u32::from_le_bytes(bytes)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_read_back_in_their_order(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..40)) {
            let mut builder = BlockBuilder::default();
            for record in &records {
                builder.push(record);
            }
            let mut row = Vec::new();
            builder.finish(&mut row);
            prop_assert!(builder.is_empty());
            let block = Block::parse(row.into()).unwrap();
            prop_assert_eq!(block.len(), records.len());
            for (index, record) in records.iter().enumerate() {
                prop_assert_eq!(&block.record(index).unwrap()[..], &record[..]);
            }
            prop_assert!(block.record(records.len()).is_err());
        }

        #[test]
        fn a_damaged_block_is_an_error_and_no_panic(bytes: Vec<u8>) {
            if let Ok(block) = Block::parse(bytes.into()) {
                for index in 0..block.len().min(1000) {
                    drop(block.record(index));
                }
            }
        }
    }

    #[test]
    fn an_unknown_version_is_refused() {
        assert_eq!(
            Block::parse(Bytes::from_static(&[9, 1, 0, 0, 0, 0, 0, 0, 0])).unwrap_err(),
            Damaged("a block has an unknown version")
        );
    }
}
