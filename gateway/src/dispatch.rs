//! The whole way out: what the journal holds is routed to the subscriptions that it concerns,
//! attempted, and settled.
//!
//! [`tail`] reads each event once and hands references to lanes; [`deliver`] drives one lane;
//! [`settle`] decides what an outcome means; [`checkpoint`] writes down where everything stands.

pub mod backlog;
pub mod backoff;
pub mod change;
pub mod checkpoint;
pub mod condition;
pub mod deliver;
mod document;
#[cfg(test)]
mod facts;
pub mod lane;
pub mod probe;
pub mod registry;
pub mod release;
pub mod settle;
pub mod tail;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;
use eg_event::{
    Clock, CloudEvent, Ingested, Origin, Receipt, Refusal, Sequence, Sink, Subscription, Timestamp,
};
use eg_storage::{Changes, Journal, Ledger, StoreError};
use futures_util::future::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::checkpoint::AttemptLog;
use self::condition::{Conditions, Obstacles};
use self::lane::Lane;
use self::registry::RegistryError;
use crate::activation::{Activated, Validator};
use crate::matching::MatchIndex;
use crate::quarantine::{Quarantine, QuarantineConfig};
use crate::secrets::Keys;

/// How many subscriptions may read old parts of the journal at once.
const RESCANS_MAX: usize = 2;

/// What the way out works with.
#[derive(Clone)]
pub struct Outlets {
    /// Where events are.
    pub journal: Journal,
    /// Where it is written down who has what.
    pub ledger: Ledger,
    /// How events leave.
    pub sink: Arc<dyn Sink>,
    /// What secrets are sealed under.
    pub keys: Arc<Keys>,
    /// How much may be in quarantine.
    pub quarantine: QuarantineConfig,
    /// What time it is.
    pub clock: Clock,
}

/// The way out. Shared by the tasks that deliver and the management API.
pub struct Dispatch {
    pub(crate) outlets: Outlets,
    quarantine: Arc<Quarantine>,
    /// The subscriptions by key.
    registered: RwLock<BTreeMap<String, Arc<Registered>>>,
    /// The event activations; changed while `routing` is held.
    validator: Mutex<Validator>,
    index: ArcSwap<MatchIndex<Arc<Registered>>>,
    /// The next event to route. Held while a batch is routed, so that whoever changes the
    /// subscriptions knows which events the change concerns.
    routing: tokio::sync::Mutex<Sequence>,
    /// The same, for who only looks.
    routed: AtomicU64,
    log: AttemptLog,
    /// What could not be written down yet, ahead of what is written next.
    unsaved: Arc<tokio::sync::Mutex<Changes>>,
    rescans: Semaphore,
    tasks: TaskTracker,
    /// No more attempts are begun.
    stop: CancellationToken,
    /// Attempts that are under way are given up.
    abort: CancellationToken,
}

/// A subscription, and where it stands.
pub struct Registered {
    definition: RwLock<Arc<Definition>>,
    lane: Mutex<Lane>,
    /// Taken after `lane`, when both are.
    standing: Mutex<Standing>,
    /// What has become of its state is about to be written down.
    noting: AtomicBool,
    wake: Notify,
    removed: CancellationToken,
}

/// What is known of a subscription beside its lane.
#[derive(Clone, Debug)]
struct Standing {
    conditions: Conditions,
    /// Why nothing may be sent to its endpoint.
    refused_target: Option<String>,
}

/// What is kept of a subscription in the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// A number that no other subscription ever has.
    pub number: u64,
    /// What was asked for.
    pub subscription: Arc<Subscription>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// The first event that it covers.
    pub begins: Sequence,
    /// Why no attempts are made, if so.
    pub paused: Option<String>,
    /// Its conditions as they were written down last; earlier versions wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
}

impl Registered {
    fn new(definition: Definition, lane: Lane, refused_target: Option<String>) -> Arc<Self> {
        let conditions =
            definition.conditions.unwrap_or_else(|| Conditions::clear(definition.updated_at));
        Arc::new(Self {
            definition: RwLock::new(Arc::new(definition)),
            lane: Mutex::new(lane),
            standing: Mutex::new(Standing { conditions, refused_target }),
            noting: AtomicBool::new(false),
            wake: Notify::new(),
            removed: CancellationToken::new(),
        })
    }

    /// What was asked for.
    #[must_use]
    pub fn definition(&self) -> Arc<Definition> {
        Arc::clone(&self.definition.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn define(&self, definition: Definition) {
        let mut slot = self.definition.write().unwrap_or_else(PoisonError::into_inner);
        *slot = Arc::new(definition);
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands in the way of deliveries.
    fn obstacles(&self, lane: &Lane) -> Obstacles {
        let refused_target = self.standing().refused_target.is_some();
        Obstacles { refused_target, ..lane.obstacles() }
    }

    /// Notes what has become of its conditions by what was done to `lane`, which is its own; says
    /// whether one has turned.
    fn observe(&self, lane: &Lane, now: Timestamp) -> bool {
        let obstacles = self.obstacles(lane);
        let mut standing = self.standing();
        let observed = standing.conditions.observed(obstacles, now);
        let has_turned = observed != standing.conditions;
        standing.conditions = observed;
        has_turned
    }

    /// Where it stands.
    pub fn lane(&self) -> MutexGuard<'_, Lane> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dispatch {
    /// Reads the subscriptions and where they stand from the ledger.
    pub fn recover(outlets: Outlets) -> Result<Arc<Self>, RegistryError> {
        let (registered, validator) = registry::load(&outlets)?;
        let routed = outlets.ledger.routed()?;
        let (ledger, end) = (&outlets.ledger, outlets.journal.end());
        let quarantine = Arc::new(Quarantine::recover(outlets.quarantine, ledger, end)?);
        let dispatch = Self {
            outlets,
            quarantine,
            registered: RwLock::new(registered),
            validator: Mutex::new(validator),
            index: ArcSwap::default(),
            routing: tokio::sync::Mutex::new(routed),
            routed: AtomicU64::new(routed.0),
            log: AttemptLog::default(),
            unsaved: Arc::default(),
            rescans: Semaphore::new(RESCANS_MAX),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
        };
        dispatch.reindex();
        Ok(Arc::new(dispatch))
    }

    /// Starts to deliver.
    pub fn start(self: &Arc<Self>) {
        for registered in self.all() {
            self.start_lane(registered);
        }
        self.tasks.spawn(tail::run(Arc::clone(self)));
        self.tasks.spawn(checkpoint::run(Arc::clone(self)));
        self.tasks.spawn(release::run(Arc::clone(self)));
    }

    fn start_lane(self: &Arc<Self>, registered: Arc<Registered>) {
        self.tasks.spawn(deliver::run(Arc::clone(self), registered));
    }

    /// Begins no more attempts, waits for those under way until `deadline` completes, and writes
    /// down where everything stands.
    pub async fn stop(&self, deadline: impl Future<Output = ()>) -> Result<(), StoreError> {
        self.stop.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = deadline => {
                self.abort.cancel();
                self.tasks.wait().await;
            }
        }
        self.checkpoint().await
    }

    /// How many subscriptions an event that came by `origin` concerns now.
    #[must_use]
    pub fn count_matching(&self, event: &CloudEvent, origin: &Origin) -> u32 {
        u32::try_from(self.index.load().concerned(event, origin).count()).unwrap_or(u32::MAX)
    }

    /// The events that are in quarantine.
    #[must_use]
    pub fn quarantine(&self) -> &Arc<Quarantine> {
        &self.quarantine
    }

    /// Routes what is in the journal now: whoever was told that an event is in quarantine finds it
    /// there.
    pub(crate) async fn catch_up(&self) {
        let mut position = self.routing.lock().await;
        if !tail::catch_up(self, &mut position).await {
            tracing::warn!("the journal cannot be read to its end at present");
        }
    }

    /// Does something to its end, whether or not anybody waits for it.
    pub fn see_to(
        &self,
        work: impl Future<Output = Vec<Result<Receipt, Refusal>>> + Send + 'static,
    ) -> Ingested {
        let work = self.tasks.spawn(work);
        async move { work.await.unwrap_or_default() }.boxed()
    }

    /// Everything before this has been routed.
    pub fn routed(&self) -> Sequence {
        Sequence(self.routed.load(Ordering::Acquire))
    }

    /// How many attempts could not be logged.
    #[must_use]
    pub fn unlogged(&self) -> u64 {
        self.log.left_out()
    }

    /// The event activation that is known by `key`.
    #[must_use]
    pub fn activation(&self, key: &str) -> Option<Activated> {
        self.validator().activations().get(key).cloned()
    }

    /// The event activations in the order of their keys.
    #[must_use]
    pub fn activations(&self) -> Vec<Activated> {
        self.validator().activations().values().cloned().collect()
    }

    fn validator(&self) -> MutexGuard<'_, Validator> {
        self.validator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subscriptions in the order of their keys.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Registered>> {
        let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner);
        registered.values().map(Arc::clone).collect()
    }

    /// The subscription that is known by `name`, which is its [key](Subscription::key).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Registered>> {
        let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner);
        registered.get(name).map(Arc::clone)
    }

    fn reindex(&self) {
        let entries = self
            .all()
            .into_iter()
            .map(|registered| ((*registered.definition().subscription).clone(), registered));
        self.index.store(Arc::new(MatchIndex::new(entries.collect())));
    }
}
