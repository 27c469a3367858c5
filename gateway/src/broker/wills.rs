//! Where the wills of MQTT clients are kept: in the ledger.

use eg_auth::{remember, remembered};
use eg_event::{KeptWill, Refusal, Sequence, StoredEvent, Submission, Timestamp, WillStore};
use eg_storage::{Changes, Ledger, StoreError, StoredWill};
use futures_util::future::{BoxFuture, FutureExt as _};

use super::unavailable;

/// The wills of those who are connected, or were when the gateway ended.
pub struct WillLedger(Ledger);

impl WillLedger {
    /// Keeps them in `ledger`.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self(ledger)
    }
}

impl WillStore for WillLedger {
    fn load(&self) -> Result<Vec<(u64, KeptWill)>, Refusal> {
        let stored = self.0.wills().map_err(|error| failed(&error, "wills cannot be read"))?;
        Ok(stored.into_iter().filter_map(|(number, will)| Some((number, kept(will)?))).collect())
    }

    fn save(
        &self,
        changes: Vec<(u64, Option<KeptWill>)>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        let ledger = self.0.clone();
        async move {
            let written = tokio::task::spawn_blocking(move || {
                let mut all = Changes::default();
                for (number, will) in changes {
                    all.put_will(number, will.map(|will| stored(&will)).as_ref());
                }
                ledger.apply(&all)
            });
            let written = written.await.unwrap_or(Err(StoreError::Closed));
            written.map_err(|error| failed(&error, "wills cannot be written down"))
        }
        .boxed()
    }
}

fn stored(will: &KeptWill) -> StoredWill {
    let submission = &will.submission;
    StoredWill {
        wait_s: will.wait_s,
        id_assigned: submission.id_assigned,
        principal: remember(&submission.principal).into(),
        event: StoredEvent {
            sequence: Sequence::default(),
            received_at: Timestamp::default(),
            event: submission.event.clone(),
            sender: submission.sender(),
            origin: submission.origin.clone(),
            trace: submission.trace.clone(),
            held: None,
            message: submission.message.clone(),
        },
    }
}

fn kept(will: StoredWill) -> Option<KeptWill> {
    let StoredWill { wait_s, id_assigned, principal, event } = will;
    let submission = Submission {
        trace: event.trace,
        id_assigned,
        message: event.message,
        ..Submission::new(event.event, remembered(&principal)?, event.origin)
    };
    Some(KeptWill { submission, wait_s })
}

fn failed(error: &StoreError, what: &'static str) -> Refusal {
    tracing::error!(%error, what);
    unavailable(what)
}
