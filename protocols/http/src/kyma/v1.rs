//! Kyma's first body: `event-type`, `event-type-version`, `event-time`, `data`, and optionally
//! `event-id` and `source-id`.

use bytes::Bytes;
use eg_event::submission::Binding;
use eg_event::{CloudEvent, Data, InvalidAttribute};
use http::HeaderMap;

use super::answer::Rejection;
use super::rule::{self, length, required, valid};
use super::{Parsed, Version};
use crate::uuid::random_uuid;

const SOURCE: &str = "source-id";
const SOURCE_HEADER: &str = "Source-Id";
const TYPE: &str = "event-type";
const TYPE_VERSION: &str = "event-type-version";
const TIME: &str = "event-time";
const ID: &str = "event-id";

pub(super) const VERSION: Version = Version { binding: Binding::KymaV1, parse, field };

/// Checks in Kyma's order: what is missing, lengths, patterns, time, identifier. The source is the
/// body's, else the header's, else the application.
fn parse(application: &str, headers: &HeaderMap, body: &Bytes) -> Result<Parsed, Rejection> {
    let fields = rule::fields(body, [SOURCE, TYPE, TYPE_VERSION, TIME, ID])?;
    let [source, ty, version, time, id] = fields.texts;
    let of_header = source.is_none() && headers.contains_key(SOURCE_HEADER);
    let source = match source {
        Some(source) => source,
        None if of_header => header_text(headers)?,
        None => application.to_owned(),
    };
    let ty = required(ty, TYPE)?;
    let version = required(version, TYPE_VERSION)?;
    let time = required(time, TIME)?;
    let data = required(fields.data, "data")?;

    length(&source, SOURCE, rule::NAME_BYTES_MAX)?;
    length(&ty, TYPE, rule::NAME_BYTES_MAX)?;
    length(&version, TYPE_VERSION, rule::VERSION_BYTES_MAX)?;

    if of_header && !rule::is_dotted_name(&source) {
        return Err(Rejection::invalid_header(SOURCE_HEADER));
    }
    valid(rule::is_dotted_name(&source), SOURCE)?;
    valid(rule::is_dotted_name(&ty), TYPE)?;
    valid(rule::is_version(&version), TYPE_VERSION)?;
    valid(rule::is_time(&time), TIME)?;
    valid(id.as_deref().is_none_or(rule::is_uuid), ID)?;

    let id_assigned = id.is_none();
    let mut builder = CloudEvent::builder();
    builder.implied_spec_version();
    let attributes = [
        ("id", id.unwrap_or_else(random_uuid)),
        ("source", source),
        ("type", ty),
        ("time", time),
        ("datacontenttype", "application/json".to_owned()),
        ("eventtypeversion", version),
    ];
    for (name, text) in attributes {
        builder.attribute(name, &text).map_err(|e| broken(&e))?;
    }
    builder.data(Data::Json(body.slice_ref(data.get().as_bytes())));
    Ok(Parsed { event: builder.build().map_err(|e| broken(&e))?, id_assigned })
}

fn header_text(headers: &HeaderMap) -> Result<String, Rejection> {
    let mut values = headers.get_all(SOURCE_HEADER).iter();
    let text = values.next().and_then(|value| value.to_str().ok());
    match (text, values.next()) {
        (Some(text), None) => Ok(text.to_owned()),
        _ => Err(Rejection::invalid_header(SOURCE_HEADER)),
    }
}

fn broken(invalid: &InvalidAttribute) -> Rejection {
    Rejection::invalid(field(&invalid.name), invalid.expected)
}

fn field(attribute: &str) -> &str {
    match attribute {
        "id" => ID,
        "source" => SOURCE,
        "type" => TYPE,
        "time" => TIME,
        "eventtypeversion" => TYPE_VERSION,
        other => other,
    }
}
