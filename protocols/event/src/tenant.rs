//! What an application has of the gateway at once, and how much it may have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::turn::Row;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// MQTT connections.
    Connections,
    /// Subscriptions of MQTT sessions.
    Subscriptions,
    /// Messages that wait for MQTT sessions.
    QueueMessages,
    /// The bytes of their events.
    QueueBytes,
    /// Messages of QoS 1 and 2 that are under way to MQTT clients.
    InflightMessages,
}

/// How many quantities there are.
const QUANTITIES: usize = 5;

/// What one application has, and may have.
#[derive(Debug)]
pub struct Tenant {
    name: Box<str>,
    used: [AtomicU64; QUANTITIES],
    /// The most; `u64::MAX`: any number.
    max: [AtomicU64; QUANTITIES],
    /// Who waits for a message to be under way; there is no place while somebody does.
    pub(crate) row: Mutex<Row>,
}

/// Knows applications.
pub trait Tenants: Send + Sync {
    /// The application called `name`; none if no such one is registered.
    fn tenant(&self, name: &str) -> Option<Arc<Tenant>>;
}

/// No application is known, and so none is limited.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTenants;

impl Tenants for NoTenants {
    fn tenant(&self, _: &str) -> Option<Arc<Tenant>> {
        None
    }
}

impl Tenant {
    /// An application that has nothing yet, and may have anything.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let max = [const { AtomicU64::new(u64::MAX) }; QUANTITIES];
        Self { name: name.into(), used: Default::default(), max, row: Mutex::default() }
    }

    /// The name of the application.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets it have `max` from now on; none: any number. What it has already stays.
    pub fn limit(&self, quantity: Quantity, max: Option<u64>) {
        self.max[quantity as usize].store(max.unwrap_or(u64::MAX), Ordering::Relaxed);
        if quantity == Quantity::InflightMessages {
            self.serve();
        }
    }

    /// How much it may have; `u64::MAX`: any number.
    #[must_use]
    pub fn max(&self, quantity: Quantity) -> u64 {
        self.max[quantity as usize].load(Ordering::Relaxed)
    }

    /// How much it has.
    #[must_use]
    pub fn used(&self, quantity: Quantity) -> u64 {
        self.used[quantity as usize].load(Ordering::Relaxed)
    }

    /// Whether it may have `more`.
    #[must_use]
    pub fn has_room(&self, quantity: Quantity, more: u64) -> bool {
        let max = self.max(quantity);
        max == u64::MAX || self.used(quantity).saturating_add(more) <= max
    }

    /// Takes one, if it may have one more.
    #[must_use]
    pub fn take(&self, quantity: Quantity) -> bool {
        let (used, max) = (&self.used[quantity as usize], self.max(quantity));
        let more = |used: u64| (used < max).then_some(used + 1);
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Where it had `from`, it has `to`.
    pub fn change(&self, quantity: Quantity, from: u64, to: u64) {
        if from != to {
            // In the arithmetic of atomics less is more that wraps around.
            self.used[quantity as usize].fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
        }
        if quantity == Quantity::InflightMessages && to < from {
            self.serve();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_up_to_the_limit_and_what_is_given_back_is_there_again() {
        let tenant = Tenant::new("shop");
        assert!(tenant.take(Quantity::Connections) && tenant.has_room(Quantity::Connections, 9));
        tenant.limit(Quantity::Connections, Some(2));
        assert!(tenant.take(Quantity::Connections) && !tenant.take(Quantity::Connections));
        tenant.change(Quantity::Connections, 1, 0);
        assert_eq!(tenant.used(Quantity::Connections), 1);
        assert!(tenant.has_room(Quantity::Connections, 1));
        assert!(!tenant.has_room(Quantity::Connections, 2));
        tenant.limit(Quantity::Connections, None);
        assert!(tenant.has_room(Quantity::Connections, u64::MAX));
    }
}
