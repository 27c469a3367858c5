//! From the journal to sessions: each event is read once and matched once, whoever subscribes, and
//! a session that it concerns gets a reference to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use eg_event::{Feed, Principal, Refusal, Sequence, StoredEvent, Topics};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::codec::Qos;
use crate::counters::{Counters, Dropped};
use crate::option_changes::{Before, OptionChange, OptionChanges};
use crate::publication::{Publication, Recent};
use crate::queue::{Flags, QueueLimit, Reference};
use crate::retained::{Asked, Retained, State};
use crate::shared::choose;
use crate::subscriber::{Granted, Inbox, Pushed, Subscriber};
use crate::system_topics::{SystemTopics, is_system};
use crate::topic_filter::TopicFilter;
use crate::topic_tree::{Found, TopicTree};

/// How many events are routed at once.
const BATCH_EVENTS: usize = 1024;
/// How long the router waits after the journal could not be read.
const READ_RETRY: Duration = Duration::from_secs(1);

pub(crate) type Tree = TopicTree<Arc<Subscriber>, Granted>;

/// Which events concern which sessions.
pub(crate) struct Router {
    tree: RwLock<Tree>,
    pub(crate) subscribers: Mutex<HashMap<Arc<str>, Arc<Subscriber>>>,
    pub(crate) feed: Arc<dyn Feed>,
    pub(crate) topics: Arc<dyn Topics>,
    pub(crate) recent: Recent,
    pub(crate) retained: Retained,
    pub(crate) system: SystemTopics,
    /// The next event to route.
    routed: AtomicU64,
    /// What sessions had of everything before this at the start is all that they are to have.
    restored: AtomicU64,
    /// The events before this came before the start.
    came_before: AtomicU64,
    pub(crate) next_number: AtomicU64,
    pub(crate) queue_limit: QueueLimit,
    /// Sessions that have changed since they were written down.
    pub(crate) changed: Mutex<Vec<Arc<Subscriber>>>,
    pub(crate) option_changes: OptionChanges,
}

/// What waits for subscribers, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Sessions that have subscribed.
    pub sessions: u64,
    /// Their subscriptions.
    pub subscriptions: u64,
    /// Messages that wait.
    pub messages: u64,
    /// The bytes of their events.
    pub bytes: u64,
    /// Messages that are under way and not acknowledged.
    pub inflight: u64,
    /// Topics that have a retained message.
    pub retained: u64,
    /// The bytes of those.
    pub retained_bytes: u64,
}

/// Completes once what is retained has been added to what waits.
pub(crate) type Added = oneshot::Receiver<()>;

/// A subscription that cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSubscribed {
    /// The session has as many as it may.
    TooManySubscriptions,
    /// It has changed the options of those too often.
    TooManyChanges,
}

/// Whether, and as whom, a subscriber gets what is retained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetainedFor<'a> {
    pub(crate) principal: &'a Arc<Principal>,
    /// Not if there was such a subscription already (MQTT 5.0 section 3.8.3.1).
    pub(crate) only_if_new: bool,
}

impl Router {
    /// Routes from the end of the journal on.
    pub(crate) fn new(
        (feed, topics): (Arc<dyn Feed>, Arc<dyn Topics>),
        retained: Retained,
        queue_limit: QueueLimit,
    ) -> Self {
        let end = feed.end().min(retained.lock().applied());
        Self {
            tree: RwLock::default(),
            subscribers: Mutex::default(),
            feed,
            topics,
            recent: Recent::default(),
            retained,
            system: SystemTopics::default(),
            routed: AtomicU64::new(end.0),
            restored: AtomicU64::default(),
            came_before: AtomicU64::default(),
            next_number: AtomicU64::new(1),
            queue_limit,
            changed: Mutex::default(),
            option_changes: OptionChanges::default(),
        }
    }

    /// Routes what comes, until `stop`.
    pub(crate) async fn run(&self, counters: &Counters, stop: &CancellationToken) {
        loop {
            let (from, end) = (self.routed(), self.feed.end());
            if self.option_changes.next_at().is_some_and(|at| at <= from) {
                self.change_options(&mut self.tree_mut(), from);
            }
            if from >= end {
                tokio::select! {
                    () = self.feed.reached(from) => {}
                    () = stop.cancelled() => return,
                }
                continue;
            }
            match self.read(from).await {
                Ok(mut events) => {
                    // The options of a subscription may change at this place.
                    let until = self.option_changes.next_at().map_or(end, |at| at.min(end));
                    events.truncate(events.partition_point(|event| event.sequence < until));
                    if events.is_empty() {
                        self.pass(until, counters);
                    } else {
                        self.route(events, counters);
                    }
                }
                Err(refusal) => {
                    tracing::error!(%refusal, "the journal cannot be read for MQTT subscribers");
                    tokio::time::sleep(READ_RETRY).await;
                }
            }
            if stop.is_cancelled() {
                return;
            }
            // Others of this thread have their turn.
            tokio::task::yield_now().await;
        }
    }

    async fn read(&self, from: Sequence) -> Result<Vec<Arc<StoredEvent>>, Refusal> {
        if let Some(events) = self.feed.scan_fresh(from, BATCH_EVENTS) {
            return Ok(events);
        }
        let found = self.feed.scan(from, BATCH_EVENTS).await?;
        // Between memory and files a look may miss what the next one finds.
        if found.is_empty() { self.feed.scan(from, BATCH_EVENTS).await } else { Ok(found) }
    }

    /// Lets the options of subscriptions hold that changed before `sequence`.
    fn change_options(&self, tree: &mut Tree, sequence: Sequence) {
        for change in self.option_changes.due(sequence) {
            let OptionChange { subscriber, before, granted, .. } = change;
            if let Some(filter) = TopicFilter::parse(&before.filter, u32::MAX) {
                tree.insert(filter, (subscriber.number, subscriber), granted);
            }
        }
    }

    /// There is nothing any more before `end`.
    fn pass(&self, end: Sequence, counters: &Counters) {
        let mut retained = self.retained.lock();
        self.answer(retained.reach(end), &retained, counters);
        self.routed.store(end.0, Ordering::Release);
    }

    /// Hands references to the sessions that `events` concern, and wakes each once.
    fn route(&self, events: Vec<Arc<StoredEvent>>, counters: &Counters) {
        let Some(last) = events.last().map(|last| last.sequence) else { return };
        let mut matched = Vec::new();
        let mut touched = Vec::new();
        {
            let tree = self.tree();
            let mut retained = self.retained.lock();
            for event in events.into_iter().filter(|event| event.held.is_none()) {
                self.answer(retained.reach(event.sequence), &retained, counters);
                let is_retained = event.message.as_ref().is_some_and(|message| message.retain);
                if tree.len() == 0 && !is_retained {
                    continue;
                }
                let publication = Publication::new(event, &*self.topics);
                if is_retained && !self.retained.apply(&mut retained, &publication) {
                    counters.deliveries_dropped.add(Dropped::NotRetained);
                }
                if self.hand_out(&tree, &publication, &mut touched, counters) {
                    matched.push(Arc::new(publication));
                }
            }
            self.answer(retained.reach(last.next()), &retained, counters);
        }
        self.recent.push(matched);
        self.settle(touched);
        // What is written down of sessions from here on has these events.
        self.routed.store(last.next().0, Ordering::Release);
    }

    /// Hands one event to the sessions that it concerns; says whether there are any.
    fn hand_out(
        &self,
        tree: &Tree,
        publication: &Publication,
        touched: &mut Vec<Arc<Subscriber>>,
        counters: &Counters,
    ) -> bool {
        let mut is_matched = false;
        // The turns of before the start are not known: another member would have it once more.
        let is_shared_out = publication.event.sequence.0 < self.restored.load(Ordering::Acquire);
        tree.matching(publication.topic(), &mut |found| {
            let (subscriber, granted, group) = match found {
                Found::Member(subscriber, granted) => (subscriber, granted, None),
                Found::Group(_) if is_shared_out => return,
                Found::Group(group) => match choose(group, publication.event.sequence) {
                    Some((subscriber, granted)) => (subscriber, granted, Some(&*group.filter)),
                    None => return,
                },
            };
            if !is_for(publication, subscriber, granted) {
                return;
            }
            is_matched = true;
            let flags = flags(publication, granted);
            let what = (publication.event.sequence, publication.bytes());
            self.push(what, (subscriber, granted), (flags, group), counters);
            if !subscriber.is_touched.swap(true, Ordering::AcqRel) {
                touched.push(Arc::clone(subscriber));
            }
        });
        is_matched
    }

    /// Adds a message to what waits for a session, unless nobody is there for it.
    pub(crate) fn push(
        &self,
        (sequence, bytes): (Sequence, u32),
        (subscriber, granted): (&Arc<Subscriber>, &Granted),
        (flags, group): (Flags, Option<&str>),
        counters: &Counters,
    ) {
        // What may be lost is not kept for who is away.
        if flags.qos() == Qos::AtMostOnce && !subscriber.is_connected() {
            return;
        }
        let mut inbox = subscriber.inbox();
        let identifiers = match granted.identifier {
            0 => 0,
            identifier => inbox.labels.identifiers(&[identifier]),
        };
        let reference = Reference {
            sequence,
            bytes,
            identifiers,
            group: group.map_or(0, |filter| inbox.labels.group(filter)),
            flags,
        };
        match inbox.push(reference, self.limit_of(sequence, flags)) {
            Pushed::Queued => self.note_change(subscriber, &mut inbox),
            Pushed::Known => {}
            Pushed::Full(why) => counters.deliveries_dropped.add(why),
        }
    }

    /// How much may wait where an event is added.
    fn limit_of(&self, sequence: Sequence, flags: Flags) -> QueueLimit {
        let is_again = !flags.is_late() && sequence.0 < self.came_before.load(Ordering::Acquire);
        if is_again { QueueLimit::MATCHED_AGAIN } else { self.queue_limit }
    }

    /// Hands what is not in the journal to the sessions that it concerns.
    pub(crate) fn announce(&self, publication: &Publication, counters: &Counters) {
        let mut touched = Vec::new();
        self.hand_out(&self.tree(), publication, &mut touched, counters);
        self.settle(touched);
    }

    /// Gives those who asked what is retained for them.
    fn answer(&self, asked: Vec<Asked>, retained: &State, counters: &Counters) {
        for asked in asked {
            let found = self.retained.answer(retained, (&asked, &self.system));
            let Asked { subscriber, granted, is_added, .. } = asked;
            if !found.is_empty() {
                // What is live is not made one with what is retained.
                subscriber.inbox().queue.settle();
                for kept in found {
                    let flags = Flags::new(kept.qos.min(granted.qos), true).late();
                    let what = (kept.sequence, kept.bytes);
                    self.push(what, (&subscriber, &granted), (flags, None), counters);
                }
                self.settle(vec![subscriber]);
            }
            // The connection that asked may have ended.
            is_added.send(()).ok();
        }
    }

    /// Lets sessions see what came.
    pub(crate) fn settle(&self, touched: Vec<Arc<Subscriber>>) {
        for subscriber in touched {
            // Who finds it touched after this hands it over again; what came before is seen here.
            subscriber.is_touched.store(false, Ordering::Release);
            let mut inbox = subscriber.inbox();
            inbox.queue.settle();
            self.note_change(&subscriber, &mut inbox);
            drop(inbox);
            subscriber.wake();
        }
    }

    /// Those of `sequences` that are in memory, each if it is.
    pub(crate) fn recent(
        &self,
        sequences: impl Iterator<Item = Sequence> + Clone,
    ) -> Vec<Option<Arc<Publication>>> {
        let mut found = self.recent.get(sequences.clone());
        for (slot, sequence) in found.iter_mut().zip(sequences) {
            if slot.is_none() {
                *slot = self.system.get(sequence);
            }
        }
        found
    }

    /// The events at `sequences`, which ascend, from the journal or from what is retained.
    pub(crate) async fn get(
        &self,
        mut sequences: Vec<Sequence>,
    ) -> Result<Vec<Arc<StoredEvent>>, Refusal> {
        sequences.retain(|sequence| !is_system(*sequence));
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = self.feed.get(sequences.clone()).await?;
        if found.len() < sequences.len() {
            let is_found = |one: &Sequence| found.iter().any(|event| event.sequence == *one);
            let gone = sequences.into_iter().filter(|one| !is_found(one)).collect();
            found.extend(self.retained.get(gone).await?);
            found.sort_by_key(|event| event.sequence);
        }
        Ok(found)
    }

    /// Everything before this has been routed.
    pub(crate) fn routed(&self) -> Sequence {
        Sequence(self.routed.load(Ordering::Acquire))
    }

    /// Routes from `sequence` on, before which sessions have everything, or from somewhat before.
    pub(crate) fn begin_at(&self, sequence: Sequence) {
        self.restored.store(sequence.0, Ordering::Release);
        self.came_before.store(self.feed.end().0, Ordering::Release);
        self.routed.fetch_min(sequence.0, Ordering::AcqRel);
    }

    /// Whether somebody subscribes to `topic`.
    pub(crate) fn is_heard(&self, topic: &str) -> bool {
        self.tree().is_heard(topic)
    }

    /// Subscribes a session to what is published from now on; if it was subscribed to this filter
    /// before, with other options from now on. For `principal`, if any, what is retained until now
    /// is added; if that is about new subscriptions alone, only for one. What is given back tells
    /// when that is done.
    pub(crate) fn subscribe(
        &self,
        subscriber: &Arc<Subscriber>,
        (text, filter): (&str, TopicFilter<'_>),
        mut granted: Granted,
        (count_max, retained_for, counters): (usize, Option<RetainedFor<'_>>, &Counters),
    ) -> Result<Added, NotSubscribed> {
        let mut tree = self.tree_mut();
        let now = self.feed.end();
        let mut inbox = subscriber.inbox();
        let known = inbox.subscriptions.get(text).copied();
        // What has come since and is not routed yet is still its own.
        granted.since = known.map_or(now, |known| known.since);
        match known {
            None if inbox.subscriptions.len() >= count_max => {
                return Err(NotSubscribed::TooManySubscriptions);
            }
            None => {
                tree.insert(filter, (subscriber.number, Arc::clone(subscriber)), granted);
            }
            Some(known) if known != granted => {
                let before = Before { filter: text.into(), granted: known, until: now };
                let subscriber = Arc::clone(subscriber);
                let change = OptionChange { subscriber, before, granted, holds: false };
                if !self.option_changes.add(change) {
                    return Err(NotSubscribed::TooManyChanges);
                }
                self.change_options(&mut tree, self.routed());
            }
            Some(_) => {}
        }
        inbox.subscriptions.insert(text.into(), granted);
        drop(inbox);
        let (is_added, added) = oneshot::channel();
        let is_wanted = |one: &RetainedFor<'_>| !(known.is_some() && one.only_if_new);
        if filter.share.is_none()
            && let Some(RetainedFor { principal, .. }) = retained_for.filter(is_wanted)
        {
            let mut retained = self.retained.lock();
            drop(tree);
            let (subscriber, principal) = (Arc::clone(subscriber), Arc::clone(principal));
            let granted = Granted { since: now, ..granted };
            let filter = text.into();
            retained.wait(Asked { subscriber, principal, filter, granted, is_added });
            let applied = retained.applied();
            self.answer(retained.reach(applied), &retained, counters);
        }
        Ok(added)
    }

    /// Ends a subscription. Says whether there was one.
    pub(crate) fn unsubscribe(&self, subscriber: &Arc<Subscriber>, text: &str) -> bool {
        let mut tree = self.tree_mut();
        let existed = subscriber.inbox().subscriptions.remove(text).is_some();
        self.option_changes.forget(subscriber, text);
        if let Some(filter) = TopicFilter::parse(text, u32::MAX) {
            tree.remove(filter, subscriber.number);
        }
        existed
    }

    /// Ends all subscriptions of a session.
    pub(crate) fn unsubscribe_all(&self, subscriber: &Arc<Subscriber>) {
        let mut tree = self.tree_mut();
        let subscriptions = std::mem::take(&mut subscriber.inbox().subscriptions);
        for text in subscriptions.keys() {
            self.option_changes.forget(subscriber, text);
            if let Some(filter) = TopicFilter::parse(text, u32::MAX) {
                tree.remove(filter, subscriber.number);
            }
        }
    }

    /// Notes that a session that is kept has changed, to be written down.
    pub(crate) fn note_change(&self, subscriber: &Arc<Subscriber>, inbox: &mut Inbox) {
        if inbox.is_kept && !std::mem::replace(&mut inbox.saved.is_dirty, true) {
            let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            changed.push(Arc::clone(subscriber));
        }
    }

    /// The session of a client that has subscribed.
    pub(crate) fn subscriber(&self, client_id: &str) -> Option<Arc<Subscriber>> {
        self.subscribers().get(client_id).map(Arc::clone)
    }

    /// The same, made if need be.
    pub(crate) fn begin(&self, client_id: &Arc<str>, is_kept: bool) -> Arc<Subscriber> {
        let mut subscribers = self.subscribers();
        let make = || {
            let number = self.next_number.fetch_add(1, Ordering::Relaxed);
            let inbox = Inbox { is_kept, ..Inbox::default() };
            Arc::new(Subscriber::new(Arc::clone(client_id), number, inbox))
        };
        Arc::clone(subscribers.entry(Arc::clone(client_id)).or_insert_with(make))
    }

    /// Takes up a session as it was before a restart, with what its subscriptions had `before`.
    pub(crate) fn restore(&self, subscriber: Arc<Subscriber>, before: Vec<Before>) {
        let mut tree = self.tree_mut();
        let mut subscriptions = subscriber.inbox().subscriptions.clone();
        for before in before.into_iter().rev() {
            let Some(first) = subscriptions.get_mut(&before.filter) else { continue };
            let granted = std::mem::replace(first, before.granted);
            let subscriber = Arc::clone(&subscriber);
            self.option_changes.add(OptionChange { subscriber, before, granted, holds: false });
        }
        for (text, granted) in subscriptions {
            if let Some(filter) = TopicFilter::parse(&text, u32::MAX) {
                tree.insert(filter, (subscriber.number, Arc::clone(&subscriber)), granted);
            }
        }
        self.subscribers().insert(Arc::clone(&subscriber.client_id), subscriber);
    }

    /// Ends what a session has, if it has subscribed.
    pub(crate) fn end(&self, client_id: &str) -> Option<Arc<Subscriber>> {
        let subscriber = self.subscribers().remove(client_id)?;
        self.unsubscribe_all(&subscriber);
        Some(subscriber)
    }

    /// What waits for subscribers.
    pub(crate) fn backlog(&self) -> Backlog {
        let subscribers: Vec<_> = self.subscribers().values().map(Arc::clone).collect();
        let (retained, retained_bytes) = self.retained.usage();
        let retained = retained as u64;
        let mut backlog = Backlog { retained, retained_bytes, ..Backlog::default() };
        for subscriber in subscribers {
            let inbox = subscriber.inbox();
            backlog.sessions += 1;
            backlog.subscriptions += inbox.subscriptions.len() as u64;
            backlog.messages += inbox.queue.len() as u64;
            backlog.bytes += inbox.queue.bytes();
            backlog.inflight += inbox.inflight.len() as u64;
        }
        backlog
    }

    pub(crate) fn subscribers(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Subscriber>>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tree(&self) -> RwLockReadGuard<'_, Tree> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tree_mut(&self) -> RwLockWriteGuard<'_, Tree> {
        self.tree.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a subscription is about an event (MQTT 5.0 section 3.8.3.1).
fn is_for(publication: &Publication, subscriber: &Subscriber, granted: &Granted) -> bool {
    let event = &publication.event;
    let is_own = || event.origin.client_id.as_deref() == Some(&*subscriber.client_id);
    event.sequence >= granted.since && !(granted.no_local && is_own())
}

fn flags(publication: &Publication, granted: &Granted) -> Flags {
    let qos = publication.qos().min(granted.qos);
    let flags = Flags::new(qos, granted.retain_as_published && publication.retain());
    if is_system(publication.event.sequence) { flags.late() } else { flags }
}
