//! A session that has subscribed: to what, what waits for it, and what is under way to it. It
//! outlives its connections for as long as the session does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use eg_event::Sequence;
use futures_util::task::AtomicWaker;

use crate::codec::Qos;
use crate::counters::Dropped;
use crate::inflight::Inflight;
use crate::queue::{Labels, Queue, QueueLimit, Reference};
use crate::tenancy::Share;

/// How a filter is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// The highest quality of service.
    pub(crate) qos: Qos,
    /// The session's own messages are left out.
    pub(crate) no_local: bool,
    /// The flag RETAIN stays as it was published.
    pub(crate) retain_as_published: bool,
    /// The subscription identifier; 0: none.
    pub(crate) identifier: u32,
    /// The first event that it is about.
    pub(crate) since: Sequence,
}

/// A session that has subscribed.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// Whose.
    pub(crate) client_id: Arc<str>,
    /// A number that no other session has.
    pub(crate) number: u64,
    is_connected: AtomicBool,
    /// Something came that it is about to see.
    pub(crate) is_touched: AtomicBool,
    waker: AtomicWaker,
    inbox: Mutex<Inbox>,
}

/// What a session has.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// By filter, as it was subscribed to.
    pub(crate) subscriptions: BTreeMap<Box<str>, Granted>,
    pub(crate) labels: Labels,
    pub(crate) queue: Queue,
    pub(crate) inflight: Inflight,
    /// It outlives its connection, and a restart.
    pub(crate) is_kept: bool,
    /// The latest event that matched it.
    pub(crate) seen: Sequence,
    /// The same when it was read back at start: what is matched again up to here is known.
    pub(crate) restored: Sequence,
    /// Every QoS 2 message up to here was handed out under a packet identifier that was noted.
    pub(crate) noted: Sequence,
    /// Exchanges that are over, which is not noted yet.
    pub(crate) over: Vec<u16>,
    /// How much of it is on the disk.
    pub(crate) saved: Saved,
    /// What its application has because of it.
    pub(crate) share: Option<Box<Share>>,
    /// How many messages did not reach it, by the place of the reason in [`Dropped::ALL`]; most
    /// sessions miss none.
    pub(crate) dropped: Option<Box<[u64; Dropped::ALL.len()]>>,
}

/// How much of a session is on the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Saved {
    /// Something has changed since.
    pub(crate) is_dirty: bool,
    /// The session itself is there.
    pub(crate) exists: bool,
    /// The places in the queue from the first to behind the last that rows hold.
    pub(crate) rows: (u64, u64),
}

impl Subscriber {
    pub(crate) fn new(client_id: Arc<str>, number: u64, inbox: Inbox) -> Self {
        Self {
            client_id,
            number,
            is_connected: AtomicBool::new(false),
            is_touched: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            inbox: Mutex::new(inbox),
        }
    }

    /// What it has.
    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a connection has it.
    pub(crate) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }

    pub(crate) fn set_connected(&self, is: bool) {
        self.is_connected.store(is, Ordering::Release);
    }

    /// Wakes the connection when something comes.
    pub(crate) fn listen(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Lets the connection see what came.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}

/// What became of a message that was meant for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits.
    Queued,
    /// The session has had it before.
    Known,
    /// There is no room.
    Full(Dropped),
}

impl Inbox {
    /// An exchange of QoS 2 is over, which is to be noted where exchanges are.
    pub(crate) fn end_exchange(&mut self, packet_id: u16) {
        if self.is_kept {
            self.over.push(packet_id);
        }
    }

    /// What was taken from it is noted where exchanges are, of QoS 2 up to `noted`.
    pub(crate) fn note(&mut self, noted: Sequence) {
        self.noted = self.noted.max(noted);
        self.inflight.note();
    }

    /// A message that matched a subscription.
    pub(crate) fn push(&mut self, mut reference: Reference, limit: QueueLimit) -> Pushed {
        let Reference { sequence, flags, group, .. } = reference;
        if !flags.is_late() {
            if sequence > self.restored {
                self.seen = sequence;
            } else if group == 0 || self.holds(&reference) {
                return Pushed::Known;
            } else {
                // Another member had it before the start, and nobody has it now.
                reference.flags = flags.late();
            }
        }
        let exactly_once = flags.qos() == Qos::ExactlyOnce && reference.group == 0;
        if exactly_once && !flags.is_late() && sequence <= self.noted {
            // Handed out before a crash: it is under way, or it was done.
            if let Some(known) = self.inflight.of_event(sequence) {
                *known = reference;
            }
            return Pushed::Known;
        }
        // Where nothing waits one message may, however large it is and whatever others have.
        let is_more = self.queue.len() > 0 && !self.queue.adds_to_last(&reference);
        let share = self.share.as_ref().filter(|_| is_more && limit.heeds_application);
        if share.is_some_and(|share| !share.has_room(reference.bytes)) {
            self.count_dropped(Dropped::ApplicationQueueFull);
            return Pushed::Full(Dropped::ApplicationQueueFull);
        }
        let Self { queue, labels, .. } = self;
        if !queue.push(reference, labels, limit) {
            self.count_dropped(Dropped::QueueFull);
            return Pushed::Full(Dropped::QueueFull);
        }
        self.recount();
        Pushed::Queued
    }

    /// Whether a message of a shared subscription that was matched before the start waits, or is
    /// under way.
    fn holds(&self, reference: &Reference) -> bool {
        let is_it =
            |one: &Reference| (one.sequence, one.group) == (reference.sequence, reference.group);
        self.queue.since(reference.sequence).any(is_it)
            || self.inflight.open().any(|sent| is_it(&sent.reference))
    }

    /// A message did not reach the session.
    pub(crate) fn count_dropped(&mut self, why: Dropped) {
        let counts = self.dropped.get_or_insert_default();
        if let Some(at) = Dropped::ALL.iter().position(|one| *one == why) {
            counts[at] += 1;
        }
    }

    /// How many messages did not reach it since the start, for each reason that there was.
    pub(crate) fn dropped_counts(&self) -> Vec<(Dropped, u64)> {
        let counts = self.dropped.as_deref().copied().unwrap_or_default();
        let all = Dropped::ALL.into_iter().zip(counts);
        all.filter(|(_, count)| *count > 0).collect()
    }
}
