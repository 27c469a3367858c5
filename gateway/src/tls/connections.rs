//! The connections that rest on certificates, by the names that lists of revoked ones use.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eg_auth::{ClientCertificate, Live, Presence};
use eg_certs::{CertificateName, Revocations};
use eg_event::CredentialId;

/// Connections with client certificates.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    live: Live,
    chains: Arc<Mutex<HashMap<u64, Chain>>>,
    next: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Chain {
    credential: CredentialId,
    names: Vec<CertificateName>,
}

/// A connection on the list.
pub(super) struct Resting {
    pub(super) presence: Presence,
    connections: Connections,
    number: u64,
}

impl Connections {
    pub(super) fn new(live: Live) -> Self {
        Self { live, chains: Arc::default(), next: Arc::default() }
    }

    /// Notes a connection until what is returned is dropped.
    pub(super) fn enter(
        &self,
        certificate: &ClientCertificate,
        names: Vec<CertificateName>,
    ) -> Resting {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let credential = certificate.credential_id();
        let presence = self.live.enter(credential.clone());
        self.lock().insert(number, Chain { credential, names });
        Resting { presence, connections: self.clone(), number }
    }

    /// Ends every connection whose certificate counts as revoked, and says how many they were.
    pub(super) fn cut_revoked(&self, revocations: &Revocations) -> usize {
        let revoked: HashSet<_> = {
            let mut chains = self.lock();
            let revoked = chains.extract_if(|_, chain| revocations.concern(&chain.names));
            revoked.map(|(_, chain)| chain.credential).collect()
        };
        if revoked.is_empty() {
            return 0;
        }
        self.live.cut_where(|credential| revoked.contains(credential))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Chain>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.number);
    }
}
