//! Adds to a request what its receiver knows the gateway by, and learns from the answer whether
//! that still holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use eg_event::Timestamp;
use eg_event::outbound::{Additions, Auth, Credential, Csrf};
use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};

use super::ask::Asker;
use super::client::{Client, Clients};
use super::csrf::{self, CsrfEndpoint, Forgery};
use super::identity::Identity;
use super::query::encode;
use super::renewed::{Renewed, Surroundings, Unavailable};
use super::token::{self, basic, secret_value};
use crate::guard::Guard;

/// What is known of each way to authenticate, for as long as somebody uses it.
pub(super) struct Sessions {
    clients: Clients,
    plain: Client,
    guard: Guard,
    token_time_max: Duration,
    surroundings: Surroundings,
    /// By the address of the `Auth`, which is not used again while it is pointed to.
    known: Mutex<HashMap<usize, Begun>>,
}

/// Whose session it is, and the session.
type Begun = (Weak<Auth>, Arc<Session>);

/// One way to authenticate.
pub(super) struct Session {
    client: Client,
    presented: Presented,
    csrf: Option<Arc<Renewed<Forgery>>>,
}

/// What is added to requests.
pub(super) struct Presented {
    credential: Option<Known>,
    headers: HeaderMap,
    query: String,
}

enum Known {
    Always(HeaderValue),
    Token(Arc<Renewed<HeaderValue>>),
}

/// What a request was given that may be refused.
#[derive(Default)]
pub(super) struct Given {
    token: Option<Arc<HeaderValue>>,
    forgery: Option<Arc<Forgery>>,
}

impl Sessions {
    pub(super) fn new(
        clients: Clients,
        guard: Guard,
        token_time_max: Duration,
        surroundings: Surroundings,
    ) -> Result<Self, rustls::Error> {
        let plain = clients.client(None)?;
        let known = Mutex::default();
        Ok(Self { clients, plain, guard, token_time_max, surroundings, known })
    }

    /// The client of those who do not authenticate.
    pub(super) fn plain(&self) -> &Client {
        &self.plain
    }

    /// The session of `auth`; made when there is none.
    pub(super) fn of(&self, auth: &Arc<Auth>) -> Result<Arc<Session>, String> {
        let place = Arc::as_ptr(auth).addr();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, session)) = known.get(&place) {
            return Ok(Arc::clone(session));
        }
        known.retain(|_, (auth, _)| auth.strong_count() > 0);
        let session = Arc::new(self.begin(auth)?);
        known.insert(place, (Arc::downgrade(auth), Arc::clone(&session)));
        Ok(session)
    }

    fn begin(&self, auth: &Auth) -> Result<Session, String> {
        let client = match &auth.certificate {
            Some(identity) => {
                let identity = Identity::read(identity).map_err(|error| error.to_string())?;
                let client = self.clients.client(Some(identity));
                client.map_err(|error| format!("auth.certificate: {error}"))?
            }
            None => self.plain.clone(),
        };
        let asker = Asker {
            client: client.clone(),
            guard: self.guard.clone(),
            clock: self.surroundings.clock.clone(),
            time_max: self.token_time_max,
        };
        let additions = (&auth.additional_headers, &auth.additional_query_params);
        let presented = self.presented(&asker, auth.credential.as_ref(), additions)?;
        let csrf = auth.csrf.as_ref().map(|csrf| self.csrf(&asker, csrf)).transpose()?;
        Ok(Session { client, presented, csrf })
    }

    fn presented(
        &self,
        asker: &Asker,
        credential: Option<&Credential>,
        (headers, params): (&Additions, &Additions),
    ) -> Result<Presented, String> {
        let credential = match credential {
            None => None,
            Some(Credential::Basic { username, password }) => {
                Some(Known::Always(basic(username, password.expose())?))
            }
            Some(Credential::OAuth(client)) => {
                let (asker, client) = (asker.clone(), Arc::new(client.clone()));
                let fetch = move || {
                    let (asker, client) = (asker.clone(), Arc::clone(&client));
                    async move { token::fetch(&asker, &client).await }.boxed()
                };
                let renewed = Renewed::new(self.surroundings.clone(), Box::new(fetch));
                Some(Known::Token(renewed))
            }
        };
        let mut map = HeaderMap::new();
        for (name, value) in pairs(headers) {
            let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
            map.append(name, secret_value(value)?);
        }
        Ok(Presented { credential, headers: map, query: encode(pairs(params)) })
    }

    fn csrf(&self, asker: &Asker, csrf: &Csrf) -> Result<Arc<Renewed<Forgery>>, String> {
        let additions = (&csrf.additional_headers, &csrf.additional_query_params);
        let uri = csrf.token_endpoint_url.parse();
        let endpoint = Arc::new(CsrfEndpoint {
            asker: asker.clone(),
            uri: uri.map_err(|_| "the CSRF token endpoint has no URL".to_owned())?,
            presented: self.presented(asker, csrf.credential.as_ref(), additions)?,
        });
        let fetch = move || Arc::clone(&endpoint).fetch().boxed();
        Ok(Renewed::new(self.surroundings.clone(), Box::new(fetch)))
    }
}

impl Session {
    /// What sends requests: the connections are those of its certificate alone.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The bearer token alone, and until when it is handed out; `None` without client credentials.
    pub(super) async fn token(
        &self,
    ) -> Result<Option<(Arc<HeaderValue>, Option<Timestamp>)>, Unavailable> {
        let Some(Known::Token(renewed)) = &self.presented.credential else { return Ok(None) };
        let token = renewed.fresh().await?;
        let until = renewed.good_until(&token);
        Ok(Some((token, until)))
    }

    /// Adds everything to `request`, and fetches first what there is to fetch.
    pub(super) async fn authorize<B>(
        &self,
        request: &mut Request<B>,
    ) -> Result<Given, Unavailable> {
        let token = self.presented.add(request).await?;
        let Some(csrf) = &self.csrf else { return Ok(Given { token, forgery: None }) };
        let forgery = csrf.get().await?;
        forgery.add(request.headers_mut());
        Ok(Given { token, forgery: Some(forgery) })
    }

    /// Throws away what `answer` says is not good any more; says so.
    pub(super) fn learn<B>(&self, given: &Given, answer: &Response<B>) -> Option<&'static str> {
        if let Some(token) = &given.token
            && answer.status() == StatusCode::UNAUTHORIZED
        {
            self.presented.reject(token);
            return Some("the token is thrown away, the next attempt has a new one");
        }
        let (Some(csrf), Some(forgery)) = (&self.csrf, &given.forgery) else { return None };
        if !csrf::is_refused(answer) {
            return None;
        }
        csrf.reject(forgery);
        Some("the CSRF token is thrown away, the next attempt has a new one")
    }
}

impl Presented {
    /// Adds everything to `request`; gives back the token that was used, if one was.
    pub(super) async fn add<B>(
        &self,
        request: &mut Request<B>,
    ) -> Result<Option<Arc<HeaderValue>>, Unavailable> {
        let (value, token) = match &self.credential {
            None => (None, None),
            Some(Known::Always(value)) => (Some(value.clone()), None),
            Some(Known::Token(renewed)) => {
                let token = renewed.get().await?;
                (Some(HeaderValue::clone(&token)), Some(token))
            }
        };
        if let Some(value) = value {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        if !self.query.is_empty() {
            let uri = with_query(request.uri(), &self.query);
            let reason = || "the URL is too long with its query parameters".to_owned();
            let uri = uri.ok_or_else(|| Unavailable { reason: reason(), retry_after: None })?;
            *request.uri_mut() = uri;
        }
        Ok(token)
    }

    /// Throws a token away.
    pub(super) fn reject(&self, token: &Arc<HeaderValue>) {
        if let Some(Known::Token(renewed)) = &self.credential {
            renewed.reject(token);
        }
    }
}

fn pairs(additions: &Additions) -> impl Iterator<Item = (&str, &str)> {
    additions
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name.as_str(), value.expose())))
}

fn with_query(uri: &Uri, query: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let separator = if uri.query().is_some_and(|query| !query.is_empty()) { "&" } else { "?" };
    let before = uri.path_and_query().map_or("/", PathAndQuery::as_str).trim_end_matches('?');
    parts.path_and_query = Some(format!("{before}{separator}{query}").parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_follow_those_of_the_endpoint() {
        let rows = [
            ("http://x.test", "http://x.test/?a=1&b=2"),
            ("http://x.test/p", "http://x.test/p?a=1&b=2"),
            ("http://x.test/p?", "http://x.test/p?a=1&b=2"),
            ("http://x.test:81/p?c=3", "http://x.test:81/p?c=3&a=1&b=2"),
        ];
        for (uri, expected) in rows {
            let uri = with_query(&uri.parse().unwrap(), "a=1&b=2").unwrap();
            assert_eq!(uri.to_string(), expected);
        }
        let long = "x".repeat(70_000);
        assert_eq!(with_query(&"http://x.test".parse().unwrap(), &long), None);
    }
}
