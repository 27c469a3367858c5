//! Whether a document is built as the official schema of its version says.

use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use crate::document::Version;
use crate::{Document, Pointer, SpecError, expected};

static V2_6: LazyLock<Option<Validator>> =
    LazyLock::new(|| compile(include_str!("../schemas/2.6.0.json")));
static V3_0: LazyLock<Option<Validator>> =
    LazyLock::new(|| compile(include_str!("../schemas/3.0.0.json")));
static V3_1: LazyLock<Option<Validator>> =
    LazyLock::new(|| compile(include_str!("../schemas/3.1.0.json")));

/// A schema of ours; `None` cannot happen, which a test shows.
fn compile(text: &str) -> Option<Validator> {
    let mut schema: Value = serde_json::from_str(text).ok()?;
    // A document of 2.0 to 2.5 is one of 2.6 that uses less.
    if schema.pointer("/properties/asyncapi/const") == Some(&"2.6.0".into()) {
        schema["properties"]["asyncapi"] = serde_json::json!({"type": "string"});
    }
    // Names with brackets are common in references; whether one leads anywhere is looked up.
    schema["definitions"]["ReferenceObject"]["format"].take();
    if let Some(reference) = schema["definitions"]["ReferenceObject"].as_object_mut() {
        reference.remove("format");
    }
    jsonschema::options().with_draft(jsonschema::Draft::Draft7).offline().build(&schema).ok()
}

/// What is wrong with the structure of a document.
pub(crate) fn errors(document: &Document) -> Vec<SpecError> {
    let validator = match document.version {
        Version::V2 => &V2_6,
        Version::V3_0 => &V3_0,
        Version::V3_1 => &V3_1,
    };
    let Some(validator) = validator.as_ref() else {
        return vec![document.error(Pointer::default(), "a schema that can be read")];
    };
    let mut errors: Vec<SpecError> = Vec::new();
    for error in validator.iter_errors(document.value()) {
        for (pointer, expected) in causes(&error) {
            let error = document.error(pointer, expected);
            if !errors.contains(&error) {
                errors.push(error);
            }
        }
    }
    errors
}

/// What is wrong in the alternative that the value comes closest to.
fn causes(error: &ValidationError<'_>) -> Vec<(Pointer, String)> {
    let alternatives = match error.kind() {
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            context.as_slice()
        }
        _ => &[],
    };
    let instance = error.instance();
    let is_reference = instance.get("$ref").is_some();
    let candidates = alternatives.iter().filter(|alternative| {
        is_reference || !alternative.iter().any(|error| is_missing_reference(error))
    });
    let closest = candidates.min_by_key(|alternative| {
        let shallow =
            alternative.iter().filter(|inner| inner.instance_path() == error.instance_path());
        (shallow.count(), alternative.len())
    });
    let Some(closest) = closest.filter(|alternative| !alternative.is_empty()) else {
        return expected::at(error);
    };
    closest.iter().flat_map(causes).collect()
}

fn is_missing_reference(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), ValidationErrorKind::Required { property } if property == "$ref")
}
