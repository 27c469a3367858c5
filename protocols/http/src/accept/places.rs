//! Places for connections: so many in all, and so many for one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eg_auth::Peer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{HttpConfig, size};

/// Whose connections there are.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    per_address_max: u32,
    taken: Mutex<HashMap<IpAddr, u32>>,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    network: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(config: &HttpConfig) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(size(config.connections_max))),
            per_address_max: config.connections_per_address_max,
            taken: Mutex::default(),
        })
    }

    /// Waits for a place that anybody may have.
    pub(super) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// The place of a connection of `peer`; none when its address has as many as it may have.
    pub(super) fn take(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        peer: &Peer,
    ) -> Option<Place> {
        let network = peer.network();
        let mut taken = self.taken();
        let count = taken.entry(network).or_insert(0);
        if *count >= self.per_address_max {
            return None;
        }
        *count += 1;
        Some(Place { places: Arc::clone(self), network, _permit: permit })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.network);
            }
        }
    }
}
