//! Ascending sequences as bytes: the first one whole, then the steps, so that a million waiting
//! events cost about a megabyte.

use bytes::Bytes;
use eg_event::Sequence;

use crate::varint::{Damaged, Reader, put};

/// Writes `sequences`, which must ascend.
#[must_use]
pub fn encode(sequences: impl ExactSizeIterator<Item = Sequence>) -> Vec<u8> {
    let mut out = Vec::with_capacity(10 + sequences.len() * 2);
    put(&mut out, sequences.len() as u64);
    let mut last = 0;
    for Sequence(sequence) in sequences {
        put(&mut out, sequence.wrapping_sub(last));
        last = sequence;
    }
    out
}

/// How many sequences `value` holds.
pub fn count(value: Bytes) -> Result<u64, Damaged> {
    Reader::new(value).varint()
}

/// Reads what [`encode`] wrote.
pub fn decode(value: Bytes) -> Result<Vec<Sequence>, Damaged> {
    let mut reader = Reader::new(value);
    let mut sequences = Vec::new();
    let mut last = 0u64;
    for _ in 0..reader.varint()? {
        last = last.checked_add(reader.varint()?).ok_or(Damaged("references do not ascend"))?;
        sequences.push(Sequence(last));
    }
    Ok(sequences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn references_read_back(set in prop::collection::btree_set(any::<u64>(), 0..100)) {
            let sequences: Vec<_> = set.into_iter().map(Sequence).collect();
            let value = Bytes::from(encode(sequences.iter().copied()));
            prop_assert_eq!(count(value.clone()), Ok(sequences.len() as u64));
            prop_assert_eq!(decode(value), Ok(sequences));
        }

        #[test]
        fn damaged_references_are_an_error_and_no_panic(bytes: Vec<u8>) {
            drop(decode(bytes.into()));
        }
    }

    #[test]
    fn neighbours_cost_a_byte_each() {
        let value = encode((0..4096usize).map(|n| Sequence(1_000_000 + n as u64)));
        assert!(value.len() < 4096 + 16, "{}", value.len());
    }
}
