//! Who is asking, as one protocol asks it: attempts that fail are counted.

use std::sync::Arc;

use eg_auth::{Authenticate, Credential, Peer, Unauthenticated};
use eg_event::Principal;
use futures_util::future::{BoxFuture, FutureExt as _};

use crate::metrics::Metrics;

/// Recognizes senders for one protocol.
pub struct Counted {
    inner: Arc<dyn Authenticate>,
    protocol: &'static str,
    metrics: Arc<Metrics>,
}

impl Counted {
    /// What `inner` does, counted in `metrics` for `protocol`.
    #[must_use]
    pub fn new(
        inner: Arc<dyn Authenticate>,
        protocol: &'static str,
        metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self { inner, protocol, metrics: Arc::clone(metrics) })
    }
}

impl Authenticate for Counted {
    fn authenticate<'a>(
        &'a self,
        credential: &'a Credential,
        peer: &'a Peer,
    ) -> BoxFuture<'a, Result<Arc<Principal>, Unauthenticated>> {
        let count = |why: &Unauthenticated| self.metrics.unauthenticated(self.protocol, why);
        let recognized = self.inner.authenticate(credential, peer);
        async move { recognized.await.inspect_err(count) }.boxed()
    }
}
