//! Payloads, checked against what their message declares.

use std::fmt;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use crate::expected::{self, Cause, causes};
use crate::streamed::Streamed;
use crate::{Location, Pointer, Schema, SchemaFormat, applied};

/// How often a pattern may go back before it counts as not matched.
const BACKTRACKS_MAX: usize = 100_000;
/// How large a compiled pattern may be.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A payload's schema, ready to check payloads.
pub struct PayloadSchema {
    schema: Schema,
    validator: Validator,
    /// The same, where payloads can be checked without building values.
    streamed: Option<Streamed>,
    depth_max: usize,
    violations_max: usize,
}

/// Why payloads cannot be checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The schema is in a language that is not checked here; the message is as good as any.
    #[error("schemas in {0} are not checked")]
    Unsupported(String),
    /// The schema is not one.
    #[error("expected {expected} in the schema at \"{}\"", .at.pointer)]
    Invalid {
        /// Where in the document.
        at: Location,
        /// What was expected.
        expected: String,
    },
}

/// What is wrong with a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The value in the payload.
    pub pointer: Pointer,
    /// The keyword that it fails, in the document.
    pub schema_pointer: Location,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at \"{}\": expected {}", self.pointer, self.expected)
    }
}

impl fmt::Debug for PayloadSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadSchema").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PayloadSchema {
    /// Prepares to check payloads; of each, at most `violations_max` violations are told.
    ///
    /// # Errors
    /// The schema's language is not checked here, or it is not a schema.
    pub fn compile(schema: &Schema, violations_max: usize) -> Result<Self, CompileError> {
        if !matches!(schema.format(), SchemaFormat::AsyncApi | SchemaFormat::JsonSchema) {
            let name = schema.format_name().unwrap_or_default().to_owned();
            return Err(CompileError::Unsupported(name));
        }
        let invalid = |pointer: &str, expected| CompileError::Invalid {
            at: schema.origin(pointer),
            expected,
        };
        let depth_max = applied::depth_max(schema)
            .map_err(|(pointer, expected)| invalid(&pointer, expected))?;
        let patterns = PatternOptions::fancy_regex()
            .backtrack_limit(BACKTRACKS_MAX)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX);
        let validator = jsonschema::options()
            .with_draft(Draft::Draft7)
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .should_ignore_unknown_formats(true)
            .offline()
            .build(schema.value())
            .map_err(|error| {
                // The error names a place in the schema, by which it is itself the value.
                invalid(error.instance_path().as_str(), expected::of(error.kind()))
            })?;
        let violations_max = violations_max.max(1);
        let streamed = Streamed::of(schema).filter(|_| depth_max == applied::DEPTH_MAX);
        Ok(Self { schema: schema.clone(), validator, streamed, depth_max, violations_max })
    }

    /// Whether a payload is seen to be all right at once; if not, it may be so all the same.
    #[must_use]
    pub fn passes(&self, payload: &[u8]) -> bool {
        self.streamed.as_ref().is_some_and(|streamed| streamed.passes(payload))
    }

    /// Checks a payload. Time is bounded: patterns give up, references that apply again to the same
    /// value were refused before, and where a recursive schema looks at values more than once,
    /// payloads may not be deep.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validate(&self, payload: &[u8]) -> Result<(), Vec<Violation>> {
        if self.passes(payload) {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(payload).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            vec![Violation {
                pointer: Pointer::default(),
                schema_pointer: self.schema.origin("/definitions/0"),
                expected: format!("JSON; it ends being that at line {line} column {column}"),
            }]
        })?;
        self.validate_value(&value)
    }

    /// Checks a payload that was parsed before, for example an example.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validate_value(&self, value: &Value) -> Result<(), Vec<Violation>> {
        if deeper_than(value, self.depth_max) {
            return Err(vec![Violation {
                pointer: Pointer::default(),
                schema_pointer: self.schema.origin("/definitions/0"),
                expected: format!("at most {} values inside one another", self.depth_max),
            }]);
        }
        if self.validator.is_valid(value) {
            return Ok(());
        }
        let causes = self.validator.iter_errors(value).flat_map(|error| causes(&error));
        let violations = causes.map(|Cause { pointer, keyword, expected }| Violation {
            pointer,
            schema_pointer: self.schema.origin(&keyword),
            expected,
        });
        Err(violations.take(self.violations_max).collect())
    }
}

fn deeper_than(value: &Value, max: usize) -> bool {
    let inside = |value: &Value| max == 0 || deeper_than(value, max - 1);
    match value {
        Value::Array(items) => items.iter().any(inside),
        Value::Object(members) => members.values().any(inside),
        _ => false,
    }
}
