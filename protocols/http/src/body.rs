//! Reads a request body whole, within limits of size, time and memory.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use eg_event::{InvalidInput, Refusal};
use futures_util::poll;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::acknowledge::Problem;
use crate::config::{HttpConfig, ms, size};

/// Bodies up to this size are not counted against the memory for large ones.
const SMALL_BYTES: usize = 64 * 1024;
/// The unit in which memory is counted.
const KIB: usize = 1024;

/// Reads bodies.
#[derive(Clone, Debug)]
pub(crate) struct BodyReader {
    bytes_max: usize,
    time_max: Duration,
    memory_kib: Arc<Semaphore>,
}

impl BodyReader {
    pub(crate) fn new(config: &HttpConfig) -> Self {
        let memory_kib = size(config.large_bodies_bytes_max) / KIB;
        Self {
            bytes_max: size(config.body_bytes_max),
            time_max: ms(config.body_ms_max),
            memory_kib: Arc::new(Semaphore::new(memory_kib)),
        }
    }

    /// The same reader, the same memory, and a smaller limit for one body.
    pub(crate) fn with_limit(&self, bytes_max: usize) -> Self {
        Self { bytes_max: bytes_max.min(self.bytes_max), ..self.clone() }
    }

    /// Reads `body`. What is too large by its own account is refused unread. The bytes are a copy
    /// of exactly their size, so that an event does not keep the connection's buffer alive.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        check_encoding(headers)?;
        let announced = body.size_hint().exact().map(usize::try_from);
        let announced = match announced {
            Some(Ok(bytes)) if bytes <= self.bytes_max => Some(bytes),
            Some(_) => return Err(self.too_large()),
            None => None,
        };
        if announced == Some(0) {
            return Ok(Bytes::new());
        }
        let _memory = self.reserve(announced.unwrap_or(self.bytes_max))?;
        let mut collected = pin!(self.collect(body, announced));
        // Most bodies have arrived with their head: these need no timer.
        if let Poll::Ready(outcome) = poll!(collected.as_mut()) {
            return outcome;
        }
        Box::pin(timeout(self.time_max, collected)).await.unwrap_or_else(|_| {
            let detail = format!("the body did not arrive in {} ms", self.time_max.as_millis());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        })
    }

    async fn collect(&self, mut body: Body, announced: Option<usize>) -> Result<Bytes, Problem> {
        let mut collected = BytesMut::with_capacity(announced.unwrap_or_default());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Problem::from(InvalidInput::new("body", format!("expected all of it: {error}")))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if collected.len() + data.len() > self.bytes_max {
                return Err(self.too_large());
            }
            collected.extend_from_slice(&data);
        }
        Ok(collected.freeze())
    }

    fn reserve(&self, bytes: usize) -> Result<Option<SemaphorePermit<'_>>, Problem> {
        if bytes <= SMALL_BYTES {
            return Ok(None);
        }
        let kib = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX);
        let no_room = |_| Problem::from(Refusal::Busy { retry_after: Duration::from_secs(1) });
        self.memory_kib.try_acquire_many(kib).map(Some).map_err(no_room)
    }

    fn too_large(&self) -> Problem {
        let limit_bytes = u64::try_from(self.bytes_max).unwrap_or(u64::MAX);
        Refusal::TooLarge { limit_bytes }.into()
    }
}

/// Only bodies as they are: a compressed one would have to be unpacked within limits of its own.
fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_identity = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"));
    if is_identity {
        return Ok(());
    }
    let invalid = InvalidInput::new("content-encoding", "expected none, or identity");
    Err(Problem::of_field(StatusCode::UNSUPPORTED_MEDIA_TYPE, invalid))
}
