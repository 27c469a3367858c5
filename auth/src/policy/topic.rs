//! MQTT topic filters (MQTT 5.0 section 4.7) in rules: which topics and filters they cover, and
//! which they only touch.

use eg_event::InvalidInput;

use super::pattern::{Escape, Pieces, Values};
use super::variable::Variable;

/// What a value may not have to stand in a topic: it would be a wildcard, or more than one level.
const REFUSED: &[char] = &['/', '+', '#', '\0'];
/// The longest filter, in bytes (MQTT 5.0 section 1.5.4).
const FILTER_BYTES_MAX: usize = 65_535;
/// What a shared subscription's filter begins with (MQTT 5.0 section 4.8.2).
const SHARE: &str = "$share/";

/// A topic filter with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicPattern {
    levels: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    /// `+`
    One,
    /// `#`
    Rest,
    Text(Pieces),
}

impl TopicPattern {
    pub(super) fn parse(field: &str, text: &str) -> Result<Self, InvalidInput> {
        let wrong = || {
            let expected = "expected a topic filter such as plants/+/temperature";
            InvalidInput::new(field, format!("{expected}, found {text:?}"))
        };
        if text.is_empty() || text.len() > FILTER_BYTES_MAX || text.starts_with(SHARE) {
            return Err(wrong());
        }
        let last = text.split('/').count() - 1;
        let level = |(index, level): (usize, &str)| match level {
            "+" => Ok(Level::One),
            "#" if index == last => Ok(Level::Rest),
            text if text.contains(['+', '#', '\0']) => Err(wrong()),
            text => Pieces::parse(field, text).map(Level::Text),
        };
        let levels = text.split('/').enumerate().map(level).collect::<Result<_, _>>()?;
        Ok(Self { levels })
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.levels
            .iter()
            .filter_map(|level| match level {
                Level::Text(pieces) => Some(pieces.variables()),
                _ => None,
            })
            .flatten()
    }

    /// Whether a variable has a value that would be a wildcard or more than one level, or one of
    /// the server's own topics.
    pub(super) fn is_overreached(&self, values: Values<'_, '_>) -> bool {
        let value = |variable: &Variable| variable.value(values.request, values.role);
        let mut given = self.variables().filter_map(value);
        given.any(|value| value.contains(REFUSED) || value.starts_with('$'))
    }

    /// Whether this allows every topic that `requested`, a topic or a filter, stands for.
    pub(super) fn covers(&self, requested: &str, values: Values<'_, '_>) -> bool {
        let mut levels = plain(requested).split('/');
        let mut is_first = true;
        for level in &self.levels {
            let next = levels.next();
            let is_servers = is_first && next.is_some_and(|next| next.starts_with('$'));
            is_first = false;
            match (level, next) {
                // `a/#` stands for `a` too.
                (Level::Rest, _) => return !is_servers,
                (Level::One, Some(next)) if next != "#" && !is_servers => {}
                (Level::Text(pieces), Some(next)) if is_level(pieces, next, values) => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// Whether there is a topic that both this and `requested`, a topic or a filter, stand for.
    pub(super) fn touches(&self, requested: &str, values: Values<'_, '_>) -> bool {
        let mut levels = plain(requested).split('/');
        let mut is_first = true;
        for level in &self.levels {
            let next = levels.next();
            let ours = is_first && is_servers(level);
            let theirs = is_first && next.is_some_and(|next| next.starts_with('$'));
            is_first = false;
            match (level, next) {
                (Level::Rest, _) => return !theirs,
                (_, Some("#")) => return !ours,
                (Level::One, Some(_)) if !theirs => {}
                (Level::Text(_), Some("+")) if !ours => {}
                (Level::Text(pieces), Some(next)) if is_level(pieces, next, values) => {}
                _ => return false,
            }
        }
        matches!(levels.next(), None | Some("#"))
    }

    /// The filter with values in place of variables, to be read by people.
    pub(super) fn filled(&self, values: Values<'_, '_>) -> String {
        let mut filled = String::new();
        for (index, level) in self.levels.iter().enumerate() {
            if index > 0 {
                filled.push('/');
            }
            match level {
                Level::One => filled.push('+'),
                Level::Rest => filled.push('#'),
                Level::Text(pieces) => pieces.fill(values, Escape::Plain, &mut filled),
            }
        }
        filled
    }
}

/// What a shared subscription asks for beside its share.
fn plain(requested: &str) -> &str {
    let shared = requested.strip_prefix(SHARE).and_then(|rest| rest.split_once('/'));
    shared.map_or(requested, |(_, filter)| filter)
}

fn is_level(pieces: &Pieces, level: &str, values: Values<'_, '_>) -> bool {
    pieces.strip_front(level, values, Escape::Refuse(REFUSED)).is_some_and(str::is_empty)
}

/// Whether a rule's own first level names topics of the server.
fn is_servers(level: &Level) -> bool {
    matches!(level, Level::Text(pieces) if pieces.begins_with('$'))
}
