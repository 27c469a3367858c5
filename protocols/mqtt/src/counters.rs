//! What has happened since the start, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::{ConnectRefusal, Reason};

/// What has happened since the start.
#[derive(Debug)]
pub struct Counters {
    /// Connections that are open.
    pub connections: AtomicU64,
    /// Connections that were turned away at a limit.
    pub connections_refused: AtomicU64,
    /// CONNECT packets that were refused, or could not be read.
    pub connects_refused: Tally<ConnectRefusal>,
    /// Connections that the server ended.
    pub connections_ended: Tally<Reason>,
    /// Clients that authenticated again within their connection.
    pub reauthentications: AtomicU64,
    /// Messages that could not become events.
    pub messages_refused: AtomicU64,
    /// QoS 0 messages whose event was refused, which their senders cannot be told.
    pub messages_dropped: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            connections: AtomicU64::default(),
            connections_refused: AtomicU64::default(),
            connects_refused: Tally::new(&ConnectRefusal::ALL),
            connections_ended: Tally::new(&Reason::ALL),
            reauthentications: AtomicU64::default(),
            messages_refused: AtomicU64::default(),
            messages_dropped: AtomicU64::default(),
        }
    }
}

impl Counters {
    pub(crate) fn add_reauthentication(&self) {
        self.reauthentications.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often each of a few things has happened.
#[derive(Debug)]
pub struct Tally<K>(Vec<(K, AtomicU64)>);

impl<K: Copy + PartialEq> Tally<K> {
    fn new(all: &[K]) -> Self {
        Self(all.iter().map(|kind| (*kind, AtomicU64::default())).collect())
    }

    pub(crate) fn add(&self, kind: K) {
        if let Some((_, count)) = self.0.iter().find(|(known, _)| *known == kind) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each kind, and how often it has happened.
    pub fn counts(&self) -> impl Iterator<Item = (K, u64)> {
        self.0.iter().map(|(kind, count)| (*kind, count.load(Ordering::Relaxed)))
    }

    /// How often `kind` has happened.
    #[must_use]
    pub fn of(&self, kind: K) -> u64 {
        self.counts().find(|(known, _)| *known == kind).map_or(0, |(_, count)| count)
    }
}
