//! Every kind of key and value that the disk may hold, read from any bytes: damage must be told,
//! and never break the reader.

use bytes::Bytes;
use eg_event::Sequence;

use crate::outstanding::{Cursor, DeadLetter, Exception};
use crate::varint::Damaged;
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

fn read<T>(_: Result<T, Damaged>) {}
