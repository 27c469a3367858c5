//! What is fetched from elsewhere and kept while it is good: one fetch for all who wait, and a new
//! one before the old one ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eg_event::{Clock, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long after a failure nothing is fetched, and everyone is told of that failure.
const PAUSE: Duration = Duration::from_secs(1);
/// What a lifetime ends early by, at most: what is handed out has to arrive while it is good.
const MARGIN_MAX: Duration = Duration::from_secs(10);

/// A value that is fetched when it is asked for.
pub(super) struct Renewed<T> {
    fetch: Fetch<T>,
    state: Mutex<State<T>>,
    surroundings: Surroundings,
}

/// What fetching runs on.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) clock: Clock,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// Fetches a value. It ends by itself.
pub(super) type Fetch<T> =
    Box<dyn Fn() -> BoxFuture<'static, Result<Lease<T>, Unavailable>> + Send + Sync>;

/// A value, and how long it is good.
pub(super) struct Lease<T> {
    pub(super) value: T,
    /// None: until it is refused.
    pub(super) lifetime: Option<Duration>,
}

/// Why there is no value, in words for an operator, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unavailable {
    pub(super) reason: String,
    pub(super) retry_after: Option<Duration>,
}

struct State<T> {
    held: Option<Held<T>>,
    pending: Option<Pending<T>>,
    failed: Option<(Timestamp, Unavailable)>,
}

struct Held<T> {
    value: Arc<T>,
    /// When it is to be renewed, and until when it is handed out.
    ends: Option<(Timestamp, Timestamp)>,
}

type Pending<T> = Shared<BoxFuture<'static, Result<Arc<T>, Unavailable>>>;

impl<T: Send + Sync + 'static> Renewed<T> {
    pub(super) fn new(surroundings: Surroundings, fetch: Fetch<T>) -> Arc<Self> {
        let state = Mutex::new(State { held: None, pending: None, failed: None });
        Arc::new(Self { fetch, state, surroundings })
    }

    /// The value. Who stops waiting does not end the fetch.
    pub(super) async fn get(self: &Arc<Self>) -> Result<Arc<T>, Unavailable> {
        let pending = {
            let now = self.surroundings.clock.now();
            let mut state = self.lock();
            if let Some((value, is_due)) = state.held(now) {
                if is_due && state.failed(now).is_none() {
                    drop(self.begin(&mut state));
                }
                return Ok(value);
            }
            if let Some(failed) = state.failed(now) {
                return Err(failed);
            }
            self.begin(&mut state)
        };
        pending.await
    }

    /// The value as [`Renewed::get`] gives it, for those who use it longer: once it is time to renew
    /// it, the new one, if there is one.
    pub(super) async fn fresh(self: &Arc<Self>) -> Result<Arc<T>, Unavailable> {
        let pending = {
            let now = self.surroundings.clock.now();
            let mut state = self.lock();
            let is_due = state.held(now).is_some_and(|(_, is_due)| is_due);
            (is_due && state.failed(now).is_none()).then(|| self.begin(&mut state))
        };
        match pending {
            Some(pending) => match pending.await {
                Ok(value) => Ok(value),
                Err(_) => self.get().await,
            },
            None => self.get().await,
        }
    }

    /// Until when `value` is handed out; `None` when nothing is known to end it.
    pub(super) fn good_until(&self, value: &Arc<T>) -> Option<Timestamp> {
        let state = self.lock();
        let held = state.held.as_ref().filter(|held| Arc::ptr_eq(&held.value, value))?;
        held.ends.map(|(_, until)| until)
    }

    /// Throws `value` away, if it is still the one that is handed out.
    pub(super) fn reject(&self, value: &Arc<T>) {
        let mut state = self.lock();
        state.held.take_if(|held| Arc::ptr_eq(&held.value, value));
    }

    /// The fetch that is under way, or a new one.
    fn begin(self: &Arc<Self>, state: &mut State<T>) -> Pending<T> {
        if let Some(pending) = &state.pending {
            return pending.clone();
        }
        let Surroundings { tasks, stop, .. } = &self.surroundings;
        let fetch = Arc::clone(self).run();
        let running = tasks.spawn(stop.clone().run_until_cancelled_owned(fetch));
        let ended = running.map(|ended| ended.ok().flatten().unwrap_or_else(|| Err(stopped())));
        let pending = ended.boxed().shared();
        state.pending = Some(pending.clone());
        pending
    }

    async fn run(self: Arc<Self>) -> Result<Arc<T>, Unavailable> {
        let asked = self.surroundings.clock.now();
        let fetched = (self.fetch)().await;
        let mut state = self.lock();
        state.pending = None;
        match fetched {
            Ok(Lease { value, lifetime }) => {
                let value = Arc::new(value);
                let ends = lifetime.map(|lifetime| ends(asked, lifetime));
                state.held = Some(Held { value: Arc::clone(&value), ends });
                state.failed = None;
                Ok(value)
            }
            Err(failed) => {
                state.failed = Some((self.surroundings.clock.now(), failed.clone()));
                Err(failed)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// The value, if it is good, and whether it is time to renew it.
    fn held(&self, now: Timestamp) -> Option<(Arc<T>, bool)> {
        let held = self.held.as_ref()?;
        let (renew_at, until) = held.ends.unzip();
        let is_good = until.is_none_or(|until| now < until);
        let is_due = renew_at.is_some_and(|at| at <= now);
        is_good.then(|| (Arc::clone(&held.value), is_due))
    }

    /// The failure that is too recent to try again.
    fn failed(&self, now: Timestamp) -> Option<Unavailable> {
        let recent = self.failed.as_ref().filter(|(at, _)| now < at.after(PAUSE));
        recent.map(|(_, failed)| failed.clone())
    }
}

/// When what was asked for at `asked` is renewed, and until when it is handed out.
fn ends(asked: Timestamp, lifetime: Duration) -> (Timestamp, Timestamp) {
    let used = (lifetime / 10 * 9).max(lifetime.saturating_sub(MARGIN_MAX));
    (asked.after(lifetime / 2), asked.after(used))
}

fn stopped() -> Unavailable {
    Unavailable { reason: "the gateway is stopping".to_owned(), retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Semaphore;

    type Script = Box<dyn Fn(u32) -> Result<Option<u64>, &'static str> + Send + Sync>;

    /// Counts fetches; each gives its number, for as long as the script says, once it may.
    struct Bench {
        renewed: Arc<Renewed<u32>>,
        fetches: Arc<AtomicU32>,
        turns: Arc<Semaphore>,
        clock: Clock,
        tasks: TaskTracker,
    }

    impl Bench {
        fn new(
            script: impl Fn(u32) -> Result<Option<u64>, &'static str> + Send + Sync + 'static,
        ) -> Self {
            let clock = Clock::by_hand(Timestamp::from_micros(1_000_000_000_000));
            let tasks = TaskTracker::new();
            let (fetches, turns) = (Arc::<AtomicU32>::default(), Arc::new(Semaphore::new(99)));
            let (count, gate, script) =
                (Arc::clone(&fetches), Arc::clone(&turns), Arc::new(Box::new(script) as Script));
            let fetch: Fetch<u32> = Box::new(move || {
                let (count, gate, script) =
                    (Arc::clone(&count), Arc::clone(&gate), Arc::clone(&script));
                async move {
                    gate.acquire().await.unwrap().forget();
                    let value = count.fetch_add(1, Ordering::SeqCst) + 1;
                    let answer = script(value)
                        .map(|seconds| Lease { value, lifetime: seconds.map(Duration::from_secs) });
                    answer.map_err(|reason| Unavailable {
                        reason: reason.to_owned(),
                        retry_after: None,
                    })
                }
                .boxed()
            });
            let stop = CancellationToken::new();
            let around = Surroundings { clock: clock.clone(), tasks: tasks.clone(), stop };
            Self { renewed: Renewed::new(around, fetch), fetches, turns, clock, tasks }
        }

        async fn get(&self) -> Result<u32, String> {
            self.renewed.get().await.map(|value| *value).map_err(|failed| failed.reason)
        }

        fn fetches(&self) -> u32 {
            self.fetches.load(Ordering::SeqCst)
        }

        async fn idle(&self) {
            self.tasks.close();
            self.tasks.wait().await;
            self.tasks.reopen();
        }
    }

    #[tokio::test]
    async fn all_who_wait_share_one_fetch() {
        let bench = Bench::new(|_| Ok(Some(60)));
        let all = join_all((0..100).map(|_| bench.get())).await;
        assert!(all.iter().all(|value| *value == Ok(1)), "{all:?}");
        assert_eq!(bench.fetches(), 1);
    }

    #[tokio::test]
    async fn a_value_is_renewed_before_it_ends_while_it_is_still_handed_out() {
        let bench = Bench::new(|_| Ok(Some(60)));
        assert_eq!(bench.get().await, Ok(1));
        bench.clock.advance(Duration::from_secs(29));
        assert_eq!(bench.get().await, Ok(1));
        bench.idle().await;
        assert_eq!(bench.fetches(), 1, "half of its life is not over");
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.get().await, Ok(1), "nobody waits for the renewal");
        bench.idle().await;
        assert_eq!((bench.get().await, bench.fetches()), (Ok(2), 2));
    }

    #[tokio::test]
    async fn a_renewal_that_fails_leaves_the_value_until_it_ends() {
        let bench = Bench::new(|count| if count == 1 { Ok(Some(60)) } else { Err("down") });
        assert_eq!(bench.get().await, Ok(1));
        for _ in 0..4 {
            bench.clock.advance(Duration::from_secs(13));
            assert_eq!(bench.get().await, Ok(1));
            bench.idle().await;
        }
        bench.clock.advance(Duration::from_secs(3));
        assert_eq!(bench.get().await, Err("down".to_owned()), "it would end on the way");
    }

    #[tokio::test]
    async fn after_a_failure_nothing_is_fetched_for_a_second() {
        let bench = Bench::new(|count| if count == 1 { Err("down") } else { Ok(None) });
        for _ in 0..10 {
            assert_eq!(bench.get().await, Err("down".to_owned()));
        }
        assert_eq!(bench.fetches(), 1);
        bench.clock.advance(PAUSE);
        assert_eq!(bench.get().await, Ok(2));
    }

    #[tokio::test]
    async fn what_is_rejected_is_fetched_anew_once() {
        let bench = Bench::new(|_| Ok(None));
        let old = bench.renewed.get().await.unwrap();
        bench.clock.advance(Duration::from_hours(1000));
        assert_eq!(bench.get().await, Ok(1), "without a lifetime it is good until refused");
        bench.renewed.reject(&old);
        assert_eq!(bench.get().await, Ok(2));
        bench.renewed.reject(&old);
        assert_eq!((bench.get().await, bench.fetches()), (Ok(2), 2), "it is gone already");
    }

    #[tokio::test]
    async fn who_uses_it_longer_gets_the_new_one_once_it_is_due() {
        let bench = Bench::new(|count| if count < 3 { Ok(Some(100)) } else { Err("down") });
        assert_eq!(bench.renewed.fresh().await.map(|value| *value), Ok(1));
        bench.clock.advance(Duration::from_secs(49));
        assert_eq!(bench.renewed.fresh().await.map(|value| *value), Ok(1));
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.renewed.fresh().await.map(|value| *value), Ok(2));
        bench.clock.advance(Duration::from_secs(50));
        assert_eq!(bench.renewed.fresh().await.map(|value| *value), Ok(2), "the third is not had");
    }

    #[tokio::test]
    async fn who_stops_waiting_does_not_end_the_fetch() {
        let bench = Bench::new(|_| Ok(None));
        bench.turns.forget_permits(99);
        let impatient = tokio::time::timeout(Duration::ZERO, bench.get()).await;
        assert!(impatient.is_err());
        bench.turns.add_permits(1);
        bench.idle().await;
        assert_eq!((bench.get().await, bench.fetches()), (Ok(1), 1));
    }
}
