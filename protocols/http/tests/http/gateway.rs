//! A gateway's HTTP side on a free port, over an intake that remembers what it was given.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use eg_auth::{Authenticator, Live};
use eg_event::{Channels, Ingest, Ingested, NoChannels, Receipt, Refusal, Sequence, Submission};
use eg_http::{HttpConfig, Ports, Routes, Server, Subscribed};
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Takes every event, or refuses all.
pub(crate) struct Intake {
    pub(crate) taken: Mutex<Vec<Submission>>,
    refusal: Mutex<Option<Refusal>>,
    sequence: AtomicU64,
    /// Answers wait while this is true.
    held: watch::Sender<bool>,
}

impl Intake {
    fn new() -> Self {
        Self {
            taken: Mutex::default(),
            refusal: Mutex::default(),
            sequence: AtomicU64::new(1),
            held: watch::Sender::new(false),
        }
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        *self.refusal.lock().unwrap() = Some(refusal);
    }

    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }

    pub(crate) fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// The last event that was taken.
    pub(crate) fn last(&self) -> Submission {
        self.taken.lock().unwrap().last().unwrap().clone()
    }

    fn take(&self, submission: Submission) -> Result<Receipt, Refusal> {
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        let event = &submission.event;
        let (id, source) = (event.id().into(), event.source().into());
        let mut taken = self.taken.lock().unwrap();
        let is_same = |known: &Submission| {
            known.event.id() == event.id() && known.event.source() == event.source()
        };
        let known = taken.iter().position(is_same);
        let subscriptions = u32::from(event.ty() != "nobody.cares");
        let (sequence, duplicate) = match known {
            Some(at) => (Sequence(u64::try_from(at).unwrap() + 1), true),
            None => (Sequence(self.sequence.fetch_add(1, Ordering::Relaxed)), false),
        };
        if !duplicate {
            taken.push(submission);
        }
        let (held, deprecation) = (false, None);
        Ok(Receipt { id, source, sequence, subscriptions, duplicate, held, deprecation })
    }
}

impl Ingest for Intake {
    fn ingest(&self, submissions: Vec<Submission>) -> Ingested {
        let outcomes = submissions.into_iter().map(|one| self.take(one)).collect();
        let mut held = self.held.subscribe();
        Box::pin(async move {
            drop(held.wait_for(|held| !held).await.map(|held| *held));
            outcomes
        })
    }

    fn room(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct OneType;

impl Subscribed for OneType {
    fn subscribed(&self, application: &str) -> Vec<(String, String)> {
        let events = [("order.created".to_owned(), "v1".to_owned())];
        events.into_iter().filter(|_| application == "shop").collect()
    }
}

/// What runs.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) intake: Arc<Intake>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_with(HttpConfig::default()).await
    }

    pub(crate) async fn start_with(config: HttpConfig) -> Self {
        Self::assemble(config, Authenticator::anonymous_on_loopback(), []).await
    }

    pub(crate) async fn assemble(
        config: HttpConfig,
        authenticator: Authenticator,
        others: impl IntoIterator<Item = axum::Router>,
    ) -> Self {
        Self::declaring(config, authenticator, others, Arc::new(NoChannels)).await
    }

    pub(crate) async fn declaring(
        config: HttpConfig,
        authenticator: Authenticator,
        others: impl IntoIterator<Item = axum::Router>,
        channels: Arc<dyn Channels>,
    ) -> Self {
        assert_eq!(config.check(), Ok(()));
        let intake = Arc::new(Intake::new());
        let ports = Ports {
            ingest: Arc::clone(&intake) as Arc<dyn Ingest>,
            authenticator: Arc::new(authenticator),
            live: Live::default(),
            subscribed: Arc::new(OneType),
            channels,
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let routes = Routes::new(&config, ports, others);
        let server = Server::new(&config, routes, tasks.clone(), stop.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn(async move { server.run(listener).await });
        Self { address, intake, stop, tasks }
    }
}
