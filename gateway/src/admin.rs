//! The management port: GraphQL, health, metrics.

pub mod certificate;
pub mod credential;
pub mod dead_letter;
pub mod error;
pub mod event;
pub mod health;
pub mod page;
pub mod schema;
pub mod subscription;

use std::sync::Arc;

use async_graphql::http::is_accept_multipart_mixed;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use eg_auth::{Authenticate, Peer};
use eg_certs::Claim;
use serde_json::json;

use self::health::Health;
use self::schema::Schema;
use crate::certificates::{CertificateError, Desk};

/// The longest GraphQL request, in bytes.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// What the management port needs.
#[derive(Clone)]
pub struct Admin {
    /// The GraphQL schema over the gateway.
    pub schema: Schema,
    /// Whether the gateway is well.
    pub health: Arc<Health>,
    /// Gives tokens to applications.
    pub desk: Arc<Desk>,
    /// Who is asking.
    pub authenticator: Arc<dyn Authenticate>,
}

impl Admin {
    /// Serves `schema` to whom `authenticator` recognizes.
    #[must_use]
    pub fn new(
        schema: Schema,
        (health, desk): (Arc<Health>, Arc<Desk>),
        authenticator: Arc<dyn Authenticate>,
    ) -> Self {
        Self { schema, health, desk, authenticator }
    }
}

/// The routes of the management port.
pub fn routes(admin: Admin) -> Router {
    let guarded = Router::new()
        .route("/graphql", post(graphql))
        .route("/metrics", get(metrics))
        .route("/v1/applications/tokens", post(create_token))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(middleware::from_fn_with_state(admin.clone(), authenticate));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/healthz", get(readyz))
        .merge(guarded)
        .with_state(admin)
}

/// Lets nobody in who is not known. Health is open to all: it says nothing but whether.
async fn authenticate(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    match eg_http::authenticate(&*admin.authenticator, request.headers(), &peer).await {
        Ok(_) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn graphql(State(admin): State<Admin>, headers: HeaderMap, body: Bytes) -> Response {
    // A browser sends simple requests across origins without asking; this type is not simple.
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = content_type.is_some_and(|media_type| media_type.starts_with("application/json"));
    if !is_json {
        let expected = "expected the content type application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, expected).into_response();
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(is_accept_multipart_mixed) {
        return (StatusCode::NOT_ACCEPTABLE, "streams are not offered here\n").into_response();
    }
    let request: async_graphql::Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            let expected = format!("expected a GraphQL request: {error}\n");
            return (StatusCode::BAD_REQUEST, expected).into_response();
        }
    };
    let response = admin.schema.execute(request).await;
    match serde_json::to_vec(&response) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Answers Kyma's `POST /v1/applications/tokens`: whose token it is to be stands in headers.
async fn create_token(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (application, tenant, group) = (text("application"), text("tenant"), text("group"));
    let (status, body) = match admin.desk.create_token(Claim { application, tenant, group }) {
        Ok(invite) => (StatusCode::CREATED, json!({ "url": invite.url, "token": invite.token })),
        Err(error) => {
            let status = match error {
                CertificateError::Invalid(_) | CertificateError::Subject(_) => {
                    StatusCode::BAD_REQUEST
                }
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, json!({ "code": status.as_u16(), "error": error.to_string() }))
        }
    };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let text = admin.health.render_metrics().await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn readyz(State(admin): State<Admin>) -> Response {
    match admin.health.ready() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
