//! Which connections rest on which credential, so that revoking one ends them at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use eg_event::CredentialId;
use tokio_util::sync::CancellationToken;

type ByCredential = HashMap<CredentialId, HashMap<u64, CancellationToken>>;

/// The connections that are open, by the credential that each rests on.
#[derive(Clone, Debug, Default)]
pub struct Live {
    connections: Arc<Mutex<ByCredential>>,
    next: Arc<AtomicU64>,
    cuts: Arc<AtomicU64>,
}

impl Live {
    /// Notes a connection that rests on `credential` until what is returned is dropped.
    #[must_use]
    pub fn enter(&self, credential: CredentialId) -> Presence {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let cut = CancellationToken::new();
        self.lock().entry(credential.clone()).or_default().insert(number, cut.clone());
        Presence { live: self.clone(), credential, number, cut }
    }

    /// How often connections have been cut. Who authenticates and then enters looks before and
    /// after: when it differs, the credential may have been revoked in between, and is to be
    /// presented again.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    /// Ends every connection that rests on `credential`, and says how many they were.
    pub fn cut(&self, credential: &CredentialId) -> usize {
        let connections = self.lock();
        self.cuts.fetch_add(1, Ordering::Release);
        let Some(concerned) = connections.get(credential) else { return 0 };
        concerned.values().for_each(CancellationToken::cancel);
        concerned.len()
    }

    /// Ends every connection whose credential `is_revoked`, and says how many they were.
    pub fn cut_where(&self, is_revoked: impl Fn(&CredentialId) -> bool) -> usize {
        let connections = self.lock();
        self.cuts.fetch_add(1, Ordering::Release);
        let concerned = connections.iter().filter(|(credential, _)| is_revoked(credential));
        concerned
            .flat_map(|(_, connections)| connections.values())
            .map(CancellationToken::cancel)
            .count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ByCredential> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is open.
#[derive(Debug)]
pub struct Presence {
    live: Live,
    credential: CredentialId,
    number: u64,
    cut: CancellationToken,
}

impl Presence {
    /// Completes when the credential is revoked.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Cancelled when the credential is revoked.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.cut
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut connections = self.live.lock();
        if let Some(concerned) = connections.get_mut(&self.credential) {
            concerned.remove(&self.number);
            if concerned.is_empty() {
                connections.remove(&self.credential);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_credential_cuts_its_own_connections_alone() {
        let live = Live::default();
        let (one, other) = (CredentialId::new("key:1"), CredentialId::new("key:2"));
        let first = live.enter(one.clone());
        let second = live.enter(one.clone());
        let third = live.enter(other.clone());
        assert_eq!(live.cut(&one), 2);
        assert!(first.token().is_cancelled() && second.token().is_cancelled());
        assert!(!third.token().is_cancelled());
        drop((first, second));
        assert_eq!(live.cut(&one), 0, "what has ended is forgotten");
        assert_eq!(live.cut_where(|credential| *credential == other), 1);
        assert!(third.token().is_cancelled());
    }

    #[test]
    fn whoever_enters_sees_that_something_was_cut_meanwhile() {
        let live = Live::default();
        let before = live.cuts();
        drop(live.enter(CredentialId::new("key:1")));
        assert_eq!(live.cuts(), before);
        live.cut(&CredentialId::new("key:1"));
        live.cut_where(|_| false);
        assert_eq!(live.cuts(), before + 2);
    }
}
