//! Bearer tokens by client credentials (RFC 6749 section 4.4).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use eg_event::outbound::{ClientAuthentication, ClientCredentials};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::Value;

use super::ask::{Answered, Asker, because};
use super::query::{encode, encoded};
use super::renewed::{Lease, Unavailable};
use super::request::AGENT;

const WHO: &str = "the token endpoint";
/// How long a token is used whose lifetime the provider does not say.
const LIFETIME_UNSTATED: Duration = Duration::from_mins(5);
/// The longest code of an error that is quoted, in bytes.
const CODE_BYTES_MAX: usize = 64;

/// RFC 6749 section 5.1.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    expires_in: Option<Value>,
}

/// RFC 6749 section 5.2.
#[derive(Deserialize)]
struct Denied {
    error: String,
}

/// Fetches a token; gives back the value of `Authorization`.
pub(super) async fn fetch(
    asker: &Asker,
    client: &ClientCredentials,
) -> Result<Lease<HeaderValue>, Unavailable> {
    let request = request(client).map_err(because)?;
    let answered = asker.ask(WHO, request).await?;
    if !answered.status.is_success() {
        return Err(asker.refused(WHO, &answered, &code(&answered)));
    }
    granted(&answered.body).map_err(|what| because(format!("{WHO} answered {what}")))
}

fn request(client: &ClientCredentials) -> Result<Request<Full<Bytes>>, String> {
    let secret = client.client_secret.expose();
    let scope = client.scopes.join(" ");
    let mut form = vec![("grant_type", "client_credentials")];
    if !scope.is_empty() {
        form.push(("scope", &scope));
    }
    form.extend(client.audience.as_deref().map(|audience| ("audience", audience)));
    form.extend(client.resource.as_deref().map(|resource| ("resource", resource)));
    let by_form = client.client_authentication == ClientAuthentication::Post;
    if by_form {
        form.extend([("client_id", &*client.client_id), ("client_secret", secret)]);
    }
    let mut request = Request::new(Full::new(encode(form).into()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = client.url.parse().map_err(|_| format!("{WHO} has no URL"))?;
    let headers = request.headers_mut();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(CONTENT_TYPE, form);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, AGENT);
    if !by_form {
        // Each part is encoded as in a form first (section 2.3.1).
        let value = basic(&encoded(&client.client_id), &encoded(secret));
        headers.insert(AUTHORIZATION, value?);
    }
    Ok(request)
}

/// The value of `Authorization` for a name and a password (RFC 7617).
pub(super) fn basic(username: &str, password: &str) -> Result<HeaderValue, String> {
    let pair = BASE64.encode(format!("{username}:{password}"));
    secret_value(&format!("Basic {pair}"))
}

/// A header's value that no log shows and no table of HTTP/2 keeps.
pub(super) fn secret_value(text: &str) -> Result<HeaderValue, String> {
    // What the library says is without the value.
    let mut value = HeaderValue::from_str(text).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

/// What the answer grants, or what it is instead. Nothing of it is quoted.
fn granted(body: &[u8]) -> Result<Lease<HeaderValue>, &'static str> {
    let answer = serde_json::from_slice::<Granted>(body);
    let answer = answer.map_err(|_| "something that is no token (RFC 6749 section 5.1)")?;
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return Err("a token that is no bearer token");
    }
    // RFC 6750 section 2.1.
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if answer.access_token.is_empty() || !answer.access_token.bytes().all(is_token) {
        return Err("a token that no header can have (RFC 6750 section 2.1)");
    }
    let value = secret_value(&format!("Bearer {}", answer.access_token));
    let lifetime = answer.expires_in.as_ref().and_then(seconds).unwrap_or(LIFETIME_UNSTATED);
    Ok(Lease { value: value.map_err(|_| "no token")?, lifetime: Some(lifetime) })
}

/// A number of seconds, which some providers write as a text.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The error code of a provider, ready to be appended.
fn code(answered: &Answered) -> String {
    let denied = serde_json::from_slice::<Denied>(&answered.body).ok();
    let is_code = |code: &String| {
        (1..=CODE_BYTES_MAX).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_graphic())
    };
    let code = denied.map(|denied| denied.error).filter(is_code);
    code.map(|code| format!(": {code}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eg_event::outbound::SecretText;
    use http_body_util::BodyExt as _;

    fn client(client_authentication: ClientAuthentication) -> ClientCredentials {
        ClientCredentials {
            client_id: "gate:way".to_owned(),
            client_secret: SecretText::new("p&s %"),
            url: "https://id.test/token?x=1".to_owned(),
            scopes: vec!["a".to_owned(), "b:c".to_owned()],
            audience: Some("https://shop.test".to_owned()),
            resource: None,
            client_authentication,
        }
    }

    async fn written(request: Request<Full<Bytes>>) -> (Option<String>, String) {
        assert_eq!(request.uri(), "https://id.test/token?x=1");
        let header = request.headers().get(AUTHORIZATION);
        assert!(header.is_none_or(HeaderValue::is_sensitive));
        let header = header.map(|value| value.to_str().unwrap().to_owned());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        (header, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_client_says_who_it_is_in_a_header_or_in_the_form() {
        let form = "grant_type=client_credentials&scope=a%20b%3Ac&audience=https%3A%2F%2Fshop.test";
        let (header, body) = written(request(&client(ClientAuthentication::Basic)).unwrap()).await;
        let pair = BASE64.encode("gate%3Away:p%26s%20%25");
        assert_eq!((header, &*body), (Some(format!("Basic {pair}")), form));
        let (header, body) = written(request(&client(ClientAuthentication::Post)).unwrap()).await;
        let more = "&client_id=gate%3Away&client_secret=p%26s%20%25";
        assert_eq!((header, body), (None, format!("{form}{more}")));
    }

    #[test]
    fn a_granted_token_is_good_for_as_long_as_the_answer_says() {
        let rows = [
            (r#"{"access_token":"a.b-c","token_type":"Bearer","expires_in":60}"#, 60),
            (r#"{"access_token":"a.b-c","token_type":"bearer","expires_in":"60"}"#, 60),
            (r#"{"access_token":"a.b-c","token_type":"BEARER","expires_in":60.5,"x":[]}"#, 60),
            (r#"{"access_token":"a.b-c","token_type":"bearer"}"#, 300),
            (r#"{"access_token":"a.b-c","token_type":"bearer","expires_in":-1}"#, 300),
        ];
        for (body, seconds) in rows {
            let Ok(Lease { value, lifetime }) = granted(body.as_bytes()) else { panic!("{body}") };
            assert_eq!((value.to_str().unwrap(), value.is_sensitive()), ("Bearer a.b-c", true));
            assert_eq!(lifetime.unwrap().as_secs(), seconds, "{body}");
        }
    }

    #[test]
    fn an_answer_that_is_no_bearer_token_is_not_quoted() {
        for body in [
            "",
            "s3cret",
            "{}",
            r#"{"access_token":1,"token_type":"bearer"}"#,
            r#"{"access_token":"s3cret","token_type":"mac"}"#,
            r#"{"access_token":"s3 cret\r\n","token_type":"bearer"}"#,
            r#"{"access_token":"","token_type":"bearer"}"#,
        ] {
            let Err(what) = granted(body.as_bytes()) else { panic!("{body} is taken") };
            assert!(!what.contains("cret"), "{what}");
        }
    }
}
