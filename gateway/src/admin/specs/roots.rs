//! What can be asked and changed of what is registered.

use std::sync::Arc;

use async_graphql::{Error, ID, Object, Result};

use super::application::{Application, ApplicationPage, Seen};
use super::definition::{EventApiDefinition, EventApiDefinitionPage, EventApiSpec};
use super::error::rejected;
use super::event_definition::{
    EventDefinition, EventDefinitionInput, EventDefinitionPage, EventSpec,
};
use super::input::{ApplicationInput, EventApiDefinitionInput, RuntimeInput};
use super::page;
use super::runtime::{Runtime, RuntimePage};
use super::scalar::PageCursor;
use crate::admin::error::{Code, coded, invalid};
use crate::admin::schema::Parts;
use crate::specs::change::{Change, Changed, Entry, Owner};
use crate::specs::definition as words;

/// What can be asked of what is registered.
pub struct SpecsQuery(pub(in crate::admin) Parts);

/// What can be changed of what is registered.
pub struct SpecsMutation(pub(in crate::admin) Parts);

impl Parts {
    /// What is registered at this moment.
    pub(super) fn seen(&self) -> Seen {
        Seen { snapshot: self.specs.snapshot(), events_url: Arc::clone(&self.events_url) }
    }
}

#[Object]
#[expect(clippy::unused_async, reason = "a resolver is asynchronous")]
impl SpecsQuery {
    /// One application, by id or by name.
    async fn application(&self, id: Option<ID>, name: Option<String>) -> Option<Application> {
        let seen = self.0.seen();
        let found = match (id, name) {
            (Some(id), _) => seen.snapshot.application(&id).cloned(),
            (None, Some(name)) => seen.snapshot.application_named(&name).cloned(),
            (None, None) => None,
        };
        found.map(|one| Application::new(seen, one))
    }

    /// All applications, in the order of their names.
    async fn applications(
        &self,
        #[graphql(default_with = "Some(100)")] first: Option<i32>,
        after: Option<PageCursor>,
    ) -> Result<ApplicationPage> {
        let seen = self.0.seen();
        let show = |one| Application::new(seen.clone(), one);
        let all = seen.snapshot.applications();
        page::cut(all, first, after.as_ref(), show).map(Into::into)
    }

    /// One runtime, by id or by name.
    async fn runtime(&self, id: Option<ID>, name: Option<String>) -> Option<Runtime> {
        let snapshot = self.0.specs.snapshot();
        let found = match (id, name) {
            (Some(id), _) => snapshot.runtime(&id),
            (None, Some(name)) => snapshot.runtime_named(&name),
            (None, None) => None,
        };
        found.cloned().map(Runtime)
    }

    /// All runtimes, in the order of their names.
    async fn runtimes(
        &self,
        #[graphql(default_with = "Some(100)")] first: Option<i32>,
        after: Option<PageCursor>,
    ) -> Result<RuntimePage> {
        let all = self.0.specs.snapshot().runtimes();
        page::cut(all, first, after.as_ref(), Runtime).map(Into::into)
    }

    /// One event definition.
    #[graphql(name = "eventAPI")]
    async fn event_api(&self, id: ID) -> Option<EventApiDefinition> {
        let seen = self.0.seen();
        let found = seen.snapshot.definition(&id).cloned();
        found.map(|one| EventApiDefinition::new(seen, one))
    }

    /// The event definitions of an application.
    async fn events_for_application(
        &self,
        #[graphql(name = "appID")] app_id: ID,
        #[graphql(default_with = "Some(200)")] first: Option<i32>,
        after: Option<PageCursor>,
    ) -> Result<EventDefinitionPage> {
        let snapshot = self.0.specs.snapshot();
        if snapshot.application(&app_id).is_none() {
            return Err(not_found("application", &app_id));
        }
        let all = snapshot.definitions_of(&app_id);
        page::cut(all, first, after.as_ref(), EventDefinition).map(Into::into)
    }

    /// The applications whose events a runtime can expose: all of them.
    async fn applications_for_runtime(
        &self,
        #[graphql(name = "runtimeID")] runtime_id: ID,
        #[graphql(default_with = "Some(100)")] first: Option<i32>,
        after: Option<PageCursor>,
    ) -> Result<ApplicationPage> {
        let seen = self.0.seen();
        expect_runtime(&seen, &runtime_id)?;
        let show = |one| Application::new(seen.clone(), one);
        let all = seen.snapshot.applications();
        page::cut(all, first, after.as_ref(), show).map(Into::into)
    }

    /// The event definitions that a runtime can expose: those of all applications.
    async fn events_for_runtime(
        &self,
        #[graphql(name = "runtimeID")] runtime_id: ID,
        #[graphql(default_with = "Some(200)")] first: Option<i32>,
        after: Option<PageCursor>,
    ) -> Result<EventApiDefinitionPage> {
        let seen = self.0.seen();
        expect_runtime(&seen, &runtime_id)?;
        let show = |one| EventApiDefinition::new(seen.clone(), one);
        let all = seen.snapshot.definitions();
        page::cut(all, first, after.as_ref(), show).map(Into::into)
    }
}

#[Object]
impl SpecsMutation {
    /// Registers an application, and its definitions with it: all or nothing.
    async fn create_application(&self, mut r#in: ApplicationInput) -> Result<Application> {
        let definitions = r#in.event_apis.take().unwrap_or_default();
        let application = r#in.into_input();
        let owner = Owner::Name(application.name.clone());
        let mut changes = vec![Change::CreateApplication(application)];
        for (index, definition) in definitions.into_iter().enumerate() {
            let to = definition.into_input().map_err(|mut error| {
                error.field = format!("eventAPIs[{index}].{}", error.field);
                invalid(&error)
            })?;
            changes.push(Change::CreateDefinition { owner: owner.clone(), to: Box::new(to) });
        }
        let place = |place: usize| match place.checked_sub(1) {
            None => String::new(),
            Some(index) => format!("eventAPIs[{index}]."),
        };
        let done = self.0.specs.apply(changes).await;
        self.application(done.map_err(|error| rejected(error, place))?)
    }

    /// Makes an application what the input says.
    async fn update_application(&self, id: ID, r#in: ApplicationInput) -> Result<Application> {
        let change = Change::UpdateApplication { id: id.0, to: r#in.into_input() };
        self.application(self.change(change).await?)
    }

    /// Removes an application with its definitions.
    async fn delete_application(&self, id: ID) -> Result<Application> {
        self.application(self.change(Change::DeleteApplication { id: id.0 }).await?)
    }

    /// Registers a runtime.
    async fn create_runtime(&self, r#in: RuntimeInput) -> Result<Runtime> {
        runtime(self.change(Change::CreateRuntime(r#in.into_input())).await?)
    }

    /// Makes a runtime what the input says.
    async fn update_runtime(&self, id: ID, r#in: RuntimeInput) -> Result<Runtime> {
        runtime(self.change(Change::UpdateRuntime { id: id.0, to: r#in.into_input() }).await?)
    }

    /// Removes a runtime.
    async fn delete_runtime(&self, id: ID) -> Result<Runtime> {
        runtime(self.change(Change::DeleteRuntime { id: id.0 }).await?)
    }

    /// Registers an event definition: its document holds from now on.
    #[graphql(name = "addEventAPI")]
    async fn add_event_api(
        &self,
        #[graphql(name = "applicationID")] application_id: ID,
        r#in: EventApiDefinitionInput,
    ) -> Result<EventApiDefinition> {
        let to = r#in.into_input().map_err(|error| invalid(&error))?;
        self.shown(self.add(application_id, to).await?)
    }

    /// Makes an event definition what the input says, at once for everyone.
    #[graphql(name = "updateEventAPI")]
    async fn update_event_api(
        &self,
        id: ID,
        r#in: EventApiDefinitionInput,
    ) -> Result<EventApiDefinition> {
        let to = r#in.into_input().map_err(|error| invalid(&error))?;
        let to = Box::new(to);
        self.shown(self.change(Change::UpdateDefinition { id: id.0, to }).await?)
    }

    /// Removes an event definition: its document holds no more.
    #[graphql(name = "deleteEventAPI")]
    async fn delete_event_api(&self, id: ID) -> Result<EventApiDefinition> {
        self.shown(self.change(Change::DeleteDefinition { id: id.0 }).await?)
    }

    /// Fetches the document of an event definition again. If that fails, the one that is there
    /// stays, and the status says why.
    #[graphql(name = "refetchEventAPISpec")]
    async fn refetch_event_api_spec(
        &self,
        #[graphql(name = "eventID")] event_id: ID,
    ) -> Result<EventApiSpec> {
        let changed = self.change(Change::Refetch { id: event_id.0 }).await?;
        definition(changed).map(EventApiSpec)
    }

    /// Registers an event definition, by its later name.
    async fn add_event_definition(
        &self,
        #[graphql(name = "applicationID")] application_id: ID,
        r#in: EventDefinitionInput,
    ) -> Result<EventDefinition> {
        let to = r#in.into_input(None).map_err(|error| invalid(&error))?;
        definition(self.add(application_id, to).await?).map(EventDefinition)
    }

    /// Registers an event definition, by its latest name.
    async fn add_event_definition_to_application(
        &self,
        #[graphql(name = "appID")] app_id: ID,
        r#in: EventDefinitionInput,
    ) -> Result<EventDefinition> {
        let to = r#in.into_input(None).map_err(|error| invalid(&error))?;
        definition(self.add(app_id, to).await?).map(EventDefinition)
    }

    /// Makes an event definition what the input says, by its later name. What only the earlier
    /// names have (external subscriptions, the check of payloads) stays as it is.
    async fn update_event_definition(
        &self,
        id: ID,
        r#in: EventDefinitionInput,
    ) -> Result<EventDefinition> {
        self.update_later(id, r#in).await
    }

    /// Makes an event definition what the input says, by its latest name. What only the earlier
    /// names have (external subscriptions, the check of payloads) stays as it is.
    async fn update_event_definition_for_application(
        &self,
        id: ID,
        r#in: EventDefinitionInput,
    ) -> Result<EventDefinition> {
        self.update_later(id, r#in).await
    }

    /// Removes an event definition, by its later name.
    async fn delete_event_definition(&self, id: ID) -> Result<EventDefinition> {
        definition(self.change(Change::DeleteDefinition { id: id.0 }).await?).map(EventDefinition)
    }

    /// Fetches the document of an event definition again, by its later name.
    async fn refetch_event_definition_spec(
        &self,
        #[graphql(name = "eventID")] event_id: ID,
    ) -> Result<EventSpec> {
        definition(self.change(Change::Refetch { id: event_id.0 }).await?).map(EventSpec)
    }
}

impl SpecsMutation {
    async fn change(&self, change: Change) -> Result<Vec<Changed>> {
        let changed = self.0.specs.apply(vec![change]).await;
        changed.map_err(|error| rejected(error, |_| String::new()))
    }

    async fn add(
        &self,
        application_id: ID,
        to: crate::specs::change::DefinitionInput,
    ) -> Result<Vec<Changed>> {
        let owner = Owner::Id(application_id.0);
        self.change(Change::CreateDefinition { owner, to: Box::new(to) }).await
    }

    async fn update_later(&self, id: ID, r#in: EventDefinitionInput) -> Result<EventDefinition> {
        let snapshot = self.0.specs.snapshot();
        let known = snapshot.definition(&id).map(|known| &**known);
        let to = r#in.into_input(known).map_err(|error| invalid(&error))?;
        let change = Change::UpdateDefinition { id: id.0, to: Box::new(to) };
        definition(self.change(change).await?).map(EventDefinition)
    }

    fn application(&self, changed: Vec<Changed>) -> Result<Application> {
        match changed.into_iter().next().map(|changed| changed.entry) {
            Some(Entry::Application(one)) => Ok(Application::new(self.0.seen(), one)),
            _ => Err(nothing()),
        }
    }

    fn shown(&self, changed: Vec<Changed>) -> Result<EventApiDefinition> {
        definition(changed).map(|one| EventApiDefinition::new(self.0.seen(), one))
    }
}

fn definition(changed: Vec<Changed>) -> Result<Arc<words::Definition>> {
    match changed.into_iter().next().map(|changed| changed.entry) {
        Some(Entry::Definition(one)) => Ok(one),
        _ => Err(nothing()),
    }
}

fn runtime(changed: Vec<Changed>) -> Result<Runtime> {
    match changed.into_iter().next().map(|changed| changed.entry) {
        Some(Entry::Runtime(one)) => Ok(Runtime(one)),
        _ => Err(nothing()),
    }
}

fn nothing() -> Error {
    coded(Code::InternalError, "the registry does not say what it changed")
}

pub(super) fn expect_runtime(seen: &Seen, id: &ID) -> Result<()> {
    seen.snapshot.runtime(id).map(drop).ok_or_else(|| not_found("runtime", id))
}

fn not_found(what: &str, id: &ID) -> Error {
    coded(Code::NotFound, &format!("there is no {what} {:?}", id.as_str()))
}
