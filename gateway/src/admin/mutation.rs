//! What can be changed about deliveries and credentials.

use std::sync::Arc;
use std::time::Instant;

use async_graphql::{ID, Object, Result};
use eg_certs::Claim;
use eg_event::{InvalidInput, Outcome, Sequence, Timestamp};
use eg_storage::StoreError;

use super::certificate::{self, Certificate, CertificateInput, IssuedCertificate, SigningToken};
use super::credential::{CreatedCredential, Credential, CredentialInput};
use super::error::{Code, coded, credential, invalid, registry, store};
use super::schema::{Parts, not_found, sequence};
use super::subscription::{Subscription, SubscriptionInput, TestResult};
use crate::dispatch::registry::Position;
use crate::specs::external::owner;

/// The most identifiers that one mutation takes.
const IDS_MAX: usize = 10_000;

/// What can be changed about deliveries and credentials.
pub struct CoreMutation(pub(super) Parts);

#[Object]
impl CoreMutation {
    /// Makes a subscription.
    async fn create_subscription(&self, r#in: SubscriptionInput) -> Result<Subscription> {
        let start = r#in.start();
        let subscription = r#in.into_subscription(None).map_err(|error| invalid(&error))?;
        is_operators(&subscription.name)?;
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
        is_operators(&name)?;
        let old = self.0.dispatch.get(&name).ok_or_else(|| not_found(&name))?;
        let old = Arc::clone(&old.definition().subscription);
        let subscription = r#in.into_subscription(Some(&old)).map_err(|error| invalid(&error))?;
        if subscription.key() != name {
            let error = InvalidInput::new(
                "in.name",
                format!("expected {name:?}: a subscription keeps its name and namespace"),
            );
            return Err(invalid(&error));
        }
        (self.0.check_target)(&subscription).map_err(|error| invalid(&error))?;
        let updated = self.0.dispatch.update(subscription).await.map_err(registry)?;
        Ok(Subscription::from(&updated))
    }

    /// Removes a subscription with everything that it has outstanding.
    async fn delete_subscription(&self, name: String) -> Result<Subscription> {
        is_operators(&name)?;
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
        let find = move || match journal.find(&source, &id)? {
            Some(sequence) => journal.get(sequence),
            None => Ok(None),
        };
        let found = tokio::task::spawn_blocking(find).await.unwrap_or(Err(StoreError::Closed));
        let found = found.map_err(|error| store(&error))?;
        let event = found.ok_or_else(|| coded(Code::NotFound, "the journal has no such event"))?;
        if event.held.is_some() {
            let why = "the event is in quarantine: it is delivered once it is released";
            return Err(coded(Code::InvalidOperation, why));
        }
        let sequence = event.sequence;
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

/// A subscription that follows from an event definition is changed with it alone.
fn is_operators(name: &str) -> Result<()> {
    let Some(definition) = owner(name) else { return Ok(()) };
    let text =
        format!("the subscription belongs to the event definition {definition:?}: change that");
    Err(coded(Code::InvalidOperation, &text))
}

fn instant(field: &str, text: &str) -> Result<Timestamp> {
    let expected = "expected a timestamp such as 2018-04-05T17:31:00Z (RFC 3339)";
    Timestamp::parse_rfc3339(text).ok_or_else(|| invalid(&InvalidInput::new(field, expected)))
}

pub(super) fn sequences(ids: &[ID]) -> Result<Vec<Sequence>> {
    if ids.len() > IDS_MAX {
        let expected = format!("expected at most {IDS_MAX} identifiers");
        return Err(invalid(&InvalidInput::new("ids", expected)));
    }
    ids.iter().map(|id| sequence("ids", id)).collect()
}
