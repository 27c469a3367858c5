//! How the gateway says towards a receiver who it is: the words of Compass's `Auth`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::refusal::InvalidInput;
use crate::subscription::is_http_url;

/// The most headers, and the most query parameters, that a request may be given.
const ADDITIONS_MAX: usize = 32;
/// The longest text that may be given anywhere, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// The longest chain of certificates, or private key, in bytes.
const PEM_BYTES_MAX: usize = 65_536;
/// The most scopes that a token may be asked for.
const SCOPES_MAX: usize = 64;

/// Headers whose meaning is the gateway's: the event, the connection, the signature, the trace.
const RESERVED_HEADERS: [&str; 24] = [
    "b3",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "kyma-subscription",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-csrf-token",
    "x-ot-span-context",
    "x-request-id",
];
const RESERVED_PREFIXES: [&str; 3] = ["ce-", "webhook-", "x-b3-"];

/// A text that is never shown. It is written as it is where it is serialized, which only the sealed
/// part of a document may do.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

/// Names with the values of each.
pub type Additions = BTreeMap<String, Vec<SecretText>>;

/// How a request says who makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auth {
    /// What is presented with every request.
    pub credential: Option<Credential>,
    /// Headers that every request has.
    pub additional_headers: Additions,
    /// Query parameters that every request has, after those of the endpoint.
    pub additional_query_params: Additions,
    /// A token against request forgery that has to be fetched first.
    pub csrf: Option<Csrf>,
    /// The certificate that is shown during TLS handshakes.
    pub certificate: Option<ClientIdentity>,
}

/// What is presented with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// A name and a password (RFC 7617).
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: SecretText,
    },
    /// A bearer token by client credentials (RFC 6749 section 4.4).
    OAuth(ClientCredentials),
}

/// How tokens are had (RFC 6749 section 4.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCredentials {
    /// The client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretText,
    /// The token endpoint.
    pub url: String,
    /// The scopes that are asked for.
    pub scopes: Vec<String>,
    /// The audience that is asked for, where the provider takes that.
    pub audience: Option<String>,
    /// The resource that is asked for (RFC 8707).
    pub resource: Option<String>,
    /// How the client says who it is.
    pub client_authentication: ClientAuthentication,
}

/// How a client says towards a token endpoint who it is (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAuthentication {
    /// By HTTP Basic: `client_secret_basic`.
    #[default]
    Basic,
    /// In the form: `client_secret_post`.
    Post,
}

/// Where a token against request forgery is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Csrf {
    /// Where.
    pub token_endpoint_url: String,
    /// What is presented there.
    pub credential: Option<Credential>,
    /// Headers that the request has.
    pub additional_headers: Additions,
    /// Query parameters that the request has.
    pub additional_query_params: Additions,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientIdentity {
    /// The certificate and those that lead from it to an authority, in PEM.
    pub certificate_chain: String,
    /// The private key, in PEM.
    pub private_key: SecretText,
}

impl SecretText {
    /// Takes a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl Auth {
    /// Checks every field against its rule; names the first that breaks one. Whether certificate
    /// and key are what they should be is for those to say who use them.
    pub fn check(&self, endpoint: &str) -> Result<(), InvalidInput> {
        let additions = (&self.additional_headers, &self.additional_query_params);
        let is_http = is_http_url(endpoint);
        check_request("auth", (self.credential.as_ref(), is_http), additions)?;
        if let Some(csrf) = &self.csrf {
            let place = "auth.requestAuth.csrf";
            check_url(&format!("{place}.tokenEndpointURL"), &csrf.token_endpoint_url)?;
            let additions = (&csrf.additional_headers, &csrf.additional_query_params);
            check_request(place, (csrf.credential.as_ref(), true), additions)?;
        }
        let Some(identity) = &self.certificate else { return Ok(()) };
        // Those who know the other schemes say themselves whether they are spoken over TLS.
        if endpoint.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) {
            let detail = "expected none, or an https endpoint: it is shown during TLS handshakes";
            return Err(InvalidInput::new("auth.certificate", detail));
        }
        let parts = [
            ("certificateChain", &*identity.certificate_chain),
            ("privateKey", identity.private_key.expose()),
        ];
        for (name, pem) in parts {
            if pem.len() > PEM_BYTES_MAX {
                let detail = format!("expected at most {PEM_BYTES_MAX} bytes of PEM");
                return Err(InvalidInput::new(format!("auth.certificate.{name}"), detail));
            }
        }
        Ok(())
    }

    /// Every URL that is asked for a token, by field.
    pub fn token_urls(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let csrf = self.csrf.as_ref();
        let forgery = csrf.map(|csrf| {
            ("auth.requestAuth.csrf.tokenEndpointURL", csrf.token_endpoint_url.as_str())
        });
        let own = ("auth.credential.oauth.url", self.credential.as_ref());
        let theirs = (
            "auth.requestAuth.csrf.credential.oauth.url",
            csrf.and_then(|csrf| csrf.credential.as_ref()),
        );
        let oauth = [own, theirs].into_iter().filter_map(|(field, credential)| match credential {
            Some(Credential::OAuth(client)) => Some((field, client.url.as_str())),
            _ => None,
        });
        forgery.into_iter().chain(oauth)
    }
}

/// Checks what makes up one request, or what is presented to a bus.
fn check_request(
    place: &str,
    (credential, is_http): (Option<&Credential>, bool),
    (headers, params): (&Additions, &Additions),
) -> Result<(), InvalidInput> {
    if let Some(credential) = credential {
        credential.check(&format!("{place}.credential"), is_http)?;
    }
    check_headers(&format!("{place}.additionalHeaders"), headers, credential.is_some())?;
    check_params(&format!("{place}.additionalQueryParams"), params)
}

impl Credential {
    fn check(&self, place: &str, is_http: bool) -> Result<(), InvalidInput> {
        let text = |name: &str, value: &str, expected: &str, good: bool| {
            let good = good && (1..=TEXT_BYTES_MAX).contains(&value.len()) && is_printable(value);
            if good {
                return Ok(());
            }
            let detail = format!("expected 1 to {TEXT_BYTES_MAX} bytes {expected}");
            Err(InvalidInput::new(format!("{place}.{name}"), detail))
        };
        let plain = "without control characters";
        match self {
            Self::Basic { username, password } => {
                let expected = "without colon and control characters (RFC 7617)";
                text("basic.username", username, expected, !username.contains(':'))?;
                // What a bus takes for a password may be the text of a file.
                let password = if is_http {
                    Cow::Borrowed(password.expose())
                } else {
                    Cow::Owned(password.expose().replace(['\r', '\n'], " "))
                };
                text("basic.password", &password, plain, true)
            }
            Self::OAuth(client) => {
                text("oauth.clientId", &client.client_id, plain, true)?;
                text("oauth.clientSecret", client.client_secret.expose(), plain, true)?;
                check_url(&format!("{place}.oauth.url"), &client.url)?;
                if let Some(audience) = &client.audience {
                    text("oauth.audience", audience, plain, true)?;
                }
                if let Some(resource) = &client.resource {
                    text("oauth.resource", resource, plain, true)?;
                }
                // RFC 6749 section 3.3.
                let is_scope = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
                for scope in &client.scopes {
                    let expected = "as a scope has them: no space, quote or backslash";
                    text("oauth.scopes", scope, expected, scope.bytes().all(is_scope))?;
                }
                if client.scopes.len() > SCOPES_MAX {
                    let detail = format!("expected at most {SCOPES_MAX} scopes");
                    return Err(InvalidInput::new(format!("{place}.oauth.scopes"), detail));
                }
                Ok(())
            }
        }
    }
}

fn check_url(field: &str, url: &str) -> Result<(), InvalidInput> {
    if is_http_url(url) {
        return Ok(());
    }
    let detail = "expected an http or https URL of at most 2048 characters without user \
        information or fragment";
    Err(InvalidInput::new(field, detail))
}

fn check_headers(
    field: &str,
    headers: &Additions,
    has_credential: bool,
) -> Result<(), InvalidInput> {
    let wrong = |detail: String| Err(InvalidInput::new(field, detail));
    let mut seen = Vec::with_capacity(headers.len());
    for (name, values) in headers {
        let lower = name.to_ascii_lowercase();
        if !is_header_name(name) {
            return wrong("expected names of headers (RFC 9110 section 5.1)".to_owned());
        }
        let reserved = RESERVED_HEADERS.contains(&&*lower)
            || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
        if reserved {
            return wrong(format!("expected no header {lower}: the gateway sets it itself"));
        }
        if lower == "authorization" && has_credential {
            return wrong("expected no header authorization beside a credential".to_owned());
        }
        if !values.iter().all(|value| is_header_value(value.expose())) {
            return wrong(format!(
                "expected values of {lower} of 1 to {TEXT_BYTES_MAX} printable ASCII characters, \
                 with no space at either end"
            ));
        }
        if seen.contains(&lower) {
            return wrong(format!("expected {lower} once: names of headers have no case"));
        }
        seen.push(lower);
    }
    check_count(field, headers)
}

fn check_params(field: &str, params: &Additions) -> Result<(), InvalidInput> {
    let fits = |text: &str| text.len() <= TEXT_BYTES_MAX && is_printable(text);
    let good = |(name, values): (&String, &Vec<SecretText>)| {
        !name.is_empty() && fits(name) && values.iter().all(|value| fits(value.expose()))
    };
    if !params.iter().all(good) {
        let detail = format!(
            "expected names that are not empty, and names and values of at most {TEXT_BYTES_MAX} \
             bytes without control characters"
        );
        return Err(InvalidInput::new(field, detail));
    }
    check_count(field, params)
}

fn check_count(field: &str, additions: &Additions) -> Result<(), InvalidInput> {
    if additions.values().any(Vec::is_empty) {
        return Err(InvalidInput::new(field, "expected at least one value for each name"));
    }
    if additions.values().map(Vec::len).sum::<usize>() > ADDITIONS_MAX {
        return Err(InvalidInput::new(field, format!("expected at most {ADDITIONS_MAX} values")));
    }
    Ok(())
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// RFC 9110 section 5.6.2.
fn is_header_name(name: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=256).contains(&name.len()) && name.bytes().all(is_token)
}

/// RFC 9110 section 5.5, without what is obsolete.
fn is_header_value(value: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&value.len())
        && value.bytes().all(|b| matches!(b, b' '..=b'~'))
        && value.trim() == value
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: &str = "https://shop.test/hook";

    fn additions(pairs: &[(&str, &[&str])]) -> Additions {
        let row = |(name, values): &(&str, &[&str])| {
            ((*name).to_owned(), values.iter().map(|value| SecretText::new(*value)).collect())
        };
        pairs.iter().map(row).collect()
    }

    fn client(url: &str) -> ClientCredentials {
        ClientCredentials {
            client_id: "gateway".to_owned(),
            client_secret: SecretText::new("s3cret"),
            url: url.to_owned(),
            scopes: vec!["events:write".to_owned()],
            audience: None,
            resource: None,
            client_authentication: ClientAuthentication::Basic,
        }
    }

    fn basic(username: &str, password: &str) -> Credential {
        Credential::Basic { username: username.to_owned(), password: SecretText::new(password) }
    }

    fn full() -> Auth {
        Auth {
            credential: Some(Credential::OAuth(client("https://id.test/token"))),
            additional_headers: additions(&[("X-Tenant", &["a", "b"])]),
            additional_query_params: additions(&[("key", &["k & y", ""])]),
            csrf: Some(Csrf {
                token_endpoint_url: "https://shop.test/csrf".to_owned(),
                credential: Some(basic("ann", "pa:ss")),
                additional_headers: Additions::new(),
                additional_query_params: Additions::new(),
            }),
            certificate: Some(ClientIdentity {
                certificate_chain: "pem".to_owned(),
                private_key: SecretText::new("pem"),
            }),
        }
    }

    #[test]
    fn what_breaks_a_rule_is_refused_by_field() {
        type Change = fn(&mut Auth);
        let rows: [(&str, Change); 15] = [
            ("auth.credential.basic.username", |a| a.credential = Some(basic("a:b", "c"))),
            ("auth.credential.basic.username", |a| a.credential = Some(basic("", "c"))),
            ("auth.credential.basic.password", |a| a.credential = Some(basic("a", "b\nc"))),
            ("auth.credential.oauth.url", |a| {
                a.credential = Some(Credential::OAuth(client("id.test/token")));
            }),
            ("auth.credential.oauth.scopes", |a| {
                let scopes = vec!["two words".to_owned()];
                let client = client("https://id.test/");
                a.credential = Some(Credential::OAuth(ClientCredentials { scopes, ..client }));
            }),
            ("auth.additionalHeaders", |a| {
                a.additional_headers = additions(&[("authorization", &["Bearer x"])]);
            }),
            ("auth.additionalHeaders", |a| a.additional_headers = additions(&[("a b", &["x"])])),
            ("auth.additionalHeaders", |a| a.additional_headers = additions(&[("a", &["x\r\ny"])])),
            ("auth.additionalHeaders", |a| a.additional_headers = additions(&[("a", &[])])),
            ("auth.additionalHeaders", |a| {
                a.additional_headers = additions(&[("a", &["x"]), ("A", &["x"])]);
            }),
            ("auth.additionalQueryParams", |a| {
                a.additional_query_params = additions(&[("", &["x"])]);
            }),
            ("auth.additionalQueryParams", |a| {
                a.additional_query_params = additions(&[("a", &["x"; 33])]);
            }),
            ("auth.requestAuth.csrf.tokenEndpointURL", |a| {
                a.csrf.as_mut().unwrap().token_endpoint_url = "http://u:p@x.test/".to_owned();
            }),
            ("auth.requestAuth.csrf.credential.basic.password", |a| {
                a.csrf.as_mut().unwrap().credential = Some(basic("a", ""));
            }),
            ("auth.certificate.privateKey", |a| {
                let private_key = SecretText::new("x".repeat(PEM_BYTES_MAX + 1));
                let certificate_chain = "pem".to_owned();
                a.certificate = Some(ClientIdentity { certificate_chain, private_key });
            }),
        ];
        assert_eq!(full().check(ENDPOINT), Ok(()));
        for (field, change) in rows {
            let mut bad = full();
            change(&mut bad);
            let error = bad.check(ENDPOINT).unwrap_err();
            assert_eq!(error.field, field, "{error}");
        }
        assert_eq!(full().check("http://shop.test/").unwrap_err().field, "auth.certificate");
        for bus in ["kafkas://b", "tls+nats://b", "amqps://b", "mqtts://b"] {
            assert_eq!(full().check(bus), Ok(()), "{bus}");
        }
        let mut file = full();
        file.credential = Some(basic("gateway", "-----BEGIN NATS USER JWT-----\neyJ0\n"));
        assert_eq!(file.check("nats://b"), Ok(()));
        assert_eq!(file.check(ENDPOINT).unwrap_err().field, "auth.credential.basic.password");
    }

    #[test]
    fn headers_that_are_the_gateways_are_refused_in_any_case() {
        for name in ["Content-Type", "ce-id", "CE-x", "HOST", "content-length", "webhook-id"] {
            let additional_headers = additions(&[(name, &["x"])]);
            let error = Auth { additional_headers, ..full() }.check(ENDPOINT).unwrap_err();
            assert!(error.detail.contains("the gateway sets it itself"), "{error}");
        }
        let additional_headers = additions(&[("Authorization", &["Token x"])]);
        let own = Auth { additional_headers, ..Auth::default() };
        assert_eq!(own.check(ENDPOINT), Ok(()));
    }

    #[test]
    fn secrets_do_not_show() {
        let shown = format!("{:?}", full());
        for secret in ["s3cret", "pa:ss", "k & y", "\"a\""] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains("gateway") && shown.contains("X-Tenant"), "{shown}");
    }

    #[test]
    fn every_url_that_is_asked_for_a_token_is_known() {
        let mut auth = full();
        auth.csrf.as_mut().unwrap().credential = Some(Credential::OAuth(client("https://b.test/")));
        let urls: Vec<_> = auth.token_urls().map(|(_, url)| url).collect();
        assert_eq!(urls, ["https://shop.test/csrf", "https://id.test/token", "https://b.test/"]);
    }
}
