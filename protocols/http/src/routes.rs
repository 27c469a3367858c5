//! Which path leads where.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::future::RouteFuture;
use axum::routing::{MethodFilter, get, on, post};
use eg_auth::{Authenticate, Live};
use eg_event::{Channels, Ingest};
use futures_util::future::{BoxFuture, Either};
use http::header::ALLOW;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use tower_service::Service;

use crate::acknowledge::Problem;
use crate::channels;
use crate::config::HttpConfig;
use crate::kyma::{self, Kyma, Subscribed};
use crate::publish::{Publish, Publisher};

/// Where CloudEvents go.
const EVENTS: &str = "/events";
/// The methods that it takes.
const EVENTS_ALLOW: &str = "OPTIONS, POST";

/// What the routes hand over to.
pub struct Ports {
    /// Takes events.
    pub ingest: Arc<dyn Ingest>,
    /// Recognizes senders.
    pub authenticator: Arc<dyn Authenticate>,
    /// Knows when a credential is revoked.
    pub live: Live,
    /// Knows what is subscribed to.
    pub subscribed: Arc<dyn Subscribed>,
    /// Knows what payloads sent to channels are.
    pub channels: Arc<dyn Channels>,
}

/// Answers every request: the path that nearly all take without detour, the rest by a router.
#[derive(Clone)]
pub struct Routes {
    publish: Publish,
    router: Router,
}

impl Routes {
    /// The routes for events, and those of `others`, such as MQTT over WebSocket.
    pub fn new(
        config: &HttpConfig,
        ports: Ports,
        others: impl IntoIterator<Item = Router>,
    ) -> Self {
        let Ports { ingest, authenticator, live, subscribed, channels } = ports;
        let publisher = Arc::new(Publisher::new(config, ingest, (authenticator, live)));
        let publish = Publish(Arc::clone(&publisher));
        let events = on(MethodFilter::OPTIONS, options)
            .with_state(config.webhook_origins.clone().into())
            .fallback(async || Problem::method_not_allowed(EVENTS_ALLOW));
        let not_a_path = async || Problem::new(StatusCode::NOT_FOUND, "nothing is at this path");
        let router = Router::new()
            .route(EVENTS, events)
            .merge(kyma_routes(Arc::clone(&publisher), subscribed))
            .merge(channels::routes(publisher, channels))
            .fallback(not_a_path);
        Self { publish, router: others.into_iter().fold(router, Router::merge) }
    }
}

impl Service<Request<Body>> for Routes {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<BoxFuture<'static, Result<Response, Infallible>>, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Measured: the router's detour costs a twentieth of all that a small event costs.
        if request.method() == Method::POST && request.uri().path() == EVENTS {
            return Either::Left(self.publish.answer(request));
        }
        Either::Right(self.router.call(request))
    }
}

fn kyma_routes(publisher: Arc<Publisher>, subscribed: Arc<dyn Subscribed>) -> Router {
    let v1 = post(kyma::v1).fallback(async || kyma::method_not_allowed("POST"));
    let v2 = post(kyma::v2).fallback(async || kyma::method_not_allowed("POST"));
    let list = get(kyma::subscribed).fallback(async || kyma::method_not_allowed("GET, HEAD"));
    Router::new()
        .route("/{application}/v1/events", v1)
        .route("/{application}/v2/events", v2)
        .route("/{application}/v1/events/subscribed", list)
        .with_state(Arc::new(Kyma::new(publisher, subscribed)))
}

/// Answers `OPTIONS /events`: the methods, and consent to an origin that asks by the CloudEvents
/// webhook handshake (HTTP 1.1 Web Hooks for Event Delivery, chapter 4), if it is on the list.
async fn options(State(allowed): State<Arc<[String]>>, headers: HeaderMap) -> Response {
    const REQUEST_ORIGIN: &str = "webhook-request-origin";
    const REQUEST_RATE: &str = "webhook-request-rate";
    const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
    const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

    let mut response = StatusCode::NO_CONTENT.into_response();
    let answer = response.headers_mut();
    answer.insert(ALLOW, HeaderValue::from_static(EVENTS_ALLOW));
    if let Some(origin) = headers.get(REQUEST_ORIGIN)
        && allowed.iter().any(|known| known == "*" || known.as_bytes() == origin.as_bytes())
    {
        answer.insert(ALLOWED_ORIGIN, origin.clone());
        if headers.contains_key(REQUEST_RATE) {
            answer.insert(ALLOWED_RATE, HeaderValue::from_static("*"));
        }
    }
    response
}
