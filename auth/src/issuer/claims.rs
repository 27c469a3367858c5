//! What a token says (RFC 7519, RFC 9068): whether it holds now and here, and whom it names.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use eg_event::principal::Method;
use eg_event::{CredentialId, Principal, Timestamp};
use serde_json::{Map, Value};

use super::jws::invalid;
use crate::config::IssuerConfig;
use crate::name::{NAME_BYTES_MAX, is_name};
use crate::{Peer, Thumbprint, Unauthenticated};

/// How many roles a token may give.
const ROLES_MAX: usize = 64;
/// How many claims are kept for policies; further ones are left out.
const CLAIMS_MAX: usize = 64;
/// The longest claim that is kept for policies, in bytes.
const CLAIM_BYTES_MAX: usize = 1024;

/// A token that held when it was looked at, and what has to be looked at again each time.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    /// Whom it names.
    principal: Arc<Principal>,
    /// From when on it is good.
    not_before: Timestamp,
    /// Until when it is good.
    expires_at: Timestamp,
    /// The certificate that it is bound to (RFC 8705).
    bound_to: Option<Thumbprint>,
}

impl Accepted {
    /// Reads the claims of a token that its issuer vouches for, and that goes by `digest`.
    pub(crate) fn read(
        claims: &Map<String, Value>,
        config: &IssuerConfig,
        digest: &Thumbprint,
    ) -> Result<Self, Unauthenticated> {
        check_audience(claims, &config.audiences)?;
        let leeway = Duration::from_secs(config.leeway_seconds.into());
        let expires_at =
            instant(claims, "exp")?.ok_or_else(|| invalid("exp", "it is missing"))?.after(leeway);
        let not_before = instant(claims, "nbf")?.unwrap_or_default();
        let not_before =
            Timestamp::default().after(not_before.since(Timestamp::default().after(leeway)));
        let bound_to = bound_to(claims)?;
        let credential = credential(digest, &config.issuer);
        let principal = principal(claims, config, expires_at)?.resting_on(credential);
        Ok(Self { principal: Arc::new(principal), not_before, expires_at, bound_to })
    }

    /// Whom the token names, if it is good `now` and on the connection of `peer`.
    pub(crate) fn admit(
        &self,
        now: Timestamp,
        peer: &Peer,
    ) -> Result<Arc<Principal>, Unauthenticated> {
        if now >= self.expires_at {
            return Err(Unauthenticated::Expired("exp: the token has expired".to_owned()));
        }
        if now < self.not_before {
            return Err(invalid("nbf", "the token is not valid yet"));
        }
        if let Some(bound_to) = &self.bound_to {
            match &peer.certificate {
                Some(certificate) if certificate.thumbprint == *bound_to => {}
                Some(_) => return Err(invalid("cnf", "the token is bound to another certificate")),
                None => {
                    return Err(invalid(
                        "cnf",
                        "the token is bound to a certificate, and the connection has none",
                    ));
                }
            }
        }
        Ok(Arc::clone(&self.principal))
    }
}

/// The credential that a token is, by its digest and its issuer.
fn credential(digest: &Thumbprint, issuer: &str) -> CredentialId {
    CredentialId::new(format!("token:{digest}@{issuer}"))
}

/// Whether `credential` is a token of `issuer`.
pub(super) fn is_token_of(credential: &CredentialId, issuer: &str) -> bool {
    let token = credential.as_str().strip_prefix("token:").and_then(|token| token.split_once('@'));
    token.is_some_and(|(_, found)| found == issuer)
}

fn principal(
    claims: &Map<String, Value>,
    config: &IssuerConfig,
    expires_at: Timestamp,
) -> Result<Principal, Unauthenticated> {
    let name = name(claims, &config.name_claim)?;
    let name = name.ok_or_else(|| invalid(&config.name_claim, "it is missing"))?;
    let name = format!("{}{name}", config.name_prefix);
    #[expect(clippy::disallowed_methods, reason = "auth is where a principal is made")]
    let mut principal = Principal::vouch_for(&name, Method::Bearer, Some(expires_at));
    if let Some(claim) = &config.application_claim
        && let Some(application) = self::name(claims, claim)?
    {
        principal = principal.for_application(application);
    }
    if let Some(claim) = &config.roles_claim {
        principal = principal.with_roles(roles(claims, claim)?);
    }
    Ok(principal.with_claims(kept(claims)))
}

fn check_audience(
    claims: &Map<String, Value>,
    audiences: &[String],
) -> Result<(), Unauthenticated> {
    let is_ours = |value: &Value| audiences.iter().any(|ours| *value == **ours);
    let found = match claims.get("aud") {
        None => return Err(invalid("aud", "it is missing")),
        Some(Value::Array(several)) => several.iter().any(is_ours),
        Some(one) => is_ours(one),
    };
    if found { Ok(()) } else { Err(invalid("aud", "the token is for somebody else")) }
}

/// A `NumericDate` (RFC 7519 section 2).
fn instant(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Unauthenticated> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0);
    let seconds =
        seconds.ok_or_else(|| invalid(name, "expected the seconds since 1970 as a number"))?;
    let since_epoch = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    Ok(Some(Timestamp::default().after(since_epoch)))
}

/// The thumbprint in `cnf` (RFC 8705 section 3.1). A token that is bound otherwise is refused,
/// because nothing here could see whether its sender may have it.
fn bound_to(claims: &Map<String, Value>) -> Result<Option<Thumbprint>, Unauthenticated> {
    let Some(confirmation) = claims.get("cnf") else { return Ok(None) };
    let members = confirmation.as_object().ok_or_else(|| invalid("cnf", "expected an object"))?;
    let Some(Value::String(encoded)) = members.get("x5t#S256").filter(|_| members.len() == 1)
    else {
        return Err(invalid("cnf", "expected x5t#S256 alone: no other binding is offered"));
    };
    let decoded = BASE64URL.decode(encoded).ok().and_then(|bytes| bytes.try_into().ok());
    let decoded: [u8; 32] =
        decoded.ok_or_else(|| invalid("cnf", "expected x5t#S256 to be 32 bytes in base64url"))?;
    Ok(Some(Thumbprint::from(decoded)))
}

/// A claim that names something.
fn name<'a>(
    claims: &'a Map<String, Value>,
    claim: &str,
) -> Result<Option<&'a str>, Unauthenticated> {
    match find(claims, claim) {
        None => Ok(None),
        Some(Value::String(name)) if is_name(name) => Ok(Some(name)),
        Some(_) => Err(invalid(claim, &format!("expected a text of 1 to {NAME_BYTES_MAX} bytes"))),
    }
}

/// The roles: a list of texts, or one text divided by spaces (as `scope` is).
fn roles(claims: &Map<String, Value>, claim: &str) -> Result<Vec<String>, Unauthenticated> {
    let expected = || invalid(claim, &format!("expected at most {ROLES_MAX} texts"));
    let roles: Option<Vec<String>> = match find(claims, claim) {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => {
            Some(text.split(' ').filter(|role| !role.is_empty()).map(str::to_owned).collect())
        }
        Some(Value::Array(list)) => {
            list.iter().map(|role| role.as_str().map(str::to_owned)).collect()
        }
        Some(_) => None,
    };
    let holds =
        |roles: &Vec<String>| roles.len() <= ROLES_MAX && roles.iter().all(|role| is_name(role));
    roles.filter(holds).ok_or_else(expected)
}

/// The claim of that name, or else the one that the parts between full stops lead to.
fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

/// What policies can ask for: texts, numbers, truths and lists of texts, those within objects by
/// their path.
fn kept(claims: &Map<String, Value>) -> Vec<(String, String)> {
    fn collect(prefix: &str, object: &Map<String, Value>, kept: &mut Vec<(String, String)>) {
        for (name, value) in object {
            let path = format!("{prefix}{name}");
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                Value::Array(list) => {
                    let texts: Option<Vec<_>> = list.iter().map(Value::as_str).collect();
                    texts.unwrap_or_default().join(" ")
                }
                Value::Object(inner) => {
                    collect(&format!("{path}."), inner, kept);
                    continue;
                }
                Value::Null => continue,
            };
            if text.len() <= CLAIM_BYTES_MAX && kept.len() < CLAIMS_MAX {
                kept.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    collect("", claims, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config() -> IssuerConfig {
        let config = json!({
            "issuer": "https://id.example.com", "audiences": ["events", "other"],
            "application_claim": "application", "roles_claim": "realm.roles", "leeway_seconds": 5,
            "name_prefix": "id/",
        });
        serde_json::from_value(config).unwrap()
    }

    fn read(claims: &Value) -> Result<Accepted, Unauthenticated> {
        let digest = Thumbprint::of(b"token");
        Accepted::read(claims.as_object().unwrap(), &config(), &digest)
    }

    fn peer() -> Peer {
        Peer::new(([192, 0, 2, 1], 1).into())
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn claims_become_name_application_roles_and_what_policies_ask_for() {
        let claims = json!({
            "aud": ["x", "events"], "exp": 1000.5, "sub": "press", "application": "plant",
            "realm": { "roles": ["operator", "viewer"], "zone": 7 }, "tenant": "blue", "flag": true,
        });
        let principal = read(&claims).unwrap().admit(at(1000), &peer()).unwrap();
        assert_eq!((principal.name(), principal.application()), ("id/press", Some("plant")));
        assert_eq!(principal.roles().iter().collect::<Vec<_>>(), ["operator", "viewer"]);
        let claim = |name: &str| principal.claims().get(name).map(String::as_str);
        assert_eq!(claim("realm.roles"), Some("operator viewer"));
        assert_eq!(
            (claim("realm.zone"), claim("flag"), claim("tenant")),
            (Some("7"), Some("true"), Some("blue"))
        );
        assert_eq!(principal.expires_at(), Some(Timestamp::from_micros(1_005_500_000)));
        assert!(principal.credential().unwrap().as_str().starts_with("token:"));
    }

    #[test]
    fn a_token_is_good_from_nbf_to_exp_and_a_little_beyond_for_clocks_that_differ() {
        let accepted =
            read(&json!({ "aud": "events", "exp": 100, "nbf": 50, "sub": "a" })).unwrap();
        assert!(accepted.admit(at(44), &peer()).is_err());
        assert!(accepted.admit(at(45), &peer()).is_ok());
        assert!(accepted.admit(at(104), &peer()).is_ok());
        assert!(matches!(accepted.admit(at(105), &peer()), Err(Unauthenticated::Expired(_))));
    }

    #[test]
    fn claims_that_do_not_hold_are_refused_by_name() {
        let rows = [
            (json!({ "exp": 1, "sub": "a" }), "aud: it is missing"),
            (json!({ "aud": "x", "exp": 1, "sub": "a" }), "aud: the token is for somebody else"),
            (json!({ "aud": ["x", 1], "exp": 1, "sub": "a" }), "aud: the token is for"),
            (json!({ "aud": { "events": 1 }, "exp": 1, "sub": "a" }), "aud: the token is for"),
            (json!({ "aud": "events", "sub": "a" }), "exp: it is missing"),
            (json!({ "aud": "events", "exp": "1", "sub": "a" }), "exp: expected the seconds"),
            (json!({ "aud": "events", "exp": -1, "sub": "a" }), "exp: expected the seconds"),
            (json!({ "aud": "events", "exp": 1, "nbf": [], "sub": "a" }), "nbf: expected"),
            (json!({ "aud": "events", "exp": 1 }), "sub: it is missing"),
            (json!({ "aud": "events", "exp": 1, "sub": 7 }), "sub: expected a text"),
            (json!({ "aud": "events", "exp": 1, "sub": "" }), "sub: expected a text"),
            (json!({ "aud": "events", "exp": 1, "sub": "a\nb" }), "sub: expected a text"),
            (json!({ "aud": "events", "exp": 1, "sub": "a".repeat(257) }), "sub: expected a text"),
            (json!({ "aud": "events", "exp": 1, "sub": "a", "application": 1 }), "application: "),
            (
                json!({ "aud": "events", "exp": 1, "sub": "a", "realm": { "roles": [1] } }),
                "realm.roles: expected",
            ),
            (json!({ "aud": "events", "exp": 1, "sub": "a", "cnf": "x" }), "cnf: expected an"),
            (
                json!({ "aud": "events", "exp": 1, "sub": "a", "cnf": { "jkt": "x" } }),
                "cnf: expected x5t#S256 alone",
            ),
            (
                json!({ "aud": "events", "exp": 1, "sub": "a", "cnf": { "x5t#S256": "eA" } }),
                "cnf: expected x5t#S256 to be 32 bytes",
            ),
        ];
        for (claims, reason) in rows {
            let refused = read(&claims).unwrap_err().to_string();
            assert!(refused.starts_with(reason), "{claims}: {refused}");
        }
    }

    #[test]
    fn an_end_of_time_beyond_all_clocks_is_the_end_of_time() {
        let accepted = read(&json!({ "aud": "events", "exp": 1e300, "sub": "a" })).unwrap();
        assert!(accepted.admit(at(9_000_000_000), &peer()).is_ok());
    }

    #[test]
    fn a_claim_is_found_by_its_whole_name_before_its_path() {
        let claims =
            json!({ "https://x.example/roles": ["a"], "b": { "c.d": 1, "c": { "d": 2 } } });
        let claims = claims.as_object().unwrap();
        assert_eq!(roles(claims, "https://x.example/roles").unwrap(), ["a"]);
        assert_eq!(find(claims, "b.c.d"), Some(&json!(1)));
        assert_eq!(find(claims, "b.x"), None);
        assert_eq!(
            roles(json!({ "scope": "a  b" }).as_object().unwrap(), "scope").unwrap(),
            ["a", "b"]
        );
    }
}
