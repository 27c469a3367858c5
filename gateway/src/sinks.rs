//! Which way out an event takes: over HTTP, or to a topic of a bus.

use std::sync::Arc;

use eg_bus::{BusSink, Surroundings, Token, Tokens};
use eg_event::{Clock, Delivery, InvalidInput, Outcome, Sink, Subscription};
use eg_http::{Guard, HttpSink, PushConfig, PushError};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Buses take no OAuth2 tokens yet.
struct NoTokens;

impl Tokens for NoTokens {
    fn token<'a>(&'a self, _: &'a Subscription) -> BoxFuture<'a, Result<Token, String>> {
        std::future::ready(Err("no token can be had for a bus".to_owned())).boxed()
    }
}

/// All ways out.
pub struct Sinks {
    /// To endpoints of HTTP.
    pub http: Arc<HttpSink>,
    /// To topics of buses.
    bus: Arc<BusSink>,
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
        let guard = Guard::new(config);
        let around = Surroundings {
            tracker: tracker.clone(),
            stop: stop.clone(),
            check_address: Arc::new(move |address| {
                guard.check_address(address).map_err(|error| error.to_string())
            }),
            tokens: Arc::new(NoTokens),
        };
        let bus = Arc::new(BusSink::new(around.clone()));
        let kept = Arc::clone(&bus);
        tracker.spawn(async move { kept.maintain().await });
        Ok(Self { http: Arc::new(http), bus, around })
    }

    fn of(&self, subscription: &Subscription) -> &dyn Sink {
        match subscription.bus {
            None => &*self.http,
            Some(_) => &*self.bus,
        }
    }
}

impl Sink for Sinks {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Outcome> {
        self.of(&delivery.subscription).deliver(delivery)
    }

    fn check_target(&self, subscription: &Subscription) -> Result<(), InvalidInput> {
        self.of(subscription).check_target(subscription)
    }
}
