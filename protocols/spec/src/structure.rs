//! Whether a document is built as the official schema of its version says.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::document::Version;
use crate::expected::causes;
use crate::{Document, Pointer, SpecError};

static V2_6: LazyLock<Option<Validator>> =
    LazyLock::new(|| compile(include_str!("../schemas/2.6.0.json")));
static V3_0: LazyLock<Option<Validator>> =
    LazyLock::new(|| compile(include_str!("../schemas/3.0.0.json")));
static V3_1: LazyLock<Option<Validator>> =
    LazyLock::new(|| compile(include_str!("../schemas/3.1.0.json")));

/// How many errors are gathered, to tell how many are not told.
const ERRORS_MAX: usize = 1000;

/// A schema of ours; `None` cannot happen, which a test shows.
fn compile(text: &str) -> Option<Validator> {
    let mut schema: Value = serde_json::from_str(text).ok()?;
    // Which versions there are is known already; one of 2.0 to 2.5 is one of 2.6 that uses less.
    schema["properties"]["asyncapi"] = json!({"type": "string"});
    // Names with brackets are common in references; whether one leads anywhere is looked up.
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
    for cause in validator.iter_errors(document.value()).flat_map(|error| causes(&error)) {
        let error = document.error(cause.pointer, cause.expected);
        if errors.len() > ERRORS_MAX {
            break;
        }
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
    errors
}
