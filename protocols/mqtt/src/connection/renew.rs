//! Authentication that is given anew while a connection is at work (MQTT 5.0 section 4.12.1).
//!
//! Messages are taken under the old one until the new one is established.

use std::task::{Context, Poll};

use eg_auth::Unauthenticated;
use futures_util::future::{BoxFuture, FutureExt as _};

use super::Client;
use super::exchange::Exchange;
use crate::authenticate::{Identity, TOKEN_METHOD, end_reason, token, told};
use crate::codec::{Auth, AuthStep, Reason};

/// Where the exchange of AUTH packets stands.
#[derive(Default)]
pub(super) enum Renewal {
    /// There is none.
    #[default]
    Idle,
    /// The client was asked for its token.
    Asked,
    /// The token is looked at.
    Checking(BoxFuture<'static, Result<Identity, Unauthenticated>>),
}

impl Exchange<'_> {
    /// Takes an AUTH packet: it begins or continues such an exchange, or has no business here.
    pub(super) fn authenticate_again(&mut self, auth: &Auth) {
        let is_due = match self.renewal {
            Renewal::Idle => auth.step == AuthStep::Again,
            Renewal::Asked => auth.step == AuthStep::Continue,
            Renewal::Checking(_) => false,
        };
        if !is_due || !self.client.has_token_method || auth.method != TOKEN_METHOD {
            return self.end_for(Reason::ProtocolError);
        }
        match (token(auth.data.as_ref()), auth.step) {
            (Some(Ok(credential)), _) => {
                let (server, peer) = (self.server.clone(), self.client.peer.clone());
                let check = async move { Identity::establish(&server, &credential, &peer).await };
                self.renewal = Renewal::Checking(check.boxed());
            }
            (Some(Err(why)), _) => self.not_recognized(&why),
            (None, AuthStep::Again) => {
                let out = self.output.buffer();
                self.codec.auth(AuthStep::Continue, TOKEN_METHOD, &[], out);
                self.renewal = Renewal::Asked;
            }
            (None, _) => self.not_recognized(&Unauthenticated::Missing),
        }
    }

    /// Takes over the new identity once it is established.
    pub(super) fn poll_renewal(&mut self, cx: &mut Context<'_>) {
        let Renewal::Checking(check) = &mut self.renewal else { return };
        if self.ended.is_some() {
            return;
        }
        let Poll::Ready(checked) = check.poll_unpin(cx) else { return };
        self.renewal = Renewal::Idle;
        match checked {
            Ok(identity) if self.client.is(&identity) => {
                self.renew(identity);
                // What ends it from now on has to be looked at once to be heard of.
                cx.waker().wake_by_ref();
            }
            Ok(_) => {
                let text = "the token is somebody else's than the one that connected";
                self.end_because(Reason::NotAuthorized, text.to_owned());
            }
            Err(why) => self.not_recognized(&why),
        }
    }

    fn renew(&mut self, identity: Identity) {
        self.revoked = identity.revoked();
        self.client.identity = identity;
        let server = &self.server.0;
        server.counters.add_reauthentication();
        let told = self.client.identity.told_expiry(server.ports.clock.now());
        let out = self.output.buffer();
        self.codec.auth(AuthStep::Success, TOKEN_METHOD, told.as_slice(), out);
        self.look_again();
    }

    fn not_recognized(&mut self, why: &Unauthenticated) {
        self.end_because(end_reason(why), told(why));
    }
}

impl Client {
    /// Whether `identity` is whom this client connected as.
    fn is(&self, identity: &Identity) -> bool {
        let (old, new) = (&self.identity.principal, &identity.principal);
        old.name() == new.name() && old.application() == new.application()
    }
}
