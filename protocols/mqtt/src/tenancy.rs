//! What connections and sessions count for their application, and give back when they end.

use std::sync::Arc;

use eg_event::{Quantity, Tenant};

use crate::subscriber::Inbox;

/// A place among the connections of an application, given back when dropped.
#[derive(Debug)]
pub(crate) struct TenantPlace(Arc<Tenant>);

impl TenantPlace {
    /// Takes a place, if there is one, or if it `counts_anyway`.
    pub(crate) fn take(tenant: Arc<Tenant>, counts_anyway: bool) -> Result<Self, Arc<Tenant>> {
        if tenant.take(Quantity::Connections) {
            return Ok(Self(tenant));
        }
        if !counts_anyway {
            return Err(tenant);
        }
        tenant.change(Quantity::Connections, 0, 1);
        Ok(Self(tenant))
    }

    pub(crate) fn tenant(&self) -> &Arc<Tenant> {
        &self.0
    }
}

impl Drop for TenantPlace {
    fn drop(&mut self) {
        self.0.change(Quantity::Connections, 1, 0);
    }
}

/// What an application has because of one session, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    tenant: Arc<Tenant>,
    /// How much of each of [`COUNTED`] there was at the last count.
    counted: [u64; 3],
}

/// What sessions count.
const COUNTED: [Quantity; 3] =
    [Quantity::Subscriptions, Quantity::QueueMessages, Quantity::QueueBytes];

impl Share {
    /// Whether a message of so many bytes may wait.
    pub(crate) fn has_room(&self, bytes: u32) -> bool {
        self.tenant.has_room(Quantity::QueueMessages, 1)
            && self.tenant.has_room(Quantity::QueueBytes, bytes.into())
    }

    fn count(&mut self, now: [u64; 3]) {
        for ((quantity, counted), now) in COUNTED.into_iter().zip(&mut self.counted).zip(now) {
            self.tenant.change(quantity, *counted, now);
            *counted = now;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.count([0; 3]);
    }
}

impl Inbox {
    /// Counts for the application of the client that has it, from now on.
    pub(crate) fn join(&mut self, place: Option<&TenantPlace>) {
        let share = |place: &TenantPlace| {
            let tenant = Arc::clone(place.tenant());
            Box::new(Share { tenant, counted: [0; 3] })
        };
        self.share = place.map(share);
        self.recount();
    }

    /// Counts anew what there is.
    pub(crate) fn recount(&mut self) {
        if let Some(share) = &mut self.share {
            let (messages, bytes) = (self.queue.len() as u64, self.queue.bytes());
            share.count([self.subscriptions.len() as u64, messages, bytes]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Qos;
    use crate::counters::Dropped;
    use crate::queue::{Flags, QueueLimit, Reference};
    use crate::subscriber::Pushed;
    use eg_event::Sequence;

    const LIMIT: QueueLimit = QueueLimit { messages: 10, bytes: 100_000 };

    fn inbox(tenant: &Arc<Tenant>) -> Inbox {
        let place = TenantPlace::take(Arc::clone(tenant), false).ok();
        let mut inbox = Inbox::default();
        inbox.join(place.as_ref());
        inbox
    }

    fn message(sequence: u64) -> Reference {
        let flags = Flags::new(Qos::AtLeastOnce, false);
        Reference { sequence: Sequence(sequence), bytes: 1000, identifiers: 0, group: 0, flags }
    }

    #[test]
    fn where_nothing_waits_one_message_may_whatever_others_have() {
        let tenant = Arc::new(Tenant::new("lamps"));
        tenant.limit(Quantity::QueueBytes, Some(100));
        let (mut one, mut other) = (inbox(&tenant), inbox(&tenant));
        assert!(matches!(one.push(message(1), LIMIT), Pushed::Queued));
        assert!(matches!(other.push(message(1), LIMIT), Pushed::Queued));
        let full = |pushed| matches!(pushed, Pushed::Full(Dropped::ApplicationQueueFull));
        assert!(full(one.push(message(2), LIMIT)));
    }

    #[test]
    fn what_another_subscription_adds_to_a_message_needs_no_room() {
        let tenant = Arc::new(Tenant::new("lamps"));
        tenant.limit(Quantity::QueueMessages, Some(1));
        let mut inbox = inbox(&tenant);
        assert!(matches!(inbox.push(message(1), LIMIT), Pushed::Queued));
        assert!(matches!(inbox.push(message(1), LIMIT), Pushed::Queued));
        assert_eq!(tenant.used(Quantity::QueueMessages), 1);
    }
}
