//! How each attempt to deliver ended, for the journeys of events: a log in blocks, oldest out
//! first.
//!
//! The layout is in `DESIGN.md`, chapter "Attempts".

use bytes::Bytes;
use eg_event::{Sequence, Timestamp};

use crate::varint::{Damaged, Reader, put, put_text};

/// The version of the block layout that this code writes, and the only one it reads.
const VERSION: u8 = 1;

/// One attempt to deliver one event to one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The subscription's number.
    pub subscription: u64,
    /// The event.
    pub sequence: Sequence,
    /// When the attempt began.
    pub at: Timestamp,
    /// How long it took, in microseconds.
    pub latency_us: u32,
    /// Which attempt it was, from 1.
    pub number: u32,
    /// How it ended.
    pub verdict: Verdict,
    /// The status that the receiver answered, if any.
    pub status: Option<u16>,
    /// What went wrong, in words; empty when nothing did.
    pub reason: String,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has the event.
    Delivered,
    /// It does not, and is tried again.
    Failed,
    /// It does not, and the event became a dead letter.
    Dead,
    /// The event had expired and was not sent.
    Expired,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Delivered, Self::Failed, Self::Dead, Self::Expired];

    fn code(self) -> u8 {
        Self::ALL.iter().zip(0..).find(|(verdict, _)| **verdict == self).map_or(0, |(_, code)| code)
    }
}

/// Writes a block of attempts.
pub(crate) fn encode(attempts: &[Attempt]) -> Vec<u8> {
    let sequences = || attempts.iter().map(|attempt| attempt.sequence.0);
    let mut out = Vec::with_capacity(24 + attempts.len() * 32);
    out.push(VERSION);
    out.extend_from_slice(&sequences().min().unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&sequences().max().unwrap_or(0).to_le_bytes());
    put(&mut out, attempts.len() as u64);
    for attempt in attempts {
        put(&mut out, attempt.subscription);
        put(&mut out, attempt.sequence.0);
        put(&mut out, attempt.at.as_micros());
        put(&mut out, attempt.latency_us.into());
        put(&mut out, attempt.number.into());
        out.push(attempt.verdict.code());
        put(&mut out, attempt.status.unwrap_or(0).into());
        put_text(&mut out, &attempt.reason);
    }
    out
}

/// Whether the head of a block says that it may hold attempts of `sequence`.
pub(crate) fn may_hold(sequence: Sequence, block: &[u8]) -> bool {
    let number = |at: usize| block.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    match (number(1), number(9)) {
        (Some(lowest), Some(highest)) => (lowest..=highest).contains(&sequence.0),
        _ => true,
    }
}

/// Reads the attempts of a block that concern `sequence`.
pub(crate) fn decode_for(sequence: Sequence, block: Bytes) -> Result<Vec<Attempt>, Damaged> {
    let mut reader = Reader::new(block);
    if reader.u8()? != VERSION {
        return Err(Damaged("a block of attempts has an unknown version"));
    }
    reader.bytes(16)?;
    let mut found = Vec::new();
    for _ in 0..reader.varint()? {
        let attempt = decode(&mut reader)?;
        if attempt.sequence == sequence {
            found.push(attempt);
        }
    }
    Ok(found)
}

fn decode(reader: &mut Reader) -> Result<Attempt, Damaged> {
    let number = |value: u64| u32::try_from(value).map_err(|_| Damaged("a number is too large"));
    Ok(Attempt {
        subscription: reader.varint()?,
        sequence: Sequence(reader.varint()?),
        at: Timestamp::from_micros(reader.varint()?),
        latency_us: number(reader.varint()?)?,
        number: number(reader.varint()?)?,
        verdict: *Verdict::ALL
            .get(usize::from(reader.u8()?))
            .ok_or(Damaged("an attempt has an unknown verdict"))?,
        status: u16::try_from(reader.varint()?).ok().filter(|status| *status != 0),
        reason: reader.text()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attempt(sequence: u64) -> Attempt {
        Attempt {
            subscription: 3,
            sequence: Sequence(sequence),
            at: Timestamp::from_micros(1_700_000_000_000_000),
            latency_us: 1500,
            number: 2,
            verdict: Verdict::Failed,
            status: Some(503),
            reason: "answered 503".to_owned(),
        }
    }

    #[test]
    fn the_attempts_of_one_event_are_found() {
        let block = Bytes::from(encode(&[attempt(5), attempt(9), attempt(5)]));
        assert_eq!(decode_for(Sequence(5), block.clone()), Ok(vec![attempt(5), attempt(5)]));
        assert_eq!(decode_for(Sequence(7), block.clone()), Ok(vec![]));
        assert!(may_hold(Sequence(7), &block) && !may_hold(Sequence(10), &block));
    }

    proptest! {
        #[test]
        fn a_damaged_block_is_an_error_and_no_panic(at: prop::sample::Index, byte: u8) {
            let mut block = encode(&[attempt(5), attempt(9)]);
            let index = at.index(block.len());
            block[index] = byte;
            drop(decode_for(Sequence(5), block.into()));
        }
    }
}
