//! MQTT 5 and 3.1.1: published with QoS 1 or 2, and done when the broker has acknowledged it with a
//! reason code that says so.

mod link;
mod packets;
mod read;
mod reason;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use eg_event::outbound::{Credential, SecretText};
use eg_event::{Delivery, Subscription, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use self::link::{End, Link, Order};
use self::packets::{Admitted, Greeting, Outgoing, Packets};
pub(crate) use self::read::read;
use crate::connections::{Connection, Surroundings};
use crate::error::PublishError;
use crate::message::{Headers, Message};
use crate::target::Target;
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
    admitted: Admitted,
    orders: mpsc::Sender<Order>,
    /// Whoever publishes holds the connection; nobody else keeps it.
    _end: DropGuard,
}

/// Where a link leads, and who the gateway is there.
struct Place {
    target: Target,
    subscription: Subscription,
    around: Surroundings,
    /// For who reads: how many messages may be under way in a session that outlives the connection.
    session: Option<u16>,
}

/// Who the gateway is towards a broker, and until when that holds.
struct Named {
    credential: Option<(String, SecretText)>,
    until: Option<Timestamp>,
}

impl Mqtt {
    pub(crate) async fn connect(
        target: Target,
        subscription: &Subscription,
        around: &Surroundings,
    ) -> Result<Self, PublishError> {
        let place = Place {
            target: target.clone(),
            subscription: subscription.clone(),
            around: around.clone(),
            session: None,
        };
        let (link, until) = place.open().await?;
        let admitted = link.admitted().clone();
        let (orders, taken) = mpsc::channel(QUEUED_MAX);
        let end = around.stop.child_token();
        let ended = end.clone();
        around.tracker.spawn(async move {
            ended.run_until_cancelled(place.serve((link, until), taken)).await;
        });
        Ok(Self { target, admitted, orders, _end: end.drop_guard() })
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

impl Mqtt {
    /// What the broker takes, as far as it said so when it let the gateway in.
    fn admits(&self) -> Result<String, PublishError> {
        let Admitted { qos_max, retain_available, packet_bytes_max } = self.admitted;
        let attributes = &self.target.attributes;
        let wrong = |what: String| Err(PublishError::NotConfirmed(what));
        let qos = attributes.number("qos").unwrap_or(1);
        if qos > u64::from(qos_max) {
            return wrong(format!("the broker takes QoS {qos_max} at most: set attributes.qos"));
        }
        if !retain_available && attributes.get("retain") == Some("true") {
            return wrong("the broker retains nothing: leave attributes.retain out".to_owned());
        }
        let size = match packet_bytes_max {
            Some(max) => format!("of at most {max} bytes, topic and attributes included"),
            None => "of any size".to_owned(),
        };
        let retains = if retain_available { "retains" } else { "does not retain" };
        Ok(format!(
            "the broker takes QoS {qos_max} and messages {size}, and {retains}; whether the topic \
             may be published to it says with the first event"
        ))
    }
}

impl Connection for Mqtt {
    fn publish<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), PublishError>> {
        self.hand_over(delivery).boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Result<String, PublishError>> {
        std::future::ready(self.admits()).boxed()
    }
}

impl Place {
    /// Publishes what is ordered, until nobody orders any more or the connection is lost. When what
    /// the gateway is known by ends, it goes over to a new connection.
    async fn serve(
        self,
        (mut link, mut until): (Link, Option<Timestamp>),
        mut orders: mpsc::Receiver<Order>,
    ) {
        let clock = &self.around.clock;
        loop {
            // Well before the token ends: the broker may count from a somewhat earlier instant.
            let left = until.map(|until| until.since(clock.now()) * 3 / 4);
            let spent_at = left.map(|left| Instant::now() + left);
            match link.run(&mut orders, spent_at).await {
                End::Closed => return,
                End::Spent => match self.open().await {
                    Ok(opened) => (link, until) = opened,
                    Err(error) => return link::refuse(&mut orders, &error),
                },
            }
        }
    }

    /// Connects to the first host that lets the gateway in.
    async fn open(&self) -> Result<(Link, Option<Timestamp>), PublishError> {
        let Named { credential, until } = self.named().await?;
        let mut last = PublishError::NotConnected("the URL names no host".to_owned());
        for host in &self.target.hosts {
            let addresses = match self.around.addresses(host).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            match self.open_one((&host.0, &addresses), credential.as_ref()).await {
                Ok(link) => return Ok((link, until)),
                Err(why) => last = PublishError::NotConnected(format!("{}: {why}", host.0)),
            }
        }
        Err(last)
    }

    async fn named(&self) -> Result<Named, PublishError> {
        let credential = self.subscription.auth.as_ref().and_then(|auth| auth.credential.as_ref());
        let (credential, until) = match credential {
            None => (None, None),
            Some(Credential::Basic { username, password }) => {
                (Some((username.clone(), password.clone())), None)
            }
            Some(Credential::OAuth(client)) => {
                let token = self.around.tokens.token(&self.subscription).await;
                let token = token.map_err(PublishError::NotConnected)?;
                (Some((client.client_id.clone(), token.secret)), token.expires_at)
            }
        };
        Ok(Named { credential, until })
    }

    /// Connects to one host, and waits until the broker lets the gateway in.
    async fn open_one(
        &self,
        (host, addresses): (&str, &[SocketAddr]),
        credential: Option<&(String, SecretText)>,
    ) -> Result<Link, String> {
        let Self { target, subscription, .. } = self;
        let stream = TcpStream::connect(addresses).await.map_err(|error| tls::reason(&error))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let client_id = target.attributes.get("clientId").map(str::to_owned);
        let greeting = Greeting {
            client_id: client_id.unwrap_or_else(|| format!("event-gateway-{}", subscription.name)),
            named: credential.map(|(name, secret)| (name.clone(), secret.expose().to_owned())),
            keep_alive: KEEP_ALIVE,
            session: self.session,
        };
        let packets = Packets::new(target.attributes.get("protocolVersion") == Some("3.1.1"));
        let stream: Box<dyn link::Stream> = if target.tls {
            let config = tls::of(target, subscription)?;
            Box::new(tls::connect(config, host, stream).await?)
        } else {
            Box::new(stream)
        };
        Link::new(stream, packets, KEEP_ALIVE).greet(&greeting).await
    }
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
