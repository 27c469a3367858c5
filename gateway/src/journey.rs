//! Where an event is, and why it did or did not arrive: put together from the journal, the
//! subscriptions, and the log of attempts.

use std::sync::Arc;

use eg_bus::leads_back;
use eg_event::{Sequence, StoredEvent};
use eg_storage::{Attempt, Journal, Ledger, StoreError, Verdict};

use crate::dispatch::lane::Place;
use crate::dispatch::{Definition, Dispatch};
use crate::matching;

/// How many bytes of payloads a scan stops at.
const SCAN_BYTES: usize = 1 << 20;

/// The way of one event through the gateway.
#[derive(Clone, Debug)]
pub struct Journey {
    /// The event, with who sent it, when, over what, and how it was normalized.
    pub event: Arc<StoredEvent>,
    /// What every subscription made of it, in the order of their names.
    pub considered: Vec<Considered>,
}

/// What one subscription made of an event.
#[derive(Clone, Debug)]
pub struct Considered {
    /// The subscription.
    pub definition: Arc<Definition>,
    /// Why it does not concern the subscription; `None` when it does.
    pub mismatch: Option<String>,
    /// Where the event stands for it.
    pub place: Place,
    /// Every attempt that is still logged, oldest first.
    pub attempts: Vec<Attempt>,
}

impl Considered {
    /// Whether the event concerns the subscription.
    #[must_use]
    pub fn matched(&self) -> bool {
        self.mismatch.is_none()
    }

    /// Why the event concerns the subscription or does not, in words.
    #[must_use]
    pub fn reason(&self) -> String {
        let asked = || matching::describe(&self.definition.subscription);
        self.mismatch.clone().unwrap_or_else(asked)
    }

    /// Where the event rests now, in words.
    #[must_use]
    pub fn rests(&self) -> String {
        if let Some(why) = &self.mismatch {
            return format!("not matched: {why}");
        }
        let count = self.attempts.len();
        match &self.place {
            Place::Waiting => match &self.definition.paused {
                Some(reason) => format!("waits: the subscription is paused ({reason})"),
                None if self.definition.conditions.is_some_and(|all| !all.activated.holds) => {
                    "waits: no event activation lets its source into the namespace".to_owned()
                }
                None => "waits for its first attempt".to_owned(),
            },
            Place::InFlight => format!("attempt {} is under way", count + 1),
            Place::Parked => "waits for an earlier event with the same key".to_owned(),
            Place::Retrying { due, attempts, reason } if reason.is_empty() => {
                format!("attempt {} is due at {due}", attempts + 1)
            }
            Place::Retrying { due, attempts, reason } => {
                format!("failed {attempts} times ({reason}), next attempt at {due}")
            }
            Place::Dead => "dead letter".to_owned(),
            Place::Before => {
                format!("not covered: the subscription begins at event {}", self.definition.begins)
            }
            Place::Settled => match self.attempts.last().map(|last| last.verdict) {
                Some(Verdict::Delivered) => format!("delivered at attempt {count}"),
                Some(Verdict::Expired) => "expired before it was delivered".to_owned(),
                Some(Verdict::Failed | Verdict::Dead) => "given up and purged".to_owned(),
                None => "settled; its attempts are no longer logged".to_owned(),
            },
        }
    }
}

/// Follows the latest event with this source and id; `None` when the journal has none. May wait
/// for the disk.
pub async fn follow(
    dispatch: &Arc<Dispatch>,
    journal: &Journal,
    ledger: &Ledger,
    (source, id): (String, String),
) -> Result<Option<Journey>, StoreError> {
    let found = {
        let journal = journal.clone();
        blocking(move || match journal.find(&source, &id)? {
            Some(sequence) => journal.get(sequence),
            None => Ok(None),
        })
    };
    let Some(event) = found.await? else { return Ok(None) };
    // What has been attempted is in the log, and where it stands is settled, before it is read.
    dispatch.checkpoint().await?;
    let attempts = {
        let (ledger, sequence) = (ledger.clone(), event.sequence);
        blocking(move || ledger.attempts(sequence)).await?
    };
    let all = dispatch.all();
    let considered = all.iter().map(|registered| {
        let definition = registered.definition();
        let of_this = |attempt: &&Attempt| attempt.subscription == definition.number;
        Considered {
            mismatch: match &event.held {
                Some(_) => Some("it is in quarantine".to_owned()),
                None => mismatch(&definition, &event),
            },
            place: registered.lane().place(event.sequence, definition.begins),
            attempts: attempts.iter().filter(of_this).cloned().collect(),
            definition,
        }
    });
    Ok(Some(Journey { considered: considered.collect(), event }))
}

/// Reads events from `from` on: `events_max`, or fewer if they are large or there are no more.
pub async fn scan(
    journal: &Journal,
    from: Sequence,
    events_max: usize,
) -> Result<Vec<Arc<StoredEvent>>, StoreError> {
    let journal = journal.clone();
    let bytes = |event: &Arc<StoredEvent>| event.event.data().map_or(0, |data| data.bytes().len());
    blocking(move || {
        let mut found = journal.scan(from, events_max, SCAN_BYTES)?;
        // What is read at once ends with a file, at the latest.
        while found.len() < events_max && found.iter().map(bytes).sum::<usize>() < SCAN_BYTES {
            let Some(last) = found.last() else { break };
            let next = last.sequence.next();
            let more = journal.scan(next, events_max - found.len(), SCAN_BYTES)?;
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        Ok(found)
    })
    .await
}

fn mismatch(definition: &Definition, event: &StoredEvent) -> Option<String> {
    let Definition { subscription, .. } = definition;
    matching::explain(subscription, &event.event).or_else(|| {
        let back = leads_back(subscription, &event.event, &event.origin);
        back.then(|| format!("it was read from there ({})", event.origin.address))
    })
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(read).await.unwrap_or(Err(StoreError::Closed))
}
