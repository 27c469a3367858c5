//! The JSON event format and its batch form (CloudEvents JSON format 1.0.2): read without touching
//! a byte of the payload, written so that it comes out as it went in.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::attribute::{AttributeValue, InvalidAttribute};
use crate::data::{Data, is_json};
use crate::event::{CloudEvent, EventBuilder, SPEC_VERSION};
use crate::refusal::InvalidInput;

/// The media type of one event.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";
/// The media type of a batch.
pub const BATCH_MEDIA_TYPE: &str = "application/cloudevents-batch+json";

/// A member of a JSON object: its name and the text of its value, exactly as it stands.
pub type Member<'a> = (Cow<'a, str>, &'a RawValue);

/// Reads one event.
///
/// ```
/// let text = br#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"n":1.10}}"#;
/// let event = eg_event::json::decode(&bytes::Bytes::from_static(text))?;
/// assert_eq!(&event.data().unwrap().bytes()[..], br#"{"n":1.10}"#);
/// # Ok::<(), eg_event::InvalidInput>(())
/// ```
pub fn decode(text: &Bytes) -> Result<CloudEvent, InvalidInput> {
    decode_members(text, members(text)?)
}

/// Reads a batch: every event stands alone, so that one which breaks a rule leaves the others.
/// The whole is refused only when it is not a JSON array or has more than `events_max` entries.
pub fn decode_batch(
    text: &Bytes,
    events_max: usize,
) -> Result<Vec<Result<CloudEvent, InvalidInput>>, InvalidInput> {
    let values = elements(text)?;
    if values.len() > events_max {
        return Err(InvalidInput::new("body", format!("expected at most {events_max} events")));
    }
    let decode_one = |value: &RawValue| {
        let one = text.slice_ref(value.get().as_bytes());
        decode(&one)
    };
    Ok(values.into_iter().map(decode_one).collect())
}

fn decode_members(text: &Bytes, members: Vec<Member<'_>>) -> Result<CloudEvent, InvalidInput> {
    let mut builder = CloudEvent::builder();
    let mut data: Option<&RawValue> = None;
    let mut data_base64: Option<&RawValue> = None;
    for (name, value) in members {
        match &*name {
            "data" => data = Some(value),
            "data_base64" if value.get() != "null" => data_base64 = Some(value),
            name => add_attribute(&mut builder, name, value)?,
        }
    }
    match (data, data_base64) {
        (Some(_), Some(_)) => {
            return Err(InvalidInput::new(
                "data_base64",
                "expected only one of data and data_base64",
            ));
        }
        (Some(data), None) => {
            let data = json_data(text, data, builder.datacontenttype());
            builder.data(data);
        }
        (None, Some(encoded)) => builder.data(Data::Binary(from_base64(encoded)?)),
        (None, None) => {}
    }
    Ok(builder.build()?)
}

/// A JSON string under a declared type that is not JSON is that string's content; everything else
/// is the JSON text as it stands (JSON format, 3.1.1).
fn json_data(text: &Bytes, value: &RawValue, content_type: Option<&str>) -> Data {
    if content_type.is_some_and(|media_type| !is_json(media_type))
        && let Ok(content) = serde_json::from_str::<String>(value.get())
    {
        return Data::Text(content.into());
    }
    Data::Json(text.slice_ref(value.get().as_bytes()))
}

/// Reads the value of a `data_base64` member.
pub fn from_base64(value: &RawValue) -> Result<Bytes, InvalidInput> {
    let expected =
        || InvalidInput::new("data_base64", "expected a string in base64 (RFC 4648 section 4)");
    let encoded: Cow<'_, str> = string(value).ok_or_else(expected)?;
    BASE64.decode(&*encoded).map(Bytes::from).map_err(|_| expected())
}

fn add_attribute(
    builder: &mut EventBuilder,
    name: &str,
    value: &RawValue,
) -> Result<(), InvalidAttribute> {
    let wrong_type = || InvalidAttribute::new(name, "a string, a boolean or a 32-bit integer");
    match value.get().as_bytes() {
        b"null" => Ok(()),
        [b'"', ..] => builder.attribute(name, &string(value).ok_or_else(wrong_type)?),
        b"true" => builder.extension(name, AttributeValue::Boolean(true)),
        b"false" => builder.extension(name, AttributeValue::Boolean(false)),
        [b'-' | b'0'..=b'9', ..] => {
            let number = serde_json::from_str::<i32>(value.get()).map_err(|_| wrong_type())?;
            builder.extension(name, AttributeValue::Integer(number))
        }
        _ => Err(wrong_type()),
    }
}

/// The content of a JSON string; `None` when `value` is something else.
#[must_use]
pub fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    if !text.starts_with('"') {
        return None;
    }
    let inner = &text[1..text.len() - 1];
    if inner.contains('\\') {
        serde_json::from_str::<String>(text).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// Reads a JSON object member by member; a name that comes twice is refused.
pub fn members(text: &[u8]) -> Result<Vec<Member<'_>>, InvalidInput> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<Member<'de>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members: Self::Value = Vec::with_capacity(12);
            while let Some(name) = map.next_key::<CowText<'de>>()? {
                if members.iter().any(|(known, _)| *known == name.0) {
                    return Err(serde::de::Error::custom(format_args!(
                        "member {:?} comes twice",
                        name.0.chars().take(64).collect::<String>()
                    )));
                }
                members.push((name.0, map.next_value()?));
            }
            Ok(members)
        }
    }
    let mut parser = serde_json::Deserializer::from_slice(text);
    let members = parser.deserialize_map(Members).map_err(|error| syntax(&error))?;
    parser.end().map_err(|error| syntax(&error))?;
    Ok(members)
}

fn elements(text: &[u8]) -> Result<Vec<&RawValue>, InvalidInput> {
    struct Elements;
    impl<'de> Visitor<'de> for Elements {
        type Value = Vec<&'de RawValue>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON array of events")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = seq.next_element()? {
                values.push(value);
            }
            Ok(values)
        }
    }
    let mut parser = serde_json::Deserializer::from_slice(text);
    let values = parser.deserialize_seq(Elements).map_err(|error| syntax(&error))?;
    parser.end().map_err(|error| syntax(&error))?;
    Ok(values)
}

/// A string that borrows where it can.
#[derive(serde::Deserialize)]
struct CowText<'a>(#[serde(borrow)] Cow<'a, str>);

fn syntax(error: &serde_json::Error) -> InvalidInput {
    InvalidInput::new("body", format!("expected a JSON text: {error}"))
}

/// Writes `event` as one JSON object at the end of `out`.
pub fn encode(event: &CloudEvent, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"specversion":""#);
    out.extend_from_slice(SPEC_VERSION.as_bytes());
    out.push(b'"');
    let own = event.attributes();
    let optional = [
        ("subject", own.subject.as_deref()),
        ("time", own.time.as_deref()),
        ("datacontenttype", content_type(event)),
        ("dataschema", own.dataschema.as_deref()),
    ];
    for (name, text) in [("id", &*own.id), ("source", &*own.source), ("type", &*own.ty)] {
        write_member(out, name);
        write_string(out, text);
    }
    for (name, text) in optional.into_iter().filter_map(|(name, text)| Some((name, text?))) {
        write_member(out, name);
        write_string(out, text);
    }
    for (name, value) in event.extensions() {
        write_member(out, name.as_str());
        match value {
            AttributeValue::String(text) => write_string(out, text),
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
    }
    match event.data() {
        None => {}
        Some(Data::Json(text)) => {
            write_member(out, "data");
            out.extend_from_slice(text);
        }
        Some(Data::Text(text)) => {
            write_member(out, "data");
            write_string(out, &String::from_utf8_lossy(text));
        }
        Some(Data::Binary(bytes)) => {
            write_member(out, "data_base64");
            write_string(out, &BASE64.encode(bytes));
        }
    }
    out.push(b'}');
}

/// The declared media type; a JSON payload without one is `application/json` (JSON format, 3.1.1).
#[must_use]
pub fn content_type(event: &CloudEvent) -> Option<&str> {
    let implied = || matches!(event.data(), Some(Data::Json(_))).then_some("application/json");
    event.datacontenttype().or_else(implied)
}

fn write_member(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec does not fail, and neither does a &str.
    serde_json::to_writer(out, text).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<CloudEvent, InvalidInput> {
        decode(&Bytes::copy_from_slice(text.as_bytes()))
    }

    fn with(members: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#)
    }

    fn rewritten(text: &str) -> String {
        let mut out = Vec::new();
        encode(&read(text).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_payload_is_kept_byte_for_byte() {
        for payload in [
            r#"{"b":1.10,"a":12345678901234567890123}"#,
            "[ 1 , 2.0e0 ]",
            "null",
            "\"x\\u0041\"",
            "  7",
            "{\"k\":1,\"k\":2}",
        ] {
            let event = read(&with(&format!(r#","data":{payload}"#))).unwrap();
            assert_eq!(event.data().unwrap().bytes(), payload.trim_start().as_bytes());
            let again = rewritten(&with(&format!(r#","data":{payload}"#)));
            assert!(again.ends_with(&format!("\"data\":{}}}", payload.trim_start())), "{again}");
            assert!(again.contains(r#""datacontenttype":"application/json""#));
        }
    }

    #[test]
    fn data_has_the_form_that_its_type_says() {
        let text =
            read(&with(r#","datacontenttype":"text/xml","data":"<a b=\"\u00e9\"/>""#)).unwrap();
        assert_eq!(text.data(), Some(&Data::Text("<a b=\"\u{e9}\"/>".into())));
        let binary = read(&with(r#","data_base64":"eyJ4IjoxfQ==""#)).unwrap();
        assert_eq!(binary.data(), Some(&Data::Binary("{\"x\":1}".into())));
        assert_eq!(binary.datacontenttype(), None);
        assert!(read(&with("")).unwrap().data().is_none());
        assert!(rewritten(&with(r#","data_base64":"AQID""#)).ends_with(r#""data_base64":"AQID"}"#));
    }

    #[test]
    fn extensions_keep_their_type_and_null_is_absent() {
        let event = read(&with(r#","n":-5,"b":true,"s":"x","gone":null,"subject":null"#)).unwrap();
        assert_eq!(event.extension("n"), Some(&AttributeValue::Integer(-5)));
        assert_eq!(event.extension("b"), Some(&AttributeValue::Boolean(true)));
        assert_eq!(event.extension("gone"), None);
        assert_eq!(event.subject(), None);
        assert!(rewritten(&with(r#","n":-5"#)).contains(r#""n":-5"#));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let rows = [
            ("", "body"),
            ("[]", "body"),
            ("{", "body"),
            ("{} x", "body"),
            ("1", "body"),
            (r#"{"id":"1","id":"2"}"#, "body"),
            (r#"{"specversion":"1.0"}"#, "id"),
            (r#"{"specversion":"0.3","id":"1"}"#, "specversion"),
        ];
        for (text, field) in rows {
            assert_eq!(read(text).unwrap_err().field, field, "{text}");
        }
        let rows = [
            (r#","data":1,"data_base64":"AQ==""#, "data_base64"),
            (r#","data_base64":1"#, "data_base64"),
            (r#","data_base64":"*""#, "data_base64"),
            (r#","ext":1.5"#, "ext"),
            (r#","ext":99999999999"#, "ext"),
            (r#","ext":{}"#, "ext"),
            (r#","BadName":"x""#, "BadName"),
            (r#","time":7"#, "time"),
            (r#","subject":"""#, "subject"),
            (r#","ext":"\u0007""#, "ext"),
        ];
        for (member, field) in rows {
            assert_eq!(read(&with(member)).unwrap_err().field, field, "{member}");
        }
    }

    #[test]
    fn each_event_of_a_batch_stands_alone() {
        let text = format!("[{}, {{}}, {}]", with(""), with(""));
        let batch = decode_batch(&Bytes::from(text), 3).unwrap();
        assert!(batch[0].is_ok() && batch[1].is_err() && batch[2].is_ok());
        assert!(decode_batch(&Bytes::from_static(b"[{},{}]"), 1).is_err());
        assert!(decode_batch(&Bytes::from_static(b"{}"), 1).is_err());
        assert_eq!(decode_batch(&Bytes::from_static(b"[]"), 1).unwrap().len(), 0);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(id in "[ -~\u{a0}-\u{2fff}]{1,20}", ext in "[ -~]{0,20}",
                                      body in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut builder = CloudEvent::builder();
            builder.implied_spec_version();
            builder.attribute("id", &id).unwrap();
            builder.attribute("source", "/s").unwrap();
            builder.attribute("type", "t").unwrap();
            builder.attribute("ext", &ext).unwrap();
            builder.data(Data::Binary(body.into()));
            let event = builder.build().unwrap();
            let mut out = Vec::new();
            encode(&event, &mut out);
            prop_assert_eq!(decode(&out.into()).unwrap(), event);
        }

        #[test]
        fn nothing_makes_the_reader_panic(text in "\\PC{0,200}") {
            drop(decode(&Bytes::from(text)));
        }
    }
}
