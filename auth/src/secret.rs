//! API keys and passwords as they are presented: checked off the asynchronous threads, a few at
//! once, and remembered for a while when they held.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use eg_event::{Clock, Principal};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::config::AuthConfig;
use crate::lock_out::{LockOut, Suspect};
use crate::stored::{SecretKind, StoredCredential};
use crate::{Peer, Unauthenticated};

/// When a sender is told to try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The credentials that were made here.
#[derive(Debug)]
pub(crate) struct Secrets {
    table: ArcSwap<Table>,
    clock: Clock,
}

/// How they are checked, as an operator can set it.
#[derive(Debug)]
pub(crate) struct Checks {
    lock_out: LockOut,
    /// Secrets that held, by a hash under a key that this process alone has.
    held: Cache<[u8; 32], ()>,
    key: Option<hmac::Key>,
    turns: Arc<Semaphore>,
    wait_max: Duration,
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<String, Arc<StoredCredential>>,
    /// Passwords that were not revoked, by name; names are unique among them.
    passwords: HashMap<String, Arc<StoredCredential>>,
}

impl Checks {
    pub(crate) fn new(config: &AuthConfig, clock: &Clock) -> Self {
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Self {
            lock_out: LockOut::new(config, clock.clone()),
            held: Cache::new(size(config.passwords_cached_max)),
            key: key.ok(),
            turns: Arc::new(Semaphore::new(size(config.password_checks_max))),
            wait_max: Duration::from_millis(config.password_wait_ms_max.into()),
        }
    }

    /// Who has failed too often.
    pub(crate) fn lock_out(&self) -> &LockOut {
        &self.lock_out
    }

    /// What `secret` is remembered by when it holds for `credential`.
    fn digest(&self, credential: &StoredCredential, secret: &[u8]) -> Option<[u8; 32]> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        context.update(credential.hash_text().as_bytes());
        context.update(&[0]);
        context.update(secret);
        context.sign().as_ref().try_into().ok()
    }

    /// Whether `secret` holds, once it is its turn to be checked. A name that is not known takes as
    /// long as one that is.
    async fn check(
        &self,
        credential: Option<Arc<StoredCredential>>,
        secret: Vec<u8>,
        suspect: &Suspect,
    ) -> Result<bool, Unauthenticated> {
        let busy = || Unauthenticated::Unavailable {
            reason: "too many passwords are being checked".to_owned(),
            retry_after: RETRY_AFTER,
        };
        let turn = Arc::clone(&self.turns).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(self.wait_max, turn).await else {
            return Err(busy());
        };
        // Whoever waited may have failed elsewhere meanwhile.
        self.lock_out.check(suspect)?;
        self.lock_out.check_network(suspect)?;
        let checked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            match credential {
                Some(credential) => credential.holds(&secret),
                None => StoredCredential::holds_nowhere(&secret),
            }
        });
        checked.await.map_err(|_| busy())
    }
}

impl Secrets {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { table: ArcSwap::default(), clock }
    }

    /// Takes these credentials and no others from now on.
    pub(crate) fn replace(&self, credentials: impl IntoIterator<Item = Arc<StoredCredential>>) {
        let mut table = Table::default();
        for credential in credentials {
            if credential.kind == SecretKind::Password && credential.revoked_at.is_none() {
                table.passwords.insert(credential.name.clone(), Arc::clone(&credential));
            }
            table.by_id.insert(credential.id.clone(), credential);
        }
        self.table.store(Arc::new(table));
    }

    /// Whether any API key was made.
    pub(crate) fn has_keys(&self) -> bool {
        let table = self.table.load();
        table.by_id.values().any(|credential| credential.kind == SecretKind::ApiKey)
    }

    /// Whether there is any password.
    pub(crate) fn has_passwords(&self) -> bool {
        !self.table.load().passwords.is_empty()
    }

    /// Whom the API key `id` with `secret` names.
    pub(crate) async fn key(
        &self,
        (id, secret): (&str, &str),
        peer: &Peer,
        checks: &Checks,
    ) -> Result<Arc<Principal>, Unauthenticated> {
        let found = self.table.load().by_id.get(id).cloned();
        let found = found.filter(|found| found.kind == SecretKind::ApiKey);
        let suspect = Suspect::new(peer, id);
        self.check(found, secret.as_bytes(), suspect, checks).await
    }

    /// Whom `name` and `password` name.
    pub(crate) async fn password(
        &self,
        name: &str,
        password: &[u8],
        peer: &Peer,
        checks: &Checks,
    ) -> Result<Arc<Principal>, Unauthenticated> {
        let found = self.table.load().passwords.get(name).cloned();
        self.check(found, password, Suspect::new(peer, name), checks).await
    }

    async fn check(
        &self,
        found: Option<Arc<StoredCredential>>,
        secret: &[u8],
        suspect: Suspect,
        checks: &Checks,
    ) -> Result<Arc<Principal>, Unauthenticated> {
        checks.lock_out.check(&suspect)?;
        let digest = found.as_ref().and_then(|found| checks.digest(found, secret));
        if let (Some(found), Some(digest)) = (&found, &digest)
            && checks.held.get(digest).is_some()
        {
            return found.admit(self.clock.now()).map(Arc::new);
        }
        checks.lock_out.check_network(&suspect)?;
        let holds = checks.check(found.clone(), secret.to_vec(), &suspect).await?;
        let Some(found) = found.filter(|_| holds) else {
            checks.lock_out.failed(&suspect);
            let why = "the name and the secret do not belong together";
            return Err(Unauthenticated::Invalid(why.to_owned()));
        };
        checks.lock_out.succeeded(&suspect);
        if let Some(digest) = digest {
            checks.held.insert(digest, ());
        }
        found.admit(self.clock.now()).map(Arc::new)
    }
}
