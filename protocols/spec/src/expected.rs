//! What a JSON Schema expected where a value fails it, in words that do not repeat the value.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use crate::Pointer;

/// The longest list of allowed values that is told.
const OPTIONS_MAX: usize = 12;

/// Where the value fails, and what was expected; one for each member that should not be there.
pub(crate) fn at(error: &ValidationError<'_>) -> Vec<(Pointer, String)> {
    let pointer = Pointer::parse(error.instance_path().as_str()).unwrap_or_default();
    if let ValidationErrorKind::AdditionalProperties { unexpected }
    | ValidationErrorKind::UnevaluatedProperties { unexpected } = error.kind()
    {
        let surplus =
            unexpected.iter().map(|name| (pointer.join(name), format!("no member {name:?}")));
        return surplus.collect();
    }
    vec![(pointer, of(error.kind()))]
}

/// What was expected.
pub(crate) fn of(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::AdditionalItems { limit } => format!("at most {limit} items"),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => "one of the allowed forms".to_owned(),
        Kind::OneOfMultipleValid { .. } => "exactly one of the allowed forms".to_owned(),
        Kind::Constant { expected_value } => expected_value.to_string(),
        Kind::Enum { options } => options_in_words(options),
        Kind::Contains => "an item of the required kind".to_owned(),
        Kind::ContentEncoding { content_encoding } => format!("text encoded as {content_encoding}"),
        Kind::ContentMediaType { content_media_type } => {
            format!("text of type {content_media_type}")
        }
        Kind::FalseSchema => "nothing".to_owned(),
        Kind::Format { format } => format!("the format {format:?}"),
        Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        Kind::Maximum { limit } => format!("at most {limit}"),
        Kind::Minimum { limit } => format!("at least {limit}"),
        Kind::MaxItems { limit } => format!("at most {limit} items"),
        Kind::MinItems { limit } => format!("at least {limit} items"),
        Kind::MaxLength { limit } => format!("at most {limit} characters"),
        Kind::MinLength { limit } => format!("at least {limit} characters"),
        Kind::MaxProperties { limit } => format!("at most {limit} members"),
        Kind::MinProperties { limit } => format!("at least {limit} members"),
        Kind::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
        Kind::Not { .. } => "not the forbidden form".to_owned(),
        Kind::Pattern { pattern } => format!("text that matches {pattern:?}"),
        Kind::PropertyNames { error } => format!("names of members with {}", of(error.kind())),
        Kind::Required { property } => format!("the member {property}"),
        Kind::Type { kind: TypeKind::Single(kind) } => a(&kind.to_string()),
        Kind::Type { kind: TypeKind::Multiple(kinds) } => {
            kinds.iter().map(|kind| a(&kind.to_string())).collect::<Vec<_>>().join(" or ")
        }
        Kind::UniqueItems => "items that differ".to_owned(),
        other => format!("what {:?} allows", other.keyword()),
    }
}

fn options_in_words(options: &Value) -> String {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    let told: Vec<String> = options.iter().take(OPTIONS_MAX).map(ToString::to_string).collect();
    let more = if options.len() > OPTIONS_MAX { ", ..." } else { "" };
    format!("one of {}{more}", told.join(", "))
}

fn a(kind: &str) -> String {
    match kind {
        "null" => "null".to_owned(),
        "array" | "object" | "integer" => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}
