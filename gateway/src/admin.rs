//! The management port: GraphQL, health, metrics.

pub mod activation;
pub mod catalog;
pub mod certificate;
pub mod credential;
pub mod dead_letter;
pub mod error;
pub mod event;
#[cfg(test)]
pub(crate) mod facts;
mod feed;
pub mod guard;
pub mod health;
pub mod manifest;
pub mod mqtt;
pub mod mutation;
pub mod operations;
pub mod outbound;
pub mod page;
pub mod policy;
pub mod quarantine;
pub mod query;
pub mod schema;
mod shown;
pub mod specs;
pub mod subscription;
pub mod usage;

use std::sync::Arc;
use std::time::Duration;

use async_graphql::http::is_accept_multipart_mixed;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use eg_auth::{Authenticate, Live, Peer};
use eg_certs::Claim;
use eg_event::{Clock, Principal};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::error::unauthenticated;
use self::guard::{Caller, Guard};
use self::health::Health;
use self::operations::{CREATE_TOKEN, METRICS};
use self::schema::{Parts, Schema};
use crate::audit::{Audit, Entry, Outcome};
use crate::certificates::{CertificateError, Desk};

/// The longest GraphQL request, in bytes.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// How long it may take to arrive once its head has.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// What a refused attempt to be let in is called in the audit log.
const AUTHENTICATE: &str = "authenticate";

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
    /// When a credential is revoked.
    pub live: Live,
    /// Who may do what, and what is written down of it.
    pub guard: Guard,
    /// Where operations run, so that each ends although its client has left.
    pub tasks: TaskTracker,
    /// Who follows is told to go.
    pub stop: CancellationToken,
    /// The places for clients that follow.
    pub feeds: Arc<Semaphore>,
}

/// How often connections had been cut before a request was recognized.
#[derive(Clone, Copy, Debug)]
struct Cuts(u64);

impl Admin {
    /// Management of what `parts` are; operations run on `tasks`, and what they follow ends when
    /// `stop` is cancelled.
    #[must_use]
    pub fn new(
        parts: Parts,
        clock: Clock,
        (health, (authenticator, live)): (&Arc<Health>, (Arc<dyn Authenticate>, Live)),
        (tasks, stop): (TaskTracker, CancellationToken),
    ) -> Self {
        let audit = Audit::new(&parts.journal, &parts.dispatch, clock);
        let guard = Guard { policy: parts.policy.clone(), audit: Arc::new(audit) };
        let desk = Arc::clone(&parts.desk);
        let schema = schema::schema(parts, guard.clone());
        let (health, feeds) = (Arc::clone(health), feed::places());
        Self { schema, health, desk, authenticator, live, guard, tasks, stop, feeds }
    }
}

/// The routes of the management port.
pub fn routes(admin: Admin) -> Router {
    let guarded = Router::new()
        .route("/graphql", post(graphql).get(feed::upgrade))
        .route("/metrics", get(metrics))
        .route("/v1/applications/tokens", post(create_token))
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
    match admin.recognize(request, &peer).await {
        Ok(request) => next.run(request).await,
        Err(refused) => refused,
    }
}

impl Admin {
    /// The whole of a request, and in it who sends it: who is not known need not be listened to,
    /// and whose credential is revoked while the rest comes has asked for nothing.
    async fn recognize(&self, request: Request, peer: &Peer) -> Result<Request, Response> {
        let (mut head, body) = request.into_parts();
        let mut cuts = self.live.cuts();
        let mut principal = self.authenticate(&head.headers, peer).await?;
        let body = tokio::time::timeout(BODY_TIME_MAX, to_bytes(body, REQUEST_BYTES_MAX)).await;
        let body = match body {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return Err(StatusCode::PAYLOAD_TOO_LARGE.into_response()),
            Err(_) => return Err(StatusCode::REQUEST_TIMEOUT.into_response()),
        };
        if self.live.cuts() != cuts {
            cuts = self.live.cuts();
            principal = self.authenticate(&head.headers, peer).await?;
        }
        head.extensions.insert(Cuts(cuts));
        head.extensions.insert(Caller { principal, remote: peer.address });
        Ok(Request::from_parts(head, body.into()))
    }

    async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Arc<Principal>, Response> {
        let problem = match eg_http::authenticate(&*self.authenticator, headers, peer).await {
            Ok(principal) => return Ok(principal),
            Err(problem) => problem,
        };
        let why = problem.detail().to_owned();
        let mut response = problem.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *response.body_mut() = refusal(&unauthenticated(&why)).into();
        let outcome = Outcome::Refused(why);
        let entry = Entry { outcome, ..Entry::of(AUTHENTICATE, None, peer.address) };
        self.guard.audit.record_refused(&entry);
        Err(response)
    }
}

/// A refusal in the form of GraphQL's errors, whatever was asked for.
fn refusal(error: &async_graphql::Error) -> String {
    json!({ "errors": [{ "message": error.message, "extensions": error.extensions }] }).to_string()
}

async fn graphql(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
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
    let schema = admin.schema.clone();
    // On a task of its own: what is begun is done and written to the audit log, whoever leaves.
    let variables = request.variables.clone();
    let request = request.data(caller).data(variables);
    let answer = admin.tasks.spawn(async move { schema.execute(request).await });
    match answer.await.map(|answer| serde_json::to_vec(&answer)) {
        Ok(Ok(body)) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Answers Kyma's `POST /v1/applications/tokens`: whose token it is to be stands in headers.
async fn create_token(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (application, tenant, group) = (text("application"), text("tenant"), text("group"));
    let entry = Entry {
        subject: Some(application.clone()),
        arguments: json!({ "application": application, "tenant": tenant, "group": group }),
        ..Entry::of(CREATE_TOKEN, Some(&caller.principal), caller.remote)
    };
    if let Err(error) = admin.guard.admit(&entry) {
        return kyma_answer(StatusCode::FORBIDDEN, &kyma_error(403, &error.message));
    }
    let made = admin.desk.create_token(Claim { application, tenant, group });
    let outcome = match &made {
        Ok(_) => Outcome::Done,
        Err(_) => Outcome::Failed("InvalidData".to_owned()),
    };
    if let Err(why) = admin.guard.audit.record(&Entry { outcome, ..entry }).await {
        return kyma_answer(StatusCode::SERVICE_UNAVAILABLE, &kyma_error(503, &why.to_string()));
    }
    match made {
        Ok(invite) => {
            let body = json!({ "url": invite.url, "token": invite.token });
            kyma_answer(StatusCode::CREATED, &body)
        }
        Err(error) => {
            let status = match error {
                CertificateError::Invalid(_) | CertificateError::Subject(_) => {
                    StatusCode::BAD_REQUEST
                }
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            kyma_answer(status, &kyma_error(status.as_u16(), &error.to_string()))
        }
    }
}

fn kyma_error(code: u16, error: &str) -> Value {
    json!({ "code": code, "error": error })
}

fn kyma_answer(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

async fn metrics(State(admin): State<Admin>, Extension(caller): Extension<Caller>) -> Response {
    let entry = Entry::of(METRICS, Some(&caller.principal), caller.remote);
    if let Err(error) = admin.guard.admit(&entry) {
        let json = [(header::CONTENT_TYPE, "application/json")];
        return (StatusCode::FORBIDDEN, json, refusal(&error)).into_response();
    }
    let text = admin.health.render_metrics().await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn readyz(State(admin): State<Admin>) -> Response {
    match admin.health.ready() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
