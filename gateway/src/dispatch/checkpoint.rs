//! Writes down where everything stands, often enough that a restart repeats little.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eg_event::Sequence;
use eg_storage::{Attempt, Changes, StoreError};
use tokio::sync::OwnedMutexGuard;

use super::Dispatch;

/// How often that is done while something happens.
const INTERVAL: Duration = Duration::from_millis(250);
/// How often, in intervals, when events come in that concern nobody.
const IDLE_INTERVALS: u32 = 20;
/// How many attempts may wait to be logged; beyond that the oldest are left out, and counted.
const ATTEMPTS_MAX: usize = 200_000;

/// The attempts that have not been logged yet.
#[derive(Debug, Default)]
pub struct AttemptLog(Mutex<(Vec<Attempt>, u64)>);

impl AttemptLog {
    /// Adds one.
    pub fn push(&self, attempt: Attempt) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if log.0.len() >= ATTEMPTS_MAX {
            log.0.drain(..ATTEMPTS_MAX / 2);
            log.1 += ATTEMPTS_MAX as u64 / 2;
        }
        log.0.push(attempt);
    }

    fn take(&self) -> Vec<Attempt> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// How many were left out, because the disk could not take them in time.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// Writes checkpoints until the gateway stops.
pub async fn run(dispatch: Arc<Dispatch>) {
    let mut ticks = 0u32;
    let mut written = Sequence::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = dispatch.stop.cancelled() => return,
        }
        ticks = ticks.wrapping_add(1);
        let routed = dispatch.routed();
        let idle = routed == written || !ticks.is_multiple_of(IDLE_INTERVALS);
        match dispatch.write_down(idle).await {
            Ok(()) if !idle => written = routed,
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, "where deliveries stand could not be written down");
            }
        }
    }
}

impl Dispatch {
    /// Writes down where everything stands now.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        self.write_down(false).await
    }

    /// The same, unless nothing but the tailer's place has changed and `idle` says that this can
    /// wait.
    async fn write_down(&self, idle: bool) -> Result<(), StoreError> {
        // Held throughout, so that what is older is never written over what is newer.
        let mut unsaved = Arc::clone(&self.unsaved).lock_owned().await;
        if !unsaved.is_empty() {
            // What the lanes have changed since stays with them until this is done.
            unsaved = self.apply(unsaved, Changes::default()).await?;
        }
        // The tailer's place comes first: what it has routed since is routed again after a crash,
        // and the lanes pass over what they have.
        let routed = self.routed();
        for registered in self.all() {
            registered.lane().save(&mut unsaved);
        }
        self.quarantine.save(&mut unsaved);
        unsaved.log_attempts(self.log.take());
        if unsaved.is_empty() && idle {
            return Ok(());
        }
        unsaved.put_routed(routed);
        self.apply(unsaved, Changes::default()).await.map(drop)
    }

    /// Makes what `keep` adds and `asked` durable, after whatever could not be written before. If
    /// that fails, the former is written later, and `asked` never. `keep` is called when nobody else
    /// writes: how a lane stands, taken earlier, could be written over what is newer.
    pub(super) async fn persist(
        &self,
        keep: impl FnOnce(&mut Changes),
        asked: Changes,
    ) -> Result<(), StoreError> {
        let mut unsaved = Arc::clone(&self.unsaved).lock_owned().await;
        keep(&mut unsaved);
        self.apply(unsaved, asked).await.map(drop)
    }

    /// Whether or not anybody waits for it, nobody else writes until this is done, and what could not
    /// be written is still there.
    async fn apply(
        &self,
        mut unsaved: OwnedMutexGuard<Changes>,
        asked: Changes,
    ) -> Result<OwnedMutexGuard<Changes>, StoreError> {
        let ledger = self.outlets.ledger.clone();
        let write = move || {
            let mut both = (!asked.is_empty()).then(|| unsaved.clone());
            if let Some(both) = &mut both {
                both.append(asked);
            }
            ledger.apply(both.as_ref().unwrap_or(&unsaved))?;
            *unsaved = Changes::default();
            Ok(unsaved)
        };
        tokio::task::spawn_blocking(write).await.unwrap_or(Err(StoreError::Closed))
    }
}
