//! Why a document is refused: everything that is wrong with it, each at its place.

use std::fmt;

use crate::{Pointer, Position};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// The document, when it is not the one that was handed in: its URL.
    pub document: Option<String>,
    /// The value that is wrong.
    pub pointer: Pointer,
    /// Where it stands in the sender's text.
    pub position: Option<Position>,
    /// What was expected there.
    pub expected: String,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(document) = &self.document {
            write!(f, "{document} ")?;
        }
        if let Some(Position { line, column }) = self.position {
            write!(f, "line {line} column {column} ")?;
        }
        write!(f, "at \"{}\": expected {}", self.pointer, self.expected)
    }
}

/// Why a document is refused; has at least one error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(.errors, *.untold))]
pub struct Invalid {
    /// What is wrong, up to [`crate::Limits::errors_max`].
    pub errors: Vec<SpecError>,
    /// How many more there are.
    pub untold: usize,
}

impl Invalid {
    pub(crate) fn one(error: SpecError) -> Self {
        Self { errors: vec![error], untold: 0 }
    }

    /// `Ok` when nothing is wrong.
    pub(crate) fn unless_empty(mut errors: Vec<SpecError>, errors_max: usize) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        let untold = errors.len().saturating_sub(errors_max.max(1));
        errors.truncate(errors_max.max(1));
        Err(Self { errors, untold })
    }
}

fn told(errors: &[SpecError], untold: usize) -> String {
    let mut lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    if untold > 0 {
        lines.push(format!("and {untold} more"));
    }
    lines.join("\n")
}
