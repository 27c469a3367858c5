//! What has happened since the start, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::{ConnectRefusal, Reason};

/// Why a message did not reach a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// As many messages wait for the session as may.
    QueueFull,
    /// As many messages wait for the sessions of its application as may.
    ApplicationQueueFull,
    /// The client takes no packet as large as that.
    PacketTooLarge,
    /// Its time was over before it could be sent.
    Expired,
    /// Retention let the event go before it could be sent.
    Gone,
    /// It reached who was there, and was not retained: there is no room for more.
    NotRetained,
}

impl Dropped {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::ApplicationQueueFull,
        Self::PacketTooLarge,
        Self::Expired,
        Self::Gone,
        Self::NotRetained,
    ];

    /// The word for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::ApplicationQueueFull => "application_queue_full",
            Self::PacketTooLarge => "packet_too_large",
            Self::Expired => "expired",
            Self::Gone => "gone",
            Self::NotRetained => "not_retained",
        }
    }
}

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
    /// Connections that operators ended.
    pub connections_ended_by_operators: AtomicU64,
    /// Clients that authenticated again within their connection.
    pub reauthentications: AtomicU64,
    /// Messages that clients published.
    pub publications: AtomicU64,
    /// Bytes that clients sent after CONNECT.
    pub bytes_received: AtomicU64,
    /// Bytes that were sent to clients after CONNACK.
    pub bytes_sent: AtomicU64,
    /// Sessions that ended because their time was over.
    pub sessions_expired: AtomicU64,
    /// Events about clients that were not told: too many waited.
    pub lifecycle_events_dropped: AtomicU64,
    /// How often nothing more was read from a client that published faster than it may.
    pub reading_paused: AtomicU64,
    /// Messages that could not become events.
    pub messages_refused: AtomicU64,
    /// QoS 0 messages whose event was refused, which their senders cannot be told.
    pub messages_dropped: AtomicU64,
    /// Topic filters that were not granted.
    pub subscriptions_refused: AtomicU64,
    /// Messages that were sent to subscribers.
    pub deliveries: AtomicU64,
    /// Messages that did not reach a subscriber.
    pub deliveries_dropped: Tally<Dropped>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            connections: AtomicU64::default(),
            connections_refused: AtomicU64::default(),
            connects_refused: Tally::new(&ConnectRefusal::ALL),
            connections_ended: Tally::new(&Reason::ALL),
            connections_ended_by_operators: AtomicU64::default(),
            reauthentications: AtomicU64::default(),
            publications: AtomicU64::default(),
            bytes_received: AtomicU64::default(),
            bytes_sent: AtomicU64::default(),
            sessions_expired: AtomicU64::default(),
            lifecycle_events_dropped: AtomicU64::default(),
            reading_paused: AtomicU64::default(),
            messages_refused: AtomicU64::default(),
            messages_dropped: AtomicU64::default(),
            subscriptions_refused: AtomicU64::default(),
            deliveries: AtomicU64::default(),
            deliveries_dropped: Tally::new(&Dropped::ALL),
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
