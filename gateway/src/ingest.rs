//! The whole way in: who may publish is settled, who is concerned is counted, and what is taken
//! is durable before anyone is told.

use std::sync::Arc;

use eg_event::{Handshake, Handshakes, Ingest, Ingested, Refusal, Submission};
use eg_storage::Journal;
use futures_util::future::{BoxFuture, FutureExt as _};

use crate::dispatch::Dispatch;
use crate::metrics::Metrics;

/// The way in, behind the ports that the protocols see.
pub struct Pipeline {
    journal: Journal,
    dispatch: Arc<Dispatch>,
    metrics: Arc<Metrics>,
}

impl Pipeline {
    /// Events go to `journal`, and `dispatch` knows who is concerned.
    #[must_use]
    pub fn new(journal: Journal, dispatch: Arc<Dispatch>, metrics: Arc<Metrics>) -> Self {
        Self { journal, dispatch, metrics }
    }
}

impl Ingest for Pipeline {
    fn ingest(&self, submissions: Vec<Submission>) -> Ingested {
        let Some(protocol) = submissions.first().map(|first| first.origin.protocol) else {
            return std::future::ready(Vec::new()).boxed();
        };
        let counted = submissions.into_iter().map(|submission| {
            let subscriptions = self.dispatch.count_matching(&submission.event);
            (submission, subscriptions)
        });
        let appended = self.journal.append(counted.collect());
        let metrics = Arc::clone(&self.metrics);
        async move {
            let answers = appended.await;
            metrics.received(protocol, &answers);
            answers
        }
        .boxed()
    }

    fn room(&self) -> BoxFuture<'static, ()> {
        self.journal.room().boxed()
    }
}

impl Handshakes for Pipeline {
    fn release(&self, handshake: Handshake) -> BoxFuture<'static, Result<(), Refusal>> {
        self.journal.release(handshake).boxed()
    }

    fn keep_session(
        &self,
        client_id: Arc<str>,
        expiry_s: u32,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        self.journal.keep_session(client_id, expiry_s).boxed()
    }

    fn sessions(&self) -> Vec<(Arc<str>, u32)> {
        self.journal.sessions()
    }

    fn forget_session(&self, client_id: Arc<str>) -> BoxFuture<'static, Result<(), Refusal>> {
        self.journal.forget_session(client_id).boxed()
    }

    fn open_in_session(&self, client_id: &str) -> Vec<u16> {
        self.journal.open_in_session(client_id)
    }
}
