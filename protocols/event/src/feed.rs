//! The ports through which a protocol with subscribers of its own reads what was accepted, and
//! keeps what its subscribers have.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::principal::Principal;
use crate::receipt::Sequence;
use crate::refusal::Refusal;
use crate::submission::{Handshake, StoredEvent};

/// Reads the journal, in the order of acceptance.
pub trait Feed: Send + Sync {
    /// The sequence that the next event will have.
    fn end(&self) -> Sequence;

    /// Completes once the event at `sequence` is durable.
    fn reached(&self, sequence: Sequence) -> BoxFuture<'static, ()>;

    /// The events from `from` on, at most `events_max`; `None` when `from` is not in memory.
    fn scan_fresh(&self, from: Sequence, events_max: usize) -> Option<Vec<Arc<StoredEvent>>>;

    /// The same from wherever they are; `from`, or the first that is still there.
    fn scan(&self, from: Sequence, events_max: usize) -> Scanned;

    /// The events at `sequences`, which ascend; those that are gone are left out.
    fn get(&self, sequences: Vec<Sequence>) -> Scanned;
}

/// Events that were read.
pub type Scanned = BoxFuture<'static, Result<Vec<Arc<StoredEvent>>, Refusal>>;

/// Under which topic an event reaches MQTT subscribers, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The topic name.
    pub name: Box<str>,
    /// Where a packet cannot have the event's attributes beside the payload (MQTT 3.1.1), the payload
    /// is sent alone, and not the whole event in JSON.
    pub is_raw: bool,
}

/// Knows the topics of events that did not come by MQTT.
pub trait Topics: Send + Sync {
    /// The topic of an event.
    fn of(&self, event: &StoredEvent) -> Topic;
}

/// Says who may subscribe to what.
pub trait Grants: Send + Sync {
    /// Whether `principal`, as the MQTT client `client_id`, may have everything that `filter`
    /// stands for.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`], with the reason in words.
    fn subscribe(
        &self,
        principal: &Principal,
        client_id: &str,
        filter: &str,
    ) -> Result<(), Refusal>;
}

/// Keeps what the sessions of subscribers have, over restarts. What rows hold is the protocol's.
pub trait SessionStore: Send + Sync {
    /// Everything that is kept.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when the store cannot be read.
    fn load(&self) -> Result<SessionRows, Refusal>;

    /// Makes all of `changes` durable together. Once the future completes they are.
    fn save(&self, changes: SessionChanges) -> BoxFuture<'static, Result<(), Refusal>>;

    /// Writes down, in their order, which exchanges stand for which events on their way to
    /// subscribers (QoS 2); none: the exchange is over. Once the future completes that is durable.
    fn note(
        &self,
        exchanges: Vec<(Handshake, Option<Sequence>)>,
    ) -> BoxFuture<'static, Result<(), Refusal>>;

    /// The exchanges that have been noted and are not over.
    fn noted(&self) -> Vec<(Handshake, Sequence)>;
}

/// A row, by the number of a session and a number of its own; without a value it goes.
pub type SessionRow = ((u64, u64), Option<Vec<u8>>);

/// What is kept of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRows {
    /// Everything before this has been matched against all sessions, if anything has.
    pub routed: Option<Sequence>,
    /// What each client's session is, by client identifier.
    pub sessions: Vec<(String, Vec<u8>)>,
    /// Rows by the number of a session and a number of their own, in order.
    pub rows: Vec<((u64, u64), Vec<u8>)>,
}

/// Changes that become durable together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionChanges {
    /// Everything before this has been matched against all sessions.
    pub routed: Option<Sequence>,
    /// What a client's session is; none: it is over.
    pub sessions: Vec<(Arc<str>, Option<Vec<u8>>)>,
    /// Rows; without a value they go.
    pub rows: Vec<SessionRow>,
    /// Sessions, by number, whose rows all go, before other rows are written.
    pub ended: Vec<u64>,
}

impl SessionChanges {
    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routed.is_none()
            && self.sessions.is_empty()
            && self.rows.is_empty()
            && self.ended.is_empty()
    }

    /// Adds what changes later.
    pub fn append(&mut self, mut later: Self) {
        self.routed = later.routed.or(self.routed);
        self.rows.retain(|((number, _), _)| !later.ended.contains(number));
        self.ended.append(&mut later.ended);
        self.sessions.append(&mut later.sessions);
        self.rows.append(&mut later.rows);
    }
}
