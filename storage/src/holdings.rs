//! What is kept of whom: how many events and bytes of each application the journal holds, in rows
//! of about a megabyte, so that usage is known at once and retention by application finds its place.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use eg_event::Sequence;

use crate::varint::{Damaged, Reader, put, put_text};

/// A row is full at this size, in bytes of events.
const ROW_BYTES_MIN: u64 = 1 << 20;
/// A row of many applications is larger, so that what is known of them stays small beside them.
const ROW_BYTES_PER_SHARE: u64 = 1 << 16;

/// What an event costs in its file beside its record, in bytes, roughly: its fingerprint, its place
/// in a block, and its share of two rows.
const EVENT_BYTES: u64 = 64;

/// Events without an application are under no name.
pub(crate) const NOBODY: &str = "";

/// How many events there are, and how large they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub events: u64,
    /// Their size in the journal, in bytes.
    pub bytes: u64,
}

impl Share {
    /// Adds `other`.
    pub fn add(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }

    fn take(&mut self, other: Self) {
        self.events = self.events.saturating_sub(other.events);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    /// The part of it that `part` of `whole` sequences hold, if they hold it evenly.
    fn part(self, part: u64, whole: u64) -> Self {
        let scale = |value: u64| {
            let scaled = u128::from(value) * u128::from(part) / u128::from(whole.max(1));
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        Self { events: scale(self.events), bytes: scale(self.bytes) }
    }
}

/// Whose the events from `first` on are, up to the next row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) first: Sequence,
    shares: BTreeMap<Arc<str>, Share>,
    bytes: u64,
}

impl Row {
    pub(crate) fn new(first: Sequence) -> Self {
        Self { first, shares: BTreeMap::new(), bytes: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// Adds an event of `application` whose record has `record_bytes`.
    pub(crate) fn event(&mut self, application: Option<&Arc<str>>, record_bytes: usize) {
        let bytes = record_bytes as u64 + EVENT_BYTES;
        self.share(application.map_or(NOBODY, |named| named), Share { events: 1, bytes });
    }

    /// Adds what `application` has.
    pub(crate) fn share(&mut self, application: &str, share: Share) {
        self.bytes += share.bytes;
        match self.shares.get_mut(application) {
            Some(known) => known.add(share),
            None => drop(self.shares.insert(application.into(), share)),
        }
    }

    /// How much of `application` there is in it.
    pub(crate) fn of(&self, application: &str) -> Share {
        self.shares.get(application).copied().unwrap_or_default()
    }

    /// The size of all events in it, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= ROW_BYTES_MIN.max(self.shares.len() as u64 * ROW_BYTES_PER_SHARE)
    }

    fn remove(&mut self, application: &str) -> Share {
        let removed = self.shares.remove(application).unwrap_or_default();
        self.bytes = self.bytes.saturating_sub(removed.bytes);
        removed
    }

    /// How it lies in a journal file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        put(&mut out, self.shares.len() as u64);
        for (application, share) in &self.shares {
            put_text(&mut out, application);
            put(&mut out, share.events);
            put(&mut out, share.bytes);
        }
        out
    }

    /// Reads what [`Row::encode`] wrote.
    pub(crate) fn decode(first: Sequence, value: Bytes) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value);
        if reader.u8()? != 1 {
            return Err(Damaged("an unknown version of what applications hold"));
        }
        let mut row = Self::new(first);
        for _ in 0..reader.varint()? {
            let application = reader.text()?;
            let share = Share { events: reader.varint()?, bytes: reader.varint()? };
            row.bytes = row.bytes.saturating_add(share.bytes);
            row.shares.insert(Arc::from(application), share);
        }
        Ok(row)
    }
}

/// Everything that the journal holds, by application; and where what each one keeps begins.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    inner: Mutex<Inner>,
    /// No application keeps less than what begins here.
    highest_floor: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    /// Oldest first; no row goes over the end of a file.
    rows: VecDeque<Row>,
    /// The last row is the end of a file.
    is_closed: bool,
    totals: HashMap<Arc<str>, Share>,
    /// The first event that each application keeps; none: everything.
    floors: HashMap<Arc<str>, Sequence>,
    /// What was kept of files when they were written anew, in bytes, by their first sequence.
    rewritten: HashMap<Sequence, u64>,
}

impl Holdings {
    /// Adds what has become durable, and follows what was added before.
    pub(crate) fn add(&self, row: Row) {
        if row.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for (application, share) in &row.shares {
            inner.total(application).add(*share);
        }
        let is_closed = std::mem::take(&mut inner.is_closed);
        match inner.rows.back_mut().filter(|last| !is_closed && !last.is_full()) {
            Some(last) => {
                row.shares.iter().for_each(|(application, share)| last.share(application, *share));
            }
            None => inner.rows.push_back(row),
        }
    }

    /// What is added next is in another file.
    pub(crate) fn begin_file(&self) {
        self.lock().is_closed = true;
    }

    /// How much is held of `application`.
    pub(crate) fn of(&self, application: &str) -> Share {
        self.lock().totals.get(application).copied().unwrap_or_default()
    }

    /// How much is held of each application.
    pub(crate) fn all(&self) -> HashMap<Arc<str>, Share> {
        self.lock().totals.clone()
    }

    /// How much is held of the events from `from` on, of each application; `end` follows the last.
    pub(crate) fn since(&self, from: Sequence, end: Sequence) -> HashMap<Arc<str>, Share> {
        let inner = self.lock();
        let mut sum: HashMap<Arc<str>, Share> = HashMap::new();
        let mut row_end = end;
        for row in inner.rows.iter().rev() {
            let whole = row_end.0.saturating_sub(row.first.0);
            let part = row_end.0.saturating_sub(from.0).min(whole);
            if part == 0 {
                break;
            }
            for (application, share) in &row.shares {
                sum.entry(Arc::clone(application)).or_default().add(share.part(part, whole));
            }
            row_end = row.first;
        }
        sum
    }

    /// Whether nobody keeps any of the events in `first..end`.
    pub(crate) fn is_hollow(&self, first: Sequence, end: Sequence) -> bool {
        self.lock().between(first, end).all(Row::is_empty)
    }

    /// Whether so little is kept of the events in `first..end`, whose file has `file_bytes`, that
    /// the file is to be written anew: half of it, or of what was kept when that was done before.
    pub(crate) fn is_sparse(&self, first: Sequence, end: Sequence, file_bytes: u64) -> bool {
        let inner = self.lock();
        let kept: u64 = inner.between(first, end).map(Row::bytes).sum();
        let was = inner.rewritten.get(&first).copied().unwrap_or(file_bytes);
        kept <= was.min(file_bytes) / 2
    }

    /// The file of `first..end` has been written anew, and holds what `rows` say.
    pub(crate) fn rewritten(&self, (first, end): (Sequence, Sequence), rows: Vec<Row>) {
        self.forget(first, end);
        let mut inner = self.lock();
        let bytes = rows.iter().map(Row::bytes).sum();
        inner.rewritten.insert(first, bytes);
        let place = inner.rows.partition_point(|row| row.first < first);
        for row in rows.into_iter().rev() {
            for (application, share) in &row.shares {
                inner.total(application).add(*share);
            }
            inner.rows.insert(place, row);
        }
    }

    /// The first event that `application` keeps if it keeps no more than `bytes_max`, in steps of a
    /// row; none: it keeps less.
    pub(crate) fn first_within(&self, application: &str, bytes_max: u64) -> Option<Sequence> {
        let inner = self.lock();
        if inner.totals.get(application).is_none_or(|share| share.bytes <= bytes_max) {
            return None;
        }
        let mut bytes = 0;
        let mut first = None;
        for row in inner.rows.iter().rev() {
            bytes += row.of(application).bytes;
            if bytes > bytes_max {
                return first;
            }
            first = Some(row.first);
        }
        None
    }

    /// The oldest event that may be of `application`.
    pub(crate) fn oldest(&self, application: &str) -> Option<Sequence> {
        let inner = self.lock();
        let oldest = inner.rows.iter().find(|row| row.shares.contains_key(application))?.first;
        Some(oldest.max(inner.floors.get(application).copied().unwrap_or_default()))
    }

    /// Forgets what lies in `first..end`: its file is gone.
    pub(crate) fn forget(&self, first: Sequence, end: Sequence) {
        let mut inner = self.lock();
        let inside = |row: &Row| (first..end).contains(&row.first);
        let gone: Vec<_> = inner.rows.iter().filter(|row| inside(row)).cloned().collect();
        inner.rows.retain(|row| !inside(row));
        inner.rewritten.remove(&first);
        for row in gone {
            for (application, share) in &row.shares {
                inner.total(application).take(*share);
            }
        }
        inner.totals.retain(|_, share| share.events > 0);
    }

    /// From now on `application` keeps nothing before `floor`; `end` says what follows the last event,
    /// while none is added. What is gone stays gone.
    pub(crate) fn raise(
        &self,
        application: &Arc<str>,
        floor: Sequence,
        end: impl FnOnce() -> Sequence,
    ) {
        let mut inner = self.lock();
        let known = inner.floors.entry(Arc::clone(application)).or_default();
        let floor = floor.max(*known);
        *known = floor;
        self.highest_floor.fetch_max(floor.0, Ordering::Release);
        let mut removed = Share::default();
        let mut firsts = inner.rows.iter().skip(1).map(|row| row.first).collect::<Vec<_>>();
        firsts.push(end());
        for (row, row_end) in inner.rows.iter_mut().zip(firsts) {
            if row_end > floor {
                break;
            }
            removed.add(row.remove(application));
        }
        inner.total(application).take(removed);
        inner.totals.retain(|_, share| share.events > 0);
    }

    /// Forgets, and gives back, which applications' floors lie before everything that is held.
    pub(crate) fn forget_floors_before(&self, first: Sequence) -> Vec<Arc<str>> {
        let mut inner = self.lock();
        inner.floors.extract_if(|_, floor| *floor <= first).map(|(name, _)| name).collect()
    }

    /// Whether the event at `sequence`, of `application`, is gone.
    pub(crate) fn is_gone(&self, application: Option<&Arc<str>>, sequence: Sequence) -> bool {
        let may_be = sequence.0 < self.highest_floor.load(Ordering::Acquire);
        let Some(application) = application.filter(|_| may_be) else { return false };
        self.lock().floors.get(application).is_some_and(|floor| sequence < *floor)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn total(&mut self, application: &Arc<str>) -> &mut Share {
        self.totals.entry(Arc::clone(application)).or_default()
    }

    fn between(&self, first: Sequence, end: Sequence) -> impl Iterator<Item = &Row> {
        let begin = self.rows.partition_point(|row| row.first < first);
        self.rows.range(begin..).take_while(move |row| row.first < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn row(first: u64, shares: &[(&str, u64, u64)]) -> Row {
        let mut row = Row::new(Sequence(first));
        for (application, events, bytes) in shares {
            row.share(application, Share { events: *events, bytes: *bytes });
        }
        row
    }

    /// Three rows of a file each: `a` has 100, 200 and 300 bytes, `b` has 10 in the second.
    fn holdings() -> Holdings {
        let holdings = Holdings::default();
        for added in [
            row(1, &[("a", 1, 100)]),
            row(2, &[("a", 2, 200), ("b", 1, 10)]),
            row(5, &[("a", 3, 300)]),
        ] {
            holdings.add(added);
            holdings.begin_file();
        }
        holdings
    }

    #[test]
    fn a_row_reads_back_as_it_was() {
        let row = row(7, &[("", 1, 2), ("shop", 3, 400_000)]);
        assert_eq!(Row::decode(Sequence(7), row.encode().into()), Ok(row));
    }

    #[test]
    fn rows_grow_until_they_are_full_and_end_with_their_file() {
        let holdings = Holdings::default();
        let shop: Arc<str> = "shop".into();
        for first in 1..=40 {
            let mut added = Row::new(Sequence(first));
            added.event(Some(&shop), 64 * KIB);
            holdings.add(added);
        }
        let all: Vec<u64> = holdings.lock().rows.iter().map(|row| row.first.0).collect();
        assert_eq!(all, [1, 17, 33]);
        assert_eq!(holdings.of("shop").events, 40);
        assert!(holdings.is_hollow(Sequence(34), Sequence(100)));
    }

    #[test]
    fn what_an_application_keeps_within_its_bytes_begins_at_a_row() {
        let holdings = holdings();
        assert_eq!(holdings.first_within("a", 600), None);
        assert_eq!(holdings.first_within("a", 599), Some(Sequence(2)));
        assert_eq!(holdings.first_within("a", 400), Some(Sequence(5)));
        assert_eq!(holdings.first_within("a", 100), None, "the newest row stays");
    }

    #[test]
    fn what_is_gone_of_one_is_kept_of_another() {
        let holdings = holdings();
        let a: Arc<str> = "a".into();
        holdings.raise(&a, Sequence(5), || Sequence(8));
        assert_eq!(holdings.of("a"), Share { events: 3, bytes: 300 });
        assert!(holdings.is_hollow(Sequence(1), Sequence(2)));
        assert!(!holdings.is_hollow(Sequence(2), Sequence(5)), "b keeps one there");
        assert!(holdings.is_gone(Some(&a), Sequence(4)));
        assert!(!holdings.is_gone(Some(&a), Sequence(5)));
        assert!(!holdings.is_gone(Some(&"b".into()), Sequence(4)));
        assert!(!holdings.is_gone(None, Sequence(4)));
        holdings.raise(&a, Sequence(2), || Sequence(8));
        assert!(holdings.is_gone(Some(&a), Sequence(4)), "what is gone stays gone");
        holdings.forget(Sequence(1), Sequence(5));
        assert_eq!(holdings.of("b"), Share::default());
        assert_eq!(holdings.all().len(), 1);
    }

    #[test]
    fn a_stretch_of_a_row_counts_by_its_length() {
        let holdings = holdings();
        let sum = holdings.since(Sequence(4), Sequence(8));
        assert_eq!(sum["a"], Share { events: 3, bytes: 366 }, "300 and a third of 200");
    }
}
