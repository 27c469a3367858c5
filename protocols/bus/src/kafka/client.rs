//! What producers and consumers have in common: how they are configured, and whether the cluster can
//! be reached.

use std::collections::HashSet;
use std::error::Error;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eg_event::outbound::Credential;
use eg_event::{Clock, Subscription};
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::metadata::{Metadata, MetadataBroker};
use rdkafka::statistics::Statistics;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::explain;
use crate::connections::{Surroundings, Token};
use crate::error::PublishError;
use crate::target::Target;

/// How long brokers may take to say what there is.
const REACH_MAX: Duration = Duration::from_secs(5);
/// How long they may take each time they are asked.
const REACH_EACH: Duration = Duration::from_secs(1);
/// How long the answer that they cannot be reached holds.
const UNREACHED_HOLDS: Duration = Duration::from_secs(1);
/// The longest pause before a connection is tried again.
const RECONNECT_MAX_MS: u32 = 2_000;
/// How long the end of the program waits until a client has taken its leave.
const LEAVE_MAX: Duration = Duration::from_secs(3);
/// For how long a token counts whose provider does not say.
const TOKEN_LIFE: Duration = Duration::from_mins(5);
/// How soon another token is asked for when there was none, and at the earliest anyway.
const TOKEN_AGAIN: Duration = Duration::from_secs(5);

/// How it stands with the connections to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Unknown,
    Up,
    Down,
}

/// What the client of Kafka tells, from threads of its own.
#[derive(Clone)]
pub(super) struct Context(Arc<Told>);

struct Told {
    condition: watch::Sender<Condition>,
    /// What was said last about a connection.
    complaint: Mutex<Option<String>>,
    /// The brokers whose addresses were checked, as `host:port`.
    checked: Mutex<HashSet<String>>,
    token: Mutex<Result<Token, String>>,
    clock: Clock,
    /// How many messages wait that have not been read.
    lag: Mutex<Option<u64>>,
    _renewing: Option<DropGuard>,
}

impl Context {
    fn condition(&self) -> Condition {
        *self.0.condition.borrow()
    }

    fn become_(&self, condition: Condition) {
        if condition == Condition::Up {
            *held(&self.0.complaint) = None;
        }
        self.0.condition.send_replace(condition);
    }

    /// What was said last about a connection, with what is to be mended.
    fn complaint(&self) -> Option<String> {
        held(&self.0.complaint).as_deref().map(explain::complaint_of)
    }

    pub(super) fn lag(&self) -> Option<u64> {
        *held(&self.0.lag)
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "the client of Kafka says");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if explain::code(&error) == Code::AllBrokersDown {
            self.become_(Condition::Down);
        } else {
            *held(&self.0.complaint) = Some(reason.to_owned());
        }
    }

    fn stats(&self, statistics: Statistics) {
        let found = statistics.brokers.values().filter(|one| one.nodeid >= 0);
        let checked = held(&self.0.checked);
        if self.condition() == Condition::Up
            && !found.map(|one| &one.nodename).all(|one| checked.contains(one))
        {
            self.become_(Condition::Unknown);
        }
        drop(checked);
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let lags = partitions.filter_map(|one| u64::try_from(one.consumer_lag).ok());
        *held(&self.0.lag) = lags.fold(None, |sum, lag| Some(sum.unwrap_or(0) + lag));
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let token = held(&self.0.token).clone()?;
        let now = self.0.clock.now();
        let ends = token.expires_at.unwrap_or_else(|| now.after(TOKEN_LIFE));
        Ok(OAuthToken {
            token: token.secret.expose().to_owned(),
            principal_name: "event-gateway".to_owned(),
            lifetime_ms: i64::try_from(ends.as_micros() / 1_000)?,
        })
    }
}

impl ConsumerContext for Context {}

/// A configuration for `target`, with what its client tells.
pub(super) async fn configure(
    target: &Target,
    subscription: &Subscription,
    around: &Surroundings,
) -> Result<(ClientConfig, Context), PublishError> {
    let mut config = ClientConfig::new();
    let client_id = target.attributes.get("clientId").map(str::to_owned);
    let credential = subscription.auth.as_ref().and_then(|auth| auth.credential.as_ref());
    let protocol = match (target.tls, credential.is_some()) {
        (false, false) => "plaintext",
        (false, true) => "sasl_plaintext",
        (true, false) => "ssl",
        (true, true) => "sasl_ssl",
    };
    config
        .set("bootstrap.servers", servers(target, around).await?)
        .set(
            "client.id",
            client_id.unwrap_or_else(|| format!("event-gateway-{}", subscription.name)),
        )
        .set("security.protocol", protocol)
        .set("reconnect.backoff.max.ms", RECONNECT_MAX_MS.to_string())
        .set_log_level(RDKafkaLogLevel::Warning);
    if target.tls {
        match target.attributes.get("caCertificates") {
            Some(authorities) => config.set("ssl.ca.pem", authorities),
            None => config.set("ssl.ca.location", "probe"),
        };
        if let Some(identity) =
            subscription.auth.as_ref().and_then(|auth| auth.certificate.as_ref())
        {
            config.set("ssl.certificate.pem", &identity.certificate_chain);
            config.set("ssl.key.pem", identity.private_key.expose());
        }
    }
    let mut token = Err("no OAuth2 credential is configured".to_owned());
    match credential {
        Some(Credential::Basic { username, password }) => {
            let mechanism = target.attributes.get("authentication").unwrap_or("PLAIN");
            config.set("sasl.mechanism", mechanism);
            config.set("sasl.username", username).set("sasl.password", password.expose());
        }
        Some(Credential::OAuth(_)) => {
            config.set("sasl.mechanism", "OAUTHBEARER");
            let first = around.tokens.token(subscription).await;
            token = Ok(first.map_err(PublishError::NotConnected)?);
        }
        None => {}
    }
    let renewed = token.is_ok().then(CancellationToken::new);
    let context = Context(Arc::new(Told {
        condition: watch::Sender::new(Condition::Unknown),
        complaint: Mutex::default(),
        checked: Mutex::default(),
        token: Mutex::new(token),
        clock: around.clock.clone(),
        lag: Mutex::default(),
        _renewing: renewed.clone().map(CancellationToken::drop_guard),
    }));
    if let Some(ended) = renewed {
        renew_token(&context, subscription, around, ended);
    }
    Ok((config, context))
}

/// Where to connect to first: the addresses that were checked; over TLS by name, which the
/// certificate has to prove.
async fn servers(target: &Target, around: &Surroundings) -> Result<String, PublishError> {
    let mut servers = Vec::new();
    for host in &target.hosts {
        let addresses = around.addresses(host).await?;
        let (name, port) = host;
        match (target.tls, name.contains(':')) {
            (true, false) => servers.push(format!("{name}:{port}")),
            (true, true) => servers.push(format!("[{name}]:{port}")),
            (false, _) => servers.extend(addresses.iter().map(ToString::to_string)),
        }
    }
    Ok(servers.join(","))
}

/// Keeps the token fresh: the client of Kafka takes another at four fifths of its life, from a thread
/// that must not wait.
fn renew_token(
    context: &Context,
    subscription: &Subscription,
    around: &Surroundings,
    ended: CancellationToken,
) {
    let told = Arc::downgrade(&context.0);
    let (subscription, around) = (subscription.clone(), around.clone());
    let (tracker, stop) = (around.tracker.clone(), around.stop.clone());
    tracker.spawn(async move {
        let renewing = async {
            while let Some(held_by) = told.upgrade() {
                let pause = match &*held(&held_by.token) {
                    Ok(Token { expires_at: Some(ends), .. }) => {
                        ends.since(around.clock.now()) * 3 / 4
                    }
                    Ok(_) => TOKEN_LIFE * 3 / 4,
                    Err(_) => TOKEN_AGAIN,
                };
                drop(held_by);
                tokio::time::sleep(pause.max(TOKEN_AGAIN)).await;
                let fresh = around.tokens.token(&subscription).await;
                if let Some(held_by) = told.upgrade() {
                    *held(&held_by.token) = fresh;
                }
            }
        };
        stop.run_until_cancelled(ended.run_until_cancelled(renewing)).await;
    });
}

/// What brokers said of themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// How many there are.
    pub(super) brokers: usize,
    /// How many partitions the topic has that was asked for, or what is wrong with it.
    pub(super) topic: Option<Result<usize, String>>,
}

/// The cluster as one client sees it.
pub(super) struct Cluster {
    context: Context,
    around: Surroundings,
    answer: tokio::sync::Mutex<Option<Answer>>,
}

struct Answer {
    given_at: Instant,
    reached: Result<Reached, PublishError>,
}

impl Cluster {
    pub(super) fn new(context: Context, around: Surroundings) -> Self {
        Self { context, around, answer: tokio::sync::Mutex::default() }
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// Whether brokers were reached, and nothing was heard since that they cannot be.
    pub(super) fn is_up(&self) -> bool {
        self.context.condition() == Condition::Up
    }

    /// Notes that a broker has confirmed something.
    pub(super) fn delivered(&self) {
        if self.context.condition() == Condition::Down {
            self.context.become_(Condition::Up);
        }
    }

    /// Asks brokers by `ask`, which may block, what there is. One asks at a time, for all who wait.
    pub(super) async fn reach<A>(
        &self,
        topic: Option<&str>,
        ask: A,
    ) -> Result<Reached, PublishError>
    where
        A: Fn(Duration) -> KafkaResult<Metadata> + Send + 'static,
    {
        let mut answer = self.answer.lock().await;
        if let Some(Answer { given_at, reached }) = &*answer {
            let holds = given_at.elapsed() < UNREACHED_HOLDS;
            if holds && (reached.is_err() || self.is_up()) {
                return reached.clone();
            }
            // It is not told again that brokers are down which were.
            self.context.become_(Condition::Unknown);
        }
        let reached = self.ask(topic, ask).await;
        if reached.is_ok() {
            self.context.become_(Condition::Up);
        }
        *answer = Some(Answer { given_at: Instant::now(), reached: reached.clone() });
        reached
    }

    async fn ask<A>(&self, topic: Option<&str>, ask: A) -> Result<Reached, PublishError>
    where
        A: Fn(Duration) -> KafkaResult<Metadata> + Send + 'static,
    {
        let mut condition = self.context.0.condition.subscribe();
        let given_up = CancellationToken::new();
        let _guard = given_up.clone().drop_guard();
        let asked = tokio::task::spawn_blocking(move || {
            let began_at = Instant::now();
            loop {
                let answer = ask(REACH_EACH);
                let is_late = began_at.elapsed() >= REACH_MAX || given_up.is_cancelled();
                if answer.is_ok() || is_late {
                    return answer;
                }
            }
        });
        let metadata = tokio::select! {
            asked = asked => match asked {
                Ok(Ok(metadata)) => metadata,
                Ok(Err(error)) => return Err(self.not_connected(Some(&error))),
                Err(error) => return Err(PublishError::NotConnected(error.to_string())),
            },
            _ = condition.wait_for(|now| *now == Condition::Down) => {
                return Err(self.not_connected(None));
            }
        };
        let found = metadata.topics().iter().find(|found| Some(found.name()) == topic);
        let topic = found.map(|found| match found.error() {
            None => Ok(found.partitions().len()),
            Some(error) => Err(explain::of(error.into(), found.name(), None)),
        });
        let address = |broker: &MetadataBroker| {
            (broker.host().to_owned(), u16::try_from(broker.port()).unwrap_or_default())
        };
        let brokers: Vec<_> = metadata.brokers().iter().map(address).collect();
        drop(metadata);
        for broker in &brokers {
            self.around.addresses(broker).await?;
        }
        let checked = brokers.iter().map(|(host, port)| format!("{host}:{port}"));
        *held(&self.context.0.checked) = checked.collect();
        Ok(Reached { brokers: brokers.len(), topic })
    }

    fn not_connected(&self, error: Option<&KafkaError>) -> PublishError {
        let said = self.context.complaint();
        PublishError::NotConnected(said.unwrap_or_else(|| explain::silence(error)))
    }

    /// Words for what went wrong with `topic`.
    pub(super) fn explain(&self, error: &KafkaError, topic: &str) -> PublishError {
        let code = explain::code(error);
        let said = explain::of(code, topic, held(&self.context.0.complaint).as_deref());
        match code {
            Code::Fatal => PublishError::Lost(said),
            _ => PublishError::NotConfirmed(said),
        }
    }
}

/// A client of Kafka. Dropped, it takes its leave, and waits for brokers, without end if there are
/// none any more: on a thread of its own.
pub(super) struct Parting<T: Send + 'static>(Option<(T, oneshot::Sender<()>)>);

impl<T: Send + 'static> Parting<T> {
    /// Lets the end of the program wait for the leave of `client`, but not for long.
    pub(super) fn new(client: T, around: &Surroundings) -> Arc<Self> {
        let (done, mut left) = oneshot::channel();
        let stop = around.stop.clone();
        around.tracker.spawn(async move {
            if stop.run_until_cancelled(&mut left).await.is_none() {
                drop(tokio::time::timeout(LEAVE_MAX, left).await);
            }
        });
        Arc::new(Self(Some((client, done))))
    }
}

impl<T: Send + 'static> Deref for Parting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some((client, _)) => client,
            None => unreachable!("it is there until it is dropped"),
        }
    }
}

impl<T: Send + 'static> Drop for Parting<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        std::thread::spawn(move || drop(client));
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
