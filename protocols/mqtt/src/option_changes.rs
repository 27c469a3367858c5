//! Subscriptions whose options change hold with the new ones from the place in the journal at which
//! the change came: what was published before goes out as was asked for until then, also when a
//! crash makes it be routed once more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eg_event::Sequence;

use crate::subscriber::{Granted, Subscriber};

/// How many changes of one session may be kept until what was published before them is routed, and
/// that is written down.
pub(crate) const SESSION_CHANGES_MAX: usize = 256;

/// The changes before whose places a crash may make events be routed, in the order of the places.
#[derive(Debug, Default)]
pub(crate) struct OptionChanges(Mutex<VecDeque<OptionChange>>);

/// New options of a subscription.
#[derive(Clone, Debug)]
pub(crate) struct OptionChange {
    /// Whose subscription it is.
    pub(crate) subscriber: Arc<Subscriber>,
    /// What held until then.
    pub(crate) before: Before,
    pub(crate) granted: Granted,
    /// Everything before has been routed.
    pub(crate) holds: bool,
}

/// Options that a subscription had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    /// The filter, as it was subscribed to.
    pub(crate) filter: Box<str>,
    pub(crate) granted: Granted,
    /// The first event for which others hold.
    pub(crate) until: Sequence,
}

impl OptionChanges {
    /// Adds a change, if the session has not too many already.
    pub(crate) fn add(&self, change: OptionChange) -> bool {
        let mut changes = self.lock();
        let until = change.before.until;
        let is_of_session = |known: &OptionChange| known.is_of(&change.subscriber);
        let is_same = |known: &OptionChange| {
            is_of_session(known)
                && (known.before.until, &known.before.filter) == (until, &change.before.filter)
        };
        if let Some(known) = changes.iter_mut().find(|known| is_same(known)) {
            // Nothing was published in between.
            known.granted = change.granted;
            known.holds = false;
            return true;
        }
        if changes.iter().filter(|known| is_of_session(known)).count() >= SESSION_CHANGES_MAX {
            return false;
        }
        let place = changes.partition_point(|known| known.before.until <= until);
        changes.insert(place, change);
        true
    }

    /// Lets go what was to change of a subscription that has ended.
    pub(crate) fn forget(&self, subscriber: &Subscriber, filter: &str) {
        self.lock().retain(|known| !(known.is_of(subscriber) && *known.before.filter == *filter));
    }

    /// The first place at which something changes.
    pub(crate) fn next_at(&self) -> Option<Sequence> {
        self.lock().iter().find(|change| !change.holds).map(|change| change.before.until)
    }

    /// What holds from `sequence` on at the latest, and has not until now.
    pub(crate) fn due(&self, sequence: Sequence) -> Vec<OptionChange> {
        let mut changes = self.lock();
        let reached = changes.iter_mut().take_while(|change| change.before.until <= sequence);
        let due = reached.filter(|change| !change.holds).map(|change| {
            change.holds = true;
            change.clone()
        });
        due.collect()
    }

    /// What a session had that holds for events from `sequence` on, in order.
    pub(crate) fn before(&self, subscriber: &Subscriber, sequence: Sequence) -> Vec<Before> {
        let changes = self.lock();
        let later = changes.iter().filter(|change| change.before.until > sequence);
        let own = later.filter(|change| change.is_of(subscriber));
        own.map(|change| change.before.clone()).collect()
    }

    /// Lets go of what no event is routed by any more, as none before `sequence` is.
    pub(crate) fn let_go(&self, sequence: Sequence) {
        let mut changes = self.lock();
        let is_over = |change: &OptionChange| change.holds && change.before.until <= sequence;
        while changes.front().is_some_and(is_over) {
            changes.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<OptionChange>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OptionChange {
    fn is_of(&self, subscriber: &Subscriber) -> bool {
        self.subscriber.number == subscriber.number
    }
}
