//! Tokens against request forgery, which some receivers want to be fetched before anything is sent.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;

use super::ask::{Asker, because};
use super::authorize::Presented;
use super::renewed::{Lease, Unavailable};
use super::request::AGENT;
use super::token::secret_value;

const WHO: &str = "the CSRF token endpoint";
const TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
/// The largest token, and all cookies together, in bytes.
const BYTES_MAX: usize = 8192;

/// A token, and the cookies that it goes with.
pub(super) struct Forgery {
    token: HeaderValue,
    cookies: Option<HeaderValue>,
}

/// Where a token is fetched.
pub(super) struct CsrfEndpoint {
    pub(super) asker: Asker,
    pub(super) uri: Uri,
    pub(super) presented: Presented,
}

impl CsrfEndpoint {
    /// Fetches a token. It is good until it is refused.
    pub(super) async fn fetch(self: Arc<Self>) -> Result<Lease<Forgery>, Unavailable> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().insert(TOKEN, HeaderValue::from_static("fetch"));
        request.headers_mut().insert(USER_AGENT, AGENT);
        let bearer = self.presented.add(&mut request).await?;
        let answered = self.asker.ask(WHO, request).await?;
        if answered.status == StatusCode::UNAUTHORIZED
            && let Some(bearer) = &bearer
        {
            self.presented.reject(bearer);
        }
        if !answered.status.is_success() {
            return Err(self.asker.refused(WHO, &answered, ""));
        }
        let value = read(&answered.headers).map_err(|what| because(format!("{WHO} {what}")))?;
        Ok(Lease { value, lifetime: None })
    }
}

impl Forgery {
    pub(super) fn add(&self, headers: &mut HeaderMap) {
        headers.insert(TOKEN, self.token.clone());
        if let Some(cookies) = &self.cookies {
            headers.insert(COOKIE, cookies.clone());
        }
    }
}

/// Whether the receiver wants another token.
pub(super) fn is_refused<B>(answer: &Response<B>) -> bool {
    let wants = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"required");
    answer.status() == StatusCode::FORBIDDEN && answer.headers().get(TOKEN).is_some_and(wants)
}

fn read(headers: &HeaderMap) -> Result<Forgery, &'static str> {
    let token = headers.get(TOKEN).filter(|token| (1..=BYTES_MAX).contains(&token.len()));
    let mut token = token.cloned().ok_or("answered without the header x-csrf-token")?;
    token.set_sensitive(true);
    let pairs = headers.get_all(SET_COOKIE).iter().filter_map(|cookie| {
        let pair = cookie.to_str().ok()?.split(';').next()?.trim();
        pair.contains('=').then_some(pair)
    });
    let pairs = pairs.collect::<Vec<_>>().join("; ");
    if pairs.len() > BYTES_MAX {
        return Err("answered with too many cookies");
    }
    let cookies = Some(pairs).filter(|pairs| !pairs.is_empty());
    let cookies = cookies.map(|pairs| secret_value(&pairs)).transpose();
    Ok(Forgery {
        token,
        cookies: cookies.map_err(|_| "answered with cookies that cannot be sent")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs =
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn a_token_is_sent_with_its_cookies() {
        let answer = headers(&[
            (TOKEN, "t0ken"),
            (SET_COOKIE, "SESSION=a=b; Path=/; HttpOnly"),
            (SET_COOKIE, "nonsense"),
            (SET_COOKIE, " usercontext=sap-client=001;secure"),
        ]);
        let mut sent = HeaderMap::new();
        read(&answer).unwrap_or_else(|what| panic!("{what}")).add(&mut sent);
        assert_eq!(sent[TOKEN], "t0ken");
        assert_eq!(sent[COOKIE], "SESSION=a=b; usercontext=sap-client=001");
        assert!(read(&headers(&[(SET_COOKIE, "a=b")])).is_err());
    }

    #[test]
    fn a_token_is_refused_by_403_and_the_header_together() {
        let rows = [
            (403, Some("Required"), true),
            (403, Some("required"), true),
            (403, None, false),
            (403, Some("t0ken"), false),
            (401, Some("required"), false),
        ];
        for (status, header, expected) in rows {
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some(header) = header {
                answer.headers_mut().insert(TOKEN, HeaderValue::from_static(header));
            }
            assert_eq!(is_refused(&answer), expected, "{status} {header:?}");
        }
    }
}
