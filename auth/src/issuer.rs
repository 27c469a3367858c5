//! Tokens of a provider: JSON Web Tokens by their signature, opaque ones by asking.

mod claims;
mod introspection;
mod jws;
mod keyring;
mod keys;
mod provider;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eg_event::{Clock, CredentialId, Principal};
use quick_cache::sync::Cache;
use tokio_util::task::TaskTracker;

use self::claims::Accepted;
use self::introspection::Introspection;
use self::jws::{Jws, invalid};
use self::keyring::Keyring;
use self::provider::Provider;
use crate::config::{AuthConfig, IssuerConfig};
use crate::lock_out::{LockOut, Suspect};
use crate::{Peer, Thumbprint, Unauthenticated};

pub(crate) use self::jws::looks_like_jwt;
pub use self::provider::IssuerError;

/// The issuers whose tokens are taken, and the tokens that held.
#[derive(Debug)]
pub(crate) struct Issuers {
    configured: Vec<Arc<Issuer>>,
    clock: Clock,
    accepted: Cache<Thumbprint, Held>,
}

/// A token that held under the keys that its issuer had then.
#[derive(Clone, Debug)]
struct Held {
    accepted: Arc<Accepted>,
    issuer: Arc<Issuer>,
    generation: u64,
}

/// The issuers whose tokens a new configuration takes no more, or not as before.
#[derive(Clone, Debug, Default)]
pub struct Withdrawn(Vec<String>);

impl Withdrawn {
    /// Whether `credential` is a token of one of them.
    #[must_use]
    pub fn concern(&self, credential: &CredentialId) -> bool {
        self.0.iter().any(|issuer| claims::is_token_of(credential, issuer))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One issuer.
#[derive(Debug)]
struct Issuer {
    config: IssuerConfig,
    /// The digest of the files that it was made from.
    files: Thumbprint,
    keyring: Arc<Keyring>,
    introspection: Option<Introspection>,
}

impl Issuers {
    /// The issuers of `config`; those of `before` that are configured alike stay, with their keys.
    pub(crate) fn new(
        config: &AuthConfig,
        before: Option<&Self>,
        clock: &Clock,
        tasks: &TaskTracker,
    ) -> Result<Self, IssuerError> {
        let issuers = config.issuers.iter().map(|issuer| {
            let known = before.iter().flat_map(|before| &before.configured);
            let files = files(issuer);
            let is_same = |known: &&Arc<Issuer>| known.config == *issuer && known.files == files;
            match known.into_iter().find(is_same) {
                Some(known) => Ok(Arc::clone(known)),
                None => Issuer::new(issuer, clock, tasks).map(Arc::new),
            }
        });
        Ok(Self {
            configured: issuers.collect::<Result<_, _>>()?,
            clock: clock.clone(),
            accepted: Cache::new(usize::try_from(config.tokens_cached_max).unwrap_or(usize::MAX)),
        })
    }

    /// Those that are not, or not alike, among `later`.
    pub(crate) fn withdrawn_in(&self, later: &Self) -> Withdrawn {
        let stays =
            |issuer: &Issuer| later.configured.iter().any(|later| later.config == issuer.config);
        let gone = self.configured.iter().filter(|issuer| !stays(issuer));
        Withdrawn(gone.map(|issuer| issuer.config.issuer.clone()).collect())
    }

    /// No issuers.
    pub(crate) fn none(clock: &Clock) -> Self {
        Self { configured: Vec::new(), clock: clock.clone(), accepted: Cache::new(0) }
    }

    /// Whether no token can be taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.configured.is_empty()
    }

    /// Whether tokens that are no JSON Web Tokens can be looked up.
    pub(crate) fn takes_opaque(&self) -> bool {
        self.configured.iter().any(|issuer| issuer.introspection.is_some())
    }

    /// Whom `token` names. Who makes an issuer be asked about tokens that it does not know, is noted
    /// in `lock_out`.
    pub(crate) async fn authenticate(
        &self,
        token: &str,
        peer: &Peer,
        lock_out: &LockOut,
    ) -> Result<Arc<Principal>, Unauthenticated> {
        let digest = Thumbprint::of(token.as_bytes());
        if !looks_like_jwt(token) && self.takes_opaque() {
            let accepted = self.look_up(token, &digest, (peer, lock_out)).await?;
            return accepted.admit(self.clock.now(), peer);
        }
        if let Some(held) = self.accepted.get(&digest) {
            let keys = held.issuer.keyring.current().await?;
            if keys.generation == held.generation {
                return held.accepted.admit(self.clock.now(), peer);
            }
        }
        let jws = Jws::parse(token)?;
        let issuer = self.issuer(&jws)?;
        let held = issuer.validate(&jws, &digest).await?;
        let principal = held.accepted.admit(self.clock.now(), peer)?;
        self.accepted.insert(digest, held);
        Ok(principal)
    }

    fn issuer(&self, jws: &Jws<'_>) -> Result<&Arc<Issuer>, Unauthenticated> {
        let Some(iss) = jws.claims.get("iss") else { return Err(invalid("iss", "it is missing")) };
        let issuer = self.configured.iter().find(|issuer| *iss == *issuer.config.issuer);
        issuer.ok_or_else(|| invalid("iss", "the issuer is not one whose tokens are taken"))
    }

    /// Asks each issuer that can be asked, until one knows the token.
    async fn look_up(
        &self,
        token: &str,
        digest: &Thumbprint,
        (peer, lock_out): (&Peer, &LockOut),
    ) -> Result<Arc<Accepted>, Unauthenticated> {
        let suspect = Suspect::new(peer, "");
        let asked = AtomicBool::new(false);
        let may_ask = || {
            asked.store(true, Ordering::Relaxed);
            lock_out.check_network(&suspect)
        };
        let mut refused = Err(invalid("token", "it is not active"));
        for issuer in &self.configured {
            let Some(introspection) = &issuer.introspection else { continue };
            match introspection.look_up(token, digest, &issuer.config, &may_ask).await {
                Ok(accepted) => return Ok(accepted),
                // Another one may know it; if none does, a later attempt may do better.
                Err(why) if matches!(refused, Err(Unauthenticated::Invalid(_))) => {
                    refused = Err(why);
                }
                Err(_) => {}
            }
        }
        if asked.into_inner() && matches!(refused, Err(Unauthenticated::Invalid(_))) {
            lock_out.network_failed(&suspect);
        }
        refused
    }
}

impl Issuer {
    fn new(config: &IssuerConfig, clock: &Clock, tasks: &TaskTracker) -> Result<Self, IssuerError> {
        let provider = Arc::new(Provider::new(config)?);
        let introspection = config.introspection.as_ref();
        let introspection = introspection
            .map(|config| Introspection::new(config, Arc::clone(&provider), clock.clone()))
            .transpose()?;
        let keyring = Keyring::new(config, provider, clock.clone(), tasks.clone());
        Ok(Self { config: config.clone(), files: files(config), keyring, introspection })
    }

    async fn validate(
        self: &Arc<Self>,
        jws: &Jws<'_>,
        digest: &Thumbprint,
    ) -> Result<Held, Unauthenticated> {
        let token_type = jws.token_type.as_deref().unwrap_or_default();
        let types = &self.config.token_types;
        if !types.iter().any(|taken| taken.eq_ignore_ascii_case(token_type)) {
            return Err(invalid("typ", &format!("expected {}", types.join(" or "))));
        }
        let keys = self.keyring.verify(jws, &self.config.algorithms).await?;
        let accepted = Arc::new(Accepted::read(&jws.claims, &self.config, digest)?);
        Ok(Held { accepted, issuer: Arc::clone(self), generation: keys.generation })
    }
}

/// The digest of the files that `config` names; one that cannot be read counts as empty.
fn files(config: &IssuerConfig) -> Thumbprint {
    let secret = config.introspection.as_ref().map(|asked| &asked.client_secret_file);
    let contents = config.ca_file.iter().chain(secret).map(std::fs::read);
    let digests = contents.map(|read| Thumbprint::of(&read.unwrap_or_default()));
    Thumbprint::of(&digests.flat_map(|digest| *digest.as_bytes()).collect::<Vec<_>>())
}
