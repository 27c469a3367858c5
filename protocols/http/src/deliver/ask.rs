//! Asks an endpoint for a token, in bounded time and for a bounded answer.

use std::time::Duration;

use bytes::Bytes;
use eg_event::Clock;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tokio::time::timeout;

use super::answer::retry_after;
use super::client::Client;
use super::reason;
use super::renewed::Unavailable;
use crate::guard::Guard;

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 65_536;

/// Asks endpoints, with the connections of one client.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) client: Client,
    pub(super) guard: Guard,
    pub(super) clock: Clock,
    pub(super) time_max: Duration,
}

/// What an endpoint answered.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Asker {
    /// Sends `request` to `who`, such as "the token endpoint".
    pub(super) async fn ask(
        &self,
        who: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Answered, Unavailable> {
        self.guard.check_uri(request.uri()).map_err(|error| because(format!("{who}: {error}")))?;
        let ms = self.time_max.as_millis();
        let answered = timeout(self.time_max, self.exchange(who, request)).await;
        answered.unwrap_or_else(|_| Err(because(format!("{who} did not answer within {ms} ms"))))
    }

    async fn exchange(
        &self,
        who: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Answered, Unavailable> {
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| because(format!("{who}: {}", reason::of(&error))))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
            let is_long = error.is::<LengthLimitError>();
            let long = format!("{who} answered more than {ANSWER_BYTES_MAX} bytes");
            because(if is_long { long } else { format!("{who}: the answer broke off") })
        })?;
        Ok(Answered { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    /// That `who` did not answer as it should have, with what more is known.
    pub(super) fn refused(&self, who: &str, answered: &Answered, more: &str) -> Unavailable {
        Unavailable {
            reason: format!("{who} answered {}{more}", answered.status.as_u16()),
            retry_after: retry_after(&answered.headers, self.clock.now()),
        }
    }
}

pub(super) fn because(reason: String) -> Unavailable {
    Unavailable { reason, retry_after: None }
}
