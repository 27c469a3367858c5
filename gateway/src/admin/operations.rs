//! What each field of the management API takes: the one table. A field without a row is refused.

use eg_auth::policy::{Action, Area};

use Action::{Manage, Read};

/// The root fields of the schema, by name.
const OPERATIONS: &[(&str, Action, Area)] = &[
    ("subscription", Read, Area::Subscriptions),
    ("subscriptions", Read, Area::Subscriptions),
    ("event", Read, Area::Events),
    ("events", Read, Area::Events),
    ("nextSequence", Read, Area::Events),
    ("deadLetters", Read, Area::DeadLetters),
    ("policyDecision", Read, Area::Policy),
    ("createSubscription", Manage, Area::Subscriptions),
    ("updateSubscription", Manage, Area::Subscriptions),
    ("deleteSubscription", Manage, Area::Subscriptions),
    ("pauseSubscription", Manage, Area::Subscriptions),
    ("resumeSubscription", Manage, Area::Subscriptions),
    ("rewindSubscription", Manage, Area::Subscriptions),
    ("replayEvent", Manage, Area::Subscriptions),
    ("testSubscription", Manage, Area::Subscriptions),
    ("requeueDeadLetters", Manage, Area::DeadLetters),
    ("purgeDeadLetters", Manage, Area::DeadLetters),
];

/// What the root field `name` takes.
#[must_use]
pub fn operation(name: &str) -> Option<(Action, Area)> {
    let known = OPERATIONS.iter().find(|(known, ..)| *known == name);
    known.map(|(_, action, area)| (*action, *area))
}
