//! From a message of a bus to an event: by its attributes, by its media type, as JSON, by the
//! channel that the topic is, or else as data of an event that is named after the bus.

use std::borrow::Cow;
use std::sync::Arc;

use eg_event::event::EventBuilder;
use eg_event::{
    AttributeName, Binding, ChannelMessage, Channels, CloudEvent, Data, Declaration, InvalidInput,
    Origin, Principal, RawPayload, Refusal, Submission, Subscription, TraceContext, json,
};

use crate::source::Arrival;
use crate::target::{Bus, Target};

/// The media type of many events in one message.
const BATCH: &str = "application/cloudevents-batch";
/// What the media types of whole events begin with.
const EVENT: &str = "application/cloudevents";

/// What normalizing takes beside the message.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The bus that it came from.
    pub bus: Bus,
    /// The URL of the bus.
    pub url: &'a str,
    /// Who sends it.
    pub principal: &'a Arc<Principal>,
    /// Knows the channels that are declared.
    pub channels: &'a dyn Channels,
    /// The time, for events that do not say when they happened.
    pub now_text: &'a str,
    /// Makes identifiers for messages that have none.
    pub fresh_id: &'a dyn Fn() -> String,
}

/// Makes an event of a message, to be handed over.
pub fn normalize(arrival: &Arrival, context: Context<'_>) -> Result<Submission, Refusal> {
    if let Some(why) = &arrival.unreadable {
        return Err(InvalidInput::new("message", why.clone()).into());
    }
    let read = read(arrival, context)?;
    let origin = Origin {
        protocol: context.bus.protocol(),
        binding: read.binding,
        remote: None,
        address: address(context.url, &arrival.topic).into(),
        client_id: None,
    };
    let mut trace = TraceContext::default();
    for (name, value) in &arrival.trace {
        trace.add(name, value);
    }
    let submission = Submission::new(read.event, Arc::clone(context.principal), origin);
    Ok(Submission {
        trace,
        id_assigned: read.id_assigned,
        declaration: read.declaration,
        ..submission
    })
}

/// Whether `subscription` would take an event back to the very topic that it was read from.
#[must_use]
pub fn leads_back(subscription: &Subscription, event: &CloudEvent, origin: &Origin) -> bool {
    if subscription.bus.is_none() || !origin.protocol.is_bus() {
        return false;
    }
    let url = subscription.endpoint.trim_end_matches('/');
    let Some(topic) = origin.address.strip_prefix(url).and_then(|rest| rest.strip_prefix('/'))
    else {
        return false;
    };
    let target = Target::of(subscription);
    target.is_ok_and(|target| target.topic.fill(event, as_it_is).is_ok_and(|to| to == topic))
}

/// Where a message was read, in one text.
fn address(url: &str, topic: &str) -> String {
    format!("{}/{topic}", url.trim_end_matches('/'))
}

/// An event, and how it was read.
struct Read {
    event: CloudEvent,
    binding: Binding,
    id_assigned: bool,
    declaration: Option<Declaration>,
}

impl Read {
    fn new(event: CloudEvent, binding: Binding) -> Self {
        Self { event, binding, id_assigned: false, declaration: None }
    }
}

fn read(arrival: &Arrival, context: Context<'_>) -> Result<Read, Refusal> {
    let content_type = arrival.content_type.as_deref();
    let essence = content_type.map(eg_event::data::essence).unwrap_or_default();
    let essence = essence.to_ascii_lowercase();
    if essence.starts_with(BATCH) {
        let detail = format!("expected one event, {}; a batch is not taken", json::MEDIA_TYPE);
        return Err(InvalidInput::new("content type", detail).into());
    }
    if essence.starts_with(EVENT) {
        if essence != json::MEDIA_TYPE {
            let detail = format!("expected {}, found {essence:?}", json::MEDIA_TYPE);
            return Err(InvalidInput::new("content type", detail).into());
        }
        return Ok(Read::new(json::decode(&arrival.body)?, Binding::Structured));
    }
    if arrival.attributes.iter().any(|(name, _)| name == "specversion") {
        let mut builder = CloudEvent::builder();
        for (name, value) in &arrival.attributes {
            builder.attribute(name, value)?;
        }
        return Ok(Read::new(finish(builder, arrival, content_type)?, Binding::Binary));
    }
    // Where nothing says what a message is, it is an event when it is one.
    if content_type.is_none()
        && looks_like_an_event(&arrival.body)
        && let Ok(event) = json::decode(&arrival.body)
    {
        return Ok(Read::new(event, Binding::Structured));
    }
    plain(arrival, context)
}

fn looks_like_an_event(body: &[u8]) -> bool {
    const NAME: &[u8] = b"\"specversion\"";
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
        && body.windows(NAME.len()).any(|window| window == NAME)
}

/// A message without attributes: the channel that it came to has them, or the bus gives them.
fn plain(arrival: &Arrival, context: Context<'_>) -> Result<Read, Refusal> {
    let content_type = arrival.content_type.as_deref();
    let find = |address: &str| {
        context.channels.find(&RawPayload {
            application: context.principal.application(),
            address,
            principal: context.principal,
            content_type,
            payload: &arrival.body,
        })
    };
    let found = match find(&arrival.topic)? {
        // Documents write addresses with slashes where some buses have dots.
        None if arrival.topic.contains('.') => find(&arrival.topic.replace('.', "/"))?,
        found => found,
    };
    let identity = arrival.identity.as_deref();
    let id = identity.map_or_else(context.fresh_id, str::to_owned);
    let (event, binding, declaration) = match found {
        Some(ChannelMessage::Event(declaration)) => {
            let event = json::decode(&arrival.body)?;
            return Ok(Read {
                declaration: Some(declaration),
                ..Read::new(event, Binding::Structured)
            });
        }
        Some(ChannelMessage::Data(declared)) => {
            let names = (&*declared.ty, &*declared.source, &*declared.subject);
            let mut builder = made(&id, names, context.now_text)?;
            if let Some(uri) = &declared.dataschema {
                builder.attribute("dataschema", uri)?;
            }
            let content_type = content_type.or(declared.datacontenttype.as_deref());
            let event = with_attributes(builder, arrival, content_type)?;
            (event, Binding::Channel, Some(declared.declaration))
        }
        None => {
            let ty = format!("{}.message", context.bus.word());
            let source = format!("/{}", context.principal.application().unwrap_or_default());
            let builder = made(&id, (&ty, &source, &arrival.topic), context.now_text)?;
            (with_attributes(builder, arrival, content_type)?, Binding::Mapped, None)
        }
    };
    // Who is named by the bus comes again under the same name, and is known by it.
    Ok(Read { event, binding, id_assigned: identity.is_none(), declaration })
}

/// An event that is made here, of this type, source and, if not empty, subject.
fn made(
    id: &str,
    (ty, source, subject): (&str, &str, &str),
    now_text: &str,
) -> Result<EventBuilder, InvalidInput> {
    let mut builder = CloudEvent::builder();
    builder.implied_spec_version();
    for (name, value) in [("id", id), ("source", source), ("type", ty), ("time", now_text)] {
        builder.attribute(name, value)?;
    }
    if !subject.is_empty() {
        builder.attribute("subject", subject)?;
    }
    Ok(builder)
}

/// What stood beside the data and can be extension attributes becomes those.
fn with_attributes(
    mut builder: EventBuilder,
    arrival: &Arrival,
    content_type: Option<&str>,
) -> Result<CloudEvent, InvalidInput> {
    for (name, value) in &arrival.attributes {
        if AttributeName::parse(name).is_ok() && !builder.has_extension(name) {
            builder.attribute(name, value)?;
        }
    }
    finish(builder, arrival, content_type)
}

fn finish(
    mut builder: EventBuilder,
    arrival: &Arrival,
    content_type: Option<&str>,
) -> Result<CloudEvent, InvalidInput> {
    const KEY: &str = "partitionkey";
    if let Some(media_type) = content_type
        && builder.datacontenttype().is_none()
    {
        builder.attribute("datacontenttype", media_type)?;
    }
    let key = arrival.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
    if let Some(key) = key.filter(|key| !key.is_empty())
        && !builder.has_extension(KEY)
    {
        builder.attribute(KEY, key)?;
    }
    if !arrival.body.is_empty() {
        let media_type = builder.datacontenttype().map(str::to_owned);
        builder.data(Data::from_body(media_type.as_deref(), arrival.body.clone()));
    }
    Ok(builder.build()?)
}

fn as_it_is(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use eg_event::subscription::BusTopic;
    use eg_event::{NoChannels, Protocol};

    use super::*;

    fn read(arrival: &Arrival) -> Result<Submission, Refusal> {
        #[expect(clippy::disallowed_methods, reason = "a test says who is asking")]
        let principal = Principal::vouch_for("shop", eg_event::principal::Method::Bus, None);
        let context = Context {
            bus: Bus::Kafka,
            url: "kafka://b:9092/",
            principal: &Arc::new(principal.for_application("shop")),
            channels: &NoChannels,
            now_text: "2026-11-21T10:00:00Z",
            fresh_id: &|| "fresh".to_owned(),
        };
        normalize(arrival, context)
    }

    fn message(content_type: &str, attributes: &[(&str, &str)], body: &'static [u8]) -> Arrival {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Arrival {
            topic: "orders".to_owned(),
            attributes: attributes.iter().map(owned).collect(),
            content_type: Some(content_type.to_owned()).filter(|text| !text.is_empty()),
            body: Bytes::from_static(body),
            ..Arrival::default()
        }
    }

    const EVENT: &[u8] =
        b" {\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}";
    const BINARY: [(&str, &str); 4] =
        [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t")];

    #[test]
    fn a_message_is_read_by_its_media_type_its_attributes_or_what_it_looks_like() {
        let rows = [
            (message("Application/CloudEvents+JSON; charset=utf-8", &[], EVENT), "structured"),
            (message("text/plain", &BINARY, b"x"), "binary"),
            (message("", &[], EVENT), "structured"),
            (message("application/json", &[], EVENT), "mapped"),
            (message("", &[], b"{\"specversion\":1"), "mapped"),
        ];
        for (arrival, binding) in rows {
            let read = read(&arrival).unwrap();
            assert_eq!(read.origin.binding.as_str(), binding, "{arrival:?}");
            assert_eq!(&*read.origin.address, "kafka://b:9092/orders");
            assert_eq!(read.origin.protocol, Protocol::Kafka);
        }
    }

    #[test]
    fn what_is_no_event_is_refused_with_what_was_expected() {
        let rows = [
            (
                message("application/cloudevents-batch+json", &[], b"[]"),
                "content type: expected one",
            ),
            (
                message("application/cloudevents+avro", &[], b""),
                "content type: expected application/",
            ),
            (message("application/cloudevents+json", &[], b"{"), "expected"),
            (message("", &BINARY[..3], b""), "type: expected"),
        ];
        for (arrival, expected) in rows {
            let error = read(&arrival).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_plain_message_has_the_name_and_the_key_that_the_bus_gives_it() {
        let mut arrival = message("text/plain", &[("zone", "eu"), ("Not-An-Attribute", "x")], b"x");
        arrival.key = Some(Bytes::from_static(b"k"));
        let read_as = |arrival: &Arrival| {
            let read = read(arrival).unwrap();
            (read.event.id().to_owned(), read.id_assigned)
        };
        assert_eq!(read_as(&arrival), ("fresh".to_owned(), true));
        arrival.identity = Some("orders/0/1".to_owned());
        assert_eq!(read_as(&arrival), ("orders/0/1".to_owned(), false));
        let event = read(&arrival).unwrap().event;
        let (ty, source, subject) = (event.ty(), event.source(), event.subject());
        assert_eq!((ty, source, subject), ("kafka.message", "/shop", Some("orders")));
        let extension = |name| event.extension(name).map(ToString::to_string);
        assert_eq!(
            (extension("partitionkey").unwrap(), extension("zone").unwrap()),
            ("k".into(), "eu".into())
        );
    }

    #[test]
    fn an_event_would_go_back_only_to_the_very_topic_that_it_came_from() {
        let read = read(&message("text/plain", &BINARY, b"x")).unwrap();
        let to = |url: &str, topic: &str| {
            let mut subscription = Subscription::new("out", url);
            subscription.bus = Some(BusTopic { topic: topic.to_owned(), ..BusTopic::default() });
            leads_back(&subscription, &read.event, &read.origin)
        };
        assert!(to("kafka://b:9092", "orders"));
        assert!(!to("kafka://b:9092", "orders.{type}") && !to("kafka://c:9092", "orders"));
        assert!(!to("kafka://b:9092", "order"));
    }
}
