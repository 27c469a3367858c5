//! The MQTT server: what its connections share.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eg_auth::{Authenticate, Live, Peer};
use eg_event::{
    Announce, Channels, Clock, Feed, Grants, Handshakes, Ingest, InvalidInput, KeptSession,
    Refusal, RetainedStore, SessionStore, Tenants, Topics, WillStore,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::MqttConfig;
use crate::connection::pace::Paces;
use crate::counters::Counters;
use crate::identifier::Identifiers;
use crate::keeper::Keeper;
use crate::lifecycle::Lifecycle;
use crate::mapping::Mappings;
use crate::queue::QueueLimit;
use crate::retained::{Retained, RetainedLimit};
use crate::router::{Backlog, Router};
use crate::sessions::{Sessions, UNTIL_THE_NEXT_LOOK};
use crate::wills::Wills;

/// How often sessions are looked at for their end.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);

/// What the server hands over to.
pub struct Ports {
    /// Takes events.
    pub ingest: Arc<dyn Ingest>,
    /// Keeps the exchanges under which events count once.
    pub handshakes: Arc<dyn Handshakes>,
    /// Knows what payloads sent to channels are.
    pub channels: Arc<dyn Channels>,
    /// Reads what was accepted.
    pub feed: Arc<dyn Feed>,
    /// Knows the topics of what did not come by MQTT.
    pub topics: Arc<dyn Topics>,
    /// Says who may subscribe to what.
    pub grants: Arc<dyn Grants>,
    /// Knows what applications have and may have.
    pub tenants: Arc<dyn Tenants>,
    /// Keeps what subscribers have.
    pub sessions: Arc<dyn SessionStore>,
    /// Keeps the retained message of each topic.
    pub retained: Arc<dyn RetainedStore>,
    /// Keeps the wills of those who are connected.
    pub wills: Arc<dyn WillStore>,
    /// Takes events of the gateway's own.
    pub announce: Arc<dyn Announce>,
    /// Recognizes clients.
    pub authenticator: Arc<dyn Authenticate>,
    /// Knows which connections end when a credential is revoked.
    pub live: Live,
    /// What time it is.
    pub clock: Clock,
}

/// An MQTT server; clones are the same one.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) config: MqttConfig,
    pub(crate) ports: Ports,
    pub(crate) mappings: Mappings,
    pub(crate) identifiers: Identifiers,
    pub(crate) sessions: Sessions,
    pub(crate) paces: Paces,
    pub(crate) router: Router,
    pub(crate) keeper: Keeper,
    pub(crate) counters: Counters,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) wills: Wills,
    pub(crate) permits: Arc<Semaphore>,
    /// Who is turned away is told why, so many at once.
    pub(crate) turning_away: Arc<Semaphore>,
    addresses: Mutex<HashMap<IpAddr, u32>>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// The server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting makes no sense.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// What sessions had cannot be taken up.
    #[error("the MQTT sessions and retained messages cannot be taken up: {0}")]
    Sessions(#[from] Refusal),
}

/// Leave to be connected, given back when dropped.
pub(crate) struct Admission {
    shared: Arc<Shared>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Server {
    /// Makes a server whose connections are tasks of `tasks`. Once `stop` is cancelled nothing new
    /// is taken in; what has been read is finished, and clients are told.
    pub fn new(
        config: MqttConfig,
        ports: Ports,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        config.check()?;
        let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let sessions = Sessions::new(size(config.sessions_max));
        let kept = ports.handshakes.sessions();
        let client_ids = kept.iter().map(|kept| Arc::clone(&kept.client_id)).collect();
        sessions.restore(kept, ports.clock.now());
        let limit = QueueLimit {
            messages: size(config.session_queue_messages_max),
            bytes: config.session_queue_bytes_max,
            heeds_application: true,
        };
        let retained = Retained::load(
            Arc::clone(&ports.retained),
            (Arc::clone(&ports.grants), &*ports.topics, ports.clock.clone()),
            RetainedLimit {
                messages: size(config.retained_messages_max),
                bytes: config.retained_bytes_max,
            },
        )?;
        let journal = (Arc::clone(&ports.feed), Arc::clone(&ports.topics));
        let router = Router::new(journal, retained, limit);
        let keeper = Keeper::new(Arc::clone(&ports.sessions));
        keeper.restore(&router, &client_ids)?;
        let wills = Wills::load(Arc::clone(&ports.wills), &sessions)?;
        Ok(Self(Arc::new(Shared {
            mappings: Mappings::new(&config.mappings)?,
            identifiers: Identifiers::default(),
            sessions,
            paces: Paces::default(),
            router,
            keeper,
            counters: Counters::default(),
            lifecycle: Lifecycle::new(),
            wills,
            permits: Arc::new(Semaphore::new(size(config.connections_max))),
            turning_away: Arc::new(Semaphore::new(256)),
            addresses: Mutex::default(),
            config,
            ports,
            tasks,
            stop,
        })))
    }

    /// What has happened since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Ends sessions and retained messages when their time has come, until the server stops.
    pub async fn expire_sessions(&self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EXPIRY_INTERVAL) => {}
                () = self.0.stop.cancelled() => return,
            }
            let now = self.0.ports.clock.now();
            self.0.router.retained.expire();
            for client_id in self.0.sessions.expired(now) {
                if let Some(seat) = self.0.sessions.take_expired(&client_id, now) {
                    self.0.counters.sessions_expired.fetch_add(1, Ordering::Relaxed);
                    let expiry = self.forget(&client_id).await;
                    drop(self.0.sessions.leave(&client_id, &seat, (Some(expiry), false), now));
                }
            }
        }
    }

    /// Forgets what is left of a session that has ended. Says how long it is still to be
    /// remembered.
    pub(crate) async fn forget(&self, client_id: &Arc<str>) -> Duration {
        match self.forget_all(client_id).await {
            Ok(()) => Duration::ZERO,
            Err(refusal) => {
                tracing::warn!(%refusal, "an ended session could not be forgotten yet");
                UNTIL_THE_NEXT_LOOK
            }
        }
    }

    /// Forgets the exchanges of a session, and what it had as a subscriber.
    pub(crate) async fn forget_all(&self, client_id: &Arc<str>) -> Result<(), Refusal> {
        self.tell_session_ended(client_id);
        if let Some(subscriber) = self.0.router.end(client_id) {
            let forgotten = self.0.keeper.forget(&subscriber);
            self.0.router.share_out(&subscriber, &self.0.counters);
            forgotten.await?;
        }
        self.0.ports.handshakes.forget_session(Arc::clone(client_id)).await
    }

    /// What waits for subscribers.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.0.router.backlog()
    }

    /// Hands events to subscribers until the server stops; wills that were left first.
    pub async fn deliver(&self) {
        self.take_up_wills();
        let Shared { router, keeper, counters, stop, .. } = &*self.0;
        tokio::join!(
            router.run(counters, stop),
            keeper.run(router, stop),
            router.retained.run(stop),
            self.tell_system_topics(),
            self.hand_over_lifecycle(stop),
            self.0.wills.run(stop),
        );
    }

    /// Writes down what subscribers have, and what is retained, after the last connection has ended.
    pub async fn settle(&self) {
        self.0.keeper.checkpoint(&self.0.router).await;
        drop(self.0.router.retained.checkpoint(0).await);
        self.tell_the_rest().await;
        self.0.wills.save().await;
    }

    /// Keeps a session for as long as its client has asked when it left.
    pub(crate) async fn keep(&self, session: KeptSession) {
        let kept = self.0.ports.handshakes.keep_session(session).await;
        if let Err(refusal) = kept {
            tracing::warn!(%refusal, "how long a session is kept could not be stored");
        }
    }

    /// Leave for a connection from `remote`; none at a limit.
    pub(crate) fn admit(&self, remote: SocketAddr) -> Option<Admission> {
        let shared = &self.0;
        let permit = Arc::clone(&shared.permits).try_acquire_owned().ok()?;
        let address = Peer::new(remote).network();
        let mut addresses = shared.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_insert(0);
        if *count >= shared.config.connections_per_address_max {
            return None;
        }
        *count += 1;
        shared.counters.connections.fetch_add(1, Ordering::Relaxed);
        Some(Admission { shared: Arc::clone(shared), address, _permit: permit })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.shared.counters.connections.fetch_sub(1, Ordering::Relaxed);
        let mut addresses = self.shared.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}
