//! The keys of an issuer as they are known here: fetched once for all who wait, used while they are
//! fresh, kept for a stated time when the provider is down, and then no longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use eg_event::{Clock, Timestamp};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use super::jws::{Jws, invalid};
use super::keys::{KeySet, NoKey};
use super::provider::Provider;
use crate::Unauthenticated;
use crate::config::{Algorithm, IssuerConfig};

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct Keyring {
    provider: Arc<Provider>,
    fresh: Duration,
    stale_max: Duration,
    refetch_min: Duration,
    clock: Clock,
    tasks: TaskTracker,
    held: ArcSwapOption<KeySet>,
    /// Held by whoever fetches.
    fetching: Mutex<()>,
    /// How many attempts to fetch have ended.
    attempts: AtomicU64,
    /// When the latest one began, in microseconds; 0: none did.
    attempted_at: AtomicU64,
}

impl Keyring {
    pub(crate) fn new(
        config: &IssuerConfig,
        provider: Arc<Provider>,
        clock: Clock,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let seconds = |count: u32| Duration::from_secs(count.into());
        Arc::new(Self {
            provider,
            fresh: seconds(config.keys_fresh_seconds),
            stale_max: seconds(config.keys_stale_seconds_max),
            refetch_min: seconds(config.keys_refetch_seconds_min),
            clock,
            tasks,
            held: ArcSwapOption::empty(),
            fetching: Mutex::new(()),
            attempts: AtomicU64::new(0),
            attempted_at: AtomicU64::new(0),
        })
    }

    /// The keys, as fresh as they can be had without waiting; waits only when there are none that
    /// may be used.
    pub(crate) async fn current(self: &Arc<Self>) -> Result<Arc<KeySet>, Unauthenticated> {
        let now = self.clock.now();
        if let Some(held) = self.usable(now) {
            if now.since(held.fetched_at) > self.fresh && self.may_fetch(now) {
                drop(self.spawn_fetch());
            }
            return Ok(held);
        }
        self.fetch().await;
        self.usable(self.clock.now()).ok_or_else(|| Unauthenticated::Unavailable {
            reason: format!("the keys of {} cannot be fetched", self.provider.issuer()),
            retry_after: self.refetch_min,
        })
    }

    /// Whether the signature of `jws` holds; an unknown key may be a new one, so that the keys are
    /// fetched again, at most once in a while.
    pub(crate) async fn verify(
        self: &Arc<Self>,
        jws: &Jws<'_>,
        allowed: &[Algorithm],
    ) -> Result<Arc<KeySet>, Unauthenticated> {
        for again in [true, false] {
            let keys = self.current().await?;
            match keys.verify(jws, allowed) {
                Ok(()) => return Ok(keys),
                Err(NoKey::Refused(why)) => return Err(why),
                Err(NoKey::Unknown) if again => self.fetch().await,
                Err(NoKey::Unknown) => {}
            }
        }
        Err(invalid("kid", "the issuer has no such key"))
    }

    fn usable(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        let held = self.held.load_full()?;
        (now.since(held.fetched_at) <= self.stale_max).then_some(held)
    }

    fn may_fetch(&self, now: Timestamp) -> bool {
        let attempted_at = self.attempted_at.load(Ordering::Acquire);
        let ago = now.since(Timestamp::from_micros(attempted_at));
        attempted_at == 0 || ago >= self.refetch_min
    }

    /// Waits for one attempt to fetch, which goes on when the sender who waits goes away.
    async fn fetch(self: &Arc<Self>) {
        drop(self.spawn_fetch().await);
    }

    fn spawn_fetch(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let keyring = Arc::clone(self);
        let seen = self.attempts.load(Ordering::Acquire);
        self.tasks.spawn(async move { keyring.attempt(seen).await })
    }

    async fn attempt(&self, seen: u64) {
        let fetching = self.fetching.lock().await;
        let now = self.clock.now();
        if self.attempts.load(Ordering::Acquire) != seen || !self.may_fetch(now) {
            return;
        }
        self.attempted_at.store(now.as_micros().max(1), Ordering::Release);
        let before = self.held.load_full();
        match self.provider.keys(before.as_deref(), now).await {
            Ok(keys) => self.held.store(Some(Arc::new(keys))),
            Err(error) => {
                let issuer = self.provider.issuer();
                tracing::warn!(issuer, %error, "the keys of an issuer cannot be fetched");
            }
        }
        self.attempts.fetch_add(1, Ordering::Release);
        drop(fetching);
    }
}
