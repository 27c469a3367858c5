//! Who the gateway is to a broker of AMQP, of either version.

use std::sync::{Arc, Mutex, PoisonError};

use eg_event::Subscription;
use eg_event::outbound::{Credential, SecretText};

use crate::connections::{Surroundings, Tokens};
use crate::error::PublishError;
use crate::target::Target;

/// Who the gateway says it is.
pub(crate) enum Login {
    /// Nobody in particular.
    Anonymous,
    /// Whoever the client certificate names.
    External,
    /// A user with a password, or a token in its place.
    Password { name: String, secret: SecretText, is_token: bool },
}

impl Login {
    pub(crate) async fn of(
        target: &Target,
        subscription: &Subscription,
        around: &Surroundings,
    ) -> Result<Self, PublishError> {
        if target.attributes.get("authentication") == Some("EXTERNAL") {
            return Ok(Self::External);
        }
        match subscription.auth.as_ref().and_then(|auth| auth.credential.as_ref()) {
            Some(Credential::Basic { username, password }) => {
                let (name, secret) = (username.clone(), password.clone());
                Ok(Self::Password { name, secret, is_token: false })
            }
            Some(Credential::OAuth(client)) => {
                let token = around.tokens.token(subscription).await;
                let secret = token.map_err(PublishError::NotConnected)?.secret;
                Ok(Self::Password { name: client.client_id.clone(), secret, is_token: true })
            }
            _ => Ok(Self::Anonymous),
        }
    }

    /// What looks after the token.
    pub(crate) fn renewal(&self, around: &Surroundings) -> Renewal {
        Renewal(match self {
            Self::Password { secret, is_token: true, .. } => {
                Some((Arc::clone(&around.tokens), Mutex::new(secret.clone())))
            }
            _ => None,
        })
    }
}

/// The token that a broker was shown, if it was one.
pub(crate) struct Renewal(Option<(Arc<dyn Tokens>, Mutex<SecretText>)>);

impl Renewal {
    /// A newer token than the broker was shown; it counts as shown from now on.
    pub(crate) async fn newer(
        &self,
        subscription: &Subscription,
    ) -> Result<Option<SecretText>, PublishError> {
        let Some((tokens, shown)) = &self.0 else { return Ok(None) };
        let token = tokens.token(subscription).await;
        let secret = token.map_err(PublishError::NotConfirmed)?.secret;
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.expose() == secret.expose() {
            return Ok(None);
        }
        *shown = secret.clone();
        Ok(Some(secret))
    }
}
