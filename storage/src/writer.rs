//! The one thread that writes the journal: it commits whatever has arrived while the last fsync
//! ran, to the commit log while that has room, and answers every sender after the commit.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use eg_event::submission::Sender;
use eg_event::{Clock, Handshake, Receipt, Refusal, Sequence, StoredEvent, Timestamp};
use tokio::sync::{oneshot, watch};

use crate::commit_log::{CommitLog, HandshakeChange};
use crate::config::StorageConfig;
use crate::error::{OpenError, StoreError};
use crate::fresh::Fresh;
use crate::handshakes::{OpenHandshakes, kept, outbound};
use crate::holdings::{Holdings, Row};
use crate::intake::{Answers, Batch, Entry, Intake, RETRY_AFTER, Work, total};
use crate::read::Reader;
use crate::record;
use crate::retention::Limits;
use crate::segment::{Beginning, Segment, SegmentName};
use crate::segments::Segments;
use crate::staged::Staged;
use crate::varint::Damaged;
use crate::window::Window;

/// How often the free space of the disk is looked at, and a failed store is tried again.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a sender is asked to wait for an application that holds all that it may: retention lets
/// go of events a few times a minute.
const QUOTA_RETRY_AFTER: Duration = Duration::from_mins(1);

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
    pub(crate) holdings: Arc<Holdings>,
    /// What applications may hold, by name.
    pub(crate) limits: Arc<RwLock<Arc<Limits>>>,
    pub(crate) health: Arc<watch::Sender<Health>>,
}

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
    pub(crate) log: CommitLog,
    /// What is in the log and not in the file.
    pub(crate) staged: Staged,
}

/// What a commit has in hand before it is durable.
struct Pending {
    events: Vec<Arc<StoredEvent>>,
    /// Whose they are.
    row: Row,
    limits: Arc<Limits>,
    answers: Vec<Answered>,
}

/// An answer that is sent once the commit is durable.
enum Answered {
    Append(oneshot::Sender<Answers>, Answers),
    Unit(oneshot::Sender<Result<(), Refusal>>),
}

/// The end of the writer, however it comes: nobody waits for it any more.
struct End(Shared);

impl Drop for End {
    fn drop(&mut self) {
        self.0.health.send_replace(Health::Refusing("the store is closed".to_owned()));
        self.0.intake.abandon();
    }
}

impl Writer {
    /// Works until the intake is closed and empty, then leaves the file ready for a quick start.
    pub(crate) fn run(mut self) {
        let _end = End(self.shared.clone());
        let events_max = usize::try_from(self.config.commit_events_max).unwrap_or(usize::MAX);
        while let Some(work) = self.shared.intake.take(events_max, LOOK_INTERVAL) {
            if work.is_empty() {
                self.look_if_due();
                self.file_what_is_staged();
                continue;
            }
            let size = total(&work);
            self.commit(work);
            self.shared.intake.finished(size);
        }
        self.file_what_is_staged();
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

    /// Writes one commit, to the log if it has room. On an error nothing may be believed about the
    /// files: whether the commit is in them is found out by reading them again.
    fn write(&mut self, active: &Segment, work: Vec<Work>) -> Result<Pending, StoreError> {
        let limits = self.shared.limits.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut pending =
            Pending { events: Vec::new(), row: Row::new(self.next), limits, answers: Vec::new() };
        self.log.begin(self.next);
        for work in work {
            self.stage(work, &mut pending);
        }
        if !self.log.commit()? {
            self.file(active)?;
        }
        Ok(pending)
    }

    /// Moves what is staged into the journal's file, in one commit, and begins the log again.
    fn file(&mut self, active: &Segment) -> Result<(), StoreError> {
        let commit = active.begin()?;
        commit.write(self.log.number(), |tables| self.staged.write(tables, self.next))?;
        commit.finish()?;
        self.staged.clear();
        self.log.restart();
        self.shared.fresh.filed(self.next);
        Ok(())
    }

    /// Leaves nothing staged while there is time for it.
    fn file_what_is_staged(&mut self) {
        let Some(active) = self.active.as_ref().filter(|_| !self.staged.is_empty()) else { return };
        let active = Arc::clone(active);
        if let Err(error) = self.file(&active) {
            self.fail(active, &error);
        }
    }

    fn stage(&mut self, work: Work, pending: &mut Pending) {
        match work {
            Work::Append(batch) => self.append(batch, pending),
            Work::Release(handshake, answer) => {
                pending.answers.push(Answered::Unit(answer));
                self.close_handshake(handshake);
            }
            Work::Note(exchanges, answer) => {
                pending.answers.push(Answered::Unit(answer));
                for (exchange, stands_for) in exchanges {
                    let exchange = outbound(&exchange);
                    match stands_for {
                        Some(sequence) => self.open_handshake(exchange, sequence),
                        None => self.close_handshake(exchange),
                    }
                }
            }
            Work::KeepSession(session, answer) => {
                pending.answers.push(Answered::Unit(answer));
                let is_over = session.expiry_s == 0;
                let (mark, value) = kept(session);
                if is_over {
                    self.close_handshake(mark);
                } else if self.shared.handshakes.get(&mark) != Some(value) {
                    self.open_handshake(mark, value);
                }
            }
            Work::ForgetSession(client_id, answer) => {
                pending.answers.push(Answered::Unit(answer));
                for handshake in self.shared.handshakes.close_session(&client_id) {
                    self.stage_handshake(handshake, None);
                }
                let subscribers = outbound(&Handshake { client_id, packet_id: 0 });
                for handshake in self.shared.handshakes.close_session(&subscribers.client_id) {
                    self.stage_handshake(handshake, None);
                }
            }
        }
    }

    fn open_handshake(&mut self, handshake: Handshake, stands_for: Sequence) {
        self.shared.handshakes.open(handshake.clone(), stands_for);
        self.stage_handshake(handshake, Some(stands_for));
    }

    fn close_handshake(&mut self, handshake: Handshake) {
        if self.shared.handshakes.close(&handshake) {
            self.stage_handshake(handshake, None);
        }
    }

    fn stage_handshake(&mut self, handshake: Handshake, stands_for: Option<Sequence>) {
        let change = HandshakeChange { handshake, stands_for };
        self.log.handshake(&change);
        self.staged.handshake(change);
    }

    /// Of an application, nothing is stored after what has to come again: that keeps the order.
    fn append(&mut self, batch: Batch, pending: &mut Pending) {
        let Batch { entries, records, answer } = batch;
        let mut answers = Vec::with_capacity(entries.len());
        let mut stopped: Vec<(Option<Arc<str>>, Refusal)> = Vec::new();
        for entry in entries {
            let application = &entry.sender.application;
            if let Some((_, why)) = stopped.iter().find(|(known, _)| known == application) {
                answers.push(Err(why.clone()));
                continue;
            }
            match self.take(&entry, pending) {
                Ok(Some(sequence)) => answers.push(Ok(receipt(&entry, sequence, true))),
                Ok(None) => {
                    answers.push(Ok(receipt(&entry, self.next, false)));
                    let record = records.get(entry.record.clone()).unwrap_or_default();
                    self.append_one(entry, record, pending);
                }
                Err(refusal) => {
                    stopped.push((application.clone(), refusal.clone()));
                    answers.push(Err(refusal));
                }
            }
        }
        pending.answers.push(Answered::Append(answer, answers));
    }

    /// Where the same event is already, if it is; why it cannot be stored now, if so.
    fn take(&self, entry: &Entry, pending: &Pending) -> Result<Option<Sequence>, Refusal> {
        let known = self.duplicate_of(entry, &pending.events).map_err(|error| {
            tracing::error!(%error, "an event that may be a duplicate cannot be compared");
            unavailable("the journal cannot be read")
        })?;
        if known.is_none() {
            self.check_quota(&entry.sender, pending)?;
        }
        Ok(known)
    }

    /// Whether the application that `sender` publishes for may hold one more event.
    fn check_quota(&self, sender: &Sender, pending: &Pending) -> Result<(), Refusal> {
        let Some(application) = &sender.application else { return Ok(()) };
        let limit = pending.limits.get(application).and_then(|limit| limit.quota_bytes);
        let Some(quota_bytes) = limit else { return Ok(()) };
        let held = self.shared.holdings.of(application).bytes + pending.row.of(application).bytes;
        if held < quota_bytes {
            return Ok(());
        }
        Err(Refusal::Quota {
            application: (&**application).into(),
            limit: format!("{quota_bytes} bytes of stored events").into(),
            retry_after: QUOTA_RETRY_AFTER,
        })
    }

    fn append_one(&mut self, entry: Entry, record: &[u8], pending: &mut Pending) {
        let sequence = self.next;
        self.next = sequence.next();
        let application = entry.sender.application.as_ref();
        pending.row.event(application, record.len());
        self.log.record(record);
        self.staged.event(sequence, (record, entry.fingerprint), application);
        self.window.push((!entry.id_assigned).then_some(entry.fingerprint));
        if let Some(handshake) = entry.handshake {
            self.open_handshake(handshake, sequence);
        }
        pending.events.push(Arc::new(StoredEvent {
            sequence,
            received_at: entry.received_at,
            event: entry.event,
            sender: entry.sender,
            origin: entry.origin,
            trace: entry.trace,
            held: entry.held,
            message: entry.message,
        }));
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
        let is_same = |source: &str, id: &str, held: bool| {
            source == entry.event.source() && id == entry.event.id() && held == entry.held.is_some()
        };
        for sequence in self.window.candidates(entry.fingerprint) {
            let index = pending.first().and_then(|first| sequence.0.checked_sub(first.sequence.0));
            let in_hand = index.and_then(|index| pending.get(usize::try_from(index).ok()?));
            let found = if let Some(known) = in_hand {
                is_same(known.event.source(), known.event.id(), known.held.is_some())
            } else {
                let reader = Reader::new(&self.shared.segments, &self.shared.fresh);
                let known = reader.identity(sequence)?;
                known.is_some_and(|known| is_same(&known.source, &known.id, known.held))
            };
            if found {
                return Ok(Some(sequence));
            }
        }
        Ok(None)
    }

    /// Shows what is durable to those who read, then answers those who sent it.
    fn publish(&mut self, pending: Pending) {
        self.active_bytes += pending.row.bytes();
        // The end of the journal moves first: nothing that is held is at it or behind it.
        self.shared.fresh.push(pending.events);
        self.shared.holdings.add(pending.row);
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
        self.looked_at = Some(self.clock.now());
        self.staged.begin_file();
        self.shared.segments.close(active);
        self.shared.health.send_replace(Health::Refusing("the store failed to write".to_owned()));
    }

    /// Finds out what the files really hold, and goes on in a new one. Opening a file that was not
    /// closed makes what it shows durable, or fails.
    fn reopen(&mut self) -> Result<(), OpenError> {
        let newest = self.shared.segments.open_newest()?;
        if let Some(newest) = &newest
            && let Err(error) = catch_up(newest, &mut self.log)
        {
            self.shared.segments.close(Arc::clone(newest));
            return Err(error);
        }
        let next = newest.as_ref().map_or(Ok(self.next), |newest| newest.next())?;
        if next < self.shared.fresh.end() {
            // Somebody was told that these are stored: their sequences must not be given out again.
            let cause = Damaged("acknowledged events are lost");
            return Err(StoreError::damaged("journal", next, cause).into());
        }
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
            let (identity, held) = ((event.event.source(), event.event.id()), event.held.is_some());
            let fingerprint = crate::window::fingerprint(self.fingerprint_key, identity, held);
            self.window.push(Some(fingerprint));
        }
        let mut row = Row::new(self.shared.fresh.end());
        for event in &found {
            row.event(event.sender.application.as_ref(), record::content_bytes(event));
        }
        self.next = next;
        self.shared.fresh.push(found);
        self.shared.holdings.add(row);
        self.shared.fresh.filed(next);
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
        if let Err(error) = self.file(&full) {
            return self.fail(full, &error);
        }
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
        let beginning = Beginning {
            fingerprint_key: self.fingerprint_key,
            logged: self.log.number(),
            open: self.shared.handshakes.all(),
        };
        self.active = Some(self.shared.segments.begin(name, &beginning)?);
        self.active_bytes = 0;
        self.staged.begin_file();
        self.shared.holdings.begin_file();
        Ok(())
    }
}

/// Moves what the commit log has, and the newest file of the journal has not, into that file.
pub(crate) fn catch_up(newest: &Segment, log: &mut CommitLog) -> Result<(), OpenError> {
    let key = newest.fingerprint_key();
    let additions = log.read(key, newest.logged()?)?;
    if additions.is_empty() {
        return Ok(());
    }
    let mut staged = Staged::default();
    let mut next = newest.next()?;
    for addition in additions {
        let added = staged.addition(addition, next, key);
        next = added.map_err(|cause| StoreError::damaged(newest.file(), next, cause))?;
    }
    let commit = newest.begin()?;
    commit.write(log.number(), |tables| staged.write(tables, next))?;
    commit.finish()?;
    log.restart();
    Ok(())
}

fn receipt(entry: &Entry, sequence: Sequence, duplicate: bool) -> Receipt {
    Receipt {
        id: entry.event.id().into(),
        source: entry.event.source().into(),
        sequence,
        subscriptions: entry.subscriptions,
        duplicate,
        held: entry.held.is_some(),
        deprecation: None,
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
            | Work::Note(_, answer)
            | Work::KeepSession(_, answer)
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
