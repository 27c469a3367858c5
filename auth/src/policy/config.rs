//! What an operator writes: `[policy]` and `[[policy.rules]]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::request::{Action, Area};

/// The section `[policy]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// A TOML file of further `[[rules]]`, read again on reload.
    pub file: Option<PathBuf>,
    /// Who may do what; none here and in the file: the rules that are built in.
    pub rules: Vec<RuleConfig>,
    /// As which sources a rule lets principals publish when it does not say so itself.
    pub source_binding: SourceBinding,
}

/// The file that `policy.file` names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RulesFile {
    /// Who may do what.
    pub rules: Vec<RuleConfig>,
}

/// Which sources are a principal's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceBinding {
    /// The application itself, as `shop` or `/shop`, and `/mqtt/NAME`.
    Application,
    /// The same, and everything below them, such as `/shop/tills/3`.
    #[default]
    Prefix,
    /// Any: rules alone say which.
    None,
}

/// One rule. Every field that is given has to fit; of a list, one entry has to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// What decisions call it.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether it allows or denies; denials win.
    pub effect: Effect,
    /// Names of principals, with `*` for any characters.
    #[serde(default)]
    pub principals: Vec<String>,
    /// Roles, of which the principal has at least one.
    #[serde(default)]
    pub roles: Vec<String>,
    /// How the principal was recognized.
    #[serde(default)]
    pub methods: Vec<MethodName>,
    /// What may be done.
    pub actions: Vec<Action>,
    /// The parts of management.
    #[serde(default)]
    pub areas: Vec<Area>,
    /// Patterns of applications.
    #[serde(default)]
    pub applications: Vec<String>,
    /// MQTT topic filters.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Patterns of event types.
    #[serde(default)]
    pub types: Vec<String>,
    /// Patterns of event sources.
    #[serde(default)]
    pub sources: Vec<String>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It allows.
    Allow,
    /// It denies, whatever others allow.
    #[default]
    Deny,
}

/// A method as rules name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MethodName {
    /// Nobody asked: development mode.
    Anonymous,
    /// A bearer token.
    Bearer,
    /// A client certificate.
    Certificate,
    /// A name and a password.
    Basic,
    /// An API key.
    ApiKey,
    /// A bus that a definition of the application says events come from.
    Bus,
}

impl MethodName {
    /// The word for it, which is that of [`eg_event::principal::Method::as_str`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Bearer => "bearer",
            Self::Certificate => "certificate",
            Self::Basic => "basic",
            Self::ApiKey => "api-key",
            Self::Bus => "bus",
        }
    }
}
