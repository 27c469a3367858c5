//! Sessions as bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use eg_event::Sequence;

use crate::codec::Qos;
use crate::inflight::Sent;
use crate::option_changes::Before;
use crate::queue::{Flags, Labels, Reference};
use crate::subscriber::Granted;

/// The version of all of these.
const VERSION: u8 = 1;
/// How many places of a queue are in one row.
pub(super) const ROW_REFERENCES: u64 = 1024;
/// The number of the row that is not one of these.
pub(super) const STATE_ROW: u64 = u64::MAX;

/// The packet identifier of what was taken to be sent with QoS 2, and whose exchange is not noted.
pub(super) const NOT_NOTED: u16 = 0;

const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;

/// Bytes that are no row, and what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged(pub(super) &'static str);

/// A session, and what it subscribes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SavedSession {
    pub(super) number: u64,
    pub(super) subscriptions: BTreeMap<Box<str>, Granted>,
    /// What those had, in order.
    pub(super) before: Vec<Before>,
}

/// Where a session stands.
pub(super) struct State<'a> {
    pub(super) head: u64,
    pub(super) seen: Sequence,
    pub(super) labels: &'a Labels,
    pub(super) inflight: Vec<Sent>,
}

/// The same, as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SavedState {
    pub(super) head: u64,
    pub(super) seen: Sequence,
    pub(super) labels: Labels,
    pub(super) inflight: Vec<(u16, Reference)>,
}

pub(super) fn session(
    number: u64,
    subscriptions: &BTreeMap<Box<str>, Granted>,
    before: &[Before],
) -> Vec<u8> {
    let mut out = vec![VERSION];
    put(&mut out, number);
    put(&mut out, subscriptions.len() as u64);
    for (filter, granted) in subscriptions {
        put_granted(&mut out, filter, granted);
    }
    put(&mut out, before.len() as u64);
    for Before { filter, granted, until } in before {
        put_granted(&mut out, filter, granted);
        put(&mut out, until.0);
    }
    out
}

fn put_granted(out: &mut Vec<u8>, filter: &str, granted: &Granted) {
    let flag = |is: bool, bit: u8| if is { bit } else { 0 };
    put_text(out, filter);
    out.push(
        granted.qos as u8
            | flag(granted.no_local, NO_LOCAL)
            | flag(granted.retain_as_published, RETAIN_AS_PUBLISHED),
    );
    put(out, granted.identifier.into());
    put(out, granted.since.0);
}

pub(super) fn session_of(value: &[u8]) -> Result<SavedSession, Damaged> {
    let mut reader = Reader::of(value)?;
    let number = reader.number()?;
    let mut subscriptions = BTreeMap::new();
    for _ in 0..reader.number()? {
        let (filter, granted) = reader.granted()?;
        subscriptions.insert(filter, granted);
    }
    let mut before = Vec::new();
    // Those that were written before there was such a list end here.
    let count = if reader.0.is_empty() { 0 } else { reader.number()? };
    for _ in 0..count {
        let (filter, granted) = reader.granted()?;
        before.push(Before { filter, granted, until: Sequence(reader.number()?) });
    }
    Ok(SavedSession { number, subscriptions, before })
}

pub(super) fn state(state: &State<'_>) -> Vec<u8> {
    let mut out = vec![VERSION];
    put(&mut out, state.head);
    put(&mut out, state.seen.0);
    let Labels { identifiers, groups } = state.labels;
    put(&mut out, identifiers.len() as u64);
    for set in identifiers {
        put(&mut out, set.len() as u64);
        for identifier in set.iter() {
            put(&mut out, (*identifier).into());
        }
    }
    put(&mut out, groups.len() as u64);
    for filter in groups {
        put_text(&mut out, filter);
    }
    put(&mut out, state.inflight.len() as u64);
    for sent in &state.inflight {
        let is_open = sent.is_noted || sent.reference.flags.qos() != Qos::ExactlyOnce;
        put(&mut out, if is_open { sent.packet_id } else { NOT_NOTED }.into());
        put(&mut out, sent.reference.sequence.0);
        put_rest(&mut out, &sent.reference);
    }
    out
}

pub(super) fn state_of(value: &[u8]) -> Result<SavedState, Damaged> {
    let mut reader = Reader::of(value)?;
    let (head, seen) = (reader.number()?, Sequence(reader.number()?));
    let mut identifiers: Vec<Arc<[u32]>> = Vec::new();
    for _ in 0..reader.number()? {
        let mut set = Vec::new();
        for _ in 0..reader.number()? {
            set.push(reader.small("a subscription identifier")?);
        }
        identifiers.push(set.into());
    }
    let mut groups: Vec<Arc<str>> = Vec::new();
    for _ in 0..reader.number()? {
        groups.push(reader.text()?.into());
    }
    let mut inflight = Vec::new();
    for _ in 0..reader.number()? {
        let packet_id = reader.small("a packet identifier")?;
        let sequence = Sequence(reader.number()?);
        inflight.push((packet_id, reader.reference(sequence)?));
    }
    Ok(SavedState { head, seen, labels: Labels { identifiers, groups }, inflight })
}

/// The references from a place on: the sequences as steps, so that neighbours cost a few bytes.
pub(super) fn references(place: u64, references: impl Iterator<Item = Reference>) -> Vec<u8> {
    let references: Vec<_> = references.collect();
    let mut out = vec![VERSION];
    put(&mut out, place);
    put(&mut out, references.len() as u64);
    let mut last = 0;
    for reference in references {
        // A step back wraps around, and so does reading it.
        put(&mut out, reference.sequence.0.wrapping_sub(last));
        last = reference.sequence.0;
        put_rest(&mut out, &reference);
    }
    out
}

pub(super) fn references_of(value: &[u8]) -> Result<(u64, Vec<Reference>), Damaged> {
    let mut reader = Reader::of(value)?;
    let place = reader.number()?;
    let mut references = Vec::new();
    let mut last = 0_u64;
    for _ in 0..reader.number()? {
        last = last.wrapping_add(reader.number()?);
        references.push(reader.reference(Sequence(last))?);
    }
    Ok((place, references))
}

fn put_rest(out: &mut Vec<u8>, reference: &Reference) {
    out.push(reference.flags.0);
    put(out, reference.bytes.into());
    put(out, reference.identifiers.into());
    out.push(reference.group);
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    let low = |value| u8::try_from(value & 0x7f).unwrap_or(0);
    while value > 0x7f {
        out.push(0x80 | low(value));
        value >>= 7;
    }
    out.push(low(value));
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn of(value: &'a [u8]) -> Result<Self, Damaged> {
        match value.split_first() {
            Some((&VERSION, rest)) => Ok(Self(rest)),
            _ => Err(Damaged("expected version 1")),
        }
    }

    fn byte(&mut self) -> Result<u8, Damaged> {
        let (byte, rest) = self.0.split_first().ok_or(Damaged("expected more bytes"))?;
        self.0 = rest;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged("expected a number"))
    }

    fn small<T: TryFrom<u64>>(&mut self, expected: &'static str) -> Result<T, Damaged> {
        T::try_from(self.number()?).map_err(|_| Damaged(expected))
    }

    fn text(&mut self) -> Result<&'a str, Damaged> {
        let length = self.small("a length")?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Damaged("expected a text"))?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Damaged("expected UTF-8"))
    }

    fn granted(&mut self) -> Result<(Box<str>, Granted), Damaged> {
        let filter = self.text()?;
        let flags = self.byte()?;
        let granted = Granted {
            qos: Flags(flags).qos(),
            no_local: flags & NO_LOCAL != 0,
            retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
            identifier: self.small("a subscription identifier")?,
            since: Sequence(self.number()?),
        };
        Ok((filter.into(), granted))
    }

    fn reference(&mut self, sequence: Sequence) -> Result<Reference, Damaged> {
        let flags = Flags(self.byte()?);
        let (bytes, identifiers) = (self.small("a size")?, self.small("a set of identifiers")?);
        Ok(Reference { sequence, bytes, identifiers, group: self.byte()?, flags })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inflight::Inflight;

    fn reference() -> impl Strategy<Value = Reference> {
        let parts = (any::<u64>(), any::<u32>(), any::<u16>(), any::<u8>(), 0..16_u8);
        parts.prop_map(|(sequence, bytes, identifiers, group, flags)| Reference {
            sequence: Sequence(sequence),
            bytes,
            identifiers,
            group,
            flags: Flags(flags),
        })
    }

    proptest! {
        #[test]
        fn references_read_back(place: u64, all in prop::collection::vec(reference(), 0..50)) {
            let value = references(place, all.iter().copied());
            prop_assert_eq!(references_of(&value), Ok((place, all)));
        }

        #[test]
        fn damaged_rows_are_an_error_and_no_panic(mut value: Vec<u8>) {
            value.insert(0, VERSION);
            drop((session_of(&value), state_of(&value), references_of(&value)));
        }
    }

    #[test]
    fn sessions_and_their_state_read_back() {
        let granted = Granted {
            qos: Qos::ExactlyOnce,
            no_local: true,
            retain_as_published: false,
            identifier: 300,
            since: Sequence(9),
        };
        let subscriptions = BTreeMap::from([("a/+".into(), granted), ("#".into(), granted)]);
        let before = vec![Before { filter: "#".into(), granted, until: Sequence(300) }];
        let value = session(7, &subscriptions, &before);
        let saved = SavedSession { number: 7, subscriptions, before };
        assert_eq!(session_of(&value).as_ref(), Ok(&saved));
        let earlier = session(7, &saved.subscriptions, &[]);
        let older = session_of(&earlier[..earlier.len() - 1]);
        assert_eq!(older, Ok(SavedSession { before: Vec::new(), ..saved }));
        let mut labels = Labels::default();
        labels.identifiers(&[1, 2]);
        labels.group("$share/g/a");
        let mut inflight = Inflight::default();
        let reference = crate::queue::tests::reference(5, Qos::AtLeastOnce);
        let packet_id = inflight.begin(reference);
        let inflight = inflight.open().copied().collect();
        let value = state(&State { head: 4, seen: Sequence(5), labels: &labels, inflight });
        let inflight = vec![(packet_id, reference)];
        let expected = SavedState { head: 4, seen: Sequence(5), labels, inflight };
        assert_eq!(state_of(&value), Ok(expected));
    }
}
