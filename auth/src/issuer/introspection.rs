//! Opaque tokens, looked up at their issuer (RFC 7662).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eg_event::{Clock, Timestamp};
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::claims::Accepted;
use super::jws::invalid;
use super::provider::{FetchError, IssuerError, Provider, read};
use crate::config::{IntrospectionConfig, IssuerConfig};
use crate::{Thumbprint, Unauthenticated};

/// When a sender is told to try again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What an issuer says of a token.
#[derive(Deserialize)]
struct Answer {
    active: bool,
    #[serde(flatten)]
    claims: Map<String, Value>,
}

/// How the tokens of one issuer are looked up.
pub(crate) struct Introspection {
    provider: Arc<Provider>,
    url: Option<String>,
    client_id: String,
    client_secret: String,
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
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Self {
            provider,
            url: config.url.clone(),
            client_id: form_encoded(&config.client_id),
            client_secret: form_encoded(secret.trim()),
            clock,
            answer_time_max: Duration::from_secs(config.cache_seconds_max.into()),
            answers: Cache::new(size(config.tokens_cached_max)),
            requests: Semaphore::new(size(config.requests_max)),
        })
    }

    /// What the issuer says of `token`, which goes by `digest`; asked once for all who wait, if
    /// `may_ask` lets it be.
    pub(crate) async fn look_up(
        &self,
        token: &str,
        digest: &Thumbprint,
        issuer: &IssuerConfig,
        may_ask: &(impl Fn() -> Result<(), Unauthenticated> + Sync),
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
                may_ask()?;
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
        let answer = self.fetch(token).await.map_err(|error| {
            let issuer = self.provider.issuer();
            tracing::warn!(issuer, %error, "a token cannot be introspected");
            self.unavailable()
        })?;
        Ok(answer.active.then_some(answer.claims))
    }

    async fn fetch(&self, token: &str) -> Result<Answer, FetchError> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => self.provider.introspection_endpoint().await?,
        };
        let body = format!("token={}&token_type_hint=access_token", form_encoded(token));
        let request = self.provider.client().post(&url);
        let request = request
            .basic_auth(&self.client_id, Some(&self.client_secret))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let document = read(&url, request.body(body).send().await).await?;
        serde_json::from_slice(&document).map_err(|cause| FetchError::Unreadable { url, cause })
    }

    fn unavailable(&self) -> Unauthenticated {
        Unauthenticated::Unavailable {
            reason: format!("{} cannot be asked about tokens", self.provider.issuer()),
            retry_after: RETRY_AFTER,
        }
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introspection at {} as {}", self.provider.issuer(), self.client_id)
    }
}

/// As forms and, before base64, client secrets are written (RFC 6749 section 2.3.1).
fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => encoded.extend(format!("%{byte:02X}").chars()),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_travel_in_forms_whatever_is_in_them() {
        assert_eq!(form_encoded("a B*-._9"), "a+B*-._9");
        assert_eq!(form_encoded("&=+%:\u{e9}"), "%26%3D%2B%25%3A%C3%A9");
    }
}
