//! The policy that holds: read at start, and again with its file when the configuration is.

use eg_auth::policy::{Policy, PolicyConfig, PolicyStore};

use crate::config::{self, Config, ConfigError};

/// The policy of a gateway.
#[derive(Clone, Debug)]
pub struct Policies {
    dev: bool,
    store: PolicyStore,
}

impl Policies {
    /// Reads the policy of `config`.
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        let store = PolicyStore::new(compile(&config.policy, config.dev)?);
        Ok(Self { dev: config.dev, store })
    }

    /// The policy that holds.
    #[must_use]
    pub fn store(&self) -> &PolicyStore {
        &self.store
    }

    /// Reads it again, its file too; what cannot be used leaves the one that holds.
    pub fn reload(&self, config: &PolicyConfig) {
        match compile(config, self.dev) {
            Ok(policy) => self.store.replace(policy),
            Err(error) => tracing::error!(%error, "the policy stays as it is"),
        }
    }
}

/// The rules of the configuration and of its file, in this order.
fn compile(config: &PolicyConfig, dev: bool) -> Result<Policy, ConfigError> {
    let mut config = config.clone();
    if let Some(file) = &config.file {
        config.rules.extend(config::rules(file)?);
    }
    let policy = Policy::compile(&config)?;
    Ok(if dev { policy.open_to_anonymous()? } else { policy })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rules: &str) -> (tempfile::NamedTempFile, Config) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rules).unwrap();
        let policy = PolicyConfig { file: Some(file.path().into()), ..PolicyConfig::default() };
        (file, Config { policy, ..Config::default() })
    }

    const RULE: &str =
        "[[rules]]\nname = \"a\"\neffect = \"allow\"\nroles = [\"x\"]\nactions = [\"read\"]\n";

    #[test]
    fn a_policy_that_cannot_be_read_again_leaves_the_one_that_holds() {
        let (file, config) = config(RULE);
        let policies = Policies::read(&config).unwrap();
        let first = policies.store().load().clone();
        std::fs::write(file.path(), "[[rules]]\neffect = \"allow\"\n").unwrap();
        policies.reload(&config.policy);
        assert_eq!(*policies.store().load(), first);
        std::fs::write(file.path(), RULE.replace("allow", "deny")).unwrap();
        policies.reload(&config.policy);
        assert_ne!(*policies.store().load(), first);
    }

    #[test]
    fn an_unknown_key_or_word_in_the_file_is_refused_with_the_nearest_known_one() {
        let rows = [
            (RULE.replace("roles", "role"), "did you mean `roles`?"),
            (RULE.replace("\"read\"", "\"reed\""), "did you mean `read`?"),
            (RULE.replace("[\"x\"]", "[\"x\"]\ntopics = [\"a/${claims.x}\"]"), "claim.NAME"),
        ];
        for (text, said) in rows {
            let (_file, config) = config(&text);
            let error = Policies::read(&config).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
