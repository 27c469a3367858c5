//! What can be wrong with an expression, when it is read and when it is evaluated (CESQL 1.0, 3.3).

use std::borrow::Cow;

use super::value::{Kind, Value};

/// How much of a text an error shows, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// An expression that is not of the language.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: expected {expected}, found {found}")]
pub struct SyntaxError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What the grammar asks for there.
    pub expected: Cow<'static, str>,
    /// What stands there instead, shortened.
    pub found: String,
}

impl SyntaxError {
    /// Says that at the byte `at` of `source`, where `found` stands, something else was expected.
    pub(super) fn new(
        source: &str,
        at: usize,
        expected: impl Into<Cow<'static, str>>,
        found: &str,
    ) -> Self {
        let before = source.get(..at).unwrap_or(source);
        let found = if found.is_empty() {
            "the end".to_owned()
        } else {
            format!("{:?}", shortened(found, SHOWN_CHARS_MAX))
        };
        Self { column: before.chars().count() + 1, expected: expected.into(), found }
    }
}

/// What went wrong while an expression was evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// A calculation has no result of 32 bits (`MathError`).
    #[error("{calculation}: {problem}")]
    Math {
        /// The calculation, such as `7 / 0`.
        calculation: String,
        /// Why it has no result.
        problem: &'static str,
    },
    /// A value has no counterpart in another type (`CastError`).
    #[error("cannot cast {value} to {to}")]
    Cast {
        /// The value, as a literal, shortened.
        value: String,
        /// The type that was asked for.
        to: Kind,
    },
    /// The event does not have the attribute (`MissingAttributeError`).
    #[error("missing attribute {name:?}")]
    MissingAttribute {
        /// The attribute.
        name: String,
    },
    /// There is no such function, or not with that number of arguments (`MissingFunctionError`).
    #[error("missing function {name} with {arguments} arguments")]
    MissingFunction {
        /// The function, in upper case.
        name: String,
        /// How many arguments it was called with.
        arguments: usize,
    },
    /// A function cannot work with its arguments (`FunctionEvaluationError`).
    #[error("{function}: expected {expected}")]
    FunctionEvaluation {
        /// The function.
        function: &'static str,
        /// What the function asks of its arguments.
        expected: Cow<'static, str>,
    },
}

impl EvaluationError {
    /// Says that `value` cannot be cast to `to`.
    pub(crate) fn cast(value: &Value<'_>, to: Kind) -> Self {
        let value = match value {
            Value::String(text) => format!("{:?}", shortened(text, SHOWN_CHARS_MAX)),
            other => other.to_string(),
        };
        Self::Cast { value, to }
    }
}

/// The first characters of `text`, with an ellipsis when there are more than `chars_max`.
pub(crate) fn shortened(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_sentences() {
        let error = SyntaxError::new("\u{e9} = )", 5, "an expression", ")");
        assert_eq!(error.to_string(), "column 5: expected an expression, found \")\"");
        let error = SyntaxError::new("a =", 3, "an expression", "");
        assert_eq!(error.to_string(), "column 4: expected an expression, found the end");
        let error = EvaluationError::cast(&Value::String("x".repeat(70).into()), Kind::Integer);
        assert_eq!(error.to_string(), format!("cannot cast \"{}...\" to Integer", "x".repeat(64)));
    }
}
