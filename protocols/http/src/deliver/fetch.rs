//! Fetches a document from where the guard lets us, in bounded time and with a bounded size.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eg_event::outbound::Auth;
use http::header::{ACCEPT, LOCATION, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tokio::time::timeout;

use super::request::AGENT;
use super::{HttpSink, reason};

/// How often an answer may lead elsewhere.
const REDIRECTS_MAX: usize = 3;

/// A document that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its http or https URL.
    pub url: &'a str,
    /// How the gateway says there who it is; never told to another origin.
    pub auth: Option<&'a Arc<Auth>>,
    /// The largest it may be, in bytes.
    pub bytes_max: usize,
    /// How long it may take, redirects included.
    pub time_max: Duration,
}

/// What one request led to.
enum Answer {
    Document(Bytes),
    Elsewhere(Uri),
}

impl HttpSink {
    /// Fetches a document; or says why there is none, in words for an operator, without secrets.
    pub async fn fetch(&self, wanted: Wanted<'_>) -> Result<Bytes, String> {
        let ms = wanted.time_max.as_millis();
        let fetched = timeout(wanted.time_max, self.follow(wanted)).await;
        fetched.unwrap_or_else(|_| Err(format!("no answer within {ms} ms")))
    }

    async fn follow(&self, wanted: Wanted<'_>) -> Result<Bytes, String> {
        let begun = parse(wanted.url)?;
        let mut uri = begun.clone();
        for _ in 0..=REDIRECTS_MAX {
            let auth = wanted.auth.filter(|_| is_same_origin(&begun, &uri));
            match self.ask(&uri, auth, wanted.bytes_max).await? {
                Answer::Document(document) => return Ok(document),
                Answer::Elsewhere(next) => uri = next,
            }
        }
        Err(format!("more than {REDIRECTS_MAX} redirects"))
    }

    async fn ask(
        &self,
        uri: &Uri,
        auth: Option<&Arc<Auth>>,
        bytes_max: usize,
    ) -> Result<Answer, String> {
        self.guard.check_uri(uri).map_err(|refused| refused.to_string())?;
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = uri.clone();
        request.headers_mut().insert(USER_AGENT, AGENT);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
        let session = auth.map(|auth| self.sessions.of(auth)).transpose()?;
        let client = match &session {
            Some(session) => session.client(),
            None => self.sessions.plain(),
        };
        let given = match &session {
            Some(session) => session.authorize(&mut request).await.map_err(|why| why.reason)?,
            None => super::Given::default(),
        };
        let answer = client.request(request).await.map_err(|error| reason::of(&error))?;
        let learned = session.as_ref().and_then(|session| session.learn(&given, &answer));
        let status = answer.status();
        if status.is_redirection() {
            return elsewhere(uri, answer.headers().get(LOCATION)).map(Answer::Elsewhere);
        }
        if status != http::StatusCode::OK {
            let learned = learned.map_or_else(String::new, |learned| format!("; {learned}"));
            return Err(format!("answered {}{learned}", status.as_u16()));
        }
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        body.map(|body| Answer::Document(body.to_bytes())).map_err(|error| {
            if error.is::<LengthLimitError>() {
                return format!("answered more than {bytes_max} bytes");
            }
            "the answer broke off".to_owned()
        })
    }
}

/// Whether two URLs have the same scheme, host and port.
#[must_use]
pub fn is_same_origin(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| {
        let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
        uri.port_u16().unwrap_or(default)
    };
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    one.scheme() == other.scheme() && host(one) == host(other) && port(one) == port(other)
}

fn parse(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|error| format!("expected a URL: {error}"))?;
    let is_http = [&Scheme::HTTP, &Scheme::HTTPS].map(Some).contains(&uri.scheme());
    if is_http { Ok(uri) } else { Err("expected an http or https URL".to_owned()) }
}

/// Where a redirect leads: another URL of the same server, or an absolute one; never from https to
/// http.
fn elsewhere(from: &Uri, location: Option<&HeaderValue>) -> Result<Uri, String> {
    let location = location.and_then(|location| location.to_str().ok());
    let location = location.ok_or("a redirect without a location")?;
    let location = location.split('#').next().unwrap_or_default();
    let base = fluent_uri::Uri::parse(from.to_string()).map_err(|_| "a redirect from nowhere")?;
    let reference = fluent_uri::UriRef::parse(location).map_err(|_| "a redirect to no URL")?;
    let to = reference.resolve_against(&base).map_err(|_| "a redirect to no URL")?;
    let to = parse(to.as_str())?;
    if from.scheme() == Some(&Scheme::HTTPS) && to.scheme() != Some(&Scheme::HTTPS) {
        return Err("a redirect from https to http is not followed".to_owned());
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |one, other| is_same_origin(&uri(one), &uri(other));
        assert!(same("https://a.test/x", "https://A.test:443/y"));
        assert!(!same("https://a.test/", "http://a.test:443/"));
        assert!(!same("http://a.test/", "http://a.test:81/"));
        assert!(!same("http://a.test/", "http://b.test/"));
    }

    #[test]
    fn a_redirect_leads_where_the_server_says_but_not_out_of_tls() {
        let to = |location: &'static str| {
            elsewhere(&uri("https://a.test/b/c"), Some(&HeaderValue::from_static(location)))
        };
        assert_eq!(to("d#e").unwrap(), "https://a.test/b/d");
        assert_eq!(to("https://b.test/").unwrap(), "https://b.test/");
        assert_eq!(to("//b.test/x").unwrap(), "https://b.test/x");
        for refused in ["http://a.test/", "file:///etc/passwd", "ftp://a.test/"] {
            assert!(to(refused).is_err(), "{refused}");
        }
    }
}
