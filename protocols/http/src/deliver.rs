//! Sends events out: one POST for each attempt, and what its answer means.

mod answer;
mod ask;
mod authorize;
mod client;
mod csrf;
mod fetch;
mod identity;
mod query;
mod reason;
mod renewed;
mod request;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eg_event::outbound::{Auth, SecretText};
use eg_event::{Clock, Delivery, InvalidInput, Outcome, Sink, Subscription, Timestamp};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{PushConfig, ms};
use crate::guard::Guard;
use answer::Answers;
use authorize::{Given, Sessions};
use client::Clients;
use identity::Identity;

pub use fetch::{Wanted, is_same_origin};
pub use identity::certificates_of;
use renewed::{Surroundings, Unavailable};

/// Delivers events to subscribers' endpoints over HTTP/1.1 and, where TLS agrees on it, HTTP/2.
pub struct HttpSink {
    sessions: Sessions,
    answers: Answers,
    guard: Guard,
    clock: Clock,
    /// Deliveries say who sent the event.
    authcontext: bool,
}

/// Why there is no way out.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The file of certificate authorities cannot be read, or is none.
    #[error("push.ca_file {}: {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl HttpSink {
    /// Reads the certificate authorities. Connections and what remains of answers are on tasks of
    /// `tasks`; they end when `stop` is cancelled, which should be after the last delivery.
    pub fn new(
        config: &PushConfig,
        clock: Clock,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, PushError> {
        let guard = Guard::new(config);
        let clients = Clients::new(config, guard.clone(), (tasks.clone(), stop.clone()))?;
        let around = Surroundings { clock: clock.clone(), tasks: tasks.clone(), stop };
        Ok(Self {
            sessions: Sessions::new(clients, guard.clone(), ms(config.token_ms_max), around)?,
            answers: Answers::new(config, clock.clone(), tasks),
            guard,
            clock,
            authcontext: config.authcontext,
        })
    }

    /// The access token of `auth` by its client credentials, which elsewhere than in HTTP says who
    /// the gateway is; and until when it is to be used. It is kept, and renewed before it ends.
    pub async fn access_token(
        &self,
        auth: &Arc<Auth>,
    ) -> Result<(SecretText, Option<Timestamp>), String> {
        let session = self.sessions.of(auth)?;
        let token = session.token().await.map_err(|unavailable| unavailable.reason)?;
        let (value, until) = token.ok_or("expected auth.credential.oauth")?;
        let value = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        Ok((SecretText::new(value.ok_or("no token")?), until))
    }

    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let timeout = delivery.subscription.request_timeout();
        let until = Instant::now() + timeout;
        let mut request = match request::write(delivery, self.clock.now(), self.authcontext) {
            Ok(request) => request,
            Err(reason) => return failed(reason),
        };
        if let Err(refused) = self.guard.check_uri(request.uri()) {
            return failed(refused.to_string());
        }
        let auth = delivery.subscription.auth.as_ref();
        let session = match auth.map(|auth| self.sessions.of(auth)).transpose() {
            Ok(session) => session,
            Err(reason) => return failed(reason),
        };
        let mut given = Given::default();
        if let Some(session) = &session {
            given = match timeout_at(until, session.authorize(&mut request)).await {
                Ok(Ok(given)) => given,
                Ok(Err(Unavailable { reason, retry_after })) => {
                    return Outcome::Failed { status: None, reason, retry_after };
                }
                Err(_) => return failed(format!("{}, waiting for a token", timed_out(timeout))),
            };
        }
        let client =
            session.as_ref().map_or_else(|| self.sessions.plain(), |session| session.client());
        match timeout_at(until, client.request(request)).await {
            Ok(Ok(answer)) => {
                let learned = session.and_then(|session| session.learn(&given, &answer));
                noted(self.answers.outcome(answer, until).await, learned)
            }
            Ok(Err(error)) => failed(reason::of(&error)),
            Err(_) => failed(timed_out(timeout)),
        }
    }
}

/// Says what is wrong with where a subscription sends to, or with what it authenticates by, as far
/// as that can be told at `now` without asking anyone.
pub fn check_target(
    guard: &Guard,
    subscription: &Subscription,
    now: Timestamp,
) -> Result<(), InvalidInput> {
    guard.check_endpoint(&subscription.endpoint)?;
    check_auth(guard, subscription, now)
}

/// The same of what a subscription authenticates by alone.
pub fn check_auth(
    guard: &Guard,
    subscription: &Subscription,
    now: Timestamp,
) -> Result<(), InvalidInput> {
    let Some(auth) = &subscription.auth else { return Ok(()) };
    auth.token_urls().try_for_each(|(field, url)| guard.check_url(field, url))?;
    auth.certificate.as_ref().map_or(Ok(()), |identity| Identity::check(identity, now))
}

impl Sink for HttpSink {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Outcome> {
        Box::pin(self.attempt(delivery))
    }

    fn check_target(&self, subscription: &Subscription) -> Result<(), InvalidInput> {
        check_target(&self.guard, subscription, self.clock.now())
    }
}

fn timed_out(timeout: Duration) -> String {
    format!("timed out after {} ms", timeout.as_millis())
}

/// The outcome, with what was learned from the answer.
fn noted(mut outcome: Outcome, learned: Option<&str>) -> Outcome {
    if let (Outcome::Failed { reason, .. }, Some(learned)) = (&mut outcome, learned) {
        reason.push_str("; ");
        reason.push_str(learned);
    }
    outcome
}

/// No answer came.
fn failed(reason: String) -> Outcome {
    Outcome::Failed { status: None, reason, retry_after: None }
}
