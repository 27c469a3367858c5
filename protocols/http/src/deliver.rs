//! Sends events out: one POST for each attempt, and what its answer means.

mod answer;
mod client;
mod reason;
mod request;

use std::path::PathBuf;
use std::time::Duration;

use eg_event::{Clock, Delivery, Outcome, Sink};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::PushConfig;
use crate::guard::Guard;
use answer::Answers;
use client::Client;

/// Delivers events to subscribers' endpoints over HTTP/1.1 and, where TLS agrees on it, HTTP/2.
pub struct HttpSink {
    client: Client,
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
        Ok(Self {
            client: client::build(config, guard.clone(), (tasks.clone(), stop))?,
            answers: Answers::new(config, clock.clone(), tasks),
            guard,
            clock,
            authcontext: config.authcontext,
        })
    }

    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let timeout = delivery.subscription.request_timeout();
        let until = Instant::now() + timeout;
        let request = match request::write(delivery, self.clock.now(), self.authcontext) {
            Ok(request) => request,
            Err(reason) => return failed(reason),
        };
        if let Err(refused) = self.guard.check_uri(request.uri()) {
            return failed(refused.to_string());
        }
        match timeout_at(until, self.client.request(request)).await {
            Ok(Ok(answer)) => self.answers.outcome(answer, until).await,
            Ok(Err(error)) => failed(reason::of(&error)),
            Err(_) => failed(timed_out(timeout)),
        }
    }
}

impl Sink for HttpSink {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Outcome> {
        Box::pin(self.attempt(delivery))
    }
}

fn timed_out(timeout: Duration) -> String {
    format!("timed out after {} ms", timeout.as_millis())
}

/// No answer came.
fn failed(reason: String) -> Outcome {
    Outcome::Failed { status: None, reason, retry_after: None }
}
