//! Where retained messages are kept: in the ledger, so that retention of the journal does not
//! take them away.

use std::sync::Arc;

use eg_event::{Refusal, RetainedChanges, RetainedStore, Scanned, Sequence, StoredEvent};
use eg_storage::{Changes, Journal, Ledger, StoreError};
use futures_util::future::{BoxFuture, FutureExt as _};

use super::unavailable;

/// The retained messages of MQTT topics.
pub struct RetainedLedger {
    ledger: Ledger,
    journal: Journal,
}

impl RetainedLedger {
    /// Keeps them in `ledger`, beside `journal`.
    #[must_use]
    pub fn new(ledger: Ledger, journal: Journal) -> Self {
        Self { ledger, journal }
    }

    /// Where to go on in the journal; at the first start, from its end.
    fn applied(&self) -> Result<Sequence, StoreError> {
        if let Some(applied) = self.ledger.retained_applied()? {
            return Ok(applied);
        }
        let applied = self.journal.end();
        let mut changes = Changes::default();
        changes.put_retained(&RetainedChanges { applied, ..RetainedChanges::default() });
        self.ledger.apply(&changes)?;
        Ok(applied)
    }
}

impl RetainedStore for RetainedLedger {
    fn load(&self, visit: &mut dyn FnMut(StoredEvent)) -> Result<Sequence, Refusal> {
        let applied = self.ledger.retained(visit).and_then(|()| self.applied());
        applied.map_err(|error| failed(&error, "retained messages cannot be read"))
    }

    fn get(&self, sequences: Vec<Sequence>) -> Scanned {
        let ledger = self.ledger.clone();
        async move {
            let read = tokio::task::spawn_blocking(move || ledger.retained_at(&sequences)).await;
            let found = read.unwrap_or(Err(StoreError::Closed));
            let found =
                found.map_err(|error| failed(&error, "a retained message cannot be read"))?;
            Ok(found.into_iter().map(Arc::new).collect())
        }
        .boxed()
    }

    fn save(&self, changes: RetainedChanges) -> BoxFuture<'static, Result<(), Refusal>> {
        let ledger = self.ledger.clone();
        async move {
            let written = tokio::task::spawn_blocking(move || {
                let mut all = Changes::default();
                all.put_retained(&changes);
                ledger.apply(&all)
            });
            let written = written.await.unwrap_or(Err(StoreError::Closed));
            written.map_err(|error| failed(&error, "retained messages cannot be written down"))
        }
        .boxed()
    }
}

fn failed(error: &StoreError, what: &'static str) -> Refusal {
    tracing::error!(%error, what);
    unavailable(what)
}
