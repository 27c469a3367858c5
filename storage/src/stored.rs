//! Every kind of key and value that the disk may hold, read from any bytes: damage must be told,
//! and never break the reader.

use std::sync::Arc;

use bytes::Bytes;
use eg_event::Sequence;
use redb::StorageBackend as _;
use redb::backends::InMemoryBackend;

use crate::commit_log::{Addition, CommitLog};
use crate::outstanding::{Cursor, DeadLetter, Exception};
use crate::varint::{Damaged, Reader};
use crate::volume::Shared;
use crate::{attempt, block, record, refs, segment};

/// Reads `bytes` as each kind; what comes of it is dropped.
#[doc(hidden)]
pub fn read_as_every_kind(bytes: &[u8]) {
    let value = Bytes::copy_from_slice(bytes);
    let at = Sequence(1);
    read(record::decode(at, value.clone()));
    read(record::decode_identity(value.clone()));
    read(record::decode_received_at(value.clone()));
    read(attempt::decode_for(at, value.clone()));
    read(Cursor::decode(value.clone()));
    read(Exception::decode(value.clone()));
    read(DeadLetter::decode(at, value.clone()));
    read(refs::decode(value.clone()));
    read(segment::handshake_of(bytes).ok_or(Damaged("no handshake")));
    if let Ok(block) = block::Block::parse(value) {
        (0..=block.len()).for_each(|index| read(block.record(index)));
    }
}

/// Writes commits to a commit log as `input` says, damages it as `input` says, and reads it.
///
/// # Panics
/// When what is read was not written, or when something is missing although nothing was damaged.
#[doc(hidden)]
pub fn damage_a_commit_log(input: &[u8]) {
    let mut input = Reader::new(Bytes::copy_from_slice(input));
    damage(&mut input).unwrap_or_default();
}

/// Ends early where the input does.
fn damage(input: &mut Reader) -> Result<(), Damaged> {
    const BYTES: usize = 256 * 1024;
    const KEY: u64 = 5;
    let file = Arc::new(InMemoryBackend::new());
    let sized = file.set_len(BYTES as u64);
    assert!(sized.is_ok(), "memory takes it");
    let mut log = CommitLog::over(Box::new(Shared(Arc::clone(&file) as _)), BYTES);
    let (mut next, mut logged) = (Sequence::FIRST, 0);
    let mut written = Vec::new();
    assert!(log.read(KEY, 0).is_ok_and(|read| read.is_empty()), "there is nothing yet");
    for _ in 0..input.u8()? % 64 {
        let mut records = Vec::new();
        for _ in 0..input.u8()? % 8 {
            let bytes = usize::from(input.u16()?) % 12_000;
            records.push(Bytes::from(vec![input.u8()?; bytes]));
        }
        log.begin(next);
        for record in &records {
            log.record(record);
        }
        if log.commit().is_ok_and(|has_room| !has_room) {
            logged = log.number();
            log.restart();
            written.clear();
            continue;
        }
        let first = next;
        next = Sequence(first.0 + records.len() as u64);
        written.push(Addition { first, records, handshakes: Vec::new() });
    }
    let mut damaged = 0;
    while let (Ok(at), Ok(mask)) = (input.varint(), input.u8()) {
        let at = at % BYTES as u64;
        let mut byte = [0];
        let changed = file.read(at, &mut byte).and_then(|()| file.write(at, &[byte[0] ^ mask]));
        assert!(changed.is_ok(), "it lies within");
        damaged += usize::from(mask > 0);
    }
    match log.read(KEY, logged) {
        Ok(read) => {
            assert!(written.starts_with(&read), "what is read was written, in its order");
            // The last may have been cut off by a crash; any other is missed.
            assert!(written.len() - read.len() <= damaged, "damage is told");
        }
        Err(_) => assert!(damaged > 0, "there is nothing wrong with it"),
    }
    Ok(())
}

fn read<T>(_: Result<T, Damaged>) {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn commits() -> impl Strategy<Value = Vec<u8>> {
        let record = (0_u16..12_000, any::<u8>());
        let commit = proptest::collection::vec(record, 0..8);
        let change = (0_u32..256 * 1024, any::<u8>());
        let parts =
            (proptest::collection::vec(commit, 0..64), proptest::collection::vec(change, 0..8));
        parts.prop_map(|(commits, changes)| {
            let mut input = vec![u8::try_from(commits.len()).unwrap()];
            for records in commits {
                input.push(u8::try_from(records.len()).unwrap());
                for (bytes, content) in records {
                    input.extend(bytes.to_le_bytes());
                    input.push(content);
                }
            }
            for (at, mask) in changes {
                crate::varint::put(&mut input, at.into());
                input.push(mask);
            }
            input
        })
    }

    proptest! {
        #[test]
        fn a_damaged_commit_log_yields_what_was_written_or_is_told(input in commits()) {
            damage_a_commit_log(&input);
        }
    }
}
