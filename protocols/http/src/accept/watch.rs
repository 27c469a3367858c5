//! How long a connection has been waited for: for a request's head, for the next request, or for
//! the sender of a refused body to read why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long the sender of a body that was refused unread has to read the answer and to close. The
/// connection would otherwise be reset, and the answer with it.
const LINGER: Duration = Duration::from_secs(2);

/// A phase whose beginning was not timed yet.
const UNTIMED: u64 = u64::MAX;

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For the head of a request, from its first byte.
    pub(super) head: Duration,
    /// For the next request to begin.
    pub(super) idle: Duration,
}

/// What is being waited for while no request is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// The next request.
    Idle,
    /// The rest of a head.
    Head,
    /// The sender to close.
    Linger,
}

/// The state of one connection, shared between its stream, its requests and its timer. Everything
/// here changes on the connection's own task, or on those of its HTTP/2 streams, where a moment's
/// disagreement shifts a timeout and no more: the atomics need no order among each other.
#[derive(Debug)]
pub(super) struct Watch {
    limits: Limits,
    opened: Instant,
    under_way: AtomicU32,
    phase: AtomicU8,
    /// When the phase began, in microseconds since the connection was opened; [`UNTIMED`] until
    /// somebody asks.
    since_us: AtomicU64,
    http2: AtomicBool,
    unread: AtomicBool,
}

impl Watch {
    /// A connection that was just opened and whose first head is due.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            opened: Instant::now(),
            under_way: AtomicU32::new(0),
            phase: AtomicU8::new(Phase::Head as u8),
            since_us: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            unread: AtomicBool::new(false),
        }
    }

    /// A request begins, and lasts until the value is dropped.
    pub(super) fn begin(watch: &Arc<Self>) -> Busy {
        watch.under_way.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(watch))
    }

    /// Bytes came in. Over HTTP/2 they need not be a head's, and a head holds up everything behind
    /// it, so there the time for the next request covers both.
    pub(super) fn received(&self, bytes: &[u8]) {
        if self.under_way.load(Ordering::Relaxed) > 0 || self.http2.load(Ordering::Relaxed) {
            return;
        }
        // No HTTP/1.1 method in use begins like the preface of HTTP/2 (RFC 9113 section 3.4).
        if bytes.starts_with(b"PRI") {
            self.http2.store(true, Ordering::Relaxed);
            self.enter(Phase::Idle);
        } else if self.phase() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// A request body was left unread.
    pub(super) fn left_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Whether to wait for the sender to close; begins the wait.
    pub(super) fn lingers(&self) -> bool {
        let lingers = self.unread.load(Ordering::Relaxed) && !self.http2.load(Ordering::Relaxed);
        if lingers && self.phase() != Phase::Linger {
            self.enter(Phase::Linger);
        }
        lingers
    }

    /// When the connection has had its time; `None` while a request is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.is_busy() {
            return None;
        }
        let mut since_us = self.since_us.load(Ordering::Relaxed);
        if since_us == UNTIMED {
            since_us = u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(UNTIMED - 1);
            self.since_us.store(since_us, Ordering::Relaxed);
        }
        Some(self.opened + Duration::from_micros(since_us) + self.patience())
    }

    /// How long a connection without a request is kept.
    pub(super) fn idle_time(&self) -> Duration {
        self.limits.idle
    }

    fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0 && self.phase() != Phase::Linger
    }

    fn patience(&self) -> Duration {
        match self.phase() {
            Phase::Idle => self.limits.idle,
            Phase::Head => self.limits.head,
            Phase::Linger => LINGER,
        }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            head if head == Phase::Head as u8 => Phase::Head,
            linger if linger == Phase::Linger as u8 => Phase::Linger,
            _ => Phase::Idle,
        }
    }

    /// The time is taken when it is first asked for, which is after the connection was polled: by
    /// then most phases are over.
    fn enter(&self, phase: Phase) {
        self.since_us.store(UNTIMED, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Watch>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::Relaxed) == 1 && self.0.phase() != Phase::Linger
        {
            self.0.enter(Phase::Idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { head: Duration::from_secs(10), idle: Duration::from_secs(75) };

    fn left(watch: &Watch) -> Option<u64> {
        watch.due().map(|due| due.saturating_duration_since(Instant::now()).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_less_time_than_a_pause_between_requests() {
        let watch = Arc::new(Watch::new(LIMITS));
        assert_eq!(left(&watch), Some(10));
        let busy = Watch::begin(&watch);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(left(&watch), None);
        drop(busy);
        assert_eq!(left(&watch), Some(75));
        tokio::time::advance(Duration::from_secs(70)).await;
        watch.received(b"P");
        assert_eq!(left(&watch), Some(10));
        tokio::time::advance(Duration::from_secs(5)).await;
        watch.received(b"OST");
        assert_eq!(left(&watch), Some(5));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(left(&watch), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_sender_of_a_body_left_unread_has_a_moment_to_close() {
        let watch = Arc::new(Watch::new(LIMITS));
        drop(Watch::begin(&watch));
        assert!(!watch.lingers());
        watch.left_unread();
        assert!(watch.lingers() && watch.lingers());
        assert_eq!(left(&watch), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_http2_are_no_head() {
        let watch = Watch::new(LIMITS);
        watch.received(b"PRI * HTTP/2.0");
        watch.received(b"\0\0\0");
        assert_eq!(left(&watch), Some(75));
    }
}
