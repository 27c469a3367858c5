//! The three types of CESQL and their values (CESQL 1.0, 3.1).

use std::borrow::Cow;
use std::fmt;

/// A type of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Boolean,
    /// A whole number of 32 bits with a sign.
    Integer,
    /// Unicode text.
    String,
}

impl Kind {
    /// The value that stands in where an error left none.
    #[must_use]
    pub fn zero(self) -> Value<'static> {
        match self {
            Self::Boolean => Value::Boolean(false),
            Self::Integer => Value::Integer(0),
            Self::String => Value::String(Cow::Borrowed("")),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "Boolean",
            Self::Integer => "Integer",
            Self::String => "String",
        })
    }
}

/// A value of the language; text is borrowed from the event or the expression where it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i32),
    /// Text.
    String(Cow<'a, str>),
}

impl Value<'_> {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Boolean(_) => Kind::Boolean,
            Self::Integer(_) => Kind::Integer,
            Self::String(_) => Kind::String,
        }
    }

    /// The same value, its text borrowed from this one.
    pub(super) fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Boolean(truth) => Value::Boolean(*truth),
            Self::Integer(number) => Value::Integer(*number),
            Self::String(text) => Value::String(Cow::Borrowed(text)),
        }
    }
}

impl fmt::Display for Value<'_> {
    /// As a literal of the language would show it: text in quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(truth) => write!(f, "{truth}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::String(text) => write!(f, "{text:?}"),
        }
    }
}
