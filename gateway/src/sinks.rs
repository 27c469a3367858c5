//! Which way out an event takes: over HTTP, or to a topic of a bus.

use std::sync::Arc;

use eg_bus::{BusSink, Surroundings, Token, Tokens};
use eg_event::{Clock, Delivery, InvalidInput, Outcome, Sink, Subscription};
use eg_http::{Guard, HttpSink, PushConfig, PushError, check_auth};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Buses take the tokens that receivers of HTTP would be shown.
struct HttpTokens(Arc<HttpSink>);

impl Tokens for HttpTokens {
    fn token<'a>(&'a self, subscription: &'a Subscription) -> BoxFuture<'a, Result<Token, String>> {
        async move {
            let auth = subscription.auth.as_ref().ok_or("expected auth.credential.oauth")?;
            let (secret, expires_at) = self.0.access_token(auth).await?;
            Ok(Token { secret, expires_at })
        }
        .boxed()
    }
}

/// All ways out.
pub struct Sinks {
    /// To endpoints of HTTP.
    pub http: Arc<HttpSink>,
    /// To topics of buses.
    bus: Arc<BusSink>,
    guard: Guard,
    clock: Clock,
    /// What connections to buses are made with, in both directions.
    pub around: Surroundings,
}

impl Sinks {
    /// Sends events to where `config` lets them go, over connections whose tasks end with `stop`.
    pub fn open(
        config: &PushConfig,
        clock: &Clock,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, PushError> {
        let http = HttpSink::new(config, clock.clone(), tracker.clone(), stop.clone())?;
        let (http, guard) = (Arc::new(http), Guard::new(config));
        let around = surroundings((&http, &guard), clock, tracker, stop);
        let bus = Arc::new(BusSink::new(around.clone()));
        let kept = Arc::clone(&bus);
        tracker.spawn(async move { kept.maintain().await });
        Ok(Self { http, bus, around, guard, clock: clock.clone() })
    }

    /// What connections to buses are made with, for those who deliver nothing.
    pub fn surroundings(
        config: &PushConfig,
        clock: &Clock,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Surroundings, PushError> {
        let http = HttpSink::new(config, clock.clone(), tracker.clone(), stop.clone())?;
        Ok(surroundings((&Arc::new(http), &Guard::new(config)), clock, tracker, stop))
    }

    fn of(&self, subscription: &Subscription) -> &dyn Sink {
        match subscription.bus {
            None => &*self.http,
            Some(_) => &*self.bus,
        }
    }
}

fn surroundings(
    (http, guard): (&Arc<HttpSink>, &Guard),
    clock: &Clock,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> Surroundings {
    let guard = guard.clone();
    Surroundings {
        tracker: tracker.clone(),
        stop: stop.clone(),
        check_address: Arc::new(move |address| {
            guard.check_address(address).map_err(|error| error.to_string())
        }),
        tokens: Arc::new(HttpTokens(Arc::clone(http))),
        clock: clock.clone(),
    }
}

impl Sink for Sinks {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Outcome> {
        self.of(&delivery.subscription).deliver(delivery)
    }

    fn check_target(&self, subscription: &Subscription) -> Result<(), InvalidInput> {
        self.of(subscription).check_target(subscription)?;
        match subscription.bus {
            // The other sink has done so.
            None => Ok(()),
            Some(_) => check_auth(&self.guard, subscription, self.clock.now()),
        }
    }
}
