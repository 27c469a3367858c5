//! Kyma's answers: what it says of an event, of a body that breaks a rule, and of a request that
//! does not get that far.

use axum::response::{IntoResponse, Response};
use eg_event::{InvalidInput, Receipt, Refusal};
use http::header::ALLOW;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::acknowledge::{Problem, respond, with_deprecation, write_string};

const MISSING: &str = "Missing field";
const INVALID: &str = "Invalid field";

/// A body that was refused.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rejection {
    status: u16,
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'static str,
    more_info: String,
    details: Vec<Detail>,
    /// What the status asks for in headers.
    #[serde(skip)]
    problem: Option<Box<Problem>>,
}

/// The field at fault.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    field: String,
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'static str,
    more_info: String,
}

impl Rejection {
    /// The body cannot be read at all.
    pub(super) fn bad_payload(more_info: impl Into<String>) -> Self {
        Self::plain(StatusCode::BAD_REQUEST, more_info.into())
    }

    /// A required field is not there.
    pub(super) fn missing(field: &str) -> Self {
        Self::of_field(field, "missing_field", MISSING, String::new())
    }

    /// A field does not hold what it should.
    pub(super) fn invalid(field: &str, more_info: impl Into<String>) -> Self {
        Self::of_field(field, "invalid_field", INVALID, more_info.into())
    }

    /// A header does not hold what it should.
    pub(super) fn invalid_header(header: &str) -> Self {
        Self::of_field(header, "invalid_header", INVALID, String::new())
    }

    /// A field is longer than `max` bytes.
    pub(super) fn too_long(field: &str, max: usize) -> Self {
        let more_info = format!("Field length must be at max: {max}");
        Self::of_field(field, "invalid_field_length", INVALID, more_info)
    }

    /// The body did not arrive, or not as it should.
    pub(super) fn of_body(problem: Problem) -> Self {
        let more_info = match problem.errors.first() {
            Some(error) => error.to_string(),
            None => problem.detail.clone().into_owned(),
        };
        let plain = Self::plain(problem.status, more_info);
        Self { problem: Some(Box::new(problem)), ..plain }
    }

    /// The event was not stored; `field` names what made an attribute.
    pub(super) fn of_refusal(refusal: Refusal, field: fn(&str) -> &str) -> Self {
        if let Refusal::Invalid(InvalidInput { field: attribute, detail }) = refusal {
            return Self::invalid(field(&attribute), detail);
        }
        Self::of_body(refusal.into())
    }

    /// One of the kinds that name no field.
    fn plain(status: StatusCode, more_info: String) -> Self {
        let (kind, message) = match status {
            StatusCode::PAYLOAD_TOO_LARGE => ("request_body_too_large", "Request body too large"),
            status if status.is_server_error() => (
                "internal_server_error",
                "Some unexpected internal error occurred, please contact support.",
            ),
            StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                ("bad_payload_syntax", "Bad payload syntax")
            }
            StatusCode::TOO_MANY_REQUESTS => ("too_many_requests", "Too many requests"),
            _ => ("bad_request", "Bad request"),
        };
        let status = status.as_u16();
        Self { status, kind, message, more_info, details: Vec::new(), problem: None }
    }

    fn of_field(field: &str, kind: &'static str, message: &'static str, more_info: String) -> Self {
        let detail = Detail { field: field.to_owned(), kind, message, more_info };
        Self {
            status: 400,
            kind: "validation_violation",
            message,
            more_info: String::new(),
            details: vec![detail],
            problem: None,
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = respond(status, serde_json::to_vec(&self).unwrap_or_default());
        if let Some(problem) = self.problem {
            problem.add_headers(response.headers_mut());
        }
        response
    }
}

/// A request that does not get as far as its body.
pub(super) struct Fault(Problem);

impl Fault {
    pub(super) fn new(status: StatusCode, error: &'static str) -> Self {
        Self(Problem::new(status, error))
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Requested resource could not be found.")
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Text<'a> {
            code: u16,
            error: &'a str,
        }
        let Self(problem) = self;
        let text = Text { code: problem.status.as_u16(), error: &problem.detail };
        let mut response = respond(problem.status, serde_json::to_vec(&text).unwrap_or_default());
        problem.add_headers(response.headers_mut());
        response
    }
}

/// A method that the path does not take.
pub(crate) fn method_not_allowed(allow: &'static str) -> Response {
    let fault = Fault::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed.");
    let mut response = fault.into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// What became of an event.
pub(super) fn published(receipt: &Receipt) -> Response {
    let status = receipt.status();
    let mut text = Vec::with_capacity(192);
    for (name, value) in [
        (&b"{\"event-id\":"[..], &*receipt.id),
        (b",\"status\":", status.as_str()),
        (b",\"reason\":", status.reason()),
    ] {
        text.extend_from_slice(name);
        write_string(&mut text, value);
    }
    text.push(b'}');
    with_deprecation(respond(StatusCode::OK, text), receipt.deprecation.as_deref())
}

/// What is subscribed to.
pub(super) fn subscribed(events: &[(String, String)]) -> Response {
    #[derive(Serialize)]
    struct Event<'a> {
        name: &'a str,
        version: &'a str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Text<'a> {
        events_info: Vec<Event<'a>>,
    }
    let events_info = events.iter().map(|(name, version)| Event { name, version }).collect();
    let text = serde_json::to_vec(&Text { events_info }).unwrap_or_default();
    respond(StatusCode::OK, text)
}
