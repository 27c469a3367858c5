//! The topics under which MQTT subscribers find what did not come by MQTT.

use std::fmt::Write as _;

use eg_event::{Binding, Protocol, StoredEvent, Topic, Topics};

use crate::declared::DeclaredStore;

/// What the topics of events begin with that have none of their own.
pub const EVENTS: &str = "events";
/// The same for the gateway's own events, which wildcards at the beginning do not stand for.
pub const OWN: &str = "$SYS/events";

/// The longest topic name, in bytes (MQTT 5.0 section 1.5.4).
const TOPIC_BYTES_MAX: usize = 65_535;

/// Topics by the channel that an event was sent to or that its type is declared for, or else by its
/// source and type.
pub struct EventTopics(DeclaredStore);

impl EventTopics {
    /// Looks at what is declared.
    #[must_use]
    pub fn new(declared: DeclaredStore) -> Self {
        Self(declared)
    }

    /// The one channel that documents of its application declare for an event.
    fn declared(&self, event: &StoredEvent) -> Option<Topic> {
        let declared = self.0.load();
        let messages = declared.messages(event.sender.application.as_deref()?, event.event.ty());
        let message = messages.first()?;
        let address = message.fixed_address().filter(|address| is_topic(address))?;
        let is_only = messages.iter().all(|other| other.fixed_address() == Some(address));
        is_only.then(|| Topic { name: address.into(), is_raw: !message.is_structured() })
    }
}

impl Topics for EventTopics {
    fn of(&self, event: &StoredEvent) -> Topic {
        let origin = &event.origin;
        let is_own = origin.protocol == Protocol::Internal;
        if is_own {
            return Topic { name: default_topic(event, OWN).into(), is_raw: false };
        }
        let channel = (origin.binding == Binding::Channel)
            .then(|| origin.address.split_once("/channels/"))
            .flatten()
            .map(|(_, channel)| channel.split('?').next().unwrap_or(channel))
            .filter(|channel| is_topic(channel));
        if let Some(channel) = channel {
            return Topic { name: channel.into(), is_raw: true };
        }
        self.declared(event).unwrap_or_else(|| {
            let name = default_topic(event, EVENTS).into();
            Topic { name, is_raw: false }
        })
    }
}

/// Whether the address of a channel can be a topic name of others than the server.
fn is_topic(address: &str) -> bool {
    !address.is_empty() && !address.starts_with('$') && !address.contains(['+', '#', '\0'])
}

/// `events/{source}/{type}`: the source with its levels, the type as one.
fn default_topic(event: &StoredEvent, begin: &str) -> String {
    let is_wildcard = |c: char| matches!(c, '+' | '#' | '\0');
    let source = escaped(event.event.source().trim_matches('/'), is_wildcard);
    let ty = escaped(event.event.ty(), |c| is_wildcard(c) || c == '/');
    let mut topic =
        if source.is_empty() { format!("{begin}/{ty}") } else { format!("{begin}/{source}/{ty}") };
    topic.truncate(topic.floor_char_boundary(TOPIC_BYTES_MAX));
    topic
}

/// The text with what has a meaning in topics percent-encoded.
fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) {
            let _written = write!(out, "%{:02X}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use eg_event::principal::Method;
    use eg_event::submission::Sender;
    use eg_event::{CloudEvent, Origin, Sequence, Timestamp, TraceContext};

    use super::*;
    use crate::declared::fixture::{compiled, definition};

    const DOCUMENT: &str = r"
asyncapi: 3.0.0
info: { title: Orders, version: 1.0.0 }
channels:
  orders: { address: shop/orders, messages: { created: { name: order.declared } } }
operations:
  send: { action: send, channel: { $ref: '#/channels/orders' } }
";

    fn topic(protocol: Protocol, address: &str, (source, ty): (&str, &str)) -> (Box<str>, bool) {
        let mut builder = CloudEvent::builder();
        for (name, text) in [("specversion", "1.0"), ("id", "1"), ("source", source), ("type", ty)]
        {
            builder.attribute(name, text).unwrap();
        }
        let is_channel = address.contains("/channels/");
        let binding = if is_channel { Binding::Channel } else { Binding::Binary };
        let origin =
            Origin { protocol, binding, remote: None, address: address.into(), client_id: None };
        let declared = DeclaredStore::default();
        declared.replace(compiled(vec![definition("shop", "orders", DOCUMENT)]));
        let application = Some("shop".into());
        let Topic { name, is_raw } = EventTopics::new(declared).of(&StoredEvent {
            sequence: Sequence(1),
            received_at: Timestamp::default(),
            event: builder.build().unwrap(),
            sender: Sender { name: "a".into(), method: Method::Anonymous, application },
            origin,
            trace: TraceContext::default(),
            held: None,
            message: None,
        });
        (name, is_raw)
    }

    #[test]
    fn an_event_is_found_by_its_channel_or_by_its_source_and_type() {
        let rows = [
            ("/events", ("/shop/tills", "order.created"), "events/shop/tills/order.created"),
            ("/events", ("https://shop.example/a", "a/b"), "events/https://shop.example/a/a%2Fb"),
            ("/events", ("a#b", "c+d"), "events/a%23b/c%2Bd"),
        ];
        for (address, names, expected) in rows {
            assert_eq!(topic(Protocol::Http, address, names), (expected.into(), false));
        }
        let channel = topic(Protocol::Http, "/shop/channels/orders/7", ("/shop", "t"));
        assert_eq!(channel, ("orders/7".into(), true));
        let declared = topic(Protocol::Http, "/events", ("/shop", "order.declared"));
        assert_eq!(declared, ("shop/orders".into(), true));
        let own = topic(Protocol::Internal, "", ("/event-gateway/audit", "t"));
        assert_eq!(own.0, "$SYS/events/event-gateway/audit/t".into());
    }
}
