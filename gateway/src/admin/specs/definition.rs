//! Event definitions as management clients see them (`EventAPIDefinition`), never with a secret.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, SimpleObject};

use super::application::{ApplicationEventingConfiguration, Seen, eventing};
use super::page::Page;
use super::reading::ExternalReading;
use super::scalar::{Attributes, Clob, Instant};
use crate::admin::outbound::Auth;
use crate::admin::page::PageInfo;
use crate::consume::Consumers;
use crate::declared::DeclaredStore;
use crate::specs::definition as words;
use crate::specs::external::{self, Effect};

/// The kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(name = "EventAPISpecType")]
pub enum EventApiSpecType {
    /// `AsyncAPI`.
    AsyncApi,
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "words::SpecFormat")]
pub enum SpecFormat {
    /// YAML 1.2.
    Yaml,
    /// JSON.
    Json,
}

/// What is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "words::FetchMode")]
pub enum FetchMode {
    /// One document.
    Single,
    /// An archive: not supported.
    Package,
    /// A list of documents: not supported.
    Index,
}

/// How far fetching came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "words::FetchCondition")]
pub enum FetchRequestStatusCondition {
    /// It was not begun.
    Initial,
    /// The document is there.
    Succeeded,
    /// It is not, or it is still the one from before.
    Failed,
}

/// What becomes of events whose payload is not what the document says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "words::PayloadCheck")]
pub enum PayloadCheck {
    /// Payloads are not looked at.
    Off,
    /// They pass, and are counted and logged.
    Warn,
    /// They are kept aside.
    Quarantine,
    /// They are refused.
    Reject,
}

/// A version of a definition.
#[derive(Clone, Debug, SimpleObject)]
pub struct Version {
    /// Semantic version.
    value: String,
    /// Whether it should no longer be used.
    deprecated: bool,
    /// The version since which it should not.
    deprecated_since: Option<String>,
    /// Whether it will be removed.
    for_removal: bool,
}

/// Where a document comes from.
#[derive(Clone, Debug, SimpleObject)]
pub struct FetchRequest {
    /// Where.
    url: String,
    /// How the gateway says there who it is, without secrets.
    auth: Option<Auth>,
    /// What is fetched.
    mode: FetchMode,
    /// Which part of it.
    filter: Option<String>,
    /// How it went.
    status: FetchRequestStatus,
}

/// How fetching went.
#[derive(Clone, Debug, SimpleObject)]
pub struct FetchRequestStatus {
    /// How far it came.
    condition: FetchRequestStatusCondition,
    /// Why no further.
    message: Option<String>,
    /// When that was.
    timestamp: Instant,
}

/// An AsyncAPI document that an application publishes by.
#[derive(Clone)]
pub struct EventApiDefinition {
    seen: Seen,
    definition: Arc<words::Definition>,
}

/// A document.
pub struct EventApiSpec(pub(super) Arc<words::Definition>);

/// A bus that events go to.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(name = "EventAPISubscription")]
pub struct EventApiSubscription {
    /// Its scheme chooses the bus.
    url: String,
    /// How the gateway says there who it is, without secrets.
    auth: Option<Auth>,
    /// The topic, subject, queue or path.
    topic: String,
    /// What the bus is told besides.
    attributes: Attributes,
    /// What it is doing.
    status: ExternalSubscriptionStatus,
}

/// What an external subscription is doing.
#[derive(Clone, Debug, SimpleObject)]
pub struct ExternalSubscriptionStatus {
    /// Whether events go there, or come from there.
    active: bool,
    /// Why not.
    message: Option<String>,
    /// The subscription that delivers them: its state says how that goes.
    subscription: Option<String>,
    /// How the topic is read, where events come from it.
    reading: Option<ExternalReading>,
}

/// Whose definition it is. Its other definitions are asked for by `application`: no request goes
/// round in circles.
#[derive(Clone, Debug, SimpleObject)]
pub struct Publisher {
    /// The application's id.
    id: ID,
    /// Its name.
    name: String,
    /// Where it sends its events.
    eventing_configuration: ApplicationEventingConfiguration,
}

impl EventApiDefinition {
    /// The definition as it is seen.
    #[must_use]
    pub fn new(seen: Seen, definition: Arc<words::Definition>) -> Self {
        Self { seen, definition }
    }
}

/// An AsyncAPI document that an application publishes by.
#[Object(name = "EventAPIDefinition")]
impl EventApiDefinition {
    /// Never used again for another one.
    async fn id(&self) -> ID {
        self.definition.id.clone().into()
    }

    /// The application that it belongs to.
    #[graphql(name = "applicationID")]
    async fn application_id(&self) -> ID {
        self.definition.application_id.clone().into()
    }

    /// The application that it belongs to.
    async fn application(&self) -> Option<Publisher> {
        let application = self.seen.snapshot.application(&self.definition.application_id)?;
        Some(Publisher {
            id: application.id.clone().into(),
            name: application.name.clone(),
            eventing_configuration: eventing(&self.seen, application),
        })
    }

    /// Unique in its application.
    async fn name(&self) -> &str {
        &self.definition.name
    }

    /// Prose.
    async fn description(&self) -> Option<&str> {
        self.definition.description.as_deref()
    }

    /// group allows you to find the same API but in different version
    async fn group(&self) -> Option<&str> {
        self.definition.group.as_deref()
    }

    /// The document.
    async fn spec(&self) -> EventApiSpec {
        EventApiSpec(Arc::clone(&self.definition))
    }

    /// How whoever consumes says who they are, without secrets.
    async fn auth(&self) -> Option<Auth> {
        self.definition.auth.as_deref().map(Auth::from)
    }

    /// Buses that its events go to.
    async fn external_subscriptions(&self, ctx: &Context<'_>) -> Vec<EventApiSubscription> {
        external_subscriptions(&self.definition, ctx)
    }

    /// The version.
    async fn version(&self) -> Option<Version> {
        version(&self.definition)
    }

    /// What becomes of events whose payload is not what the document says.
    async fn payload_check(&self) -> PayloadCheck {
        self.definition.payload_check.into()
    }

    /// What the document says that events are not held to, in words.
    async fn warnings(&self, ctx: &Context<'_>) -> Vec<String> {
        let declared = ctx.data_opt::<DeclaredStore>().map(DeclaredStore::load);
        declared.map_or_else(Vec::new, |one| one.warnings(&self.definition.id).to_vec())
    }

    /// When it was registered.
    async fn created_at(&self) -> Instant {
        Instant(self.definition.created_at.to_string())
    }

    /// When it was changed last.
    async fn updated_at(&self) -> Instant {
        Instant(self.definition.updated_at.to_string())
    }
}

/// A document.
#[Object(name = "EventAPISpec")]
impl EventApiSpec {
    /// The text; none until it has been fetched.
    async fn data(&self) -> Option<Clob> {
        self.0.spec.data.clone().map(Clob)
    }

    /// What kind of document it is.
    async fn r#type(&self) -> EventApiSpecType {
        EventApiSpecType::AsyncApi
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
#[graphql(name = "EventAPIDefinitionPage")]
pub struct EventApiDefinitionPage {
    /// The definitions.
    data: Vec<EventApiDefinition>,
    /// Where the page lies.
    page_info: PageInfo,
    /// How many there are in all.
    total_count: usize,
}

impl From<Page<EventApiDefinition>> for EventApiDefinitionPage {
    fn from(Page { data, info, total_count }: Page<EventApiDefinition>) -> Self {
        Self { data, page_info: info, total_count }
    }
}

impl From<&words::FetchRequest> for FetchRequest {
    fn from(request: &words::FetchRequest) -> Self {
        Self {
            url: request.url.clone(),
            auth: request.auth.as_deref().map(Auth::from),
            mode: request.mode.into(),
            filter: request.filter.clone(),
            status: FetchRequestStatus {
                condition: request.status.condition.into(),
                message: request.status.message.clone(),
                timestamp: Instant(request.status.timestamp.to_string()),
            },
        }
    }
}

pub(super) fn version(definition: &words::Definition) -> Option<Version> {
    definition.version.clone().map(|version| Version {
        value: version.value,
        deprecated: version.deprecated,
        deprecated_since: version.deprecated_since,
        for_removal: version.for_removal,
    })
}

pub(super) fn external_subscriptions(
    definition: &words::Definition,
    ctx: &Context<'_>,
) -> Vec<EventApiSubscription> {
    let show = |one: &words::ExternalSubscription| EventApiSubscription {
        url: one.url.clone(),
        auth: one.auth.as_deref().map(Auth::from),
        topic: one.topic.clone(),
        attributes: Attributes(one.attributes.clone()),
        status: status(external::effect(definition, one), ctx.data_opt()),
    };
    definition.external_subscriptions.iter().map(show).collect()
}

fn status(effect: Effect, consumers: Option<&Consumers>) -> ExternalSubscriptionStatus {
    let (subscription, message) = match effect {
        Effect::Pushed(name) => (Some(name), None),
        Effect::None(why) => (None, Some(why)),
        Effect::Consumed(name) => {
            let standing = consumers.and_then(|consumers| consumers.standing(&name));
            let Some(view) = standing.map(|standing| standing.view()) else {
                return status(Effect::None("about to be read".to_owned()), consumers);
            };
            let (active, message) = (view.is_reading(), view.obstacle());
            let reading = Some(ExternalReading::from(view));
            return ExternalSubscriptionStatus { active, message, subscription: None, reading };
        }
    };
    let active = subscription.is_some();
    ExternalSubscriptionStatus { active, message, subscription, reading: None }
}
