//! The connections to buses: one for each subscription, made when it is needed, given up when it is
//! of no use any more.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eg_event::outbound::SecretText;
use eg_event::{Delivery, Subscription, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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

/// A connection to a bus.
pub(crate) trait Connection: Send + Sync {
    /// Publishes an event, and waits until the bus has confirmed that it keeps it.
    fn publish<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), PublishError>>;

    /// Asks the bus whether the topic can be published to, without publishing anything; gives back
    /// what was found, in words for an operator.
    #[expect(dead_code, reason = "no command asks yet")]
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
    /// When it ends; `None` if the provider does not say.
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
    subscription: Arc<Subscription>,
    connection: Arc<OnceCell<Arc<dyn Connection>>>,
    used_at: Instant,
}

impl Connections {
    pub(crate) fn new(around: Surroundings) -> Self {
        Self { held: Mutex::default(), around }
    }

    /// The connection for `subscription`, as it is defined now.
    pub(crate) async fn of(
        &self,
        subscription: &Arc<Subscription>,
    ) -> Result<Arc<dyn Connection>, PublishError> {
        let cell = self.cell(subscription);
        cell.get_or_try_init(|| connect(subscription, &self.around)).await.map(Arc::clone)
    }

    fn cell(&self, subscription: &Arc<Subscription>) -> Arc<OnceCell<Arc<dyn Connection>>> {
        let mut held = self.held();
        let fresh = || Held {
            subscription: Arc::clone(subscription),
            connection: Arc::default(),
            used_at: Instant::now(),
        };
        if !held.contains_key(&subscription.name) {
            held.insert(subscription.name.clone(), fresh());
        }
        let Some(one) = held.get_mut(&subscription.name) else { return Arc::default() };
        if !leads_to_the_same(&one.subscription, subscription) {
            *one = fresh();
        }
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

    /// Closes what nothing has been sent over for a while.
    pub(crate) fn close_idle(&self) {
        self.held().retain(|_, one| one.used_at.elapsed() < IDLE);
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what was connected for one subscription is of use for the other.
fn leads_to_the_same(one: &Arc<Subscription>, other: &Arc<Subscription>) -> bool {
    Arc::ptr_eq(one, other)
        || (one.endpoint == other.endpoint && one.bus == other.bus && one.auth == other.auth)
}
