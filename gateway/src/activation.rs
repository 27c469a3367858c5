//! Event activations, as Kyma has them: in which namespaces the events of a source are delivered.
//! Which subscriptions a change of them concerns is looked up by source. No I/O and no clock.

#[cfg(test)]
mod model;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use eg_event::subscription::{check_name, check_namespace};
use eg_event::{InvalidInput, Subscription, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest event type, and the longest source id, of Kyma's kinds, in bytes.
pub const DOTTED_BYTES_MAX: usize = 253;
/// The longest display name, in bytes.
const DISPLAY_NAME_BYTES_MAX: usize = 1024;

/// Lets the events of a source into a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventActivation {
    /// Where events are let in.
    pub namespace: String,
    /// Unique among the activations of the namespace.
    pub name: String,
    /// The `source` of the events.
    pub source_id: String,
    /// The source for people.
    pub display_name: String,
}

impl EventActivation {
    /// What all operations know it by.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Checks every field against its rule; names the first that breaks one.
    ///
    /// # Errors
    /// Which field is wrong, and what was expected.
    pub fn check(&self) -> Result<(), InvalidInput> {
        check_namespace(&self.namespace)?;
        check_name(&self.name)?;
        if !is_dotted(&self.source_id) {
            return Err(InvalidInput::new("sourceId", DOTTED));
        }
        if self.display_name.len() > DISPLAY_NAME_BYTES_MAX {
            let expected = format!("expected at most {DISPLAY_NAME_BYTES_MAX} bytes");
            return Err(InvalidInput::new("displayName", expected));
        }
        Ok(())
    }

    fn scope(&self) -> Scope {
        Scope { namespace: self.namespace.clone(), source: self.source_id.clone() }
    }
}

/// What [`is_dotted`] takes.
pub const DOTTED: &str = "expected 1 to 253 letters, digits, '-' or '.', every part between dots \
    beginning and ending with a letter or digit";

/// Whether Kyma takes `text` as a source id or event type: labels between dots.
#[must_use]
pub fn is_dotted(text: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let ends_well = !label.starts_with('-') && !label.ends_with('-');
        !label.is_empty() && ends_well && label.bytes().all(allowed)
    };
    text.len() <= DOTTED_BYTES_MAX && text.split('.').all(is_label)
}

/// An event activation that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activated {
    /// What was asked for.
    pub activation: Arc<EventActivation>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What activations and subscriptions are compared by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Scope {
    namespace: String,
    source: String,
}

impl Scope {
    /// Where a subscription looks for activations; `None`: nothing governs it.
    fn of(subscription: &Subscription) -> Option<Self> {
        let namespace = subscription.namespace.clone()?;
        Some(Self { namespace, source: subscription.source.clone()? })
    }
}

/// Says which subscriptions are activated.
#[derive(Debug, Default)]
pub struct Validator {
    activations: BTreeMap<String, Activated>,
    /// How many activations there are of each scope; none is left out.
    counts: HashMap<Scope, usize>,
    /// The keys of the subscriptions of each scope.
    governed: HashMap<Scope, BTreeSet<String>>,
}

/// Activations as they are to be: by key, `None` for one that is removed.
pub type Edits = BTreeMap<String, Option<Activated>>;

/// What is activated once edits hold.
pub struct Outlook<'a> {
    validator: &'a Validator,
    /// By how many activations a scope will have more.
    more: HashMap<Scope, isize>,
}

impl Outlook<'_> {
    /// Whether `subscription` is delivered to, as far as activations go.
    #[must_use]
    pub fn is_activated(&self, subscription: &Subscription) -> bool {
        Scope::of(subscription).is_none_or(|scope| self.has_any(&scope))
    }

    /// The keys of the subscriptions that become activated, or no longer are.
    #[must_use]
    pub fn switched(&self) -> Vec<String> {
        let switched = self.more.keys().filter(|scope| {
            let was = self.validator.counts.contains_key(scope);
            was != self.has_any(scope)
        });
        let keys = switched.filter_map(|scope| self.validator.governed.get(scope)).flatten();
        keys.cloned().collect()
    }

    fn has_any(&self, scope: &Scope) -> bool {
        let now = self.validator.counts.get(scope).copied().unwrap_or(0);
        let more = self.more.get(scope).copied().unwrap_or(0);
        now.checked_add_signed(more).is_some_and(|count| count > 0)
    }
}

impl Validator {
    /// The activations by key, in order.
    #[must_use]
    pub fn activations(&self) -> &BTreeMap<String, Activated> {
        &self.activations
    }

    /// What would be activated after `edits`.
    #[must_use]
    pub fn outlook(&self, edits: &Edits) -> Outlook<'_> {
        let mut more: HashMap<Scope, isize> = HashMap::new();
        for (key, edit) in edits {
            if let Some(old) = self.activations.get(key) {
                *more.entry(old.activation.scope()).or_default() -= 1;
            }
            if let Some(new) = edit {
                *more.entry(new.activation.scope()).or_default() += 1;
            }
        }
        Outlook { validator: self, more }
    }

    /// Takes over what has become of activations.
    pub fn edit(&mut self, edits: Edits) {
        for (key, edit) in edits {
            if let Some(old) = self.activations.remove(&key) {
                let scope = old.activation.scope();
                if let Some(count) = self.counts.get_mut(&scope) {
                    *count -= 1;
                    if *count == 0 {
                        self.counts.remove(&scope);
                    }
                }
            }
            if let Some(new) = edit {
                *self.counts.entry(new.activation.scope()).or_default() += 1;
                self.activations.insert(key, new);
            }
        }
    }

    /// Takes over a subscription, in place of what it was.
    pub fn govern(&mut self, subscription: &Subscription, old: Option<&Subscription>) {
        if let Some(old) = old {
            self.release(old);
        }
        if let Some(scope) = Scope::of(subscription) {
            let key = subscription.key().into_owned();
            self.governed.entry(scope).or_default().insert(key);
        }
    }

    /// Forgets a subscription.
    pub fn release(&mut self, subscription: &Subscription) {
        let Some(scope) = Scope::of(subscription) else { return };
        let key: Cow<'_, str> = subscription.key();
        if let Some(keys) = self.governed.get_mut(&scope) {
            keys.remove(&*key);
            if keys.is_empty() {
                self.governed.remove(&scope);
            }
        }
    }
}
