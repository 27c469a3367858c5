//! The journal: every accepted event, once, in the order of acceptance.

mod kept;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use eg_event::{
    Clock, Handshake, KeptSession, Owner, Principal, Receipt, Refusal, Sequence, StoredEvent,
    Submission, Timestamp,
};
use tokio::sync::{oneshot, watch};

use crate::commit_log::CommitLog;
use crate::config::StorageConfig;
use crate::error::{OpenError, StoreError};
use crate::fresh::Fresh;
use crate::handshakes::OpenHandshakes;
use crate::intake::{Batch, Entry, Intake, RETRY_AFTER, Size, Work};
use crate::read::Reader;
use crate::record;
use crate::retention::{FileSpan, files_to_drop};
use crate::segment::{Beginning, Segment, SegmentName};
use crate::segments::Segments;
use crate::staged::Staged;
use crate::volume::Volume;
use crate::window::{self, Window};
use crate::writer::{Health, Shared, Writer, catch_up};

/// A handle on the journal; clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Shared,
    config: StorageConfig,
    clock: Clock,
    fingerprint_key: u64,
}

/// How large the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The first sequence that is still there.
    pub first: Sequence,
    /// The sequence that the next event will have.
    pub end: Sequence,
    /// The size of all files, in bytes.
    pub bytes: u64,
    /// How many files there are.
    pub files: usize,
    /// How many events wait for the disk.
    pub intake_events: usize,
}

impl Journal {
    /// Opens the journal on `volume` and starts its writer. No sequence below `not_before` is
    /// given out again, whatever the files hold; what applications keep begins at `floors`.
    pub(crate) fn open(
        volume: Arc<dyn Volume>,
        config: &StorageConfig,
        clock: &Clock,
        (not_before, floors): (Sequence, Vec<(Arc<str>, Sequence)>),
    ) -> Result<(Self, JoinHandle<()>), OpenError> {
        let cache_bytes = usize::try_from(config.cache_bytes).unwrap_or(usize::MAX);
        let segments = Arc::new(Segments::list(volume, cache_bytes)?);
        let mut log = CommitLog::open(segments.volume(), config.commit_log_bytes)?;
        let newest = segments.open_newest()?;
        if let Some(newest) = &newest {
            catch_up(newest, &mut log)?;
        }
        let active = match newest {
            Some(newest) if newest.is_current() && newest.next()? >= not_before => newest,
            newest => {
                let next = newest.as_ref().map_or(Ok(Sequence::FIRST), |newest| newest.next())?;
                let open = newest.as_ref().map_or(Ok(Vec::new()), |newest| newest.handshakes())?;
                let fingerprint_key =
                    newest.map_or_else(random_key, |newest| newest.fingerprint_key());
                let first = next.max(not_before);
                let beginning = Beginning { fingerprint_key, logged: log.number(), open };
                log.read(fingerprint_key, log.number())?;
                segments.begin(SegmentName { first, created_at: clock.now() }, &beginning)?
            }
        };
        let holdings = kept::read(&segments)?;
        let next = active.next()?;
        for (application, floor) in floors {
            holdings.raise(&application, floor, || next);
        }
        let handshakes = OpenHandshakes::default();
        handshakes.reset(active.handshakes()?);
        let bytes_max = usize::try_from(config.fresh_bytes_max).unwrap_or(usize::MAX);
        let limit = Size {
            events: usize::try_from(config.intake_events_max).unwrap_or(usize::MAX),
            bytes: config.intake_bytes_max,
        };
        let shared = Shared {
            intake: Arc::new(Intake::new(limit)),
            segments,
            fresh: Arc::new(Fresh::new(bytes_max, next)),
            handshakes: Arc::new(handshakes),
            holdings: Arc::new(holdings),
            limits: Arc::default(),
            health: Arc::new(watch::Sender::new(Health::Writable)),
        };
        let fingerprint_key = active.fingerprint_key();
        let journal =
            Self { shared, config: config.clone(), clock: clock.clone(), fingerprint_key };
        let writer = journal.writer(active, log)?;
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let thread = thread.spawn(move || writer.run()).map_err(OpenError::Thread)?;
        Ok((journal, thread))
    }

    fn writer(&self, active: Arc<Segment>, log: CommitLog) -> Result<Writer, OpenError> {
        let next = self.end();
        let active_bytes = self.shared.segments.volume().size_bytes(active.file());
        Ok(Writer {
            config: self.config.clone(),
            clock: self.clock.clone(),
            shared: self.shared.clone(),
            active_bytes: active_bytes.unwrap_or(0),
            active: Some(active),
            fingerprint_key: self.fingerprint_key,
            next,
            window: self.restore_window(next)?,
            window_marks: VecDeque::from([(self.clock.now(), next)]),
            looked_at: None,
            log,
            staged: Staged::default(),
        })
    }

    /// Reads the fingerprints of the latest events back, as many as the window remembers.
    fn restore_window(&self, next: Sequence) -> Result<Window, OpenError> {
        let capacity = self.config.dedupe_events;
        let first = self.usage()?.first;
        let age = Duration::from_mins(self.config.dedupe_minutes.into());
        let now = self.clock.now();
        let since = Timestamp::from_micros(
            now.as_micros().saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX)),
        );
        let by_age = self.reader().first_since(since, first, next)?;
        let begin = by_age.0.max(next.0.saturating_sub(capacity.into())).max(first.0);
        let mut window = Window::new(capacity, Sequence(begin));
        let mut expected = begin;
        let names = self.shared.segments.names();
        let ends = names.iter().skip(1).map(|after| after.first).chain([next]);
        for (name, end) in names.iter().zip(ends) {
            // Too old, or empty: a failure in an empty file leaves it, and the next one begins
            // with the same sequence.
            if end.0 <= expected {
                continue;
            }
            let Some(segment) = self.shared.segments.by_name(name)? else {
                continue;
            };
            segment.fingerprints(|row_first, row| {
                for (print, at) in row.chunks_exact(8).zip(row_first.0..) {
                    if at == expected {
                        window.push(print.try_into().ok().map(u64::from_le_bytes));
                        expected += 1;
                    }
                }
            })?;
            // A file may begin later than the one before it ended, after files were lost.
            if expected < end.0 {
                window = Window::new(capacity, end);
                expected = end.0;
            }
        }
        Ok(window)
    }

    /// Hands events over to the writer, each with the number of subscriptions that match it. They
    /// are on their way when this returns; the future waits for the commit.
    ///
    /// # Errors
    /// Each event is answered alone. [`Refusal::Busy`] when the intake is full,
    /// [`Refusal::Unavailable`] when the disk is full, has failed, or the store closes.
    pub fn append(
        &self,
        submissions: Vec<(Submission, u32)>,
    ) -> impl Future<Output = Vec<Result<Receipt, Refusal>>> + Send + 'static {
        let received_at = self.clock.now();
        let entry = |(submission, subscriptions): (Submission, u32)| {
            let sender = submission.sender();
            let Submission { event, origin, trace, handshake, id_assigned, held, message, .. } =
                submission;
            let identity = (event.source(), event.id());
            Entry {
                fingerprint: window::fingerprint(self.fingerprint_key, identity, held.is_some()),
                sender,
                event,
                origin,
                trace,
                received_at,
                handshake,
                subscriptions,
                id_assigned,
                held,
                message,
                record: 0..0,
            }
        };
        self.hand_over(submissions.into_iter().map(entry).collect())
    }

    /// Hands over an event that was in quarantine, mended, as from who sent it first; `subscriptions`
    /// match it. While the dedupe window knows it, it is taken once.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_released(
        &self,
        released: StoredEvent,
        subscriptions: u32,
    ) -> impl Future<Output = Vec<Result<Receipt, Refusal>>> + Send + 'static {
        let StoredEvent { event, sender, origin, trace, message, .. } = released;
        let identity = (event.source(), event.id());
        let entry = Entry {
            fingerprint: window::fingerprint(self.fingerprint_key, identity, false),
            event,
            sender,
            origin,
            trace,
            received_at: self.clock.now(),
            handshake: None,
            subscriptions,
            id_assigned: false,
            held: None,
            message,
            record: 0..0,
        };
        self.hand_over(vec![entry])
    }

    fn hand_over(
        &self,
        mut entries: Vec<Entry>,
    ) -> impl Future<Output = Vec<Result<Receipt, Refusal>>> + Send + 'static {
        let count = entries.len();
        let mut records = Vec::with_capacity(count * 512);
        for entry in &mut entries {
            let begin = records.len();
            record::encode(&entry.parts(), &mut records);
            entry.record = begin..records.len();
        }
        let (answer, answers) = oneshot::channel();
        let batch = Batch { entries, records, answer };
        let refused = self.shared.intake.offer(Work::Append(batch)).err().map(|(_, why)| why);
        async move {
            let why = match refused {
                Some(why) => why,
                None => match answers.await {
                    Ok(answers) => return answers,
                    Err(_) => failed(),
                },
            };
            vec![Err(why); count]
        }
    }

    /// Closes a handshake; durable once the future completes.
    pub fn release(
        &self,
        handshake: Handshake,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        self.unit(Work::Release(handshake, answer), answered)
    }

    /// Notes, in their order, which exchanges with subscribers stand for which events; none: the
    /// exchange is over. Durable once the future completes.
    pub fn note(
        &self,
        exchanges: Vec<(Handshake, Option<Sequence>)>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        self.unit(Work::Note(exchanges, answer), answered)
    }

    /// The exchanges with subscribers that are open.
    #[must_use]
    pub fn noted(&self) -> Vec<(Handshake, Sequence)> {
        self.shared.handshakes.noted()
    }

    /// What stands for `principal` as the owner of sessions. Its key is the journal's, which nobody
    /// outside knows.
    #[must_use]
    pub fn owner(&self, principal: &Principal) -> Owner {
        let application = principal.application().unwrap_or_default();
        let names = (principal.name(), application);
        let tag = window::fingerprint(self.fingerprint_key, names, false);
        Owner(u32::try_from(tag >> 32).unwrap_or(0).max(1))
    }

    /// Keeps a session, or, when it outlives its connection by nothing, no longer. Durable once the
    /// future completes.
    pub fn keep_session(
        &self,
        session: KeptSession,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        self.unit(Work::KeepSession(session, answer), answered)
    }

    /// Every session that is kept or has open handshakes.
    #[must_use]
    pub fn sessions(&self) -> Vec<KeptSession> {
        self.shared.handshakes.sessions()
    }

    /// Closes all handshakes of a session; durable once the future completes.
    pub fn forget_session(
        &self,
        client_id: Arc<str>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        self.unit(Work::ForgetSession(client_id, answer), answered)
    }

    fn unit(
        &self,
        work: Work,
        answered: oneshot::Receiver<Result<(), Refusal>>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + 'static {
        let offered = self.shared.intake.offer(work).map_err(|(_, why)| why);
        async move {
            offered?;
            answered.await.unwrap_or_else(|_| Err(failed()))
        }
    }

    /// The packet identifiers of the open handshakes of a session, in order.
    #[must_use]
    pub fn open_in_session(&self, client_id: &str) -> Vec<u16> {
        self.shared.handshakes.of_session(client_id)
    }

    /// Waits until at least half of the intake is free.
    pub fn room(&self) -> impl Future<Output = ()> + Send + 'static {
        let intake = Arc::clone(&self.shared.intake);
        async move { intake.room().await }
    }

    /// The event at `sequence`, if it is in memory.
    #[must_use]
    pub fn get_fresh(&self, sequence: Sequence) -> Option<Arc<StoredEvent>> {
        self.shared.fresh.get(sequence).filter(|event| self.keeps(event))
    }

    /// The events from `from` on that are in memory, at most `events_max`, whoever keeps them;
    /// `None` when `from` is not among them.
    #[must_use]
    pub fn scan_fresh(&self, from: Sequence, events_max: usize) -> Option<Vec<Arc<StoredEvent>>> {
        self.shared.fresh.from(from, events_max)
    }

    /// The event at `sequence`; `None` when it is not in the journal. May wait for the disk.
    pub fn get(&self, sequence: Sequence) -> Result<Option<Arc<StoredEvent>>, StoreError> {
        let found = reading(self.reader().get(sequence))?;
        Ok(found.filter(|event| self.keeps(event)))
    }

    /// The events at `sequences`, which ascend; those that are gone are left out. May wait for
    /// the disk.
    pub fn get_many(&self, sequences: &[Sequence]) -> Result<Vec<Arc<StoredEvent>>, StoreError> {
        let mut found = reading(self.reader().get_many(sequences))?;
        found.retain(|event| self.keeps(event));
        Ok(found)
    }

    /// The events from `from` on, or from the first that is still there: at most `events_max`,
    /// and not much more than `bytes_max` bytes of records. May wait for the disk.
    pub fn scan(
        &self,
        from: Sequence,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Arc<StoredEvent>>, StoreError> {
        let mut from = from;
        loop {
            let mut events = self.scan_all(from, events_max, bytes_max)?;
            let Some(last) = events.last() else { return Ok(events) };
            from = last.sequence.next();
            events.retain(|event| self.keeps(event));
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// The same with the events that their application keeps no longer and whose file is there.
    pub fn scan_all(
        &self,
        from: Sequence,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Arc<StoredEvent>>, StoreError> {
        reading(self.reader().scan(from, events_max, bytes_max))
    }

    /// The latest event with this source and id. Reads the fingerprints of the whole journal, 8
    /// bytes an event.
    pub fn find(&self, source: &str, id: &str) -> Result<Option<Sequence>, StoreError> {
        let Some(found) = reading(self.reader().find(source, id))? else { return Ok(None) };
        Ok(self.get(found)?.map(|event| event.sequence))
    }

    /// The first event received at `at` or later; the end of the journal when there is none.
    pub fn first_since(&self, at: Timestamp) -> Result<Sequence, StoreError> {
        let Usage { first, end, .. } = self.usage()?;
        reading(self.reader().first_since(at, first, end))
    }

    /// The sequence that the next event will have.
    #[must_use]
    pub fn end(&self) -> Sequence {
        self.shared.fresh.end()
    }

    /// Follows the end of the journal as commits move it.
    #[must_use]
    pub fn follow_end(&self) -> watch::Receiver<Sequence> {
        self.shared.fresh.follow_end()
    }

    /// Follows whether events are taken.
    #[must_use]
    pub fn follow_health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// How large the journal is.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let files = self.files()?;
        let end = self.end();
        Ok(Usage {
            first: files.first().map_or(end, |file| file.first),
            end,
            bytes: files.iter().map(|file| file.bytes).sum(),
            files: files.len(),
            intake_events: self.shared.intake.held().events,
        })
    }

    /// What retention would let go now: every event before the answer. `hold` is the oldest one
    /// that a subscription holds retention back for.
    pub fn expired(&self, hold: Option<Sequence>) -> Result<Option<Sequence>, StoreError> {
        let files = self.files()?;
        let dropped = files_to_drop(&files, &self.config, self.clock.now(), hold);
        Ok((dropped > 0).then(|| files[dropped].first))
    }

    /// Lets go of every file whose events all lie before `sequence`.
    pub fn drop_before(&self, sequence: Sequence) -> Result<(), StoreError> {
        let names = self.shared.segments.names();
        for pair in names.windows(2) {
            let [name, next] = pair else { break };
            if next.first > sequence {
                break;
            }
            self.shared.segments.remove(name)?;
            self.shared.holdings.forget(name.first, next.first);
            tracing::info!(file = name.file(), "retention let a journal file go");
        }
        Ok(())
    }

    /// Takes no more events; what has been handed over is still written.
    pub(crate) fn close(&self) {
        self.shared.intake.close();
    }

    fn files(&self) -> Result<Vec<FileSpan>, StoreError> {
        let names = self.shared.segments.names();
        let mut files = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let file = name.file();
            let bytes = match self.shared.segments.volume().size_bytes(&file) {
                Ok(bytes) => bytes,
                // Retention has just let it go.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                Err(cause) => return Err(StoreError::file(&file, cause)),
            };
            let ended_at = names.get(index + 1).map(|next| next.created_at);
            files.push(FileSpan { first: name.first, ended_at, bytes });
        }
        Ok(files)
    }

    fn reader(&self) -> Reader<'_> {
        Reader::new(&self.shared.segments, &self.shared.fresh)
    }
}

/// A commit that failed leaves it open whether the events are stored.
fn failed() -> Refusal {
    Refusal::Unavailable { reason: "the store failed to write".into(), retry_after: RETRY_AFTER }
}

/// Reading opens files; what can go wrong then is a failure to read.
fn reading<T>(result: Result<T, OpenError>) -> Result<T, StoreError> {
    result.map_err(|error| match error {
        OpenError::Failed(error) => error,
        other => StoreError::file("journal", io::Error::other(other)),
    })
}

/// A key that outsiders do not know, from the seed that the standard library draws for its maps.
fn random_key() -> u64 {
    use std::hash::BuildHasher as _;
    std::hash::RandomState::new().hash_one(Bytes::new())
}
