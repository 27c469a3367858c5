//! The port through which the last retained message of each topic is kept.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::feed::Scanned;
use crate::receipt::Sequence;
use crate::refusal::Refusal;
use crate::submission::StoredEvent;

/// Keeps retained messages over restarts, whatever the journal lets go.
pub trait RetainedStore: Send + Sync {
    /// Shows `visit` every message that is kept. Says from where on the journal is to be read for
    /// those that came later.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when the store cannot be read.
    fn load(&self, visit: &mut dyn FnMut(StoredEvent)) -> Result<Sequence, Refusal>;

    /// The messages at `sequences` that are kept, in ascending order.
    fn get(&self, sequences: Vec<Sequence>) -> Scanned;

    /// Makes all of `changes` durable together. Once the future completes they are.
    fn save(&self, changes: RetainedChanges) -> BoxFuture<'static, Result<(), Refusal>>;
}

/// Changes that become durable together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetainedChanges {
    /// Everything in the journal before this is taken into account.
    pub applied: Sequence,
    /// Messages that are kept from now on.
    pub kept: Vec<Arc<StoredEvent>>,
    /// Messages that are not kept any more.
    pub gone: Vec<Sequence>,
}
