//! Where events go: a bus, by the scheme of its URL, and a topic of it.

use std::fmt;

use eg_event::{InvalidInput, Protocol, Subscription};

use crate::attributes::Attributes;
use crate::template::Template;

/// An external bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// Apache Kafka and what speaks its protocol.
    Kafka,
    /// NATS JetStream.
    Nats,
    /// AMQP 0.9.1.
    Amqp,
    /// AMQP 1.0.
    Amqp10,
    /// MQTT 5.
    Mqtt,
    /// Receivers of HTTP, which are no bus but understand attributes too. No [`Target`] has it.
    Http,
}

impl Bus {
    pub(crate) const ALL: [Self; 5] =
        [Self::Kafka, Self::Nats, Self::Amqp, Self::Amqp10, Self::Mqtt];

    /// Whether this program speaks to it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Mqtt => cfg!(feature = "mqtt"),
            Self::Nats => cfg!(feature = "nats"),
            Self::Amqp => cfg!(feature = "amqp"),
            Self::Amqp10 => cfg!(feature = "amqp10"),
            Self::Http => true,
            Self::Kafka => cfg!(feature = "kafka"),
        }
    }

    /// Whether TLS is the first thing that is spoken, where it is spoken.
    pub(crate) fn begins_with_tls(self) -> bool {
        self != Self::Nats
    }

    /// The word for it in metrics and event types.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Nats => "nats",
            Self::Amqp => "amqp",
            Self::Amqp10 => "amqp10",
            Self::Mqtt => "mqtt",
            Self::Http => "http",
        }
    }

    /// Over what events come that are read from it.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Kafka => Protocol::Kafka,
            Self::Nats => Protocol::Nats,
            Self::Amqp => Protocol::Amqp,
            Self::Amqp10 => Protocol::Amqp10,
            Self::Mqtt => Protocol::MqttBus,
            Self::Http => Protocol::Http,
        }
    }

    /// The bus of a scheme, whether it is spoken over TLS, and its usual port.
    #[must_use]
    pub fn of_scheme(scheme: &str) -> Option<(Self, bool, u16)> {
        Some(match scheme {
            "kafka" => (Self::Kafka, false, 9092),
            "kafkas" => (Self::Kafka, true, 9093),
            "nats" => (Self::Nats, false, 4222),
            "tls+nats" => (Self::Nats, true, 4222),
            "amqp" => (Self::Amqp, false, 5672),
            "amqps" => (Self::Amqp, true, 5671),
            "amqp10" => (Self::Amqp10, false, 5672),
            "amqps10" => (Self::Amqp10, true, 5671),
            "mqtt" => (Self::Mqtt, false, 1883),
            "mqtts" => (Self::Mqtt, true, 8883),
            _ => return None,
        })
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka => "Kafka",
            Self::Nats => "NATS",
            Self::Amqp => "AMQP 0.9.1",
            Self::Amqp10 => "AMQP 1.0",
            Self::Mqtt => "MQTT",
            Self::Http => "HTTP",
        })
    }
}

/// Which way events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the topic.
    Deliver,
    /// From the topic.
    Consume,
}

/// A topic of a bus, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The bus.
    pub bus: Bus,
    /// Whether it is spoken over TLS.
    pub tls: bool,
    /// Where it is: one of these, each with its port.
    pub hosts: Vec<(String, u16)>,
    /// The path of the URL, decoded: the virtual host of AMQP.
    pub path: Option<String>,
    /// The topic.
    pub topic: Template,
    /// What is said besides.
    pub attributes: Attributes,
}

impl Target {
    /// The target of a subscription; names the field that makes none of it.
    pub fn of(subscription: &Subscription) -> Result<Self, InvalidInput> {
        let Some(topic) = &subscription.bus else {
            return Err(InvalidInput::new("topic", "expected a topic of a bus"));
        };
        let url = &subscription.endpoint;
        let wrong = || {
            let detail = "expected a URL such as nats://bus.example:4222, of kafka, kafkas, nats, \
                tls+nats, amqp, amqps, amqp10, amqps10, mqtt or mqtts, without user information";
            InvalidInput::new("url", detail)
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (bus, tls, port) = Bus::of_scheme(scheme).ok_or_else(wrong)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let has_path = matches!(bus, Bus::Amqp | Bus::Amqp10);
        let path = match path {
            "" => None,
            path if has_path => Some(virtual_host(path).ok_or_else(wrong)?),
            _ => return Err(wrong()),
        };
        let hosts = authority.split(',').map(|one| host(one, port)).collect::<Option<_>>();
        let attributes = Attributes::parse(bus, &topic.attributes)?;
        let name = Template::parse(&topic.topic)
            .map_err(|expected| InvalidInput::new("topic", expected))?;
        Ok(Self { bus, tls, hosts: hosts.ok_or_else(wrong)?, path, topic: name, attributes })
    }

    /// Which way events go.
    #[must_use]
    pub fn direction(&self) -> Direction {
        match self.attributes.get("direction") {
            Some("consume") => Direction::Consume,
            _ => Direction::Deliver,
        }
    }

    /// Whether the whole event is one JSON object (structured content mode).
    #[must_use]
    pub fn is_structured(&self) -> bool {
        self.attributes.get("contentMode") == Some("STRUCTURED")
    }
}

fn host(text: &str, port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, port),
        Some((address, rest)) => (address, rest.strip_prefix(':')?.parse().ok()?),
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, port),
        },
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
    (!host.is_empty() && host.bytes().all(allowed)).then(|| (host.to_owned(), port))
}

/// The virtual host of a path: one segment, percent-encoded (RFC 3986 section 2.1).
fn virtual_host(path: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'/' | b'?' | b'#' => return None,
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eg_event::subscription::BusTopic;

    fn target(url: &str) -> Result<Target, InvalidInput> {
        let mut subscription = Subscription::new("out", url);
        subscription.bus = Some(BusTopic { topic: "t".to_owned(), ..BusTopic::default() });
        Target::of(&subscription)
    }

    #[test]
    fn the_scheme_chooses_the_bus_and_the_port() {
        let found = target("kafkas://a.example,[::1]:19093/").unwrap();
        assert_eq!((found.bus, found.tls), (Bus::Kafka, true));
        assert_eq!(found.hosts, [("a.example".to_owned(), 9093), ("::1".to_owned(), 19093)]);
        assert_eq!(target("tls+nats://b").unwrap().hosts, [("b".to_owned(), 4222)]);
    }

    #[test]
    fn the_path_of_amqp_is_the_virtual_host() {
        let path = |url| target(url).unwrap().path;
        assert_eq!(path("amqp://b"), None);
        assert_eq!(path("amqps://b/"), None);
        assert_eq!(path("amqp10://b:5672/lamps").as_deref(), Some("lamps"));
        assert_eq!(path("amqp://b/%2Fcaf%C3%A9").as_deref(), Some("/caf\u{e9}"));
        for url in ["amqp://b/a/b", "amqp://b/%2", "amqp://b/%ff", "amqp://b/a?heartbeat=1"] {
            assert_eq!(target(url).unwrap_err().field, "url", "{url}");
        }
    }

    #[test]
    fn a_url_that_leads_to_no_bus_is_refused() {
        let rows = ["", "nats:b", "nats://", "ftp://b", "nats://u:p@b", "nats://b:x", "nats://b/c"];
        for url in rows {
            assert_eq!(target(url).unwrap_err().field, "url", "{url}");
        }
    }
}
