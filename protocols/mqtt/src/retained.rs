//! The last retained message of each topic (MQTT 5.0 section 3.3.1.3): which event it is, so that
//! who subscribes gets it. Derived from the journal, and written down now and then.

mod listed;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eg_event::{
    Clock, Grants, Principal, Refusal, RetainedChanges, RetainedStore, Scanned, Sequence,
    StoredEvent, Timestamp, Topics,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use self::listed::{RetainedContent, RetainedMessage};
use crate::codec::Qos;
use crate::publication::Publication;
use crate::retained_topics::RetainedTopics;
use crate::subscriber::{Granted, Subscriber};
use crate::system_topics::SystemTopics;
use crate::topic_filter::TopicFilter;

/// How often what has changed is written down.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(500);
/// How many events may be read again after a crash though nothing was retained since.
const APPLIED_AHEAD_MAX: u64 = 100_000;

/// How much is retained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetainedLimit {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
}

/// The retained messages of all topics.
pub(crate) struct Retained {
    store: Arc<dyn RetainedStore>,
    grants: Arc<dyn Grants>,
    clock: Clock,
    limit: RetainedLimit,
    state: Mutex<State>,
    /// Held while something is written down, so that nothing older is written after it.
    saving: tokio::sync::Mutex<()>,
}

/// What there is at one place in the journal.
#[derive(Debug, Default)]
pub(crate) struct State {
    topics: RetainedTopics<Kept>,
    bytes: u64,
    /// How many have an expiry.
    expiring: usize,
    /// Everything in the journal before this is taken into account.
    applied: Sequence,
    /// As far as the same is on the disk.
    saved: Sequence,
    /// What is not on the disk: a message that is kept, or none for one that is not any more.
    unsaved: HashMap<Sequence, Option<Arc<StoredEvent>>>,
    /// Who wants to know what there is at a place that is not reached.
    waiting: Vec<Asked>,
}

/// A retained message.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Which event it is.
    pub(crate) sequence: Sequence,
    /// About how large it is, in bytes.
    pub(crate) bytes: u32,
    /// How surely it was published.
    pub(crate) qos: Qos,
    /// When it is of no more use.
    pub(crate) expires_at: Option<Timestamp>,
    /// Whose it is.
    client_id: Option<Arc<str>>,
}

/// A subscription whose client is to get what is retained.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) subscriber: Arc<Subscriber>,
    pub(crate) principal: Arc<Principal>,
    pub(crate) filter: Box<str>,
    pub(crate) granted: Granted,
    /// Told once it has been answered.
    pub(crate) is_added: oneshot::Sender<()>,
}

impl Retained {
    /// Takes up what `store` has.
    pub(crate) fn load(
        store: Arc<dyn RetainedStore>,
        (grants, topics, clock): (Arc<dyn Grants>, &dyn Topics, Clock),
        limit: RetainedLimit,
    ) -> Result<Self, Refusal> {
        let mut state = State::default();
        let mut superseded = Vec::new();
        let applied = store.load(&mut |event| {
            let publication = Publication::new(Arc::new(event), topics);
            superseded.extend(state.put(publication.topic(), Kept::new(&publication)));
        })?;
        (state.applied, state.saved) = (applied, applied);
        state.unsaved.extend(superseded.into_iter().map(|sequence| (sequence, None)));
        Ok(Self {
            store,
            grants,
            clock,
            limit,
            state: Mutex::new(state),
            saving: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message for `topic` could be kept.
    pub(crate) fn has_room(&self, topic: &str, bytes: usize) -> bool {
        self.lock().has_room(topic, bytes as u64, self.limit)
    }

    /// How many messages there are, and how many bytes of them.
    pub(crate) fn usage(&self) -> (usize, u64) {
        let state = self.lock();
        (state.topics.len(), state.bytes)
    }

    /// What becomes of the retained message of a topic when `publication`, whose flag RETAIN is
    /// set, is published. Says whether there was room for it.
    pub(crate) fn apply(&self, state: &mut State, publication: &Publication) -> bool {
        let topic = publication.topic();
        if publication.event.sequence < state.applied {
            return true;
        }
        if publication.is_empty() {
            state.remove(topic);
            return true;
        }
        let kept = Kept::new(publication);
        if !state.has_room(topic, kept.bytes.into(), self.limit) {
            // The one that was there is not the last one any more.
            state.remove(topic);
            return false;
        }
        let sequence = kept.sequence;
        if let Some(old) = state.put(topic, kept) {
            state.drop_saved(old);
        }
        state.unsaved.insert(sequence, Some(Arc::clone(&publication.event)));
        true
    }

    /// What is retained for a subscription, and may be read by who subscribes; with what the
    /// server says of itself.
    pub(crate) fn answer(
        &self,
        state: &State,
        (asked, system): (&Asked, &SystemTopics),
    ) -> Vec<Kept> {
        let Some(filter) = TopicFilter::parse(&asked.filter, u32::MAX) else { return Vec::new() };
        let (granted, client_id) = (asked.granted, &*asked.subscriber.client_id);
        let may_read =
            |topic: &str| self.grants.subscribe(&asked.principal, client_id, topic).is_ok();
        let now = self.clock.now();
        let mut found = Vec::new();
        state.topics.matching(filter.levels, &mut |topic, kept: &Kept| {
            let is_own = || kept.client_id.as_deref() == Some(client_id);
            let is_due = kept.sequence < granted.since
                && kept.expires_at.is_none_or(|at| at > now)
                && !(granted.no_local && is_own());
            if is_due && may_read(topic) {
                found.push(kept.clone());
            }
        });
        let values = system.matching(filter);
        let values = values.iter().filter(|value| may_read(value.topic()));
        found.extend(values.map(|value| Kept::new(value)));
        found
    }

    /// Those of `sequences`, which ascend, that are retained.
    pub(crate) fn get(&self, sequences: Vec<Sequence>) -> Scanned {
        let unsaved = {
            let state = self.lock();
            let known = |sequence| state.unsaved.get(sequence).cloned().flatten();
            sequences.iter().filter_map(known).collect::<Vec<_>>()
        };
        let missing = |one: &Sequence| !unsaved.iter().any(|event| event.sequence == *one);
        let stored = self.store.get(sequences.into_iter().filter(missing).collect());
        Box::pin(async move {
            let mut all = stored.await?;
            all.extend(unsaved);
            Ok(all)
        })
    }

    /// Lets go what has expired.
    pub(crate) fn expire(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        if state.expiring == 0 {
            return;
        }
        let is_over = |kept: &Kept| kept.expires_at.is_some_and(|at| at <= now);
        let all = state.topics.from(Bound::Unbounded).filter(|(_, kept)| is_over(kept));
        let over: Vec<Box<str>> = all.map(|(topic, _)| topic.into()).collect();
        for topic in over {
            state.remove(&topic);
        }
    }

    /// Writes down what has changed, every now and then, until `stop`.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(CHECKPOINT_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
            drop(self.checkpoint(APPLIED_AHEAD_MAX).await);
        }
    }

    /// Writes down what has changed, or that nothing has for `ahead_max` events.
    pub(crate) async fn checkpoint(&self, ahead_max: u64) -> Result<(), Refusal> {
        let _saving = self.saving.lock().await;
        let (changes, unsaved) = {
            let mut state = self.lock();
            if state.unsaved.is_empty() && state.applied.0 - state.saved.0 <= ahead_max {
                return Ok(());
            }
            let unsaved = std::mem::take(&mut state.unsaved);
            let gone = unsaved.iter().filter(|(_, kept)| kept.is_none());
            let changes = RetainedChanges {
                applied: state.applied,
                gone: gone.map(|(sequence, _)| *sequence).collect(),
                kept: unsaved.values().flatten().cloned().collect(),
            };
            (changes, unsaved)
        };
        let applied = changes.applied;
        let saved = self.store.save(changes).await;
        let mut state = self.lock();
        match &saved {
            Ok(()) => state.saved = applied,
            Err(refusal) => {
                tracing::warn!(%refusal, "retained messages could not be written down yet");
                for (sequence, change) in unsaved {
                    state.unsaved.entry(sequence).or_insert(change);
                }
            }
        }
        saved
    }
}

impl State {
    /// From where on the journal has to be read.
    pub(crate) fn applied(&self) -> Sequence {
        self.applied
    }

    /// Everything before `sequence` has been applied: who waited for that is to be answered.
    pub(crate) fn reach(&mut self, sequence: Sequence) -> Vec<Asked> {
        self.applied = self.applied.max(sequence);
        let applied = self.applied;
        let is_due = |asked: &mut Asked| asked.granted.since <= applied;
        self.waiting.extract_if(.., is_due).collect()
    }

    /// Answers once the place is reached from which on the subscription gets what is published.
    pub(crate) fn wait(&mut self, asked: Asked) {
        self.waiting.push(asked);
    }

    fn has_room(&self, topic: &str, bytes: u64, limit: RetainedLimit) -> bool {
        let old = self.topics.get(topic);
        let count = self.topics.len() + usize::from(old.is_none());
        let freed = old.map_or(0, |old| u64::from(old.bytes));
        count <= limit.messages && self.bytes - freed + bytes <= limit.bytes
    }

    /// Keeps a message; says which one it replaces.
    fn put(&mut self, topic: &str, kept: Kept) -> Option<Sequence> {
        self.bytes += u64::from(kept.bytes);
        self.expiring += usize::from(kept.expires_at.is_some());
        let old = self.topics.insert(topic, kept)?;
        self.uncount(&old);
        Some(old.sequence)
    }

    /// Lets the message of `topic` go. Says whether there was one.
    fn remove(&mut self, topic: &str) -> bool {
        let Some(old) = self.topics.remove(topic) else { return false };
        self.uncount(&old);
        self.drop_saved(old.sequence);
        true
    }

    fn uncount(&mut self, old: &Kept) {
        self.bytes -= u64::from(old.bytes);
        self.expiring -= usize::from(old.expires_at.is_some());
    }

    /// A message that is not kept any more does not stay on the disk.
    fn drop_saved(&mut self, sequence: Sequence) {
        match self.unsaved.entry(sequence) {
            // It never got there.
            Entry::Occupied(entry) if entry.get().is_some() => drop(entry.remove()),
            Entry::Occupied(_) => {}
            Entry::Vacant(entry) => drop(entry.insert(None)),
        }
    }
}

impl Kept {
    fn new(publication: &Publication) -> Self {
        Self {
            sequence: publication.event.sequence,
            bytes: publication.bytes(),
            qos: publication.qos(),
            expires_at: publication.expires_at(),
            client_id: publication.event.origin.client_id.clone(),
        }
    }
}
