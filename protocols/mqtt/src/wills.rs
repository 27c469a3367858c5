//! The wills of those who are connected, on the disk: who was connected when the gateway crashed is
//! lost too, and their wills are published after the next start (MQTT 5.0 section 3.1.2.5).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eg_event::{KeptWill, Refusal, WillStore};
use tokio::sync::Notify;
use tokio::sync::oneshot::Receiver;
use tokio_util::sync::CancellationToken;

use crate::sessions::{Sessions, WillFate};

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Wills on their way to the disk, and those that were found there.
pub(crate) struct Wills {
    store: Arc<dyn WillStore>,
    unsaved: Mutex<HashMap<u64, Option<KeptWill>>>,
    changed: Notify,
    found: Mutex<Vec<Found>>,
}

/// A will that was found at start.
pub(crate) struct Found {
    pub(crate) number: WillNumber,
    pub(crate) will: KeptWill,
    /// What becomes of it while it waits with its session; none: it does not wait.
    pub(crate) told: Option<Receiver<WillFate>>,
}

/// The number of a will that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WillNumber(pub(crate) u64);

impl Wills {
    /// Takes up what `store` has; what has a delay waits with its session in `sessions`.
    pub(crate) fn load(store: Arc<dyn WillStore>, sessions: &Sessions) -> Result<Self, Refusal> {
        let find = |(number, will): (u64, KeptWill)| {
            let client_id = will.submission.origin.client_id.as_deref();
            let client_id = client_id.filter(|_| will.wait_s > 0);
            let told = client_id.and_then(|client_id| sessions.wait(client_id));
            Found { number: WillNumber(number), will, told }
        };
        let found = Mutex::new(store.load()?.into_iter().map(find).collect());
        Ok(Self { store, unsaved: Mutex::default(), changed: Notify::new(), found })
    }

    /// Those that were found at start, once.
    pub(crate) fn take_found(&self) -> Vec<Found> {
        std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps a will from now on. Nobody waits for that.
    pub(crate) fn keep(&self, will: KeptWill) -> WillNumber {
        let number = rand::random();
        self.lock().insert(number, Some(will));
        self.changed.notify_one();
        WillNumber(number)
    }

    /// A will is not kept any more: it has been published, or never will be.
    pub(crate) fn forget(&self, WillNumber(number): WillNumber) {
        match self.lock().entry(number) {
            // It never got to the disk.
            Entry::Occupied(entry) if entry.get().is_some() => drop(entry.remove()),
            Entry::Occupied(_) => {}
            Entry::Vacant(entry) => drop(entry.insert(None)),
        }
        self.changed.notify_one();
    }

    /// Writes down what changes, until `stop`.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        while stop.run_until_cancelled(self.changed.notified()).await.is_some() {
            if !self.save().await {
                tokio::time::sleep(RETRY).await;
                self.changed.notify_one();
            }
        }
    }

    /// Writes down what has changed; says whether that worked.
    pub(crate) async fn save(&self) -> bool {
        let unsaved = std::mem::take(&mut *self.lock());
        if unsaved.is_empty() {
            return true;
        }
        let changes = unsaved.iter().map(|(number, will)| (*number, will.clone())).collect();
        let Err(refusal) = self.store.save(changes).await else { return true };
        tracing::warn!(%refusal, "wills could not be written down yet");
        let mut newer = self.lock();
        for (number, change) in unsaved {
            newer.entry(number).or_insert(change);
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Option<KeptWill>>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
