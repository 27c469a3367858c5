//! Payloads, checked against what their message declares.

use std::fmt;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use crate::expected::{self, Cause, causes};
use crate::{Location, Pointer, Schema, SchemaFormat};

/// How many schemas may apply to one value at once: more is refused when compiling.
const APPLIED_MAX: usize = 10_000;
/// How often a pattern may go back before it counts as not matched.
const BACKTRACKS_MAX: usize = 100_000;
/// How large a compiled pattern may be.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A payload's schema, ready to check payloads.
pub struct PayloadSchema {
    schema: Schema,
    validator: Validator,
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
        count_applied(schema).map_err(|(pointer, expected)| invalid(&pointer, expected))?;
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
        Ok(Self { schema: schema.clone(), validator, violations_max: violations_max.max(1) })
    }

    /// Checks a payload. Time is bounded by its size: patterns give up, and references that apply
    /// again to the same value were refused before.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validate(&self, payload: &[u8]) -> Result<(), Vec<Violation>> {
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

/// Keywords whose schemas apply to the same value.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];

/// Counts how many schemas apply to one value at once; a schema that applies to the same value
/// again, by a reference to itself, would never end.
fn count_applied(schema: &Schema) -> Result<(), (String, String)> {
    let definitions = schema.value().get("definitions").and_then(Value::as_object);
    let mut counts = Counts { schema, known: Vec::new() };
    for (name, definition) in definitions.into_iter().flatten() {
        counts
            .each(definition, &mut Vec::new())
            .map_err(|expected| (format!("/definitions/{name}"), expected))?;
    }
    Ok(())
}

struct Counts<'s> {
    schema: &'s Schema,
    /// Counts of definitions, by address.
    known: Vec<(&'s str, usize)>,
}

impl<'s> Counts<'s> {
    /// Counts for a value, and for every value in it.
    fn each(&mut self, value: &'s Value, open: &mut Vec<&'s str>) -> Result<(), String> {
        if value.is_object() {
            self.count(value, open)?;
        }
        match value {
            Value::Object(members) => {
                members.values().try_for_each(|member| self.each(member, open))
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.each(item, open)),
            _ => Ok(()),
        }
    }

    fn count(&mut self, value: &'s Value, open: &mut Vec<&'s str>) -> Result<usize, String> {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            return self.definition(reference, open);
        }
        let mut count = 1_usize;
        let mut add = |value: &'s Value, count: &mut usize| {
            *count = count.saturating_add(self.count(value, open)?);
            if *count > APPLIED_MAX {
                return Err(format!("at most {APPLIED_MAX} schemas for one value"));
            }
            Ok(())
        };
        for keyword in IN_PLACE {
            match value.get(keyword) {
                Some(Value::Array(parts)) => {
                    parts.iter().try_for_each(|part| add(part, &mut count))?;
                }
                Some(part) => add(part, &mut count)?,
                None => {}
            }
        }
        let dependencies = value.get("dependencies").and_then(Value::as_object);
        let mut parts = dependencies.into_iter().flatten();
        parts.try_for_each(|(_, part)| add(part, &mut count))?;
        Ok(count)
    }

    fn definition(&mut self, reference: &'s str, open: &mut Vec<&'s str>) -> Result<usize, String> {
        if let Some((_, count)) = self.known.iter().find(|(known, _)| *known == reference) {
            return Ok(*count);
        }
        if open.contains(&reference) {
            return Err("a schema that does not apply itself to the same value".to_owned());
        }
        let pointer = reference.strip_prefix('#').unwrap_or_default();
        let Some(definition) = self.schema.value().pointer(pointer) else { return Ok(0) };
        open.push(reference);
        let count = self.count(definition, open)?;
        open.pop();
        self.known.push((reference, count));
        Ok(count)
    }
}
