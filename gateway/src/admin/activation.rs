//! Event activations as management clients see and write them.

use async_graphql::{InputObject, Object, Result, SimpleObject};
use eg_event::InvalidInput;

use super::error::{invalid, registry};
use super::page::{self, PageInfo};
use super::schema::Parts;
use crate::activation::{Activated, EventActivation as Asked};

/// What an event activation is to be.
#[derive(InputObject)]
pub struct EventActivationInput {
    /// Where events are let in.
    namespace: String,
    /// Unique among the activations of the namespace.
    name: String,
    /// The source of the events.
    source_id: String,
    /// The source for people.
    #[graphql(default)]
    display_name: String,
}

impl EventActivationInput {
    fn into_activation(self) -> Asked {
        let Self { namespace, name, source_id, display_name } = self;
        Asked { namespace, name, source_id, display_name }
    }
}

/// Lets the events of a source into a namespace.
#[derive(Clone, Debug, SimpleObject)]
pub struct EventActivation {
    namespace: String,
    name: String,
    source_id: String,
    display_name: String,
    created_at: String,
    updated_at: String,
}

impl From<&Activated> for EventActivation {
    fn from(known: &Activated) -> Self {
        let Asked { namespace, name, source_id, display_name } = (*known.activation).clone();
        let (created_at, updated_at) = (known.created_at.to_string(), known.updated_at.to_string());
        Self { namespace, name, source_id, display_name, created_at, updated_at }
    }
}

/// A page of event activations.
#[derive(Clone, Debug, SimpleObject)]
pub struct EventActivationPage {
    /// The activations, in the order of their namespaces and names.
    pub data: Vec<EventActivation>,
    /// Where the page lies.
    pub page_info: PageInfo,
    /// How many there are in all.
    pub total_count: usize,
}

/// What can be asked about event activations.
pub struct ActivationQuery(pub(super) Parts);

#[Object]
#[expect(clippy::unused_async, reason = "a resolver is asynchronous")]
impl ActivationQuery {
    /// One event activation.
    async fn event_activation(&self, namespace: String, name: String) -> Option<EventActivation> {
        let known = self.0.dispatch.activation(&format!("{namespace}/{name}"));
        known.as_ref().map(EventActivation::from)
    }

    /// All event activations, or those of one namespace.
    async fn event_activations(
        &self,
        namespace: Option<String>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<EventActivationPage> {
        let size = page::size(first)?;
        let mut all = self.0.dispatch.activations();
        all.retain(|one| namespace.as_ref().is_none_or(|asked| *asked == one.activation.namespace));
        let total_count = all.len();
        let after = after.unwrap_or_default();
        let later = all.iter().filter(|one| one.activation.key() > after);
        let entries = later.take(size + 1).map(EventActivation::from).collect();
        let (data, page_info) = page::cut(entries, size, |one: &EventActivation| {
            format!("{}/{}", one.namespace, one.name)
        });
        Ok(EventActivationPage { data, page_info, total_count })
    }
}

/// What can be done to event activations. Each acts at once on the subscriptions of its namespace.
pub struct ActivationMutation(pub(super) Parts);

#[Object]
impl ActivationMutation {
    /// Lets the events of a source into a namespace.
    async fn create_event_activation(&self, r#in: EventActivationInput) -> Result<EventActivation> {
        let made = self.0.dispatch.create_activation(r#in.into_activation()).await;
        Ok(EventActivation::from(&made.map_err(registry)?))
    }

    /// Changes what an event activation is for.
    async fn update_event_activation(
        &self,
        namespace: String,
        name: String,
        r#in: EventActivationInput,
    ) -> Result<EventActivation> {
        let activation = r#in.into_activation();
        if (&activation.namespace, &activation.name) != (&namespace, &name) {
            let expected = format!("expected {name:?} in {namespace:?}: it keeps its name");
            return Err(invalid(&InvalidInput::new("in.name", expected)));
        }
        let changed = self.0.dispatch.update_activation(activation).await;
        Ok(EventActivation::from(&changed.map_err(registry)?))
    }

    /// Removes an event activation. No attempt is begun any more for what nothing else activates;
    /// its events wait.
    async fn delete_event_activation(
        &self,
        namespace: String,
        name: String,
    ) -> Result<EventActivation> {
        let removed = self.0.dispatch.delete_activation(&format!("{namespace}/{name}")).await;
        Ok(EventActivation::from(&removed.map_err(registry)?))
    }
}
