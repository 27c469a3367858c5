//! Lets go of what retention no longer keeps, and counts what a subscription still needed of it.

use std::sync::Arc;
use std::time::Duration;

use eg_event::Sequence;
use eg_storage::{Changes, StoreError};

use super::Dispatch;

/// How often that is looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// Looks after retention until the gateway stops.
pub async fn run(dispatch: Arc<Dispatch>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = dispatch.stop.cancelled() => return,
        }
        if let Err(error) = dispatch.release().await {
            tracing::error!(%error, "retention could not let go of old events");
        }
    }
}

impl Dispatch {
    /// Lets go of what retention no longer keeps; says before which event everything is gone.
    pub async fn release(&self) -> Result<Option<Sequence>, StoreError> {
        let all = self.all();
        let holding = all.iter().filter(|one| one.definition().subscription.hold_retention);
        let hold = holding.filter_map(|one| one.lane().oldest_needed()).min();
        self.let_go_by_application(hold).await?;
        let journal = self.outlets.journal.clone();
        let expired = tokio::task::spawn_blocking(move || journal.expired(hold)).await;
        let Some(before) = expired.unwrap_or(Err(StoreError::Closed))? else { return Ok(None) };
        for registered in all {
            let lost = registered.lane().forget_before(before);
            registered.wake.notify_one();
            if lost > 0 {
                let definition = registered.definition();
                let name = &*definition.subscription.key();
                tracing::warn!(
                    subscription = name,
                    lost,
                    "retention let go of events that a subscription needed"
                );
            }
        }
        let journal = self.outlets.journal.clone();
        let dropped = tokio::task::spawn_blocking(move || journal.drop_before(before)).await;
        dropped.unwrap_or(Err(StoreError::Closed))?;
        Ok(Some(before))
    }

    /// Lets go of what applications keep no longer by limits of their own. Lanes find out, and count
    /// it as lost, when they get there.
    async fn let_go_by_application(&self, hold: Option<Sequence>) -> Result<(), StoreError> {
        let (journal, ledger) = (self.outlets.journal.clone(), self.outlets.ledger.clone());
        let let_go = move || {
            let outgrown = journal.outgrown(hold)?;
            let mut changes = Changes::default();
            for (application, floor) in &outgrown {
                changes.put_floor(application, *floor);
            }
            for application in journal.forget_floors()? {
                changes.remove_floor(&application);
            }
            if !changes.is_empty() {
                ledger.apply(&changes)?;
            }
            journal.let_go(&outgrown);
            journal.compact()
        };
        tokio::task::spawn_blocking(let_go).await.unwrap_or(Err(StoreError::Closed))
    }
}
