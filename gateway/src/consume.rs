//! The way in from buses: every external subscription whose direction is `consume` is read, and
//! what comes is handed over like any other event. A message is settled on its bus only after the
//! gateway has it for good, or never will.

mod reader;
pub mod standing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eg_bus::Surroundings;
use eg_event::{Channels, Clock, Ingest, Subscription};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::reader::Reader;
use self::standing::Standing;
use crate::metrics::{Levels, Metrics};
use crate::specs::registry::Follow;
use crate::specs::snapshot::Snapshot;

/// What readers work with.
#[derive(Clone)]
pub struct Ports {
    /// Where events are handed over.
    pub ingest: Arc<dyn Ingest>,
    /// What is declared of payloads without attributes.
    pub channels: Arc<dyn Channels>,
    /// What connections to buses are made with.
    pub around: Surroundings,
    /// Where it is counted what became of messages.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Clock,
}

/// A topic that is to be read, for an application.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    application: String,
    subscription: Arc<Subscription>,
}

/// By the names of subscriptions.
type All<T> = BTreeMap<String, T>;

/// The topics that are read; clones share them.
#[derive(Clone)]
pub struct Consumers {
    wanted: watch::Sender<Arc<All<Wanted>>>,
    standings: Arc<Mutex<All<Arc<Standing>>>>,
}

impl Default for Consumers {
    fn default() -> Self {
        Self { wanted: watch::Sender::new(Arc::default()), standings: Arc::default() }
    }
}

/// A reader that has been started.
struct Running {
    wanted: Wanted,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Consumers {
    /// How the subscription called `name` stands, if it is read.
    #[must_use]
    pub fn standing(&self, name: &str) -> Option<Arc<Standing>> {
        self.standings().get(name).map(Arc::clone)
    }

    /// Takes the numbers of all readers.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub fn measure(&self, levels: &Levels) {
        for (name, standing) in &*self.standings() {
            let labels = [("subscription", &**name), ("bus", standing.bus())];
            let view = standing.view();
            let is_reading = f64::from(u8::from(view.is_reading()));
            levels.set_gauge("event_gateway_bus_reading", &labels, is_reading);
            if let Some(lag) = view.lag {
                levels.set_gauge("event_gateway_bus_lag_messages", &labels, lag as f64);
            }
        }
    }

    /// Reads what is to be read, until `stop`. Readers are on `tracker`.
    pub async fn run(self, ports: Ports, tracker: TaskTracker, stop: CancellationToken) {
        let mut changes = self.wanted.subscribe();
        let mut running: All<Running> = All::new();
        loop {
            let wanted = Arc::clone(&changes.borrow_and_update());
            let mut before = All::new();
            for (name, one) in std::mem::take(&mut running) {
                if wanted.get(&name) == Some(&one.wanted) {
                    running.insert(name, one);
                } else {
                    one.stop.cancel();
                    before.insert(name, one.ended);
                }
            }
            for (name, one) in &*wanted {
                if !running.contains_key(name) {
                    let started = self.start(one, before.remove(name), (&ports, &tracker, &stop));
                    running.insert(name.clone(), started);
                }
            }
            self.standings().retain(|name, _| wanted.contains_key(name));
            match stop.run_until_cancelled(changes.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    /// Starts a reader, once the one before it has ended: two would disturb each other.
    fn start(
        &self,
        wanted: &Wanted,
        before: Option<JoinHandle<()>>,
        (ports, tracker, stop): (&Ports, &TaskTracker, &CancellationToken),
    ) -> Running {
        let stop = stop.child_token();
        let name = &wanted.subscription.name;
        let standing = Arc::new(Standing::of(&wanted.subscription));
        self.standings().insert(name.clone(), Arc::clone(&standing));
        let subscription = Arc::clone(&wanted.subscription);
        let reader = Reader::new(&wanted.application, subscription, ports.clone(), standing);
        let stopped = stop.clone();
        let ended = tracker.spawn(async move {
            if let Some(before) = before {
                // One that failed has ended, too.
                drop(before.await);
            }
            reader.run(&stopped).await;
        });
        Running { wanted: wanted.clone(), stop, ended }
    }

    fn standings(&self) -> MutexGuard<'_, All<Arc<Standing>>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follow for Consumers {
    fn prepare(&self, next: &Snapshot) -> Result<Box<dyn FnOnce() + Send>, Vec<String>> {
        let wanted = next.consumed().map(|(application, subscription)| {
            let subscription = Arc::new(subscription.clone());
            let application = application.to_owned();
            (subscription.name.clone(), Wanted { application, subscription })
        });
        let (wanted, switch) = (Arc::new(wanted.collect()), self.wanted.clone());
        Ok(Box::new(move || drop(switch.send_replace(wanted))))
    }
}
