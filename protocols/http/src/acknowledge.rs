//! What a sender is told: a receipt for each event that is durable, a problem (RFC 9457) for each
//! that was refused.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use eg_auth::Unauthenticated;
use eg_event::{Deprecation, InvalidInput, Receipt, Refusal};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The media type of a problem.
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
/// The media type of everything else.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Asks for a bearer token (RFC 6750 section 3).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"event-gateway\"");

/// Since when something should no longer be used.
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
/// When it will be gone.
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// The header by which a request is followed through the systems it passes.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request identifier that is echoed, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 512;

/// Why a request, or one event of a batch, was not taken; answered as a problem (RFC 9457).
#[derive(Debug)]
pub struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) detail: Cow<'static, str>,
    /// The fields at fault.
    pub(crate) errors: Vec<InvalidInput>,
    /// When to try again.
    pub(crate) retry_after: Option<Duration>,
    /// What the sender is told to come with.
    pub(crate) ask: Option<Ask>,
}

/// What a sender should come with next time; a header says so.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// A credential.
    Credential,
    /// Another credential than the one presented, which is no good for this reason.
    OtherCredential(String),
    /// One of these methods.
    Method(&'static str),
}

impl Problem {
    /// Something is wrong, in words; `status` says what kind of thing.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self { status, detail, errors: Vec::new(), retry_after: None, ask: None }
    }

    /// A field that breaks a rule, under another status than 400.
    pub(crate) fn of_field(status: StatusCode, invalid: InvalidInput) -> Self {
        Self { errors: vec![invalid], ..Self::new(status, "the request breaks a rule") }
    }

    /// A method that the path does not take.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this path takes {allow}");
        let ask = Some(Ask::Method(allow));
        Self { ask, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Whether the same request may be taken later.
    pub(crate) fn is_transient(&self) -> bool {
        self.retry_after.is_some()
    }

    /// Adds `Retry-After` and the like.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        if let Some(delay) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(delay)));
        }
        let (name, value) = match &self.ask {
            None => return,
            Some(Ask::Credential) => (WWW_AUTHENTICATE, CHALLENGE),
            Some(Ask::OtherCredential(why)) => (WWW_AUTHENTICATE, challenge_again(why)),
            Some(Ask::Method(allow)) => (ALLOW, HeaderValue::from_static(allow)),
        };
        headers.insert(name, value);
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":");
        write_string(out, self.status.canonical_reason().unwrap_or_default());
        out.extend_from_slice(b",\"status\":");
        write_number(out, self.status.as_u16().into());
        out.extend_from_slice(b",\"detail\":");
        write_string(out, &self.detail);
        if !self.errors.is_empty() {
            out.extend_from_slice(b",\"errors\":[");
            for (index, error) in self.errors.iter().enumerate() {
                out.extend_from_slice(if index == 0 { b"{\"field\":" } else { b",{\"field\":" });
                write_string(out, &error.field);
                out.extend_from_slice(b",\"detail\":");
                write_string(out, &error.detail);
                out.push(b'}');
            }
            out.push(b']');
        }
        out.push(b'}');
    }
}

/// The one table from refusal to status.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unauthenticated(why) => {
                Self { ask: Some(Ask::Credential), ..Self::new(StatusCode::UNAUTHORIZED, why) }
            }
            Refusal::Forbidden(why) => Self::new(StatusCode::FORBIDDEN, why),
            Refusal::Invalid(invalid) => Self {
                errors: vec![invalid],
                ..Self::new(StatusCode::BAD_REQUEST, "the event breaks a rule")
            },
            Refusal::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, refusal.to_string())
            }
            Refusal::Busy { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "too busy, try again later")
            },
            Refusal::Quota { retry_after, .. } => Self {
                retry_after: Some(retry_after),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, refusal.to_string())
            },
            Refusal::Unavailable { reason, retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, reason)
            },
        }
    }
}

/// The one table from what is wrong with a credential to status (RFC 6750 section 3.1, RFC 6585).
impl From<Unauthenticated> for Problem {
    fn from(why: Unauthenticated) -> Self {
        let detail = why.to_string();
        let (status, ask, retry_after) = match why {
            Unauthenticated::LockedOut { retry_after } => {
                (StatusCode::TOO_MANY_REQUESTS, None, Some(retry_after))
            }
            Unauthenticated::Unavailable { retry_after, .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, None, Some(retry_after))
            }
            Unauthenticated::Missing => (StatusCode::UNAUTHORIZED, Some(Ask::Credential), None),
            _ => (StatusCode::UNAUTHORIZED, Some(Ask::OtherCredential(detail.clone())), None),
        };
        Self { retry_after, ask, ..Self::new(status, detail) }
    }
}

impl From<InvalidInput> for Problem {
    fn from(invalid: InvalidInput) -> Self {
        Self::from(Refusal::Invalid(invalid))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut text = Vec::with_capacity(256);
        self.write(&mut text);
        let mut response = respond(self.status, text);
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM);
        self.add_headers(response.headers_mut());
        response
    }
}

/// Says that the credential presented is no good, and why (RFC 6750 section 3).
fn challenge_again(why: &str) -> HeaderValue {
    let is_text = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
    let why: String = why.chars().filter(is_text).collect();
    let value = format!(
        "Bearer realm=\"event-gateway\", error=\"invalid_token\", error_description=\"{why}\""
    );
    HeaderValue::try_from(value).unwrap_or(CHALLENGE)
}

/// The answer to one event.
pub(crate) fn one(outcome: Result<Receipt, Refusal>) -> Response {
    match outcome {
        Ok(receipt) => {
            let mut text = Vec::with_capacity(192 + receipt.id.len() + receipt.source.len());
            write_receipt(&mut text, &receipt);
            let response = respond(StatusCode::ACCEPTED, text);
            with_deprecation(response, receipt.deprecation.as_deref())
        }
        Err(refusal) => Problem::from(refusal).into_response(),
    }
}

/// The answer to a batch: a receipt or a problem for each event, in their order. When nothing was
/// stored and all of it may be later, the whole request is refused so, and a sender that looks no
/// further than the status sends it again.
pub(crate) fn batch(outcomes: Vec<Result<Receipt, Problem>>) -> Response {
    let mut text = Vec::with_capacity(2 + outcomes.len() * 256);
    let mut stored = outcomes.is_empty();
    text.push(b'[');
    let mut last_problem = None;
    let mut deprecation = None;
    for outcome in outcomes {
        if text.len() > 1 {
            text.push(b',');
        }
        match outcome {
            Ok(receipt) => {
                write_receipt(&mut text, &receipt);
                stored = true;
                deprecation = deprecation.or(receipt.deprecation);
            }
            Err(problem) => {
                problem.write(&mut text);
                stored |= !problem.is_transient();
                last_problem = Some(problem);
            }
        }
    }
    text.push(b']');
    match last_problem {
        Some(problem) if !stored => problem.into_response(),
        _ => with_deprecation(respond(StatusCode::ACCEPTED, text), deprecation.as_deref()),
    }
}

/// A JSON answer.
pub(crate) fn respond(status: StatusCode, text: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Says that something should no longer be used (RFC 9745, RFC 8594).
pub(crate) fn with_deprecation(
    mut response: Response,
    deprecation: Option<&Deprecation>,
) -> Response {
    let Some(deprecation) = deprecation else { return response };
    let sunset = deprecation.sunset_text();
    for (name, text) in [(DEPRECATION, Some(deprecation.since_text())), (SUNSET, sunset)] {
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Says again which request this answers, if the request did.
pub(crate) fn echo_request_id(request: &HeaderMap, response: &mut Response) {
    if let Some(id) = request.get(REQUEST_ID)
        && id.len() <= REQUEST_ID_BYTES_MAX
        && id.as_bytes().iter().all(|b| (0x20..0x7f).contains(b))
    {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
}

fn write_receipt(out: &mut Vec<u8>, receipt: &Receipt) {
    let status = receipt.status();
    out.extend_from_slice(b"{\"id\":");
    write_string(out, &receipt.id);
    out.extend_from_slice(b",\"source\":");
    write_string(out, &receipt.source);
    out.extend_from_slice(b",\"sequence\":");
    write_number(out, receipt.sequence.0);
    out.extend_from_slice(b",\"status\":");
    write_string(out, status.as_str());
    out.extend_from_slice(b",\"reason\":");
    write_string(out, status.reason());
    out.extend_from_slice(b",\"subscriptions\":");
    write_number(out, receipt.subscriptions.into());
    if receipt.duplicate {
        out.extend_from_slice(b",\"duplicate\":true");
    }
    out.push(b'}');
}

/// Writes `text` as a JSON string.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec does not fail, and neither does a &str.
    serde_json::to_writer(out, text).unwrap_or_default();
}

/// Writes `number` in decimal digits.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    serde_json::to_writer(out, &number).unwrap_or_default();
}

/// `Retry-After` in seconds, rounded up, at least one.
fn whole_seconds(delay: Duration) -> u64 {
    let rounded_up = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    rounded_up.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eg_event::Sequence;
    use http_body_util::BodyExt as _;

    fn receipt(subscriptions: u32, duplicate: bool) -> Receipt {
        let (id, source) = ("a\"1".into(), "/s".into());
        let (held, deprecation) = (false, None);
        let sequence = Sequence(7);
        Receipt { id, source, sequence, subscriptions, duplicate, held, deprecation }
    }

    fn busy(millis: u64) -> Refusal {
        Refusal::Busy { retry_after: Duration::from_millis(millis) }
    }

    fn text(response: Response) -> String {
        let body = futures_util::FutureExt::now_or_never(response.into_body().collect());
        String::from_utf8(body.unwrap().unwrap().to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_receipt_tells_what_became_of_the_event() {
        let published = one(Ok(receipt(2, false)));
        assert_eq!(published.status(), StatusCode::ACCEPTED);
        assert_eq!(
            text(published),
            r#"{"id":"a\"1","source":"/s","sequence":7,"status":"published","reason":"Message successfully published to the channel","subscriptions":2}"#
        );
        let ignored = text(one(Ok(receipt(0, true))));
        assert!(ignored.contains(r#""status":"ignored","reason":"Event was ignored"#), "{ignored}");
        assert!(ignored.ends_with(r#""subscriptions":0,"duplicate":true}"#), "{ignored}");
    }

    #[test]
    fn every_refusal_has_its_status() {
        let unavailable =
            Refusal::Unavailable { reason: "disk full".into(), retry_after: Duration::ZERO };
        let rows = [
            (Refusal::Unauthenticated("who?".into()), 401, "www-authenticate", CHALLENGE),
            (Refusal::Forbidden("no".into()), 403, "content-type", PROBLEM),
            (InvalidInput::new("id", "x").into(), 400, "content-type", PROBLEM),
            (Refusal::TooLarge { limit_bytes: 9 }, 413, "content-type", PROBLEM),
            (busy(1200), 503, "retry-after", HeaderValue::from_static("2")),
            (unavailable, 503, "retry-after", HeaderValue::from_static("1")),
        ];
        for (refusal, status, header, value) in rows {
            let response = one(Err(refusal));
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers().get(header), Some(&value), "{status}");
        }
        let invalid = text(one(Err(InvalidInput::new("ce-id", "expected a text").into())));
        assert_eq!(
            invalid,
            r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"the event breaks a rule","errors":[{"field":"ce-id","detail":"expected a text"}]}"#
        );
    }

    #[test]
    fn what_is_wrong_with_a_credential_has_its_status_and_challenge() {
        let retry_after = Duration::from_millis(1500);
        let invalid = Unauthenticated::Invalid("kid: no \"such\" key\\ \u{e9}".to_owned());
        let invalid_token = "Bearer realm=\"event-gateway\", error=\"invalid_token\", \
            error_description=\"kid: no such key \"";
        let reason = "no keys".to_owned();
        let rows = [
            (Unauthenticated::Missing, 401, "www-authenticate", "Bearer realm=\"event-gateway\""),
            (invalid, 401, "www-authenticate", invalid_token),
            (Unauthenticated::LockedOut { retry_after }, 429, "retry-after", "2"),
            (Unauthenticated::Unavailable { reason, retry_after }, 503, "retry-after", "2"),
        ];
        for (why, status, header, value) in rows {
            let response = Problem::from(why).into_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[header], value, "{status}");
        }
    }

    #[test]
    fn a_batch_is_answered_event_by_event() {
        let refused = || Err(Problem::from(InvalidInput::new("id", "expected a text")));
        let mixed = batch(vec![Ok(receipt(1, false)), refused(), Err(busy(1).into())]);
        assert_eq!(mixed.status(), StatusCode::ACCEPTED);
        let answers: Vec<serde_json::Value> = serde_json::from_str(&text(mixed)).unwrap();
        assert_eq!(answers[0]["sequence"], 7);
        assert_eq!(answers[1]["errors"][0]["field"], "id");
        assert_eq!(answers[2]["status"], 503);
        assert_eq!(text(batch(Vec::new())), "[]");
    }

    #[test]
    fn a_batch_of_which_nothing_was_stored_for_now_is_refused_as_a_whole() {
        let all_busy = batch(vec![Err(busy(1).into()), Err(busy(3000).into())]);
        assert_eq!(all_busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(all_busy.headers()[RETRY_AFTER], "3");
    }
}
