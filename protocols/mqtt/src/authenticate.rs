//! From what a client presents, in CONNECT or in AUTH, to who it is for as long as that holds, or
//! to the refusal that says why not.

use std::sync::Arc;
use std::time::Duration;

use eg_auth::{Credential, Peer, Presence, Unauthenticated};
use eg_event::{Principal, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _, pending, select_all};

use crate::codec::{Connect, ConnectRefusal, Reason, Secret};
use crate::server::{Ports, Server};

/// The method of enhanced authentication (MQTT 5.0 section 4.12): a bearer token as authentication
/// data.
pub(crate) const TOKEN_METHOD: &str = "OAUTH2-JWT";

/// Who a connection belongs to.
pub(crate) struct Identity {
    pub(crate) principal: Arc<Principal>,
    /// What it rests on, each of which may be revoked: the credential, and the certificate that
    /// the connection was made with.
    presences: Vec<Presence>,
}

impl Identity {
    /// Says who presents `credential`. From here on a revocation is seen.
    pub(crate) async fn establish(
        server: &Server,
        credential: &Credential,
        peer: &Peer,
    ) -> Result<Self, Unauthenticated> {
        let patience = Duration::from_secs(server.0.config.connect_seconds_max.into());
        let recognized = recognize(&server.0.ports, credential, peer);
        tokio::time::timeout(patience, recognized).await.unwrap_or_else(|_| {
            Err(Unauthenticated::Unavailable {
                reason: "the credential could not be checked in time".to_owned(),
                retry_after: Duration::from_secs(1),
            })
        })
    }

    /// Whether what it rests on has been revoked.
    pub(crate) fn is_revoked(&self) -> bool {
        self.presences.iter().any(|presence| presence.token().is_cancelled())
    }

    /// Completes when what it rests on is revoked.
    pub(crate) fn revoked(&self) -> BoxFuture<'static, ()> {
        if self.presences.is_empty() {
            return pending().boxed();
        }
        let revoked = |presence: &Presence| presence.token().clone().cancelled_owned().boxed();
        select_all(self.presences.iter().map(revoked)).map(drop).boxed()
    }

    /// How long it still holds at `now`; none: for as long as nobody revokes it.
    pub(crate) fn expires_in(&self, now: Timestamp) -> Option<Duration> {
        self.principal.expires_at().map(|at| at.since(now))
    }

    /// What a client is told of its end, as a user property: the seconds that remain.
    pub(crate) fn told_expiry(&self, now: Timestamp) -> Option<(&'static str, String)> {
        let remaining = self.expires_in(now)?;
        Some(("credential-expires-in", remaining.as_secs().to_string()))
    }
}

/// A revocation between being recognized and being entered is not missed: it was written down
/// before it was counted, so that asking again meets it.
async fn recognize(
    ports: &Ports,
    credential: &Credential,
    peer: &Peer,
) -> Result<Identity, Unauthenticated> {
    loop {
        let cuts = ports.live.cuts();
        let principal = ports.authenticator.authenticate(credential, peer).await?;
        let certificate = peer.certificate.as_ref().map(|certificate| certificate.credential_id());
        let mut credentials: Vec<_> =
            principal.credential().cloned().into_iter().chain(certificate).collect();
        credentials.dedup();
        let presences = credentials.into_iter().map(|one| ports.live.enter(one)).collect();
        if ports.live.cuts() == cuts {
            return Ok(Identity { principal, presences });
        }
    }
}

/// What a CONNECT without enhanced authentication presents. A user name alone proves nothing: a
/// client with a certificate may have one.
pub(crate) fn presented(connect: &Connect) -> Credential {
    let Some(password) = &connect.password else { return Credential::None };
    Credential::Basic {
        name: connect.user_name.clone().unwrap_or_default(),
        password: password.expose().to_vec(),
    }
}

/// The token in authentication data; none when there is no data.
pub(crate) fn token(data: Option<&Secret>) -> Option<Result<Credential, Unauthenticated>> {
    let data = data.map(Secret::expose).filter(|data| !data.is_empty())?;
    Some(match std::str::from_utf8(data) {
        Ok(token) => Ok(Credential::Bearer(token.to_owned())),
        Err(_) => Err(Unauthenticated::Invalid("the token is not text".to_owned())),
    })
}

/// How CONNECT is refused to whom is not recognized.
pub(crate) fn connect_refusal(why: &Unauthenticated) -> ConnectRefusal {
    match why {
        Unauthenticated::UnknownMethod => ConnectRefusal::BadAuthenticationMethod,
        Unauthenticated::Invalid(_) => ConnectRefusal::BadUserNameOrPassword,
        Unauthenticated::Expired(_) => ConnectRefusal::CredentialExpired,
        Unauthenticated::LockedOut { .. } => ConnectRefusal::LockedOut,
        Unauthenticated::Unavailable { .. } => ConnectRefusal::ServerUnavailable,
        _ => ConnectRefusal::NotAuthorized,
    }
}

/// How a connection ends whose client is not recognized again.
pub(crate) fn end_reason(why: &Unauthenticated) -> Reason {
    match why {
        Unauthenticated::LockedOut { .. } => Reason::QuotaExceeded,
        Unauthenticated::Unavailable { .. } => Reason::ServerBusy,
        _ => Reason::NotAuthorized,
    }
}

/// What a client is told of it.
pub(crate) fn told(why: &Unauthenticated) -> String {
    match why {
        Unauthenticated::Unavailable { retry_after, .. } => {
            format!("{why}, try again in {} s", retry_after.as_secs().max(1))
        }
        _ => why.to_string(),
    }
}
