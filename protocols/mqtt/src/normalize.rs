//! From a published message to an event (CloudEvents MQTT binding 1.0.2): by user properties, by
//! content type, as JSON, by the channel that the topic is, or else by the topic mapping.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use eg_event::event::EventBuilder;
use eg_event::{
    AttributeName, AttributeValue, Binding, ChannelMessage, Channels, CloudEvent, Data,
    Declaration, InvalidInput, Principal, RawPayload, Refusal, Timestamp, TraceContext, attribute,
    json,
};
use memchr::memmem;

use crate::codec::{Publish, Version};
use crate::identifier::Identifiers;
use crate::mapping::{Mappings, Values};

/// An event, and how it was read.
#[derive(Clone, Debug)]
pub struct Normalized {
    /// The event.
    pub event: CloudEvent,
    /// How it was read.
    pub binding: Binding,
    /// The trace that it belongs to.
    pub trace: TraceContext,
    /// The identifier was made here.
    pub id_assigned: bool,
    /// What is declared of the channel that it came to.
    pub declaration: Option<Declaration>,
}

impl Normalized {
    fn new(event: CloudEvent, binding: Binding) -> Self {
        let id_assigned = matches!(binding, Binding::Mapped | Binding::Channel);
        let trace = TraceContext::default();
        Self { event, binding, trace, id_assigned, declaration: None }
    }
}

/// What normalizing takes beside the message.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The version that the client speaks.
    pub version: Version,
    /// The client identifier.
    pub client_id: &'a str,
    /// The user name; empty when there is none.
    pub user: &'a str,
    /// When the message came.
    pub now: Timestamp,
    /// The same as text, for events that do not say when they happened.
    pub now_text: &'a str,
    /// How payloads without attributes become events.
    pub mappings: &'a Mappings,
    /// Makes identifiers.
    pub identifiers: &'a Identifiers,
    /// Knows the channels that are declared, for this sender.
    pub declared: Option<(&'a dyn Channels, &'a Principal)>,
}

/// Makes an event of a message.
pub fn normalize(message: &Publish, context: Context<'_>) -> Result<Normalized, Refusal> {
    if message.is_declared_text() && std::str::from_utf8(message.payload()).is_err() {
        let detail = "expected UTF-8, as the Payload Format Indicator says";
        return Err(InvalidInput::new("payload", detail).into());
    }
    let mut trace = TraceContext::default();
    for (name, value) in message.user_properties() {
        trace.add(name, value);
    }
    let normalized = match context.version {
        Version::V5 => normalize_v5(message, context)?,
        Version::V311 => normalize_v311(message, context)?,
    };
    let event = with_expiry(normalized.event, message, context.now);
    Ok(Normalized { event, trace, ..normalized })
}

fn normalize_v5(message: &Publish, context: Context<'_>) -> Result<Normalized, Refusal> {
    const FORMAT: &str = "application/cloudevents";
    let content_type = message.content_type();
    let is_event = content_type.is_some_and(|media_type| {
        media_type.get(..FORMAT.len()).is_some_and(|start| start.eq_ignore_ascii_case(FORMAT))
    });
    if is_event {
        let essence = content_type.map(eg_event::data::essence).unwrap_or_default();
        if !essence.eq_ignore_ascii_case(json::MEDIA_TYPE) {
            let detail = format!("expected {}, found {essence:?}", json::MEDIA_TYPE);
            return Err(InvalidInput::new("Content Type", detail).into());
        }
        return Ok(Normalized::new(json::decode(&message.payload_bytes())?, Binding::Structured));
    }
    if message.user_properties().any(|(name, _)| name == "specversion") {
        return Ok(Normalized::new(binary(message)?, Binding::Binary));
    }
    raw(message, context)
}

/// 3.1.1 has no content type: a payload is an event when it is one.
fn normalize_v311(message: &Publish, context: Context<'_>) -> Result<Normalized, Refusal> {
    let payload = message.payload();
    let may_be_event = payload.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
        && memmem::find(payload, b"\"specversion\"").is_some();
    if may_be_event && let Ok(event) = json::decode(&message.payload_bytes()) {
        return Ok(Normalized::new(event, Binding::Structured));
    }
    raw(message, context)
}

/// Binary content mode: user properties are attributes, the content type is the payload's.
fn binary(message: &Publish) -> Result<CloudEvent, InvalidInput> {
    let mut builder = CloudEvent::builder();
    for (name, value) in message.user_properties() {
        if name == "datacontenttype" {
            let detail = "expected the Content Type property instead of a user property";
            return Err(InvalidInput::new(name, detail));
        }
        builder.attribute(name, value)?;
    }
    finish(builder, message, message.content_type())
}

/// A payload without attributes: the channel that it came to has them, or the mapping makes them.
fn raw(message: &Publish, context: Context<'_>) -> Result<Normalized, Refusal> {
    let content_type = message.content_type();
    let found = match context.declared {
        Some((channels, principal)) => channels.find(&RawPayload {
            application: None,
            address: message.topic(),
            principal,
            content_type,
            payload: message.payload(),
        })?,
        None => None,
    };
    let (normalized, declaration) = match found {
        None => (Normalized::new(mapped(message, context)?, Binding::Mapped), None),
        Some(ChannelMessage::Event(declaration)) => {
            let event = json::decode(&message.payload_bytes())?;
            (Normalized::new(event, Binding::Structured), Some(declaration))
        }
        Some(ChannelMessage::Data(declared)) => {
            let mut builder = made((&declared.ty, &declared.source, &declared.subject), context)?;
            if let Some(uri) = &declared.dataschema {
                builder.attribute("dataschema", uri)?;
            }
            let content_type = content_type.or(declared.datacontenttype.as_deref());
            let event = with_properties(builder, message, content_type)?;
            (Normalized::new(event, Binding::Channel), Some(declared.declaration))
        }
    };
    Ok(Normalized { declaration, ..normalized })
}

fn mapped(message: &Publish, context: Context<'_>) -> Result<CloudEvent, InvalidInput> {
    let topic = message.topic();
    let mapping = context.mappings.for_topic(topic);
    let values = Values { topic, client_id: context.client_id, user: context.user };
    let made = mapping.apply(values);
    let builder = self::made((&made.ty, &made.source, &made.subject), context)?;
    let content_type = message.content_type().or(mapping.datacontenttype.as_deref());
    with_properties(builder, message, content_type)
}

/// An event that was made here, of this type, source and, if not empty, subject.
fn made(
    (ty, source, subject): (&str, &str, &str),
    context: Context<'_>,
) -> Result<EventBuilder, InvalidInput> {
    let mut builder = CloudEvent::builder();
    builder.implied_spec_version();
    builder.attribute("id", &context.identifiers.next())?;
    builder.attribute("source", source)?;
    builder.attribute("type", ty)?;
    if !subject.is_empty() {
        builder.attribute("subject", subject)?;
    }
    builder.attribute("time", context.now_text)?;
    Ok(builder)
}

/// User properties that can be extension attributes become those, and a Content Type that is a media
/// type that of the event; subscribers of MQTT get all of them as they came.
fn with_properties(
    mut builder: EventBuilder,
    message: &Publish,
    content_type: Option<&str>,
) -> Result<CloudEvent, InvalidInput> {
    for (name, value) in message.user_properties() {
        set_extension(&mut builder, name, value);
    }
    if let Some(topic) = message.response_topic() {
        set_extension(&mut builder, "mqttresponsetopic", topic);
    }
    if let Some(data) = message.correlation_data() {
        set_extension(&mut builder, "mqttcorrelationdata", &BASE64.encode(data));
    }
    let is_media_type = |text: &&str| attribute::check_media_type("datacontenttype", text).is_ok();
    finish(builder, message, content_type.filter(is_media_type))
}

/// Sets an extension if it can be one, and there is room for it.
fn set_extension(builder: &mut EventBuilder, name: &str, text: &str) {
    if let (false, Ok(value)) = (builder.has_extension(name), AttributeValue::text(name, text)) {
        // Its name is none, or there are as many as may be.
        let _left_out = builder.extension(name, value);
    }
}

fn finish(
    mut builder: EventBuilder,
    message: &Publish,
    content_type: Option<&str>,
) -> Result<CloudEvent, InvalidInput> {
    if let Some(media_type) = content_type {
        builder.attribute("datacontenttype", media_type)?;
    }
    let payload: Bytes = message.payload_bytes();
    if !payload.is_empty() {
        builder.data(Data::from_body(content_type, payload));
    }
    Ok(builder.build()?)
}

/// A Message Expiry Interval becomes the extension `expirytime`, unless the event has one.
fn with_expiry(event: CloudEvent, message: &Publish, now: Timestamp) -> CloudEvent {
    let Some(seconds) = message.message_expiry_s() else { return event };
    if event.extension("expirytime").is_some() {
        return event;
    }
    let expiry = now.after(std::time::Duration::from_secs(seconds.into())).to_string();
    match AttributeName::parse("expirytime") {
        Ok(name) => event.with_extension(name, AttributeValue::String(expiry.into())),
        Err(_) => event,
    }
}
