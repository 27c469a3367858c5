//! Opaque tokens, looked up at their issuer (RFC 7662); the crate `oauth2` speaks the protocol.

use std::sync::Arc;
use std::time::Duration;

use eg_event::{Clock, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenResponse, BasicTokenType,
};
use oauth2::{
    AccessToken, AsyncHttpClient, ClientId, ClientSecret, EndpointNotSet, ExtraTokenFields,
    HttpRequest, HttpResponse, IntrospectionUrl, RequestTokenError, StandardRevocableToken,
    StandardTokenIntrospectionResponse, TokenIntrospectionResponse as _,
};
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::claims::Accepted;
use super::jws::invalid;
use super::provider::{FetchError, IssuerError, Provider, read};
use crate::config::{IntrospectionConfig, IssuerConfig};
use crate::{Thumbprint, Unauthenticated};

/// When a sender is told to try again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The claims that the protocol does not name.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct OtherClaims(Map<String, Value>);

impl ExtraTokenFields for OtherClaims {}

type Answer = StandardTokenIntrospectionResponse<OtherClaims, BasicTokenType>;
type Client = oauth2::Client<
    BasicErrorResponse,
    BasicTokenResponse,
    Answer,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
>;

/// How the tokens of one issuer are looked up.
#[derive(Debug)]
pub(crate) struct Introspection {
    provider: Arc<Provider>,
    url: Option<String>,
    client: Client,
    clock: Clock,
    answer_time_max: Duration,
    answers: Cache<Thumbprint, Known>,
    requests: Semaphore,
}

/// What an issuer said of a token.
#[derive(Clone, Debug)]
struct Known {
    outcome: Result<Arc<Accepted>, Unauthenticated>,
    until: Timestamp,
}

impl Introspection {
    pub(crate) fn new(
        config: &IntrospectionConfig,
        provider: Arc<Provider>,
        clock: Clock,
    ) -> Result<Self, IssuerError> {
        let path = &config.client_secret_file;
        let secret = std::fs::read_to_string(path).map_err(|error| IssuerError::File {
            key: "auth.issuers.introspection.client_secret_file",
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        let client = Client::new(ClientId::new(config.client_id.clone()))
            .set_client_secret(ClientSecret::new(secret.trim().to_owned()));
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Self {
            provider,
            url: config.url.clone(),
            client,
            clock,
            answer_time_max: Duration::from_secs(config.cache_seconds_max.into()),
            answers: Cache::new(size(config.tokens_cached_max)),
            requests: Semaphore::new(size(config.requests_max)),
        })
    }

    /// What the issuer says of `token`, which goes by `digest`; asked once for all who wait.
    pub(crate) async fn look_up(
        &self,
        token: &str,
        digest: &Thumbprint,
        issuer: &IssuerConfig,
    ) -> Result<Arc<Accepted>, Unauthenticated> {
        let now = self.clock.now();
        let still_good = |_: &Thumbprint, known: &mut Known| {
            if now < known.until {
                EntryAction::Retain(known.clone())
            } else {
                EntryAction::ReplaceWithGuard
            }
        };
        match self.answers.entry_async(digest, still_good).await {
            EntryResult::Retained(known) => known.outcome,
            EntryResult::Vacant(guard) | EntryResult::Replaced(guard, _) => {
                let outcome = match self.ask(token).await? {
                    Some(claims) => self.judge(claims, digest, issuer),
                    None => Err(invalid("token", "it is not active")),
                };
                let outcome = outcome.map(Arc::new);
                let until = now.after(self.answer_time_max);
                let known = Known { outcome: outcome.clone(), until };
                // Whoever would have been told by this entry asks again.
                drop(guard.insert(known));
                outcome
            }
            EntryResult::Removed(..) | EntryResult::Timeout => Err(self.unavailable()),
        }
    }

    fn judge(
        &self,
        mut claims: Map<String, Value>,
        digest: &Thumbprint,
        issuer: &IssuerConfig,
    ) -> Result<Accepted, Unauthenticated> {
        if claims.get("iss").is_some_and(|iss| *iss != *self.provider.issuer()) {
            return Err(invalid("iss", "the token is another issuer's"));
        }
        // Both are optional here: the issuer itself says that the token is good for who asks, and
        // a token of a client alone is the client's.
        if let Some(audience) = issuer.audiences.first() {
            claims.entry("aud").or_insert_with(|| Value::from(audience.as_str()));
        }
        if let Some(client) = claims.get("client_id").cloned() {
            claims.entry("sub").or_insert(client);
        }
        Accepted::read(&claims, issuer, digest)
    }

    /// The claims of a token that is active.
    async fn ask(&self, token: &str) -> Result<Option<Map<String, Value>>, Unauthenticated> {
        let Ok(_permit) = self.requests.try_acquire() else {
            return Err(Unauthenticated::Unavailable {
                reason: "too many tokens are being looked up".to_owned(),
                retry_after: RETRY_AFTER,
            });
        };
        let failed = |error: String| {
            let issuer = self.provider.issuer();
            tracing::warn!(issuer, error, "a token cannot be introspected");
            self.unavailable()
        };
        let url = match &self.url {
            Some(url) => url.clone(),
            None => self
                .provider
                .introspection_endpoint()
                .await
                .map_err(|error| failed(error.to_string()))?,
        };
        let url = IntrospectionUrl::new(url).map_err(|error| failed(error.to_string()))?;
        let client = self.client.clone().set_introspection_url(url);
        let token = AccessToken::new(token.to_owned());
        let request = client.introspect(&token).set_token_type_hint("access_token");
        let sender = Sender(self.provider.client().clone());
        let answer: Answer = request.request_async(&sender).await.map_err(|error| {
            failed(match error {
                RequestTokenError::ServerResponse(answer) => answer.to_string(),
                RequestTokenError::Request(error) => error.to_string(),
                other => other.to_string(),
            })
        })?;
        if !answer.active() {
            return Ok(None);
        }
        match serde_json::to_value(answer) {
            Ok(Value::Object(claims)) => Ok(Some(claims)),
            _ => Err(failed("the answer is no object".to_owned())),
        }
    }

    fn unavailable(&self) -> Unauthenticated {
        Unauthenticated::Unavailable {
            reason: format!("{} cannot be asked about tokens", self.provider.issuer()),
            retry_after: RETRY_AFTER,
        }
    }
}

/// Lets the protocol's crate send its requests by our client.
struct Sender(reqwest::Client);

impl<'a> AsyncHttpClient<'a> for Sender {
    type Error = FetchError;
    type Future = BoxFuture<'static, Result<HttpResponse, FetchError>>;

    fn call(&'a self, request: HttpRequest) -> Self::Future {
        let url = request.uri().to_string();
        let (head, body) = request.into_parts();
        let request = self.0.post(&url).headers(head.headers).body(body);
        let answered = async move {
            let document = read(&url, request.send().await).await?;
            let mut response = HttpResponse::new(document);
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(response)
        };
        answered.boxed()
    }
}
