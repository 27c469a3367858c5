//! Why a filter does not let an event pass, in a sentence for the event's journey.

use super::{Comparison, Filter, attribute_text, begins, ends, equals};
use crate::cesql::{EvaluationError, Expression, Kind, shortened};
use crate::event::CloudEvent;

/// How many of the filters in an `any` are explained.
const REASONS_MAX: usize = 3;
/// How much of a text is shown, in characters.
const TEXT_CHARS_MAX: usize = 64;
/// The longest explanation, in characters.
const SENTENCE_CHARS_MAX: usize = 512;

impl Filter {
    /// Why `event` does not pass; `None` when it does. Names the dialect and the attribute, what
    /// was expected and what was found; long texts are shortened.
    #[must_use]
    pub fn explain(&self, event: &CloudEvent) -> Option<String> {
        let reason = self.reason(event)?;
        Some(shortened(&reason, SENTENCE_CHARS_MAX).into_owned())
    }

    fn reason(&self, event: &CloudEvent) -> Option<String> {
        match self {
            Self::Exact(list) => differing("exact", list, event, equals),
            Self::Prefix(list) => differing("prefix", list, event, begins),
            Self::Suffix(list) => differing("suffix", list, event, ends),
            Self::All(filters) => {
                let reason = filters.iter().find_map(|filter| filter.reason(event))?;
                Some(format!("all: {reason}"))
            }
            Self::Any(filters) => none_passes(filters, event),
            Self::Not(filter) => filter.matches(event).then(|| {
                let passed = filter.to_json().to_string();
                format!("not: the event passes {}", shortened(&passed, TEXT_CHARS_MAX))
            }),
            Self::Sql(expression) => untrue(expression, event),
        }
    }
}

/// The first comparison that does not hold.
fn differing(
    dialect: &str,
    list: &[Comparison],
    event: &CloudEvent,
    test: fn(&str, &str) -> bool,
) -> Option<String> {
    let Comparison { attribute, text } = list.iter().find(|c| !c.holds(event, test))?;
    let expected = shortened(text, TEXT_CHARS_MAX);
    Some(match attribute_text(event, attribute) {
        Some(found) => format!(
            "{dialect} {attribute}: expected {expected:?}, found {:?}",
            shortened(&found, TEXT_CHARS_MAX)
        ),
        None => format!("{dialect} {attribute}: expected {expected:?}, found no such attribute"),
    })
}

fn none_passes(filters: &[Filter], event: &CloudEvent) -> Option<String> {
    let reasons: Option<Vec<String>> = filters.iter().map(|f| f.reason(event)).collect();
    let reasons = reasons?;
    let (shown, more) = reasons.split_at(reasons.len().min(REASONS_MAX));
    let sentence = format!("any: {}", shown.join("; "));
    Some(match more.len() {
        0 => sentence,
        more => format!("{sentence}; and {more} more"),
    })
}

fn untrue(expression: &Expression, event: &CloudEvent) -> Option<String> {
    let evaluation = expression.evaluate(event);
    if let Some(error) = evaluation.errors.first() {
        return Some(format!("sql: error: {error}"));
    }
    let value = evaluation.value;
    match value.to_boolean() {
        Some(true) => None,
        Some(false) => Some(format!("sql: evaluated to {value}")),
        None => {
            let error = EvaluationError::cast(&value, Kind::Boolean);
            Some(format!("sql: error: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event() -> CloudEvent {
        let mut builder = CloudEvent::builder();
        for (name, text) in [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/shop/eu"),
            ("type", "order.deleted"),
            ("long", &"x".repeat(100)),
        ] {
            builder.attribute(name, text).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn a_filter_says_why_an_event_does_not_pass() {
        let long = format!("sql: error: cannot cast \"{}...\" to Integer", "x".repeat(64));
        let rows = [
            (
                json!({"exact": {"source": "/shop/eu", "type": "order.created"}}),
                r#"exact type: expected "order.created", found "order.deleted""#,
            ),
            (
                json!({"exact": {"region": "eu"}}),
                r#"exact region: expected "eu", found no such attribute"#,
            ),
            (
                json!({"prefix": {"type": "invoice."}}),
                r#"prefix type: expected "invoice.", found "order.deleted""#,
            ),
            (
                json!({"suffix": {"source": "/us"}}),
                r#"suffix source: expected "/us", found "/shop/eu""#,
            ),
            (
                json!({"all": [{"prefix": {"type": "order."}}, {"exact": {"id": "2"}}]}),
                r#"all: exact id: expected "2", found "1""#,
            ),
            (
                json!({"any": [{"exact": {"id": "2"}}, {"sql": "FALSE"}]}),
                r#"any: exact id: expected "2", found "1"; sql: evaluated to false"#,
            ),
            (
                json!({"any": [{"sql": "0"}, {"sql": "1 - 1"}, {"sql": "'false'"}, {"sql": "0"}, {"sql": "0"}]}),
                r#"any: sql: evaluated to 0; sql: evaluated to 0; sql: evaluated to "false"; and 2 more"#,
            ),
            (
                json!({"not": {"exact": {"id": "1"}}}),
                r#"not: the event passes {"exact":{"id":"1"}}"#,
            ),
            (json!({"sql": "type = 'x'"}), "sql: evaluated to false"),
            (json!({"sql": "x = 1"}), r#"sql: error: missing attribute "x""#),
            (json!({"sql": "1 / 0 = 1"}), "sql: error: 1 / 0: division by zero"),
            (json!({"sql": "type"}), r#"sql: error: cannot cast "order.deleted" to Boolean"#),
            (json!({"sql": "-long"}), &*long),
        ];
        for (filter, expected) in rows {
            let parsed: Filter = serde_json::from_value(filter.clone()).unwrap();
            assert_eq!(parsed.explain(&event()).as_deref(), Some(expected), "{filter}");
            assert!(!parsed.matches(&event()), "{filter}");
        }
    }

    #[test]
    fn a_filter_that_lets_an_event_pass_has_nothing_to_say() {
        for filter in [
            json!({"exact": {"id": "1"}}),
            json!({"prefix": {"type": "order."}}),
            json!({"suffix": {"type": ".deleted"}}),
            json!({"all": [{"exact": {"id": "1"}}]}),
            json!({"any": [{"exact": {"id": "2"}}, {"exact": {"id": "1"}}]}),
            json!({"not": {"sql": "x = 1"}}),
            json!({"sql": "EXISTS id"}),
            json!({"sql": "'TRUE'"}),
        ] {
            let parsed: Filter = serde_json::from_value(filter.clone()).unwrap();
            assert_eq!(parsed.explain(&event()), None, "{filter}");
            assert!(parsed.matches(&event()), "{filter}");
        }
    }

    #[test]
    fn an_explanation_is_short_whatever_the_filter() {
        let mut filter = json!({"exact": {"id": "y".repeat(1000)}});
        for _ in 0..8 {
            filter = json!({"any": [filter, {"exact": {"long": "z"}}, {"sql": "FALSE"}]});
        }
        let parsed: Filter = serde_json::from_value(filter).unwrap();
        let sentence = parsed.explain(&event()).unwrap();
        assert!(sentence.chars().count() <= SENTENCE_CHARS_MAX + 3, "{sentence}");
    }
}
