//! The one thread that writes the journal: it commits whatever has arrived while the last fsync
//! ran, and answers every sender after the commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use eg_event::{Clock, Receipt, Refusal, Sequence, StoredEvent, Timestamp};
use tokio::sync::{oneshot, watch};

use crate::block::BlockBuilder;
use crate::config::StorageConfig;
use crate::error::{OpenError, StoreError};
use crate::fresh::Fresh;
use crate::handshakes::{OpenHandshakes, kept};
use crate::intake::{Answers, Batch, Entry, Intake, RETRY_AFTER, Work, total};
use crate::read::Reader;
use crate::segment::{Segment, SegmentName, Tables};
use crate::segments::Segments;
use crate::window::Window;

/// How often the free space of the disk is looked at, and a failed store is tried again.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What an event costs in its file beside its record, in bytes, roughly: its fingerprint, its place
/// in a block, and its share of two rows.
const ROW_BYTES: u64 = 64;

/// Whether events are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// They are.
    Writable,
    /// They are refused, for this reason; it is looked at again every second.
    Refusing(String),
}

/// What the writer shares with those who read.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) intake: Arc<Intake>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) fresh: Arc<Fresh>,
    pub(crate) handshakes: Arc<OpenHandshakes>,
    pub(crate) health: Arc<watch::Sender<Health>>,
}

/// Fingerprints go to the disk in rows of at least this size, in bytes: a commit that does not
/// touch their tree writes a third fewer pages.
const FINGERPRINTS_ROW_BYTES: usize = 4096;

/// The writer's own state.
pub(crate) struct Writer {
    pub(crate) config: StorageConfig,
    pub(crate) clock: Clock,
    pub(crate) shared: Shared,
    /// The file that is written; none after a failure, until it has been opened again.
    pub(crate) active: Option<Arc<Segment>>,
    pub(crate) active_bytes: u64,
    pub(crate) fingerprint_key: u64,
    pub(crate) next: Sequence,
    pub(crate) window: Window,
    /// When the window's events came, a mark a minute: where each minute began.
    pub(crate) window_marks: VecDeque<(Timestamp, Sequence)>,
    pub(crate) looked_at: Option<Timestamp>,
    pub(crate) block: BlockBuilder,
    /// The fingerprints of the latest durable events of the file, which have no row yet.
    pub(crate) unwritten: Vec<u8>,
}

/// What a commit has in hand before it is durable.
#[derive(Default)]
struct Pending {
    events: Vec<Arc<StoredEvent>>,
    records_bytes: u64,
    fingerprints: Vec<u8>,
    answers: Vec<Answered>,
}

/// An answer that is sent once the commit is durable.
enum Answered {
    Append(oneshot::Sender<Answers>, Answers),
    Unit(oneshot::Sender<Result<(), Refusal>>),
}

impl Writer {
    /// Works until the intake is closed and empty, then leaves the file ready for a quick start.
    pub(crate) fn run(mut self) {
        let events_max = usize::try_from(self.config.commit_events_max).unwrap_or(usize::MAX);
        while let Some(work) = self.shared.intake.take(events_max, LOOK_INTERVAL) {
            if work.is_empty() {
                self.look_if_due();
                continue;
            }
            let size = total(&work);
            self.commit(work);
            self.shared.intake.finished(size);
        }
        if let Some(active) = self.active.take() {
            if let Err(error) = active.seal() {
                tracing::warn!(%error, "the journal could not be sealed; it will be checked at the next start");
            }
            self.shared.segments.close(active);
        }
    }

    fn commit(&mut self, work: Vec<Work>) {
        let active = match self.writable() {
            Ok(active) => active,
            Err(refusal) => return refuse(work, &refusal),
        };
        match self.write(&active, work) {
            Ok(pending) => self.publish(pending),
            // The answers are dropped, which tells every sender that nothing is certain.
            Err(error) => self.fail(active, &error),
        }
        self.roll_if_due();
    }

    /// The file to write to, or why nothing can be written now.
    fn writable(&mut self) -> Result<Arc<Segment>, Refusal> {
        self.look_if_due();
        match (&self.active, &*self.shared.health.borrow()) {
            (Some(active), Health::Writable) => Ok(Arc::clone(active)),
            (_, Health::Refusing(reason)) => Err(unavailable(reason)),
            (None, Health::Writable) => Err(unavailable("the store failed to write")),
        }
    }

    fn look_if_due(&mut self) {
        let now = self.clock.now();
        // A clock that went back does not put the next look off.
        let waits = |last: Timestamp| now >= last && now.since(last) < LOOK_INTERVAL;
        if !self.looked_at.is_some_and(waits) {
            self.looked_at = Some(now);
            self.look();
        }
    }

    /// Looks at the disk, and opens the journal again after a failure.
    fn look(&mut self) {
        let found = match self.shared.segments.volume().free_bytes() {
            Ok(free) if free < self.config.disk_free_bytes_min => {
                Health::Refusing("the disk is full".to_owned())
            }
            Err(error) => {
                tracing::error!(%error, "the free space of the disk cannot be read");
                Health::Refusing("the disk cannot be read".to_owned())
            }
            Ok(_) if self.active.is_none() => match self.reopen() {
                Ok(()) => Health::Writable,
                Err(error) => {
                    tracing::error!(%error, "the journal cannot be opened again yet");
                    Health::Refusing("the store failed to write".to_owned())
                }
            },
            Ok(_) => Health::Writable,
        };
        self.shared.health.send_if_modified(|health| {
            let changed = *health != found;
            if changed {
                tracing::warn!(health = ?found, "the store's health changed");
                *health = found;
            }
            changed
        });
    }

    /// Writes one commit. On an error nothing may be believed about the file: whether the commit
    /// is in it is found out by opening it again.
    fn write(&mut self, active: &Segment, work: Vec<Work>) -> Result<Pending, StoreError> {
        let row_first = Sequence(self.next.0 - self.unwritten.len() as u64 / 8);
        let mut pending = Pending::default();
        let mut is_row = false;
        let commit = active.begin()?;
        commit.write(|tables| {
            for work in work {
                self.write_one(tables, work, &mut pending)?;
            }
            self.flush_block(tables)?;
            is_row = self.unwritten.len() + pending.fingerprints.len() >= FINGERPRINTS_ROW_BYTES;
            if is_row {
                let row = [&*self.unwritten, &*pending.fingerprints].concat();
                tables.put_fingerprints(row_first, &row)?;
            }
            Ok(())
        })?;
        commit.finish()?;
        if is_row {
            self.unwritten.clear();
        } else {
            self.unwritten.append(&mut pending.fingerprints);
        }
        Ok(pending)
    }

    fn write_one(
        &mut self,
        tables: &mut Tables<'_>,
        work: Work,
        pending: &mut Pending,
    ) -> Result<(), redb::StorageError> {
        match work {
            Work::Append(batch) => self.append(tables, batch, pending),
            Work::Release(handshake, answer) => {
                pending.answers.push(Answered::Unit(answer));
                if self.shared.handshakes.close(&handshake) {
                    tables.close_handshake(&handshake)?;
                }
                Ok(())
            }
            Work::KeepSession(client_id, expiry_s, answer) => {
                pending.answers.push(Answered::Unit(answer));
                let (mark, seconds) = (kept(client_id), Sequence(expiry_s.into()));
                let is = self.shared.handshakes.get(&mark);
                if expiry_s > 0 && is != Some(seconds) {
                    tables.open_handshake(&mark, seconds)?;
                    self.shared.handshakes.open(mark, seconds);
                } else if expiry_s == 0 && self.shared.handshakes.close(&mark) {
                    tables.close_handshake(&mark)?;
                }
                Ok(())
            }
            Work::ForgetSession(client_id, answer) => {
                pending.answers.push(Answered::Unit(answer));
                for handshake in self.shared.handshakes.close_session(&client_id) {
                    tables.close_handshake(&handshake)?;
                }
                Ok(())
            }
        }
    }

    fn append(
        &mut self,
        tables: &mut Tables<'_>,
        batch: Batch,
        pending: &mut Pending,
    ) -> Result<(), redb::StorageError> {
        let Batch { entries, records, answer } = batch;
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.duplicate_of(&entry, &pending.events) {
                Ok(None) => {}
                Ok(Some(sequence)) => {
                    answers.push(Ok(receipt(&entry, sequence, true)));
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "an event that may be a duplicate cannot be compared");
                    answers.push(Err(unavailable("the journal cannot be read")));
                    continue;
                }
            }
            let record = records.get(entry.record.clone()).unwrap_or_default();
            answers.push(Ok(receipt(&entry, self.next, false)));
            self.append_one(tables, entry, record, pending)?;
        }
        pending.answers.push(Answered::Append(answer, answers));
        Ok(())
    }

    fn append_one(
        &mut self,
        tables: &mut Tables<'_>,
        entry: Entry,
        record: &[u8],
        pending: &mut Pending,
    ) -> Result<(), redb::StorageError> {
        let sequence = self.next;
        self.next = sequence.next();
        pending.records_bytes += record.len() as u64;
        self.block.push(record);
        if self.block.is_full() {
            self.flush_block(tables)?;
        }
        pending.fingerprints.extend_from_slice(&entry.fingerprint.to_le_bytes());
        self.window.push((!entry.id_assigned).then_some(entry.fingerprint));
        if let Some(handshake) = entry.handshake {
            tables.open_handshake(&handshake, sequence)?;
            self.shared.handshakes.open(handshake, sequence);
        }
        pending.events.push(Arc::new(StoredEvent {
            sequence,
            received_at: entry.received_at,
            event: entry.event,
            sender: entry.sender,
            origin: entry.origin,
            trace: entry.trace,
        }));
        Ok(())
    }

    fn flush_block(&mut self, tables: &mut Tables<'_>) -> Result<(), redb::StorageError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let first = Sequence(self.next.0 - self.block.len() as u64);
        let mut row = Vec::new();
        self.block.finish(&mut row);
        tables.put_block(first, &row)
    }

    /// The event that `entry` is a second copy of: the same handshake, or the same source and id
    /// within the window. An error when a stored event that may be it cannot be read.
    fn duplicate_of(
        &self,
        entry: &Entry,
        pending: &[Arc<StoredEvent>],
    ) -> Result<Option<Sequence>, OpenError> {
        let by_handshake =
            entry.handshake.as_ref().and_then(|known| self.shared.handshakes.get(known));
        if by_handshake.is_some() || entry.id_assigned {
            return Ok(by_handshake);
        }
        let is_same =
            |source: &str, id: &str| source == entry.event.source() && id == entry.event.id();
        for sequence in self.window.candidates(entry.fingerprint) {
            let index = pending.first().and_then(|first| sequence.0.checked_sub(first.sequence.0));
            let in_hand = index.and_then(|index| pending.get(usize::try_from(index).ok()?));
            let found = if let Some(known) = in_hand {
                is_same(known.event.source(), known.event.id())
            } else {
                let reader = Reader::new(&self.shared.segments, &self.shared.fresh);
                reader.identity(sequence)?.is_some_and(|(id, source)| is_same(&source, &id))
            };
            if found {
                return Ok(Some(sequence));
            }
        }
        Ok(None)
    }

    /// Shows what is durable to those who read, then answers those who sent it.
    fn publish(&mut self, pending: Pending) {
        self.active_bytes += pending.records_bytes + pending.events.len() as u64 * ROW_BYTES;
        self.shared.fresh.push(pending.events);
        answer_all(pending.answers);
        self.age_window();
    }

    /// Forgets the identities of events that are older than the window.
    fn age_window(&mut self) {
        const MARK: Duration = Duration::from_mins(1);
        let now = self.clock.now();
        if self.window_marks.back().is_none_or(|(at, _)| now.since(*at) >= MARK) {
            self.window_marks.push_back((now, self.next));
        }
        let age = Duration::from_mins(self.config.dedupe_minutes.into());
        while let [(_, _), (second_at, begins), ..] = *self.window_marks.make_contiguous()
            && now.since(second_at) >= age
        {
            self.window.forget_before(begins);
            self.window_marks.pop_front();
        }
    }

    /// Stops using a file that could not be written.
    fn fail(&mut self, active: Arc<Segment>, error: &dyn std::error::Error) {
        tracing::error!(%error, file = active.file(), "the journal stops writing to a file");
        self.active = None;
        self.unwritten.clear();
        self.looked_at = Some(self.clock.now());
        let mut nothing = Vec::new();
        self.block.finish(&mut nothing);
        self.shared.segments.close(active);
        self.shared.health.send_replace(Health::Refusing("the store failed to write".to_owned()));
    }

    /// Finds out what the file really holds, and goes on in a new one. Opening a file that was not
    /// closed makes what it shows durable, or fails.
    fn reopen(&mut self) -> Result<(), OpenError> {
        let newest = self.shared.segments.open_newest()?;
        let next = newest.as_ref().map_or(Ok(self.next), |newest| newest.next())?;
        let open = newest.as_ref().map_or(Ok(Vec::new()), |newest| newest.handshakes())?;
        self.shared.handshakes.reset(open);
        self.window.take_back(self.shared.fresh.end());
        // The failed commit may be in the file after all, and by now on the disk: then its events
        // are events like others.
        let reader = Reader::new(&self.shared.segments, &self.shared.fresh);
        let mut found = Vec::new();
        let mut from = self.shared.fresh.end();
        while from < next {
            let events = reader.scan(from, usize::MAX, 1 << 20)?;
            let Some(last) = events.last() else { break };
            from = last.sequence.next();
            found.extend(events);
        }
        for event in &found {
            let (source, id) = (event.event.source(), event.event.id());
            self.window.push(Some(crate::window::fingerprint(self.fingerprint_key, source, id)));
        }
        self.next = next;
        self.shared.fresh.push(found);
        self.begin_segment()
    }

    fn roll_if_due(&mut self) {
        let Some(active) = &self.active else { return };
        let age = self.clock.now().since(active.name.created_at);
        let old = age >= Duration::from_hours(self.config.segment_hours.into());
        let is_empty = active.name.first == self.next;
        if is_empty || (!old && self.active_bytes < self.config.segment_bytes) {
            return;
        }
        let full = Arc::clone(active);
        if let Err(error) = self.begin_segment() {
            tracing::error!(%error, "a new journal file could not be begun");
            // A full file is still a good file: without a new one, it is written on. But where the
            // new one has its name, though not for certain, later events would be looked for there.
            if self.shared.segments.may_hold_unlisted() {
                self.fail(full, &error);
            }
            return;
        }
        if let Err(error) = full.seal() {
            tracing::warn!(%error, "a journal file could not be sealed");
            // After a failed write redb refuses everything until the file is opened again.
            self.shared.segments.close(full);
        }
    }

    /// Begins a file, with the handshakes that are open.
    fn begin_segment(&mut self) -> Result<(), OpenError> {
        let name = SegmentName { first: self.next, created_at: self.clock.now() };
        let open = self.shared.handshakes.all();
        let segment = self.shared.segments.begin(name, self.fingerprint_key, &open)?;
        self.active = Some(segment);
        self.active_bytes = 0;
        self.unwritten.clear();
        Ok(())
    }
}

fn receipt(entry: &Entry, sequence: Sequence, duplicate: bool) -> Receipt {
    Receipt {
        id: entry.event.id().into(),
        source: entry.event.source().into(),
        sequence,
        subscriptions: entry.subscriptions,
        duplicate,
    }
}

fn unavailable(reason: &str) -> Refusal {
    Refusal::Unavailable { reason: reason.to_owned().into(), retry_after: RETRY_AFTER }
}

fn refuse(work: Vec<Work>, refusal: &Refusal) {
    for work in work {
        match work {
            Work::Append(batch) => {
                let refused = batch.entries.iter().map(|_| Err(refusal.clone())).collect();
                drop(batch.answer.send(refused));
            }
            Work::Release(_, answer)
            | Work::KeepSession(_, _, answer)
            | Work::ForgetSession(_, answer) => {
                drop(answer.send(Err(refusal.clone())));
            }
        }
    }
}

/// Sends the answers. Who no longer waits has left, and their events are stored all the same.
fn answer_all(answers: Vec<Answered>) {
    for answered in answers {
        match answered {
            Answered::Append(answer, answers) => drop(answer.send(answers)),
            Answered::Unit(answer) => drop(answer.send(Ok(()))),
        }
    }
}
