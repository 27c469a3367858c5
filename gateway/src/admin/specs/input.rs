//! What management clients write: what the `EventAPI` inputs of Compass have. What they left out
//! at first (names, formats) is optional.

use std::sync::Arc;

use async_graphql::{InputObject, MaybeUndefined};
use eg_event::InvalidInput;

use super::definition::{EventApiSpecType, FetchMode, PayloadCheck, SpecFormat};
use super::scalar::{Attributes, Clob, Labels};
use crate::admin::outbound::AuthInput;
use crate::specs::change::{self as words, AuthChange};
use crate::specs::definition::Version;
use crate::specs::rules::under;

/// What an application is to be.
#[derive(InputObject)]
pub struct ApplicationInput {
    /// Unique among applications: letters, digits and hyphens in parts divided by full stops.
    name: String,
    /// Prose.
    description: Option<String>,
    /// Whose product it is.
    provider_name: Option<String>,
    /// Words to find it by.
    labels: Option<Labels>,
    /// Definitions that are registered with it; when it is made, not when it is updated.
    #[graphql(name = "eventAPIs")]
    pub(super) event_apis: Option<Vec<EventApiDefinitionInput>>,
}

/// What a runtime is to be.
#[derive(InputObject)]
pub struct RuntimeInput {
    /// Unique among runtimes.
    name: String,
    /// Prose.
    description: Option<String>,
    /// Words to find it by.
    labels: Option<Labels>,
}

/// What a definition is to be.
#[derive(InputObject)]
#[graphql(name = "EventAPIDefinitionInput")]
pub struct EventApiDefinitionInput {
    /// Unique in its application; by default the title of the document.
    pub(super) name: Option<String>,
    /// Prose.
    pub(super) description: Option<String>,
    /// The document, or where it is fetched.
    pub(super) spec: EventApiSpecInput,
    /// What is the same in every version of one definition.
    pub(super) group: Option<String>,
    /// How whoever consumes says who they are. Secrets are never shown. An update without it keeps
    /// what there is, and null removes it.
    pub(super) auth: MaybeUndefined<AuthInput>,
    /// Buses that its events go to.
    pub(super) external_subscriptions: Option<Vec<EventApiSubscriptionInput>>,
    /// The version.
    pub(super) version: Option<VersionInput>,
    /// What becomes of events whose payload is not what the document says; by default REJECT, and
    /// in an update what holds already.
    pub(super) payload_check: Option<PayloadCheck>,
}

/// A document: exactly one of the text and where it is fetched.
#[derive(InputObject)]
#[graphql(name = "EventAPISpecInput")]
pub struct EventApiSpecInput {
    /// The text.
    pub(super) data: Option<Clob>,
    /// What kind of document it is.
    pub(super) event_spec_type: EventApiSpecType,
    /// How it is written; by default it is guessed.
    pub(super) format: Option<SpecFormat>,
    /// Where it is fetched.
    pub(super) fetch_request: Option<FetchRequestInput>,
}

/// Where a document is fetched.
#[derive(InputObject)]
pub struct FetchRequestInput {
    /// An http or https URL.
    url: String,
    /// How the gateway says there who it is. Secrets are never shown. An update without it keeps
    /// what there is, and null removes it.
    auth: MaybeUndefined<AuthInput>,
    /// What is fetched.
    #[graphql(default_with = "Some(FetchMode::Single)")]
    mode: Option<FetchMode>,
    /// Which part of it.
    filter: Option<String>,
}

/// A bus that events go to.
#[derive(InputObject)]
#[graphql(name = "EventAPISubscriptionInput")]
pub struct EventApiSubscriptionInput {
    /// Its scheme chooses the bus: kafka, kafkas, nats, tls+nats, amqp, amqps, amqp10, amqps10,
    /// mqtt, mqtts, http, https.
    url: String,
    /// How the gateway says there who it is. Secrets are never shown. An update without it keeps
    /// what there is, and null removes it.
    auth: MaybeUndefined<AuthInput>,
    /// The topic, subject, queue or path.
    topic: String,
    /// What the bus is told besides.
    attributes: Option<Attributes>,
}

/// A version of a definition.
#[derive(InputObject)]
pub struct VersionInput {
    /// Semantic version.
    value: String,
    /// Whether it should no longer be used.
    #[graphql(default_with = "Some(false)")]
    deprecated: Option<bool>,
    /// The version since which it should not.
    deprecated_since: Option<String>,
    /// Whether it will be removed.
    #[graphql(default_with = "Some(false)")]
    for_removal: Option<bool>,
}

impl ApplicationInput {
    /// The words of it, without definitions.
    #[must_use]
    pub fn into_input(self) -> words::ApplicationInput {
        words::ApplicationInput {
            name: self.name,
            description: self.description,
            provider_name: self.provider_name,
            labels: self.labels.unwrap_or_default().0,
        }
    }
}

impl RuntimeInput {
    /// The words of it.
    #[must_use]
    pub fn into_input(self) -> words::RuntimeInput {
        words::RuntimeInput {
            name: self.name,
            description: self.description,
            labels: self.labels.unwrap_or_default().0,
        }
    }
}

impl EventApiDefinitionInput {
    /// A definition of which nothing but the name and the document is given.
    pub(super) fn plain(name: Option<String>, spec: EventApiSpecInput) -> Self {
        Self {
            name,
            description: None,
            spec,
            group: None,
            auth: MaybeUndefined::Undefined,
            external_subscriptions: None,
            version: None,
            payload_check: None,
        }
    }

    /// The words of it.
    pub fn into_input(self) -> Result<words::DefinitionInput, InvalidInput> {
        let external = self.external_subscriptions.unwrap_or_default().into_iter().enumerate();
        let external = external.map(|(index, one)| {
            let place = format!("externalSubscriptions[{index}].auth");
            Ok::<_, InvalidInput>(words::ExternalInput {
                url: one.url,
                auth: auth(&place, one.auth)?,
                topic: one.topic,
                attributes: one.attributes.unwrap_or_default().0,
            })
        });
        Ok(words::DefinitionInput {
            name: self.name,
            description: self.description,
            group: self.group,
            version: self.version.map(|version| Version {
                value: version.value,
                deprecated: version.deprecated.unwrap_or_default(),
                deprecated_since: version.deprecated_since,
                for_removal: version.for_removal.unwrap_or_default(),
            }),
            spec: self.spec.into_input()?,
            auth: auth("auth", self.auth)?,
            external_subscriptions: external.collect::<Result<_, _>>()?,
            payload_check: self.payload_check.map(Into::into),
        })
    }
}

impl EventApiSpecInput {
    fn into_input(self) -> Result<words::SpecInput, InvalidInput> {
        let EventApiSpecType::AsyncApi = self.event_spec_type;
        let fetch = self.fetch_request.map(|fetch| {
            Ok::<_, InvalidInput>(words::FetchInput {
                url: fetch.url,
                auth: auth("spec.fetchRequest.auth", fetch.auth)?,
                mode: fetch.mode.unwrap_or(FetchMode::Single).into(),
                filter: fetch.filter,
            })
        });
        Ok(words::SpecInput {
            data: self.data.map(|Clob(text)| text),
            format: self.format.map(Into::into),
            fetch: fetch.transpose()?,
        })
    }
}

fn auth(place: &str, given: MaybeUndefined<AuthInput>) -> Result<AuthChange, InvalidInput> {
    match given {
        MaybeUndefined::Undefined => Ok(AuthChange::Keep),
        MaybeUndefined::Null => Ok(AuthChange::Remove),
        MaybeUndefined::Value(auth) => {
            let auth = auth.into_auth().map_err(|error| under(place, error))?;
            Ok(AuthChange::Set(Arc::new(auth)))
        }
    }
}
