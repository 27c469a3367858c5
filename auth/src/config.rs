//! What an operator can set of authentication: whose tokens are taken, what a client certificate
//! says, and how guessing is slowed down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use eg_event::InvalidInput;
use serde::{Deserialize, Serialize};

/// The longest time that any limit here can be set to, in seconds.
const WEEK_SECONDS: u64 = 7 * 86_400;

/// Who is let in. Nobody is until a method is configured or a credential is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// The providers whose tokens are taken.
    pub issuers: Vec<IssuerConfig>,
    /// The largest token, in bytes.
    pub token_bytes_max: u32,
    /// How many validated tokens are remembered, so that the next request with one of them costs
    /// no signature check.
    pub tokens_cached_max: u32,
    /// How many wrong passwords or keys for one name may come from one address before it is locked
    /// out, for a second at first and twice as long each further time.
    pub failures_max: u32,
    /// How many may come from one address for whatever names, before nothing that comes from it is
    /// checked for a while, of a minute at the most; what has held before still does.
    pub failures_per_address_max: u32,
    /// The longest lock-out, in seconds.
    pub lock_out_seconds_max: u32,
    /// How many pairs of address and name are watched for failures.
    pub lock_outs_max: u32,
    /// How many passwords or keys are checked at once; each check takes 19 MiB for the while.
    pub password_checks_max: u32,
    /// How long a check may wait for its turn, in milliseconds.
    pub password_wait_ms_max: u32,
    /// How many passwords and keys that held are remembered by a keyed hash.
    pub passwords_cached_max: u32,
    /// What a client certificate says about who holds it.
    pub certificates: CertificatesConfig,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            token_bytes_max: 16 * 1024,
            tokens_cached_max: 10_000,
            failures_max: 5,
            failures_per_address_max: 100,
            lock_out_seconds_max: 900,
            lock_outs_max: 10_000,
            password_checks_max: 2,
            password_wait_ms_max: 5000,
            passwords_cached_max: 10_000,
            certificates: CertificatesConfig::default(),
        }
    }
}

/// A signature algorithm of tokens (RFC 7518 section 3.1, RFC 8037). Those with a shared secret are
/// none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the RFCs")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];
}

/// A provider whose tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The issuer's identifier, exactly as it stands in `iss`; a URL.
    pub issuer: String,
    /// What a token has to be for: one of these in its `aud`.
    pub audiences: Vec<String>,
    /// Where the keys are; none: as the issuer's metadata say (OpenID Connect Discovery, RFC 8414).
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// The signature algorithms that are taken.
    #[serde(default = "IssuerConfig::algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// What the header `typ` may be; the empty text stands for a token without one.
    #[serde(default = "IssuerConfig::token_types")]
    pub token_types: Vec<String>,
    /// How far the clocks may be apart, in seconds.
    #[serde(default = "IssuerConfig::leeway_seconds")]
    pub leeway_seconds: u32,
    /// The claim that names the principal.
    #[serde(default = "IssuerConfig::name_claim")]
    pub name_claim: String,
    /// What is put before that name, so that issuers cannot speak for each other.
    #[serde(default)]
    pub name_prefix: String,
    /// The claim that names the application.
    #[serde(default)]
    pub application_claim: Option<String>,
    /// The claim with the roles: a list, or a text divided by spaces. A full stop leads into an
    /// object: `realm_access.roles`.
    #[serde(default)]
    pub roles_claim: Option<String>,
    /// A PEM file of certificate authorities to trust beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long keys are used before they are fetched again, in seconds.
    #[serde(default = "IssuerConfig::keys_fresh_seconds")]
    pub keys_fresh_seconds: u32,
    /// How long keys are used when they cannot be fetched again, in seconds. After that tokens are
    /// refused, and the sender is told to try again.
    #[serde(default = "IssuerConfig::keys_stale_seconds_max")]
    pub keys_stale_seconds_max: u32,
    /// How long nothing is fetched after an attempt, in seconds, whatever keys tokens name.
    #[serde(default = "IssuerConfig::keys_refetch_seconds_min")]
    pub keys_refetch_seconds_min: u32,
    /// How long the provider may take to answer, in milliseconds.
    #[serde(default = "IssuerConfig::answer_ms_max")]
    pub answer_ms_max: u32,
    /// How opaque tokens are looked up (RFC 7662); none: they are refused.
    #[serde(default)]
    pub introspection: Option<IntrospectionConfig>,
}

impl IssuerConfig {
    fn algorithms() -> Vec<Algorithm> {
        Algorithm::ALL.to_vec()
    }

    fn token_types() -> Vec<String> {
        vec!["at+jwt".to_owned()]
    }

    fn name_claim() -> String {
        "sub".to_owned()
    }

    const fn leeway_seconds() -> u32 {
        10
    }

    const fn keys_fresh_seconds() -> u32 {
        300
    }

    const fn keys_stale_seconds_max() -> u32 {
        3600
    }

    const fn keys_refetch_seconds_min() -> u32 {
        10
    }

    const fn answer_ms_max() -> u32 {
        5000
    }
}

/// How opaque tokens are looked up at their issuer (RFC 7662).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntrospectionConfig {
    /// Where to ask; none: as the issuer's metadata say.
    #[serde(default)]
    pub url: Option<String>,
    /// Who the gateway is to the provider.
    pub client_id: String,
    /// A file with the secret that proves it.
    pub client_secret_file: PathBuf,
    /// How long an answer is used, in seconds: so long a token may live on that was revoked.
    #[serde(default = "IntrospectionConfig::cache_seconds_max")]
    pub cache_seconds_max: u32,
    /// How many answers are remembered.
    #[serde(default = "IntrospectionConfig::tokens_cached_max")]
    pub tokens_cached_max: u32,
    /// How many requests may be under way at once.
    #[serde(default = "IntrospectionConfig::requests_max")]
    pub requests_max: u32,
}

impl IntrospectionConfig {
    const fn cache_seconds_max() -> u32 {
        60
    }

    const fn tokens_cached_max() -> u32 {
        10_000
    }

    const fn requests_max() -> u32 {
        32
    }
}

/// What a client certificate says about who holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertificatesConfig {
    /// Whether a certificate alone says who is asking.
    pub identify: bool,
    /// Where the name of the principal is looked for, in this order.
    pub names: Vec<CertificateName>,
    /// Roles by what the certificate says: `cn:NAME`, `o:NAME`, `ou:NAME`, or `name:NAME` for the
    /// name of the principal.
    pub roles: BTreeMap<String, BTreeSet<String>>,
}

impl Default for CertificatesConfig {
    fn default() -> Self {
        let names = vec![CertificateName::Cn, CertificateName::SanUri, CertificateName::SanDns];
        Self { identify: true, names, roles: BTreeMap::new() }
    }
}

/// A place in a certificate where a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateName {
    /// The subject's common name.
    Cn,
    /// The first alternative name that is a URI.
    SanUri,
    /// The first alternative name that is a host name.
    SanDns,
    /// The first alternative name that is a mail address.
    SanEmail,
    /// The whole subject, as RFC 4514 writes it.
    Subject,
}

impl AuthConfig {
    /// Names the first setting that makes no sense.
    pub fn check(&self) -> Result<(), InvalidInput> {
        check_ranges(&[
            ("auth.token_bytes_max", self.token_bytes_max, 256, 65_536),
            ("auth.tokens_cached_max", self.tokens_cached_max, 1, 10_000_000),
            ("auth.failures_max", self.failures_max, 1, 1000),
            ("auth.failures_per_address_max", self.failures_per_address_max, 1, 1_000_000),
            ("auth.lock_out_seconds_max", self.lock_out_seconds_max, 1, WEEK_SECONDS),
            ("auth.lock_outs_max", self.lock_outs_max, 1, 10_000_000),
            ("auth.password_checks_max", self.password_checks_max, 1, 256),
            ("auth.password_wait_ms_max", self.password_wait_ms_max, 1, 60_000),
            ("auth.passwords_cached_max", self.passwords_cached_max, 1, 10_000_000),
        ])?;
        let selects = |key: &&String| {
            let selector = key.split_once(':').filter(|(_, name)| !name.is_empty());
            selector.is_some_and(|(kind, _)| matches!(kind, "cn" | "o" | "ou" | "name"))
        };
        if let Some(key) = self.certificates.roles.keys().find(|key| !selects(key)) {
            let detail = format!("expected cn:NAME, o:NAME, ou:NAME or name:NAME, found {key:?}");
            return Err(InvalidInput::new("auth.certificates.roles", detail));
        }
        for (index, issuer) in self.issuers.iter().enumerate() {
            issuer.check(&format!("auth.issuers[{index}]"))?;
            if self.issuers[..index].iter().any(|other| other.issuer == issuer.issuer) {
                let detail = format!("{:?} is configured twice", issuer.issuer);
                return Err(InvalidInput::new(format!("auth.issuers[{index}].issuer"), detail));
            }
        }
        Ok(())
    }
}

impl IssuerConfig {
    fn check(&self, section: &str) -> Result<(), InvalidInput> {
        let key = |name: &str| format!("{section}.{name}");
        let empty = [
            ("audiences", self.audiences.is_empty() || self.audiences.iter().any(String::is_empty)),
            ("algorithms", self.algorithms.is_empty()),
            ("token_types", self.token_types.is_empty()),
            ("name_claim", self.name_claim.is_empty()),
        ];
        if let Some((name, _)) = empty.iter().find(|(_, is_empty)| *is_empty) {
            return Err(InvalidInput::new(key(name), "expected at least one that is not empty"));
        }
        let introspection = self.introspection.as_ref();
        let urls = [
            ("issuer", Some(&self.issuer)),
            ("jwks_uri", self.jwks_uri.as_ref()),
            ("introspection.url", introspection.and_then(|found| found.url.as_ref())),
        ];
        for (name, url) in urls {
            if let Some(url) = url {
                check_url(url).map_err(|detail| InvalidInput::new(key(name), detail))?;
            }
        }
        let fresh = u64::from(self.keys_fresh_seconds);
        check_ranges(&[
            (&key("leeway_seconds"), self.leeway_seconds, 0, 600),
            (&key("keys_fresh_seconds"), self.keys_fresh_seconds, 1, WEEK_SECONDS),
            (&key("keys_stale_seconds_max"), self.keys_stale_seconds_max, fresh, WEEK_SECONDS),
            (&key("keys_refetch_seconds_min"), self.keys_refetch_seconds_min, 1, 3600),
            (&key("answer_ms_max"), self.answer_ms_max, 1, 60_000),
        ])?;
        let Some(introspection) = introspection else { return Ok(()) };
        check_ranges(&[
            (&key("introspection.cache_seconds_max"), introspection.cache_seconds_max, 0, 86_400),
            (
                &key("introspection.tokens_cached_max"),
                introspection.tokens_cached_max,
                1,
                10_000_000,
            ),
            (&key("introspection.requests_max"), introspection.requests_max, 1, 1000),
        ])
    }
}

/// Whether keys and secrets may travel to `url`: over TLS, or not beyond this machine.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    let parsed = reqwest::Url::parse(url).map_err(|error| format!("expected a URL: {error}"))?;
    let host = parsed.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if is_loopback => Ok(()),
        _ => Err(format!("expected https (http on this machine alone), found {url:?}")),
    }
}

fn check_ranges(rows: &[(&str, u32, u64, u64)]) -> Result<(), InvalidInput> {
    for &(key, value, low, high) in rows {
        if !(low..=high).contains(&u64::from(value)) {
            let detail = format!("expected a number from {low} to {high}, found {value}");
            return Err(InvalidInput::new(key, detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change<'a> = &'a dyn Fn(&mut AuthConfig);

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for good in ["https://id.example.com/", "http://127.0.0.1:8", "http://[::1]/x"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in ["http://id.example.com", "http://127.0.0.1.example.com", "ftp://x", "x", ""] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let issuer: IssuerConfig = serde_json::from_str(
            r#"{ "issuer": "https://id.example.com", "audiences": ["events"] }"#,
        )
        .unwrap();
        let with = |change: &dyn Fn(&mut AuthConfig)| {
            let mut config = AuthConfig { issuers: vec![issuer.clone()], ..AuthConfig::default() };
            change(&mut config);
            config.check().map_err(|error| error.field)
        };
        let roles = |key: &str| BTreeMap::from([(key.to_owned(), BTreeSet::new())]);
        assert_eq!(with(&|_| {}), Ok(()));
        assert_eq!(with(&|config| config.certificates.roles = roles("ou:ops")), Ok(()));
        let rows: [(Change<'_>, &str); 6] = [
            (&|config| config.token_bytes_max = 1, "auth.token_bytes_max"),
            (&|config| config.certificates.roles = roles("ops"), "auth.certificates.roles"),
            (&|config| config.issuers[0].audiences.clear(), "auth.issuers[0].audiences"),
            (
                &|config| config.issuers[0].jwks_uri = Some("http://x/".to_owned()),
                "auth.issuers[0].jwks_uri",
            ),
            (
                &|config| config.issuers[0].keys_stale_seconds_max = 299,
                "auth.issuers[0].keys_stale_seconds_max",
            ),
            (&|config| config.issuers.push(issuer.clone()), "auth.issuers[1].issuer"),
        ];
        for (change, field) in rows {
            assert_eq!(with(change), Err(field.to_owned()));
        }
    }
}
