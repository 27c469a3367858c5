//! The routes of Kyma's event gateway, with Kyma's bodies: `POST /{application}/v1/events`,
//! `POST /{application}/v2/events`, `GET /{application}/v1/events/subscribed`.

mod answer;
pub mod connector;
mod rule;
mod v1;
mod v2;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use eg_event::CloudEvent;
use eg_event::submission::Binding;
use http::{HeaderMap, Request, StatusCode, request};

use crate::acknowledge;
use crate::authenticate::acts_for;
use crate::body::BodyReader;
use crate::publish::{Context, Publisher};
pub(crate) use answer::method_not_allowed;
use answer::{Fault, Rejection};
pub use rule::is_application;

/// The largest body, in bytes, as Kyma has it.
const BODY_BYTES_MAX: usize = 65_536;

/// Knows which event types an application's subscribers want.
pub trait Subscribed: Send + Sync {
    /// The type and version of each event of `application` that somebody subscribes to.
    fn subscribed(&self, application: &str) -> Vec<(String, String)>;
}

/// Takes events in Kyma's forms.
pub(crate) struct Kyma {
    publisher: Arc<Publisher>,
    bodies: BodyReader,
    subscribed: Arc<dyn Subscribed>,
}

/// An event that a body of Kyma's makes.
struct Parsed {
    event: CloudEvent,
    /// The body gave no identifier, and the gateway made one.
    id_assigned: bool,
}

/// One version of Kyma's body.
struct Version {
    binding: Binding,
    /// Reads a body sent to an application's path.
    parse: fn(application: &str, headers: &HeaderMap, body: &Bytes) -> Result<Parsed, Rejection>,
    /// The field of the body that makes an attribute.
    field: fn(attribute: &str) -> &str,
}

/// Answers `POST /{application}/v1/events`.
pub(crate) async fn v1(State(kyma): State<Arc<Kyma>>, request: Request<Body>) -> Response {
    kyma.publish(&v1::VERSION, request).await
}

/// Answers `POST /{application}/v2/events`.
pub(crate) async fn v2(State(kyma): State<Arc<Kyma>>, request: Request<Body>) -> Response {
    kyma.publish(&v2::VERSION, request).await
}

/// Answers `GET /{application}/v1/events/subscribed`.
pub(crate) async fn subscribed(State(kyma): State<Arc<Kyma>>, request: Request<Body>) -> Response {
    let (head, _) = request.into_parts();
    let mut response = match kyma.admit(&head).await {
        Ok((application, _)) => answer::subscribed(&kyma.subscribed.subscribed(application)),
        Err(fault) => fault.into_response(),
    };
    acknowledge::echo_request_id(&head.headers, &mut response);
    response
}

impl Kyma {
    pub(crate) fn new(publisher: Arc<Publisher>, subscribed: Arc<dyn Subscribed>) -> Self {
        let bodies = publisher.bodies.with_limit(BODY_BYTES_MAX);
        Self { publisher, bodies, subscribed }
    }

    async fn publish(&self, version: &Version, request: Request<Body>) -> Response {
        let (head, body) = request.into_parts();
        let mut response = match self.admit(&head).await {
            Ok((application, context)) => {
                let taken = self.take(version, application, context, (&head, body)).await;
                taken.unwrap_or_else(Rejection::into_response)
            }
            Err(fault) => fault.into_response(),
        };
        acknowledge::echo_request_id(&head.headers, &mut response);
        response
    }

    /// The application that a path names, and who sends the request, if they may act for it.
    async fn admit<'a>(&self, head: &'a request::Parts) -> Result<(&'a str, Context), Fault> {
        let application = head.uri.path().split('/').nth(1).unwrap_or_default();
        if !is_application(application) {
            return Err(Fault::not_found());
        }
        let context = self.publisher.context(head).await.map_err(Fault::from)?;
        if !acts_for(&context.principal, application) {
            return Err(Fault::new(StatusCode::FORBIDDEN, "No valid subject found"));
        }
        Ok((application, context))
    }

    async fn take(
        &self,
        version: &Version,
        application: &str,
        mut context: Context,
        (head, body): (&request::Parts, Body),
    ) -> Result<Response, Rejection> {
        let body = self.bodies.read(&head.headers, body).await.map_err(Rejection::of_body)?;
        if self.publisher.is_outdated(&context) {
            match self.admit(head).await {
                Ok((_, again)) => context = again,
                Err(fault) => return Ok(fault.into_response()),
            }
        }
        let parsed = (version.parse)(application, &head.headers, &body)?;
        let mut submission = context.submission(parsed.event, version.binding);
        submission.id_assigned = parsed.id_assigned;
        match self.publisher.ingest_one(submission).await {
            Ok(receipt) => Ok(answer::published(&receipt)),
            Err(refusal) => Err(Rejection::of_refusal(refusal, version.field)),
        }
    }
}
