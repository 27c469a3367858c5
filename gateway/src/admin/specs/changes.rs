//! What changes of what is registered, as it changes.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Result, SimpleObject, Subscription};
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::application::Seen;
use super::definition::EventApiDefinition;
use super::roots::expect_runtime;
use crate::admin::error::{Code, coded, forbidden};
use crate::admin::guard::{Caller, Guard};
use crate::admin::schema::Parts;
use crate::audit::Entry as Attempt;
use crate::specs::change::{ChangeKind, Changed, Entry};

/// The operation that follows what changes.
const EVENTS_CHANGED: &str = "eventsChanged";

/// What can be followed.
pub struct Feed(pub(in crate::admin) Parts);

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum EventsChangeKind {
    /// It is new.
    Created,
    /// It is another one than before.
    Updated,
    /// It is there no more.
    Deleted,
}

/// A change of an application or of one of its event definitions.
#[derive(Clone, SimpleObject)]
pub struct EventsChange {
    /// What became of it.
    kind: EventsChangeKind,
    /// The application that is concerned.
    #[graphql(name = "applicationID")]
    application_id: ID,
    /// The definition; none if the application itself was changed. With an application all its
    /// definitions are gone.
    #[graphql(name = "eventAPI")]
    event_api: Option<EventApiDefinition>,
}

/// What can be followed.
#[Subscription]
#[expect(clippy::unused_async, reason = "a resolver is asynchronous")]
impl Feed {
    /// What changes from now on: follow first, then read `eventsForRuntime`, and nothing is
    /// missed. Whoever reads too slowly is told so, and reads everything again.
    async fn events_changed(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "runtimeID")] runtime_id: Option<ID>,
    ) -> Result<impl Stream<Item = Result<EventsChange>> + use<>> {
        let caller = ctx.data_opt::<Caller>().ok_or_else(|| forbidden("nobody asks"))?;
        let attempt = Attempt::of(EVENTS_CHANGED, Some(&caller.principal), caller.remote);
        ctx.data::<Guard>()?.admit(&attempt)?;
        let news = self.0.specs.news();
        if let Some(id) = &runtime_id {
            expect_runtime(&self.0.seen(), id)?;
        }
        Ok(follow(self.0.clone(), news))
    }
}

/// The changes of each list, one after another.
fn follow(
    parts: Parts,
    news: Receiver<Arc<[Changed]>>,
) -> impl Stream<Item = Result<EventsChange>> {
    let begun = Some((parts, news, Vec::new()));
    stream::unfold(begun, async |state| {
        let (parts, mut news, mut waiting) = state?;
        loop {
            if let Some(change) = waiting.pop() {
                return Some((Ok(change), Some((parts, news, waiting))));
            }
            match news.recv().await {
                Ok(list) => {
                    let seen = parts.seen();
                    waiting = list.iter().rev().filter_map(|one| shown(&seen, one)).collect();
                }
                Err(RecvError::Lagged(_)) => {
                    let text = "changes were missed: follow again, and read everything again";
                    return Some((Err(coded(Code::InvalidOperation, text)), None));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

fn shown(seen: &Seen, changed: &Changed) -> Option<EventsChange> {
    let kind = match changed.kind {
        ChangeKind::Created => EventsChangeKind::Created,
        ChangeKind::Updated => EventsChangeKind::Updated,
        ChangeKind::Deleted => EventsChangeKind::Deleted,
        ChangeKind::Unchanged => return None,
    };
    let (application_id, event_api) = match &changed.entry {
        Entry::Application(one) => (&one.id, None),
        Entry::Definition(one) => {
            let shown = EventApiDefinition::new(seen.clone(), Arc::clone(one));
            (&one.application_id, Some(shown))
        }
        Entry::Runtime(_) => return None,
    };
    Some(EventsChange { kind, application_id: application_id.clone().into(), event_api })
}
