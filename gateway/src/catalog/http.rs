//! The catalog over HTTP, for who is known as for publishing.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use eg_auth::{Authenticate, Peer};
use eg_event::Principal;
use eg_http::{Problem, authenticate};
use serde::Deserialize;

use super::{Catalog, Seen, merged};

/// The media type of an `AsyncAPI` document.
const ASYNCAPI: &str = "application/vnd.aai.asyncapi+json;version=3.0.0";

/// Who asks for the catalog, and what is in it.
#[derive(Clone)]
pub struct Desk {
    catalog: Arc<Catalog>,
    authenticator: Arc<dyn Authenticate>,
}

/// What is asked for.
#[derive(Debug, Deserialize)]
struct Asked {
    /// One application alone.
    application: Option<String>,
}

/// The paths of the catalog.
pub fn router(catalog: Arc<Catalog>, authenticator: Arc<dyn Authenticate>) -> Router {
    Router::new()
        .route("/catalog", get(list))
        .route("/catalog/asyncapi.json", get(document))
        .route("/catalog/ca.pem", get(trust_store))
        .with_state(Desk { catalog, authenticator })
}

async fn list(State(desk): State<Desk>, Query(asked): Query<Asked>, request: Parts) -> Response {
    let write = |seen: &Seen| serde_json::to_vec(seen);
    desk.answer(&request, asked, "application/json", write).await
}

async fn document(
    State(desk): State<Desk>,
    Query(asked): Query<Asked>,
    request: Parts,
) -> Response {
    let write = |seen: &Seen| serde_json::to_vec(&merged::document(seen));
    desk.answer(&request, asked, ASYNCAPI, write).await
}

/// What ours is checked by is for everybody: who does not have it yet can check nothing.
async fn trust_store(State(desk): State<Desk>) -> Response {
    let Some(pem) = &desk.catalog.access().trust_store else {
        let text = "the server's certificate is not of the gateway's own authority";
        return Problem::new(StatusCode::NOT_FOUND, text).into_response();
    };
    ([(CONTENT_TYPE, "application/x-pem-file")], pem.clone()).into_response()
}

impl Desk {
    async fn answer(
        &self,
        request: &Parts,
        asked: Asked,
        media_type: &'static str,
        write: impl Fn(&Seen) -> serde_json::Result<Vec<u8>> + Send + 'static,
    ) -> Response {
        let principal = match self.recognize(request).await {
            Ok(principal) => principal,
            Err(problem) => return problem.into_response(),
        };
        let catalog = Arc::clone(&self.catalog);
        let make = move || {
            let seen = catalog.seen_by(&principal, asked.application.as_deref());
            write(&seen)
        };
        // Documents that have changed are read.
        match tokio::task::spawn_blocking(make).await {
            Ok(Ok(body)) => tagged(&request.headers, media_type, body),
            _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    async fn recognize(&self, request: &Parts) -> Result<Arc<Principal>, Problem> {
        let Some(peer) = request.extensions.get::<Peer>() else {
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the peer is not known"));
        };
        authenticate(&*self.authenticator, &request.headers, peer).await
    }
}

/// The answer, or that it is the one that the client has (RFC 9110 section 13.1.2).
fn tagged(headers: &HeaderMap, media_type: &'static str, body: Vec<u8>) -> Response {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let known =
        headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_known = known
        .split(',')
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == tag || one == "*");
    let caching = [
        (ETAG, tag),
        (CACHE_CONTROL, "private, no-cache".to_owned()),
        (VARY, "authorization".to_owned()),
    ];
    if is_known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(CONTENT_TYPE, media_type)], body).into_response()
}
