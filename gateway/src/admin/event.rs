//! Events and their journeys as management clients see them.

use async_graphql::{Enum, SimpleObject};
use eg_event::{Data, Status, StoredEvent, json};
use eg_storage::{Attempt, Verdict};

use super::page::PageInfo;
use super::quarantine::Quarantine;
use crate::dispatch::lane::Place;
use crate::journey::{Considered, Journey};

/// An event in the journal.
#[derive(Clone, Debug, SimpleObject)]
pub struct Event {
    /// Its place in the journal.
    pub sequence: u64,
    id: String,
    source: String,
    #[graphql(name = "type")]
    ty: String,
    subject: Option<String>,
    time: Option<String>,
    /// When the gateway took it.
    received_at: String,
    /// Who sent it.
    sender: Sender,
    /// How it came.
    origin: Origin,
    /// The size of its payload, in bytes.
    data_bytes: usize,
    /// The whole event in the JSON format of CloudEvents, its payload as it came.
    #[graphql(name = "cloudEvent")]
    text: String,
}

/// Who sent an event.
#[derive(Clone, Debug, SimpleObject)]
pub struct Sender {
    name: String,
    /// How they were recognized.
    method: String,
}

/// How an event came.
#[derive(Clone, Debug, SimpleObject)]
pub struct Origin {
    /// Over what.
    protocol: String,
    /// How it was normalized.
    binding: String,
    /// The request path, or the MQTT topic.
    address: String,
    /// The peer's address.
    remote: Option<String>,
    /// The MQTT client identifier.
    client_id: Option<String>,
}

impl From<&StoredEvent> for Event {
    fn from(stored: &StoredEvent) -> Self {
        let event = &stored.event;
        let mut text = Vec::new();
        json::encode(event, &mut text);
        Self {
            sequence: stored.sequence.0,
            id: event.id().to_owned(),
            source: event.source().to_owned(),
            ty: event.ty().to_owned(),
            subject: event.subject().map(str::to_owned),
            time: event.time().map(str::to_owned),
            received_at: stored.received_at.to_string(),
            sender: Sender {
                name: stored.sender.name.as_ref().to_owned(),
                method: stored.sender.method.to_string(),
            },
            origin: Origin {
                protocol: stored.origin.protocol.as_str().to_owned(),
                binding: stored.origin.binding.as_str().to_owned(),
                address: stored.origin.address.clone().into(),
                remote: stored.origin.remote.map(|remote| remote.to_string()),
                client_id: stored.origin.client_id.as_deref().map(str::to_owned),
            },
            data_bytes: event.data().map_or(0, Data::len),
            text: String::from_utf8_lossy(&text).into_owned(),
        }
    }
}

/// A stretch of the journal.
#[derive(Clone, Debug, SimpleObject)]
pub struct EventPage {
    /// The events, in the order of the journal.
    pub data: Vec<Event>,
    /// Where the page lies; a cursor is a sequence.
    pub page_info: PageInfo,
}

/// Where an event stands for one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum DeliveryState {
    /// The subscription does not let it pass.
    NotMatched,
    /// It came before the subscription.
    NotCovered,
    /// It waits for its first attempt.
    Waiting,
    /// An attempt is under way.
    InFlight,
    /// It waits for another attempt.
    Retrying,
    /// It waits for an earlier event with the same key.
    Parked,
    /// The receiver has it.
    Delivered,
    /// It expired before it was delivered.
    Expired,
    /// It was given up.
    DeadLetter,
    /// It is done with, and the log no longer says how.
    Settled,
}

/// One attempt to deliver.
#[derive(Clone, Debug, SimpleObject)]
pub struct DeliveryAttempt {
    /// Which attempt, from 1.
    number: u32,
    at: String,
    latency_ms: f64,
    /// What the receiver answered.
    status: Option<u16>,
    /// delivered, failed, dead or expired.
    verdict: String,
    /// What went wrong.
    reason: Option<String>,
}

impl From<&Attempt> for DeliveryAttempt {
    fn from(attempt: &Attempt) -> Self {
        Self {
            number: attempt.number,
            at: attempt.at.to_string(),
            latency_ms: f64::from(attempt.latency_us) / 1000.0,
            status: attempt.status,
            verdict: format!("{:?}", attempt.verdict).to_lowercase(),
            reason: Some(attempt.reason.clone()).filter(|reason| !reason.is_empty()),
        }
    }
}

/// What one subscription made of an event.
#[derive(Clone, Debug, SimpleObject)]
pub struct SubscriptionJourney {
    /// The subscription.
    name: String,
    /// Whether the event concerns it.
    matched: bool,
    /// Why, or why not, in words.
    reason: String,
    state: DeliveryState,
    /// Where the event rests now, in words.
    rests: String,
    /// When the next attempt is due.
    next_attempt_at: Option<String>,
    /// Every attempt that is still logged, oldest first.
    attempts: Vec<DeliveryAttempt>,
    /// The subscription was changed after the event came, so that what is said of its filters may
    /// not be what held then.
    changed_since: bool,
}

impl SubscriptionJourney {
    fn new(considered: &Considered, event: &StoredEvent) -> Self {
        let next_attempt_at = match (&considered.place, considered.matched()) {
            (Place::Retrying { due, .. }, true) => Some(due.to_string()),
            _ => None,
        };
        Self {
            name: considered.definition.subscription.key().into_owned(),
            matched: considered.matched(),
            reason: considered.reason(),
            state: state(considered),
            rests: considered.rests(),
            next_attempt_at,
            attempts: considered.attempts.iter().map(DeliveryAttempt::from).collect(),
            changed_since: considered.definition.updated_at > event.received_at
                && considered.definition.updated_at > considered.definition.created_at,
        }
    }
}

fn state(considered: &Considered) -> DeliveryState {
    if !considered.matched() {
        return DeliveryState::NotMatched;
    }
    match &considered.place {
        Place::Waiting => DeliveryState::Waiting,
        Place::InFlight => DeliveryState::InFlight,
        Place::Retrying { .. } => DeliveryState::Retrying,
        Place::Parked => DeliveryState::Parked,
        Place::Dead => DeliveryState::DeadLetter,
        Place::Before => DeliveryState::NotCovered,
        Place::Settled => match considered.attempts.last().map(|last| last.verdict) {
            Some(Verdict::Delivered) => DeliveryState::Delivered,
            Some(Verdict::Expired) => DeliveryState::Expired,
            _ => DeliveryState::Settled,
        },
    }
}

/// The way of one event through the gateway.
#[derive(Clone, Debug, SimpleObject)]
pub struct EventJourney {
    id: String,
    source: String,
    sequence: u64,
    /// quarantined when it does not follow its declaration; else published when at least one
    /// subscription matches now, and ignored when none does.
    status: String,
    /// Why it is in quarantine, if it is or was until it was purged.
    quarantine: Option<Quarantine>,
    event: Event,
    /// What every subscription made of it.
    subscriptions: Vec<SubscriptionJourney>,
}

impl From<&Journey> for EventJourney {
    fn from(journey: &Journey) -> Self {
        let event = Event::from(&*journey.event);
        let matched = journey.considered.iter().any(Considered::matched);
        let considered = journey.considered.iter();
        Self {
            id: event.id.clone(),
            source: event.source.clone(),
            sequence: event.sequence,
            status: match &journey.event.held {
                Some(_) => Status::Quarantined,
                None if matched => Status::Published,
                None => Status::Ignored,
            }
            .as_str()
            .to_owned(),
            quarantine: journey.event.held.as_deref().map(Quarantine::from),
            subscriptions: considered
                .map(|considered| SubscriptionJourney::new(considered, &journey.event))
                .collect(),
            event,
        }
    }
}
