//! The quarantine as management clients see it: events that do not follow their declaration.

use async_graphql::{ID, Object, Result, SimpleObject};
use eg_event::{Hold, Sequence};
use eg_storage::DeadLetter;

use super::error::{Code, coded, invalid, store};
use super::event::Event;
use super::mutation::sequences;
use super::page::{self, PageInfo};
use super::schema::{Parts, sequence};
use crate::quarantine::{ReleaseError, Released};

/// What can be asked of the quarantine.
pub struct QuarantineQuery(pub(super) Parts);

/// What can be changed in the quarantine.
pub struct QuarantineMutation(pub(super) Parts);

/// Why an event is in quarantine.
#[derive(Clone, Debug, SimpleObject)]
pub struct Quarantine {
    /// The application whose document the event does not follow.
    application: String,
    /// The name of the definition with that document.
    definition: String,
    /// What is wrong, with places in the payload and in the document.
    reason: String,
}

impl From<&Hold> for Quarantine {
    fn from(hold: &Hold) -> Self {
        Self {
            application: hold.application.as_ref().to_owned(),
            definition: hold.definition.as_ref().to_owned(),
            reason: hold.reason.as_ref().to_owned(),
        }
    }
}

/// An event in quarantine: kept, and delivered to nobody.
#[derive(Clone, Debug, SimpleObject)]
pub struct QuarantinedEvent {
    /// What `releaseQuarantinedEvent` takes.
    id: ID,
    event: Event,
    /// Why it is here.
    quarantine: Option<Quarantine>,
    /// Since when.
    quarantined_at: String,
}

impl From<&DeadLetter> for QuarantinedEvent {
    fn from(letter: &DeadLetter) -> Self {
        Self {
            id: ID(letter.event.sequence.to_string()),
            event: Event::from(&letter.event),
            quarantine: letter.event.held.as_deref().map(Quarantine::from),
            quarantined_at: letter.parked_at.to_string(),
        }
    }
}

/// A page of events in quarantine.
#[derive(Clone, Debug, SimpleObject)]
pub struct QuarantinedEventPage {
    /// The events, in the order of the journal.
    data: Vec<QuarantinedEvent>,
    /// Where the page lies.
    page_info: PageInfo,
    /// How many there are in all.
    total_count: usize,
}

/// An event that was released from quarantine.
#[derive(Clone, Debug, SimpleObject)]
pub struct ReleasedEvent {
    /// Its place in the journal from now on.
    sequence: u64,
    /// How many subscriptions it concerns.
    subscriptions: u32,
}

impl From<Released> for ReleasedEvent {
    fn from(released: Released) -> Self {
        Self { sequence: released.sequence.0, subscriptions: released.subscriptions }
    }
}

#[Object]
impl QuarantineQuery {
    /// The events in quarantine, of one application or of all.
    async fn quarantined_events(
        &self,
        application: Option<String>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<QuarantinedEventPage> {
        let size = page::size(first)?;
        let after = after.map(|after| sequence("after", &after)).transpose()?;
        let (dispatch, application) = (&self.0.dispatch, application.as_deref());
        let after = after.unwrap_or(Sequence(0));
        let letters = dispatch.held_letters(application, after, size + 1).await;
        let letters = letters.map_err(|error| store(&error))?;
        let entries = letters.iter().map(QuarantinedEvent::from).collect();
        let (data, page_info) =
            page::cut(entries, size, |one: &QuarantinedEvent| one.id.to_string());
        let total_count = dispatch.quarantine().count(application);
        Ok(QuarantinedEventPage { data, page_info, total_count })
    }
}

#[Object]
impl QuarantineMutation {
    /// Puts an event into the journal as one like any other, with `data` in place of its payload if
    /// there is some. It has to follow what is declared now. What was released already is not
    /// released again.
    async fn release_quarantined_event(
        &self,
        id: ID,
        data: Option<String>,
    ) -> Result<ReleasedEvent> {
        let id = sequence("id", &id)?;
        let released = self.0.dispatch.release_held(id, data, &self.0.declared).await;
        released.map(ReleasedEvent::from).map_err(|error| match error {
            ReleaseError::NotFound(_) => coded(Code::NotFound, &error.to_string()),
            ReleaseError::Invalid(wrong) => invalid(&wrong),
            ReleaseError::Refused(_) => coded(Code::InvalidOperation, &error.to_string()),
            ReleaseError::Store(error) => store(&error),
        })
    }

    /// Gives up events in quarantine for good; says how many there were.
    async fn purge_quarantined_events(&self, ids: Vec<ID>) -> Result<u32> {
        let ids = sequences(&ids)?;
        self.0.dispatch.purge_held(&ids).await.map_err(|error| store(&error))
    }
}
