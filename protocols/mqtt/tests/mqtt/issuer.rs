//! Recognizes clients by tokens that say what is to come of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eg_auth::{Authenticate, Credential, Live, Peer, Unauthenticated};
use eg_event::principal::Method;
use eg_event::{Clock, CredentialId, Principal};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::gateway::{Gateway, Store, start};

/// Takes a token, or a password that is one: `NAME`, `NAME SECONDS` for one that expires, or
/// `NAME SECONDS APPLICATION`; `bad`, `expired`, `locked` and `down` are refused, each for its
/// reason.
pub(crate) struct Issuer {
    clock: Clock,
    revoked: Mutex<BTreeSet<CredentialId>>,
    live: Live,
    /// Revoked as soon as it was found to be good.
    revoked_late: Mutex<Option<CredentialId>>,
    /// While true, no token is looked at to the end.
    is_held: watch::Sender<bool>,
}

impl Issuer {
    pub(crate) fn hold(&self, held: bool) {
        self.is_held.send_replace(held);
    }

    pub(crate) fn revoke(&self, token: &str) {
        let credential = credential(token);
        self.revoked.lock().unwrap().insert(credential.clone());
        self.live.cut(&credential);
    }

    /// Revokes a token between the moment at which it is found to be good and the answer.
    pub(crate) fn revoke_late(&self, token: &str) {
        *self.revoked_late.lock().unwrap() = Some(credential(token));
    }

    fn recognize(&self, token: &str) -> Result<Arc<Principal>, Unauthenticated> {
        let retry_after = Duration::from_secs(7);
        match token {
            "bad" => return Err(Unauthenticated::Invalid("the signature is wrong".into())),
            "expired" => return Err(Unauthenticated::Expired("the token has expired".into())),
            "locked" => return Err(Unauthenticated::LockedOut { retry_after }),
            "down" => {
                let reason = "the issuer cannot be reached".into();
                return Err(Unauthenticated::Unavailable { reason, retry_after });
            }
            _ => {}
        }
        let credential = credential(token);
        if self.revoked.lock().unwrap().contains(&credential) {
            return Err(Unauthenticated::Invalid("the token has been revoked".into()));
        }
        let mut words = token.split(' ');
        let name = words.next().unwrap();
        let lifetime = words.next().map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
        let expires_at = lifetime.map(|lifetime| self.clock.now().after(lifetime));
        #[expect(clippy::disallowed_methods, reason = "the part of auth is played here")]
        let principal = Principal::vouch_for(name, Method::Bearer, expires_at);
        let principal = principal.resting_on(credential);
        Ok(Arc::new(match words.next() {
            Some(application) => principal.for_application(application),
            None => principal,
        }))
    }
}

fn credential(token: &str) -> CredentialId {
    CredentialId::new(format!("token:{token}"))
}

impl Authenticate for Issuer {
    fn authenticate<'a>(
        &'a self,
        credential: &'a Credential,
        _peer: &'a Peer,
    ) -> BoxFuture<'a, Result<Arc<Principal>, Unauthenticated>> {
        Box::pin(async move {
            let answer = match credential {
                Credential::None => Err(Unauthenticated::Missing),
                Credential::Bearer(token) => self.recognize(token),
                Credential::Basic { name, .. } if name == "device" => {
                    Err(Unauthenticated::UnknownMethod)
                }
                Credential::Basic { password, .. } => {
                    self.recognize(std::str::from_utf8(password).unwrap())
                }
                other => panic!("{other:?}"),
            };
            drop(self.is_held.subscribe().wait_for(|held| !held).await);
            let late = self.revoked_late.lock().unwrap().take();
            if let Some(late) = late {
                self.revoked.lock().unwrap().insert(late.clone());
                self.live.cut(&late);
            }
            answer
        })
    }
}

/// A gateway whose clients are recognized by an issuer.
pub(crate) async fn with_issuer(
    change: impl FnOnce(&mut eg_mqtt::MqttConfig),
) -> (Gateway, Arc<Issuer>) {
    start_over(Arc::default(), change).await
}

/// The same over a store that there is.
pub(crate) async fn with_issuer_over(
    store: &Arc<Store>,
    change: impl FnOnce(&mut eg_mqtt::MqttConfig),
) -> Gateway {
    start_over(Arc::clone(store), change).await.0
}

async fn start_over(
    store: Arc<Store>,
    change: impl FnOnce(&mut eg_mqtt::MqttConfig),
) -> (Gateway, Arc<Issuer>) {
    let mut config = eg_mqtt::MqttConfig::default();
    change(&mut config);
    let (clock, live) = (start(), Live::default());
    let issuer = Arc::new(Issuer {
        clock: clock.clone(),
        revoked: Mutex::default(),
        live: live.clone(),
        revoked_late: Mutex::default(),
        is_held: watch::Sender::new(false),
    });
    let known = Arc::clone(&issuer) as Arc<dyn Authenticate>;
    let gateway = Gateway::assemble_with(config, known, store, (clock, live)).await;
    (gateway, issuer)
}
