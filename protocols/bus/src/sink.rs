//! The way out to buses.

use std::time::Duration;

use eg_event::{Delivery, InvalidInput, Outcome, Sink, Subscription};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::connections::{Connections, Surroundings};
use crate::error::PublishError;
use crate::target::{Bus, Direction, Target};

/// How often connections are looked for that are of no use any more.
const LOOK: Duration = Duration::from_secs(1);

/// Delivers events to topics of buses. Delivered is what the bus has confirmed.
pub struct BusSink {
    connections: Connections,
    stop: CancellationToken,
}

impl BusSink {
    /// Makes connections with what is `around`.
    #[must_use]
    pub fn new(around: Surroundings) -> Self {
        let stop = around.stop.clone();
        Self { connections: Connections::new(around), stop }
    }

    /// Closes connections that nothing is sent over, until it is stopped.
    pub async fn maintain(&self) {
        while self.stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            self.connections.close_idle();
        }
    }

    /// A connection over which nothing was confirmed in time is of no use any more.
    async fn attempt(&self, delivery: &Delivery) -> Result<(), PublishError> {
        let timeout = delivery.subscription.request_timeout();
        let until = Instant::now() + timeout;
        let late = |what: &str| format!("{what} within {} ms", timeout.as_millis());
        let connected = timeout_at(until, self.connections.of(&delivery.subscription)).await;
        let connection = connected.unwrap_or_else(|_| {
            Err(PublishError::NotConnected(late("nobody answered as the scheme of the URL says")))
        })?;
        let published = timeout_at(until, connection.publish(delivery)).await;
        if matches!(published, Err(_) | Ok(Err(PublishError::Lost(_)))) {
            self.connections.give_up(&delivery.subscription.name, &connection);
        }
        published.unwrap_or_else(|_| Err(PublishError::NotConfirmed(late("not confirmed"))))
    }
}

impl Sink for BusSink {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Outcome> {
        async move {
            match self.attempt(delivery).await {
                Ok(()) => Outcome::Delivered { status: None },
                Err(error) => {
                    let reason = error.to_string();
                    Outcome::Failed { status: None, reason, retry_after: None }
                }
            }
        }
        .boxed()
    }

    fn check_target(&self, subscription: &Subscription) -> Result<(), InvalidInput> {
        check(subscription)
    }
}

/// Says what is wrong with where a subscription's events go, as far as that can be told without
/// asking the bus.
pub fn check(subscription: &Subscription) -> Result<(), InvalidInput> {
    let target = Target::of(subscription)?;
    if target.attributes.get("protocolVersion") == Some("3.1.1")
        && target.direction() == Direction::Deliver
        && !target.is_structured()
    {
        let detail = "expected STRUCTURED: MQTT 3.1.1 has no place for attributes beside the data";
        return Err(InvalidInput::new("attributes.contentMode", detail));
    }
    #[cfg(feature = "kafka")]
    if target.bus == Bus::Kafka {
        crate::kafka::check(&target)?;
    }
    match target.direction() {
        Direction::Deliver => check_name(&target)?,
        Direction::Consume if target.topic.text().is_none() => {
            let detail = "expected a topic without braces: it is read, whatever comes";
            return Err(InvalidInput::new("topic", detail));
        }
        Direction::Consume => {}
    }
    let is_named = subscription.auth.as_ref().is_some_and(|auth| auth.certificate.is_some());
    if target.attributes.get("authentication") == Some("EXTERNAL") && !is_named {
        let detail = "expected PASSWORD, or a client certificate in auth";
        return Err(InvalidInput::new("attributes.authentication", detail));
    }
    let Some(auth) = &subscription.auth else { return Ok(()) };
    if auth.certificate.is_some() && !target.tls {
        let detail = "expected a URL with TLS: a client certificate is shown in nothing else";
        return Err(InvalidInput::new("url", detail));
    }
    let of_http = [
        ("auth.requestAuth.csrf", auth.csrf.is_some()),
        ("auth.additionalHeaders", !auth.additional_headers.is_empty()),
        ("auth.additionalQueryParams", !auth.additional_query_params.is_empty()),
    ];
    match of_http.into_iter().find(|(_, is_given)| *is_given) {
        Some((field, _)) => {
            let detail = format!("expected none: {} has no such thing", target.bus);
            Err(InvalidInput::new(field, detail))
        }
        None => Ok(()),
    }
}

/// Says what no event can be published to.
fn check_name(target: &Target) -> Result<(), InvalidInput> {
    let name = target.topic.pattern("any");
    let (is_good, expected) = match target.bus {
        Bus::Mqtt => {
            let expected = "expected a topic name without + and #: events go to one topic";
            (!name.contains(['+', '#']), expected)
        }
        Bus::Nats => {
            let expected = "expected a subject without spaces, wildcards and empty tokens: events \
                go to one subject";
            let is_token = |token: &str| !token.is_empty() && !matches!(token, "*" | ">");
            (name.split('.').all(is_token) && !name.contains(char::is_whitespace), expected)
        }
        _ => return Ok(()),
    };
    if is_good { Ok(()) } else { Err(InvalidInput::new("topic", expected)) }
}
