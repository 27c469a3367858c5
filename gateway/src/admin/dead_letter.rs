//! Dead letters as management clients see them.

use async_graphql::{ID, SimpleObject};

use super::event::Event;
use super::page::PageInfo;

/// An event that was given up, kept until it is requeued and delivered, or purged.
#[derive(Clone, Debug, SimpleObject)]
pub struct DeadLetter {
    /// What `requeueDeadLetters` takes; unique within the subscription.
    pub id: ID,
    event: Event,
    /// Why it was given up.
    reason: String,
    /// How many attempts there were.
    attempts: u32,
    /// What the last attempt was answered.
    last_status: Option<u16>,
    first_attempt_at: String,
    /// When it was given up.
    parked_at: String,
    /// It has been put back into delivery.
    requeued: bool,
}

impl From<&eg_storage::DeadLetter> for DeadLetter {
    fn from(letter: &eg_storage::DeadLetter) -> Self {
        Self {
            id: ID(letter.event.sequence.to_string()),
            event: Event::from(&letter.event),
            reason: letter.reason.clone(),
            attempts: letter.attempts,
            last_status: letter.last_status,
            first_attempt_at: letter.first_attempt_at.to_string(),
            parked_at: letter.parked_at.to_string(),
            requeued: letter.requeued,
        }
    }
}

/// A page of dead letters.
#[derive(Clone, Debug, SimpleObject)]
pub struct DeadLetterPage {
    /// The dead letters, in the order of the journal.
    pub data: Vec<DeadLetter>,
    /// Where the page lies.
    pub page_info: PageInfo,
    /// How many there are in all.
    pub total_count: u64,
}
