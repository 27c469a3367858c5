//! What the policy says to a question, and why: for `policy test` and the console.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::{Enum, InputObject, SimpleObject};
use clap::ValueEnum;
use eg_auth::policy::{self as words, Considered, Decision, Effect, Policy, Request, Resource};
use serde::Serialize;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Serialize, ValueEnum)]
#[graphql(remote = "words::Action", rename_items = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
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

/// A part of management.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Serialize, ValueEnum)]
#[graphql(remote = "words::Area", rename_items = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
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

/// Something that a credential says.
#[derive(Clone, Debug, InputObject, Serialize)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Would this principal be allowed to do that?
#[derive(Clone, Debug, InputObject, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyQuestion {
    /// The name of the principal.
    pub principal: String,
    /// How they are recognized: anonymous, bearer, certificate, basic or api-key.
    #[graphql(default = "bearer")]
    pub method: String,
    /// The application that they act for.
    pub application: Option<String>,
    /// Their roles.
    #[graphql(default)]
    pub roles: Vec<String>,
    /// What their credential says beside.
    #[graphql(default)]
    pub claims: Vec<Claim>,
    /// What they want to do.
    pub action: Action,
    /// To which part of management.
    pub area: Option<Area>,
    /// To the MQTT topic, or for SUBSCRIBE the topic filter.
    pub topic: Option<String>,
    /// To events of this type.
    #[serde(rename = "type")]
    #[graphql(name = "type")]
    pub ty: Option<String>,
    /// To events of this source.
    pub source: Option<String>,
    /// As the MQTT client with this identifier.
    pub client_id: Option<String>,
}

/// What the policy says.
#[derive(Clone, Debug, SimpleObject, Serialize)]
pub struct PolicyDecision {
    /// Whether it may be done.
    allowed: bool,
    /// Why, or why not, in words.
    reason: String,
    /// The rule that decides.
    rule: Option<String>,
    /// What every rule about the action makes of it, in the order in which they count.
    considered: Vec<ConsideredRule>,
}

impl PolicyDecision {
    /// Whether it may be done.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.allowed
    }
}

/// What one rule makes of a question.
#[derive(Clone, Debug, SimpleObject, Serialize)]
pub struct ConsideredRule {
    rule: String,
    /// allow or deny.
    effect: String,
    /// Whether the rule is about it.
    fits: bool,
    /// What does not fit.
    field: Option<String>,
    /// What the rule expects there.
    expected: Option<String>,
}

impl PolicyQuestion {
    /// Asks `policy`.
    #[must_use]
    pub fn answer(&self, policy: &Policy) -> PolicyDecision {
        let roles: BTreeSet<_> = self.roles.iter().cloned().collect();
        let claims: BTreeMap<_, _> =
            self.claims.iter().map(|claim| (claim.name.clone(), claim.value.clone())).collect();
        let request = self.request(&roles, &claims);
        let considered = policy.explain(&request).map(ConsideredRule::from).collect();
        if let Some(source) = self.source.as_deref().filter(|source| words::is_reserved(source))
            && self.action == Action::Publish
        {
            let reason = format!("the source {source} is the gateway's own");
            return PolicyDecision { allowed: false, reason, rule: None, considered };
        }
        let (reason, rule) = match policy.decide(&request) {
            Decision::Allowed(rule) => {
                (format!("the rule {:?} allows it", rule.name()), Some(rule))
            }
            Decision::Denied(rule) => (format!("the rule {:?} denies it", rule.name()), Some(rule)),
            Decision::NoRule => {
                let why = policy.check(&request).err();
                (why.map_or_else(String::new, |why| format!("no rule allows it: {why}")), None)
            }
        };
        let allowed = policy.decide(&request).is_allowed();
        PolicyDecision {
            allowed,
            reason,
            rule: rule.map(|rule| rule.name().to_owned()),
            considered,
        }
    }

    fn request<'a>(
        &'a self,
        roles: &'a BTreeSet<String>,
        claims: &'a BTreeMap<String, String>,
    ) -> Request<'a> {
        let application = self.application.as_deref();
        Request {
            subject: words::Subject {
                name: &self.principal,
                method: &self.method,
                application,
                roles,
                claims,
            },
            action: self.action.into(),
            resource: Resource {
                area: self.area.map(Into::into),
                application,
                topic: self.topic.as_deref(),
                ty: self.ty.as_deref(),
                source: self.source.as_deref(),
                client_id: self.client_id.as_deref(),
            },
        }
    }
}

impl From<Considered<'_>> for ConsideredRule {
    fn from(considered: Considered<'_>) -> Self {
        let (field, expected) = considered.mismatch.unzip();
        let effect = match considered.rule.effect() {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        Self {
            rule: considered.rule.name().to_owned(),
            effect: effect.to_owned(),
            fits: field.is_none(),
            field: field.map(|field| field.field().to_owned()),
            expected,
        }
    }
}
