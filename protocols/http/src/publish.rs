//! `POST /events`: one CloudEvent, or a batch.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use eg_auth::{Authenticate, Live, Peer};
use eg_event::submission::{Binding, Origin, Protocol, Submission};
use eg_event::{CloudEvent, Ingest, InvalidInput, Principal, Receipt, Refusal, TraceContext, json};
use futures_util::future::BoxFuture;
use http::{Request, StatusCode, request};

use crate::acknowledge::{self, Problem};
use crate::authenticate::authenticate;
use crate::body::BodyReader;
use crate::config::{HttpConfig, size};
use crate::normalize::{self, Mode};

/// Takes events in.
pub(crate) struct Publisher {
    pub(crate) ingest: Arc<dyn Ingest>,
    pub(crate) authenticator: Arc<dyn Authenticate>,
    live: Live,
    pub(crate) bodies: BodyReader,
    batch_events_max: usize,
}

/// What is known of a request beside its events.
pub(crate) struct Context {
    pub(crate) principal: Arc<Principal>,
    pub(crate) remote: SocketAddr,
    pub(crate) address: Box<str>,
    pub(crate) trace: TraceContext,
    /// How often connections had been cut when the sender was recognized.
    cuts: u64,
}

impl Context {
    /// The event with everything known about how it came.
    pub(crate) fn submission(&self, event: CloudEvent, binding: Binding) -> Submission {
        let origin = Origin {
            protocol: Protocol::Http,
            binding,
            remote: Some(self.remote),
            address: self.address.clone(),
            client_id: None,
        };
        let submission = Submission::new(event, Arc::clone(&self.principal), origin);
        Submission { trace: self.trace.clone(), ..submission }
    }
}

/// Answers `POST /events`.
#[derive(Clone)]
pub(crate) struct Publish(pub(crate) Arc<Publisher>);

impl Publish {
    pub(crate) fn answer(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response, Infallible>> {
        let publisher = Arc::clone(&self.0);
        let (head, body) = request.into_parts();
        Box::pin(async move {
            let taken = publisher.take(&head, body).await;
            let mut response = taken.unwrap_or_else(Problem::into_response);
            acknowledge::echo_request_id(&head.headers, &mut response);
            Ok(response)
        })
    }
}

impl Publisher {
    pub(crate) fn new(
        config: &HttpConfig,
        ingest: Arc<dyn Ingest>,
        (authenticator, live): (Arc<dyn Authenticate>, Live),
    ) -> Self {
        Self {
            ingest,
            authenticator,
            live,
            bodies: BodyReader::new(config),
            batch_events_max: size(config.batch_events_max),
        }
    }

    /// Who sends a request, and how it came.
    pub(crate) async fn context(&self, head: &request::Parts) -> Result<Context, Problem> {
        let peer = peer(head)?;
        let cuts = self.live.cuts();
        let principal = authenticate(&*self.authenticator, &head.headers, peer).await?;
        let trace = normalize::trace(&head.headers);
        let (remote, address) = (peer.address, head.uri.path().into());
        Ok(Context { principal, remote, address, trace, cuts })
    }

    /// Whether anything was revoked since the sender was recognized: a body may take its time, and
    /// nothing is to be taken of whose credential was revoked before its end.
    pub(crate) fn is_outdated(&self, context: &Context) -> bool {
        self.live.cuts() != context.cuts
    }

    /// Hands over one event and waits until it is durable.
    ///
    /// The event is on its way once this is called: nothing is awaited between the last byte of a
    /// body and the call, so that a sender who leaves meanwhile has still handed it over.
    pub(crate) async fn ingest_one(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let outcomes = self.ingest.ingest(vec![submission]).await;
        outcomes.into_iter().next().unwrap_or_else(|| Err(unanswered()))
    }

    async fn take(&self, head: &request::Parts, body: Body) -> Result<Response, Problem> {
        let mut context = self.context(head).await?;
        let mode = normalize::mode(&head.headers)?;
        let body = self.bodies.read(&head.headers, body).await?;
        if self.is_outdated(&context) {
            context = self.context(head).await?;
        }
        match mode {
            Mode::Binary(content_type) => {
                let event = normalize::binary(&head.headers, content_type, body)?;
                let submission = context.submission(event, Binding::Binary);
                Ok(acknowledge::one(self.ingest_one(submission).await))
            }
            Mode::Structured => {
                let submission = context.submission(json::decode(&body)?, Binding::Structured);
                Ok(acknowledge::one(self.ingest_one(submission).await))
            }
            Mode::Batch => self.take_batch(&context, &body).await,
        }
    }

    async fn take_batch(&self, context: &Context, body: &Bytes) -> Result<Response, Problem> {
        let events = json::decode_batch(body, self.batch_events_max)?;
        let mut submissions = Vec::with_capacity(events.len());
        let refused: Vec<Option<InvalidInput>> = events
            .into_iter()
            .map(|event| match event {
                Ok(event) => {
                    submissions.push(context.submission(event, Binding::Batch));
                    None
                }
                Err(invalid) => Some(invalid),
            })
            .collect();
        let outcomes =
            if submissions.is_empty() { Vec::new() } else { self.ingest.ingest(submissions).await };
        let mut outcomes = outcomes.into_iter();
        let answers = refused
            .into_iter()
            .map(|refused| match refused {
                Some(invalid) => Err(invalid.into()),
                None => outcomes.next().unwrap_or_else(|| Err(unanswered())).map_err(Problem::from),
            })
            .collect();
        Ok(acknowledge::batch(answers))
    }
}

/// Who is at the other end, which the accept loop leaves with every request.
fn peer(head: &request::Parts) -> Result<&Peer, Problem> {
    head.extensions.get().ok_or_else(|| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the connection's address is not known")
    })
}

/// The port promises an answer for every event; without one the event counts as not stored.
fn unanswered() -> Refusal {
    Refusal::Unavailable {
        reason: "no answer from the store".into(),
        retry_after: std::time::Duration::from_secs(1),
    }
}
