//! The CloudEvents SQL expression language (CESQL 1.0): an expression is parsed once and then
//! evaluated against the context attributes of event after event.
//!
//! ```
//! use eg_event::cesql::{Expression, Value};
//! let expression = Expression::parse("type LIKE 'order.%' AND NOT EXISTS testrun")?;
//! let mut builder = eg_event::CloudEvent::builder();
//! for (name, text) in [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "order.new")] {
//!     builder.attribute(name, text).unwrap();
//! }
//! let event = builder.build().unwrap();
//! let evaluation = expression.evaluate(&event);
//! assert_eq!(evaluation.value, Value::Boolean(true));
//! assert!(evaluation.errors.is_empty());
//! # Ok::<(), eg_event::cesql::SyntaxError>(())
//! ```

mod cast;
mod error;
mod evaluate;
mod function;
mod lexer;
mod like;
mod parser;
mod tree;
mod value;

use std::fmt;
use std::sync::Arc;

pub(crate) use error::shortened;
pub use error::{EvaluationError, SyntaxError};
pub use value::{Kind, Value};

use crate::event::CloudEvent;
use evaluate::Evaluator;
use tree::Node;

/// The longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 16 * 1024;
/// The deepest nesting of an expression, in levels: operators, calls and parentheses within one
/// another. Operators of one precedence side by side are one level, however many they are.
pub const DEPTH_MAX: usize = 64;
/// The longest text that a function may put together, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// A parsed expression; clones share it.
#[derive(Clone)]
pub struct Expression(Arc<Parsed>);

struct Parsed {
    source: Box<str>,
    root: Node,
    /// The first call of a function that does not exist.
    missing_function: Option<SyntaxError>,
}

/// What an expression comes to: always a value, and whatever went wrong on the way there.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation<'a> {
    /// The value; after an error, the one that the specification sets in its place.
    pub value: Value<'a>,
    /// What went wrong, in the order of evaluation.
    pub errors: Vec<EvaluationError>,
}

impl Expression {
    /// Reads an expression of at most [`EXPRESSION_BYTES_MAX`] bytes and [`DEPTH_MAX`] levels.
    ///
    /// A function that does not exist is no error of syntax: it shows when it is evaluated (3.5),
    /// or by [`Expression::check_functions`].
    pub fn parse(source: &str) -> Result<Self, SyntaxError> {
        let (root, missing_function) = parser::parse(source)?;
        Ok(Self(Arc::new(Parsed { source: source.into(), root, missing_function })))
    }

    /// The text that was parsed.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Whether every function that is called exists with that number of arguments; the error has
    /// the place of the first that does not.
    pub fn check_functions(&self) -> Result<(), SyntaxError> {
        self.0.missing_function.clone().map_or(Ok(()), Err)
    }

    /// The value for `event` and all errors ("complete evaluation mode", 4.1).
    #[must_use]
    pub fn evaluate<'a>(&'a self, event: &'a CloudEvent) -> Evaluation<'a> {
        let mut evaluator = Evaluator::complete(event);
        let value = evaluator.evaluate(&self.0.root).unwrap_or_else(|stand_in| stand_in);
        Evaluation { value, errors: evaluator.into_errors() }
    }

    /// Whether `event` passes when the expression is a filter: no error, and a value that is true
    /// as a Boolean (CloudEvents Subscriptions API, 3.2.4.1.2; CESQL 1.0 itself, in 1.2, would have
    /// the value be a Boolean already).
    #[must_use]
    pub fn lets_pass(&self, event: &CloudEvent) -> bool {
        Evaluator::fail_fast(event)
            .evaluate(&self.0.root)
            .is_ok_and(|value| value.to_boolean() == Some(true))
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source()).finish()
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source())
    }
}
