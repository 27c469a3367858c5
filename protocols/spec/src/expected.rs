//! What a JSON Schema expected where a value fails it, in words that do not repeat the value.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use crate::Pointer;

/// The longest list of allowed values that is told.
const OPTIONS_MAX: usize = 12;

/// One thing that is wrong with a value.
pub(crate) struct Cause {
    /// The part of the value.
    pub(crate) pointer: Pointer,
    /// The keyword that it fails.
    pub(crate) keyword: String,
    /// What was expected.
    pub(crate) expected: String,
}

/// What is wrong: of several forms that are allowed, by the one that the value comes closest to.
/// One for each member that should not be there.
pub(crate) fn causes(error: &ValidationError<'_>) -> Vec<Cause> {
    if let Some(closest) = closest(error) {
        return closest.iter().flat_map(causes).collect();
    }
    let pointer = Pointer::parse(error.instance_path().as_str()).unwrap_or_default();
    let keyword = error.schema_path().as_str();
    let cause = |pointer, expected| Cause { pointer, keyword: keyword.to_owned(), expected };
    if let ValidationErrorKind::AdditionalProperties { unexpected }
    | ValidationErrorKind::UnevaluatedProperties { unexpected } = error.kind()
    {
        let surplus = unexpected.iter();
        return surplus
            .map(|name| cause(pointer.join(name), format!("no member {name:?}")))
            .collect();
    }
    vec![cause(pointer, of(error.kind()))]
}

/// The form that a value comes closest to: the one that fails deepest, and least.
fn closest<'e>(error: &'e ValidationError<'_>) -> Option<&'e [ValidationError<'static>]> {
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) =
        error.kind()
    else {
        return None;
    };
    // A reference is an allowed form almost everywhere; who writes none did not mean one.
    let is_reference = error.instance().get("$ref").is_some();
    let meant = context.iter().filter(|form| is_reference || !form.iter().any(lacks_reference));
    let closest = meant.min_by_key(|form| {
        let shallow = form.iter().filter(|inner| inner.instance_path() == error.instance_path());
        (shallow.count(), form.len())
    });
    closest.map(Vec::as_slice).filter(|form| !form.is_empty())
}

fn lacks_reference(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), ValidationErrorKind::Required { property } if property == "$ref")
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
