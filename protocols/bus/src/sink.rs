//! The way out to buses.

use eg_event::outbound::Credential;
use eg_event::{Delivery, InvalidInput, Outcome, Sink, Subscription};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio_util::sync::CancellationToken;

use crate::connections::{Connections, Surroundings};
use crate::error::PublishError;
use crate::target::{Bus, Target};

/// How often idle connections are looked for.
const LOOK: std::time::Duration = std::time::Duration::from_secs(30);

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

    async fn attempt(&self, delivery: &Delivery) -> Result<(), PublishError> {
        let connection = self.connections.of(&delivery.subscription).await?;
        let published = connection.publish(delivery).await;
        if matches!(published, Err(PublishError::Lost(_))) {
            self.connections.give_up(&delivery.subscription.name, &connection);
        }
        published
    }
}

impl Sink for BusSink {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Outcome> {
        async move {
            let timeout = delivery.subscription.request_timeout();
            let failed =
                |reason: String| Outcome::Failed { status: None, reason, retry_after: None };
            match tokio::time::timeout(timeout, self.attempt(delivery)).await {
                Ok(Ok(())) => Outcome::Delivered { status: None },
                Ok(Err(error)) => failed(error.to_string()),
                Err(_) => failed(format!("not confirmed within {} ms", timeout.as_millis())),
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
    if target.attributes.get("protocolVersion") == Some("3.1.1") && !target.is_structured() {
        let detail = "expected STRUCTURED: MQTT 3.1.1 has no place for attributes beside the data";
        return Err(InvalidInput::new("attributes.contentMode", detail));
    }
    #[cfg(feature = "kafka")]
    if target.bus == Bus::Kafka {
        crate::kafka::check(&target)?;
    }
    let Some(auth) = &subscription.auth else { return Ok(()) };
    if auth.certificate.is_some() && !target.tls {
        let detail = "expected a URL with TLS: a client certificate is shown in nothing else";
        return Err(InvalidInput::new("url", detail));
    }
    if auth.csrf.is_some() {
        let detail = format!("expected none: {} knows no such tokens", target.bus);
        return Err(InvalidInput::new("auth.requestAuth.csrf", detail));
    }
    let takes_tokens = target.bus == Bus::Kafka;
    if matches!(auth.credential, Some(Credential::OAuth(_))) && !takes_tokens {
        let detail = format!("expected basic: {} takes no OAuth2 tokens here", target.bus);
        return Err(InvalidInput::new("auth.credential.oauth", detail));
    }
    Ok(())
}
