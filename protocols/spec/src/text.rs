//! A text that was read: its value, and where each part of it stands.

use std::collections::HashMap;

use serde_json::Value;

use crate::{Invalid, Limits, Pointer, SpecError, json, yaml};

/// A place in a text; both count from one, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2 with merge keys.
    Yaml,
    /// JSON (RFC 8259).
    Json,
}

impl Format {
    /// JSON when the text begins like an object of JSON.
    #[must_use]
    pub fn guess(text: &[u8]) -> Self {
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(&b'{') { Self::Json } else { Self::Yaml }
    }
}

/// Where a value stands, and where its parts do.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) position: Position,
    pub(crate) parts: Parts,
}

/// The places of what a value is made of.
#[derive(Debug, Clone)]
pub(crate) enum Parts {
    None,
    Items(Vec<Place>),
    Members(HashMap<String, Place>),
}

/// A text that was read: its value, and where each part of it stands.
#[derive(Debug, Clone)]
pub struct Text {
    pub(crate) value: Value,
    place: Place,
}

/// What is wrong with the text as such.
pub(crate) struct Malformed {
    pub(crate) position: Option<Position>,
    pub(crate) expected: String,
}

impl Malformed {
    pub(crate) fn at(position: Position, expected: impl Into<String>) -> Self {
        Self { position: Some(position), expected: expected.into() }
    }
}

impl Text {
    /// Reads a text within the limits.
    pub(crate) fn read(text: &[u8], format: Format, limits: &Limits) -> Result<Self, Invalid> {
        Self::values(text, format, limits).map_err(invalid)
    }

    fn values(text: &[u8], format: Format, limits: &Limits) -> Result<Self, Malformed> {
        let text = decoded(text, limits)?;
        let (value, place) = match format {
            Format::Json => json::read(text, limits)?,
            Format::Yaml => yaml::read(text, limits)?,
        };
        Ok(Self { value, place })
    }

    /// Reads every document of a text: of YAML there may be several, up to `documents_max`.
    ///
    /// # Errors
    /// What is wrong with the text as such, and where.
    ///
    /// ```
    /// use eg_spec::{Limits, Pointer, Text};
    /// let all = Text::read_all(b"a: 1\n---\nb: {c: 2}\n", &Limits::default(), 10).unwrap();
    /// let c = Pointer::parse("/b/c").unwrap();
    /// assert_eq!((all[1].value()["b"]["c"].as_i64(), all[1].position(&c).line), (Some(2), 3));
    /// ```
    pub fn read_all(
        text: &[u8],
        limits: &Limits,
        documents_max: usize,
    ) -> Result<Vec<Self>, Invalid> {
        let read = |text: &str| match Format::guess(text.as_bytes()) {
            Format::Json => json::read(text, limits).map(|read| vec![read]),
            Format::Yaml => yaml::read_all(text, limits, documents_max),
        };
        let all = decoded(text, limits).and_then(read).map_err(invalid)?;
        Ok(all.into_iter().map(|(value, place)| Self { value, place }).collect())
    }

    /// What was read.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Where a value stands; for one that is missing, where it is missed.
    #[must_use]
    pub fn position(&self, pointer: &Pointer) -> Position {
        let mut place = &self.place;
        for step in pointer.steps() {
            let part = match &place.parts {
                Parts::None => None,
                Parts::Items(items) => step.parse().ok().and_then(|index: usize| items.get(index)),
                Parts::Members(members) => members.get(&step),
            };
            let Some(part) = part else { break };
            place = part;
        }
        place.position
    }
}

fn decoded<'a>(text: &'a [u8], limits: &Limits) -> Result<&'a str, Malformed> {
    let max = limits.document_bytes_max;
    if text.len() > max {
        let expected = format!("a document of at most {max} bytes, not {}", text.len());
        return Err(Malformed { position: None, expected });
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let valid = String::from_utf8_lossy(&text[..error.valid_up_to()]);
        Malformed::at(position_at_end(&valid), "UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn invalid(malformed: Malformed) -> Invalid {
    let Malformed { position, expected } = malformed;
    Invalid::one(SpecError { document: None, pointer: Pointer::default(), position, expected })
}

/// The place right behind a text.
pub(crate) fn position_at_end(text: &str) -> Position {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Position { line, column }
}
