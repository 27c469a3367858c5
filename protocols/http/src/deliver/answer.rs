//! What the answer of a subscriber means, and what is done with the rest of it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use eg_event::{Clock, Outcome, Timestamp};
use http::header::RETRY_AFTER;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::config::{PushConfig, ms, size};

/// How much of an answer a reason quotes, in characters, and how much is read for it, in bytes.
const QUOTE: (usize, usize) = (200, 1024);
/// How many answers may have their bodies read in the background at once; the connections of
/// further ones are closed instead.
const DRAINS_MAX: usize = 256;

/// Reads answers.
pub(super) struct Answers {
    clock: Clock,
    body_bytes_max: usize,
    body_time_max: Duration,
    quote_time_max: Duration,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Answers {
    pub(super) fn new(config: &PushConfig, clock: Clock, tasks: TaskTracker) -> Self {
        Self {
            clock,
            body_bytes_max: size(config.answer_body_bytes_max),
            body_time_max: ms(config.answer_body_ms_max),
            quote_time_max: ms(config.reason_ms_max),
            places: Arc::new(Semaphore::new(DRAINS_MAX)),
            tasks,
        }
    }

    /// The outcome of the attempt that ends at `until`. A success is one as soon as its head is in.
    pub(super) async fn outcome(&self, answer: Response<Incoming>, until: Instant) -> Outcome {
        let (head, mut body) = answer.into_parts();
        let status = Some(head.status.as_u16());
        if head.status.is_success() {
            self.drain(body);
            return Outcome::Delivered { status };
        }
        if head.status == StatusCode::GONE {
            self.drain(body);
            return Outcome::Gone { status };
        }
        let retry_after = retry_after(&head.headers, self.clock.now());
        let reason = if head.status.is_redirection() {
            format!("answered {}: redirects are not followed", head.status.as_u16())
        } else {
            let until = until.min(Instant::now() + self.quote_time_max);
            reason(head.status, &beginning(&mut body, until).await)
        };
        self.drain(body);
        Outcome::Failed { status, reason, retry_after }
    }

    /// Reads what remains of a body, so that its connection can be used again; one that is too
    /// long, too slow or one too many is given up with its connection.
    fn drain(&self, mut body: Incoming) {
        if body.is_end_stream() {
            return;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let mut left = self.body_bytes_max;
        let until = Instant::now() + self.body_time_max;
        let read = async move {
            let _place = place;
            while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await {
                let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, bytes::Bytes::len))
                else {
                    return;
                };
                left = rest;
            }
        };
        self.tasks.spawn(read);
    }
}

/// As much of `body` as a reason quotes, or what came of it until `until`.
async fn beginning(body: &mut Incoming, until: Instant) -> Vec<u8> {
    let mut beginning = Vec::new();
    while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await {
        let data = frame.into_data().unwrap_or_default();
        beginning.extend_from_slice(&data[..data.len().min(QUOTE.1 - beginning.len())]);
        if beginning.len() == QUOTE.1 {
            break;
        }
    }
    beginning
}

/// The status, and what the body says in printable characters on one line.
fn reason(status: StatusCode, body: &[u8]) -> String {
    let mut reason = format!("answered {}", status.as_u16());
    let text = String::from_utf8_lossy(body);
    let is_printable = |c: &char| !c.is_control() && *c != char::REPLACEMENT_CHARACTER;
    let words = text.split_whitespace().flat_map(|word| [" ", word]).skip(1);
    let quote: String = words.flat_map(str::chars).filter(is_printable).take(QUOTE.0).collect();
    if !quote.is_empty() {
        // Writing to a String does not fail.
        write!(reason, ": {quote}").unwrap_or_default();
    }
    reason
}

/// `Retry-After`, in seconds or as a date (RFC 9110 section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let at = Timestamp::default().after(date.duration_since(UNIX_EPOCH).ok()?);
    Some(at.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_reason_quotes_the_beginning_of_the_body() {
        let rows: [(&[u8], &str); 5] = [
            (b"", "answered 500"),
            (b"\x00\xff\n ", "answered 500"),
            (b"no\r\n stock\tleft\x1b[1m", "answered 500: no stock left[1m"),
            ("\u{20ac} 5".as_bytes(), "answered 500: \u{20ac} 5"),
            (&[b'x'; 999], &format!("answered 500: {}", "x".repeat(200))),
        ];
        for (body, expected) in rows {
            assert_eq!(reason(StatusCode::INTERNAL_SERVER_ERROR, body), expected);
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = Timestamp::parse_rfc3339("2026-11-21T10:00:00Z").unwrap();
        let rows = [
            ("0", Some(Duration::ZERO)),
            (" 120 ", Some(Duration::from_mins(2))),
            ("99999999999999999999", Some(Duration::from_secs(u64::MAX))),
            ("Sat, 21 Nov 2026 10:00:30 GMT", Some(Duration::from_secs(30))),
            ("Sat, 21 Nov 2026 09:00:00 GMT", Some(Duration::ZERO)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ];
        for (text, expected) in rows {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after(&headers, now), expected, "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
