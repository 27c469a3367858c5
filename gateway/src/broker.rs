//! What the MQTT server is handed to serve its subscribers: the journal to read, who may subscribe
//! to what, under which topics events are found, and where sessions are kept.

mod announce;
mod keep;
mod retain;
pub mod topics;
mod wills;

use std::sync::Arc;

use eg_auth::policy::{Action, PolicyStore, Request, Resource};
use eg_event::{Feed, Grants, Principal, Refusal, Scanned, Sequence, StoredEvent};
use eg_storage::{Journal, StoreError};
use futures_util::future::{BoxFuture, FutureExt as _};

pub use announce::OwnEvents;
pub use keep::Sessions;
pub use retain::RetainedLedger;
pub use wills::WillLedger;

/// How many bytes of the journal are read at once when events are no longer in memory.
const SCAN_BYTES: usize = 1 << 20;

/// The journal, as subscribers read it.
pub struct JournalFeed(Journal);

impl JournalFeed {
    /// Reads `journal`.
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        Self(journal)
    }

    fn read(
        &self,
        read: impl FnOnce(&Journal) -> Result<Vec<Arc<StoredEvent>>, StoreError> + Send + 'static,
    ) -> Scanned {
        let journal = self.0.clone();
        async move {
            let read = tokio::task::spawn_blocking(move || read(&journal)).await;
            read.unwrap_or(Err(StoreError::Closed)).map_err(|error| {
                tracing::error!(%error, "the journal cannot be read for a subscriber");
                unavailable("the journal cannot be read")
            })
        }
        .boxed()
    }
}

impl Feed for JournalFeed {
    fn end(&self) -> Sequence {
        self.0.end()
    }

    fn reached(&self, sequence: Sequence) -> BoxFuture<'static, ()> {
        let mut end = self.0.follow_end();
        async move { drop(end.wait_for(|end| *end > sequence).await.map(|end| *end)) }.boxed()
    }

    fn scan_fresh(&self, from: Sequence, events_max: usize) -> Option<Vec<Arc<StoredEvent>>> {
        self.0.scan_fresh(from, events_max)
    }

    fn scan(&self, from: Sequence, events_max: usize) -> Scanned {
        self.read(move |journal| journal.scan_all(from, events_max, SCAN_BYTES))
    }

    fn get(&self, sequences: Vec<Sequence>) -> Scanned {
        let fresh: Option<Vec<_>> =
            sequences.iter().map(|sequence| self.0.get_fresh(*sequence)).collect();
        match fresh {
            Some(events) => std::future::ready(Ok(events)).boxed(),
            None => self.read(move |journal| journal.get_many(&sequences)),
        }
    }
}

/// The policy, as it is asked for subscriptions.
pub struct PolicyGrants(PolicyStore);

impl PolicyGrants {
    /// Asks `policy`.
    #[must_use]
    pub fn new(policy: PolicyStore) -> Self {
        Self(policy)
    }
}

impl Grants for PolicyGrants {
    fn subscribe(
        &self,
        principal: &Principal,
        client_id: &str,
        filter: &str,
    ) -> Result<(), Refusal> {
        let (topic, client_id) = (Some(filter), Some(client_id));
        let resource = Resource { topic, client_id, ..Resource::default() };
        let request = Request { subject: principal.into(), action: Action::Subscribe, resource };
        let policy = self.0.load();
        policy.check(&request).map_err(|why| Refusal::Forbidden(why.to_string().into()))
    }
}

fn unavailable(reason: &'static str) -> Refusal {
    let retry_after = std::time::Duration::from_secs(1);
    Refusal::Unavailable { reason: reason.into(), retry_after }
}
