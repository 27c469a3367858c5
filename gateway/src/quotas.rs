//! What applications may send and hold: rates are kept here, what is stored is kept by the store.

#[cfg(test)]
mod facts;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use eg_event::{Clock, Quantity, Refusal, Submission, Tenant, Tenants, Timestamp};
use eg_storage::{Journal, Limit, Limits};

use crate::metrics::Levels;
use crate::specs::definition::ApplicationLimits;
use crate::specs::registry::Follow;
use crate::specs::snapshot::Snapshot;

/// Holds applications to their limits; clones share them.
#[derive(Clone)]
pub struct Quotas {
    journal: Journal,
    clock: Clock,
    rates: Arc<ArcSwap<Rates>>,
    tenants: Arc<ArcSwap<KnownTenants>>,
}

/// By the names of applications.
type Rates = HashMap<Box<str>, Arc<Rate>>;

/// By the same.
type KnownTenants = HashMap<Box<str>, Known>;

/// An application that is registered, or was when those came who still count for it.
#[derive(Clone)]
struct Known {
    tenant: Arc<Tenant>,
    is_registered: bool,
}

/// A bucket that fills with time, and from which each event takes one token.
#[derive(Debug)]
struct Rate {
    events_per_second: u32,
    burst_events: u32,
    /// How many tokens there were, and when.
    bucket: Mutex<(f64, Timestamp)>,
}

/// What may be sent now.
#[derive(Clone, Debug, PartialEq)]
struct Granted {
    events: usize,
    /// What stands against more.
    events_per_second: u32,
    /// When there will be another.
    retry_after: Duration,
}

impl Quotas {
    /// Nobody is limited yet. What is stored is limited in `journal`.
    #[must_use]
    pub fn new(journal: &Journal, clock: &Clock) -> Self {
        let (journal, clock) = (journal.clone(), clock.clone());
        Self { journal, clock, rates: Arc::default(), tenants: Arc::default() }
    }

    /// Takes out what is sent faster than its application may: each with its place in the list, in
    /// order. Of an application, nothing passes after what did not: a reader that comes again with
    /// the rest keeps the order.
    pub fn sift(&self, submissions: &mut Vec<Submission>) -> Vec<(usize, Refusal)> {
        let rates = self.rates.load();
        let mut refused = Vec::new();
        if rates.is_empty() {
            return refused;
        }
        let mut asked: HashMap<Box<str>, usize> = HashMap::new();
        for named in submissions.iter().filter_map(Submission::application) {
            if rates.contains_key(named) {
                *asked.entry(named.into()).or_default() += 1;
            }
        }
        let now = self.clock.now();
        let granted = asked.into_iter().filter_map(|(named, count)| {
            let granted = rates.get(&named)?.take(count, now);
            Some((named, granted))
        });
        let mut granted: HashMap<_, _> = granted.collect();
        let mut place = 0;
        submissions.retain(|submission| {
            place += 1;
            let named = submission.application();
            let Some(left) = named.and_then(|named| granted.get_mut(named)) else { return true };
            if left.events > 0 {
                left.events -= 1;
                return true;
            }
            let application = named.unwrap_or_default().into();
            let limit = format!("{} events per second", left.events_per_second).into();
            let retry_after = left.retry_after;
            refused.push((place - 1, Refusal::Quota { application, limit, retry_after }));
            false
        });
        refused
    }
}

impl Follow for Quotas {
    /// A rate that stays goes on where it was.
    fn prepare(&self, next: &Snapshot) -> Result<Box<dyn FnOnce() + Send>, Vec<String>> {
        let (old, now) = (self.rates.load(), self.clock.now());
        let applications = next.applications();
        let rates = applications.iter().filter_map(|application| {
            let name = application.name.as_str();
            Some((name.into(), Rate::of(&application.limits, old.get(name), now)?))
        });
        let rates = Arc::new(rates.collect());
        let (tenants, held) = self.tenants(next);
        let (limits, quotas) = (storage_limits(next), self.clone());
        Ok(Box::new(move || {
            for (tenant, limits) in held {
                hold(&tenant, &limits);
            }
            quotas.tenants.store(Arc::new(tenants));
            quotas.rates.store(rates);
            quotas.journal.limit(limits);
        }))
    }
}

impl Quotas {
    /// The applications, those that are known with what they have, and to which limits each is held.
    /// One that is registered no more has none, and is known for as long as somebody counts for it.
    fn tenants(&self, next: &Snapshot) -> (KnownTenants, Vec<(Arc<Tenant>, ApplicationLimits)>) {
        // Who connects meanwhile may count for one that was registered until now.
        let stays = |known: &Known| known.is_registered || Arc::strong_count(&known.tenant) > 1;
        let before = self.tenants.load();
        let departed = before.iter().filter(|(_, known)| stays(known)).map(|(name, known)| {
            let tenant = Arc::clone(&known.tenant);
            (name.clone(), Known { tenant, is_registered: false })
        });
        let mut tenants: KnownTenants = departed.collect();
        let mut held = Vec::new();
        for application in next.applications() {
            let name = application.name.as_str();
            let new = || Known { tenant: Tenant::new(name).into(), is_registered: false };
            let known = tenants.entry(name.into()).or_insert_with(new);
            known.is_registered = true;
            held.push((Arc::clone(&known.tenant), application.limits));
        }
        let departed = tenants.values().filter(|known| !known.is_registered);
        held.extend(
            departed.map(|known| (Arc::clone(&known.tenant), ApplicationLimits::default())),
        );
        (tenants, held)
    }
}

impl Tenants for Quotas {
    fn tenant(&self, name: &str) -> Option<Arc<Tenant>> {
        let tenants = self.tenants.load();
        let known = tenants.get(name).filter(|known| known.is_registered);
        known.map(|known| Arc::clone(&known.tenant))
    }
}

impl Quotas {
    /// Says what applications have of MQTT.
    pub fn measure(&self, levels: &Levels) {
        let rows = [
            ("event_gateway_mqtt_application_connections", Quantity::Connections),
            ("event_gateway_mqtt_application_subscriptions", Quantity::Subscriptions),
            ("event_gateway_mqtt_application_waiting_messages", Quantity::QueueMessages),
            ("event_gateway_mqtt_application_waiting_bytes", Quantity::QueueBytes),
            ("event_gateway_mqtt_application_inflight_messages", Quantity::InflightMessages),
        ];
        for Known { tenant, .. } in self.tenants.load().values().filter(|one| one.is_registered) {
            for (name, quantity) in rows {
                let labels = [("application", tenant.name())];
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                levels.set_gauge(name, &labels, tenant.used(quantity) as f64);
            }
        }
    }
}

/// Holds an application to its limits of MQTT from now on.
fn hold(tenant: &Tenant, limits: &ApplicationLimits) {
    tenant.limit(Quantity::Connections, limits.mqtt_connections.map(u64::from));
    tenant.limit(Quantity::Subscriptions, limits.mqtt_subscriptions.map(u64::from));
    tenant.limit(Quantity::QueueMessages, limits.mqtt_queue_messages);
    tenant.limit(Quantity::QueueBytes, limits.mqtt_queue_bytes);
    tenant.limit(Quantity::InflightMessages, limits.mqtt_inflight_messages.map(u64::from));
}

impl Rate {
    fn of(
        limits: &ApplicationLimits,
        known: Option<&Arc<Self>>,
        now: Timestamp,
    ) -> Option<Arc<Self>> {
        let events_per_second = limits.events_per_second?;
        let burst_events = limits.burst_events.unwrap_or(events_per_second);
        let is_same = |rate: &&Arc<Self>| {
            rate.events_per_second == events_per_second && rate.burst_events == burst_events
        };
        let bucket = Mutex::new((burst_events.into(), now));
        let new = || Arc::new(Self { events_per_second, burst_events, bucket });
        Some(known.filter(is_same).map_or_else(new, Arc::clone))
    }

    /// Takes a token for each of `count` events, or as many as there are.
    fn take(&self, count: usize, now: Timestamp) -> Granted {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, at) = *bucket;
        let rate = f64::from(self.events_per_second);
        let tokens = (tokens + now.since(at).as_secs_f64() * rate).min(self.burst_events.into());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few tokens")]
        let events = (tokens as usize).min(count);
        #[expect(clippy::cast_precision_loss, reason = "at most as many as tokens")]
        let tokens = tokens - events as f64;
        *bucket = (tokens, now.max(at));
        let retry_after = Duration::from_secs_f64((1.0 - tokens).max(0.0) / rate);
        Granted { events, events_per_second: self.events_per_second, retry_after }
    }
}

/// What the store keeps applications to.
fn storage_limits(snapshot: &Snapshot) -> Limits {
    let limit = |limits: &ApplicationLimits| Limit {
        retention: limits.retention_hours.map(|hours| Duration::from_hours(hours.into())),
        retention_bytes: limits.retention_bytes,
        quota_bytes: limits.quota_bytes,
    };
    let limited = snapshot.applications().into_iter().filter_map(|application| {
        let limit = limit(&application.limits);
        (limit != Limit::default()).then(|| (application.name.as_str().into(), limit))
    });
    limited.collect()
}
