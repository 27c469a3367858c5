//! One rule, ready to be asked.

use eg_event::InvalidInput;

use super::config::{Effect, MethodName, RuleConfig};
use super::pattern::{Escape, Pattern, Values};
use super::request::{Action, Area, Request};
use super::source::{MQTT, in_normal_case, is_normal};
use super::topic::TopicPattern;
use super::variable::Variable;

/// The most entries of one list.
const ENTRIES_MAX: usize = 1000;
/// The most entries that an explanation quotes.
const QUOTED_MAX: usize = 8;

/// What of a rule does not fit, in the order in which it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    /// It is about other actions.
    Action,
    /// It is about principals recognized by other methods.
    Method,
    /// The principal has none of its roles.
    Role,
    /// It is about other principals.
    Principal,
    /// It is about other parts of management.
    Area,
    /// It is about other applications.
    Application,
    /// It is about other topics.
    Topic,
    /// It is about other types.
    Type,
    /// It is about other sources.
    Source,
}

impl Mismatch {
    /// The field of a request that does not fit.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Method => "method",
            Self::Role => "role",
            Self::Principal => "principal",
            Self::Area => "area",
            Self::Application => "application",
            Self::Topic => "topic",
            Self::Type => "type",
            Self::Source => "source",
        }
    }
}

/// Which sources a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sources {
    Any,
    /// Those of the principal: what a rule allows to publish as that does not say.
    Own(Vec<Pattern>),
    Listed(Vec<Pattern>),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    name: Box<str>,
    effect: Effect,
    actions: Vec<Action>,
    methods: Vec<MethodName>,
    roles: Vec<String>,
    principals: Vec<Pattern>,
    areas: Vec<Area>,
    applications: Vec<Pattern>,
    topics: Vec<TopicPattern>,
    types: Vec<Pattern>,
    sources: Sources,
    /// `${role}` occurs, so that the rule is looked at once for each role.
    tries_roles: bool,
}

impl Rule {
    /// Reads a rule; `own` are the patterns of a principal's own sources, if it is bound to them.
    pub(super) fn parse(
        key: &str,
        config: &RuleConfig,
        own: Option<&[Pattern]>,
    ) -> Result<Self, InvalidInput> {
        /// Across these a value in a type does not reach.
        const SEPARATORS: &[char] = &['.', '/', ':'];
        check_lists(key, config)?;
        let patterns = |field: &str, texts: &[String], escape| {
            let numbered = texts.iter().enumerate();
            let parse = |(index, text): (usize, &String)| {
                Pattern::parse(&format!("{key}.{field}[{index}]"), text, escape)
            };
            numbered.map(parse).collect::<Result<Vec<_>, _>>()
        };
        let topic = |(index, text): (usize, &String)| {
            TopicPattern::parse(&format!("{key}.topics[{index}]"), text)
        };
        let sources = match own {
            _ if !config.sources.is_empty() => {
                Sources::Listed(patterns("sources", &config.sources, Escape::Percent)?)
            }
            Some(own) if config.effect == Effect::Allow => Sources::Own(own.to_vec()),
            _ => Sources::Any,
        };
        let mut rule = Self {
            name: config.name.as_deref().unwrap_or(key).into(),
            effect: config.effect,
            actions: config.actions.clone(),
            methods: config.methods.clone(),
            roles: config.roles.clone(),
            principals: patterns("principals", &config.principals, Escape::Plain)?,
            areas: config.areas.clone(),
            applications: patterns("applications", &config.applications, Escape::Plain)?,
            topics: config.topics.iter().enumerate().map(topic).collect::<Result<_, _>>()?,
            types: patterns("types", &config.types, Escape::Refuse(SEPARATORS))?,
            sources,
            tries_roles: false,
        };
        if rule.principals.iter().any(|pattern| pattern.variables().next().is_some()) {
            let detail = "expected names without variables: it is they who have the values";
            return Err(InvalidInput::new(format!("{key}.principals"), detail));
        }
        let tries_roles = rule.variables().any(|variable| *variable == Variable::Role);
        rule.tries_roles = tries_roles;
        Ok(rule)
    }

    /// What decisions call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it allows or denies.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Whether it is about `action`.
    pub(super) fn is_about(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }

    /// Whether it is about `request`, or the first thing that does not fit.
    pub(super) fn fit(&self, request: &Request<'_>) -> Result<(), Mismatch> {
        if !self.tries_roles {
            return self.fit_in_role(Values { request, role: None });
        }
        let mut deepest = Mismatch::Role;
        for role in request.subject.roles {
            match self.fit_in_role(Values { request, role: Some(role) }) {
                Ok(()) => return Ok(()),
                Err(mismatch) => deepest = deepest.max(mismatch),
            }
        }
        Err(deepest)
    }

    fn fit_in_role(&self, values: Values<'_, '_>) -> Result<(), Mismatch> {
        let (subject, resource) = (values.request.subject, values.request.resource);
        let check = |fits: bool, mismatch| if fits { Ok(()) } else { Err(mismatch) };
        let is_method = |method: &MethodName| method.as_str() == subject.method;
        check(self.is_about(values.request.action), Mismatch::Action)?;
        check(self.methods.is_empty() || self.methods.iter().any(is_method), Mismatch::Method)?;
        let has_role = |role: &String| subject.roles.contains(role);
        check(self.roles.is_empty() || self.roles.iter().any(has_role), Mismatch::Role)?;
        let principals = self.any(&self.principals, Some(subject.name), values);
        check(principals, Mismatch::Principal)?;
        let in_area = resource.area.is_some_and(|area| self.areas.contains(&area));
        check(self.areas.is_empty() || in_area, Mismatch::Area)?;
        let applications = self.any(&self.applications, resource.application, values);
        check(applications, Mismatch::Application)?;
        check(self.fits_topic(values), Mismatch::Topic)?;
        check(self.any(&self.types, resource.ty, values), Mismatch::Type)?;
        check(self.fits_source(values), Mismatch::Source)
    }

    /// Whether one of `patterns`, if there are any, says what `text` is.
    fn any(&self, patterns: &[Pattern], text: Option<&str>, values: Values<'_, '_>) -> bool {
        let says = |pattern: &Pattern| match text {
            Some(_) if pattern.is_overreached(values) => self.effect == Effect::Deny,
            Some(text) => pattern.matches(text, values),
            None => false,
        };
        patterns.is_empty() || patterns.iter().any(says)
    }

    /// An allowed filter has to cover what is asked for; a denied one only has to touch it.
    fn fits_topic(&self, values: Values<'_, '_>) -> bool {
        let Some(asked) = values.request.resource.topic else { return self.topics.is_empty() };
        let says = |filter: &TopicPattern| match self.effect {
            Effect::Allow => !filter.is_overreached(values) && filter.covers(asked, values),
            Effect::Deny => filter.is_overreached(values) || filter.touches(asked, values),
        };
        self.topics.is_empty() || self.topics.iter().any(says)
    }

    /// A source that is written in an unusual way fits what is denied, and nothing that is allowed.
    fn fits_source(&self, values: Values<'_, '_>) -> bool {
        let patterns = match &self.sources {
            Sources::Any => return true,
            Sources::Own(_) if values.request.action != Action::Publish => return true,
            Sources::Own(patterns) | Sources::Listed(patterns) => patterns,
        };
        let Some(source) = values.request.resource.source else { return patterns.is_empty() };
        if !is_normal(source) {
            return self.effect == Effect::Deny;
        }
        if matches!(self.sources, Sources::Own(_))
            && values.request.subject.application == Some(MQTT)
        {
            let of_application = |pattern: &Pattern| {
                pattern.variables().any(|variable| *variable == Variable::Application)
            };
            let mut of_name = patterns.iter().filter(|pattern| !of_application(pattern));
            return of_name.any(|pattern| pattern.matches(source, values));
        }
        // However the case is written that does not count, it is denied.
        let is_denied = |source: String| self.any(patterns, Some(&source), values);
        self.any(patterns, Some(source), values)
            || self.effect == Effect::Deny && in_normal_case(source).is_some_and(is_denied)
    }

    /// What the rule expects where `mismatch` lies, in words.
    pub(super) fn expected(&self, mismatch: Mismatch, request: &Request<'_>) -> String {
        let role = request.subject.roles.first().map(String::as_str);
        let values = Values { request, role };
        let patterns =
            |patterns: &[Pattern]| listed(patterns.iter().map(|pattern| pattern.filled(values)));
        let mut text = match mismatch {
            Mismatch::Action => listed(self.actions.iter().map(|one| one.as_str().to_owned())),
            Mismatch::Method => listed(self.methods.iter().map(|one| one.as_str().to_owned())),
            Mismatch::Role => listed(self.roles.iter().cloned()),
            Mismatch::Principal => patterns(&self.principals),
            Mismatch::Area => listed(self.areas.iter().map(|one| one.as_str().to_owned())),
            Mismatch::Application => patterns(&self.applications),
            Mismatch::Topic => listed(self.topics.iter().map(|filter| filter.filled(values))),
            Mismatch::Type => patterns(&self.types),
            Mismatch::Source => match &self.sources {
                Sources::Any => "any".to_owned(),
                Sources::Own(own) | Sources::Listed(own) => patterns(own),
            },
        };
        if mismatch == Mismatch::Source && request.resource.source.is_some_and(|s| !is_normal(s)) {
            text.push_str(", without dot segments and needless escapes (RFC 3986 section 6.2.2)");
        }
        text
    }

    fn variables(&self) -> impl Iterator<Item = &Variable> {
        let sources = match &self.sources {
            Sources::Any => &[][..],
            Sources::Own(patterns) | Sources::Listed(patterns) => patterns,
        };
        let patterns = [&self.applications, &self.types, sources];
        let of_patterns = patterns.into_iter().flatten().flat_map(Pattern::variables);
        of_patterns.chain(self.topics.iter().flat_map(TopicPattern::variables))
    }
}

/// A rule has to say whom it is about and what they do, and its lists have an end.
fn check_lists(key: &str, config: &RuleConfig) -> Result<(), InvalidInput> {
    if config.principals.is_empty() && config.roles.is_empty() && config.methods.is_empty() {
        let detail = "expected principals, roles or methods; [\"*\"] is everybody";
        return Err(InvalidInput::new(format!("{key}.principals"), detail));
    }
    if config.actions.is_empty() {
        let known = Action::ALL.map(Action::as_str).join(", ");
        return Err(InvalidInput::new(
            format!("{key}.actions"),
            format!("expected at least one of {known}"),
        ));
    }
    let lists = [
        ("principals", config.principals.len()),
        ("roles", config.roles.len()),
        ("applications", config.applications.len()),
        ("topics", config.topics.len()),
        ("types", config.types.len()),
        ("sources", config.sources.len()),
    ];
    for (field, length) in lists {
        if length > ENTRIES_MAX {
            let detail = format!("expected at most {ENTRIES_MAX} entries, found {length}");
            return Err(InvalidInput::new(format!("{key}.{field}"), detail));
        }
    }
    Ok(())
}

fn listed(entries: impl ExactSizeIterator<Item = String>) -> String {
    let count = entries.len();
    let mut quoted: Vec<_> = entries.take(QUOTED_MAX).collect();
    if count > QUOTED_MAX {
        quoted.push(format!("{} more", count - QUOTED_MAX));
    }
    quoted.join(", ")
}
