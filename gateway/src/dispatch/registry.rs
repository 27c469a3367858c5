//! The subscriptions: made, changed and removed while events flow, without losing one.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use eg_event::subscription::Ordering;
use eg_event::{InvalidInput, Sequence, Subscription, Timestamp};
use eg_storage::{Changes, DeadLetter, Ledger, StoreError};

use super::document::{self, KIND, Unread};
use super::lane::Lane;
use super::{Definition, Dispatch, Registered, tail};
use crate::secrets::{Keys, SecretError};

/// Where the next number is kept.
const NEXT_NUMBER: &str = "next_subscription";
/// The most subscriptions there may be.
const SUBSCRIPTIONS_MAX: usize = 20_000;

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
    #[error("there is already a subscription called {0:?}")]
    NotUnique(String),
    /// There is none of that name.
    #[error("there is no subscription called {0:?}")]
    NotFound(String),
    /// There are as many as there may be.
    #[error("there are {SUBSCRIPTIONS_MAX} subscriptions, which is the limit")]
    TooMany,
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

/// Reads all subscriptions and where they stand. Secrets that are not sealed under the current key
/// are sealed anew; one that cannot be opened keeps everything as it is.
pub(super) fn load(
    ledger: &Ledger,
    keys: &Keys,
) -> Result<BTreeMap<String, Arc<Registered>>, RegistryError> {
    let mut registered = BTreeMap::new();
    let (mut sealed_anew, mut count) = (Changes::default(), 0);
    for (name, document) in ledger.documents(KIND)? {
        let definition = match document::read(&name, &document, keys) {
            Ok(found) => {
                if found.is_outdated {
                    document::put(&mut sealed_anew, &found.definition, keys)?;
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
        let dead_letters = ledger.dead_letter_sequences(definition.number)?.into_iter().collect();
        let found = ledger.outstanding(definition.number)?;
        let in_order = definition.subscription.ordering == Ordering::Key;
        let mut lane = Lane::recovered(definition.number, found, dead_letters, in_order);
        if let Some(reason) = &definition.paused {
            lane.pause(reason.clone());
        }
        registered.insert(name, Registered::new(definition, lane));
    }
    if count > 0 {
        ledger.apply(&sealed_anew)?;
        tracing::info!(count, "secrets of subscriptions were sealed under the current key");
    }
    Ok(registered)
}

impl Dispatch {
    /// Makes a subscription. It covers the events from `start` on.
    pub async fn create(
        self: &Arc<Self>,
        subscription: Subscription,
        start: Position,
    ) -> Result<Arc<Registered>, RegistryError> {
        subscription.check()?;
        let routing = self.routing.lock().await;
        let name = subscription.name.clone();
        if self.get(&name).is_some() {
            return Err(RegistryError::NotUnique(name));
        }
        if self.all().len() >= SUBSCRIPTIONS_MAX {
            return Err(RegistryError::TooMany);
        }
        let now = self.outlets.clock.now();
        let begins = self.resolve(start).await?;
        let number = self.outlets.ledger.number(NEXT_NUMBER)?.unwrap_or(1);
        let definition = Definition {
            number,
            subscription: Arc::new(subscription),
            created_at: now,
            updated_at: now,
            begins,
            paused: None,
        };
        // What comes before the tailer's place is read again for this subscription alone; from
        // there on, or from its beginning if that is later, the tailer routes to it.
        let mut lane = Lane::starting(number, begins, begins.max(*routing));
        let mut changes = Changes::default();
        changes.put_number(NEXT_NUMBER, number + 1);
        document::put(&mut changes, &definition, &self.outlets.keys)?;
        lane.save(&mut changes);
        self.persist(Changes::default(), changes).await?;
        let registered = Registered::new(definition, lane);
        self.insert(name, Arc::clone(&registered));
        self.start_lane(Arc::clone(&registered));
        drop(routing);
        Ok(registered)
    }

    /// Changes a subscription. Where it stands stays as it is: what was routed to it before is
    /// still delivered, and the new filters hold from the next event on.
    pub async fn update(
        &self,
        subscription: Subscription,
    ) -> Result<Arc<Registered>, RegistryError> {
        subscription.check()?;
        let mut routing = self.routing.lock().await;
        let registered = self.expect(&subscription.name)?;
        // What has been accepted is routed as it was promised; and it stays so after a restart.
        if !tail::catch_up(self, &mut routing).await {
            return Err(RegistryError::Unreadable);
        }
        let mut kept = Changes::default();
        {
            let mut lane = registered.lane();
            lane.routed_to(*routing);
            lane.save(&mut kept);
        }
        let updated_at = self.outlets.clock.now();
        let subscription = Arc::new(subscription);
        let old = registered.definition();
        let definition = Definition { subscription, updated_at, ..(*old).clone() };
        self.redefine(&registered, definition, kept).await?;
        self.reindex();
        registered.wake.notify_one();
        Ok(registered)
    }

    /// Removes a subscription with everything that it has outstanding, its dead letters too.
    pub async fn delete(&self, name: &str) -> Result<Arc<Registered>, RegistryError> {
        let _routing = self.routing.lock().await;
        let registered = self.expect(name)?;
        self.registered.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.reindex();
        registered.removed.cancel();
        let mut changes = Changes::default();
        changes.remove_document(KIND, name);
        changes.remove_subscription(registered.definition().number);
        self.persist(changes, Changes::default()).await?;
        Ok(registered)
    }

    /// Makes no more attempts for a subscription; its events wait.
    pub async fn pause(&self, name: &str, reason: &str) -> Result<Arc<Registered>, RegistryError> {
        let registered = self.expect(name)?;
        registered.lane().pause(reason.to_owned());
        self.note_pause(&registered).await?;
        Ok(registered)
    }

    /// Goes on with a subscription that was paused.
    pub async fn resume(&self, name: &str) -> Result<Arc<Registered>, RegistryError> {
        let registered = self.expect(name)?;
        registered.lane().resume();
        self.note_pause(&registered).await?;
        registered.wake.notify_one();
        Ok(registered)
    }

    /// Pauses the lane at once, and writes that down soon.
    pub(super) fn pause_lane(self: &Arc<Self>, registered: &Arc<Registered>, reason: String) {
        registered.lane().pause(reason);
        let (dispatch, registered) = (Arc::clone(self), Arc::clone(registered));
        self.tasks.spawn(async move {
            if let Err(error) = dispatch.note_pause(&registered).await {
                tracing::error!(%error, "a pause could not be written down");
            }
        });
    }

    /// Writes down whether the lane is paused, as it is once nobody else changes the subscription.
    async fn note_pause(&self, registered: &Registered) -> Result<(), RegistryError> {
        let _routing = self.routing.lock().await;
        if registered.removed.is_cancelled() {
            return Ok(());
        }
        let paused = registered.lane().paused().map(str::to_owned);
        let definition = Definition { paused, ..(*registered.definition()).clone() };
        self.redefine(registered, definition, Changes::default()).await
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
        {
            let mut lane = registered.lane();
            lane.rewind(to, *routing);
            lane.save(&mut changes);
        }
        let old = registered.definition();
        let definition = Definition { begins: old.begins.min(to), ..(*old).clone() };
        document::put(&mut changes, &definition, &self.outlets.keys)?;
        registered.define(definition);
        self.persist(changes, Changes::default()).await?;
        registered.wake.notify_one();
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
        self.checkpoint().await?;
        registered.wake.notify_one();
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
        self.checkpoint().await?;
        registered.wake.notify_one();
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
    async fn resolve(&self, position: Position) -> Result<Sequence, StoreError> {
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

    fn expect(&self, name: &str) -> Result<Arc<Registered>, RegistryError> {
        self.get(name).ok_or_else(|| RegistryError::NotFound(name.to_owned()))
    }

    fn insert(&self, name: String, registered: Arc<Registered>) {
        let mut all = self.registered.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(name, registered);
        drop(all);
        self.reindex();
    }

    async fn redefine(
        &self,
        registered: &Registered,
        definition: Definition,
        kept: Changes,
    ) -> Result<(), RegistryError> {
        let mut asked = Changes::default();
        document::put(&mut asked, &definition, &self.outlets.keys)?;
        self.persist(kept, asked).await?;
        registered.define(definition);
        Ok(())
    }
}
