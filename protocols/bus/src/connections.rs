//! The connections to buses: one for each subscription, made when it is needed, given up when it is
//! of no use any more.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use eg_event::outbound::{Auth, SecretText};
use eg_event::subscription::BusTopic;
use eg_event::{Clock, Delivery, Subscription, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[cfg(feature = "amqp")]
use crate::amqp::Amqp;
#[cfg(feature = "amqp10")]
use crate::amqp10::Amqp10;
use crate::error::PublishError;
#[cfg(feature = "kafka")]
use crate::kafka::Kafka;
#[cfg(feature = "mqtt")]
use crate::mqtt::Mqtt;
#[cfg(feature = "nats")]
use crate::nats::Nats;
use crate::target::{Bus, Target};

/// How long a connection that nothing is sent over is kept.
const IDLE: Duration = Duration::from_mins(2);
/// How long after a failure nobody tries again to connect.
const PAUSE: Duration = Duration::from_millis(200);

/// A connection to a bus.
pub(crate) trait Connection: Send + Sync {
    /// Publishes an event, and waits until the bus has confirmed that it keeps it.
    fn publish<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), PublishError>>;

    /// Asks the bus whether the topic can be published to, without publishing anything; gives back
    /// what was found, in words for an operator.
    fn examine(&self) -> BoxFuture<'_, Result<String, PublishError>> {
        let found = "connected; the bus does not say beforehand what may be published";
        std::future::ready(Ok(found.to_owned())).boxed()
    }
}

/// Gets the access token of a subscription whose credential is OAuth2 client credentials: kept, and
/// renewed before it ends. Says why there is none.
pub trait Tokens: Send + Sync {
    /// The token.
    fn token<'a>(&'a self, subscription: &'a Subscription) -> BoxFuture<'a, Result<Token, String>>;
}

/// An access token.
#[derive(Clone)]
pub struct Token {
    /// The token.
    pub secret: SecretText,
    /// Until when it is to be used, which is somewhat before it ends; `None` if nothing is known
    /// to end it.
    pub expires_at: Option<Timestamp>,
}

/// Says why an address may not be connected to, if it may not.
pub type AddressCheck = Arc<dyn Fn(IpAddr) -> Result<(), String> + Send + Sync>;

/// What connections are made with.
#[derive(Clone)]
pub struct Surroundings {
    /// What they have their tasks on.
    pub tracker: TaskTracker,
    /// Ends them; to be cancelled after the last delivery.
    pub stop: CancellationToken,
    /// Where they may lead.
    pub check_address: AddressCheck,
    /// Where access tokens come from.
    pub tokens: Arc<dyn Tokens>,
    /// What tells when they end.
    pub clock: Clock,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Surroundings")
    }
}

impl Surroundings {
    /// The addresses of a host, all of which may be connected to. Whoever connects takes these and
    /// does not ask again: a name that changes its mind gains nothing.
    pub(crate) async fn addresses(
        &self,
        (host, port): &(String, u16),
    ) -> Result<Vec<SocketAddr>, PublishError> {
        let not_connected = |why: String| PublishError::NotConnected(format!("{host}: {why}"));
        let found = tokio::net::lookup_host((&**host, *port)).await;
        let found: Vec<_> = found.map_err(|error| not_connected(error.to_string()))?.collect();
        for address in &found {
            (self.check_address)(address.ip()).map_err(not_connected)?;
        }
        Ok(found)
    }
}

/// Connects to where a subscription's events go.
pub(crate) async fn connect(
    subscription: &Subscription,
    around: &Surroundings,
) -> Result<Arc<dyn Connection>, PublishError> {
    let target = Target::of(subscription);
    let target = target.map_err(|error| PublishError::NotConnected(error.to_string()))?;
    match target.bus {
        #[cfg(feature = "amqp")]
        Bus::Amqp => Ok(Arc::new(Amqp::connect(target, subscription, around).await?)),
        #[cfg(feature = "amqp10")]
        Bus::Amqp10 => Ok(Arc::new(Amqp10::connect(target, subscription, around).await?)),
        #[cfg(feature = "kafka")]
        Bus::Kafka => Ok(Arc::new(Kafka::connect(target, subscription, around).await?)),
        #[cfg(feature = "mqtt")]
        Bus::Mqtt => Ok(Arc::new(Mqtt::connect(target, subscription, around).await?)),
        #[cfg(feature = "nats")]
        Bus::Nats => Ok(Arc::new(Nats::connect(target, subscription, around).await?)),
        bus => Err(PublishError::NotConnected(format!("{bus} is not part of this program"))),
    }
}

/// The connections that there are, by the name of the subscription.
pub(crate) struct Connections {
    held: Mutex<HashMap<String, Held>>,
    around: Surroundings,
}

struct Held {
    /// The definition; nobody holds it any more when it was changed or removed.
    subscription: Weak<Subscription>,
    /// What of it the connection is made by.
    made_by: MadeBy,
    connection: Arc<OnceCell<Arc<dyn Connection>>>,
    failed: Option<(Instant, PublishError)>,
    used_at: Instant,
}

#[derive(PartialEq)]
struct MadeBy {
    endpoint: String,
    bus: Option<BusTopic>,
    auth: Option<Arc<Auth>>,
}

impl Connections {
    pub(crate) fn new(around: Surroundings) -> Self {
        Self { held: Mutex::default(), around }
    }

    /// The connection for `subscription`, as it is defined now. Who asks shortly after a failure is
    /// told of that one.
    pub(crate) async fn of(
        &self,
        subscription: &Arc<Subscription>,
    ) -> Result<Arc<dyn Connection>, PublishError> {
        let cell = self.cell(subscription);
        let connect = async || {
            if let Some(error) = self.failed(&subscription.name) {
                return Err(error);
            }
            let connected = connect(subscription, &self.around).await;
            connected.inspect_err(|error| self.note(&subscription.name, error))
        };
        cell.get_or_try_init(connect).await.map(Arc::clone)
    }

    fn failed(&self, name: &str) -> Option<PublishError> {
        let held = self.held();
        let (at, error) = held.get(name)?.failed.as_ref()?;
        (at.elapsed() < PAUSE).then(|| error.clone())
    }

    fn note(&self, name: &str, error: &PublishError) {
        if let Some(one) = self.held().get_mut(name) {
            one.failed = Some((Instant::now(), error.clone()));
        }
    }

    fn cell(&self, subscription: &Arc<Subscription>) -> Arc<OnceCell<Arc<dyn Connection>>> {
        let mut held = self.held();
        let is_known = |one: &mut Held| one.leads_where(subscription);
        if !held.get_mut(&subscription.name).is_some_and(is_known) {
            held.insert(subscription.name.clone(), Held::new(subscription));
        }
        let Some(one) = held.get_mut(&subscription.name) else { return Arc::default() };
        one.used_at = Instant::now();
        Arc::clone(&one.connection)
    }

    /// Gives up a connection that is of no use any more; the next event makes another.
    pub(crate) fn give_up(&self, name: &str, lost: &Arc<dyn Connection>) {
        let mut held = self.held();
        let is_it = |one: &Held| one.connection.get().is_some_and(|one| Arc::ptr_eq(one, lost));
        if held.get(name).is_some_and(is_it) {
            held.remove(name);
        }
    }

    /// Closes what nothing has been sent over for a while, and what no definition leads to.
    pub(crate) fn close_idle(&self) {
        self.held()
            .retain(|_, one| one.used_at.elapsed() < IDLE && one.subscription.strong_count() > 0);
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn new(subscription: &Arc<Subscription>) -> Self {
        Self {
            subscription: Arc::downgrade(subscription),
            made_by: MadeBy::of(subscription),
            connection: Arc::default(),
            failed: None,
            used_at: Instant::now(),
        }
    }

    /// Whether what was connected is of use for `subscription`, which it then belongs to.
    fn leads_where(&mut self, subscription: &Arc<Subscription>) -> bool {
        if self.subscription.as_ptr() == Arc::as_ptr(subscription) {
            return true;
        }
        self.subscription = Arc::downgrade(subscription);
        self.made_by == MadeBy::of(subscription)
    }
}

impl MadeBy {
    fn of(subscription: &Subscription) -> Self {
        let Subscription { endpoint, bus, auth, .. } = subscription;
        Self { endpoint: endpoint.clone(), bus: bus.clone(), auth: auth.clone() }
    }
}
