//! From CONNECT to who is asking, or to the refusal that says why not.

use std::sync::Arc;

use eg_auth::{Authenticate, Credential, Peer, Unauthenticated};
use eg_event::Principal;

use crate::codec::{Connect, ConnectRefusal};

/// Says who connects.
pub(crate) async fn authenticate(
    authenticator: &dyn Authenticate,
    connect: &Connect,
    peer: &Peer,
) -> Result<Arc<Principal>, (ConnectRefusal, String)> {
    if let Some(method) = &connect.authentication_method {
        let text = format!("no authentication method {method:?} is offered");
        return Err((ConnectRefusal::BadAuthenticationMethod, text));
    }
    let credential = match (&connect.user_name, &connect.password) {
        (None, None) => Credential::None,
        (name, password) => Credential::Basic {
            name: name.clone().unwrap_or_default(),
            password: password.clone().unwrap_or_default(),
        },
    };
    authenticator.authenticate(&credential, peer).await.map_err(|why| {
        let refusal = match why {
            Unauthenticated::Missing => ConnectRefusal::NotAuthorized,
            _ => ConnectRefusal::BadUserNameOrPassword,
        };
        (refusal, why.to_string())
    })
}
