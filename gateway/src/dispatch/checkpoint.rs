//! Writes down where everything stands, often enough that a restart repeats little.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eg_event::Sequence;
use eg_storage::{Attempt, Changes, StoreError};

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

/// Where everything stands, as far as it has changed.
struct Snapshot {
    /// The place of the tailer before the lanes' state was taken: what it has routed since is
    /// routed again after a crash, and the lanes pass over what they have.
    routed: Sequence,
    changes: Changes,
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
        let snapshot = dispatch.snapshot().await;
        let idle = snapshot.routed == written || !ticks.is_multiple_of(IDLE_INTERVALS);
        if snapshot.changes.is_empty() && idle {
            continue;
        }
        written = snapshot.routed;
        if let Err(error) = dispatch.write(snapshot).await {
            tracing::error!(%error, "where deliveries stand could not be written down");
        }
    }
}

impl Dispatch {
    /// Writes down where everything stands now.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        let snapshot = self.snapshot().await;
        self.write(snapshot).await
    }

    async fn snapshot(&self) -> Snapshot {
        let routed = self.routed().await;
        let mut changes = Changes::default();
        for registered in self.all() {
            registered.lane().save(&mut changes);
        }
        changes.log_attempts(self.log.take());
        Snapshot { routed, changes }
    }

    async fn write(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let Snapshot { routed, mut changes } = snapshot;
        changes.put_routed(routed);
        self.persist(changes).await
    }

    /// Makes `changes` durable, after whatever could not be written before.
    pub(super) async fn persist(&self, changes: Changes) -> Result<(), StoreError> {
        let mut unsaved = self.unsaved.lock().await;
        unsaved.append(changes);
        let all = std::mem::take(&mut *unsaved);
        let ledger = self.outlets.ledger.clone();
        let write = move || ledger.apply(&all).map_err(|error| Box::new((error, all)));
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failed)) => {
                let (error, all) = *failed;
                *unsaved = all;
                Err(error)
            }
            Err(_) => Err(StoreError::Closed),
        }
    }
}
