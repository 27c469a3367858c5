//! The subscriptions: made, changed and removed while events flow, without losing one.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, atomic};
use std::time::Duration;

use eg_event::subscription::Ordering;
use eg_event::{InvalidInput, Sequence, Timestamp};
use eg_storage::{Changes, DeadLetter, StoreError};

use super::condition::Obstacles;
use super::document::{self, KIND, Unread};
use super::lane::Lane;
use super::{Definition, Dispatch, Outlets, Registered, change};
use crate::activation::{Edits, Validator};
use crate::secrets::SecretError;

/// How long the state of a subscription may be ahead of what is written down of it.
const NOTE_INTERVAL: Duration = Duration::from_millis(250);

/// Where a subscription begins, or is moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The next event.
    Now,
    /// The first event that is still there.
    Earliest,
    /// This event.
    Sequence(Sequence),
    /// The first event received at this instant or later.
    Time(Timestamp),
}

/// A subscription could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A field breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// There is one of that name.
    #[error("there is already {0} called {1:?}")]
    NotUnique(&'static str, String),
    /// There is none of that name.
    #[error("there is no {0} called {1:?}")]
    NotFound(&'static str, String),
    /// There are as many as there may be.
    #[error("there are {1} {0}, which is the limit")]
    TooMany(&'static str, usize),
    /// The change could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the change does not concern could not be read.
    #[error("the journal cannot be read at present; nothing was changed")]
    Unreadable,
    /// Its secrets could not be sealed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The change could not be encoded.
    #[error("the subscription cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
}

/// Reads all event activations, and all subscriptions and where they stand. Secrets that are not sealed under the current key
/// are sealed anew; one that cannot be opened keeps everything as it is.
pub(super) fn load(
    outlets: &Outlets,
) -> Result<(BTreeMap<String, Arc<Registered>>, Validator), RegistryError> {
    let (ledger, keys) = (&outlets.ledger, &*outlets.keys);
    let mut validator = change::load(ledger)?;
    let mut registered = BTreeMap::new();
    let (mut rewritten, mut count) = (Changes::default(), 0);
    for (name, document) in ledger.documents(KIND)? {
        let definition = match document::read(&name, &document, keys) {
            Ok(found) => {
                if found.is_outdated {
                    document::put(&mut rewritten, &found.definition, keys)?;
                    count += 1;
                }
                found.definition
            }
            Err(Unread::Secret(error)) => return Err(error.into()),
            Err(Unread::Unfit(error)) => {
                tracing::error!(%error, name, "a subscription cannot be read and is left out");
                continue;
            }
        };
        let one = recovered(outlets, definition, &validator)?;
        let conditions = Some(one.standing().conditions);
        let written = Definition::clone(&one.definition());
        if written.conditions.is_some() && written.conditions != conditions {
            let definition = Definition { conditions, ..written };
            document::put(&mut rewritten, &definition, keys)?;
            one.define(definition);
        }
        validator.govern(&one.definition().subscription, None);
        registered.insert(name, one);
    }
    if !rewritten.is_empty() {
        ledger.apply(&rewritten)?;
    }
    if count > 0 {
        tracing::info!(count, "secrets of subscriptions were sealed under the current key");
    }
    Ok((registered, validator))
}

/// A subscription as it stood when the gateway ended.
fn recovered(
    outlets: &Outlets,
    definition: Definition,
    validator: &Validator,
) -> Result<Arc<Registered>, RegistryError> {
    let ledger = &outlets.ledger;
    let dead_letters = ledger.dead_letter_sequences(definition.number)?.into_iter().collect();
    let found = ledger.outstanding(definition.number)?;
    let in_order = definition.subscription.ordering == Ordering::Key;
    let mut lane = Lane::recovered(definition.number, found, dead_letters, in_order);
    if let Some(reason) = &definition.paused {
        lane.pause(reason.clone());
    }
    let subscription = &definition.subscription;
    lane.activate(validator.outlook(&Edits::new()).is_activated(subscription));
    let refused_target = outlets.sink.check_target(subscription).err();
    let was_ready = definition.conditions.is_none_or(|conditions| conditions.ready.holds);
    if !was_ready && refused_target.is_none() && lane.obstacles() == Obstacles::default() {
        lane.presume_down();
    }
    let registered = Registered::new(definition, lane, refused_target.map(|why| why.to_string()));
    registered.observe(&registered.lane(), outlets.clock.now());
    Ok(registered)
}

impl Dispatch {
    /// Removes a subscription with everything that it has outstanding, its dead letters too.
    pub async fn delete(&self, name: &str) -> Result<Arc<Registered>, RegistryError> {
        let _routing = self.routing.lock().await;
        let registered = self.expect(name)?;
        self.registered.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.validator().release(&registered.definition().subscription);
        self.reindex();
        registered.removed.cancel();
        let mut changes = Changes::default();
        changes.remove_document(KIND, name);
        changes.remove_subscription(registered.definition().number);
        self.persist(|unsaved| unsaved.append(changes), Changes::default()).await?;
        Ok(registered)
    }

    /// Makes no more attempts for a subscription; its events wait.
    pub async fn pause(&self, name: &str, reason: &str) -> Result<Arc<Registered>, RegistryError> {
        let registered = self.expect(name)?;
        self.turn(&registered, |lane| lane.pause(reason.to_owned()));
        self.note(&registered).await?;
        Ok(registered)
    }

    /// Goes on with a subscription that was paused.
    pub async fn resume(&self, name: &str) -> Result<Arc<Registered>, RegistryError> {
        let registered = self.expect(name)?;
        self.turn(&registered, Lane::resume);
        registered.wake.notify_one();
        self.note(&registered).await?;
        Ok(registered)
    }

    /// Pauses the lane at once, and writes that down soon.
    pub(super) fn pause_lane(self: &Arc<Self>, registered: &Arc<Registered>, reason: String) {
        self.turn(registered, |lane| lane.pause(reason));
        self.note_soon(registered);
    }

    /// Does something to a lane that may turn a condition.
    fn turn(&self, registered: &Registered, change: impl FnOnce(&mut Lane)) {
        let mut lane = registered.lane();
        change(&mut lane);
        registered.observe(&lane, self.outlets.clock.now());
    }

    /// Writes down soon what has become of a subscription's state, once for all that happens until
    /// then.
    pub(super) fn note_soon(self: &Arc<Self>, registered: &Arc<Registered>) {
        if registered.noting.swap(true, atomic::Ordering::AcqRel) {
            return;
        }
        let (dispatch, registered) = (Arc::clone(self), Arc::clone(registered));
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(NOTE_INTERVAL) => {}
                () = dispatch.stop.cancelled() => {}
            }
            registered.noting.store(false, atomic::Ordering::Release);
            if let Err(error) = dispatch.note(&registered).await {
                tracing::error!(%error, "the state of a subscription could not be written down");
            }
        });
    }

    /// Writes down whether the lane is paused, and its conditions, as they are once nobody else
    /// changes the subscription.
    async fn note(&self, registered: &Registered) -> Result<(), RegistryError> {
        let _routing = self.routing.lock().await;
        if registered.removed.is_cancelled() {
            return Ok(());
        }
        let paused = registered.lane().paused().map(str::to_owned);
        let conditions = Some(registered.standing().conditions);
        let definition = Definition { paused, conditions, ..(*registered.definition()).clone() };
        let mut asked = Changes::default();
        document::put(&mut asked, &definition, &self.outlets.keys)?;
        self.persist(|_| (), asked).await?;
        registered.define(definition);
        Ok(())
    }

    /// Moves a subscription to `position`: matching events from there on are delivered (again).
    pub async fn rewind(
        &self,
        name: &str,
        position: Position,
    ) -> Result<Arc<Registered>, RegistryError> {
        let routing = self.routing.lock().await;
        let registered = self.expect(name)?;
        let to = self.resolve(position).await?;
        let mut changes = Changes::default();
        let old = registered.definition();
        let definition = Definition { begins: old.begins.min(to), ..(*old).clone() };
        document::put(&mut changes, &definition, &self.outlets.keys)?;
        let rewind = |unsaved: &mut Changes| {
            let mut lane = registered.lane();
            lane.rewind(to, *routing);
            lane.save(unsaved);
            unsaved.append(changes);
            registered.define(definition);
            registered.wake.notify_one();
        };
        self.persist(rewind, Changes::default()).await?;
        Ok(registered)
    }

    /// Puts dead letters back into delivery; says how many there were.
    pub async fn requeue(&self, name: &str, ids: &[Sequence]) -> Result<u32, RegistryError> {
        let registered = self.expect(name)?;
        self.checkpoint().await?;
        let letters = self.read_letters(registered.definition().number, ids.to_vec()).await?;
        let now = self.outlets.clock.now();
        let count = {
            let mut lane = registered.lane();
            letters.into_iter().map(|letter| lane.requeue(letter, now)).filter(|done| *done).count()
        };
        registered.wake.notify_one();
        self.checkpoint().await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Removes dead letters for good; says how many there were.
    pub async fn purge(&self, name: &str, ids: &[Sequence]) -> Result<u32, RegistryError> {
        let registered = self.expect(name)?;
        let count = {
            let mut lane = registered.lane();
            ids.iter().filter(|sequence| lane.purge(**sequence)).count()
        };
        self.checkpoint().await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Delivers one event of the journal (again), whether it matches or not.
    pub async fn replay(&self, name: &str, sequence: Sequence) -> Result<(), RegistryError> {
        let registered = self.expect(name)?;
        registered.lane().replay(sequence, self.outlets.clock.now());
        registered.wake.notify_one();
        self.checkpoint().await?;
        Ok(())
    }

    async fn read_letters(
        &self,
        number: u64,
        ids: Vec<Sequence>,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let ledger = self.outlets.ledger.clone();
        let read = move || {
            let letters = ids.iter().map(|id| ledger.dead_letter(number, *id));
            letters.filter_map(Result::transpose).collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(StoreError::Closed))
    }

    /// The sequence that a position stands for now.
    pub(super) async fn resolve(&self, position: Position) -> Result<Sequence, StoreError> {
        let journal = self.outlets.journal.clone();
        let read = move || {
            let usage = journal.usage()?;
            Ok(match position {
                Position::Now => usage.end,
                Position::Earliest => usage.first,
                Position::Sequence(sequence) => sequence.clamp(usage.first, usage.end),
                Position::Time(at) => journal.first_since(at)?,
            })
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(StoreError::Closed))
    }

    pub(super) fn expect(&self, name: &str) -> Result<Arc<Registered>, RegistryError> {
        self.get(name).ok_or_else(|| RegistryError::NotFound("subscription", name.to_owned()))
    }
}
