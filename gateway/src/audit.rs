//! Who changed what, when and from where: every management change is an event in the journal, like
//! any other but for its source, which nobody else may use.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eg_auth::the_gateway;
use eg_event::event::Attributes;
use eg_event::{
    Binding, Clock, CloudEvent, Data, Origin, Principal, Protocol, Receipt, Refusal, Submission,
    Timestamp, attribute,
};
use eg_storage::Journal;
use futures_util::future::{BoxFuture, FutureExt as _};
use serde_json::{Map, Value, json};

use crate::dispatch::Dispatch;

/// The `source` of audit events.
pub const SOURCE: &str = "/event-gateway/audit";
/// What their `type` begins with; the operation follows.
pub const TYPE_PREFIX: &str = "io.event-gateway.audit.";
/// How many refused attempts are recorded in a minute; further ones are counted.
const REFUSALS_PER_MINUTE_MAX: u32 = 60;

/// Something that somebody did or tried.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The operation, as the management API names it.
    pub operation: &'a str,
    /// Who; `None`: nobody who is known.
    pub principal: Option<&'a Arc<Principal>>,
    /// From where.
    pub remote: SocketAddr,
    /// What it was done to.
    pub subject: Option<String>,
    /// What was asked for, without secrets.
    pub arguments: Value,
    /// How it ended.
    pub outcome: Outcome,
}

impl<'a> Entry<'a> {
    /// An operation without arguments that is done.
    #[must_use]
    pub fn of(
        operation: &'a str,
        principal: Option<&'a Arc<Principal>>,
        remote: SocketAddr,
    ) -> Self {
        let (subject, arguments, outcome) = (None, Value::Null, Outcome::Done);
        Self { operation, principal, remote, subject, arguments, outcome }
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The change is made.
    Done,
    /// It was allowed and did not work; the code of the error.
    Failed(String),
    /// It was not allowed; why.
    Refused(String),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::Refused(_) => "refused",
        }
    }
}

/// Writes the audit log.
#[derive(Debug)]
pub struct Audit {
    journal: Journal,
    dispatch: Arc<Dispatch>,
    clock: Clock,
    refusals: Mutex<Refusals>,
}

/// The refused attempts of one minute.
#[derive(Debug)]
struct Refusals {
    since: Timestamp,
    recorded: u32,
    /// How many have been left out since one was recorded.
    left_out: u64,
}

impl std::fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dispatch")
    }
}

impl Audit {
    /// Writes to `journal`.
    #[must_use]
    pub fn new(journal: &Journal, dispatch: &Arc<Dispatch>, clock: Clock) -> Self {
        let refusals = Mutex::new(Refusals { since: clock.now(), recorded: 0, left_out: 0 });
        Self { journal: journal.clone(), dispatch: Arc::clone(dispatch), clock, refusals }
    }

    /// What time it is.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Records what was done; it is durable once this completes.
    pub async fn record(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        self.append(entry, 0).await.map(drop)
    }

    /// Records an attempt that was refused, without waiting for the disk. So that nobody can fill
    /// the journal with attempts, further ones of the same minute are only counted, and the next
    /// that is recorded says how many.
    pub fn record_refused(&self, entry: &Entry<'_>) {
        if let Some(left_out) = self.may_record_refusal() {
            drop(self.append(entry, left_out));
        }
    }

    /// How many have been left out before this one; `None`: this one is too.
    fn may_record_refusal(&self) -> Option<u64> {
        let now = self.clock.now();
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(refusals.since) >= Duration::from_mins(1) {
            (refusals.since, refusals.recorded) = (now, 0);
        }
        if refusals.recorded >= REFUSALS_PER_MINUTE_MAX {
            refusals.left_out += 1;
            return None;
        }
        refusals.recorded += 1;
        Some(std::mem::take(&mut refusals.left_out))
    }

    /// Hands the event over at once; what is returned waits for it to be durable.
    fn append(
        &self,
        entry: &Entry<'_>,
        left_out: u64,
    ) -> BoxFuture<'static, Result<Receipt, Refusal>> {
        let event = event(entry, left_out, self.clock.now());
        let origin = Origin {
            protocol: Protocol::Internal,
            binding: Binding::Structured,
            remote: Some(entry.remote),
            address: entry.operation.into(),
            client_id: None,
        };
        let subscriptions = self.dispatch.count_matching(&event, &origin);
        let principal = entry.principal.map_or_else(the_gateway, Arc::clone);
        let submission =
            Submission { id_assigned: true, ..Submission::new(event, principal, origin) };
        let appended = self.journal.append(vec![(submission, subscriptions)]);
        async move {
            let unanswered = Refusal::Unavailable {
                reason: "no answer from the store".into(),
                retry_after: Duration::from_secs(1),
            };
            appended.await.into_iter().next().unwrap_or(Err(unanswered))
        }
        .boxed()
    }
}

fn event(entry: &Entry<'_>, left_out: u64, now: Timestamp) -> CloudEvent {
    let is_text = |text: &String| attribute::check_text("subject", text).is_ok();
    let subject = entry.subject.clone().filter(|text| !text.is_empty()).filter(is_text);
    let attributes = Attributes {
        id: format!("{:032x}", rand::random::<u128>()).into(),
        source: SOURCE.into(),
        ty: format!("{TYPE_PREFIX}{}", entry.operation).into(),
        subject: subject.map(Into::into),
        time: Some(now.to_string().into()),
        datacontenttype: Some("application/json".into()),
        ..Attributes::default()
    };
    let data = Data::Json(data(entry, left_out).to_string().into());
    CloudEvent::from_checked(attributes, Some(data))
}

fn data(entry: &Entry<'_>, left_out: u64) -> Value {
    let mut data = Map::new();
    data.insert("operation".to_owned(), entry.operation.into());
    data.insert("outcome".to_owned(), entry.outcome.word().into());
    match &entry.outcome {
        Outcome::Done => {}
        Outcome::Failed(why) | Outcome::Refused(why) => {
            data.insert("reason".to_owned(), why.clone().into());
        }
    }
    data.insert("remote".to_owned(), entry.remote.to_string().into());
    if let Some(principal) = entry.principal {
        let principal = json!({
            "name": principal.name(),
            "method": principal.method().as_str(),
            "application": principal.application(),
            "roles": principal.roles(),
            "credential": principal.credential().map(eg_event::CredentialId::as_str),
        });
        data.insert("principal".to_owned(), principal);
    }
    if !entry.arguments.is_null() {
        data.insert("arguments".to_owned(), entry.arguments.clone());
    }
    if left_out > 0 {
        data.insert("refusalsLeftOut".to_owned(), left_out.into());
    }
    Value::Object(data)
}
