//! The question that a policy answers: may this principal do that to this?

use std::collections::{BTreeMap, BTreeSet};

use eg_event::Principal;
use serde::{Deserialize, Serialize};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Hand over events.
    Publish,
    /// Receive events by MQTT.
    Subscribe,
    /// Change how the gateway works.
    Manage,
    /// See how the gateway works and what it holds.
    Read,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Publish, Self::Subscribe, Self::Manage, Self::Read];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Manage => "manage",
            Self::Read => "read",
        }
    }
}

/// A part of management.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// Who gets which events.
    Subscriptions,
    /// What could not be delivered.
    DeadLetters,
    /// What is in the journal.
    Events,
    /// Passwords, API keys and tokens.
    Credentials,
    /// Certificates and the authority that issues them.
    Certificates,
    /// What events have to look like.
    Specs,
    /// Who may do what.
    Policy,
    /// The numbers of the gateway.
    Metrics,
    /// MQTT clients, their sessions and what is retained.
    Mqtt,
}

impl Area {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Subscriptions,
        Self::DeadLetters,
        Self::Events,
        Self::Credentials,
        Self::Certificates,
        Self::Specs,
        Self::Policy,
        Self::Metrics,
        Self::Mqtt,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscriptions => "subscriptions",
            Self::DeadLetters => "dead-letters",
            Self::Events => "events",
            Self::Credentials => "credentials",
            Self::Certificates => "certificates",
            Self::Specs => "specs",
            Self::Policy => "policy",
            Self::Metrics => "metrics",
            Self::Mqtt => "mqtt",
        }
    }
}

/// Who asks, as far as rules look at it: a principal, or somebody who is only thought of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The name.
    pub name: &'a str,
    /// How they were recognized, by the word for it.
    pub method: &'a str,
    /// The application that they act for.
    pub application: Option<&'a str>,
    /// Their roles.
    pub roles: &'a BTreeSet<String>,
    /// What their credential says beside.
    pub claims: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a Principal> for Subject<'a> {
    fn from(principal: &'a Principal) -> Self {
        Self {
            name: principal.name(),
            method: principal.method().as_str(),
            application: principal.application(),
            roles: principal.roles(),
            claims: principal.claims(),
        }
    }
}

/// What something is done to; only what the action has is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resource<'a> {
    /// The part of management.
    pub area: Option<Area>,
    /// The application that is spoken for.
    pub application: Option<&'a str>,
    /// The MQTT topic, or for `subscribe` the topic filter.
    pub topic: Option<&'a str>,
    /// The event's `type`.
    pub ty: Option<&'a str>,
    /// The event's `source`.
    pub source: Option<&'a str>,
    /// The MQTT client identifier, for `${client_id}`.
    pub client_id: Option<&'a str>,
}

impl Resource<'_> {
    /// A part of management.
    #[must_use]
    pub fn of(area: Area) -> Self {
        Self { area: Some(area), ..Self::default() }
    }
}

/// May this subject do that to this?
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who.
    pub subject: Subject<'a>,
    /// Does what.
    pub action: Action,
    /// To what.
    pub resource: Resource<'a>,
}
