//! Subscriptions and event activations are made and changed together: checked, written down at
//! once, and seen at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use eg_event::{Sequence, Subscription, Timestamp};
use eg_storage::{Changes, Ledger};

use super::condition::{Conditions, Obstacles};
use super::lane::Lane;
use super::registry::{Position, RegistryError};
use super::{Definition, Dispatch, Registered, document, tail};
use crate::activation::{Activated, Edits, EventActivation, Validator};

/// What the documents of activations are called in the ledger.
const ACTIVATION_KIND: &str = "event-activation";
/// Where the next number is kept.
const NEXT_NUMBER: &str = "next_subscription";
/// The most subscriptions there may be.
const SUBSCRIPTIONS_MAX: usize = 20_000;
/// The most event activations there may be.
const ACTIVATIONS_MAX: usize = 20_000;

/// What there is to be; each is made, or changed if it is there.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Subscriptions, each once, and where those begin that are made.
    pub subscriptions: Vec<(Subscription, Position)>,
    /// Event activations, each once.
    pub activations: Vec<EventActivation>,
}

/// What is written down in the same step, and seen just before.
pub struct Beside<'a> {
    /// What is written down.
    pub changes: Changes,
    /// Makes it seen; called once it is durable.
    pub switch: Box<dyn FnOnce() + Send + 'a>,
}

/// What becomes of something that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect<T> {
    /// It is made.
    Created,
    /// It is changed from this.
    Updated(T),
    /// It is as it is wanted.
    Unchanged,
}

/// What becomes of everything that is wanted, in its order.
#[derive(Clone, Debug)]
pub struct Effects {
    /// Of the subscriptions.
    pub subscriptions: Vec<Effect<Arc<Subscription>>>,
    /// Of the activations.
    pub activations: Vec<Effect<Arc<EventActivation>>>,
}

/// Reads all event activations.
pub(super) fn load(ledger: &Ledger) -> Result<Validator, RegistryError> {
    let mut edits = Edits::new();
    for (key, document) in ledger.documents(ACTIVATION_KIND)? {
        match serde_json::from_slice(&document) {
            Ok(activated) => drop(edits.insert(key, Some(activated))),
            Err(error) => {
                tracing::error!(%error, key, "an event activation cannot be read and is left out");
            }
        }
    }
    let mut validator = Validator::default();
    validator.edit(edits);
    Ok(validator)
}

/// A subscription that is to be written down and then switched to.
struct Switch {
    /// `None`: it is made.
    old: Option<Arc<Registered>>,
    definition: Definition,
    is_activated: bool,
    refused_target: Option<String>,
    /// Of one that is made.
    lane: Option<Lane>,
}

impl Dispatch {
    /// Makes a subscription. It covers the events from `start` on.
    pub async fn create(
        self: &Arc<Self>,
        subscription: Subscription,
        start: Position,
    ) -> Result<Arc<Registered>, RegistryError> {
        let mut routing = self.routing.lock().await;
        let key = subscription.key().into_owned();
        if self.get(&key).is_some() {
            return Err(RegistryError::NotUnique("a subscription", key));
        }
        let subscriptions = vec![(subscription, start)];
        self.change(&mut routing, Wanted { subscriptions, ..Wanted::default() }, None).await?;
        self.expect(&key)
    }

    /// Changes a subscription. Where it stands stays as it is: what was routed to it before is
    /// still delivered, and the new filters hold from the next event on.
    pub async fn update(
        self: &Arc<Self>,
        subscription: Subscription,
    ) -> Result<Arc<Registered>, RegistryError> {
        let mut routing = self.routing.lock().await;
        let registered = self.expect(&subscription.key())?;
        let subscriptions = vec![(subscription, Position::Now)];
        self.change(&mut routing, Wanted { subscriptions, ..Wanted::default() }, None).await?;
        Ok(registered)
    }

    /// Makes an event activation; what it activates is delivered from now on.
    pub async fn create_activation(
        self: &Arc<Self>,
        activation: EventActivation,
    ) -> Result<Activated, RegistryError> {
        let mut routing = self.routing.lock().await;
        let key = activation.key();
        if self.activation(&key).is_some() {
            return Err(RegistryError::NotUnique("an event activation", key));
        }
        self.put_activation(&mut routing, activation).await
    }

    /// Changes an event activation, and with it what is activated.
    pub async fn update_activation(
        self: &Arc<Self>,
        activation: EventActivation,
    ) -> Result<Activated, RegistryError> {
        let mut routing = self.routing.lock().await;
        self.expect_activation(&activation.key())?;
        self.put_activation(&mut routing, activation).await
    }

    /// Removes an event activation. Once this completes, no attempt is begun for what nothing else
    /// activates; its events wait.
    pub async fn delete_activation(
        self: &Arc<Self>,
        key: &str,
    ) -> Result<Activated, RegistryError> {
        let mut routing = self.routing.lock().await;
        let removed = self.expect_activation(key)?;
        let edits = Edits::from([(key.to_owned(), None)]);
        self.switch(&mut routing, Vec::new(), edits, None).await?;
        Ok(removed)
    }

    /// Makes everything as it is `wanted`, with what is `beside`, or changes nothing; `is_dry_run`
    /// only says what would be done.
    pub async fn establish(
        self: &Arc<Self>,
        wanted: Wanted,
        beside: Option<Beside<'_>>,
        is_dry_run: bool,
    ) -> Result<Effects, RegistryError> {
        let mut routing = self.routing.lock().await;
        if is_dry_run {
            return self.plan(&wanted);
        }
        self.change(&mut routing, wanted, beside).await
    }

    async fn put_activation(
        self: &Arc<Self>,
        routing: &mut Sequence,
        activation: EventActivation,
    ) -> Result<Activated, RegistryError> {
        let key = activation.key();
        let activations = vec![activation];
        self.change(routing, Wanted { activations, ..Wanted::default() }, None).await?;
        self.expect_activation(&key)
    }

    fn expect_activation(&self, key: &str) -> Result<Activated, RegistryError> {
        let not_found = || RegistryError::NotFound("event activation", key.to_owned());
        self.activation(key).ok_or_else(not_found)
    }

    /// What would become of everything that is wanted.
    fn plan(&self, wanted: &Wanted) -> Result<Effects, RegistryError> {
        let subscriptions = wanted.subscriptions.iter().map(|(subscription, _)| {
            subscription.check()?;
            let old = self.get(&subscription.key());
            let old = old.map(|old| Arc::clone(&old.definition().subscription));
            Ok(effect(subscription, old))
        });
        let activations = wanted.activations.iter().map(|activation| {
            activation.check()?;
            let old = self.activation(&activation.key()).map(|old| old.activation);
            Ok(effect(activation, old))
        });
        let effects = Effects {
            subscriptions: subscriptions.collect::<Result<_, RegistryError>>()?,
            activations: activations.collect::<Result<_, RegistryError>>()?,
        };
        let made = count_created(&effects.subscriptions);
        if made > 0 && self.count() + made > SUBSCRIPTIONS_MAX {
            return Err(RegistryError::TooMany("subscriptions", SUBSCRIPTIONS_MAX));
        }
        let made = count_created(&effects.activations);
        if made > 0 && self.validator().activations().len() + made > ACTIVATIONS_MAX {
            return Err(RegistryError::TooMany("event activations", ACTIVATIONS_MAX));
        }
        Ok(effects)
    }

    fn count(&self) -> usize {
        self.registered.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    async fn change(
        self: &Arc<Self>,
        routing: &mut Sequence,
        wanted: Wanted,
        beside: Option<Beside<'_>>,
    ) -> Result<Effects, RegistryError> {
        let effects = self.plan(&wanted)?;
        let now = self.outlets.clock.now();
        let activations = wanted.activations.into_iter().zip(&effects.activations);
        let edits = activations.filter(|(_, effect)| **effect != Effect::Unchanged);
        let edits = edits.map(|(activation, _)| {
            let key = activation.key();
            let created_at = self.activation(&key).map_or(now, |old| old.created_at);
            let activation = Arc::new(activation);
            (key, Some(Activated { activation, created_at, updated_at: now }))
        });
        let edits = edits.collect();
        let subscriptions = wanted.subscriptions.into_iter().zip(&effects.subscriptions);
        let changed = subscriptions.filter(|(_, effect)| **effect != Effect::Unchanged);
        let changed = changed.map(|(wanted, _)| wanted).collect();
        self.switch(routing, changed, edits, beside).await?;
        Ok(effects)
    }

    /// Writes down what changes, then switches to it.
    async fn switch(
        self: &Arc<Self>,
        routing: &mut Sequence,
        subscriptions: Vec<(Subscription, Position)>,
        edits: Edits,
        beside: Option<Beside<'_>>,
    ) -> Result<(), RegistryError> {
        if subscriptions.is_empty() && edits.is_empty() && beside.is_none() {
            return Ok(());
        }
        let now = self.outlets.clock.now();
        let mut asked = Changes::default();
        let mut switches = Vec::with_capacity(subscriptions.len());
        let first_number = self.outlets.ledger.number(NEXT_NUMBER)?.unwrap_or(1);
        let mut next_number = first_number;
        let is_any_changed = subscriptions.iter().any(|(one, _)| self.get(&one.key()).is_some());
        // What has been accepted is routed as it was promised, before anything is looked at.
        if is_any_changed && !tail::catch_up(self, routing).await {
            return Err(RegistryError::Unreadable);
        }
        for (subscription, start) in subscriptions {
            if let Some(old) = self.get(&subscription.key()) {
                switches.push(self.changed(*routing, old, subscription));
            } else {
                let begins = self.resolve(start).await?;
                switches.push(self.made(next_number, subscription, begins, *routing));
                next_number += 1;
            }
        }
        if next_number > first_number {
            asked.put_number(NEXT_NUMBER, next_number);
        }
        self.foresee(&edits, &mut switches, now);
        for switch in &mut switches {
            document::put(&mut asked, &switch.definition, &self.outlets.keys)?;
            if let Some(lane) = &mut switch.lane {
                lane.save(&mut asked);
            }
        }
        for (key, edit) in &edits {
            match edit {
                Some(new) => asked.put_document(ACTIVATION_KIND, key, serde_json::to_vec(new)?),
                None => asked.remove_document(ACTIVATION_KIND, key),
            }
        }
        let seen = beside.map(|Beside { changes, switch }| {
            asked.append(changes);
            switch
        });
        // What was routed to those that change stays so after a restart.
        let keep = |unsaved: &mut Changes| {
            for old in switches.iter().filter_map(|switch| switch.old.as_ref()) {
                old.lane().save(unsaved);
            }
        };
        self.persist(keep, asked).await?;
        if let Some(seen) = seen {
            seen();
        }
        self.validator().edit(edits);
        self.take_over(switches, now);
        Ok(())
    }

    /// A subscription that is there and is to be another.
    fn changed(
        &self,
        routing: Sequence,
        old: Arc<Registered>,
        subscription: Subscription,
    ) -> Switch {
        old.lane().routed_to(routing);
        let refused_target = self.refused_target(&subscription);
        let (subscription, updated_at) = (Arc::new(subscription), self.outlets.clock.now());
        let definition = Definition { subscription, updated_at, ..(*old.definition()).clone() };
        Switch { old: Some(old), definition, is_activated: true, refused_target, lane: None }
    }

    /// A subscription that is to be made.
    fn made(
        &self,
        number: u64,
        subscription: Subscription,
        begins: Sequence,
        routing: Sequence,
    ) -> Switch {
        let now = self.outlets.clock.now();
        // What comes before the tailer's place is read again for this subscription alone; from
        // there on, or from its beginning if that is later, the tailer routes to it.
        let lane = Some(Lane::starting(number, begins, begins.max(routing)));
        let refused_target = self.refused_target(&subscription);
        let definition = Definition {
            number,
            subscription: Arc::new(subscription),
            created_at: now,
            updated_at: now,
            begins,
            paused: None,
            conditions: None,
        };
        Switch { old: None, definition, is_activated: true, refused_target, lane }
    }

    fn refused_target(&self, subscription: &Subscription) -> Option<String> {
        self.outlets.sink.check_target(subscription).err().map(|why| why.to_string())
    }

    /// Adds those that `edits` concern, and to all what their conditions will be.
    fn foresee(&self, edits: &Edits, switches: &mut Vec<Switch>, now: Timestamp) {
        let validator = self.validator();
        let outlook = validator.outlook(edits);
        let known: BTreeSet<_> = switches
            .iter()
            .map(|switch| switch.definition.subscription.key().into_owned())
            .collect();
        let concerned = outlook.switched().into_iter().filter(|key| !known.contains(key));
        for old in concerned.filter_map(|key| self.get(&key)) {
            let definition = Definition::clone(&old.definition());
            let refused_target = old.standing().refused_target.clone();
            let (old, is_activated, lane) = (Some(old), true, None);
            switches.push(Switch { old, definition, is_activated, refused_target, lane });
        }
        for switch in switches {
            switch.is_activated = outlook.is_activated(&switch.definition.subscription);
            switch.definition.conditions = Some(switch.conditions(now));
        }
    }

    /// Everybody sees from now on what has been written down.
    fn take_over(self: &Arc<Self>, switches: Vec<Switch>, now: Timestamp) {
        let (mut made, mut is_reindexed) = (BTreeMap::new(), false);
        for switch in switches {
            let subscription = Arc::clone(&switch.definition.subscription);
            let old = switch.old.as_ref().map(|old| Arc::clone(&old.definition().subscription));
            is_reindexed |= old.as_ref() != Some(&subscription);
            self.validator().govern(&subscription, old.as_deref());
            let registered = switch.take_over(now);
            if old.is_none() {
                made.insert(subscription.key().into_owned(), registered);
            } else {
                registered.wake.notify_one();
            }
        }
        let started: Vec<_> = made.values().map(Arc::clone).collect();
        self.registered.write().unwrap_or_else(PoisonError::into_inner).append(&mut made);
        if is_reindexed {
            self.reindex();
        }
        for registered in started {
            self.start_lane(registered);
        }
    }
}

impl Switch {
    /// What its conditions are once it is switched to.
    fn conditions(&self, now: Timestamp) -> Conditions {
        let (before, obstacles) = match &self.old {
            Some(old) => {
                let obstacles = old.lane().obstacles();
                (old.standing().conditions, obstacles)
            }
            None => (Conditions::clear(now), Obstacles::default()),
        };
        let (not_activated, refused_target) = (!self.is_activated, self.refused_target.is_some());
        before.observed(Obstacles { not_activated, refused_target, ..obstacles }, now)
    }

    fn take_over(self, now: Timestamp) -> Arc<Registered> {
        let Some(old) = self.old else {
            let mut lane = self.lane.unwrap_or_default();
            lane.activate(self.is_activated);
            return Registered::new(self.definition, lane, self.refused_target);
        };
        old.define(self.definition);
        old.standing().refused_target = self.refused_target;
        let mut lane = old.lane();
        lane.activate(self.is_activated);
        old.observe(&lane, now);
        drop(lane);
        old
    }
}

fn effect<T: PartialEq>(wanted: &T, old: Option<Arc<T>>) -> Effect<Arc<T>> {
    match old {
        None => Effect::Created,
        Some(old) if *old == *wanted => Effect::Unchanged,
        Some(old) => Effect::Updated(old),
    }
}

fn count_created<T: PartialEq>(effects: &[Effect<T>]) -> usize {
    effects.iter().filter(|effect| **effect == Effect::Created).count()
}
