//! The GraphQL schema: what can be asked and what can be changed.

use std::sync::Arc;
use std::time::Instant;

use async_graphql::{EmptySubscription, ID, Object, Result, SchemaBuilder};
use eg_auth::PolicyStore;
use eg_certs::Claim;
use eg_event::subscription as words;
use eg_event::{InvalidInput, Outcome, Sequence, Timestamp};
use eg_storage::{Journal, Ledger, StoreError};

use super::certificate::{
    self, Certificate, CertificateInput, CertificatePage, IssuedCertificate, SigningToken,
};
use super::credential::{CreatedCredential, Credential, CredentialInput, CredentialPage};
use super::dead_letter::{DeadLetter, DeadLetterPage};
use super::error::{Code, coded, credential, invalid, registry, store};
use super::event::{Event, EventJourney, EventPage};
use super::guard::Guard;
use super::page;
use super::policy::{PolicyDecision, PolicyQuestion};
use super::subscription::{Subscription, SubscriptionInput, SubscriptionPage, TestResult};
use crate::certificates::{Certificates, Desk};
use crate::credentials::Credentials;
use crate::dispatch::Dispatch;
use crate::dispatch::registry::Position;
use crate::journey;

/// The deepest nesting of a request.
const DEPTH_MAX: usize = 12;
/// The most fields of a request.
const COMPLEXITY_MAX: usize = 1000;
/// The most identifiers that one mutation takes.
const IDS_MAX: usize = 10_000;

/// The schema over one gateway.
pub type Schema = async_graphql::Schema<Query, Mutation, EmptySubscription>;

/// What the schema works with.
#[derive(Clone)]
pub struct Parts {
    /// The subscriptions.
    pub dispatch: Arc<Dispatch>,
    /// The events.
    pub journal: Journal,
    /// Where it is written down who has what.
    pub ledger: Ledger,
    /// The certificates that were issued.
    pub certificates: Arc<Certificates>,
    /// Gives tokens to applications.
    pub desk: Arc<Desk>,
    /// The API keys and passwords.
    pub credentials: Arc<Credentials>,
    /// Whether a subscription can be sent to, before anything is.
    pub check_target: TargetCheck,
    /// Who may do what.
    pub policy: PolicyStore,
}

/// Says what is wrong with where a subscription sends to, if anything is.
pub type TargetCheck =
    Arc<dyn Fn(&words::Subscription) -> std::result::Result<(), InvalidInput> + Send + Sync>;

/// Makes the schema, behind `guard`.
#[must_use]
pub fn schema(parts: Parts, guard: Guard) -> Schema {
    let builder: SchemaBuilder<_, _, _> =
        Schema::build(Query(parts.clone()), Mutation(parts), EmptySubscription);
    let limited = builder.limit_depth(DEPTH_MAX).limit_complexity(COMPLEXITY_MAX);
    limited.extension(guard).finish()
}

/// What can be asked.
pub struct Query(Parts);

#[Object]
#[expect(clippy::unused_async, reason = "a resolver is asynchronous")]
impl Query {
    /// One subscription.
    async fn subscription(&self, name: String) -> Option<Subscription> {
        self.0.dispatch.get(&name).map(|registered| Subscription::from(&registered))
    }

    /// All subscriptions, in the order of their names.
    async fn subscriptions(
        &self,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<SubscriptionPage> {
        let size = page::size(first)?;
        let all = self.0.dispatch.all();
        let total_count = all.len();
        let after = after.unwrap_or_default();
        let later = all.iter().filter(|one| one.definition().subscription.name > after);
        let entries = later.take(size + 1).map(Subscription::from).collect();
        let (data, page_info) = page::cut(entries, size, |one| one.name.clone());
        Ok(SubscriptionPage { data, page_info, total_count })
    }

    /// The way of the latest event with this source and id.
    async fn event(&self, source: String, id: String) -> Result<Option<EventJourney>> {
        let Parts { dispatch, journal, ledger, .. } = &self.0;
        let journey = journey::follow(dispatch, journal, ledger, (source, id)).await;
        Ok(journey.map_err(|error| store(&error))?.as_ref().map(EventJourney::from))
    }

    /// The journal after the given sequence, or from the first event that is still there.
    async fn events(&self, first: Option<i32>, after: Option<String>) -> Result<EventPage> {
        let size = page::size(first)?;
        let from = after.map(|after| sequence("after", &after)).transpose()?;
        let from = from.map_or(Sequence::FIRST, Sequence::next);
        let found = journey::scan(&self.0.journal, from, size + 1).await;
        let found = found.map_err(|error| store(&error))?;
        let entries = found.iter().map(|event| Event::from(&**event)).collect();
        let (data, page_info) =
            page::cut(entries, size, |event: &Event| event.sequence.to_string());
        Ok(EventPage { data, page_info })
    }

    /// What the policy says to a question, and why.
    async fn policy_decision(&self, r#in: PolicyQuestion) -> Result<PolicyDecision> {
        Ok(r#in.answer(&self.0.policy.load()))
    }

    /// The sequence that the next event will have.
    async fn next_sequence(&self) -> u64 {
        self.0.journal.end().0
    }

    /// What a subscription could not deliver.
    async fn dead_letters(
        &self,
        subscription: String,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<DeadLetterPage> {
        let size = page::size(first)?;
        let after = after.map(|after| sequence("after", &after)).transpose()?;
        let registered = self.0.dispatch.get(&subscription);
        let registered = registered.ok_or_else(|| not_found(&subscription))?;
        self.0.dispatch.checkpoint().await.map_err(|error| store(&error))?;
        let (ledger, number) = (self.0.ledger.clone(), registered.definition().number);
        let read = move || ledger.dead_letters(number, after.unwrap_or(Sequence(0)), size + 1);
        let letters = tokio::task::spawn_blocking(read).await.unwrap_or(Err(StoreError::Closed));
        let letters = letters.map_err(|error| store(&error))?;
        let entries = letters.iter().map(DeadLetter::from).collect();
        let (data, page_info) =
            page::cut(entries, size, |letter: &DeadLetter| letter.id.to_string());
        let total_count = registered.lane().view().dead_letters;
        Ok(DeadLetterPage { data, page_info, total_count })
    }

    /// The certificates that the gateway's own authority has issued, oldest first.
    async fn certificates(
        &self,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<CertificatePage> {
        certificate::list(&self.0.certificates, first, after.as_deref())
    }

    /// All API keys and passwords, without their secrets, in the order of their ids.
    async fn credentials(
        &self,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<CredentialPage> {
        let size = page::size(first)?;
        let all = self.0.credentials.all().await;
        let total_count = all.len();
        let after = after.unwrap_or_default();
        let later = all.iter().filter(|one| one.id > after);
        let entries = later.take(size + 1).map(Credential::from).collect();
        let (data, page_info) = page::cut(entries, size, |one: &Credential| one.id.to_string());
        Ok(CredentialPage { data, page_info, total_count })
    }
}

/// What can be changed.
pub struct Mutation(Parts);

#[Object]
impl Mutation {
    /// Makes a subscription.
    async fn create_subscription(&self, r#in: SubscriptionInput) -> Result<Subscription> {
        let start = r#in.start();
        let subscription = r#in.into_subscription(None).map_err(|error| invalid(&error))?;
        (self.0.check_target)(&subscription).map_err(|error| invalid(&error))?;
        let created = self.0.dispatch.create(subscription, start).await.map_err(registry)?;
        Ok(Subscription::from(&created))
    }

    /// Changes a subscription without losing an event: what was routed to it before is still
    /// delivered, and new filters hold from the next event on.
    async fn update_subscription(
        &self,
        name: String,
        r#in: SubscriptionInput,
    ) -> Result<Subscription> {
        let old = self.0.dispatch.get(&name).ok_or_else(|| not_found(&name))?;
        let old = Arc::clone(&old.definition().subscription);
        let subscription = r#in.into_subscription(Some(&old)).map_err(|error| invalid(&error))?;
        if subscription.name != name {
            let error = InvalidInput::new(
                "in.name",
                format!("expected {name:?}: a subscription keeps its name"),
            );
            return Err(invalid(&error));
        }
        (self.0.check_target)(&subscription).map_err(|error| invalid(&error))?;
        let updated = self.0.dispatch.update(subscription).await.map_err(registry)?;
        Ok(Subscription::from(&updated))
    }

    /// Removes a subscription with everything that it has outstanding.
    async fn delete_subscription(&self, name: String) -> Result<Subscription> {
        let deleted = self.0.dispatch.delete(&name).await.map_err(registry)?;
        Ok(Subscription::from(&deleted))
    }

    /// Makes no more attempts; events wait.
    async fn pause_subscription(&self, name: String) -> Result<Subscription> {
        let paused =
            self.0.dispatch.pause(&name, "paused by an operator").await.map_err(registry)?;
        Ok(Subscription::from(&paused))
    }

    /// Goes on, at once.
    async fn resume_subscription(&self, name: String) -> Result<Subscription> {
        let resumed = self.0.dispatch.resume(&name).await.map_err(registry)?;
        Ok(Subscription::from(&resumed))
    }

    /// Delivers every matching event (again) from a sequence, or from an instant (RFC 3339), on.
    async fn rewind_subscription(
        &self,
        name: String,
        to_sequence: Option<u64>,
        to_time: Option<String>,
    ) -> Result<Subscription> {
        let position = match (to_sequence, to_time) {
            (Some(sequence), None) => Position::Sequence(Sequence(sequence)),
            (None, Some(text)) => Position::Time(instant("toTime", &text)?),
            _ => {
                let expected = "expected one of toSequence and toTime";
                return Err(invalid(&InvalidInput::new("toSequence", expected)));
            }
        };
        let moved = self.0.dispatch.rewind(&name, position).await.map_err(registry)?;
        Ok(Subscription::from(&moved))
    }

    /// Puts dead letters back into delivery; says how many there were.
    async fn requeue_dead_letters(&self, subscription: String, ids: Vec<ID>) -> Result<u32> {
        let ids = sequences(&ids)?;
        self.0.dispatch.requeue(&subscription, &ids).await.map_err(registry)
    }

    /// Removes dead letters for good; says how many there were.
    async fn purge_dead_letters(&self, subscription: String, ids: Vec<ID>) -> Result<u32> {
        let ids = sequences(&ids)?;
        self.0.dispatch.purge(&subscription, &ids).await.map_err(registry)
    }

    /// Delivers one stored event to a subscription (again), whether it matches or not.
    async fn replay_event(&self, subscription: String, source: String, id: String) -> Result<u64> {
        let journal = self.0.journal.clone();
        let find = move || journal.find(&source, &id);
        let found = tokio::task::spawn_blocking(find).await.unwrap_or(Err(StoreError::Closed));
        let found = found.map_err(|error| store(&error))?;
        let sequence =
            found.ok_or_else(|| coded(Code::NotFound, "the journal has no such event"))?;
        self.0.dispatch.replay(&subscription, sequence).await.map_err(registry)?;
        Ok(sequence.0)
    }

    /// Issues a certificate for a signing request.
    async fn issue_certificate(&self, r#in: CertificateInput) -> Result<IssuedCertificate> {
        certificate::issue(&self.0.certificates, r#in).await
    }

    /// Revokes a certificate: from now on no handshake with it succeeds, and the connections that
    /// rest on it are closed.
    async fn revoke_certificate(
        &self,
        serial: String,
        reason: Option<String>,
    ) -> Result<Certificate> {
        certificate::revoke(&self.0.certificates, &serial, reason).await
    }

    /// Makes a token with which an application gets its first certificate.
    #[expect(clippy::unused_async, reason = "a resolver is asynchronous")]
    async fn create_signing_token(
        &self,
        application: String,
        #[graphql(default)] tenant: String,
        #[graphql(default)] group: String,
    ) -> Result<SigningToken> {
        certificate::create_token(&self.0.desk, Claim { application, tenant, group })
    }

    /// Makes an API key or a password; this answer is the only one that has its secret.
    async fn create_credential(&self, r#in: CredentialInput) -> Result<CreatedCredential> {
        let new = r#in.into_credential().map_err(|error| invalid(&error))?;
        let (made, secret) = self.0.credentials.create(new).await.map_err(credential)?;
        let secret = secret.expose().to_owned();
        Ok(CreatedCredential { credential: Credential::from(&made), secret })
    }

    /// Makes an API key or a password useless and cuts the connections that rest on it.
    async fn revoke_credential(&self, id: ID) -> Result<Credential> {
        let revoked = self.0.credentials.revoke(&id).await.map_err(credential)?;
        Ok(Credential::from(&revoked))
    }

    /// Sends a test event to the receiver of a subscription, past the journal.
    async fn test_subscription(&self, name: String) -> Result<TestResult> {
        let started = Instant::now();
        let outcome = self.0.dispatch.test(&name).await.map_err(registry)?;
        let latency_ms = started.elapsed().as_secs_f64() * 1000.0;
        let (status, reason) = match outcome {
            Outcome::Delivered { status } => (status, None),
            Outcome::Gone { status } => {
                (status, Some("the receiver answered that it is gone".to_owned()))
            }
            Outcome::Failed { status, reason, .. } => (status, Some(reason)),
        };
        Ok(TestResult { delivered: reason.is_none(), status, reason, latency_ms })
    }
}

fn not_found(name: &str) -> async_graphql::Error {
    coded(Code::NotFound, &format!("there is no subscription called {name:?}"))
}

fn sequence(field: &str, text: &str) -> Result<Sequence> {
    text.parse().map(Sequence).map_err(|_| {
        invalid(&InvalidInput::new(field, format!("expected a sequence, found {text:?}")))
    })
}

fn instant(field: &str, text: &str) -> Result<Timestamp> {
    let expected = "expected a timestamp such as 2018-04-05T17:31:00Z (RFC 3339)";
    Timestamp::parse_rfc3339(text).ok_or_else(|| invalid(&InvalidInput::new(field, expected)))
}

fn sequences(ids: &[ID]) -> Result<Vec<Sequence>> {
    if ids.len() > IDS_MAX {
        let expected = format!("expected at most {IDS_MAX} identifiers");
        return Err(invalid(&InvalidInput::new("ids", expected)));
    }
    ids.iter().map(|id| sequence("ids", id)).collect()
}
