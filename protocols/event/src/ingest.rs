//! The ports through which every protocol hands over events.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::event::CloudEvent;
use crate::principal::Principal;
use crate::receipt::Receipt;
use crate::refusal::Refusal;
use crate::submission::{Handshake, Submission};

/// The answers to a list of submissions, in their order, once each is durable or refused.
pub type Ingested = BoxFuture<'static, Vec<Result<Receipt, Refusal>>>;

/// The way in. Each event of a list stands alone: one may be stored and the next refused. But after
/// one that its sender is to hand over again later, none of the same application is stored to be
/// routed: whoever comes again with the rest keeps the order.
pub trait Ingest: Send + Sync {
    /// Takes the submissions in their order. They are on their way to the disk when this returns;
    /// the future only waits for what became of them, so that a client that leaves meanwhile has
    /// still handed over its events.
    fn ingest(&self, submissions: Vec<Submission>) -> Ingested;

    /// Completes when there is room again after a [`Refusal::Busy`], or at once when there is.
    fn room(&self) -> BoxFuture<'static, ()>;
}

/// Takes events of the gateway itself, which nobody has to allow.
pub trait Announce: Send + Sync {
    /// Stores the events. Those that cannot be stored are left out, and that is logged.
    fn announce(&self, events: Vec<CloudEvent>) -> BoxFuture<'static, ()>;
}

/// Stands for the name and the application of a principal: alike for the same one, and nobody can
/// aim at another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner(pub u32);

impl Owner {
    /// Nobody is known to own it.
    pub const NOBODY: Self = Self(0);
}

/// A session that is kept over restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSession {
    /// Whose identifier it goes by.
    pub client_id: Arc<str>,
    /// Whose it is.
    pub owner: Owner,
    /// How long it outlives its connection, in seconds.
    pub expiry_s: u32,
}

/// The exchanges under which events are taken exactly once (MQTT 5.0 section 4.3.3, QoS 2). One
/// opens when a [`Submission`] that carries it is committed, in the same commit, and stays open
/// over restarts: the same event sent again meanwhile is answered with the first one's receipt.
pub trait Handshakes: Send + Sync {
    /// Closes the exchange. Once the future completes that is durable, and the same packet
    /// identifier stands for a new event.
    fn release(&self, handshake: Handshake) -> BoxFuture<'static, Result<(), Refusal>>;

    /// What stands for `principal` as the owner of sessions, after a restart too.
    fn owner(&self, principal: &Principal) -> Owner;

    /// Keeps a session over restarts, or, when it outlives its connection by nothing, no longer.
    /// Once the future completes that is durable.
    fn keep_session(&self, session: KeptSession) -> BoxFuture<'static, Result<(), Refusal>>;

    /// Every session that is kept or has open exchanges.
    fn sessions(&self) -> Vec<KeptSession>;

    /// Closes all exchanges of a session that has ended, and keeps it no longer.
    fn forget_session(&self, client_id: Arc<str>) -> BoxFuture<'static, Result<(), Refusal>>;

    /// The packet identifiers of the open exchanges of a session, in order.
    fn open_in_session(&self, client_id: &str) -> Vec<u16>;
}
