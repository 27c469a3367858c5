//! Which path leads where.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use eg_auth::Authenticator;
use eg_event::Ingest;
use http::header::ALLOW;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::acknowledge::Problem;
use crate::config::HttpConfig;
use crate::kyma::{self, Kyma, Subscribed};
use crate::publish::{self, Publisher, publish};

/// What the routes hand over to.
pub struct Ports {
    /// Takes events.
    pub ingest: Arc<dyn Ingest>,
    /// Recognizes senders.
    pub authenticator: Arc<Authenticator>,
    /// Knows what is subscribed to.
    pub subscribed: Arc<dyn Subscribed>,
}

/// The routes for events, and those of `others`, such as MQTT over WebSocket.
pub fn router(
    config: &HttpConfig,
    ports: Ports,
    others: impl IntoIterator<Item = Router>,
) -> Router {
    let publisher = Arc::new(Publisher::new(config, ports.ingest, ports.authenticator));
    let kyma = Arc::new(Kyma::new(Arc::clone(&publisher), ports.subscribed));
    let origins: Arc<[String]> = config.webhook_origins.clone().into();
    let events = Router::new()
        .route(
            "/events",
            post(publish)
                .with_state(publisher)
                .options(options)
                .with_state(origins)
                .fallback(async || Problem::method_not_allowed(publish::ALLOW)),
        )
        .route(
            "/{application}/v1/events",
            post(kyma::v1).fallback(async || kyma::method_not_allowed("POST")),
        )
        .route(
            "/{application}/v2/events",
            post(kyma::v2).fallback(async || kyma::method_not_allowed("POST")),
        )
        .route(
            "/{application}/v1/events/subscribed",
            get(kyma::subscribed).fallback(async || kyma::method_not_allowed("GET, HEAD")),
        )
        .with_state(kyma)
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path"));
    others.into_iter().fold(events, Router::merge)
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
    answer.insert(ALLOW, HeaderValue::from_static(publish::ALLOW));
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
