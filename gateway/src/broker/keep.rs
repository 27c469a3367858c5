//! Where MQTT sessions are kept: in the ledger, many changes in one commit; exchanges of QoS 2 in
//! the journal's own commits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eg_event::{Handshake, Refusal, Sequence, SessionChanges, SessionRows, SessionStore};
use eg_storage::{Changes, Journal, Ledger};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::unavailable;

/// How many may wait for a commit.
const WAITING_MAX: usize = 100_000;
/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The sessions of MQTT subscribers.
pub struct Sessions {
    ledger: Ledger,
    journal: Journal,
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

/// Changes that are not durable yet, and who waits for them.
#[derive(Default)]
struct Waiting {
    changes: SessionChanges,
    answers: Vec<oneshot::Sender<Result<(), Refusal>>>,
}

impl Sessions {
    /// Keeps sessions in `ledger`, and their exchanges in `journal`.
    #[must_use]
    pub fn new(ledger: Ledger, journal: Journal) -> Arc<Self> {
        let (waiting, arrived) = (Mutex::default(), Notify::new());
        Arc::new(Self { ledger, journal, waiting, arrived })
    }

    /// Writes what arrives, all that arrived while the last commit ran in the next one, until
    /// `stop`; then what is left.
    pub async fn run(&self, stop: &CancellationToken) {
        loop {
            let is_last = tokio::select! {
                () = self.arrived.notified() => false,
                () = stop.cancelled() => true,
            };
            let Waiting { changes, answers } = std::mem::take(&mut *self.lock());
            if !changes.is_empty() {
                self.write(changes, answers, is_last).await;
            }
            if is_last {
                return;
            }
        }
    }

    async fn write(
        &self,
        changes: SessionChanges,
        answers: Vec<oneshot::Sender<Result<(), Refusal>>>,
        is_last: bool,
    ) {
        let ledger = self.ledger.clone();
        let kept = changes.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut all = Changes::default();
            all.put_sessions(changes);
            ledger.apply(&all)
        });
        let result = match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(%error, "MQTT sessions could not be written down");
                Err(unavailable("the store failed to write"))
            }
            Err(_) => Err(unavailable("the gateway is shutting down")),
        };
        let is_failed = result.is_err();
        for answer in answers {
            drop(answer.send(result.clone()));
        }
        if is_failed && !is_last {
            // What was to be written is written with what comes next.
            self.put_back(kept);
            tokio::time::sleep(RETRY).await;
            self.arrived.notify_one();
        }
    }

    fn put_back(&self, changes: SessionChanges) {
        let mut waiting = self.lock();
        let later = std::mem::replace(&mut waiting.changes, changes);
        waiting.changes.append(later);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionStore for Sessions {
    fn load(&self) -> Result<SessionRows, Refusal> {
        self.ledger.sessions().map_err(|error| {
            tracing::error!(%error, "MQTT sessions cannot be read");
            unavailable("the ledger cannot be read")
        })
    }

    fn save(&self, changes: SessionChanges) -> BoxFuture<'static, Result<(), Refusal>> {
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.answers.len() >= WAITING_MAX {
            let busy = Refusal::Busy { retry_after: RETRY };
            return std::future::ready(Err(busy)).boxed();
        }
        waiting.changes.append(changes);
        waiting.answers.push(answer);
        drop(waiting);
        self.arrived.notify_one();
        async move {
            let answered = answered.await;
            answered.unwrap_or_else(|_| Err(unavailable("the gateway is shutting down")))
        }
        .boxed()
    }

    fn note(
        &self,
        exchanges: Vec<(Handshake, Option<Sequence>)>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        self.journal.note(exchanges).boxed()
    }

    fn noted(&self) -> Vec<(Handshake, Sequence)> {
        self.journal.noted()
    }
}
