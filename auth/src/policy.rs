//! What a principal may do: rules, denied by default, and a denial wins.

mod builtin;
mod config;
mod pattern;
mod request;
mod rule;
mod source;
mod topic;
mod variable;

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use eg_event::InvalidInput;

pub use config::{Effect, MethodName, PolicyConfig, RuleConfig, RulesFile, SourceBinding};
pub use request::{Action, Area, Request, Resource, Subject};
pub use rule::{Mismatch, Rule};
pub use source::{RESERVED, is_reserved};

/// The most rules.
const RULES_MAX: usize = 10_000;
/// How much of what was found an explanation quotes, in characters.
const QUOTED_CHARACTERS_MAX: usize = 100;

/// Rules, ready to be asked. Asking allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Denials first; among those of one effect, the order of the configuration.
    rules: Vec<Rule>,
}

/// What a policy says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'p> {
    /// A rule allows it, and none denies it.
    Allowed(&'p Rule),
    /// A rule denies it.
    Denied(&'p Rule),
    /// No rule is about it.
    NoRule,
}

impl Decision<'_> {
    /// Whether it may be done.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// What one rule makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered<'p> {
    /// The rule.
    pub rule: &'p Rule,
    /// What does not fit, and what the rule expects there; `None`: it is about the request.
    pub mismatch: Option<(Mismatch, String)>,
}

/// Why something may not be done, for who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Forbidden {
    /// The field of the request that stands in the way; none: no rule comes close.
    pub field: Option<&'static str>,
    text: Cow<'static, str>,
}

impl Policy {
    /// Reads the rules of `config`, or takes the built-in ones when it has none. Names the first
    /// field that makes no sense.
    pub fn compile(config: &PolicyConfig) -> Result<Self, InvalidInput> {
        if config.rules.len() > RULES_MAX {
            let detail = format!("expected at most {RULES_MAX} rules");
            return Err(InvalidInput::new("policy.rules", detail));
        }
        let own = source::own(config.source_binding)?;
        let built_in = builtin::rules();
        let configs = if config.rules.is_empty() { &built_in } else { &config.rules };
        let numbered = configs.iter().enumerate();
        let parse = |(index, rule): (usize, &RuleConfig)| {
            Rule::parse(&format!("policy.rules[{index}]"), rule, own.as_deref())
        };
        let mut rules = numbered.map(parse).collect::<Result<Vec<_>, _>>()?;
        rules.sort_by_key(|rule| rule.effect() == Effect::Allow);
        Ok(Self { rules })
    }

    /// The same, in which who is anonymous may do what no rule denies, as any source: development
    /// mode.
    pub fn open_to_anonymous(mut self) -> Result<Self, InvalidInput> {
        self.rules.push(Rule::parse("policy", &builtin::development(), None)?);
        Ok(self)
    }

    /// Answers a request.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> Decision<'_> {
        let rule = self.rules.iter().find(|rule| rule.fit(request).is_ok());
        match rule {
            Some(rule) if rule.effect() == Effect::Allow => Decision::Allowed(rule),
            Some(rule) => Decision::Denied(rule),
            None => Decision::NoRule,
        }
    }

    /// Answers a request with words for who is refused.
    pub fn check(&self, request: &Request<'_>) -> Result<(), Forbidden> {
        match self.decide(request) {
            Decision::Allowed(_) => Ok(()),
            Decision::Denied(rule) => Err(Forbidden {
                field: Some("rule"),
                text: format!("the rule {:?} denies it", rule.name()).into(),
            }),
            Decision::NoRule => Err(self.closest(request)),
        }
    }

    /// What every rule about the action makes of a request, in the order in which they count.
    pub fn explain<'p>(&'p self, request: &Request<'_>) -> impl Iterator<Item = Considered<'p>> {
        let concerned = self.rules.iter().filter(|rule| rule.is_about(request.action));
        concerned.map(|rule| {
            let mismatch = rule.fit(request).err();
            let mismatch = mismatch.map(|what| (what, rule.expected(what, request)));
            Considered { rule, mismatch }
        })
    }

    /// What stands in the way of the rule that comes closest to allowing.
    fn closest(&self, request: &Request<'_>) -> Forbidden {
        let allowing = self.rules.iter().filter(|rule| rule.effect() == Effect::Allow);
        let misses = allowing.filter_map(|rule| Some((rule.fit(request).err()?, rule)));
        // Of who else may do it, nothing is told.
        let misses = misses.filter(|(mismatch, _)| *mismatch > Mismatch::Principal);
        let Some((mismatch, rule)) = misses.max_by_key(|(mismatch, _)| *mismatch) else {
            let Request { subject, action, .. } = request;
            let text = format!("no rule lets {} {}", subject.name, action.as_str());
            return Forbidden { field: None, text: text.into() };
        };
        let field = mismatch.field();
        let expected = rule.expected(mismatch, request);
        let found = found(mismatch, request);
        let text = format!("{field}: expected {expected}; found {found}");
        Forbidden { field: Some(field), text: text.into() }
    }
}

/// What a request has where a rule expects something else.
fn found(mismatch: Mismatch, request: &Request<'_>) -> String {
    let resource = &request.resource;
    let text = match mismatch {
        Mismatch::Area => resource.area.map(Area::as_str),
        Mismatch::Application => resource.application,
        Mismatch::Topic => resource.topic,
        Mismatch::Type => resource.ty,
        Mismatch::Source => resource.source,
        Mismatch::Action | Mismatch::Method | Mismatch::Role | Mismatch::Principal => None,
    };
    text.map_or_else(
        || "none".to_owned(),
        |text| format!("{:?}", text.chars().take(QUOTED_CHARACTERS_MAX).collect::<String>()),
    )
}

/// The policy that holds now, replaced while it is being asked.
#[derive(Clone, Debug)]
pub struct PolicyStore(Arc<ArcSwap<Policy>>);

impl PolicyStore {
    /// Holds `policy`.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(policy)))
    }

    /// The policy, to be asked a few times and let go.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Policy>> {
        self.0.load()
    }

    /// From now on `policy` holds.
    pub fn replace(&self, policy: Policy) {
        self.0.store(Arc::new(policy));
    }
}
