//! A signed token taken apart (RFC 7515, compact serialization): what it says of itself, before
//! anything of it is believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use eg_event::json;
use serde_json::{Map, Value};

use crate::Unauthenticated;
use crate::config::Algorithm;

/// A token in three parts, whose signature has not been checked.
#[derive(Debug)]
pub(crate) struct Jws<'a> {
    /// How the token claims to be signed.
    pub(crate) algorithm: Algorithm,
    /// The key that the token claims to be signed with.
    pub(crate) key: Option<String>,
    /// The kind of token, in lower case and without `application/`.
    pub(crate) token_type: Option<String>,
    /// What the token says.
    pub(crate) claims: Map<String, Value>,
    /// What is signed.
    pub(crate) signed: &'a str,
    /// The signature as it stands.
    pub(crate) signature: &'a str,
}

/// A refusal, with the field of the token at fault.
pub(crate) fn invalid(field: &str, detail: &str) -> Unauthenticated {
    Unauthenticated::Invalid(format!("{field}: {detail}"))
}

/// Whether `text` is meant to be a JSON Web Token: it begins like a JSON object in base64url.
pub(crate) fn looks_like_jwt(text: &str) -> bool {
    text.starts_with("ey") && text.contains('.')
}

impl<'a> Jws<'a> {
    /// Takes a token apart; whatever header it does not understand and must, refuses it.
    pub(crate) fn parse(token: &'a str) -> Result<Self, Unauthenticated> {
        let parts: Vec<_> = token.split('.').take(6).collect();
        let [header, payload, signature] = parts[..] else {
            return Err(invalid(
                "token",
                match parts.len() {
                    5 => "it is encrypted (JWE), which is not offered",
                    _ => "expected three parts divided by full stops",
                },
            ));
        };
        let header = object("header", header)?;
        if header.contains_key("crit") {
            return Err(invalid("crit", "no critical extension is understood"));
        }
        let algorithm = algorithm(text(&header, "alg")?.as_deref())?;
        let token_type = text(&header, "typ")?.map(|token_type| {
            let token_type = token_type.to_ascii_lowercase();
            token_type.strip_prefix("application/").map(str::to_owned).unwrap_or(token_type)
        });
        if text(&header, "cty")?.is_some() {
            return Err(invalid("cty", "a token within a token is not offered"));
        }
        if BASE64URL.decode(signature).is_err() {
            return Err(invalid("signature", "expected base64url without padding"));
        }
        Ok(Self {
            algorithm,
            key: text(&header, "kid")?,
            token_type,
            claims: object("payload", payload)?,
            signed: &token[..token.len() - signature.len() - 1],
            signature,
        })
    }
}

/// Reads a part that is a JSON object; a member that comes twice is refused.
fn object(part: &str, encoded: &str) -> Result<Map<String, Value>, Unauthenticated> {
    let decoded = BASE64URL.decode(encoded);
    let decoded = decoded.map_err(|_| invalid(part, "expected base64url without padding"))?;
    let members = json::members(&decoded)
        .map_err(|error| invalid(part, &format!("expected a JSON object: {}", error.detail)))?;
    let read = |(name, value): json::Member<'_>| {
        let value = serde_json::from_str(value.get());
        value.map(|value| (name.into_owned(), value))
    };
    members
        .into_iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(part, &format!("expected a JSON object: {error}")))
}

/// A header that has to be a text when it is there.
fn text(header: &Map<String, Value>, name: &str) -> Result<Option<String>, Unauthenticated> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(invalid(name, "expected a string")),
    }
}

fn algorithm(name: Option<&str>) -> Result<Algorithm, Unauthenticated> {
    let Some(name) = name else { return Err(invalid("alg", "it is missing")) };
    match name {
        "RS256" => Ok(Algorithm::RS256),
        "RS384" => Ok(Algorithm::RS384),
        "RS512" => Ok(Algorithm::RS512),
        "PS256" => Ok(Algorithm::PS256),
        "PS384" => Ok(Algorithm::PS384),
        "PS512" => Ok(Algorithm::PS512),
        "ES256" => Ok(Algorithm::ES256),
        "ES384" => Ok(Algorithm::ES384),
        // RFC 9864 gives the curve a name of its own.
        "EdDSA" | "Ed25519" => Ok(Algorithm::EdDSA),
        _ if name.eq_ignore_ascii_case("none") => Err(invalid("alg", "the token is not signed")),
        _ if name.starts_with("HS") => {
            Err(invalid("alg", "a signature with a shared secret is not taken"))
        }
        _ => Err(invalid("alg", "this algorithm is not offered")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", BASE64URL.encode(header), BASE64URL.encode(payload))
    }

    #[test]
    fn a_token_is_taken_apart() {
        let token = token(
            r#"{"alg":"ES256","kid":"k","typ":"application/AT+JWT"}"#,
            r#"{"iss":"https://id"}"#,
        );
        let jws = Jws::parse(&token).unwrap();
        assert_eq!((jws.algorithm, jws.key.as_deref()), (Algorithm::ES256, Some("k")));
        assert_eq!(jws.token_type.as_deref(), Some("at+jwt"));
        assert_eq!((jws.claims["iss"].as_str(), jws.signature), (Some("https://id"), "c2ln"));
        assert_eq!(format!("{}.{}", jws.signed, jws.signature), token);
    }

    #[test]
    fn what_cannot_be_understood_is_refused_by_the_field() {
        let good = r#"{"alg":"RS256"}"#;
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        let rows = [
            (token(r#"{"alg":"none"}"#, "{}"), "alg: the token is not signed"),
            (token(r#"{"alg":"NonE"}"#, "{}"), "alg: the token is not signed"),
            (token(r#"{"alg":"HS256"}"#, "{}"), "alg: a signature with a shared secret"),
            (token(r#"{"alg":"XX"}"#, "{}"), "alg: this algorithm"),
            (token(r#"{"alg":1}"#, "{}"), "alg: expected a string"),
            (token("{}", "{}"), "alg: it is missing"),
            (token(r#"{"alg":"RS256","crit":["exp"]}"#, "{}"), "crit: "),
            (token(r#"{"alg":"RS256","cty":"JWT"}"#, "{}"), "cty: "),
            (token(r#"{"alg":"RS256","kid":7}"#, "{}"), "kid: expected a string"),
            (token(r#"{"alg":"RS256","alg":"none"}"#, "{}"), "header: expected a JSON object"),
            (token("[]", "{}"), "header: expected a JSON object"),
            (token(good, "\"{}\""), "payload: expected a JSON object"),
            (token(good, r#"{"sub":"a","sub":"b"}"#), "payload: "),
            (token(good, &deep), "payload: "),
            (format!("{}=", token(good, "{}")), "signature: expected base64url"),
            ("ey!.e30.c2ln".to_owned(), "header: expected base64url"),
            ("eyJ9.a".to_owned(), "token: expected three parts"),
            ("a.b.c.d.e".to_owned(), "token: it is encrypted"),
            ("a.b.c.d.e.f.g".to_owned(), "token: expected three parts"),
        ];
        for (token, reason) in rows {
            let refused = Jws::parse(&token).unwrap_err().to_string();
            assert!(refused.starts_with(reason), "{token}: {refused}");
        }
    }
}
