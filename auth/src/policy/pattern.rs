//! Patterns of names, types and sources: a text with variables and at most one `*`.

use eg_event::InvalidInput;

use super::request::Request;
use super::variable::Variable;

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;

/// How the value of a variable stands in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// As it is.
    Plain,
    /// Percent-encoded (RFC 3986 section 2.1), `/` included: in sources.
    Percent,
    /// As it is, and one that has any of these characters stands for nothing: it would reach
    /// across the places that the pattern separates.
    Refuse(&'static [char]),
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<str>),
    Variable(Variable),
}

/// A text with variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pieces(Vec<Piece>);

/// A text with variables and at most one `*`, which stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    head: Pieces,
    /// What follows the `*`.
    tail: Option<Pieces>,
    escape: Escape,
}

/// What variables stand for while one pattern is looked at.
#[derive(Clone, Copy)]
pub(super) struct Values<'r, 'a> {
    pub(super) request: &'r Request<'a>,
    /// The role that `${role}` stands for.
    pub(super) role: Option<&'a str>,
}

impl Pieces {
    pub(super) fn parse(field: &str, text: &str) -> Result<Self, InvalidInput> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            let (name, after) = after.split_once('}').ok_or_else(|| {
                InvalidInput::new(field, format!("expected }} after ${{, found {text:?}"))
            })?;
            pieces.push(Piece::Variable(Variable::parse(field, name)?));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Self(pieces))
    }

    /// Whether the text before any variable begins with `character`.
    pub(super) fn begins_with(&self, character: char) -> bool {
        matches!(self.0.first(), Some(Piece::Text(text)) if text.starts_with(character))
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(variable),
            Piece::Text(_) => None,
        })
    }

    /// What remains of `text` behind these pieces, if it begins with them.
    pub(super) fn strip_front<'t>(
        &self,
        mut text: &'t str,
        values: Values<'_, '_>,
        escape: Escape,
    ) -> Option<&'t str> {
        for piece in &self.0 {
            text = match piece {
                Piece::Text(expected) => text.strip_prefix(&**expected)?,
                Piece::Variable(variable) => {
                    let value = variable.value(values.request, values.role)?;
                    let end = written_bytes(value, escape);
                    let (front, rest) = text.split_at_checked(end)?;
                    is_written(front, value, escape).then_some(rest)?
                }
            };
        }
        Some(text)
    }

    /// What remains of `text` before these pieces, if it ends with them.
    fn strip_back<'t>(
        &self,
        mut text: &'t str,
        values: Values<'_, '_>,
        escape: Escape,
    ) -> Option<&'t str> {
        for piece in self.0.iter().rev() {
            text = match piece {
                Piece::Text(expected) => text.strip_suffix(&**expected)?,
                Piece::Variable(variable) => {
                    let value = variable.value(values.request, values.role)?;
                    let begin = text.len().checked_sub(written_bytes(value, escape))?;
                    let (rest, back) = text.split_at_checked(begin)?;
                    is_written(back, value, escape).then_some(rest)?
                }
            };
        }
        Some(text)
    }

    /// The text with values in place of variables; a variable without a value stays.
    pub(super) fn fill(&self, values: Values<'_, '_>, escape: Escape, filled: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Variable(variable) => match variable.value(values.request, values.role) {
                    Some(value) if escape == Escape::Percent => {
                        value.bytes().for_each(|byte| push_encoded(filled, byte));
                    }
                    Some(value) => filled.push_str(value),
                    None => filled.push_str(&variable.to_string()),
                },
            }
        }
    }
}

impl Pattern {
    pub(super) fn parse(field: &str, text: &str, escape: Escape) -> Result<Self, InvalidInput> {
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
            let detail = format!("expected a pattern of 1 to {PATTERN_BYTES_MAX} bytes");
            return Err(InvalidInput::new(field, detail));
        }
        let (head, tail) = match text.split_once('*') {
            Some((head, tail)) => (head, Some(tail)),
            None => (text, None),
        };
        if tail.is_some_and(|tail| tail.contains('*')) {
            let detail = format!("expected at most one *, found {text:?}");
            return Err(InvalidInput::new(field, detail));
        }
        let tail = tail.map(|tail| Pieces::parse(field, tail)).transpose()?;
        Ok(Self { head: Pieces::parse(field, head)?, tail, escape })
    }

    /// Whether `text` is what the pattern says.
    pub(super) fn matches(&self, text: &str, values: Values<'_, '_>) -> bool {
        let Some(rest) = self.head.strip_front(text, values, self.escape) else { return false };
        match &self.tail {
            None => rest.is_empty(),
            Some(tail) => tail.strip_back(rest, values, self.escape).is_some(),
        }
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.head.variables().chain(self.tail.iter().flat_map(Pieces::variables))
    }

    /// Whether a variable has a value that reaches across what the pattern separates.
    pub(super) fn is_overreached(&self, values: Values<'_, '_>) -> bool {
        let Escape::Refuse(characters) = self.escape else { return false };
        let value = |variable: &Variable| variable.value(values.request, values.role);
        self.variables().filter_map(value).any(|value| value.contains(characters))
    }

    /// The pattern with values in place of variables, to be read by people.
    pub(super) fn filled(&self, values: Values<'_, '_>) -> String {
        let mut filled = String::new();
        self.head.fill(values, self.escape, &mut filled);
        if let Some(tail) = &self.tail {
            filled.push('*');
            tail.fill(values, self.escape, &mut filled);
        }
        filled
    }
}

/// How many bytes `value` takes when it is written.
fn written_bytes(value: &str, escape: Escape) -> usize {
    match escape {
        Escape::Percent => value.bytes().map(|byte| if is_unreserved(byte) { 1 } else { 3 }).sum(),
        Escape::Plain | Escape::Refuse(_) => value.len(),
    }
}

/// Whether `text` is how `value` is written.
fn is_written(text: &str, value: &str, escape: Escape) -> bool {
    match escape {
        Escape::Plain => text == value,
        Escape::Refuse(characters) => text == value && !value.contains(characters),
        Escape::Percent => {
            let mut text = text.bytes();
            let mut is_next = |expected| text.next() == Some(expected);
            value.bytes().all(|byte| {
                if is_unreserved(byte) {
                    return is_next(byte);
                }
                is_next(b'%') && is_next(hex(byte >> 4)) && is_next(hex(byte & 15))
            })
        }
    }
}

/// RFC 3986 section 2.3.
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn push_encoded(filled: &mut String, byte: u8) {
    if is_unreserved(byte) {
        return filled.push(char::from(byte));
    }
    filled.extend(['%', char::from(hex(byte >> 4)), char::from(hex(byte & 15))]);
}

fn hex(digit: u8) -> u8 {
    b"0123456789ABCDEF"[usize::from(digit & 15)]
}
