//! The rules of a gateway for which none is configured, and the one of development mode.

use super::config::{Effect, MethodName, RuleConfig};
use super::request::{Action, Area};

/// What holds while no rule is configured: applications publish as themselves, administrators do
/// everything, operators look after deliveries, viewers look, and whoever has a scope of Compass
/// may do with applications and their definitions what it says.
pub(super) fn rules() -> Vec<RuleConfig> {
    vec![
        RuleConfig {
            principals: vec!["*".to_owned()],
            applications: vec!["${application}".to_owned()],
            ..allow("application", &[Action::Publish])
        },
        RuleConfig {
            roles: vec!["admin".to_owned()],
            ..allow("admin", &[Action::Manage, Action::Read])
        },
        RuleConfig {
            roles: vec!["operator".to_owned()],
            areas: vec![Area::Subscriptions, Area::DeadLetters, Area::Mqtt],
            ..allow("operator", &[Action::Manage])
        },
        // The scopes of Compass.
        RuleConfig {
            roles: vec!["application:write".to_owned()],
            areas: vec![Area::Specs],
            ..allow("application:write", &[Action::Manage, Action::Read])
        },
        RuleConfig {
            roles: vec!["application:read".to_owned()],
            areas: vec![Area::Specs],
            ..allow("application:read", &[Action::Read])
        },
        RuleConfig {
            roles: vec!["operator".to_owned(), "viewer".to_owned()],
            ..allow("viewer", &[Action::Read])
        },
    ]
}

/// Development mode: who is anonymous, and so on this machine, may do everything.
pub(super) fn development() -> RuleConfig {
    RuleConfig { methods: vec![MethodName::Anonymous], ..allow("development", &Action::ALL) }
}

fn allow(name: &str, actions: &[Action]) -> RuleConfig {
    RuleConfig {
        name: Some(format!("built-in {name}")),
        effect: Effect::Allow,
        actions: actions.to_vec(),
        ..RuleConfig::default()
    }
}
