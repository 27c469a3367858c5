//! What can be said of a topic besides its name: the one table of attributes.

use std::collections::BTreeMap;

use eg_event::subscription::Ordering;
use eg_event::{InvalidInput, Subscription};

use crate::target::Bus;
use crate::template::Template;

/// How many characters a name may differ by from the one that is suggested; half of them at most.
const SUGGESTION_DISTANCE_MAX: usize = 4;

/// The longest pause between two attempts that can be asked for, in milliseconds.
const WEEK_MS: u64 = 604_800_000;

/// An attribute that a bus understands.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// Who understands it.
    pub buses: &'static [Bus],
    /// What it can be.
    pub kind: Kind,
    /// What goes without saying; empty: nothing.
    pub default: &'static str,
    /// What it does.
    pub effect: &'static str,
}

/// What an attribute can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number in this range.
    Number(u64, u64),
    /// Any text that is not empty.
    Text,
    /// A text with attributes of the event in braces, as in `orders.{type}`.
    Template,
    /// Certificates in PEM.
    Pem,
}

const ALL: &[Bus] = &Bus::ALL;
/// The buses, and receivers of HTTP.
const EVERYWHERE: &[Bus] = &[Bus::Kafka, Bus::Nats, Bus::Amqp, Bus::Amqp10, Bus::Mqtt, Bus::Http];

/// Every attribute of every bus.
pub const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "authentication",
        buses: &[Bus::Kafka],
        kind: Kind::Word(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
        default: "PLAIN",
        effect: "the SASL mechanism of the basic credential; that of an OAuth2 one is OAUTHBEARER",
    },
    Attribute {
        name: "authentication",
        buses: &[Bus::Nats],
        kind: Kind::Word(&["PASSWORD", "TOKEN", "NKEY", "CREDENTIALS"]),
        default: "PASSWORD",
        effect: "what the password of the basic credential is: a password, a token, the seed of a \
            key, or the text of a credentials file",
    },
    Attribute {
        name: "authentication",
        buses: &[Bus::Amqp, Bus::Amqp10],
        kind: Kind::Word(&["PASSWORD", "EXTERNAL"]),
        default: "PASSWORD",
        effect: "whether the broker asks for the name and the password (or token) of auth, or takes \
            the client certificate for an answer",
    },
    Attribute {
        name: "caCertificates",
        buses: ALL,
        kind: Kind::Pem,
        default: "",
        effect: "what the bus is trusted by, instead of the authorities of the system",
    },
    Attribute {
        name: "clientId",
        buses: &[Bus::Kafka, Bus::Mqtt],
        kind: Kind::Text,
        default: "",
        effect: "the client identifier; by default event-gateway- and the name of the subscription",
    },
    Attribute {
        name: "contentMode",
        buses: ALL,
        kind: Kind::Word(&["BINARY", "STRUCTURED"]),
        default: "BINARY",
        effect: "whether attributes are beside the data or in one JSON object with it",
    },
    Attribute {
        name: "contentMode",
        buses: &[Bus::Http],
        kind: Kind::Word(&["BINARY", "STRUCTURED", "KYMA"]),
        default: "BINARY",
        effect: "the same, or as Kyma writes events",
    },
    Attribute {
        name: "direction",
        buses: ALL,
        kind: Kind::Word(&["deliver", "consume"]),
        default: "deliver",
        effect: "whether events go to the topic, or come from it",
    },
    Attribute {
        name: "direction",
        buses: &[Bus::Http],
        kind: Kind::Word(&["deliver"]),
        default: "deliver",
        effect: "over HTTP, events come in at the gateway's own port",
    },
    Attribute {
        name: "exchange",
        buses: &[Bus::Amqp],
        kind: Kind::Text,
        default: "",
        effect: "the exchange whose routing key the topic is; by default the topic is the name of a \
            queue",
    },
    Attribute {
        name: "exclusive",
        buses: &[Bus::Amqp],
        kind: Kind::Word(&["true", "false"]),
        default: "true",
        effect: "whether nobody else reads the queue meanwhile, which keeps its order",
    },
    Attribute {
        name: "group",
        buses: &[Bus::Nats],
        kind: Kind::Text,
        default: "",
        effect: "the durable consumer that is read by; by default event-gateway- and the name of \
            the subscription",
    },
    Attribute {
        name: "group",
        buses: &[Bus::Mqtt],
        kind: Kind::Text,
        default: "",
        effect: "the shared subscription that is read by; by default the gateway reads alone",
    },
    Attribute {
        name: "headerPrefix",
        buses: &[Bus::Amqp, Bus::Amqp10],
        kind: Kind::Word(&["cloudEvents_", "cloudEvents:", "ce-"]),
        default: "cloudEvents_",
        effect: "what the names of attributes begin with, as headers or application properties",
    },
    Attribute {
        name: "group",
        buses: &[Bus::Kafka],
        kind: Kind::Text,
        default: "",
        effect: "the consumer group; by default event-gateway- and the name of the subscription",
    },
    Attribute {
        name: "maxInFlight",
        buses: ALL,
        kind: Kind::Number(1, 400),
        default: "256",
        effect: "how many events are on their way to the bus, or from it, at once",
    },
    Attribute {
        name: "maxInFlight",
        buses: &[Bus::Http],
        kind: Kind::Number(1, 400),
        default: "16",
        effect: "how many requests are under way at once",
    },
    Attribute {
        name: "ordering",
        buses: EVERYWHERE,
        kind: Kind::Word(&["NONE", "KEY"]),
        default: "NONE",
        effect: "whether events of one key are handed over one after another",
    },
    Attribute {
        name: "orderingKey",
        buses: EVERYWHERE,
        kind: Kind::Text,
        default: "",
        effect: "the attribute that is the key; by default partitionkey, else subject, else source",
    },
    Attribute {
        name: "protocolVersion",
        buses: &[Bus::Mqtt],
        kind: Kind::Word(&["5", "3.1.1"]),
        default: "5",
        effect: "the version of MQTT; 3.1.1 takes structured content alone",
    },
    Attribute {
        name: "qos",
        buses: &[Bus::Mqtt],
        kind: Kind::Word(&["1", "2"]),
        default: "1",
        effect: "at least once, or exactly once as far as the broker goes",
    },
    Attribute {
        name: "requestTimeoutMs",
        buses: ALL,
        kind: Kind::Number(1, 60_000),
        default: "30000",
        effect: "how long the bus may take to confirm an event, connecting included, in ms",
    },
    Attribute {
        name: "requestTimeoutMs",
        buses: &[Bus::Http],
        kind: Kind::Number(1, 60_000),
        default: "5000",
        effect: "how long the receiver may take to answer, in ms",
    },
    Attribute {
        name: "retain",
        buses: &[Bus::Mqtt],
        kind: Kind::Word(&["true", "false"]),
        default: "false",
        effect: "whether the broker keeps the last event of a topic for who subscribes later",
    },
    Attribute {
        name: "retryInitialDelayMs",
        buses: EVERYWHERE,
        kind: Kind::Number(1, WEEK_MS),
        default: "1000",
        effect: "the longest pause before the second attempt, in ms; it doubles with each one more",
    },
    Attribute {
        name: "retryMaxAgeSeconds",
        buses: EVERYWHERE,
        kind: Kind::Number(1, 2_592_000),
        default: "86400",
        effect: "so long after its first attempt an event becomes a dead letter, in seconds",
    },
    Attribute {
        name: "retryMaxAttempts",
        buses: EVERYWHERE,
        kind: Kind::Number(1, 10_000),
        default: "30",
        effect: "after so many attempts an event becomes a dead letter",
    },
    Attribute {
        name: "retryMaxDelayMs",
        buses: EVERYWHERE,
        kind: Kind::Number(1, WEEK_MS),
        default: "3600000",
        effect: "the longest pause between two attempts, in ms",
    },
    Attribute {
        name: "startAt",
        buses: &[Bus::Kafka],
        kind: Kind::Word(&["EARLIEST", "LATEST"]),
        default: "EARLIEST",
        effect: "where a consumer group begins that has read nothing yet",
    },
    Attribute {
        name: "stream",
        buses: &[Bus::Nats],
        kind: Kind::Text,
        default: "",
        effect: "the stream that has to take the events; any other one is a failure",
    },
];

/// The attributes of one topic, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    bus: Bus,
    given: BTreeMap<String, String>,
}

impl Attributes {
    /// Checks what is given for `bus`; names the first that is wrong.
    pub fn parse(bus: Bus, given: &BTreeMap<String, String>) -> Result<Self, InvalidInput> {
        for (name, value) in given {
            let field = || format!("attributes.{name}");
            let known = Attribute::of(bus, name);
            let known = known.ok_or_else(|| InvalidInput::new(field(), unknown(bus, name)))?;
            known.kind.check(value).map_err(|expected| InvalidInput::new(field(), expected))?;
        }
        Ok(Self { bus, given: given.clone() })
    }

    /// What is given for `name`, or what goes without saying; `None` when neither is.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let default = || Attribute::of(self.bus, name).map(|one| one.default);
        let value = self.given.get(name).map(String::as_str).or_else(default)?;
        Some(value).filter(|value| !value.is_empty())
    }

    /// The number of `name`.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// Lets `subscription` deliver as these say: how many at once, in what order, and when again.
    pub fn govern(&self, subscription: &mut Subscription) {
        let number = |name: &str| u32::try_from(self.number(name)?).ok();
        let Subscription { max_in_flight, request_timeout_ms, retry, .. } = &mut *subscription;
        let max = number("maxInFlight").and_then(|max| max.try_into().ok());
        *max_in_flight = max.unwrap_or(*max_in_flight);
        let rows = [
            ("requestTimeoutMs", request_timeout_ms),
            ("retryInitialDelayMs", &mut retry.initial_delay_ms),
            ("retryMaxAgeSeconds", &mut retry.max_age_s),
            ("retryMaxAttempts", &mut retry.max_attempts),
            ("retryMaxDelayMs", &mut retry.max_delay_ms),
        ];
        for (name, field) in rows {
            *field = number(name).unwrap_or(*field);
        }
        if self.get("ordering") == Some("KEY") {
            subscription.ordering = Ordering::Key;
        }
        subscription.ordering_key = self.get("orderingKey").map(str::to_owned);
    }
}

impl Attribute {
    /// What `name` is for `bus`. A name can have several rows, each for other buses.
    fn of(bus: Bus, name: &str) -> Option<&'static Self> {
        ATTRIBUTES.iter().find(|one| one.name == name && one.buses.contains(&bus))
    }
}

impl Kind {
    fn check(self, value: &str) -> Result<(), String> {
        match self {
            Self::Word(words) if words.contains(&value) => Ok(()),
            Self::Word(words) => Err(format!("expected one of {}", words.join(", "))),
            Self::Number(low, high) => match value.parse::<u64>() {
                Ok(number) if (low..=high).contains(&number) => Ok(()),
                _ => Err(format!("expected a number from {low} to {high}")),
            },
            Self::Text if value.trim().is_empty() => Err("expected a text".to_owned()),
            Self::Text => Ok(()),
            Self::Template => Template::parse(value).map(drop),
            Self::Pem if value.contains("-----BEGIN CERTIFICATE-----") => Ok(()),
            Self::Pem => Err("expected certificates in PEM".to_owned()),
        }
    }
}

fn unknown(bus: Bus, name: &str) -> String {
    let known = ATTRIBUTES.iter().filter(|one| one.buses.contains(&bus)).map(|one| one.name);
    let near = known.clone().map(|known| (strsim::levenshtein(known, name), known)).min();
    match near {
        Some((distance, near)) if distance <= SUGGESTION_DISTANCE_MAX.min(name.len() / 2) => {
            format!("is not known for {bus}; did you mean {near}?")
        }
        _ => format!("expected one of {}", known.collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eg_event::subscription::RetryPolicy;

    fn parse(name: &str, value: &str) -> Result<Attributes, InvalidInput> {
        Attributes::parse(Bus::Nats, &BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn what_goes_without_saying_holds_until_something_is_said() {
        let said = parse("contentMode", "STRUCTURED").unwrap();
        assert_eq!(said.get("contentMode"), Some("STRUCTURED"));
        assert_eq!(said.number("maxInFlight"), Some(256));
        assert_eq!(said.get("stream"), None);
    }

    #[test]
    fn an_attribute_that_is_wrong_is_named_with_what_was_expected() {
        let rows = [
            ("contentmode", "BINARY", "did you mean contentMode?"),
            ("temperature", "red", "expected one of authentication"),
            ("contentMode", "binary", "expected one of BINARY, STRUCTURED"),
            ("maxInFlight", "0", "expected a number from 1 to 400"),
            ("stream", " ", "expected a text"),
            ("caCertificates", "none", "expected certificates in PEM"),
        ];
        for (name, value, expected) in rows {
            let error = parse(name, value).unwrap_err();
            assert_eq!(error.field, format!("attributes.{name}"));
            assert!(error.detail.contains(expected), "{error}");
        }
    }

    #[test]
    fn every_attribute_is_documented_with_its_default_and_effect() {
        let document = include_str!("../../../docs/buses.md");
        for one in ATTRIBUTES {
            let default = match one.default {
                "" => "none".to_owned(),
                default => format!("`{default}`"),
            };
            let (name, rest) =
                (format!("| `{}` |", one.name), format!("| {default} | {} |", one.effect));
            let mut rows = document.lines().filter(|line| line.starts_with(&name));
            assert!(rows.any(|row| row.ends_with(&rest)), "{name} ... {rest}");
        }
    }

    #[test]
    fn what_is_not_said_of_retries_is_what_every_subscription_has() {
        for (bus, timeout_ms, in_flight) in [(Bus::Http, 5_000, 16), (Bus::Nats, 30_000, 256)] {
            let mut subscription = Subscription::new("out", "https://bus.test");
            let expected = subscription.retry;
            Attributes::parse(bus, &BTreeMap::new()).unwrap().govern(&mut subscription);
            let asked = (subscription.request_timeout_ms, subscription.max_in_flight);
            assert_eq!((asked, subscription.retry), ((timeout_ms, in_flight), expected));
        }
    }

    #[test]
    fn what_is_said_of_retries_holds() {
        let rows = [
            ("requestTimeoutMs", "11"),
            ("retryInitialDelayMs", "12"),
            ("retryMaxAgeSeconds", "13"),
            ("retryMaxAttempts", "14"),
            ("retryMaxDelayMs", "15"),
        ];
        let given = rows.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut subscription = Subscription::new("out", "https://bus.test");
        Attributes::parse(Bus::Http, &given).unwrap().govern(&mut subscription);
        let retry =
            RetryPolicy { initial_delay_ms: 12, max_age_s: 13, max_attempts: 14, max_delay_ms: 15 };
        assert_eq!((subscription.request_timeout_ms, subscription.retry), (11, retry));
    }

    #[test]
    fn every_default_is_good() {
        for one in ATTRIBUTES.iter().filter(|one| !one.default.is_empty()) {
            assert_eq!(one.kind.check(one.default), Ok(()), "{}", one.name);
        }
    }
}
