//! An event on its way out, and how an attempt to hand it over ended.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::refusal::InvalidInput;
use crate::submission::StoredEvent;
use crate::subscription::Subscription;

/// One event for one subscription.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event.
    pub event: Arc<StoredEvent>,
    /// Who is to have it.
    pub subscription: Arc<Subscription>,
    /// The attempt that this is, from 1.
    pub attempt: u32,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered {
        /// The status that the receiver answered, where the protocol has one.
        status: Option<u16>,
    },
    /// The receiver does not have it, as far as we know; another attempt may succeed.
    Failed {
        /// The status that the receiver answered; `None` when there was no answer.
        status: Option<u16>,
        /// What went wrong, in words for an operator, without secrets.
        reason: String,
        /// The receiver asked not to be tried again sooner.
        retry_after: Option<Duration>,
    },
    /// The receiver wants nothing more of this subscription (HTTP 410).
    Gone {
        /// The status that the receiver answered.
        status: Option<u16>,
    },
}

/// A way out: hands events over to one kind of receiver.
pub trait Sink: Send + Sync {
    /// Makes one attempt, bounded by the subscription's timeout.
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Outcome>;

    /// Says what is wrong with where a subscription sends to, as far as that can be told now
    /// without asking anyone.
    fn check_target(&self, _subscription: &Subscription) -> Result<(), InvalidInput> {
        Ok(())
    }
}
