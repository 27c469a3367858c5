//! Applications as management clients see them.

use std::sync::Arc;

use async_graphql::{ID, Object, Result, SimpleObject};

use super::definition::{EventApiDefinition, EventApiDefinitionPage};
use super::page::{self, Page};
use super::scalar::{Instant, Labels, PageCursor};
use crate::admin::page::PageInfo;
use crate::specs::definition as words;
use crate::specs::snapshot::Snapshot;

/// What an answer is made from: one moment, and where events are taken in.
#[derive(Clone)]
pub struct Seen {
    /// What was registered at the moment.
    pub snapshot: Arc<Snapshot>,
    /// The URL that the paths of event URLs follow.
    pub events_url: Arc<str>,
}

/// What publishes events.
#[derive(Clone)]
pub struct Application {
    seen: Seen,
    application: Arc<words::Application>,
}

/// Where an application sends its events.
#[derive(Clone, Debug, SimpleObject)]
pub struct ApplicationEventingConfiguration {
    /// The URL that Kyma's clients post to.
    #[graphql(name = "defaultURL")]
    default_url: String,
    /// The URL that takes CloudEvents.
    #[graphql(name = "cloudEventsURL")]
    cloud_events_url: String,
}

impl Application {
    /// The application as it is seen.
    #[must_use]
    pub fn new(seen: Seen, application: Arc<words::Application>) -> Self {
        Self { seen, application }
    }
}

/// What publishes events.
#[Object]
#[expect(clippy::unused_async, reason = "a resolver is asynchronous")]
impl Application {
    /// Never used again for another one.
    async fn id(&self) -> ID {
        self.application.id.clone().into()
    }

    /// Unique among applications.
    async fn name(&self) -> &str {
        &self.application.name
    }

    /// Prose.
    async fn description(&self) -> Option<&str> {
        self.application.description.as_deref()
    }

    /// Whose product it is.
    async fn provider_name(&self) -> Option<&str> {
        self.application.provider_name.as_deref()
    }

    /// Words to find it by; with `key`, that one alone.
    async fn labels(&self, key: Option<String>) -> Labels {
        labels(&self.application.labels, key.as_deref())
    }

    /// When it was registered.
    async fn created_at(&self) -> Instant {
        Instant(self.application.created_at.to_string())
    }

    /// When it was changed last.
    async fn updated_at(&self) -> Instant {
        Instant(self.application.updated_at.to_string())
    }

    /// Where it sends its events.
    async fn eventing_configuration(&self) -> ApplicationEventingConfiguration {
        eventing(&self.seen, &self.application)
    }

    /// Its event definitions in the order of their names; with `group`, those of that group alone.
    #[graphql(name = "eventAPIs")]
    async fn event_apis(
        &self,
        group: Option<String>,
        #[graphql(default_with = "Some(100)")] first: Option<i32>,
        after: Option<PageCursor>,
    ) -> Result<EventApiDefinitionPage> {
        let mut all = self.seen.snapshot.definitions_of(&self.application.id);
        all.retain(|one| group.is_none() || one.group == group);
        let show = |one| EventApiDefinition::new(self.seen.clone(), one);
        page::cut(all, first, after.as_ref(), show).map(EventApiDefinitionPage::from)
    }
}

/// A page of applications.
#[derive(SimpleObject)]
pub struct ApplicationPage {
    /// The applications, in the order of their names.
    data: Vec<Application>,
    /// Where the page lies.
    page_info: PageInfo,
    /// How many there are in all.
    total_count: usize,
}

impl From<Page<Application>> for ApplicationPage {
    fn from(Page { data, info, total_count }: Page<Application>) -> Self {
        Self { data, page_info: info, total_count }
    }
}

/// Where `application` sends its events.
pub(super) fn eventing(
    seen: &Seen,
    application: &words::Application,
) -> ApplicationEventingConfiguration {
    ApplicationEventingConfiguration {
        default_url: format!("{}/{}/v1/events", seen.events_url, application.name),
        cloud_events_url: format!("{}/events", seen.events_url),
    }
}

pub(super) fn labels(
    all: &std::collections::BTreeMap<String, serde_json::Value>,
    key: Option<&str>,
) -> Labels {
    let wanted = all.iter().filter(|(name, _)| key.is_none_or(|key| key == **name));
    Labels(wanted.map(|(name, value)| (name.clone(), value.clone())).collect())
}
