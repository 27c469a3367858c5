//! The registry: what is registered now, and how that is changed. A list of changes is made as a
//! whole: checked, written down together, seen together.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use eg_event::{Clock, Subscription};
use eg_http::HttpSink;
use eg_storage::{Changes, Ledger, StoreError};
use tokio::sync::{Mutex, broadcast};

use super::change::{Change, ChangeKind, Changed};
use super::draft::{Draft, Step};
use super::error::{Rejected, SpecsError};
use super::fetch::Fetcher;
use super::snapshot::Snapshot;
use super::{document, external, rules};
use crate::admin::schema::TargetCheck;
use crate::dispatch::Dispatch;
use crate::dispatch::change::{Beside, Effects, Wanted};
use crate::dispatch::registry::Position;
use crate::secrets::Keys;

/// The most changes of one list.
const CHANGES_MAX: usize = 1_000;
/// How many lists of changes wait for who reads them slowly; who misses one is told.
const NEWS_MAX: usize = 256;

/// What the registry works with.
#[derive(Clone)]
pub struct Outlets {
    /// Where it is written down what is registered.
    pub ledger: Ledger,
    /// What secrets are sealed under.
    pub keys: Arc<Keys>,
    /// What time it is.
    pub clock: Clock,
    /// How documents are fetched.
    pub http: Arc<HttpSink>,
    /// Whether a subscription can be sent to, before anything is.
    pub check_target: TargetCheck,
    /// What pushes events to external subscriptions.
    pub dispatch: Arc<Dispatch>,
    /// Who acts by what is registered.
    pub follower: Arc<dyn Follow>,
}

/// Acts by what is registered.
pub trait Follow: Send + Sync {
    /// Gets ready for what is about to hold, or says what contradicts in it. What is given back is
    /// called once it is durable, before anybody is told; if it is dropped, nothing has changed.
    fn prepare(&self, next: &Snapshot) -> Result<Box<dyn FnOnce() + Send>, Vec<String>>;
}

/// Both act by it.
impl<A: Follow, B: Follow> Follow for (A, B) {
    fn prepare(&self, next: &Snapshot) -> Result<Box<dyn FnOnce() + Send>, Vec<String>> {
        let (one, other) = (self.0.prepare(next)?, self.1.prepare(next)?);
        Ok(Box::new(|| {
            one();
            other();
        }))
    }
}

/// Nobody acts by it.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Follow for Nobody {
    fn prepare(&self, _: &Snapshot) -> Result<Box<dyn FnOnce() + Send>, Vec<String>> {
        Ok(Box::new(|| ()))
    }
}

/// What is registered, and how that is changed.
pub struct Registry {
    outlets: Outlets,
    fetcher: Fetcher,
    snapshot: ArcSwap<Snapshot>,
    /// Held by whoever changes it.
    changing: Mutex<()>,
    news: broadcast::Sender<Arc<[Changed]>>,
}

/// What would be, and what is told of it.
struct Outcome {
    next: Snapshot,
    changed: Vec<Changed>,
    follow: Box<dyn FnOnce() + Send>,
}

impl Registry {
    /// Reads what is registered, and lets the follower act by it.
    pub fn open(outlets: Outlets) -> Result<Self, SpecsError> {
        let mut snapshot = document::load(&outlets.ledger, &outlets.keys)?;
        for definition in snapshot.definitions() {
            let application = snapshot.application(&definition.application_id);
            let has_pushes = !definition.external_subscriptions.is_empty();
            let Some(application) = application.filter(|_| has_pushes) else { continue };
            let id = definition.id.clone();
            let spec = match definition.spec.read() {
                Ok(Some(spec)) => spec,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!(%error, id, "a document cannot be read any more");
                    continue;
                }
            };
            let pushes = external::pushes(application, &definition, &spec)?;
            snapshot.pushes.insert(id, pushes.into());
        }
        let follow = outlets.follower.prepare(&snapshot).map_err(SpecsError::Conflicts)?;
        follow();
        let fetcher = Fetcher::new(Arc::clone(&outlets.http), outlets.clock.clone());
        Ok(Self {
            outlets,
            fetcher,
            snapshot: ArcSwap::from_pointee(snapshot),
            changing: Mutex::new(()),
            news: broadcast::channel(NEWS_MAX).0,
        })
    }

    /// What is registered now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// What is changed from now on, a list at a time.
    #[must_use]
    pub fn news(&self) -> broadcast::Receiver<Arc<[Changed]>> {
        self.news.subscribe()
    }

    /// Makes all changes, or none. They are durable once this completes.
    pub async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Changed>, Rejected> {
        let applied = self.apply_with(changes, Wanted::default(), false).await;
        applied.map(|(changed, _)| changed)
    }

    /// Makes all changes, what is pushed because of them, and everything that is `wanted` of the
    /// dispatch in one durable step, or nothing; `is_dry_run` only says what would be done.
    pub async fn apply_with(
        &self,
        changes: Vec<Change>,
        mut wanted: Wanted,
        is_dry_run: bool,
    ) -> Result<(Vec<Changed>, Effects), Rejected> {
        let steps = self.bring(changes).await?;
        let _changing = self.changing.lock().await;
        let Outcome { next, changed, follow } = self.draft(steps).await?;
        let is_changed = changed.iter().any(|one| one.kind != ChangeKind::Unchanged);
        let asked = wanted.subscriptions.len();
        let beside = if is_changed {
            wanted.subscriptions.extend(self.unsettled(&next));
            let (changes, next) = self.encode(next).await.map_err(SpecsError::of_all)?;
            let news: Arc<[Changed]> = changed.clone().into();
            let switch = Box::new(move || {
                follow();
                self.snapshot.store(Arc::new(next));
                // It is no error that nobody listens.
                let _ = self.news.send(news).ok();
            });
            Some(Beside { changes, switch })
        } else {
            None
        };
        let effects = self.outlets.dispatch.establish(wanted, beside, is_dry_run).await;
        let mut effects = effects.map_err(|error| SpecsError::Beside(error).of_all())?;
        effects.subscriptions.truncate(asked);
        if is_changed && !is_dry_run {
            self.remove_pushes().await;
        }
        Ok((changed, effects))
    }

    /// Makes what is pushed what is registered: what a crash interrupted is done at the start.
    pub async fn settle(&self) -> Result<(), SpecsError> {
        let _changing = self.changing.lock().await;
        let subscriptions = self.unsettled(&self.snapshot());
        let wanted = Wanted { subscriptions, ..Wanted::default() };
        let settled = self.outlets.dispatch.establish(wanted, None, false).await;
        settled.map_err(SpecsError::Beside)?;
        self.remove_pushes().await;
        Ok(())
    }

    /// Fetches what the changes need. Nobody else waits for that.
    async fn bring(&self, changes: Vec<Change>) -> Result<Vec<Step>, Rejected> {
        if changes.len() > CHANGES_MAX {
            let limit = CHANGES_MAX;
            return Err(SpecsError::TooMany { what: "changes at once", limit }.of_all());
        }
        let snapshot = self.snapshot();
        let mut steps = Vec::with_capacity(changes.len());
        for (place, change) in changes.into_iter().enumerate() {
            let step = self.bring_one(&snapshot, change).await;
            steps.push(step.map_err(|error| error.at(place))?);
        }
        Ok(steps)
    }

    async fn bring_one(&self, snapshot: &Snapshot, change: Change) -> Result<Step, SpecsError> {
        let known = |id: &String| {
            let known = snapshot.definition(id).cloned();
            known.ok_or_else(|| SpecsError::NotFound("definition", id.clone()))
        };
        let brought = match &change {
            Change::CreateDefinition { to, .. } => {
                rules::definition(to)?;
                Some((self.fetcher.bring(&to.spec, None).await?, None))
            }
            Change::UpdateDefinition { id, to } => {
                rules::definition(to)?;
                let old = known(id)?;
                Some((self.fetcher.bring(&to.spec, Some(&old.spec)).await?, Some(old)))
            }
            Change::Refetch { id } => {
                let old = known(id)?;
                if old.spec.fetch_request.is_none() {
                    return Err(SpecsError::NothingToFetch);
                }
                Some((self.fetcher.fetch_again(&old.spec).await, Some(old)))
            }
            _ => None,
        };
        Ok(Step { change, brought })
    }

    /// What would be registered after `steps`, checked by everyone.
    async fn draft(&self, steps: Vec<Step>) -> Result<Outcome, Rejected> {
        let mut draft = Draft {
            snapshot: Snapshot::clone(&self.snapshot()),
            now: self.outlets.clock.now(),
            check_target: Arc::clone(&self.outlets.check_target),
        };
        let follower = Arc::clone(&self.outlets.follower);
        let work = move || {
            let mut changed = Vec::with_capacity(steps.len());
            for (place, step) in steps.into_iter().enumerate() {
                changed.push(draft.make(step).map_err(|error| error.at(place))?);
            }
            let next = draft.snapshot;
            let follow = follower.prepare(&next);
            let follow = follow.map_err(|why| SpecsError::Conflicts(why).of_all())?;
            Ok(Outcome { next, changed, follow })
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|_| Err(SpecsError::Store(StoreError::Closed).of_all()))
    }

    /// What is to be written down so that `next` holds.
    async fn encode(&self, next: Snapshot) -> Result<(Changes, Snapshot), SpecsError> {
        let (keys, old) = (Arc::clone(&self.outlets.keys), self.snapshot());
        let work = move || Ok((document::put_difference(&old, &next, &keys)?, next));
        let encoded = tokio::task::spawn_blocking(work).await;
        encoded.unwrap_or(Err(SpecsError::Store(StoreError::Closed)))
    }

    /// The subscriptions of definitions in `next` that are not there, or otherwise.
    fn unsettled(&self, next: &Snapshot) -> Vec<(Subscription, Position)> {
        let dispatch = &self.outlets.dispatch;
        let is_settled = |push: &Subscription| {
            let known = dispatch.get(&push.key());
            known.is_some_and(|known| *known.definition().subscription == *push)
        };
        let unsettled = next.pushes().filter(|push| !is_settled(push));
        unsettled.map(|push| (push.clone(), Position::Now)).collect()
    }

    /// Removes the subscriptions of definitions that ask for them no more. What cannot be written
    /// down of that now is written with the next change.
    async fn remove_pushes(&self) {
        let (snapshot, dispatch) = (self.snapshot(), &self.outlets.dispatch);
        let asked: HashSet<_> = snapshot.pushes().map(Subscription::key).collect();
        for registered in dispatch.all() {
            let subscription = Arc::clone(&registered.definition().subscription);
            let name = &*subscription.key();
            if external::owner(name).is_none() || asked.contains(name) {
                continue;
            }
            if let Err(error) = dispatch.delete(name).await {
                tracing::error!(%error, name, "a subscription that nothing asks for is left over");
            }
        }
    }
}
