//! What every subscription says of itself, as Kyma's do: whether it is activated, and whether it is
//! ready; since when, and why.

use eg_event::Timestamp;
use serde::{Deserialize, Serialize};

use super::Registered;

/// The type of the condition that tells whether event activations let events through.
pub const EVENTS_ACTIVATED: &str = "events-activated";
/// The type of the condition that tells whether events are delivered.
pub const IS_READY: &str = "is-ready";

/// What stands in the way of deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is independent of the others")]
pub struct Obstacles {
    /// No event activation lets the events through.
    pub not_activated: bool,
    /// It is paused.
    pub paused: bool,
    /// Nothing may be sent to its endpoint.
    pub refused_target: bool,
    /// The receiver counts as down.
    pub receiver_down: bool,
}

/// Whether something is so, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// Whether it is.
    pub holds: bool,
    /// When that was last otherwise.
    pub at: Timestamp,
}

impl Since {
    /// Keeps its time unless it turns.
    fn observed(self, holds: bool, now: Timestamp) -> Self {
        if self.holds == holds { self } else { Self { holds, at: now } }
    }
}

/// The conditions as they are written down; reasons follow from what else is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Event activations let the events through.
    pub activated: Since,
    /// Events are delivered.
    pub ready: Since,
}

impl Conditions {
    /// Those of a subscription that nothing stood in the way of at `at`.
    #[must_use]
    pub fn clear(at: Timestamp) -> Self {
        let holds = Since { holds: true, at };
        Self { activated: holds, ready: holds }
    }

    /// What becomes of them by what is observed `now`.
    #[must_use]
    pub fn observed(self, obstacles: Obstacles, now: Timestamp) -> Self {
        let ready = obstacles == Obstacles::default();
        Self {
            activated: self.activated.observed(!obstacles.not_activated, now),
            ready: self.ready.observed(ready, now),
        }
    }
}

/// A condition for those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// [`EVENTS_ACTIVATED`] or [`IS_READY`].
    pub ty: &'static str,
    /// Whether it holds, and since when.
    pub since: Since,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
}

impl Registered {
    /// Its conditions now.
    #[must_use]
    pub fn conditions(&self) -> [Condition; 2] {
        let definition = self.definition();
        let lane = self.lane();
        let standing = self.standing();
        let Conditions { activated, ready } = standing.conditions;
        let view = lane.view();
        drop(lane);

        let asked = &definition.subscription;
        let source = asked.source.as_deref().unwrap_or_default();
        let (reason, message) = match &asked.namespace {
            None => (
                "NotGoverned",
                "it has no namespace, so that no event activation governs it".to_owned(),
            ),
            Some(namespace) if activated.holds => {
                ("EventsActivated", format!("events of {source:?} are activated in {namespace:?}"))
            }
            Some(namespace) => (
                "EventsNotActivated",
                format!(
                    "no event activation in {namespace:?} has the sourceId {source:?}; events wait"
                ),
            ),
        };
        let activated =
            Condition { ty: EVENTS_ACTIVATED, since: activated, reason, message: message.clone() };
        let (reason, message) = if ready.holds {
            ("Ready", "events are delivered".to_owned())
        } else if !activated.since.holds {
            ("EventsNotActivated", message)
        } else if let Some(why) = view.paused {
            ("Paused", why)
        } else if let Some(why) = &standing.refused_target {
            ("TargetNotAllowed", why.clone())
        } else {
            (
                "ReceiverDown",
                view.last_error.unwrap_or_else(|| "the last attempts failed".to_owned()),
            )
        };
        [activated, Condition { ty: IS_READY, since: ready, reason, message }]
    }
}
