//! The later names of Compass for the same definitions: `EventDefinition`, `EventSpec`.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use eg_event::InvalidInput;

use super::definition::EventApiSpecType;
use super::definition::{
    EventApiSubscription, FetchRequest, PayloadCheck, SpecFormat, Version, external_subscriptions,
    version,
};
use super::input::{EventApiDefinitionInput, EventApiSpecInput, FetchRequestInput, VersionInput};
use super::page::Page;
use super::scalar::{Clob, Instant};
use crate::admin::page::PageInfo;
use crate::specs::change::DefinitionInput;
use crate::specs::definition as words;

/// The kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum EventSpecType {
    /// `AsyncAPI`.
    AsyncApi,
}

/// An event definition by its later name.
pub struct EventDefinition(pub Arc<words::Definition>);

/// A document by its later name.
pub struct EventSpec(pub Arc<words::Definition>);

/// An event definition by its later name.
#[Object]
impl EventDefinition {
    /// Never used again for another one.
    async fn id(&self) -> ID {
        self.0.id.clone().into()
    }

    /// The application that it belongs to.
    #[graphql(name = "applicationID")]
    async fn application_id(&self) -> ID {
        self.0.application_id.clone().into()
    }

    /// Unique in its application.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Prose.
    async fn description(&self) -> Option<&str> {
        self.0.description.as_deref()
    }

    /// group allows you to find the same API but in different version
    async fn group(&self) -> Option<&str> {
        self.0.group.as_deref()
    }

    /// The document.
    async fn spec(&self) -> EventSpec {
        EventSpec(Arc::clone(&self.0))
    }

    /// Buses that its events go to.
    async fn external_subscriptions(&self, ctx: &Context<'_>) -> Vec<EventApiSubscription> {
        external_subscriptions(&self.0, ctx)
    }

    /// The version.
    async fn version(&self) -> Option<Version> {
        version(&self.0)
    }

    /// What becomes of events whose payload is not what the document says.
    async fn payload_check(&self) -> PayloadCheck {
        self.0.payload_check.into()
    }

    /// When it was registered.
    async fn created_at(&self) -> Instant {
        Instant(self.0.created_at.to_string())
    }

    /// When it was changed last.
    async fn updated_at(&self) -> Instant {
        Instant(self.0.updated_at.to_string())
    }

    /// Never: what is deleted is gone.
    async fn deleted_at(&self) -> Option<Instant> {
        None
    }
}

/// A document by its later name.
#[Object]
impl EventSpec {
    /// The id of its definition.
    async fn id(&self) -> ID {
        self.0.id.clone().into()
    }

    /// The text; none until it has been fetched.
    async fn data(&self) -> Option<Clob> {
        self.0.spec.data.clone().map(Clob)
    }

    /// What kind of document it is.
    async fn r#type(&self) -> EventSpecType {
        EventSpecType::AsyncApi
    }

    /// How it is written.
    async fn format(&self) -> SpecFormat {
        self.0.spec.format.into()
    }

    /// Where it comes from.
    async fn fetch_request(&self) -> Option<FetchRequest> {
        self.0.spec.fetch_request.as_ref().map(FetchRequest::from)
    }
}

/// A page of event definitions.
#[derive(SimpleObject)]
pub struct EventDefinitionPage {
    /// The definitions.
    data: Vec<EventDefinition>,
    /// Where the page lies.
    page_info: PageInfo,
    /// How many there are in all.
    total_count: usize,
}

impl From<Page<EventDefinition>> for EventDefinitionPage {
    fn from(Page { data, info, total_count }: Page<EventDefinition>) -> Self {
        Self { data, page_info: info, total_count }
    }
}

/// What a definition is to be.
#[derive(InputObject)]
pub struct EventDefinitionInput {
    /// Unique in its application.
    name: String,
    /// Prose.
    description: Option<String>,
    /// The document, or where it is fetched.
    spec: EventSpecInput,
    /// What is the same in every version of one definition.
    group: Option<String>,
    /// The version.
    version: Option<VersionInput>,
}

/// A document, or where it is fetched.
#[derive(InputObject)]
pub struct EventSpecInput {
    /// The text.
    data: Option<Clob>,
    /// What kind of document it is.
    r#type: EventSpecType,
    /// How it is written.
    format: SpecFormat,
    /// Where it is fetched.
    fetch_request: Option<FetchRequestInput>,
}

impl EventDefinitionInput {
    /// The same by the earlier names. What those alone have stays as it is in `known`.
    pub fn into_input(
        self,
        known: Option<&words::Definition>,
    ) -> Result<DefinitionInput, InvalidInput> {
        let EventSpecType::AsyncApi = self.spec.r#type;
        let spec = EventApiSpecInput {
            data: self.spec.data,
            event_spec_type: EventApiSpecType::AsyncApi,
            format: Some(self.spec.format),
            fetch_request: self.spec.fetch_request,
        };
        let input = EventApiDefinitionInput::plain(Some(self.name), spec);
        let input = EventApiDefinitionInput {
            description: self.description,
            group: self.group,
            version: self.version,
            ..input
        };
        let mut input = input.into_input()?;
        input.external_subscriptions = known.map(kept).unwrap_or_default();
        Ok(input)
    }
}

fn kept(known: &words::Definition) -> Vec<crate::specs::change::ExternalInput> {
    let same = |one: &words::ExternalSubscription| crate::specs::change::ExternalInput {
        url: one.url.clone(),
        auth: crate::specs::change::AuthChange::Keep,
        topic: one.topic.clone(),
        attributes: one.attributes.clone(),
    };
    known.external_subscriptions.iter().map(same).collect()
}
