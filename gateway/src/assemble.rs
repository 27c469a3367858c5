//! Everything is put together here, in the order in which it depends on each other, and ended in
//! the opposite order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eg_auth::{Authenticate, Authenticator, IssuerError, Live, PolicyStore, Surroundings};
use eg_certs::TlsError;
use eg_event::{Clock, Handshakes, Ingest, Sink as _};
use eg_http::{HttpConfig, PushError, Server as HttpServer};
use eg_mqtt::{Server as MqttServer, websocket};
use eg_storage::{OpenError, Store, StoreError};
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::health::{Gauges, Health};
use crate::admin::schema::{Parts, TargetCheck};
use crate::admin::{self, Admin};
use crate::authorize::Authorizer;
use crate::broker::topics::EventTopics;
use crate::broker::{JournalFeed, OwnEvents, PolicyGrants, RetainedLedger, Sessions, WillLedger};
use crate::catalog::{self, Catalog};
use crate::certificates::CertificatesError;
use crate::config::{Config, ConfigError};
use crate::consume::{self, Consumers};
use crate::credentials::{CredentialError, Credentials};
use crate::declared::DeclaredStore;
use crate::dispatch::registry::RegistryError;
use crate::dispatch::{Dispatch, Outlets};
use crate::front::{Front, Protocols};
use crate::ingest::Pipeline;
use crate::metrics::{Levels, Metrics};
use crate::policy::Policies;
use crate::quotas::Quotas;
use crate::recognition::Counted;
use crate::reload::Reloader;
use crate::secrets::{Keys, SecretError};
use crate::sinks::Sinks;
use crate::specs::error::SpecsError;
use crate::specs::registry::{self, Registry};
use crate::subscribed::SubscribedTypes;
use crate::validate::Validator;

/// A part could not be started, or not be ended.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A setting makes no sense.
    #[error(transparent)]
    Invalid(#[from] eg_event::InvalidInput),
    /// The MQTT server cannot be started.
    #[error(transparent)]
    Mqtt(#[from] eg_mqtt::StartError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Secrets cannot be opened with the keys that there are.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The subscriptions cannot be taken up.
    #[error(transparent)]
    Subscriptions(#[from] RegistryError),
    /// What is registered cannot be taken up.
    #[error(transparent)]
    Specs(#[from] SpecsError),
    /// The policy cannot be used.
    #[error(transparent)]
    Policy(#[from] ConfigError),
    /// The certificate authority cannot be taken up.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Tokens cannot be checked as configured.
    #[error("auth: {0}")]
    Issuer(#[from] IssuerError),
    /// Nobody could be let in at first.
    #[error("the first credential cannot be made: {0}")]
    FirstCredential(#[from] CredentialError),
    /// Events cannot be sent out.
    #[error("push: {0}")]
    Push(#[from] PushError),
    /// An address cannot be listened on.
    #[error("listen.{listener} {address}: {cause}")]
    Listen {
        /// The setting.
        listener: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// A listener ended although nobody asked it to.
    #[error("the listener for {0} ended")]
    Ended(&'static str),
}

/// A gateway whose parts are made and whose ports are bound.
pub struct Gateway {
    reloader: Reloader,
    store: Store,
    dispatch: Arc<Dispatch>,
    specs: Arc<Registry>,
    /// What is read from buses, and by what.
    consumers: (Consumers, consume::Ports),
    health: Arc<Health>,
    sessions: Arc<Sessions>,
    front: Front,
    protocols: Protocols,
    first_admin_key: Option<PathBuf>,
    /// What serves clients.
    serving: TaskTracker,
    /// Nothing new is taken in.
    stop: CancellationToken,
    /// What sends events out.
    sending: TaskTracker,
    /// Connections to receivers are given up.
    stop_sending: CancellationToken,
}

impl Gateway {
    /// Makes every part and binds every port; nothing is served yet.
    pub async fn assemble(config: Config, clock: Clock) -> Result<Self, AssembleError> {
        config.check()?;
        let (policies, given) = (Policies::read(&config)?, config.clone());
        let policy = policies.store();
        let store = Store::open(&config.data_directory, &config.storage, &clock)?;
        let (live, serving, stop) = (Live::default(), TaskTracker::new(), CancellationToken::new());
        let Recognition { authenticator: known, credentials, first_admin_key } =
            Recognition::new(&config, &store, (&live, &clock), &serving).await?;
        let front = Front::open(&config, store.ledger(), (&live, &clock)).await?;

        let (sending, stop_sending) = (TaskTracker::new(), CancellationToken::new());
        let WayOut { dispatch, specs, declared, quotas, consumers, around, check_target } =
            WayOut::open(&config, &store, &clock, (&sending, &stop_sending))?;
        let metrics = Arc::new(Metrics::default());
        let recognize =
            |protocol| Counted::new(Arc::clone(&known) as _, protocol, &metrics) as Arc<_>;
        let pipeline = way_in(&store, (policy, &declared, &quotas), &dispatch, &metrics);

        let reading = consume_ports(&pipeline, &declared, around, (&metrics, &clock));
        let sessions = Sessions::new(store.ledger().clone(), store.journal().clone());
        let ports = MqttParts { store: &store, policy, dispatch: &dispatch, quotas: &quotas };
        let ports =
            ports.ports(&pipeline, &declared, &sessions, (recognize("mqtt"), &live, &clock));
        let mqtt = MqttServer::new(config.mqtt, ports, serving.clone(), stop.clone())?;
        let ports = http_ports(pipeline, (recognize("http"), &live), &dispatch, &declared);
        let seen = (policy, front.access(&given));
        let catalog = Arc::new(Catalog::new(&specs, store.journal(), seen));
        let routes = routes(&config.http, ports, &mqtt, (&front, &catalog));
        let http = HttpServer::new(&config.http, routes, serving.clone(), stop.clone());

        let health = health(&store, &dispatch, &metrics, (&front, &mqtt, (&consumers, &quotas)));
        let managed = Parts {
            dispatch: Arc::clone(&dispatch),
            journal: store.journal().clone(),
            ledger: store.ledger().clone(),
            certificates: Arc::clone(&front.certificates),
            desk: Arc::clone(&front.desk),
            credentials,
            check_target,
            declared,
            consumers: consumers.clone(),
            mqtt: mqtt.clone(),
            policy: policy.clone(),
            specs: Arc::clone(&specs),
            catalog,
            events_url: front.events_url(&given).into(),
        };
        let recognize = (recognize("admin"), live.clone());
        let tasks = (serving.clone(), stop.clone());
        let admin = admin::routes(Admin::new(managed, clock, (&health, recognize), tasks));
        let admin = HttpServer::new(&config.http, admin, serving.clone(), stop.clone());

        Ok(Self {
            reloader: Reloader::new(given, front.tls.clone(), (known, live), policies),
            store,
            dispatch,
            specs,
            consumers: (consumers, reading),
            health,
            sessions,
            front,
            protocols: Protocols { http, mqtt, admin },
            first_admin_key,
            serving,
            stop,
            sending,
            stop_sending,
        })
    }

    /// What is listened on, by the names of the settings.
    #[must_use]
    pub fn addresses(&self) -> &[(&'static str, SocketAddr)] {
        self.front.listeners.addresses()
    }

    /// What lets the gateway have another configuration while it runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Where the key is that was made because no administrator could have got in.
    #[must_use]
    pub fn first_admin_key(&self) -> Option<&Path> {
        self.first_admin_key.as_deref()
    }

    /// Serves until `shutdown` completes, then takes in nothing new, finishes what is under way
    /// within `drain`, and closes the store.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()>,
        drain: Duration,
    ) -> Result<(), AssembleError> {
        self.dispatch.start();
        self.specs.settle().await?;
        let ended = CancellationToken::new();
        let expiring = self.protocols.mqtt.clone();
        self.serving.spawn(async move { expiring.expire_sessions().await });
        let (consumers, ports) = self.consumers;
        let reading = consumers.run(ports, self.serving.clone(), self.stop.clone());
        self.serving.spawn(reading);
        let delivering = self.protocols.mqtt.clone();
        self.serving.spawn(async move { delivering.deliver().await });
        let (sessions, until) = (self.sessions, self.stop_sending.clone());
        self.sending.spawn(async move { sessions.run(&until).await });
        let mqtt = self.protocols.mqtt.clone();
        self.front.maintain(&self.serving, &self.stop);
        for listener in self.front.serve(self.protocols) {
            self.serving.spawn(tell_end(ended.clone(), listener));
        }
        let early = tokio::select! {
            () = shutdown => None,
            () = ended.cancelled() => Some(AssembleError::Ended("a protocol")),
        };
        tracing::info!("shutting down");
        self.health.stopping();
        self.stop.cancel();
        self.serving.close();
        let deadline = tokio::time::Instant::now() + drain;
        if tokio::time::timeout_at(deadline, self.serving.wait()).await.is_err() {
            tracing::warn!("clients did not finish in time and are cut off");
        }
        mqtt.settle().await;
        self.dispatch.stop(tokio::time::sleep_until(deadline)).await?;
        self.stop_sending.cancel();
        self.sending.close();
        self.sending.wait().await;
        let store = self.store;
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        closed.unwrap_or(Err(StoreError::Closed))?;
        early.map_or(Ok(()), Err)
    }
}

pub(crate) fn way_in(
    store: &Store,
    (policy, declared, quotas): (&PolicyStore, &DeclaredStore, &Quotas),
    dispatch: &Arc<Dispatch>,
    metrics: &Arc<Metrics>,
) -> Arc<Pipeline> {
    let authorizer = Authorizer::new(policy.clone(), Arc::clone(metrics));
    let quarantine = Arc::clone(dispatch.quarantine());
    let validator = Validator::new(declared.clone(), quarantine, Arc::clone(metrics));
    let sieves = (authorizer, validator);
    let (journal, dispatch) = (store.journal().clone(), Arc::clone(dispatch));
    let pipeline = Pipeline::new(sieves, journal, dispatch, Arc::clone(metrics));
    Arc::new(pipeline.with_quotas(quotas.clone()))
}

/// What topics of buses are read with.
fn consume_ports(
    pipeline: &Arc<Pipeline>,
    declared: &DeclaredStore,
    around: eg_bus::Surroundings,
    (metrics, clock): (&Arc<Metrics>, &Clock),
) -> consume::Ports {
    consume::Ports {
        ingest: Arc::clone(pipeline) as Arc<dyn Ingest>,
        channels: Arc::new(declared.clone()),
        around,
        metrics: Arc::clone(metrics),
        clock: clock.clone(),
    }
}

/// What the MQTT server works with beside the way in.
pub(crate) struct MqttParts<'a> {
    pub(crate) store: &'a Store,
    pub(crate) policy: &'a PolicyStore,
    pub(crate) dispatch: &'a Arc<Dispatch>,
    pub(crate) quotas: &'a Quotas,
}

impl MqttParts<'_> {
    pub(crate) fn ports(
        &self,
        pipeline: &Arc<Pipeline>,
        declared: &DeclaredStore,
        sessions: &Arc<Sessions>,
        (authenticator, live, clock): (Arc<dyn Authenticate>, &Live, &Clock),
    ) -> eg_mqtt::Ports {
        let (ledger, journal) = (self.store.ledger(), self.store.journal());
        eg_mqtt::Ports {
            ingest: Arc::clone(pipeline) as Arc<dyn Ingest>,
            handshakes: Arc::clone(pipeline) as Arc<dyn Handshakes>,
            channels: Arc::new(declared.clone()),
            feed: Arc::new(JournalFeed::new(journal.clone())),
            topics: Arc::new(EventTopics::new(declared.clone())),
            grants: Arc::new(PolicyGrants::new(self.policy.clone())),
            sessions: Arc::clone(sessions) as Arc<_>,
            tenants: Arc::new(self.quotas.clone()),
            retained: Arc::new(RetainedLedger::new(ledger.clone(), journal.clone())),
            wills: Arc::new(WillLedger::new(ledger.clone())),
            announce: Arc::new(OwnEvents::new(journal, self.dispatch)),
            authenticator,
            live: live.clone(),
            clock: clock.clone(),
        }
    }
}

/// What the HTTP server works with.
fn http_ports(
    pipeline: Arc<Pipeline>,
    (authenticator, live): (Arc<dyn Authenticate>, &Live),
    dispatch: &Arc<Dispatch>,
    declared: &DeclaredStore,
) -> eg_http::Ports {
    eg_http::Ports {
        ingest: pipeline,
        authenticator,
        live: live.clone(),
        subscribed: Arc::new(SubscribedTypes::new(Arc::clone(dispatch))),
        channels: Arc::new(declared.clone()),
    }
}

/// The HTTP port: events, MQTT over WebSocket, certificates in Kyma's way, and the catalog.
fn routes(
    config: &HttpConfig,
    ports: eg_http::Ports,
    mqtt: &MqttServer,
    (front, catalog): (&Front, &Arc<Catalog>),
) -> eg_http::Routes {
    let connector = eg_http::connector::router(config, Arc::clone(&front.desk) as Arc<_>);
    let catalog = catalog::http::router(Arc::clone(catalog), Arc::clone(&ports.authenticator));
    eg_http::Routes::new(config, ports, [websocket::router(mqtt.clone()), connector, catalog])
}

/// Whether all is well, and the numbers that say so.
fn health(
    store: &Store,
    dispatch: &Arc<Dispatch>,
    metrics: &Arc<Metrics>,
    (front, mqtt, (consumers, quotas)): (&Front, &MqttServer, (&Consumers, &Quotas)),
) -> Arc<Health> {
    let consumers = consumers.clone();
    let reading: Gauges = Box::new(move |levels| consumers.measure(levels));
    let quotas = quotas.clone();
    let held: Gauges = Box::new(move |levels| quotas.measure(levels));
    let gauges = front.gauges().chain([mqtt_gauges(mqtt), reading, held]).collect();
    let (journal, counted) = (store.journal().clone(), Arc::clone(metrics));
    Arc::new(Health::new(journal, Arc::clone(dispatch), counted, gauges))
}

/// Serves a listener; its end is everyone's.
async fn tell_end(ended: CancellationToken, listener: BoxFuture<'static, ()>) {
    let told = ended.drop_guard();
    listener.await;
    drop(told);
}

/// How events leave, and what is registered that says which do.
struct WayOut {
    dispatch: Arc<Dispatch>,
    specs: Arc<Registry>,
    /// What that asks of events.
    declared: DeclaredStore,
    /// What that lets applications send and hold.
    quotas: Quotas,
    /// What that has read from buses.
    consumers: Consumers,
    /// What connections to buses are made with.
    around: eg_bus::Surroundings,
    /// Says beforehand whether events may be sent somewhere.
    check_target: TargetCheck,
}

impl WayOut {
    /// Delivery over HTTP, where it stood when the store was closed.
    fn open(
        config: &Config,
        store: &Store,
        clock: &Clock,
        (sending, stop_sending): (&TaskTracker, &CancellationToken),
    ) -> Result<Self, AssembleError> {
        let sinks = Sinks::open(&config.push(), clock, sending, stop_sending)?;
        let http = Arc::clone(&sinks.http);
        let around = sinks.around.clone();
        let sinks = Arc::new(sinks);
        let checking = Arc::clone(&sinks);
        let check_target: TargetCheck = Arc::new(move |asked| checking.check_target(asked));
        let keys = Arc::new(Keys::open(&config.secrets, &config.data_directory)?);
        let dispatch = Dispatch::recover(Outlets {
            journal: store.journal().clone(),
            ledger: store.ledger().clone(),
            sink: sinks,
            keys: Arc::clone(&keys),
            quarantine: config.quarantine,
            clock: clock.clone(),
        })?;
        let declared = DeclaredStore::default();
        let quotas = Quotas::new(store.journal(), clock);
        let consumers = Consumers::default();
        let specs = Registry::open(registry::Outlets {
            ledger: store.ledger().clone(),
            keys,
            clock: clock.clone(),
            http,
            check_target: Arc::clone(&check_target),
            dispatch: Arc::clone(&dispatch),
            follower: Arc::new(((declared.clone(), quotas.clone()), consumers.clone())),
        })?;
        let specs = Arc::new(specs);
        Ok(Self { dispatch, specs, declared, quotas, consumers, around, check_target })
    }
}

/// Who is asking, and the credentials that were made here.
struct Recognition {
    authenticator: Arc<Authenticator>,
    credentials: Arc<Credentials>,
    first_admin_key: Option<PathBuf>,
}

impl Recognition {
    async fn new(
        config: &Config,
        store: &Store,
        (live, clock): (&Live, &Clock),
        tasks: &TaskTracker,
    ) -> Result<Self, AssembleError> {
        let surroundings = Surroundings { clock: clock.clone(), tasks: tasks.clone() };
        let mut authenticator = Authenticator::new(&config.auth, surroundings)?;
        if config.dev {
            authenticator = authenticator.with_anonymous_on_loopback();
        }
        let authenticator = Arc::new(authenticator);
        let (ledger, known) = (store.ledger().clone(), Arc::clone(&authenticator));
        let credentials = Credentials::load(ledger, known, live.clone(), clock.clone())?;
        let first_admin_key =
            if config.dev { None } else { credentials.first_admin(&config.data_directory).await? };
        Ok(Self { authenticator, credentials: Arc::new(credentials), first_admin_key })
    }
}

/// What waits for MQTT subscribers.
fn backlog_gauges(backlog: eg_mqtt::Backlog, levels: &Levels) {
    let rows = [
        ("event_gateway_mqtt_subscriber_sessions", backlog.sessions),
        ("event_gateway_mqtt_subscriptions", backlog.subscriptions),
        ("event_gateway_mqtt_waiting_messages", backlog.messages),
        ("event_gateway_mqtt_waiting_bytes", backlog.bytes),
        ("event_gateway_mqtt_inflight_messages", backlog.inflight),
        ("event_gateway_mqtt_retained_messages", backlog.retained),
        ("event_gateway_mqtt_retained_bytes", backlog.retained_bytes),
    ];
    for (name, value) in rows {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        levels.set_gauge(name, &[("protocol", "mqtt")], value as f64);
    }
}

/// The numbers of the MQTT server.
fn mqtt_gauges(server: &MqttServer) -> Gauges {
    let server = server.clone();
    Box::new(move |levels| {
        let counters = server.counters();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let labels = [("protocol", "mqtt")];
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        let connections = read(&counters.connections) as f64;
        levels.set_gauge("event_gateway_connections", &labels, connections);
        backlog_gauges(server.backlog(), levels);
        let totals = [
            ("event_gateway_connections_refused_total", &counters.connections_refused),
            ("event_gateway_mqtt_reauthentications_total", &counters.reauthentications),
            ("event_gateway_mqtt_reading_paused_total", &counters.reading_paused),
            ("event_gateway_mqtt_messages_refused_total", &counters.messages_refused),
            ("event_gateway_mqtt_messages_dropped_total", &counters.messages_dropped),
            ("event_gateway_mqtt_deliveries_total", &counters.deliveries),
            (
                "event_gateway_mqtt_lifecycle_events_dropped_total",
                &counters.lifecycle_events_dropped,
            ),
            ("event_gateway_mqtt_subscriptions_refused_total", &counters.subscriptions_refused),
        ];
        for (name, counter) in totals {
            levels.set_counter(name, &labels, read(counter));
        }
        for (refusal, count) in counters.connects_refused.counts() {
            let labels = [("protocol", "mqtt"), ("reason", refusal.as_str())];
            levels.set_counter("event_gateway_mqtt_connects_refused_total", &labels, count);
        }
        for (reason, count) in counters.deliveries_dropped.counts() {
            let labels = [("protocol", "mqtt"), ("reason", reason.as_str())];
            levels.set_counter("event_gateway_mqtt_deliveries_dropped_total", &labels, count);
        }
        let by_operators = ("operator", read(&counters.connections_ended_by_operators));
        let ended = counters.connections_ended.counts();
        let ended = ended.map(|(reason, count)| (reason.as_str(), count));
        for (reason, count) in ended.chain([by_operators]) {
            let labels = [("protocol", "mqtt"), ("reason", reason)];
            levels.set_counter("event_gateway_mqtt_connections_ended_total", &labels, count);
        }
    })
}
