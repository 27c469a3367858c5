//! Whether the gateway is well, and its metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eg_storage::{Health as StoreHealth, Journal};

use crate::dispatch::Dispatch;
use crate::metrics::{Levels, Metrics};

/// A part that says how it stands when the metrics are read.
pub type Gauges = Box<dyn Fn(&Levels) + Send + Sync>;

/// Whether the gateway is well.
pub struct Health {
    journal: Journal,
    dispatch: Arc<Dispatch>,
    metrics: Arc<Metrics>,
    gauges: Vec<Gauges>,
    stopping: AtomicBool,
}

impl Health {
    /// Looks at the given parts; `gauges` are the protocols' own.
    #[must_use]
    pub fn new(
        journal: Journal,
        dispatch: Arc<Dispatch>,
        metrics: Arc<Metrics>,
        gauges: Vec<Gauges>,
    ) -> Self {
        Self { journal, dispatch, metrics, gauges, stopping: AtomicBool::new(false) }
    }

    /// The gateway is shutting down: it is no longer ready, so that nobody new is sent to it.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether events are taken, or why not. Never asks anyone outside.
    pub fn ready(&self) -> Result<(), String> {
        if self.stopping.load(Ordering::Acquire) {
            return Err("shutting down".to_owned());
        }
        match &*self.journal.follow_health().borrow() {
            StoreHealth::Writable => Ok(()),
            StoreHealth::Refusing(reason) => Err(reason.clone()),
        }
    }

    /// All metrics, brought up to date.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub async fn render_metrics(&self) -> String {
        let levels = Levels::default();
        let journal = self.journal.clone();
        if let Ok(Ok(usage)) = tokio::task::spawn_blocking(move || journal.usage()).await {
            let numbers = [
                ("event_gateway_journal_first_sequence", usage.first.0),
                ("event_gateway_journal_next_sequence", usage.end.0),
                ("event_gateway_journal_bytes", usage.bytes),
                ("event_gateway_journal_files", usage.files as u64),
                ("event_gateway_intake_events", usage.intake_events as u64),
            ];
            for (name, value) in numbers {
                levels.set_gauge(name, &[], value as f64);
            }
        }
        let routed = self.dispatch.routed();
        levels.set_gauge("event_gateway_routed_sequence", &[], routed.0 as f64);
        let writable = if self.ready().is_ok() { 1.0 } else { 0.0 };
        levels.set_gauge("event_gateway_writable", &[], writable);
        levels.set_counter("event_gateway_attempts_unlogged_total", &[], self.dispatch.unlogged());
        levels.subscriptions(&self.dispatch);
        self.gauges.iter().for_each(|gauges| gauges(&levels));
        self.metrics.render(&levels)
    }
}
