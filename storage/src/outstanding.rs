//! What a subscription has outstanding: where it stands in the journal, the exceptions to that,
//! and its dead letters.
//!
//! The layouts are in `DESIGN.md`, chapter "Ledger".

use bytes::Bytes;
use eg_event::{Sequence, StoredEvent, Timestamp};

use crate::record::{self, Parts};
use crate::varint::{Damaged, Reader, put, put_text};

/// The version of the value layouts that this code writes, and the only one it reads.
const VERSION: u8 = 1;

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Every matching event before this one is settled, unless it is among the exceptions.
    pub handed: Sequence,
    /// Every matching event before this one is settled, among the exceptions, or among the stored
    /// references.
    pub routed: Sequence,
    /// How many events the subscription needed that retention let go.
    pub lost: u64,
    /// How many events were delivered.
    pub delivered: u64,
    /// Where the journal is being read again for this subscription.
    pub rescan: Option<Sequence>,
    /// Where that reading ends.
    pub rescan_until: Sequence,
}

/// An event that was taken up and is not settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// How many attempts there were.
    pub attempts: u32,
    /// When the next attempt is due.
    pub due: Timestamp,
    /// When the first attempt was made; zero before that.
    pub first_attempt_at: Timestamp,
    /// What the last attempt was answered.
    pub last_status: Option<u16>,
    /// What went wrong at the last attempt.
    pub last_reason: String,
}

/// An event that was given up, with a copy of it that outlives the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event.
    pub event: StoredEvent,
    /// When it was given up.
    pub parked_at: Timestamp,
    /// When the first attempt was made.
    pub first_attempt_at: Timestamp,
    /// How many attempts there were.
    pub attempts: u32,
    /// What the last attempt was answered.
    pub last_status: Option<u16>,
    /// Why it was given up.
    pub reason: String,
    /// It has been put back into delivery and is kept until that ends.
    pub requeued: bool,
}

impl Cursor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        // No event has the number 0, so that it can stand for none.
        let rescan = self.rescan.map_or(0, |next| next.0);
        let until = self.rescan_until.0;
        for value in [self.handed.0, self.routed.0, self.lost, self.delivered, rescan, until] {
            put(&mut out, value);
        }
        out
    }

    pub(crate) fn decode(value: Bytes) -> Result<Self, Damaged> {
        let mut reader = versioned(value)?;
        Ok(Self {
            handed: Sequence(reader.varint()?),
            routed: Sequence(reader.varint()?),
            lost: reader.varint()?,
            delivered: reader.varint()?,
            rescan: Some(Sequence(reader.varint()?)).filter(|next| *next != Sequence(0)),
            rescan_until: Sequence(reader.varint()?),
        })
    }
}

impl Exception {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put(&mut out, self.attempts.into());
        put(&mut out, self.due.as_micros());
        put(&mut out, self.first_attempt_at.as_micros());
        put(&mut out, self.last_status.unwrap_or(0).into());
        put_text(&mut out, &self.last_reason);
        out
    }

    pub(crate) fn decode(value: Bytes) -> Result<Self, Damaged> {
        let mut reader = versioned(value)?;
        Ok(Self {
            attempts: attempts(&mut reader)?,
            due: Timestamp::from_micros(reader.varint()?),
            first_attempt_at: Timestamp::from_micros(reader.varint()?),
            last_status: status(&mut reader)?,
            last_reason: reader.text()?.into(),
        })
    }
}

impl DeadLetter {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.requeued)];
        put(&mut out, self.parked_at.as_micros());
        put(&mut out, self.first_attempt_at.as_micros());
        put(&mut out, self.attempts.into());
        put(&mut out, self.last_status.unwrap_or(0).into());
        put_text(&mut out, &self.reason);
        record::encode(&Parts::of(&self.event), &mut out);
        out
    }

    pub(crate) fn decode(sequence: Sequence, value: Bytes) -> Result<Self, Damaged> {
        let mut reader = versioned(value)?;
        let requeued = reader.u8()? != 0;
        let parked_at = Timestamp::from_micros(reader.varint()?);
        let first_attempt_at = Timestamp::from_micros(reader.varint()?);
        let attempts = attempts(&mut reader)?;
        let last_status = status(&mut reader)?;
        let reason = reader.text()?.into();
        let event = record::decode(sequence, reader.rest())?;
        Ok(Self { event, parked_at, first_attempt_at, attempts, last_status, reason, requeued })
    }
}

fn versioned(value: Bytes) -> Result<Reader, Damaged> {
    let mut reader = Reader::new(value);
    if reader.u8()? == VERSION {
        Ok(reader)
    } else {
        Err(Damaged("a value has an unknown version"))
    }
}

fn attempts(reader: &mut Reader) -> Result<u32, Damaged> {
    u32::try_from(reader.varint()?).map_err(|_| Damaged("a count is too large"))
}

fn status(reader: &mut Reader) -> Result<Option<u16>, Damaged> {
    let status = u16::try_from(reader.varint()?).map_err(|_| Damaged("a status is too large"))?;
    Ok((status != 0).then_some(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::full;

    #[test]
    fn values_read_back() {
        let cursor = Cursor {
            handed: Sequence(7),
            routed: Sequence(9),
            lost: 1,
            delivered: 3,
            rescan: Some(Sequence(5)),
            rescan_until: Sequence(9),
        };
        assert_eq!(Cursor::decode(cursor.encode().into()), Ok(cursor));
        let exception = Exception {
            attempts: 4,
            due: Timestamp::from_micros(5),
            first_attempt_at: Timestamp::from_micros(3),
            last_status: Some(500),
            last_reason: "answered 500".to_owned(),
        };
        assert_eq!(Exception::decode(exception.encode().into()), Ok(exception));
        let dead = DeadLetter {
            event: full(12),
            parked_at: Timestamp::from_micros(9),
            first_attempt_at: Timestamp::from_micros(3),
            attempts: 30,
            last_status: None,
            reason: "timed out".to_owned(),
            requeued: true,
        };
        assert_eq!(DeadLetter::decode(Sequence(12), dead.encode().into()), Ok(dead));
    }
}
