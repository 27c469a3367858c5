//! MQTT 5 and 3.1.1: published with QoS 1 or 2, and done when the broker has acknowledged it with a
//! reason code that says so.

mod link;
mod packets;
mod read;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use eg_event::outbound::Credential;
use eg_event::{Delivery, Subscription};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsConnector;

use self::link::{Link, Order};
use self::packets::{Greeting, Outgoing, Packets};
pub(crate) use self::read::read;
use crate::connections::{Connection, Surroundings};
use crate::error::PublishError;
use crate::message::{Headers, Message};
use crate::target::{Direction, Target};
use crate::tls;

/// How the MQTT binding of CloudEvents (1.0.2, section 3.1) writes attributes.
const HEADERS: Headers = Headers { prefix: "", content_type: "content-type", value: as_it_is };
/// How many events may wait for their turn on the socket.
const QUEUED_MAX: usize = 512;
/// The keep alive: without an answer for one and a half of it the broker counts as gone.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A connection to an MQTT broker.
pub(crate) struct Mqtt {
    target: Target,
    orders: mpsc::Sender<Order>,
}

impl Mqtt {
    pub(crate) async fn connect(
        target: Target,
        subscription: &Subscription,
        around: &Surroundings,
    ) -> Result<Self, PublishError> {
        let mut last = PublishError::NotConnected("the URL names no host".to_owned());
        for host in &target.hosts {
            let addresses = around.addresses(host).await?;
            match open(&target, subscription, (&host.0, &addresses)).await {
                Ok(link) => {
                    let (orders, taken) = mpsc::channel(QUEUED_MAX);
                    let stop = around.stop.clone();
                    around.tracker.spawn(async move {
                        stop.run_until_cancelled(link.run(taken)).await;
                    });
                    return Ok(Self { target, orders });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn hand_over(&self, delivery: &Delivery) -> Result<(), PublishError> {
        let event = &delivery.event.event;
        let topic = self.target.topic.fill(event, level).map_err(PublishError::NotConfirmed)?;
        let message = Message::of(delivery, self.target.is_structured(), &HEADERS);
        let outgoing = Outgoing {
            topic: topic.into_owned(),
            message,
            exactly_once: self.target.attributes.get("qos") == Some("2"),
            retain: self.target.attributes.get("retain") == Some("true"),
        };
        let (done, answer) = oneshot::channel();
        let lost = || PublishError::Lost("it was closed".to_owned());
        self.orders.send(Order { outgoing, done }).await.map_err(|_| lost())?;
        answer.await.map_err(|_| lost())?
    }
}

impl Connection for Mqtt {
    fn publish<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), PublishError>> {
        self.hand_over(delivery).boxed()
    }
}

/// Connects to one host, and waits until the broker lets the gateway in.
async fn open(
    target: &Target,
    subscription: &Subscription,
    (host, addresses): (&str, &[SocketAddr]),
) -> Result<Link, PublishError> {
    let not_connected = |why: String| PublishError::NotConnected(format!("{host}: {why}"));
    let stream = TcpStream::connect(addresses).await;
    let stream = stream.map_err(|error| not_connected(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| not_connected(error.to_string()))?;
    let credential = subscription.auth.as_ref().and_then(|auth| auth.credential.as_ref());
    let named = match credential {
        Some(Credential::Basic { username, password }) => {
            Some((username.clone(), password.expose().to_owned()))
        }
        _ => None,
    };
    let client_id = target.attributes.get("clientId").map(str::to_owned);
    let greeting = Greeting {
        client_id: client_id.unwrap_or_else(|| format!("event-gateway-{}", subscription.name)),
        named,
        keep_alive: KEEP_ALIVE,
        session: (target.direction() == Direction::Consume).then_some(subscription.max_in_flight),
    };
    let packets = Packets::new(target.attributes.get("protocolVersion") == Some("3.1.1"));
    let link = if target.tls {
        let authorities = target.attributes.get("caCertificates");
        let identity = subscription.auth.as_ref().and_then(|auth| auth.certificate.as_ref());
        let config = tls::client(authorities, identity).map_err(not_connected)?;
        let name = rustls::pki_types::ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| not_connected(error.to_string()))?;
        let stream = TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| not_connected(error.to_string()))?;
        Link::new(Box::new(stream), packets, KEEP_ALIVE)
    } else {
        Link::new(Box::new(stream), packets, KEEP_ALIVE)
    };
    link.greet(&greeting).await.map_err(not_connected)
}

fn as_it_is(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

/// What may stand in a topic name (MQTT 5.0 section 4.7.1); wildcards are percent-encoded.
fn level(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '#', '\0', '%']) {
        return Cow::Borrowed(text);
    }
    let written = text.replace('%', "%25").replace('+', "%2B").replace('#', "%23");
    Cow::Owned(written.replace('\0', "%00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_a_topic_makes_no_wildcard() {
        let rows = [("a/b", "a/b"), ("a+b", "a%2Bb"), ("#", "%23"), ("5%", "5%25")];
        for (text, written) in rows {
            assert_eq!(level(text), written);
        }
    }
}
