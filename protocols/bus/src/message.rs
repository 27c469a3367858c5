//! An event as a bus carries it: headers and a body, by the CloudEvents bindings.

use std::borrow::Cow;

use bytes::Bytes;
use eg_event::event::Attributes;
use eg_event::{CloudEvent, Delivery, json};

#[cfg(any(feature = "amqp", feature = "amqp10"))]
use crate::target::Target;

/// The media type of structured content mode.
const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";

/// How a binding writes attributes in binary content mode.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    /// What their names begin with.
    pub prefix: &'static str,
    /// Where the media type of the data stands.
    pub content_type: &'static str,
    /// How values are written.
    pub value: fn(&str) -> Cow<'_, str>,
}

/// What is handed to a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Headers by name.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The data, or the whole event.
    pub body: Bytes,
}

impl Message {
    /// The event of `delivery` as `headers` wants it, in structured content mode or in binary.
    #[must_use]
    pub fn of(delivery: &Delivery, is_structured: bool, headers: &Headers) -> Self {
        let stored = &delivery.event;
        let traced = |sent: &mut Vec<_>| {
            let trace = stored.trace.iter();
            sent.extend(trace.map(|(name, value)| (Cow::Borrowed(name), value.to_owned())));
        };
        if is_structured {
            let mut body = Vec::with_capacity(256);
            json::encode(&stored.event, &mut body);
            let mut sent = vec![(Cow::Borrowed("content-type"), STRUCTURED.to_owned())];
            traced(&mut sent);
            return Self { headers: sent, body: body.into() };
        }
        let mut sent = binary(&stored.event, headers);
        traced(&mut sent);
        let body = stored.event.data().map(|data| data.bytes().clone()).unwrap_or_default();
        Self { headers: sent, body }
    }
}

/// How attributes stand in headers, or application properties, of AMQP (CloudEvents AMQP binding
/// 1.0.2, section 3.1). There is no binding of 0.9.1; this is what a broker of both makes of them.
#[cfg(any(feature = "amqp", feature = "amqp10"))]
pub(crate) fn amqp(target: &Target) -> Headers {
    let prefix = match target.attributes.get("headerPrefix") {
        Some("cloudEvents:") => "cloudEvents:",
        Some("ce-") => "ce-",
        _ => "cloudEvents_",
    };
    Headers { prefix, content_type: "content-type", value: as_it_is }
}

/// The attribute that a header, or application property, of AMQP is: under any of the prefixes that
/// are in use.
#[cfg(any(feature = "amqp", feature = "amqp10"))]
pub(crate) fn attribute_of_amqp(name: &str) -> Option<&str> {
    ["cloudEvents_", "cloudEvents:", "ce-"].iter().find_map(|prefix| name.strip_prefix(prefix))
}

/// Where nothing has to be escaped.
#[cfg(any(feature = "amqp", feature = "amqp10"))]
pub(crate) fn as_it_is(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

fn binary(event: &CloudEvent, headers: &Headers) -> Vec<(Cow<'static, str>, String)> {
    let named = |name: &str| Cow::Owned(format!("{}{name}", headers.prefix));
    let mut sent = vec![(named("specversion"), "1.0".to_owned())];
    let Attributes { id, source, ty, .. } = event.attributes();
    let own = [
        ("id", Some(&**id)),
        ("source", Some(&**source)),
        ("type", Some(&**ty)),
        ("subject", event.subject()),
        ("time", event.time()),
        ("dataschema", event.dataschema()),
    ];
    for (name, text) in own.into_iter().filter_map(|(name, text)| Some((name, text?))) {
        sent.push((named(name), (headers.value)(text).into_owned()));
    }
    for (name, value) in event.extensions() {
        sent.push((named(name.as_str()), (headers.value)(&value.to_string()).into_owned()));
    }
    if let Some(media_type) = json::content_type(event) {
        sent.push((Cow::Borrowed(headers.content_type), media_type.to_owned()));
    }
    sent
}
