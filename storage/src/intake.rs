//! What waits for the disk: a queue with limits in events and bytes. The writer takes everything
//! that has arrived while its last commit ran, so that a busy disk makes larger commits and an
//! idle one makes none wait.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use eg_event::submission::Sender;
use eg_event::{
    CloudEvent, Handshake, Hold, KeptSession, Message, Origin, Receipt, Refusal, Sequence,
    Timestamp, TraceContext,
};
use tokio::sync::{Notify, oneshot};

use crate::record::Parts;

/// How long a sender is asked to wait when the intake is full.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What events of one submission became, in their order.
pub(crate) type Answers = Vec<Result<Receipt, Refusal>>;

/// One event on its way to the disk.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) event: CloudEvent,
    pub(crate) sender: Sender,
    pub(crate) origin: Origin,
    pub(crate) trace: TraceContext,
    pub(crate) received_at: Timestamp,
    pub(crate) handshake: Option<Handshake>,
    pub(crate) subscriptions: u32,
    pub(crate) fingerprint: u64,
    /// Nobody else can have the same id, so that the dedupe window need not know it.
    pub(crate) id_assigned: bool,
    /// Why it is in quarantine, if it is.
    pub(crate) held: Option<Box<Hold>>,
    /// What the MQTT publication says beside.
    pub(crate) message: Option<Box<Message>>,
    /// Where its record is among the batch's.
    pub(crate) record: Range<usize>,
}

impl Entry {
    /// What its record holds.
    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts {
            received_at: self.received_at,
            event: &self.event,
            sender: &self.sender,
            origin: &self.origin,
            trace: &self.trace,
            held: self.held.as_deref(),
            message: self.message.as_deref(),
        }
    }
}

/// Events that were handed over together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<Entry>,
    pub(crate) records: Vec<u8>,
    pub(crate) answer: oneshot::Sender<Answers>,
}

/// One thing for the writer to do, in the order of arrival.
#[derive(Debug)]
pub(crate) enum Work {
    Append(Batch),
    Release(Handshake, oneshot::Sender<Result<(), Refusal>>),
    Note(Vec<(Handshake, Option<Sequence>)>, oneshot::Sender<Result<(), Refusal>>),
    KeepSession(KeptSession, oneshot::Sender<Result<(), Refusal>>),
    ForgetSession(Arc<str>, oneshot::Sender<Result<(), Refusal>>),
}

impl Work {
    fn size(&self) -> Size {
        match self {
            Self::Append(batch) => {
                Size { events: batch.entries.len(), bytes: batch.records.len() as u64 }
            }
            Self::Note(exchanges, _) => Size { events: exchanges.len().max(1), bytes: 0 },
            Self::Release(..) | Self::KeepSession(..) | Self::ForgetSession(..) => {
                Size { events: 1, bytes: 0 }
            }
        }
    }
}

/// How much room something takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) events: usize,
    pub(crate) bytes: u64,
}

/// The queue before the writer.
#[derive(Debug)]
pub(crate) struct Intake {
    queue: Mutex<Queue>,
    arrived: Condvar,
    room: Notify,
    limit: Size,
}

#[derive(Debug, Default)]
struct Queue {
    work: VecDeque<Work>,
    /// What is queued and what the writer has taken but not finished.
    held: Size,
    closed: bool,
    /// The writer sleeps: waking somebody who does not costs every sender a system call.
    sleeping: bool,
}

impl Intake {
    pub(crate) fn new(limit: Size) -> Self {
        Self { queue: Mutex::default(), arrived: Condvar::new(), room: Notify::new(), limit }
    }

    /// Queues `work`, or says why not. A batch that is larger than the limit is taken when nothing
    /// else is held, so that no batch is refused for ever.
    pub(crate) fn offer(&self, work: Work) -> Result<(), (Work, Refusal)> {
        let size = work.size();
        let mut queue = self.lock();
        if queue.closed {
            return Err((work, closing()));
        }
        let fits = queue.held.events + size.events <= self.limit.events
            && queue.held.bytes + size.bytes <= self.limit.bytes;
        if !fits && queue.held.events > 0 {
            return Err((work, Refusal::Busy { retry_after: RETRY_AFTER }));
        }
        queue.held.events += size.events;
        queue.held.bytes += size.bytes;
        queue.work.push_back(work);
        let wake = std::mem::take(&mut queue.sleeping);
        drop(queue);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits for work, at most for `idle_max`, and takes what has arrived, up to about `events_max`
    /// events, or nothing; `None` once the intake is closed and empty.
    pub(crate) fn take(&self, events_max: usize, idle_max: Duration) -> Option<Vec<Work>> {
        let idle = |queue: &mut Queue| {
            queue.sleeping = queue.work.is_empty() && !queue.closed;
            queue.sleeping
        };
        let waited = self.arrived.wait_timeout_while(self.lock(), idle_max, idle);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.sleeping = false;
        if queue.work.is_empty() && queue.closed {
            return None;
        }
        let mut taken = Vec::new();
        let mut events = 0;
        while let Some(work) = queue.work.pop_front() {
            events += work.size().events;
            taken.push(work);
            if events >= events_max {
                break;
            }
        }
        Some(taken)
    }

    /// Gives back the room of work that is finished.
    pub(crate) fn finished(&self, size: Size) {
        let mut queue = self.lock();
        queue.held.events = queue.held.events.saturating_sub(size.events);
        queue.held.bytes = queue.held.bytes.saturating_sub(size.bytes);
        drop(queue);
        self.room.notify_waiters();
    }

    /// How much is held.
    pub(crate) fn held(&self) -> Size {
        self.lock().held
    }

    /// Waits until at least half of the room is free.
    pub(crate) async fn room(&self) {
        loop {
            let freed = self.room.notified();
            let held = self.held();
            let half_free =
                held.events <= self.limit.events / 2 && held.bytes <= self.limit.bytes / 2;
            if half_free || self.lock().closed {
                return;
            }
            freed.await;
        }
    }

    /// Takes nothing more; what is queued is still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
        self.room.notify_waiters();
    }

    /// Drops what is queued, which tells every sender that nothing is certain.
    pub(crate) fn abandon(&self) {
        self.close();
        let work = std::mem::take(&mut self.lock().work);
        drop(work);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much room a list of work takes.
pub(crate) fn total(work: &[Work]) -> Size {
    work.iter().map(Work::size).fold(Size::default(), |sum, size| Size {
        events: sum.events + size.events,
        bytes: sum.bytes + size.bytes,
    })
}

/// What a sender is told while the store closes.
pub(crate) fn closing() -> Refusal {
    Refusal::Unavailable { reason: "the gateway is shutting down".into(), retry_after: RETRY_AFTER }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Work {
        let handshake = Handshake { client_id: "c".into(), packet_id: 1 };
        Work::Release(handshake, oneshot::channel().0)
    }

    #[test]
    fn a_full_intake_is_busy_until_work_is_finished_not_merely_taken() {
        let intake = Intake::new(Size { events: 2, bytes: 100 });
        assert!(intake.offer(release()).is_ok() && intake.offer(release()).is_ok());
        assert!(matches!(intake.offer(release()), Err((_, Refusal::Busy { .. }))));
        assert_eq!(intake.take(10, Duration::ZERO).unwrap().len(), 2);
        assert!(matches!(intake.offer(release()), Err((_, Refusal::Busy { .. }))));
        assert!(intake.take(10, Duration::ZERO).unwrap().is_empty());
        intake.finished(Size { events: 2, bytes: 0 });
        assert!(intake.offer(release()).is_ok());
    }

    #[test]
    fn a_closed_intake_gives_out_what_it_has_and_then_ends() {
        let intake = Intake::new(Size { events: 2, bytes: 100 });
        assert!(intake.offer(release()).is_ok());
        intake.close();
        assert!(matches!(intake.offer(release()), Err((_, Refusal::Unavailable { .. }))));
        assert_eq!(intake.take(10, Duration::ZERO).unwrap().len(), 1);
        assert!(intake.take(10, Duration::ZERO).is_none());
    }
}
