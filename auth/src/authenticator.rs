//! The methods by which senders are recognized, put together: tokens, API keys, passwords, client
//! certificates.

use std::sync::Arc;

use arc_swap::ArcSwap;
use eg_event::principal::Method;
use eg_event::{Clock, Principal};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio_util::task::TaskTracker;

use crate::authenticate::{Authenticate, Credential, Unauthenticated};
use crate::certificate;
use crate::config::{AuthConfig, CertificatesConfig};
use crate::issuer::{IssuerError, Issuers, Withdrawn, looks_like_jwt};
use crate::peer::Peer;
use crate::secret::{Checks, Secrets};
use crate::stored::{StoredCredential, parse_key};

/// What the methods need of the program around them.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The time.
    pub clock: Clock,
    /// Where requests to providers run.
    pub tasks: TaskTracker,
}

/// Recognizes senders by the configured methods.
#[derive(Debug)]
pub struct Authenticator {
    surroundings: Surroundings,
    methods: ArcSwap<Methods>,
    secrets: Secrets,
    anonymous: Option<Arc<Principal>>,
}

/// What a configuration makes of the methods.
#[derive(Debug)]
struct Methods {
    issuers: Issuers,
    /// How passwords are checked, and the limits that make it so.
    checks: Arc<Checks>,
    limits: AuthConfig,
    certificates: CertificatesConfig,
    token_bytes_max: usize,
}

impl Authenticator {
    /// Recognizes senders as `config` says.
    pub fn new(config: &AuthConfig, surroundings: Surroundings) -> Result<Self, IssuerError> {
        let methods = Methods::new(config, None, &surroundings)?;
        let secrets = Secrets::new(surroundings.clock.clone());
        Ok(Self { surroundings, methods: ArcSwap::from_pointee(methods), secrets, anonymous: None })
    }

    /// The same, but whoever on this machine presents nothing, or nothing that a configured method
    /// could check, is taken as `anonymous`: development mode.
    #[must_use]
    pub fn with_anonymous_on_loopback(self) -> Self {
        #[expect(clippy::disallowed_methods, reason = "auth is where a principal is made")]
        let principal = Principal::vouch_for("anonymous", Method::Anonymous, None);
        Self { anonymous: Some(Arc::new(principal)), ..self }
    }

    /// Recognizes nobody but who holds a verified certificate: what a gateway without configuration
    /// does.
    #[must_use]
    pub fn closed() -> Self {
        let (config, surroundings) = (AuthConfig::default(), Surroundings::default());
        let methods = Methods {
            issuers: Issuers::none(&surroundings.clock),
            checks: Arc::new(Checks::new(&config, &surroundings.clock)),
            limits: limits(&config),
            certificates: config.certificates,
            token_bytes_max: 0,
        };
        let secrets = Secrets::new(surroundings.clock.clone());
        Self { surroundings, methods: ArcSwap::from_pointee(methods), secrets, anonymous: None }
    }

    /// Takes anyone on this machine as `anonymous`.
    #[must_use]
    pub fn anonymous_on_loopback() -> Self {
        Self::closed().with_anonymous_on_loopback()
    }

    /// Recognizes senders as `config` says from now on. Issuers that are configured as before keep
    /// their keys; connections that rest on tokens of the others are to end, or these tokens would
    /// be good for longer there than anywhere else.
    pub fn reload(&self, config: &AuthConfig) -> Result<Withdrawn, IssuerError> {
        let before = self.methods.load();
        let methods = Methods::new(config, Some(&before), &self.surroundings)?;
        let withdrawn = before.issuers.withdrawn_in(&methods.issuers);
        self.methods.store(Arc::new(methods));
        Ok(withdrawn)
    }

    /// Takes these API keys and passwords, and no others, from now on.
    pub fn replace_credentials(
        &self,
        credentials: impl IntoIterator<Item = Arc<StoredCredential>>,
    ) {
        self.secrets.replace(credentials);
    }

    async fn recognize(
        &self,
        credential: &Credential,
        peer: &Peer,
    ) -> Result<Arc<Principal>, Unauthenticated> {
        let methods = self.methods.load_full();
        let found = match credential {
            Credential::None => methods.certificate(peer),
            Credential::Bearer(token) => self.token(&methods, token, peer).await,
            Credential::Basic { name, password } => {
                self.password(&methods, name, password, peer).await
            }
        };
        match (found, &self.anonymous) {
            (Err(Unauthenticated::Missing | Unauthenticated::UnknownMethod), Some(anonymous))
                if peer.is_loopback() =>
            {
                Ok(Arc::clone(anonymous))
            }
            (found, _) => found,
        }
    }

    async fn token(
        &self,
        methods: &Methods,
        token: &str,
        peer: &Peer,
    ) -> Result<Arc<Principal>, Unauthenticated> {
        if let Some(key) = parse_key(token) {
            if !self.secrets.has_keys() {
                return Err(Unauthenticated::UnknownMethod);
            }
            return self.secrets.key(key, peer, &methods.checks).await;
        }
        if methods.issuers.is_empty() {
            return Err(Unauthenticated::UnknownMethod);
        }
        if token.len() > methods.token_bytes_max {
            let limit = methods.token_bytes_max;
            let why = format!("token: expected at most {limit} bytes");
            return Err(Unauthenticated::Invalid(why));
        }
        methods.issuers.authenticate(token, peer, methods.checks.lock_out()).await
    }

    /// Devices that know names and passwords alone present tokens and keys as passwords.
    async fn password(
        &self,
        methods: &Methods,
        name: &str,
        password: &[u8],
        peer: &Peer,
    ) -> Result<Arc<Principal>, Unauthenticated> {
        if let Ok(text) = std::str::from_utf8(password) {
            let is_opaque = name.is_empty() && methods.issuers.takes_opaque();
            let is_token = is_opaque || looks_like_jwt(text) && !methods.issuers.is_empty();
            if is_token || parse_key(text).is_some() {
                return self.token(methods, text, peer).await;
            }
        }
        if !self.secrets.has_passwords() {
            return Err(Unauthenticated::UnknownMethod);
        }
        self.secrets.password(name, password, peer, &methods.checks).await
    }
}

impl Methods {
    fn new(
        config: &AuthConfig,
        before: Option<&Self>,
        surroundings: &Surroundings,
    ) -> Result<Self, IssuerError> {
        let Surroundings { clock, tasks } = surroundings;
        let known = before.map(|before| &before.issuers);
        let limits = limits(config);
        // Nobody who has to wait is let off by a reload.
        let checks = before.filter(|before| before.limits == limits);
        let checks = checks.map(|before| Arc::clone(&before.checks));
        Ok(Self {
            issuers: Issuers::new(config, known, clock, tasks)?,
            checks: checks.unwrap_or_else(|| Arc::new(Checks::new(config, clock))),
            limits,
            certificates: config.certificates.clone(),
            token_bytes_max: usize::try_from(config.token_bytes_max).unwrap_or(usize::MAX),
        })
    }

    fn certificate(&self, peer: &Peer) -> Result<Arc<Principal>, Unauthenticated> {
        match &peer.certificate {
            Some(certificate) if self.certificates.identify => {
                certificate::principal(certificate, &self.certificates).map(Arc::new)
            }
            _ => Err(Unauthenticated::Missing),
        }
    }
}

/// What of a configuration is neither about issuers nor about certificates.
fn limits(config: &AuthConfig) -> AuthConfig {
    let (issuers, certificates) = (Vec::new(), CertificatesConfig::default());
    AuthConfig { issuers, certificates, ..config.clone() }
}

impl Authenticate for Authenticator {
    fn authenticate<'a>(
        &'a self,
        credential: &'a Credential,
        peer: &'a Peer,
    ) -> BoxFuture<'a, Result<Arc<Principal>, Unauthenticated>> {
        self.recognize(credential, peer).boxed()
    }
}
