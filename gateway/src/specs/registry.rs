//! The registry: what is registered now, and how that is changed. A list of changes is made as a
//! whole: checked, written down together, seen together.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use eg_event::{Clock, Subscription};
use eg_http::HttpSink;
use eg_storage::{Ledger, StoreError};
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
        let steps = self.bring(changes).await?;
        let changing = self.changing.lock().await;
        let outcome = self.draft(steps).await?;
        if outcome.changed.iter().all(|changed| changed.kind == ChangeKind::Unchanged) {
            return Ok(outcome.changed);
        }
        let Outcome { next, changed, follow } = outcome;
        let next = self.write(next).await.map_err(SpecsError::of_all)?;
        follow();
        self.snapshot.store(Arc::new(next));
        // It is no error that nobody listens.
        let _ = self.news.send(changed.clone().into()).ok();
        let settled = self.settle_pushes().await;
        drop(changing);
        settled.map_err(SpecsError::of_all)?;
        Ok(changed)
    }

    /// Makes all changes and everything that is `wanted` of the dispatch in one durable step, or
    /// nothing; `is_dry_run` only says what would be done.
    pub async fn apply_with(
        &self,
        changes: Vec<Change>,
        wanted: Wanted,
        is_dry_run: bool,
    ) -> Result<(Vec<Changed>, Effects), Rejected> {
        let steps = self.bring(changes).await?;
        let changing = self.changing.lock().await;
        let Outcome { next, changed, follow } = self.draft(steps).await?;
        let is_changed = changed.iter().any(|one| one.kind != ChangeKind::Unchanged);
        let written = document::put_difference(&self.snapshot(), &next, &self.outlets.keys);
        let written = written.map_err(SpecsError::of_all)?;
        let news: Arc<[Changed]> = changed.clone().into();
        let switch = Box::new(move || {
            follow();
            self.snapshot.store(Arc::new(next));
            // It is no error that nobody listens.
            let _ = self.news.send(news).ok();
        });
        let beside = is_changed.then_some(Beside { changes: written, switch });
        let effects = self.outlets.dispatch.establish(wanted, beside, is_dry_run).await;
        let effects = effects.map_err(|error| SpecsError::Beside(error).of_all())?;
        if is_changed && !is_dry_run {
            self.settle_pushes().await.map_err(SpecsError::of_all)?;
        }
        drop(changing);
        Ok((changed, effects))
    }

    /// Says what `changes` would do, and changes nothing.
    pub async fn plan(&self, changes: Vec<Change>) -> Result<Vec<Changed>, Rejected> {
        let steps = self.bring(changes).await?;
        let _changing = self.changing.lock().await;
        self.draft(steps).await.map(|outcome| outcome.changed)
    }

    /// Makes what is pushed what is registered: what a crash interrupted is done at the start.
    pub async fn settle(&self) -> Result<(), SpecsError> {
        let _changing = self.changing.lock().await;
        self.settle_pushes().await
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

    async fn write(&self, next: Snapshot) -> Result<Snapshot, SpecsError> {
        let (ledger, keys, old) =
            (self.outlets.ledger.clone(), Arc::clone(&self.outlets.keys), self.snapshot());
        let write = move || {
            let changes = document::put_difference(&old, &next, &keys)?;
            ledger.apply(&changes)?;
            Ok(next)
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.unwrap_or(Err(SpecsError::Store(StoreError::Closed)))
    }

    /// Makes, changes and removes the subscriptions that belong to definitions.
    async fn settle_pushes(&self) -> Result<(), SpecsError> {
        let (snapshot, dispatch) = (self.snapshot(), &self.outlets.dispatch);
        let mut missing: HashMap<_, _> =
            snapshot.pushes().map(|push| (push.name.as_str(), push)).collect();
        for registered in dispatch.all() {
            let subscription = Arc::clone(&registered.definition().subscription);
            let name = &*subscription.key();
            if external::owner(name).is_none() {
                continue;
            }
            match missing.remove(name) {
                None => drop(dispatch.delete(name).await?),
                Some(push) if *push != *subscription => {
                    drop(dispatch.update(Subscription::clone(push)).await?);
                }
                Some(_) => {}
            }
        }
        for push in missing.into_values() {
            dispatch.create(push.clone(), Position::Now).await?;
        }
        Ok(())
    }
}
