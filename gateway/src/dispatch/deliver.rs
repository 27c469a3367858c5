//! Drives one lane: reads what comes next, makes the attempts, and settles them.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eg_bus::leads_back;
use eg_event::{Data, Delivery, Outcome, Sequence, StoredEvent, Subscription, Timestamp};
use eg_storage::{Attempt, Chunk, StoreError, Verdict};
use futures_util::future::{BoxFuture, FutureExt as _, OptionFuture};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::lane::{Next, Rescan, Settled, Taken, ordering_key};
use super::settle::{Attempted, Timing, decide};
use super::{Dispatch, Registered};
use crate::matching;

/// How many events are read ahead from the disk, as soon as half of them are left.
const READ_AHEAD: usize = 256;
/// How many are read at once: few while it is not known that they are small.
const READ_ONCE: (usize, usize) = (16, 64);
/// How many bytes of payload are read ahead, give or take what is read at once.
const READ_AHEAD_BYTES: usize = 1 << 20;
/// How many bytes of the journal are read at once when it is read again.
const RESCAN_BYTES: usize = 1 << 20;
/// How long a lane waits after its store could not be read.
const READ_RETRY: Duration = Duration::from_secs(1);

/// How long a lane waits for what is on its way to the disk.
const WRITE_WAIT: Duration = Duration::from_millis(20);

/// Delivers to one subscription until it is removed or the gateway stops.
pub async fn run(dispatch: Arc<Dispatch>, registered: Arc<Registered>) {
    let mut driver = Driver {
        dispatch,
        registered,
        attempts: FuturesUnordered::new(),
        reading: None,
        read: BTreeMap::new(),
        missing: BTreeSet::new(),
        rng: SmallRng::from_rng(&mut rand::rng()),
    };
    driver.run().await;
}

struct Driver {
    dispatch: Arc<Dispatch>,
    registered: Arc<Registered>,
    attempts: FuturesUnordered<BoxFuture<'static, Ended>>,
    reading: Option<BoxFuture<'static, Result<Read, StoreError>>>,
    /// Events that were read and not yet taken up.
    read: BTreeMap<Sequence, Arc<StoredEvent>>,
    /// Events that were looked for and are gone.
    missing: BTreeSet<Sequence>,
    rng: SmallRng,
}

/// An attempt that has ended.
struct Ended {
    /// Which of all attempts of the lane it was.
    begun: Option<u64>,
    event: Arc<StoredEvent>,
    subscription: Arc<Subscription>,
    timing: Timing,
    outcome: Outcome,
}

/// What was read.
enum Read {
    Events {
        asked: Vec<Sequence>,
        found: Vec<Arc<StoredEvent>>,
    },
    References {
        first: Sequence,
        references: Vec<Sequence>,
    },
    /// The references are on their way to the disk.
    NotWritten,
    Rescanned {
        /// Whose filters what was found matches.
        subscription: Arc<Subscription>,
        from: Sequence,
        next: Sequence,
        found: Vec<Sequence>,
    },
}

impl Driver {
    async fn run(&mut self) {
        let registered = Arc::clone(&self.registered);
        let dispatch = Arc::clone(&self.dispatch);
        loop {
            let wake_at = self.advance();
            let sleep = OptionFuture::from(
                wake_at.map(|at| tokio::time::sleep(at.since(dispatch.outlets.clock.now()))),
            );
            tokio::select! {
                Some(ended) = self.attempts.next() => {
                    self.settle(&ended);
                    while let Some(Some(ended)) = self.attempts.next().now_or_never() {
                        self.settle(&ended);
                    }
                }
                Some(read) = OptionFuture::from(self.reading.as_mut()) => {
                    self.reading = None;
                    self.take_in(read);
                }
                () = registered.wake.notified() => {}
                Some(()) = sleep => {}
                () = registered.removed.cancelled() => return,
                () = dispatch.stop.cancelled() => break,
            }
        }
        // What is under way may still arrive, and is settled then.
        loop {
            tokio::select! {
                ended = self.attempts.next() => match ended {
                    Some(ended) => self.settle(&ended),
                    None => return,
                },
                () = dispatch.abort.cancelled() => return,
            }
        }
    }

    /// Begins everything that can begin now; says when there will be more without anything
    /// happening first.
    fn advance(&mut self) -> Option<Timestamp> {
        let definition = self.registered.definition();
        let subscription = &definition.subscription;
        loop {
            let now = self.dispatch.outlets.clock.now();
            let next = self.registered.lane().next(now, subscription.max_in_flight.into());
            let asked = match next {
                Next::Wait(until) => {
                    self.read_ahead(now);
                    return until;
                }
                Next::Retry(sequence) => match self.event(sequence) {
                    Some(event) => {
                        let key = ordering_key(subscription, &event);
                        let taken = self.registered.lane().retake(sequence, key, now);
                        self.begin(event, subscription, taken);
                        continue;
                    }
                    None if self.missing.remove(&sequence) => {
                        self.registered.lane().give_up_lost(sequence);
                        continue;
                    }
                    None if self.reading.is_some() => return None,
                    None => self.events(vec![sequence]),
                },
                Next::New(sequence) => match self.event(sequence) {
                    Some(event) => {
                        let key = ordering_key(subscription, &event);
                        let taken = self.registered.lane().take(sequence, key, now);
                        self.begin(event, subscription, taken);
                        continue;
                    }
                    None if self.missing.remove(&sequence) => {
                        self.registered.lane().pass_over(sequence);
                        continue;
                    }
                    None if self.reading.is_some() => return None,
                    None => self.events(self.registered.lane().coming(READ_AHEAD)),
                },
                Next::Load(_) | Next::Rescan(_) if self.reading.is_some() => return None,
                Next::Load(chunk) => self.references(chunk),
                Next::Rescan(rescan) => self.rescan(rescan),
            };
            // One read at a time; when it is done, this is asked again.
            self.reading = Some(asked);
            return None;
        }
    }

    /// Reads what will be taken up before it is needed, so that no attempt waits for the disk. Holds
    /// nothing for a lane that makes no attempts: what it held may be let go meanwhile.
    fn read_ahead(&mut self, now: Timestamp) {
        let lane = self.registered.lane();
        if !lane.is_delivering(now) {
            drop(lane);
            self.read.clear();
            self.missing.clear();
            return;
        }
        let bytes = || self.read.values().map(payload_bytes).sum::<usize>();
        let has_enough = || self.read.len() > READ_AHEAD / 2 || bytes() > READ_AHEAD_BYTES / 2;
        if self.reading.is_some() || has_enough() {
            return;
        }
        let mut coming = lane.coming(READ_AHEAD);
        drop(lane);
        let is_fresh = |at: &Sequence| self.dispatch.outlets.journal.get_fresh(*at).is_some();
        if coming.first().is_some_and(is_fresh) {
            return;
        }
        coming.retain(|at| !self.read.contains_key(at) && !self.missing.contains(at));
        // A few at the end are read when they are needed, or by then from memory.
        if coming.len() >= READ_AHEAD / 2 {
            self.reading = Some(self.events(coming));
        }
    }

    /// The event, if it is in memory.
    fn event(&mut self, sequence: Sequence) -> Option<Arc<StoredEvent>> {
        self.read.remove(&sequence).or_else(|| self.dispatch.outlets.journal.get_fresh(sequence))
    }

    fn begin(
        &mut self,
        event: Arc<StoredEvent>,
        subscription: &Arc<Subscription>,
        taken: Option<Taken>,
    ) {
        let (number, is_probe) = match taken {
            Some(Taken::Attempt(number)) => (number, false),
            Some(Taken::Probe(number)) => (number, true),
            Some(Taken::Parked) | None => return,
        };
        let outlets = &self.dispatch.outlets;
        let began_at = outlets.clock.now();
        if has_expired(&event, began_at) {
            let (sequence, done) = (event.sequence, Settled::Done { delivered: false });
            self.registered.lane().settle(sequence, done, (began_at, Duration::MAX));
            self.log_expired(&event, Timing { began_at, latency_us: 0, number, is_probe });
            return;
        }
        let begun = self.registered.lane().under_way(event.sequence);
        let sink = Arc::clone(&outlets.sink);
        let subscription = Arc::clone(subscription);
        self.attempts.push(Box::pin(async move {
            let started = Instant::now();
            let delivery = Delivery { event, subscription, attempt: number };
            // One event that cannot be sent must not end the delivery of all others.
            let outcome = AssertUnwindSafe(sink.deliver(&delivery)).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Outcome::Failed {
                status: None,
                reason: "the event cannot be sent: an error in the gateway".to_owned(),
                retry_after: None,
            });
            let latency_us = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
            let Delivery { event, subscription, .. } = delivery;
            let timing = Timing { began_at, latency_us, number, is_probe };
            Ended { begun, event, subscription, timing, outcome }
        }));
    }

    fn settle(&mut self, ended: &Ended) {
        let sequence = ended.event.sequence;
        let now = self.dispatch.outlets.clock.now();
        let mut lane = self.registered.lane();
        let attempted = Attempted {
            event: &ended.event,
            subscription: &ended.subscription,
            number: ended.timing.number,
            is_probe: ended.timing.is_probe,
            first_attempt_at: lane.first_attempt_at(sequence).unwrap_or(ended.timing.began_at),
            outcome: ended.outcome.clone(),
        };
        let decision = decide(&attempted, now, &mut self.rng);
        let delay_max = Duration::from_millis(ended.subscription.retry.max_delay_ms.into());
        // One of before the lane was moved does not stand for the one after that.
        if lane.under_way(sequence) == ended.begun {
            lane.settle(sequence, decision.settled.clone(), (now, delay_max));
        }
        if let Some(until) = decision.hold_until {
            lane.hold(until);
        }
        let has_turned = self.registered.observe(&lane, now);
        drop(lane);
        let number = self.registered.definition().number;
        self.dispatch.log.push(decision.log_entry(number, &ended.event, ended.timing));
        if let Some(reason) = decision.pause {
            self.dispatch.pause_lane(&self.registered, reason);
        } else if has_turned {
            self.dispatch.note_soon(&self.registered);
        }
    }

    fn log_expired(&self, event: &StoredEvent, timing: Timing) {
        self.dispatch.log.push(Attempt {
            subscription: self.registered.definition().number,
            sequence: event.sequence,
            at: timing.began_at,
            latency_us: timing.latency_us,
            number: timing.number,
            verdict: Verdict::Expired,
            status: None,
            reason: "the event's expirytime has passed".to_owned(),
        });
    }

    fn take_in(&mut self, read: Result<Read, StoreError>) {
        let mut lane = self.registered.lane();
        match read {
            Ok(Read::Events { asked, found }) => {
                // Those of before are still wanted, unless the lane was moved.
                if self.read.len() + self.missing.len() > READ_AHEAD {
                    self.read.clear();
                    self.missing.clear();
                }
                self.missing.extend(asked);
                for event in found {
                    self.missing.remove(&event.sequence);
                    self.read.insert(event.sequence, event);
                }
            }
            Ok(Read::References { first, references }) => lane.loaded(first, references),
            Ok(Read::NotWritten) => {}
            Ok(Read::Rescanned { subscription, from, next, found }) => {
                // By other filters than those of now it is read anew.
                if Arc::ptr_eq(&subscription, &self.registered.definition().subscription) {
                    lane.rescanned(from, next, found);
                }
            }
            Err(error) => {
                let definition = self.registered.definition();
                let name = &*definition.subscription.key();
                tracing::error!(%error, subscription = name, "what is to be delivered cannot be read");
            }
        }
    }

    /// Reads events from the journal; those that are gone from there may be kept as dead letters.
    fn events(&self, mut asked: Vec<Sequence>) -> BoxFuture<'static, Result<Read, StoreError>> {
        let (journal, ledger) =
            (self.dispatch.outlets.journal.clone(), self.dispatch.outlets.ledger.clone());
        let number = self.registered.definition().number;
        blocking(move || {
            let mut found = Vec::new();
            let (mut read, mut bytes) = (0, 0);
            while read < asked.len() && bytes < READ_AHEAD_BYTES {
                // Twice as many each time, as long as they are small.
                let is_small = 0 < read && bytes < READ_AHEAD_BYTES / 2;
                let more = if is_small { read.min(READ_ONCE.1) } else { READ_ONCE.0 };
                let until = asked.len().min(read + more);
                let events = journal.get_many(&asked[read..until])?;
                bytes += events.iter().map(payload_bytes).sum::<usize>();
                found.extend(events);
                read = until;
            }
            asked.truncate(read);
            let there: BTreeSet<_> = found.iter().map(|event| event.sequence).collect();
            for sequence in &asked {
                if !there.contains(sequence)
                    && let Some(letter) = ledger.dead_letter(number, *sequence)?
                {
                    found.push(Arc::new(letter.event));
                }
            }
            Ok(Read::Events { asked, found })
        })
    }

    fn references(&self, chunk: Chunk) -> BoxFuture<'static, Result<Read, StoreError>> {
        let ledger = self.dispatch.outlets.ledger.clone();
        let number = self.registered.definition().number;
        blocking(move || {
            Ok(match ledger.references(number, chunk)? {
                Some(references) => Read::References { first: chunk.first, references },
                None => Read::NotWritten,
            })
        })
    }

    /// Reads a stretch of the journal and keeps what matches. Few lanes do so at once.
    fn rescan(&self, rescan: Rescan) -> BoxFuture<'static, Result<Read, StoreError>> {
        let dispatch = Arc::clone(&self.dispatch);
        let subscription = Arc::clone(&self.registered.definition().subscription);
        async move {
            let permit = dispatch.rescans.acquire().await;
            let journal = dispatch.outlets.journal.clone();
            let from = rescan.next;
            let read = blocking(move || {
                let events = journal.scan(from, usize::MAX, RESCAN_BYTES)?;
                let next = events.last().map_or(rescan.until, |last| last.sequence.next());
                let passes = |event: &&Arc<StoredEvent>| {
                    event.held.is_none()
                        && matching::lets_pass(&subscription, &event.event)
                        && !leads_back(&subscription, &event.event, &event.origin)
                };
                let found = events.iter().filter(passes).map(|event| event.sequence).collect();
                Ok(Read::Rescanned { subscription, from, next, found })
            });
            let read = read.await;
            drop(permit);
            read
        }
        .boxed()
    }
}

/// Reads on a thread where waiting for the disk is allowed; a failure is reported after a while,
/// so that it is not repeated at once.
fn blocking(
    read: impl FnOnce() -> Result<Read, StoreError> + Send + 'static,
) -> BoxFuture<'static, Result<Read, StoreError>> {
    let read = tokio::task::spawn_blocking(read);
    async move {
        let read = read.await.unwrap_or(Err(StoreError::Closed));
        match read {
            Ok(Read::NotWritten) => tokio::time::sleep(WRITE_WAIT).await,
            Ok(_) => {}
            Err(_) => tokio::time::sleep(READ_RETRY).await,
        }
        read
    }
    .boxed()
}

fn payload_bytes(event: &Arc<StoredEvent>) -> usize {
    event.event.data().map_or(0, Data::len)
}

/// Whether the event says that nobody wants it any more (extension `expirytime`).
fn has_expired(event: &StoredEvent, now: Timestamp) -> bool {
    let expiry = event.event.extension("expirytime").map(ToString::to_string);
    expiry.and_then(|text| Timestamp::parse_rfc3339(&text)).is_some_and(|expiry| expiry <= now)
}
