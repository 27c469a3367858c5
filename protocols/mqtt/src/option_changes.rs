//! Subscriptions whose options change hold with the new ones from the place in the journal at which
//! the change came: what was published before goes out as was asked for until then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eg_event::Sequence;

use crate::subscriber::{Granted, Subscriber};

/// The changes whose places have not been routed yet, at most one for each subscription.
#[derive(Debug, Default)]
pub(crate) struct OptionChanges(Mutex<Vec<OptionChange>>);

/// New options of a subscription.
#[derive(Debug)]
pub(crate) struct OptionChange {
    /// The first event for which they hold.
    pub(crate) at: Sequence,
    /// Whose subscription it is.
    pub(crate) subscriber: Arc<Subscriber>,
    /// To which filter, as it was subscribed to.
    pub(crate) filter: Box<str>,
    pub(crate) granted: Granted,
}

impl OptionChanges {
    /// Adds a change, in place of an earlier one of the same subscription.
    pub(crate) fn add(&self, change: OptionChange) {
        let mut changes = self.lock();
        changes.retain(|known| !known.is_of(&change.subscriber, &change.filter));
        changes.push(change);
    }

    /// Lets go what was to change of a subscription that has ended.
    pub(crate) fn forget(&self, subscriber: &Subscriber, filter: &str) {
        self.lock().retain(|known| !known.is_of(subscriber, filter));
    }

    /// The first place at which something changes.
    pub(crate) fn next_at(&self) -> Option<Sequence> {
        self.lock().iter().map(|change| change.at).min()
    }

    /// Takes what holds from `sequence` on at the latest.
    pub(crate) fn due(&self, sequence: Sequence) -> Vec<OptionChange> {
        self.lock().extract_if(.., |change| change.at <= sequence).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OptionChange>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OptionChange {
    fn is_of(&self, subscriber: &Subscriber, filter: &str) -> bool {
        self.subscriber.number == subscriber.number && *self.filter == *filter
    }
}
