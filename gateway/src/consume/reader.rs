//! Reads one topic: receives, hands over, settles, and begins anew when the bus is lost.

use std::sync::Arc;
use std::time::Duration;

use eg_auth::a_bus_of;
use eg_bus::{Arrival, Bus, Context, Settlement, Source, SourceError, normalize};
use eg_event::{Principal, Receipt, Refusal, Submission, Subscription};
use eg_http::random_uuid;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use super::Ports;
use super::standing::{LastRefusal, Progress, Standing};

/// How long connecting may take.
const OPEN_MAX: Duration = Duration::from_mins(1);
/// The pause before the first new attempt to connect; it doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The longest time that is waited at once for what is short to be there again.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How soon it is looked again how many messages wait on the bus, when some did and none comes.
/// Sources notice sooner that they wait in vain.
const LAG_EVERY: Duration = Duration::from_secs(30);

/// Reads one topic for an application.
pub(super) struct Reader {
    principal: Arc<Principal>,
    subscription: Arc<Subscription>,
    ports: Ports,
    standing: Arc<Standing>,
}

/// What became of a message at one attempt to hand it over.
enum Step {
    Done(Settlement),
    /// Later it may be taken; why not now, and when.
    Later(String, Duration),
}

impl Reader {
    pub(super) fn new(
        application: &str,
        subscription: Arc<Subscription>,
        ports: Ports,
        standing: Arc<Standing>,
    ) -> Self {
        Self { principal: a_bus_of(application), subscription, ports, standing }
    }

    /// Reads until `stop`, whatever happens to the bus.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        let mut failures = 0_u32;
        loop {
            let opened = tokio::time::timeout(OPEN_MAX, self.open());
            let Some(opened) = Box::pin(stop.run_until_cancelled(opened)).await else { return };
            let ended = match opened {
                Ok(Ok(source)) => {
                    self.standing.now().progress = Progress::Reading;
                    tracing::info!(subscription = self.subscription.name, "a topic is read");
                    let settled = self.standing.view().settled();
                    let ended = self.follow(source, stop).await;
                    if settled != self.standing.view().settled() {
                        failures = 0;
                    }
                    ended
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(SourceError(format!("not connected within {OPEN_MAX:?}"))),
            };
            let Err(error) = ended else { return };
            self.fail(&error);
            let pause = pause(failures);
            failures = failures.saturating_add(1);
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn open(&self) -> Result<Box<dyn Source>, SourceError> {
        eg_bus::open(&self.subscription, &self.ports.around).await
    }

    fn fail(&self, error: &SourceError) {
        let failed = Progress::Failed(error.to_string());
        let mut view = self.standing.now();
        if view.progress != failed {
            tracing::warn!(subscription = self.subscription.name, %error, "a topic is not read");
        }
        view.progress = failed;
        view.lag = None;
    }

    /// Reads from `source` until it is lost, or `stop`.
    async fn follow(
        &self,
        mut source: Box<dyn Source>,
        stop: &CancellationToken,
    ) -> Result<(), SourceError> {
        loop {
            let received = stop.run_until_cancelled(self.receive(&mut *source)).await;
            let Some(received) = received else { return Ok(()) };
            if let Some(arrivals) = received? {
                let settlements = self.take(&arrivals, &mut *source, stop).await;
                source.settle(&settlements).await?;
            }
            let lag = source.lag().await;
            self.standing.now().lag = lag;
        }
    }

    /// Waits for messages; for those that the bus said it had, not long: it may have none any more,
    /// or give them to another reader.
    async fn receive(&self, source: &mut dyn Source) -> Result<Option<Vec<Arrival>>, SourceError> {
        if self.standing.view().lag == Some(0) {
            return source.receive().await.map(Some);
        }
        let received = tokio::time::timeout(LAG_EVERY, source.receive()).await;
        received.map_or(Ok(None), |received| received.map(Some))
    }

    /// Hands messages over, and says what became of each. As long as some are to come later, none
    /// after them is received: that is how back-pressure reaches the bus.
    async fn take(
        &self,
        arrivals: &[Arrival],
        source: &mut dyn Source,
        stop: &CancellationToken,
    ) -> Vec<Settlement> {
        let mut settlements = vec![Settlement::Again; arrivals.len()];
        let mut left: Vec<usize> = (0..arrivals.len()).collect();
        loop {
            let steps = self.attempt(arrivals, &left).await;
            let mut later = None;
            let mut held = Vec::new();
            for (place, step) in left.into_iter().zip(steps) {
                match step {
                    Step::Done(settlement) => settlements[place] = settlement,
                    Step::Later(why, after) => {
                        held.push(place);
                        later.get_or_insert((why, after));
                    }
                }
            }
            let Some((why, after)) = later else {
                self.standing.now().waits = None;
                return settlements;
            };
            self.standing.now().waits = Some(why);
            let lag = source.lag().await;
            self.standing.now().lag = lag;
            let pause = tokio::time::sleep(after.min(RETRY_MAX));
            if stop.run_until_cancelled(pause).await.is_none() {
                return settlements;
            }
            left = held;
        }
    }

    /// Hands over the messages at `places`.
    async fn attempt(&self, arrivals: &[Arrival], places: &[usize]) -> Vec<Step> {
        let now_text = self.ports.clock.now().to_string();
        let read = |place: &usize| self.normalize(&arrivals[*place], &now_text);
        let mut refused = Vec::with_capacity(places.len());
        let mut submissions = Vec::with_capacity(places.len());
        for normalized in places.iter().map(read) {
            match normalized {
                Ok(submission) => {
                    submissions.push(submission);
                    refused.push(None);
                }
                Err(refusal) => refused.push(Some(refusal)),
            }
        }
        let mut answers = self.ports.ingest.ingest(submissions).await.into_iter();
        let steps = places.iter().zip(refused).map(|(place, refused)| {
            let answer = match refused {
                Some(refusal) => Err(refusal),
                None => answers.next().unwrap_or_else(|| Err(unanswered())),
            };
            self.settled(&arrivals[*place], answer)
        });
        steps.collect()
    }

    fn normalize(&self, arrival: &Arrival, now_text: &str) -> Result<Submission, Refusal> {
        let url = &*self.subscription.endpoint;
        let scheme = url.split(':').next().unwrap_or_default();
        let (bus, ..) = Bus::of_scheme(scheme).ok_or_else(unanswered)?;
        let context = Context {
            bus,
            url,
            principal: &self.principal,
            channels: &*self.ports.channels,
            now_text,
            fresh_id: &random_uuid,
        };
        normalize(arrival, context)
    }

    fn count(&self, outcome: &'static str) {
        self.ports.metrics.consumed(self.standing.bus(), outcome);
    }

    /// Counts what became of a message, and says what the bus is told.
    fn settled(&self, arrival: &Arrival, answer: Result<Receipt, Refusal>) -> Step {
        let mut view = self.standing.now();
        match answer {
            Ok(receipt) if receipt.duplicate => {
                view.duplicates += 1;
                self.count("duplicate");
                Step::Done(Settlement::Taken)
            }
            Ok(_) => {
                view.taken += 1;
                self.count("taken");
                Step::Done(Settlement::Taken)
            }
            Err(refusal) => match &refusal {
                Refusal::Busy { retry_after }
                | Refusal::Quota { retry_after, .. }
                | Refusal::Unavailable { retry_after, .. } => {
                    Step::Later(refusal.to_string(), *retry_after)
                }
                Refusal::Unauthenticated(_)
                | Refusal::Forbidden(_)
                | Refusal::Invalid(_)
                | Refusal::TooLarge { .. } => {
                    let (reason, at) = (refusal.to_string(), self.ports.clock.now());
                    view.refused += 1;
                    self.count("refused");
                    tracing::warn!(
                        subscription = self.subscription.name,
                        topic = arrival.topic,
                        message = arrival.identity,
                        reason,
                        "a message is refused"
                    );
                    view.last_refusal = Some(LastRefusal { reason: reason.clone(), at });
                    Step::Done(Settlement::Refused(reason))
                }
            },
        }
    }
}

/// The store went away between question and answer.
fn unanswered() -> Refusal {
    let reason = "the store gave no answer".into();
    Refusal::Unavailable { reason, retry_after: Duration::from_secs(1) }
}

/// How long to wait after `failures` in a row, with jitter, so that not all come back at once.
fn pause(failures: u32) -> Duration {
    let ceiling = PAUSE_MIN.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX);
    rand::rng().random_range(ceiling / 2..=ceiling)
}
