//! A real OpenID provider (npm `oidc-provider`) that issues tokens for the gateway, rotates its keys
//! and goes down when told to.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::peers;
use crate::wait::DEADLINE;

/// The client that gets tokens; it is the `sub` of them.
pub const CLIENT: &str = "device";
/// The audience that tokens are for.
pub const AUDIENCE: &str = "event-gateway";
/// What the gateway introspects tokens as.
const RESOURCE_SERVER: (&str, &str) = ("event-gateway", "event-gateway-secret");

/// A running provider.
#[derive(Debug)]
pub struct Provider {
    issuer: String,
    client: reqwest::Client,
    child: Child,
}

impl Provider {
    /// Starts a provider with new keys on a free port.
    pub async fn start() -> Self {
        let mut command = peers::node("oidc_provider.cjs");
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let issuer = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(issuer) = line.strip_prefix("issuer ") {
                    return issuer.to_owned();
                }
            }
            panic!("the provider ended before it listened");
        };
        let issuer = tokio::time::timeout(DEADLINE, issuer).await.expect("it listens in time");
        Self { issuer, client: reqwest::Client::new(), child }
    }

    /// The issuer's URL.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The configuration by which a gateway trusts this provider; further keys of the issuer can be
    /// appended to it.
    #[must_use]
    pub fn config(&self) -> String {
        format!(
            "[[auth.issuers]]\nissuer = \"{}\"\naudiences = [\"{AUDIENCE}\"]\n\
             application_claim = \"application\"\nroles_claim = \"roles\"\nleeway_seconds = 0\n",
            self.issuer
        )
    }

    /// What to append to [`Provider::config`] so that opaque tokens are introspected; `directory`
    /// takes the secret.
    #[must_use]
    pub fn introspection_config(&self, directory: &std::path::Path) -> String {
        let (client, secret) = RESOURCE_SERVER;
        let file = directory.join("introspection-secret");
        std::fs::write(&file, secret).unwrap();
        format!(
            "[auth.issuers.introspection]\nclient_id = \"{client}\"\nclient_secret_file = \"{}\"\n",
            file.display()
        )
    }

    /// A token (JWT, `at+jwt`) of the client `device`, by client credentials.
    pub async fn token(&self, lifetime: Duration) -> String {
        self.token_with(lifetime, json!({})).await
    }

    /// The same with further claims, such as `application` and `roles`.
    pub async fn token_with(&self, lifetime: Duration, claims: Value) -> String {
        self.grant("urn:event-gateway", lifetime, claims).await
    }

    /// An opaque token, which only introspection understands.
    pub async fn opaque_token(&self, lifetime: Duration) -> String {
        self.grant("urn:event-gateway:opaque", lifetime, json!({})).await
    }

    /// Any token: `{header, payload, alg, key}`, signed with the provider's key for `alg`, with
    /// the one named by `key`, or with the one of a `stranger`; `none` and `HS256` (the public key
    /// as the secret) as attackers do it.
    pub async fn sign(&self, token: Value) -> String {
        self.control("sign", token.to_string()).await.as_str().unwrap().to_owned()
    }

    /// The names of the current keys (`kid`), by algorithm.
    pub async fn keys(&self) -> Value {
        self.control("keys", String::new()).await
    }

    /// Replaces all keys with new ones.
    pub async fn rotate(&self) {
        self.control("rotate", String::new()).await;
    }

    /// Answers everything with 503 from now on.
    pub async fn down(&self) {
        self.control("down", String::new()).await;
    }

    /// Answers again.
    pub async fn up(&self) {
        self.control("up", String::new()).await;
    }

    /// Lets tokens be good for so many seconds, where nobody asks for something else.
    pub async fn set_lifetime(&self, lifetime: Duration) {
        self.control("lifetime", lifetime.as_secs().to_string()).await;
    }

    /// Ends the process: connections to it are refused.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// How many requests came for `path`.
    pub async fn requests(&self, path: &str) -> u64 {
        self.control("requests", String::new()).await[path].as_u64().unwrap_or(0)
    }

    async fn grant(&self, resource: &str, lifetime: Duration, claims: Value) -> String {
        let form = format!("grant_type=client_credentials&resource={resource}&scope=publish");
        let request = self.client.post(format!("{}/token", self.issuer));
        let request = request
            .basic_auth(CLIENT, Some(format!("{CLIENT}-secret")))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-token-lifetime", lifetime.as_secs().to_string())
            .header("x-token-claims", claims.to_string());
        let answer: Value = request.body(form).send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn control(&self, action: &str, body: String) -> Value {
        let url = format!("{}/test/{action}", self.issuer);
        self.client.post(url).body(body).send().await.unwrap().json().await.unwrap()
    }
}
