//! From a request to CloudEvents: the binary, structured and batched content modes (CloudEvents
//! HTTP protocol binding 1.0.2, chapter 3).

use bytes::Bytes;
use eg_event::{CloudEvent, Data, EventBuilder, InvalidAttribute, InvalidInput, TraceContext};
use eg_event::{data, header, json};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::acknowledge::Problem;

/// The prefix of headers that carry attributes.
const PREFIX: &str = "ce-";
/// What the content types of the structured modes begin with.
const STRUCTURED: &str = "application/cloudevents";

/// How the events of a request are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode<'a> {
    /// Attributes in headers, the payload in the body, of this media type.
    Binary(Option<&'a str>),
    /// One JSON event in the body.
    Structured,
    /// A JSON array of events in the body.
    Batch,
}

/// Tells the mode by the content type (3.2 of the binding: whatever its case, with parameters).
pub(crate) fn mode(headers: &HeaderMap) -> Result<Mode<'_>, Problem> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return Ok(Mode::Binary(None)) };
    if values.next().is_some() {
        return Err(content_type("expected this header at most once").into());
    }
    let text =
        std::str::from_utf8(value.as_bytes()).map_err(|_| content_type("expected UTF-8"))?.trim();
    if !starts_with_ignoring_case(text, STRUCTURED) {
        return Ok(Mode::Binary(Some(text)));
    }
    let essence = data::essence(text);
    let mode = if essence.eq_ignore_ascii_case(json::MEDIA_TYPE) {
        Mode::Structured
    } else if essence.eq_ignore_ascii_case(json::BATCH_MEDIA_TYPE) {
        Mode::Batch
    } else {
        return Err(unsupported(format!(
            "expected {} or {}, the only event formats taken",
            json::MEDIA_TYPE,
            json::BATCH_MEDIA_TYPE
        )));
    };
    check_charset(text)?;
    Ok(mode)
}

/// The event of a request in the binary mode.
pub(crate) fn binary(
    headers: &HeaderMap,
    content_type: Option<&str>,
    body: Bytes,
) -> Result<CloudEvent, InvalidInput> {
    let mut builder = CloudEvent::builder();
    for (name, value) in headers {
        if let Some(attribute) = name.as_str().strip_prefix(PREFIX) {
            add_attribute(&mut builder, attribute, value)?;
        }
    }
    if let Some(media_type) = content_type {
        builder.attribute("datacontenttype", media_type).map_err(of_header)?;
    }
    if !body.is_empty() {
        builder.data(Data::from_body(content_type, body));
    }
    builder.build().map_err(of_header)
}

/// The headers that belong to a trace.
pub(crate) fn trace(headers: &HeaderMap) -> TraceContext {
    let mut trace = TraceContext::default();
    for (name, value) in headers {
        let name = name.as_str();
        // Most headers are told apart from the trace's by their first byte.
        if matches!(name.as_bytes()[0], b't' | b'b' | b'x')
            && let Ok(value) = value.to_str()
        {
            trace.add(name, value);
        }
    }
    trace
}

fn add_attribute(
    builder: &mut EventBuilder,
    name: &str,
    value: &HeaderValue,
) -> Result<(), InvalidInput> {
    if name == "datacontenttype" {
        let detail = "expected no such header: the binary mode has content-type (3.1.1)";
        return Err(InvalidInput::new("ce-datacontenttype", detail));
    }
    let text = header::decode(value.as_bytes())
        .map_err(|expected| InvalidInput::new(field(name), format!("expected {expected}")))?;
    builder.attribute(name, &text).map_err(of_header)
}

/// Names the header in place of the attribute.
fn of_header(invalid: InvalidAttribute) -> InvalidInput {
    let invalid = InvalidInput::from(invalid);
    let field = match invalid.field.as_str() {
        "datacontenttype" => "content-type".to_owned(),
        name => field(name),
    };
    InvalidInput { field, ..invalid }
}

fn field(attribute: &str) -> String {
    let shortened = attribute.chars().take(eg_event::attribute::NAME_BYTES_MAX);
    PREFIX.chars().chain(shortened).collect()
}

/// JSON is UTF-8 (RFC 8259 section 8.1), whatever its container says.
fn check_charset(media_type: &str) -> Result<(), Problem> {
    for parameter in media_type.split(';').skip(1) {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        let is_utf8 = value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8");
        if name.trim().eq_ignore_ascii_case("charset") && !is_utf8 {
            return Err(unsupported("expected the charset utf-8".to_owned()));
        }
    }
    Ok(())
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.as_bytes()
        .get(..prefix.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
}

fn content_type(detail: impl Into<String>) -> InvalidInput {
    InvalidInput::new("content-type", detail)
}

fn unsupported(detail: String) -> Problem {
    Problem::of_field(StatusCode::UNSUPPORTED_MEDIA_TYPE, content_type(detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn headers(rows: &[(&str, &[u8])]) -> HeaderMap {
        let pair = |(name, value): &(&str, &[u8])| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            )
        };
        rows.iter().map(pair).collect()
    }

    const MINIMAL: [(&str, &[u8]); 4] =
        [("ce-specversion", b"1.0"), ("ce-id", b"1"), ("ce-source", b"/s"), ("CE-Type", b"t")];

    #[test]
    fn the_content_type_tells_the_mode() {
        let rows: [(&str, Result<Mode<'_>, u16>); 9] = [
            ("application/json", Ok(Mode::Binary(Some("application/json")))),
            ("text/plain; charset=latin1", Ok(Mode::Binary(Some("text/plain; charset=latin1")))),
            ("application/cloudevents+json", Ok(Mode::Structured)),
            ("Application/CloudEvents+JSON; charset=\"UTF-8\"", Ok(Mode::Structured)),
            ("application/CloudEvents-Batch+json;x=y", Ok(Mode::Batch)),
            ("application/cloudevents", Err(415)),
            ("application/cloudevents+xml", Err(415)),
            ("application/cloudevents-batch+avro", Err(415)),
            ("application/cloudevents+json; charset=utf-16", Err(415)),
        ];
        for (text, expected) in rows {
            let headers = headers(&[("content-type", text.as_bytes())]);
            let found = mode(&headers).map_err(|problem| problem.status.as_u16());
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(mode(&HeaderMap::new()).unwrap(), Mode::Binary(None));
    }

    #[test]
    fn header_values_are_decoded_and_kept() {
        let mut rows = MINIMAL.to_vec();
        rows.push(("ce-Subject", b"Euro%20%E2%82%ac"));
        rows.push(("ce-ext", b"\"quo\\\"ted\""));
        rows.push(("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        let headers = headers(&rows);
        let body = Bytes::from_static(b"{\"a\":1.10}");
        let event = binary(&headers, Some("application/json"), body).unwrap();
        assert_eq!(event.subject(), Some("Euro \u{20ac}"));
        assert_eq!(event.extension("ext").unwrap().to_string(), "quo\"ted");
        assert_eq!(event.data(), Some(&Data::Json(Bytes::from_static(b"{\"a\":1.10}"))));
        assert!(trace(&headers).get("traceparent").is_some());
    }

    #[test]
    fn an_event_may_come_without_a_body() {
        let event = binary(&headers(&MINIMAL), None, Bytes::new()).unwrap();
        assert_eq!((event.data(), event.datacontenttype()), (None, None));
    }

    #[test]
    fn the_header_at_fault_is_named() {
        let rows: [(&str, &[u8]); 9] = [
            ("ce-datacontenttype", b"text/plain"),
            ("ce-id", b"2"),
            ("ce-time", b"yesterday"),
            ("ce-subject", b"%FF"),
            ("ce-subject", b"\xff"),
            ("ce-subject", b""),
            ("ce-bad_name", b"x"),
            ("ce-", b"x"),
            ("ce-data", b"x"),
        ];
        for (name, value) in rows {
            let mut all = MINIMAL.to_vec();
            all.push((name, value));
            let found = binary(&headers(&all), None, Bytes::new()).unwrap_err();
            assert_eq!(found.field, name, "{value:?}");
        }
        let no_type = binary(&headers(&MINIMAL), Some("json"), Bytes::new()).unwrap_err();
        assert_eq!(no_type.field, "content-type");
        let nothing = binary(&HeaderMap::new(), None, Bytes::new()).unwrap_err();
        assert_eq!(nothing.field, "ce-specversion");
    }
}
