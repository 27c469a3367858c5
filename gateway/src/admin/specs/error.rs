//! What management clients are told when a change of what is registered is refused.

use async_graphql::{Error, ErrorExtensions as _, Value};
use eg_event::InvalidInput;
use serde_json::json;

use crate::admin::error::{Code, coded, invalid, registry, store};
use crate::specs::error::{Rejected, SpecsError};

/// The error of a refused list of changes; `place` says how the input names the change at a place.
pub(in crate::admin) fn rejected(rejected: Rejected, place: impl Fn(usize) -> String) -> Error {
    let prefix = rejected.place.map(place).unwrap_or_default();
    let text = format!("{prefix}{}", rejected.error);
    match rejected.error {
        SpecsError::Invalid(input) => {
            invalid(&InvalidInput::new(format!("{prefix}{}", input.field), input.detail))
        }
        SpecsError::Document(document) => {
            let errors = Value::from_json(errors(&document)).unwrap_or_default();
            coded(Code::InvalidData, &text).extend_with(|_, extensions| {
                extensions.set("field", format!("{prefix}spec.data"));
                extensions.set("errors", errors.clone());
            })
        }
        SpecsError::Reference(_) | SpecsError::Conflicts(_) => coded(Code::InvalidData, &text),
        SpecsError::NotUnique(..) => coded(Code::NotUnique, &text),
        SpecsError::NotFound(..) => coded(Code::NotFound, &text),
        SpecsError::NothingToFetch | SpecsError::Overtaken | SpecsError::TooMany { .. } => {
            coded(Code::InvalidOperation, &text)
        }
        SpecsError::Beside(error) => registry(error),
        SpecsError::Store(error) => store(&error),
        SpecsError::Secret(_) | SpecsError::Encode(_) => coded(Code::InternalError, &text),
    }
}

fn errors(invalid: &eg_spec::Invalid) -> serde_json::Value {
    let error = |error: &eg_spec::SpecError| {
        json!({
            "document": error.document,
            "pointer": error.pointer.as_str(),
            "line": error.position.map(|position| position.line),
            "column": error.position.map(|position| position.column),
            "expected": error.expected,
        })
    };
    invalid.errors.iter().map(error).collect()
}
