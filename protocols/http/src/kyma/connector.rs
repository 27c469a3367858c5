//! How an application gets its certificate in Kyma's way (connector service): with a token it asks
//! what to put into a signing request, hands that in, and from then on renews and revokes with the
//! certificate itself.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_auth::{ClientCertificate, Peer};
use futures_util::future::BoxFuture;
use http::{Extensions, HeaderValue, Request, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{Fault, method_not_allowed};
use crate::acknowledge::{Problem, respond};
use crate::body::BodyReader;
use crate::config::HttpConfig;

/// The longest body, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Where everything is.
const APPLICATIONS: &str = "/v1/applications";

/// Gives certificates to applications: the port that the gateway implements.
pub trait Connector: Send + Sync {
    /// Uses a token up, and says what the signing request has to be.
    fn invite(&self, token: &str) -> Result<Invitation, Refused>;
    /// Uses a token up, and issues a certificate for a signing request in PEM or DER.
    fn sign<'a>(&'a self, token: &'a str, request: &'a [u8]) -> Answer<'a, Chain>;
    /// Who holds a certificate.
    fn identify(&self, certificate: &ClientCertificate) -> Result<Holder, Refused>;
    /// Issues a certificate to the holder of another.
    fn renew<'a>(
        &'a self,
        certificate: &'a ClientCertificate,
        request: &'a [u8],
    ) -> Answer<'a, Chain>;
    /// Revokes a certificate.
    fn revoke<'a>(&'a self, certificate: &'a ClientCertificate) -> Answer<'a, ()>;
}

/// What becomes of a request in time.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Refused>>;

/// What an application puts into its signing request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Who it is.
    pub holder: Holder,
    /// The token for the next step.
    pub token: String,
}

/// An application as its certificate names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The application.
    pub application: String,
    /// Its tenant; empty: none.
    pub tenant: String,
    /// Its group; empty: none.
    pub group: String,
    /// The subject of its certificate.
    pub subject: String,
    /// Where the gateway is reached over HTTPS, without a slash at the end.
    pub base_url: String,
}

/// A certificate with its authority's, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The application's.
    pub certificate: String,
    /// The authority's.
    pub authority: String,
}

/// Why an application gets no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The token is not good, or not any more.
    Token,
    /// The certificate, if there is one, was not issued here.
    Stranger,
    /// The certificate has been revoked.
    Revoked,
    /// The signing request breaks a rule.
    Request(String),
    /// The gateway is at a limit, or short of something.
    Unavailable(String),
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        let (status, text) = match refused {
            Refused::Token => (StatusCode::FORBIDDEN, "Invalid token.".to_owned()),
            Refused::Stranger => (StatusCode::FORBIDDEN, "No valid subject found".to_owned()),
            Refused::Revoked => (StatusCode::FORBIDDEN, "Certificate has been revoked.".to_owned()),
            Refused::Request(why) => (StatusCode::BAD_REQUEST, why),
            Refused::Unavailable(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
        };
        Problem::new(status, text).into()
    }
}

/// The routes below `/v1/applications`.
pub fn router(config: &HttpConfig, connector: Arc<dyn Connector>) -> Router {
    let bodies = BodyReader::new(config).with_limit(BODY_BYTES_MAX);
    let only_get = async || method_not_allowed("GET, HEAD");
    let only_post = async || method_not_allowed("POST");
    let routes = Router::new()
        .route("/signingRequests/info", get(info).fallback(only_get))
        .route("/certificates", post(sign).fallback(only_post))
        .route("/certificates/renewals", post(renew).fallback(only_post))
        .route("/certificates/revocations", post(revoke).fallback(only_post))
        .route("/management/info", get(management_info).fallback(only_get))
        .with_state(Arc::new(Desk { bodies, connector }));
    Router::new().nest(APPLICATIONS, routes)
}

struct Desk {
    bodies: BodyReader,
    connector: Arc<dyn Connector>,
}

#[derive(Deserialize)]
struct Csr {
    /// The signing request: PEM, in base64.
    csr: String,
}

async fn info(State(desk): State<Arc<Desk>>, RawQuery(query): RawQuery) -> Response {
    let invited = token(query.as_deref()).ok_or(Refused::Token);
    match invited.and_then(|token| desk.connector.invite(token)) {
        Ok(Invitation { holder, token }) => {
            let base = &holder.base_url;
            let answer = json!({
                "csrUrl": format!("{base}{APPLICATIONS}/certificates?token={token}"),
                "api": {
                    "metadataUrl": "",
                    "eventsUrl": holder.events_url(),
                    "infoUrl": format!("{base}{APPLICATIONS}/management/info"),
                    "certificatesUrl": format!("{base}{APPLICATIONS}/certificates"),
                },
                "certificate": holder.certificate(),
            });
            ok(StatusCode::OK, &answer)
        }
        Err(refused) => Fault::from(refused).into_response(),
    }
}

async fn management_info(State(desk): State<Arc<Desk>>, extensions: Extensions) -> Response {
    match certificate(&extensions).and_then(|certificate| desk.connector.identify(certificate)) {
        Ok(holder) => {
            let base = &holder.base_url;
            let answer = json!({
                "clientIdentity": {
                    "application": holder.application,
                    "tenant": holder.tenant,
                    "group": holder.group,
                },
                "urls": {
                    "metadataUrl": "",
                    "eventsUrl": holder.events_url(),
                    "renewCertUrl": format!("{base}{APPLICATIONS}/certificates/renewals"),
                    "revokeCertUrl": format!("{base}{APPLICATIONS}/certificates/revocations"),
                },
                "certificate": holder.certificate(),
            });
            ok(StatusCode::OK, &answer)
        }
        Err(refused) => Fault::from(refused).into_response(),
    }
}

async fn sign(State(desk): State<Arc<Desk>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let issued = async {
        let token = token(head.uri.query()).ok_or(Refused::Token)?;
        let csr = desk.read(&head, body).await?;
        Ok::<_, Fault>(desk.connector.sign(token, &csr).await?)
    };
    issued.await.map_or_else(Fault::into_response, Chain::into_response)
}

async fn renew(State(desk): State<Arc<Desk>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let issued = async {
        let certificate = certificate(&head.extensions)?;
        let csr = desk.read(&head, body).await?;
        Ok::<_, Fault>(desk.connector.renew(certificate, &csr).await?)
    };
    issued.await.map_or_else(Fault::into_response, Chain::into_response)
}

/// The connection rests on the certificate as well: this answer is the last thing said in it.
async fn revoke(State(desk): State<Arc<Desk>>, extensions: Extensions) -> Response {
    let revoked = async {
        let certificate = certificate(&extensions)?;
        desk.connector.revoke(certificate).await
    };
    match revoked.await {
        Ok(()) => {
            let mut response = respond(StatusCode::CREATED, Vec::new());
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
        Err(refused) => Fault::from(refused).into_response(),
    }
}

impl Desk {
    /// The signing request in a body.
    async fn read(&self, head: &http::request::Parts, body: Body) -> Result<Vec<u8>, Fault> {
        let body = self.bodies.read(&head.headers, body).await?;
        let csr =
            serde_json::from_slice(&body).ok().and_then(|Csr { csr }| BASE64.decode(csr).ok());
        let expected = "expected {\"csr\": \"...\"} with a signing request in PEM, in base64";
        csr.ok_or_else(|| Refused::Request(expected.to_owned()).into())
    }
}

impl Holder {
    fn events_url(&self) -> String {
        format!("{}/{}/v1/events", self.base_url, self.application)
    }

    fn certificate(&self) -> serde_json::Value {
        json!({ "subject": self.subject, "extensions": "", "key-algorithm": "rsa2048" })
    }
}

impl Chain {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Text {
            crt: String,
            client_crt: String,
            ca_crt: String,
        }
        let Self { certificate, authority } = self;
        let text = Text {
            crt: BASE64.encode(format!("{certificate}{authority}")),
            client_crt: BASE64.encode(certificate),
            ca_crt: BASE64.encode(authority),
        };
        ok(StatusCode::CREATED, &text)
    }
}

fn ok(status: StatusCode, text: &impl Serialize) -> Response {
    let mut response = respond(status, serde_json::to_vec(text).unwrap_or_default());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The member `token` of a query. No character of a token needs escaping.
fn token(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|member| member.strip_prefix("token="))
}

fn certificate(extensions: &Extensions) -> Result<&ClientCertificate, Refused> {
    let peer = extensions.get::<Peer>();
    peer.and_then(|peer| peer.certificate.as_deref()).ok_or(Refused::Stranger)
}
