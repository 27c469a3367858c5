//! How the reading of a topic stands.

use std::sync::{Mutex, MutexGuard, PoisonError};

use eg_bus::Bus;
use eg_event::{Subscription, Timestamp};

/// How the reading of a topic stands; kept by its reader, looked at by everyone.
#[derive(Debug)]
pub struct Standing {
    bus: &'static str,
    view: Mutex<View>,
}

/// How it stands at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// How far it has come.
    pub progress: Progress,
    /// Why what was received last is held, if it is.
    pub waits: Option<String>,
    /// How many messages wait on the bus, as far as it says.
    pub lag: Option<u64>,
    /// How many messages became events.
    pub taken: u64,
    /// How many were events that are known already.
    pub duplicates: u64,
    /// How many were refused.
    pub refused: u64,
    /// The latest of those.
    pub last_refusal: Option<LastRefusal>,
}

/// How far a reader has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// It connects.
    #[default]
    Connecting,
    /// It reads.
    Reading,
    /// It does not, and will try again; why.
    Failed(String),
}

/// A message that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRefusal {
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl View {
    /// Whether the topic is read.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.progress == Progress::Reading
    }

    /// How many messages were settled.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.taken + self.duplicates + self.refused
    }

    /// In words, what stands in the way, if anything does.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        match (&self.progress, &self.waits) {
            (Progress::Connecting, _) => Some("connecting".to_owned()),
            (Progress::Failed(why), _) => Some(why.clone()),
            (Progress::Reading, Some(why)) => Some(format!("waits: {why}")),
            (Progress::Reading, None) => None,
        }
    }
}

impl Standing {
    /// Nothing was read yet of the topic of `subscription`.
    #[must_use]
    pub fn of(subscription: &Subscription) -> Self {
        let scheme = subscription.endpoint.split(':').next().unwrap_or_default();
        let bus = Bus::of_scheme(scheme).map_or("", |(bus, ..)| bus.word());
        Self { bus, view: Mutex::default() }
    }

    /// The word for the bus.
    #[must_use]
    pub fn bus(&self) -> &'static str {
        self.bus
    }

    /// How it stands now.
    #[must_use]
    pub fn view(&self) -> View {
        self.now().clone()
    }

    pub(super) fn now(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
