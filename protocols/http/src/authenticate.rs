//! Who sends a request: its `Authorization` header, and the principal that it proves.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_auth::{Authenticate, Credential, Peer};
use eg_event::principal::Method;
use eg_event::{InvalidInput, Principal, Refusal};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::acknowledge::Problem;

/// The principal of a request that came from `peer` with `headers`.
pub async fn authenticate(
    authenticator: &dyn Authenticate,
    headers: &HeaderMap,
    peer: &Peer,
) -> Result<Arc<Principal>, Problem> {
    let credential = credential(headers)?;
    Ok(authenticator.authenticate(&credential, peer).await?)
}

/// Whether `principal` may send events as `application`: the one place that decides it. Its
/// application is the common name of a certificate, or what its token or credential says;
/// anonymous access, which only development mode gives, may send as any.
pub(crate) fn acts_for(principal: &Principal, application: &str) -> bool {
    principal.method() == Method::Anonymous || principal.application() == Some(application)
}

/// Reads the `Authorization` header: `Bearer` (RFC 6750) or `Basic` (RFC 7617).
fn credential(headers: &HeaderMap) -> Result<Credential, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(Credential::None) };
    if values.next().is_some() {
        return Err(expected("this header at most once").into());
    }
    let text = value.to_str().map_err(|_| expected("visible ASCII characters"))?.trim();
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim_start();
    if scheme.eq_ignore_ascii_case("bearer") {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        if rest.is_empty() || !rest.bytes().all(is_token) {
            return Err(expected("a token after Bearer").into());
        }
        return Ok(Credential::Bearer(rest.to_owned()));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        return basic(rest).ok_or_else(|| expected("base64 of name:password after Basic").into());
    }
    Err(Refusal::Unauthenticated("the scheme has to be Bearer or Basic".into()).into())
}

fn basic(encoded: &str) -> Option<Credential> {
    let decoded = BASE64.decode(encoded).ok()?;
    let colon = decoded.iter().position(|&b| b == b':')?;
    let name = std::str::from_utf8(&decoded[..colon]).ok()?.to_owned();
    Some(Credential::Basic { name, password: decoded[colon + 1..].to_vec() })
}

fn expected(what: &str) -> InvalidInput {
    InvalidInput::new("authorization", format!("expected {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(values: &[&str]) -> Result<Credential, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        credential(&headers)
    }

    #[test]
    fn bearer_and_basic_are_read_whatever_the_case_of_the_scheme() {
        assert!(matches!(read(&[]), Ok(Credential::None)));
        assert!(matches!(read(&["bEARER a.b-c"]), Ok(Credential::Bearer(t)) if t == "a.b-c"));
        let basic = read(&["Basic  YWRtaW46cDpx"]);
        assert!(
            matches!(basic, Ok(Credential::Basic { name, password }) if name == "admin" && password == b"p:q")
        );
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "somebody has to be recognized here")]
    fn a_principal_sends_as_its_own_application_alone_unless_anyone_may() {
        let shop =
            Principal::vouch_for("till-1", Method::Certificate, None).for_application("shop");
        assert!(acts_for(&shop, "shop"));
        assert!(!acts_for(&shop, "bank") && !acts_for(&shop, "till-1"));
        let nobody = Principal::vouch_for("shop", Method::Bearer, None);
        assert!(!acts_for(&nobody, "shop"), "a name is not an application");
        let anyone = Principal::vouch_for("anonymous", Method::Anonymous, None);
        assert!(acts_for(&anyone, "shop"));
    }

    #[test]
    fn a_header_that_cannot_be_read_is_refused() {
        let rows: [(&[&str], u16); 8] = [
            (&["Bearer"], 400),
            (&["Bearer "], 400),
            (&["Bearer a b"], 400),
            (&["Basic !"], 400),
            (&["Basic YWRtaW4="], 400),
            (&["Bearer a", "Bearer b"], 400),
            (&["Bearer \u{e9}"], 400),
            (&["Negotiate abc"], 401),
        ];
        for (values, status) in rows {
            assert_eq!(read(values).unwrap_err().status.as_u16(), status, "{values:?}");
        }
    }
}
