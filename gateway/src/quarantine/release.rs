//! Events leave the quarantine: mended and released into the journal, or given up.

use eg_event::{CloudEvent, Data, InvalidInput, Receipt, Refusal, Sequence, StoredEvent};
use eg_storage::{DeadLetter, StoreError};

use super::NUMBER;
use crate::declared::{DeclaredStore, data_of};
use crate::dispatch::Dispatch;

/// An event could not be released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// There is none.
    #[error("there is no event {0} in quarantine")]
    NotFound(Sequence),
    /// It still does not follow its declaration.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// It could not be put into the journal.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An event that was released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// Its place in the journal.
    pub sequence: Sequence,
    /// How many subscriptions it concerns.
    pub subscriptions: u32,
}

impl Dispatch {
    /// Puts the event `id`, with `data` in place of its payload if there is some, into the journal
    /// as an event like any other, and takes it out of quarantine. What was released before is not
    /// released again.
    ///
    /// # Errors
    /// There is no such event, what is declared now says that it is still wrong, or it cannot be
    /// stored; then it stays where it is.
    pub async fn release_held(
        &self,
        id: Sequence,
        data: Option<String>,
        declared: &DeclaredStore,
    ) -> Result<Released, ReleaseError> {
        let _one_at_a_time = self.quarantine().releasing.lock().await;
        self.catch_up().await;
        self.checkpoint().await?;
        let Some(letter) = self.held_letter(id).await? else {
            return self.released_before(id).await?.ok_or(ReleaseError::NotFound(id));
        };
        let event = mended(&letter.event.event, data);
        check(&letter.event, &event, declared)?;
        let subscriptions = self.count_matching(&event, &letter.event.origin);
        let released = StoredEvent { event, held: None, ..letter.event };
        // A crash from here on leaves both: the release is then a duplicate of this one.
        let answers = self.outlets.journal.append_released(released, subscriptions).await;
        let Receipt { sequence, .. } = answers.into_iter().next().unwrap_or_else(|| {
            Err(Refusal::Unavailable {
                reason: "no answer from the store".into(),
                retry_after: std::time::Duration::from_secs(1),
            })
        })?;
        self.quarantine().remove(id);
        self.checkpoint().await?;
        Ok(Released { sequence, subscriptions })
    }

    /// Gives up events in quarantine; says how many there were.
    ///
    /// # Errors
    /// The store failed; what could not be written down is written later.
    pub async fn purge_held(&self, ids: &[Sequence]) -> Result<u32, StoreError> {
        let _one_at_a_time = self.quarantine().releasing.lock().await;
        self.catch_up().await;
        let count = ids.iter().filter(|id| self.quarantine().remove(**id)).count();
        self.checkpoint().await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Events in quarantine, of an application or of all, after `after`.
    ///
    /// # Errors
    /// The store failed.
    pub async fn held_letters(
        &self,
        application: Option<&str>,
        after: Sequence,
        max: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.catch_up().await;
        self.checkpoint().await?;
        let ids = self.quarantine().after(application, after, max);
        let ledger = self.outlets.ledger.clone();
        let read = move || {
            let letters = ids.iter().map(|id| ledger.dead_letter(NUMBER, *id));
            letters.filter_map(Result::transpose).collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(StoreError::Closed))
    }

    async fn held_letter(&self, id: Sequence) -> Result<Option<DeadLetter>, StoreError> {
        if !self.quarantine().has(id) {
            return Ok(None);
        }
        let ledger = self.outlets.ledger.clone();
        let read = move || ledger.dead_letter(NUMBER, id);
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(StoreError::Closed))
    }

    /// What the event that was at `id` in quarantine became, if it was released.
    async fn released_before(&self, id: Sequence) -> Result<Option<Released>, StoreError> {
        let journal = self.outlets.journal.clone();
        let find = move || {
            let Some(held) = journal.get(id)?.filter(|event| event.held.is_some()) else {
                return Ok(None);
            };
            let found = journal.find(held.event.source(), held.event.id())?;
            found.map_or(Ok(None), |at| journal.get(at))
        };
        let found = tokio::task::spawn_blocking(find).await.unwrap_or(Err(StoreError::Closed))?;
        let released = found.filter(|event| event.held.is_none());
        Ok(released.map(|event| Released {
            sequence: event.sequence,
            subscriptions: self.count_matching(&event.event, &event.origin),
        }))
    }
}

/// The same event with another payload.
fn mended(event: &CloudEvent, data: Option<String>) -> CloudEvent {
    let Some(data) = data else { return event.clone() };
    let content_type = event.datacontenttype().unwrap_or("application/json");
    let data = Data::from_body(Some(content_type), data.into());
    CloudEvent::from_checked(event.attributes().clone(), Some(data))
}

/// Whether an event that was held follows what is declared now.
fn check(
    stored: &StoredEvent,
    event: &CloudEvent,
    declared: &DeclaredStore,
) -> Result<(), InvalidInput> {
    let Some(hold) = &stored.held else { return Ok(()) };
    let declared = declared.load();
    let data = data_of(event);
    let mut wrong = None;
    for message in declared.messages(&hold.application, event.ty()) {
        match message.check_event(event, &data) {
            Ok(()) => return Ok(()),
            Err(unfit) => {
                wrong.get_or_insert(unfit.wrong);
            }
        }
    }
    wrong.map_or(Ok(()), Err)
}
