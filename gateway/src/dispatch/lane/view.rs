//! What people are shown of a lane.

use eg_event::{Sequence, Timestamp};

use super::{FAILURES_UNTIL_DOWN, Lane, Phase};
use crate::dispatch::condition::Obstacles;

/// Where a subscription stands, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The first event that it has not been handed.
    pub cursor: Sequence,
    /// How many events wait to be attempted for the first time; more are known only once a part
    /// of the journal has been read again.
    pub waiting: u64,
    /// How many attempts are under way.
    pub in_flight: u64,
    /// How many events wait for another attempt.
    pub retrying: u64,
    /// How many events wait for another one of the same key.
    pub parked: u64,
    /// How many dead letters there are.
    pub dead_letters: u64,
    /// How many events were delivered.
    pub delivered: u64,
    /// How many events retention let go that were needed.
    pub lost: u64,
    /// Why no attempts are made; `None` when they are.
    pub paused: Option<String>,
    /// Whether event activations let its events through.
    pub is_activated: bool,
    /// Whether the receiver counts as down.
    pub is_failing: bool,
    /// Whether the journal is being read again for this subscription.
    pub is_catching_up: bool,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When an event was delivered last.
    pub last_delivered_at: Option<Timestamp>,
    /// The oldest event that it needs.
    pub oldest_needed: Option<Sequence>,
}

/// Where one event stands for one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It waits for its first attempt.
    Waiting,
    /// An attempt is under way.
    InFlight,
    /// It waits for another attempt.
    Retrying {
        /// When that is due.
        due: Timestamp,
        /// How many attempts there were.
        attempts: u32,
        /// What went wrong at the last one.
        reason: String,
    },
    /// It waits for another event of the same key.
    Parked,
    /// It was given up.
    Dead,
    /// It is done with: delivered, expired, or skipped by an operator.
    Settled,
    /// It came before the subscription.
    Before,
}

impl Lane {
    /// The lane in numbers.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            cursor: self.handed,
            waiting: self.backlog.waiting(),
            in_flight: self.in_flight as u64,
            retrying: self.retries.len() as u64,
            parked: self.parked as u64,
            dead_letters: self.dead_letters.len() as u64,
            delivered: self.delivered,
            lost: self.lost,
            paused: self.paused.clone(),
            is_activated: !self.inactive,
            is_failing: self.failures >= FAILURES_UNTIL_DOWN,
            is_catching_up: self.rescan.is_some(),
            last_error: self.last_error.clone(),
            last_delivered_at: self.last_delivered_at,
            oldest_needed: self.oldest_needed(),
        }
    }

    /// What stands in the way of deliveries, as far as the lane knows.
    #[must_use]
    pub fn obstacles(&self) -> Obstacles {
        Obstacles {
            not_activated: self.inactive,
            paused: self.paused.is_some(),
            refused_target: false,
            receiver_down: self.failures >= FAILURES_UNTIL_DOWN,
        }
    }

    /// Where a matching event stands. `begins` is the first event that the subscription covers.
    #[must_use]
    pub fn place(&self, sequence: Sequence, begins: Sequence) -> Place {
        if let Some(unsettled) = self.unsettled.get(&sequence) {
            let exception = &unsettled.exception;
            return match unsettled.phase {
                Phase::InFlight => Place::InFlight,
                Phase::Parked => Place::Parked,
                Phase::Retrying => Place::Retrying {
                    due: exception.due,
                    attempts: exception.attempts,
                    reason: exception.last_reason.clone(),
                },
            };
        }
        if self.dead_letters.contains(&sequence) {
            return Place::Dead;
        }
        let will_be_reread =
            self.rescan.is_some_and(|rescan| (rescan.next..rescan.until).contains(&sequence));
        if will_be_reread || sequence >= self.routed || sequence >= self.handed {
            return Place::Waiting;
        }
        if sequence < begins { Place::Before } else { Place::Settled }
    }
}
