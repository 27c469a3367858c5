//! Kyma's second body: a CloudEvent 0.3 in JSON, lifted to 1.0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use eg_event::submission::Binding;
use eg_event::{AttributeValue, CloudEvent, Data, EventBuilder, InvalidAttribute, data, json};
use http::HeaderMap;
use serde_json::value::RawValue;

use super::answer::Rejection;
use super::rule::{self, length, required, valid};
use super::{Parsed, Version};

const CONTENT_TYPE: &str = "datacontenttype";
const ENCODING: &str = "datacontentencoding";

pub(super) const VERSION: Version =
    Version { binding: Binding::KymaV2, parse, field: |attribute| attribute };

/// Checks in Kyma's order: what is missing, lengths, patterns, version, time, identifier. The
/// source is the body's, else the application.
fn parse(application: &str, _: &HeaderMap, body: &Bytes) -> Result<Parsed, Rejection> {
    let names = ["id", "source", "specversion", "type", "eventtypeversion", "time"];
    let fields = rule::fields(body, names)?;
    let [id, source, spec_version, ty, version, time] = fields.texts;
    let id = required(id, "id")?;
    let source = source.unwrap_or_else(|| application.to_owned());
    let spec_version = required(spec_version, "specversion")?;
    let ty = required(ty, "type")?;
    let version = required(version, "eventtypeversion")?;
    let time = required(time, "time")?;
    let data = required(fields.data, "data")?;

    length(&source, "source", rule::NAME_BYTES_MAX)?;
    length(&ty, "type", rule::NAME_BYTES_MAX)?;
    length(&version, "eventtypeversion", rule::VERSION_BYTES_MAX)?;

    valid(rule::is_dotted_name(&source), "source")?;
    valid(rule::is_dotted_name(&ty), "type")?;
    valid(rule::is_version(&version), "eventtypeversion")?;
    valid(spec_version == "0.3", "specversion")?;
    valid(rule::is_time(&time), "time")?;
    valid(rule::is_uuid(&id), "id")?;

    let mut builder = CloudEvent::builder();
    builder.implied_spec_version();
    let attributes = [
        ("id", id),
        ("source", source),
        ("type", ty),
        ("time", time),
        ("eventtypeversion", version),
    ];
    for (name, text) in attributes {
        builder.attribute(name, &text).map_err(|e| broken(&e))?;
    }
    let mut is_base64 = false;
    for (name, value) in fields.others {
        match &*name {
            ENCODING => is_base64 = encoding(value)?,
            name => lift(&mut builder, name, value)?,
        }
    }
    let content = payload(body, data, builder.datacontenttype(), is_base64)?;
    if builder.datacontenttype().is_none() && !is_base64 {
        builder.attribute(CONTENT_TYPE, "application/json").map_err(|e| broken(&e))?;
    }
    builder.data(content);
    Ok(Parsed { event: builder.build().map_err(|e| broken(&e))?, id_assigned: false })
}

/// An attribute of 0.3 as 1.0 has it: `schemaurl` was renamed, the rest are the same.
fn lift(builder: &mut EventBuilder, name: &str, value: &RawValue) -> Result<(), Rejection> {
    let renamed = if name == "schemaurl" { "dataschema" } else { name };
    let outcome = match (value.get(), json::string(value)) {
        ("null", _) => return Ok(()),
        (_, Some(text)) => builder.attribute(renamed, &text),
        ("true", _) => builder.extension(renamed, AttributeValue::Boolean(true)),
        ("false", _) => builder.extension(renamed, AttributeValue::Boolean(false)),
        (number, _) => match number.parse() {
            Ok(number) => builder.extension(renamed, AttributeValue::Integer(number)),
            Err(_) => {
                return Err(Rejection::invalid(
                    name,
                    "expected a string, a boolean or a 32-bit integer",
                ));
            }
        },
    };
    outcome.map_err(|invalid| Rejection::invalid(name, invalid.expected))
}

fn encoding(value: &RawValue) -> Result<bool, Rejection> {
    match json::string(value) {
        None if value.get() == "null" => Ok(false),
        Some(text) if text.is_empty() => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("base64") => Ok(true),
        _ => Err(Rejection::invalid(ENCODING, "expected base64, or nothing")),
    }
}

/// The payload: base64 is decoded; a JSON string under a type that is not JSON is its content;
/// anything else is the JSON text as it stands.
fn payload(
    body: &Bytes,
    value: &RawValue,
    content_type: Option<&str>,
    is_base64: bool,
) -> Result<Data, Rejection> {
    if is_base64 {
        let decoded = json::string(value).and_then(|text| BASE64.decode(&*text).ok());
        let bytes =
            decoded.ok_or_else(|| Rejection::invalid("data", "expected a string in base64"))?;
        return Ok(Data::from_body(content_type, bytes.into()));
    }
    if content_type.is_some_and(|media_type| !data::is_json(media_type))
        && let Some(text) = json::string(value)
    {
        return Ok(Data::Text(text.into_owned().into()));
    }
    Ok(Data::Json(body.slice_ref(value.get().as_bytes())))
}

fn broken(invalid: &InvalidAttribute) -> Rejection {
    Rejection::invalid(&invalid.name, invalid.expected)
}
