//! The whole way in: who may publish is settled, what is declared is asked for, who is concerned
//! is counted, and what is taken is durable before anyone is told.

#[cfg(test)]
mod facts;

use std::sync::Arc;

use eg_event::{
    Handshake, Handshakes, Ingest, Ingested, KeptSession, Owner, Principal, Receipt, Refusal,
    Submission,
};
use eg_storage::Journal;
use futures_util::future::{BoxFuture, FutureExt as _, OptionFuture};

use crate::authorize::Authorizer;
use crate::dispatch::Dispatch;
use crate::metrics::Metrics;
use crate::quotas::Quotas;
use crate::validate::Validator;

/// The way in, behind the ports that the protocols see.
pub struct Pipeline {
    authorizer: Authorizer,
    validator: Validator,
    quotas: Option<Quotas>,
    journal: Journal,
    dispatch: Arc<Dispatch>,
    metrics: Arc<Metrics>,
}

impl Pipeline {
    /// What `authorizer` and `validator` let pass goes to `journal`, and `dispatch` knows who is concerned.
    #[must_use]
    pub fn new(
        (authorizer, validator): (Authorizer, Validator),
        journal: Journal,
        dispatch: Arc<Dispatch>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { authorizer, validator, quotas: None, journal, dispatch, metrics }
    }

    /// The same, with applications held to `quotas`.
    #[must_use]
    pub fn with_quotas(self, quotas: Quotas) -> Self {
        Self { quotas: Some(quotas), ..self }
    }
}

impl Ingest for Pipeline {
    fn ingest(&self, mut submissions: Vec<Submission>) -> Ingested {
        let Some(protocol) = submissions.first().map(|first| first.origin.protocol) else {
            return std::future::ready(Vec::new()).boxed();
        };
        let refused = self.authorizer.sift(&mut submissions);
        let quotas = self.quotas.as_ref();
        let too_many = quotas.map_or_else(Vec::new, |quotas| quotas.sift(&mut submissions));
        let mut sifted = self.validator.sift(&mut submissions);
        let counted = submissions.into_iter().map(|submission| {
            let routed = submission.held.is_none();
            let Submission { event, origin, .. } = &submission;
            let subscriptions =
                if routed { self.dispatch.count_matching(event, origin) } else { 0 };
            (submission, subscriptions)
        });
        let counted: Vec<_> = counted.collect();
        let appended = (!counted.is_empty()).then(|| self.journal.append(counted));
        let metrics = Arc::clone(&self.metrics);
        let holds = sifted.holds();
        let answered = async move {
            let mut answers = OptionFuture::from(appended).await.unwrap_or_default();
            sifted.settle(&mut answers);
            let answers = merge(merge(merge(answers, sifted.refused), too_many), refused);
            metrics.received(protocol, &answers);
            answers
        };
        if holds {
            // Whoever leaves meanwhile: room in the quarantine is counted to the end.
            return self.dispatch.see_to(answered);
        }
        answered.boxed()
    }

    fn room(&self) -> BoxFuture<'static, ()> {
        self.journal.room().boxed()
    }
}

/// Puts refusals, each with its place in the whole list, between the answers to the rest.
fn merge(
    answers: Vec<Result<Receipt, Refusal>>,
    refused: Vec<(usize, Refusal)>,
) -> Vec<Result<Receipt, Refusal>> {
    if refused.is_empty() {
        return answers;
    }
    let mut all = Vec::with_capacity(answers.len() + refused.len());
    let mut answers = answers.into_iter();
    for (place, refusal) in refused {
        all.extend(answers.by_ref().take(place - all.len()));
        all.push(Err(refusal));
    }
    all.extend(answers);
    all
}

impl Handshakes for Pipeline {
    fn release(&self, handshake: Handshake) -> BoxFuture<'static, Result<(), Refusal>> {
        self.journal.release(handshake).boxed()
    }

    fn owner(&self, principal: &Principal) -> Owner {
        self.journal.owner(principal)
    }

    fn keep_session(&self, session: KeptSession) -> BoxFuture<'static, Result<(), Refusal>> {
        self.journal.keep_session(session).boxed()
    }

    fn sessions(&self) -> Vec<KeptSession> {
        self.journal.sessions()
    }

    fn forget_session(&self, client_id: Arc<str>) -> BoxFuture<'static, Result<(), Refusal>> {
        self.journal.forget_session(client_id).boxed()
    }

    fn open_in_session(&self, client_id: &str) -> Vec<u16> {
        self.journal.open_in_session(client_id)
    }
}
