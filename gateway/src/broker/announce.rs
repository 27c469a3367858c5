//! Events of the gateway's own about MQTT clients: stored like any other, allowed by nobody.

use std::sync::Arc;

use eg_auth::the_gateway;
use eg_event::{Announce, Binding, CloudEvent, Origin, Protocol, Submission};
use eg_storage::Journal;
use futures_util::future::{BoxFuture, FutureExt as _};

use crate::dispatch::Dispatch;

/// Puts them into the journal.
pub struct OwnEvents {
    journal: Journal,
    dispatch: Arc<Dispatch>,
}

impl OwnEvents {
    /// Writes to `journal`; `dispatch` knows who is concerned.
    #[must_use]
    pub fn new(journal: &Journal, dispatch: &Arc<Dispatch>) -> Self {
        Self { journal: journal.clone(), dispatch: Arc::clone(dispatch) }
    }
}

impl Announce for OwnEvents {
    fn announce(&self, events: Vec<CloudEvent>) -> BoxFuture<'static, ()> {
        let submission = |event| {
            let origin = Origin {
                protocol: Protocol::Internal,
                binding: Binding::Structured,
                remote: None,
                address: "mqtt".into(),
                client_id: None,
            };
            let subscriptions = self.dispatch.count_matching(&event, &origin);
            let submission = Submission::new(event, the_gateway(), origin);
            (Submission { id_assigned: true, ..submission }, subscriptions)
        };
        let appended = self.journal.append(events.into_iter().map(submission).collect());
        async move {
            for refusal in appended.await.into_iter().filter_map(Result::err) {
                tracing::warn!(%refusal, "an event about an MQTT client could not be stored");
            }
        }
        .boxed()
    }
}
