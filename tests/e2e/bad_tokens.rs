//! Tokens that are no good: each is refused for its own reason, and none reaches the journal.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use eg_event::Clock;
use eg_tests::gateway::Gateway;
use eg_tests::provider::{AUDIENCE, CLIENT, Provider};
use serde_json::{Value, json};

use crate::PROGRAM;

/// Makes tokens that are as they should be, but for one thing.
struct Forge<'a> {
    provider: &'a Provider,
    keys: Value,
    now: u64,
}

/// A token that must not be taken, and what its refusal says.
struct Bad {
    what: &'static str,
    token: String,
    reason: &'static str,
}

impl Forge<'_> {
    fn header(&self, changes: &Value) -> Value {
        changed(json!({ "alg": "RS256", "typ": "at+jwt", "kid": self.keys["RS256"] }), changes)
    }

    fn payload(&self, changes: &Value) -> Value {
        let good = json!({
            "iss": self.provider.issuer(), "aud": AUDIENCE, "sub": CLIENT, "client_id": CLIENT,
            "iat": self.now, "exp": self.now + 600, "jti": "1", "application": "shop",
        });
        changed(good, changes)
    }

    /// Signed by the provider, with other claims.
    async fn claims(&self, changes: Value) -> String {
        let (header, payload) = (self.header(&json!({})), self.payload(&changes));
        self.provider.sign(json!({ "header": header, "payload": payload })).await
    }

    /// Signed by the provider, with other headers, by the key for `alg`.
    async fn headers(&self, changes: Value, alg: &str) -> String {
        let (header, payload) = (self.header(&changes), self.payload(&json!({})));
        self.provider.sign(json!({ "header": header, "payload": payload, "alg": alg })).await
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    async fn bad_headers(&self) -> Vec<Bad> {
        let elliptic = self.keys["ES256"].clone();
        let x5c = ["MIIB"];
        let jwk = json!({ "kty": "RSA", "e": "AQAB", "n": BASE64URL.encode([0xc5; 256]) });
        let rows = [
            ("alg none", json!({ "alg": "none" }), "none", "alg: the token is not signed"),
            ("alg nOnE", json!({ "alg": "nOnE" }), "none", "alg: the token is not signed"),
            ("alg empty", json!({ "alg": "" }), "RS256", "alg: this algorithm is not offered"),
            ("alg missing", json!({ "alg": null }), "RS256", "alg: it is missing"),
            ("alg a number", json!({ "alg": 256 }), "RS256", "alg: expected a string"),
            ("alg in lower case", json!({ "alg": "rs256" }), "RS256", "alg: this algorithm"),
            (
                "HS256 with the public key",
                json!({ "alg": "HS256" }),
                "HS256",
                "alg: a signature with a shared secret is not taken",
            ),
            (
                "HS256 without a key",
                json!({ "alg": "HS256", "kid": null }),
                "HS256",
                "alg: a signature with a shared secret is not taken",
            ),
            (
                "HS512",
                json!({ "alg": "HS512" }),
                "HS512",
                "alg: a signature with a shared secret is not taken",
            ),
            (
                "ES256 by the name of the RSA key",
                json!({ "alg": "ES256" }),
                "ES256",
                "alg: the key that it names is for another algorithm",
            ),
            (
                "RS256 by the name of the elliptic key",
                json!({ "kid": elliptic }),
                "RS256",
                "alg: the key that it names is for another algorithm",
            ),
            (
                "RS512 by a key for RS256 alone",
                json!({ "alg": "RS512" }),
                "RS256",
                "alg: the key that it names is for another algorithm",
            ),
            ("PS384 not for this key", json!({ "alg": "PS384" }), "RS256", "alg: the key that"),
            ("kid unknown", json!({ "kid": "other" }), "RS256", "kid: the issuer has no such key"),
            ("kid a path", json!({ "kid": "../../dev/null" }), "RS256", "kid: the issuer has no"),
            ("kid a list", json!({ "kid": ["a"] }), "RS256", "kid: expected a string"),
            ("typ of an ID token", json!({ "typ": "JWT" }), "RS256", "typ: expected at+jwt"),
            ("typ missing", json!({ "typ": null }), "RS256", "typ: expected at+jwt"),
            ("typ a number", json!({ "typ": 1 }), "RS256", "typ: expected a string"),
            ("typ of a logout", json!({ "typ": "logout+jwt" }), "RS256", "typ: expected at+jwt"),
            ("crit unknown", json!({ "crit": ["x"], "x": 1 }), "RS256", "crit: no critical"),
            ("crit b64", json!({ "crit": ["b64"], "b64": false }), "RS256", "crit: no critical"),
            ("crit empty", json!({ "crit": [] }), "RS256", "crit: no critical"),
            ("nested", json!({ "cty": "JWT" }), "RS256", "cty: a token within a token"),
        ];
        let mut bad = Vec::new();
        for (what, changes, alg, reason) in rows {
            bad.push(Bad { what, token: self.headers(changes, alg).await, reason });
        }
        let strangers = [
            ("signed by a stranger", json!({})),
            ("signed by a stranger who brings the key", json!({ "jwk": jwk })),
            (
                "signed by a stranger who says where the key is",
                json!({ "jku": "http://127.0.0.1:1" }),
            ),
            ("signed by a stranger with a certificate", json!({ "x5c": x5c })),
        ];
        for (what, changes) in strangers {
            let (header, payload) = (self.header(&changes), self.payload(&json!({})));
            let token = json!({ "header": header, "payload": payload, "key": "stranger" });
            let token = self.provider.sign(token).await;
            bad.push(Bad { what, token, reason: "signature: it does not hold" });
        }
        bad
    }

    async fn bad_claims(&self) -> Vec<Bad> {
        let thumbprint = json!({ "x5t#S256": BASE64URL.encode([7; 32]) });
        let rows = [
            ("iss missing", json!({ "iss": null }), "iss: it is missing"),
            (
                "iss of a stranger",
                json!({ "iss": "https://evil.example" }),
                "iss: the issuer is not",
            ),
            (
                "iss almost",
                json!({ "iss": format!("{}/", self.provider.issuer()) }),
                "iss: the issuer",
            ),
            ("iss a list", json!({ "iss": [self.provider.issuer()] }), "iss: the issuer is not"),
            ("aud missing", json!({ "aud": null }), "aud: it is missing"),
            ("aud of another", json!({ "aud": "bank" }), "aud: the token is for somebody else"),
            ("aud of others", json!({ "aud": ["bank", "shop"] }), "aud: the token is for somebody"),
            ("aud almost", json!({ "aud": "event-gateway2" }), "aud: the token is for somebody"),
            ("aud an object", json!({ "aud": { AUDIENCE: true } }), "aud: the token is for"),
            ("exp missing", json!({ "exp": null }), "exp: it is missing"),
            ("exp a text", json!({ "exp": "9999999999" }), "exp: expected the seconds"),
            ("exp negative", json!({ "exp": -1 }), "exp: expected the seconds"),
            ("expired", json!({ "exp": self.now - 1 }), "exp: the token has expired"),
            ("expired long ago", json!({ "exp": 0 }), "exp: the token has expired"),
            ("not yet valid", json!({ "nbf": self.now + 300 }), "nbf: the token is not valid yet"),
            ("nbf a truth", json!({ "nbf": true }), "nbf: expected the seconds"),
            ("sub missing", json!({ "sub": null }), "sub: it is missing"),
            ("sub a number", json!({ "sub": 7 }), "sub: expected a text"),
            ("sub empty", json!({ "sub": "" }), "sub: expected a text"),
            ("sub with a line end", json!({ "sub": "a\nb" }), "sub: expected a text"),
            ("application a list", json!({ "application": ["a"] }), "application: expected a text"),
            ("roles numbers", json!({ "roles": [1, 2] }), "roles: expected at most"),
            (
                "cnf without the certificate",
                json!({ "cnf": thumbprint }),
                "cnf: the token is bound",
            ),
            (
                "cnf by another means",
                json!({ "cnf": { "jkt": "x" } }),
                "cnf: expected x5t#S256 alone",
            ),
            (
                "cnf malformed",
                json!({ "cnf": { "x5t#S256": "AA" } }),
                "cnf: expected x5t#S256 to be",
            ),
        ];
        let mut bad = Vec::new();
        for (what, changes, reason) in rows {
            bad.push(Bad { what, token: self.claims(changes).await, reason });
        }
        bad
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    async fn bad_texts(&self) -> Vec<Bad> {
        let good = self.claims(json!({})).await;
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (header, payload) = signed.split_once('.').unwrap();
        let other = self.claims(json!({ "sub": "admin" })).await;
        let other_payload = other.split('.').nth(1).unwrap();
        let text = |text: &str| BASE64URL.encode(text);
        let standard = BASE64.encode(self.header(&json!({ "x": "???>>>" })).to_string());
        let raw = |header: Value, payload: String| {
            let token = json!({ "header": header, "payload": payload });
            async { self.provider.sign(token).await }
        };
        let twice = self.payload(&json!({})).to_string().replacen('{', "{\"sub\":\"admin\",", 1);
        let deep = format!("{{\"iss\":{}{}}}", "[".repeat(300), "]".repeat(300));
        let huge = self.claims(json!({ "x": "x".repeat(20_000) })).await;
        vec![
            row("truncated", good[..good.len() - 100].to_owned(), "signature: "),
            row("a byte of the signature changed", flipped(&good), "signature: it does not hold"),
            row(
                "without a signature",
                format!("{header}.{payload}."),
                "signature: it does not hold",
            ),
            row(
                "without the last part",
                format!("{header}.{payload}"),
                "token: expected three parts",
            ),
            row("a part too many", format!("{good}.x"), "token: expected three parts"),
            row(
                "claims of another token",
                format!("{header}.{other_payload}.{signature}"),
                "signature: it does",
            ),
            row("encrypted", format!("{header}.a.b.c.d"), "token: it is encrypted (JWE)"),
            row("no token at all", "swordfish".to_owned(), "token: expected three parts"),
            row("only full stops", "..".to_owned(), "header: expected"),
            row(
                "padded base64",
                format!("{header}==.{payload}.{signature}"),
                "header: expected base64url",
            ),
            row(
                "base64 of the other alphabet",
                format!("{standard}.{payload}.{signature}"),
                "header: expected base64url",
            ),
            row(
                "header no JSON",
                format!("{}.{payload}.{signature}", text("{alg:RS256}")),
                "header: expected a JSON object",
            ),
            row(
                "header a list",
                format!("{}.{payload}.{signature}", text("[1]")),
                "header: expected a JSON object",
            ),
            row(
                "header not UTF-8",
                format!("{}.{payload}.{signature}", BASE64URL.encode(b"{\"alg\":\"\xff\"}")),
                "header: expected a JSON object",
            ),
            row(
                "payload a text",
                raw(self.header(&json!({})), "\"x\"".to_owned()).await,
                "payload: expected a JSON object",
            ),
            row(
                "payload empty",
                raw(self.header(&json!({})), String::new()).await,
                "payload: expected a JSON object",
            ),
            row(
                "a claim twice",
                raw(self.header(&json!({})), twice).await,
                "payload: expected a JSON object",
            ),
            row(
                "nested without end",
                raw(self.header(&json!({})), deep).await,
                "payload: expected a JSON object",
            ),
            row("huge", huge, "token: expected at most 16384 bytes"),
        ]
    }
}

fn row(what: &'static str, token: String, reason: &'static str) -> Bad {
    Bad { what, token, reason }
}

/// `good` with these members instead; `null` takes one away.
fn changed(mut good: Value, changes: &Value) -> Value {
    let members = good.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    good
}

/// A bit in the middle of the signature is another one.
fn flipped(token: &str) -> String {
    let at = token.len() - 50;
    let other = if &token[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}

#[tokio::test]
async fn each_bad_token_is_refused_for_its_own_reason_and_none_reaches_the_journal() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_closed(PROGRAM, provider.config()).await;
    let now = Clock::system().now().as_secs();
    let forge = Forge { provider: &provider, keys: provider.keys().await, now };
    let event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t" });

    let mut bad = forge.bad_headers().await;
    bad.extend(forge.bad_claims().await);
    bad.extend(forge.bad_texts().await);
    assert!(bad.len() >= 60, "{} rows", bad.len());
    for Bad { what, token, reason } in &bad {
        let (status, headers, problem) = gateway.publish(token, &event).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert_eq!(status, 401, "{what}: {problem}");
        assert!(detail.starts_with(reason), "{what}: {detail}");
        let challenge = headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{what}: {challenge}");
        assert!(!problem.to_string().contains(token), "{what}: the token is told again");
    }
    assert_eq!(gateway.next_sequence().await, 1, "nothing was stored");

    // What was forged differs from a good token in that one thing alone.
    let good = forge.claims(json!({})).await;
    assert_eq!(gateway.publish(&good, &event).await.0, 202);
    for alg in ["ES256", "EdDSA"] {
        let header = json!({ "alg": alg, "kid": forge.keys[alg] });
        let good = forge.headers(header, alg).await;
        assert_eq!(gateway.publish(&good, &event).await.0, 202, "{alg}");
    }
    let without_kid = forge.headers(json!({ "kid": null }), "RS256").await;
    assert_eq!(gateway.publish(&without_kid, &event).await.0, 202, "one key fits");
}

#[tokio::test]
async fn a_configured_issuer_takes_the_types_algorithms_and_audiences_it_names_and_no_others() {
    let provider = Provider::start().await;
    let config = provider.config()
        + "token_types = [\"JWT\", \"\"]\nalgorithms = [\"ES256\"]\nname_claim = \"client_id\"\n";
    let gateway = Gateway::start_closed(PROGRAM, config).await;
    let now = Clock::system().now().as_secs();
    let forge = Forge { provider: &provider, keys: provider.keys().await, now };
    let event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t" });
    let kid = forge.keys["ES256"].clone();
    let rows = [
        (json!({ "alg": "ES256", "kid": kid, "typ": "JWT" }), "ES256", 202, ""),
        (json!({ "alg": "ES256", "kid": kid, "typ": null }), "ES256", 202, ""),
        (json!({ "alg": "ES256", "kid": kid }), "ES256", 401, "typ: expected JWT or "),
        (
            json!({ "typ": "JWT" }),
            "RS256",
            401,
            "alg: this algorithm is not taken from this issuer",
        ),
    ];
    for (header, alg, status, reason) in rows {
        let token = forge.headers(header.clone(), alg).await;
        let (found, _, answer) = gateway.publish(&token, &event).await;
        assert_eq!(found, status, "{header}: {answer}");
        assert!(answer["detail"].as_str().unwrap_or_default().starts_with(reason), "{answer}");
    }
}
