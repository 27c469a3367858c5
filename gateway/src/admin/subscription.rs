//! Subscriptions as management clients see and write them.

use std::sync::Arc;

use async_graphql::{Enum, InputObject, Json, MaybeUndefined, SimpleObject};
use eg_event::outbound;
use eg_event::subscription::{self as words, RetryPolicy, SigningSecret};
use eg_event::{Filter, InvalidInput, Sequence};
use serde_json::Value;

use super::outbound::{Auth, AuthInput};
use super::page::PageInfo;
use crate::dispatch::registry::Position;
use crate::dispatch::{Registered, condition};

/// How an event is written on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "words::ContentMode")]
pub enum ContentMode {
    /// Kyma's headers, and the payload as body.
    Kyma,
    /// CloudEvents 1.0 binary content mode.
    Binary,
    /// CloudEvents 1.0 structured content mode, JSON.
    Structured,
}

/// Whether the order of events matters to the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "words::Ordering")]
pub enum Ordering {
    /// It does not: a retry may overtake.
    None,
    /// Events of one key are handed over one after another; other keys go on.
    Key,
}

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum StartAt {
    /// With the next event.
    Now,
    /// With the first event that is still in the journal.
    Earliest,
}

/// What a subscription is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum State {
    /// It delivers.
    Active,
    /// It makes no attempts until it is resumed.
    Paused,
    /// It makes no attempts until an event activation lets its source into its namespace.
    NotActivated,
    /// Its receiver counts as down, and is tried with single events.
    Failing,
}

/// When to try again, and when to give up.
#[derive(Clone, Debug, Default, InputObject)]
pub struct RetryInput {
    /// The ceiling of the first delay, in milliseconds; it doubles with each attempt.
    initial_delay_ms: Option<u32>,
    /// The highest ceiling, in milliseconds.
    max_delay_ms: Option<u32>,
    /// After so many attempts the event becomes a dead letter.
    max_attempts: Option<u32>,
    /// When the first attempt is so long ago, in seconds, the event becomes a dead letter.
    max_age_seconds: Option<u32>,
}

/// When to try again, and when to give up.
#[derive(Clone, Debug, SimpleObject)]
pub struct Retry {
    initial_delay_ms: u32,
    max_delay_ms: u32,
    max_attempts: u32,
    max_age_seconds: u32,
}

/// What a subscription is to be.
#[derive(InputObject)]
pub struct SubscriptionInput {
    /// Its name, unique in its namespace.
    name: String,
    /// Where event activations govern it; without one, none does. An update keeps it.
    namespace: Option<String>,
    /// The http or https URL that events are sent to.
    endpoint: String,
    /// Only events of this source.
    source: Option<String>,
    /// Only events of this type.
    event_type: Option<String>,
    /// Only events whose extension eventtypeversion is this.
    event_type_version: Option<String>,
    /// Only events that all of these let pass (CloudEvents Subscriptions API: exact, prefix,
    /// suffix, all, any, not, sql).
    filters: Option<Json<Value>>,
    /// How events are written on the wire.
    #[graphql(default_with = "ContentMode::Binary")]
    content_mode: ContentMode,
    /// How many attempts may be under way at once, 1 to 400.
    #[graphql(default = 16)]
    max_in_flight: i32,
    /// How long one attempt may take, in milliseconds, up to 60000; 0 stands for 5000.
    #[graphql(default = 5000)]
    push_request_timeout_ms: i32,
    /// Whether the header kyma-subscription names this subscription to the receiver.
    #[graphql(default = true)]
    include_subscription_name_header: bool,
    /// Whether events of the same key are handed over one after another.
    #[graphql(default_with = "Ordering::None")]
    ordering: Ordering,
    /// The attribute that is the key; by default partitionkey, else subject, else source.
    ordering_key: Option<String>,
    /// When to try again, and when to give up.
    retry: Option<RetryInput>,
    /// Where it begins; counts when it is made, not when it is updated.
    #[graphql(default_with = "StartAt::Now")]
    start_at: StartAt,
    /// Secrets of Standard Webhooks (whsec_...), newest first, each of which signs every delivery.
    /// They are never shown. An update without them keeps those that there are.
    signing_secrets: Option<Vec<String>>,
    /// How the gateway says towards the receiver who it is. Secrets are never shown. An update
    /// without it keeps what there is, and null removes it.
    auth: MaybeUndefined<AuthInput>,
    /// Whether retention waits for this subscription, within the store's limit.
    #[graphql(default = false)]
    hold_retention: bool,
}

impl SubscriptionInput {
    /// Where the subscription is to begin.
    #[must_use]
    pub fn start(&self) -> Position {
        match self.start_at {
            StartAt::Now => Position::Now,
            StartAt::Earliest => Position::Earliest,
        }
    }

    /// The checked subscription; `old` is what an update replaces.
    pub fn into_subscription(
        self,
        old: Option<&words::Subscription>,
    ) -> Result<words::Subscription, InvalidInput> {
        let whole = |field: &str, value: i32| {
            u32::try_from(value)
                .map_err(|_| InvalidInput::new(field, "expected a number that is not negative"))
        };
        let timeout_ms = whole("pushRequestTimeoutMs", self.push_request_timeout_ms)?;
        let max_in_flight = whole("maxInFlight", self.max_in_flight)?;
        let secrets = match self.signing_secrets {
            Some(secrets) => {
                secrets.iter().map(|s| SigningSecret::parse(s)).collect::<Result<_, _>>()?
            }
            None => old.map(|old| old.signing_secrets.clone()).unwrap_or_default(),
        };
        let auth = match self.auth {
            MaybeUndefined::Value(auth) => Some(Arc::new(auth.into_auth()?)),
            MaybeUndefined::Null => None,
            MaybeUndefined::Undefined => kept_auth(old, &self.endpoint)?,
        };
        let filters = self.filters.map(|Json(filters)| Filter::parse_list(&filters)).transpose()?;
        let subscription = words::Subscription {
            namespace: self.namespace.or_else(|| old.and_then(|old| old.namespace.clone())),
            source: self.source,
            event_type: self.event_type,
            event_type_version: self.event_type_version,
            filters: filters.unwrap_or_default(),
            content_mode: self.content_mode.into(),
            max_in_flight: u16::try_from(max_in_flight).unwrap_or(u16::MAX),
            request_timeout_ms: if timeout_ms == 0 { 5000 } else { timeout_ms },
            include_subscription_name_header: self.include_subscription_name_header,
            ordering: self.ordering.into(),
            ordering_key: self.ordering_key,
            retry: self.retry.unwrap_or_default().into_policy(),
            signing_secrets: secrets,
            auth,
            hold_retention: self.hold_retention,
            ..words::Subscription::new(self.name, self.endpoint)
        };
        subscription.check()?;
        Ok(subscription)
    }
}

/// What an update keeps. Secrets do not follow to another receiver: who may change a subscription
/// is not thereby told what it authenticates by.
pub(crate) fn kept_auth(
    old: Option<&words::Subscription>,
    endpoint: &str,
) -> Result<Option<Arc<outbound::Auth>>, InvalidInput> {
    let Some(old) = old else { return Ok(None) };
    if old.auth.is_some() && origin(&old.endpoint) != origin(endpoint) {
        let detail = "expected it anew, or null: the endpoint is at another host, and secrets \
            that were given for the old one are not sent there";
        return Err(InvalidInput::new("auth", detail));
    }
    Ok(old.auth.clone())
}

/// Scheme, host and port.
fn origin(endpoint: &str) -> Option<String> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(format!("{scheme}://{authority}").to_ascii_lowercase())
}

impl RetryInput {
    fn into_policy(self) -> RetryPolicy {
        let default = RetryPolicy::default();
        let initial_delay_ms = self.initial_delay_ms.unwrap_or(default.initial_delay_ms);
        // A long first delay alone is not a contradiction: the highest moves along.
        let highest = default.max_delay_ms.max(initial_delay_ms);
        RetryPolicy {
            initial_delay_ms,
            max_delay_ms: self.max_delay_ms.unwrap_or(highest),
            max_attempts: self.max_attempts.unwrap_or(default.max_attempts),
            max_age_s: self.max_age_seconds.unwrap_or(default.max_age_s),
        }
    }
}

/// Something that holds of a subscription or does not, as Kyma tells it.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(name = "SubscriptionCondition")]
pub struct Condition {
    /// events-activated or is-ready.
    r#type: &'static str,
    /// True or False.
    status: &'static str,
    /// Why, in one word.
    reason: &'static str,
    /// Why, in a sentence.
    message: String,
    /// When the status was last another one.
    last_transition_time: String,
}

impl From<condition::Condition> for Condition {
    fn from(known: condition::Condition) -> Self {
        Self {
            r#type: known.ty,
            status: if known.since.holds { "True" } else { "False" },
            reason: known.reason,
            message: known.message,
            last_transition_time: known.since.at.to_string(),
        }
    }
}

/// A subscription, and where it stands.
#[derive(Clone, Debug, SimpleObject)]
pub struct Subscription {
    /// What all operations know it by: its name, or its namespace, a slash and its name.
    pub key: String,
    name: String,
    namespace: Option<String>,
    endpoint: String,
    source: Option<String>,
    event_type: Option<String>,
    event_type_version: Option<String>,
    filters: Json<Value>,
    content_mode: ContentMode,
    max_in_flight: u32,
    push_request_timeout_ms: u32,
    include_subscription_name_header: bool,
    ordering: Ordering,
    ordering_key: Option<String>,
    retry: Retry,
    /// How many secrets sign its deliveries.
    signing_secret_count: usize,
    /// How the gateway says towards the receiver who it is, without secrets.
    auth: Option<Auth>,
    hold_retention: bool,
    created_at: String,
    updated_at: String,
    /// What it is doing.
    state: State,
    /// Why it is paused, or what went wrong last.
    reason: Option<String>,
    /// Whether it is activated, and whether it is ready.
    conditions: Vec<Condition>,
    /// The first event that it has not been handed.
    cursor: u64,
    /// How many events wait for their first attempt.
    waiting: u64,
    /// How many attempts are under way.
    in_flight: u64,
    /// How many events wait for another attempt.
    retrying: u64,
    /// How many events wait for one of the same key.
    parked: u64,
    /// How many dead letters there are.
    dead_letters: u64,
    /// How many events were delivered.
    delivered: u64,
    /// How many events retention let go that were needed.
    lost: u64,
    /// Whether the journal is being read again for it.
    catching_up: bool,
    /// When an event was delivered last.
    last_delivered_at: Option<String>,
    /// The oldest event that it needs from the journal.
    oldest_needed: Option<u64>,
}

impl From<&Arc<Registered>> for Subscription {
    fn from(registered: &Arc<Registered>) -> Self {
        let definition = registered.definition();
        let view = registered.lane().view();
        let asked = &definition.subscription;
        let state = match &view.paused {
            Some(_) => State::Paused,
            None if !view.is_activated => State::NotActivated,
            None if view.is_failing => State::Failing,
            None => State::Active,
        };
        Self {
            key: asked.key().into_owned(),
            name: asked.name.clone(),
            namespace: asked.namespace.clone(),
            endpoint: asked.endpoint.clone(),
            source: asked.source.clone(),
            event_type: asked.event_type.clone(),
            event_type_version: asked.event_type_version.clone(),
            filters: Json(asked.filters.iter().map(Filter::to_json).collect()),
            content_mode: asked.content_mode.into(),
            max_in_flight: asked.max_in_flight.into(),
            push_request_timeout_ms: asked.request_timeout_ms,
            include_subscription_name_header: asked.include_subscription_name_header,
            ordering: asked.ordering.into(),
            ordering_key: asked.ordering_key.clone(),
            retry: Retry {
                initial_delay_ms: asked.retry.initial_delay_ms,
                max_delay_ms: asked.retry.max_delay_ms,
                max_attempts: asked.retry.max_attempts,
                max_age_seconds: asked.retry.max_age_s,
            },
            signing_secret_count: asked.signing_secrets.len(),
            auth: asked.auth.as_deref().map(Auth::from),
            hold_retention: asked.hold_retention,
            created_at: definition.created_at.to_string(),
            updated_at: definition.updated_at.to_string(),
            state,
            reason: view.paused.or(view.last_error),
            conditions: registered.conditions().into_iter().map(Condition::from).collect(),
            cursor: view.cursor.0,
            waiting: view.waiting,
            in_flight: view.in_flight,
            retrying: view.retrying,
            parked: view.parked,
            dead_letters: view.dead_letters,
            delivered: view.delivered,
            lost: view.lost,
            catching_up: view.is_catching_up,
            last_delivered_at: view.last_delivered_at.map(|at| at.to_string()),
            oldest_needed: view.oldest_needed.map(|Sequence(oldest)| oldest),
        }
    }
}

/// A page of subscriptions.
#[derive(Clone, Debug, SimpleObject)]
pub struct SubscriptionPage {
    /// The subscriptions, in the order of their names.
    pub data: Vec<Subscription>,
    /// Where the page lies.
    pub page_info: PageInfo,
    /// How many there are in all.
    pub total_count: usize,
}

/// How a test event arrived.
#[derive(Clone, Debug, SimpleObject)]
pub struct TestResult {
    /// Whether the receiver took it.
    pub delivered: bool,
    /// What the receiver answered.
    pub status: Option<u16>,
    /// What went wrong.
    pub reason: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_ms: f64,
}
