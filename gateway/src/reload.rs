//! A configuration that is read again while the gateway runs: which sections take effect at once,
//! and which have to wait for a restart.

use std::sync::{Arc, Mutex, PoisonError};

use eg_auth::{Authenticator, Live};
use eg_event::CredentialId;
use serde_json::Value;

use crate::config::{Config, ConfigError};
use crate::policy::Policies;
use crate::tls::TlsListeners;

/// The sections that take effect at once.
const LIVE: [&str; 3] = ["auth", "policy", "tls"];

/// Lets the parts of a gateway have another configuration.
#[derive(Clone)]
pub struct Reloader {
    /// As it is in effect, as far as a section takes effect at once.
    config: Arc<Mutex<Config>>,
    tls: Option<TlsListeners>,
    authenticator: Arc<Authenticator>,
    live: Live,
    policies: Policies,
}

impl Reloader {
    /// Begins with what the gateway was assembled from.
    #[must_use]
    pub fn new(
        config: Config,
        tls: Option<TlsListeners>,
        (authenticator, live): (Arc<Authenticator>, Live),
        policies: Policies,
    ) -> Self {
        Self { config: Arc::new(Mutex::new(config)), tls, authenticator, live, policies }
    }

    /// Lets every part have its section of what was read, and says in the log what came of it. What
    /// cannot be used changes nothing.
    pub fn reload(&self, read: Result<Config, ConfigError>) {
        let new = match read {
            Ok(new) => new,
            Err(error) => return tracing::error!(%error, "the configuration is not read again"),
        };
        let mut current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        for section in waiting(&current, &new) {
            tracing::warn!(section, "changed, and takes effect with the next start");
        }
        // The files are read again also where the section is the same.
        if let Some(tls) = &self.tls {
            tls.read_again(Some(new.tls.clone()));
        }
        self.policies.reload(&new.policy);
        // So are those that issuers name; what could not be used is tried again next time.
        let auth = match self.authenticator.reload(&new.auth) {
            Ok(withdrawn) => {
                tracing::info!("auth: senders are recognized by the section as it is now");
                let concerned = |credential: &CredentialId| withdrawn.concern(credential);
                let cut = if withdrawn.is_empty() { 0 } else { self.live.cut_where(concerned) };
                if cut > 0 {
                    tracing::info!(cut, "connections rested on tokens that are not taken any more");
                }
                new.auth
            }
            Err(error) => {
                tracing::error!(%error, "auth: the section is not used");
                current.auth.clone()
            }
        };
        let (tls, policy) = (new.tls, new.policy);
        *current = Config { tls, auth, policy, ..current.clone() };
    }
}

/// The sections, and keys at the top, that differ and have to wait for a restart.
fn waiting(current: &Config, new: &Config) -> Vec<String> {
    let (Ok(Value::Object(current)), Ok(Value::Object(new))) =
        (serde_json::to_value(current), serde_json::to_value(new))
    else {
        return Vec::new();
    };
    let admin = (current["tls"]["admin"] != new["tls"]["admin"]).then(|| "tls.admin".to_owned());
    let differs = |(key, value): &(String, Value)| current.get(key) != Some(value);
    let changed = new.into_iter().filter(differs).map(|(key, _)| key);
    changed.filter(|key| !LIVE.contains(&&**key)).chain(admin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_and_cannot_take_effect_is_named() {
        let current = Config::default();
        let mut new = current.clone();
        new.tls.handshake_ms_max = 1000;
        assert!(waiting(&current, &new).is_empty());
        new.tls.admin = true;
        new.http.connections_max = 1;
        new.shutdown_seconds_max = 1;
        assert_eq!(waiting(&current, &new), ["http", "shutdown_seconds_max", "tls.admin"]);
    }
}
