//! What connections and sessions count for their application, and give back when they end.

use std::sync::Arc;
use std::task::Waker;

use eg_event::{Quantity, Tenant, Turn};

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
    counted: [u64; COUNTED.len()],
    /// Where it stands among those who wait for a message to be under way.
    turn: Arc<Turn>,
}

/// What sessions count.
const COUNTED: [Quantity; 4] = [
    Quantity::Subscriptions,
    Quantity::QueueMessages,
    Quantity::QueueBytes,
    Quantity::InflightMessages,
];
/// The place of the last of these, which is counted one by one.
const UNDER_WAY: usize = 3;

impl Share {
    /// Whether a message of so many bytes may wait.
    pub(crate) fn has_room(&self, bytes: u32) -> bool {
        self.tenant.has_room(Quantity::QueueMessages, 1)
            && self.tenant.has_room(Quantity::QueueBytes, bytes.into())
    }

    fn count(&mut self, now: [u64; COUNTED.len()]) {
        for ((quantity, counted), now) in COUNTED.into_iter().zip(&mut self.counted).zip(now) {
            self.tenant.change(quantity, *counted, now);
            *counted = now;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.tenant.leave_row(&self.turn);
        self.count([0; COUNTED.len()]);
    }
}

impl Inbox {
    /// Counts for the application of the client that has it, from now on.
    pub(crate) fn join(&mut self, place: Option<&TenantPlace>) {
        let share = |place: &TenantPlace| {
            let tenant = Arc::clone(place.tenant());
            Box::new(Share { tenant, counted: [0; COUNTED.len()], turn: Arc::default() })
        };
        self.share = place.map(share);
        self.recount();
    }

    /// Counts anew what there is.
    pub(crate) fn recount(&mut self) {
        if let Some(share) = &mut self.share {
            let (messages, bytes) = (self.queue.len() as u64, self.queue.bytes());
            let under_way = self.inflight.outstanding() as u64;
            share.count([self.subscriptions.len() as u64, messages, bytes, under_way]);
        }
    }

    /// Whether one more message of QoS 1 or 2 may be under way, of `window` on this connection. One
    /// may whatever others have; for more, `waker` is woken when it is the session's turn.
    pub(crate) fn may_begin(&mut self, window: usize, waker: &Waker) -> bool {
        let is_only = self.inflight.outstanding() == 0;
        let has_place = |share: &mut Box<Share>| {
            let has_place = share.tenant.take_in_turn(&share.turn, is_only, waker);
            share.counted[UNDER_WAY] += u64::from(has_place);
            has_place
        };
        self.inflight.room(window) > 0 && self.share.as_mut().is_none_or(has_place)
    }

    /// Passes on the place of a message that cannot be sent now.
    pub(crate) fn pass_on(&self) {
        if let Some(share) = &self.share {
            share.tenant.pass_on(&share.turn);
        }
    }

    /// The connection has ended: what was under way is to be sent again by the next one.
    pub(crate) fn disconnect(&mut self) {
        if let Some(share) = &self.share {
            share.tenant.leave_row(&share.turn);
        }
        self.inflight.reconnect();
        self.recount();
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

    const LIMIT: QueueLimit = QueueLimit { messages: 10, bytes: 100_000, heeds_application: true };

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
    fn where_nothing_is_under_way_one_message_may_be_whatever_others_have() {
        let tenant = Arc::new(Tenant::new("lamps"));
        tenant.limit(Quantity::InflightMessages, Some(2));
        let (mut one, mut other) = (inbox(&tenant), inbox(&tenant));
        let begin = |inbox: &mut Inbox| {
            let may = inbox.may_begin(10, Waker::noop());
            may.then(|| inbox.inflight.begin(message(1)))
        };
        assert!(begin(&mut one).is_some() && begin(&mut one).is_some());
        assert!(begin(&mut one).is_none());
        let only = begin(&mut other).unwrap();
        assert!(begin(&mut other).is_none());
        other.inflight.finish(only);
        other.recount();
        assert_eq!(tenant.used(Quantity::InflightMessages), 2);
        assert!(begin(&mut other).is_some());
        // What was under way to who is gone is room for who is there.
        one.disconnect();
        assert_eq!(tenant.used(Quantity::InflightMessages), 2, "the other has one, and its turn");
        assert!(begin(&mut other).is_some() && begin(&mut other).is_none());
        drop((one, other));
        assert_eq!(tenant.used(Quantity::InflightMessages), 0);
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
