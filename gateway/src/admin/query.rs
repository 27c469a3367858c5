//! What can be asked of the events, the deliveries and the credentials.

use async_graphql::{Object, Result};
use eg_event::Sequence;
use eg_storage::StoreError;

use super::certificate::{self, CertificatePage};
use super::credential::{Credential, CredentialPage};
use super::dead_letter::{DeadLetter, DeadLetterPage};
use super::error::store;
use super::event::{Event, EventJourney, EventPage};
use super::page::{self, PageInfo};
use super::policy::{PolicyDecision, PolicyQuestion};
use super::schema::{Parts, not_found, sequence};
use super::subscription::{Subscription, SubscriptionPage};
use crate::journey;

/// What can be asked of the events, the deliveries and the credentials.
pub struct CoreQuery(pub(super) Parts);

#[Object]
#[expect(clippy::unused_async, reason = "a resolver is asynchronous")]
impl CoreQuery {
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
        let later = all.iter().filter(|one| *one.definition().subscription.key() > *after);
        let entries = later.take(size + 1).map(Subscription::from).collect();
        let (data, page_info) = page::cut(entries, size, |one| one.key.clone());
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
        let end = self.0.journal.end();
        let found = journey::scan(&self.0.journal, from, size).await;
        let found = found.map_err(|error| store(&error))?;
        // Large events make a page short: it is the last one if it has the last event.
        let has_next_page = found.last().is_some_and(|last| last.sequence.next() < end);
        let entries = found.iter().map(|event| Event::from(&**event)).collect();
        let (data, page_info) =
            page::cut(entries, size, |event: &Event| event.sequence.to_string());
        Ok(EventPage { data, page_info: PageInfo { has_next_page, ..page_info } })
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
