//! Which events a subscription lets pass: the filter dialects of the CloudEvents Subscriptions
//! API (3.2.4): `exact`, `prefix`, `suffix`, `all`, `any`, `not`, `sql`.

mod explain;

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use crate::attribute::AttributeValue;
use crate::cesql::Expression;
use crate::event::{CloudEvent, SPEC_VERSION};
use crate::refusal::InvalidInput;

/// The deepest nesting of filters.
const DEPTH_MAX: usize = 16;
/// The most filters within one subscription.
const NODES_MAX: usize = 512;

/// One filter expression, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// The attribute's text is the given one.
    Exact(Vec<Comparison>),
    /// The attribute's text begins with the given one.
    Prefix(Vec<Comparison>),
    /// The attribute's text ends with the given one.
    Suffix(Vec<Comparison>),
    /// All of these let the event pass.
    All(Vec<Self>),
    /// At least one of these does.
    Any(Vec<Self>),
    /// This one does not.
    Not(Box<Self>),
    /// The expression is true as a Boolean, and nothing went wrong on the way there.
    Sql(Expression),
}

/// An attribute and the text that it is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The attribute's name.
    pub attribute: String,
    /// The text.
    pub text: String,
}

impl Filter {
    /// Reads a list of filters, as subscriptions hold them.
    pub fn parse_list(value: &Value) -> Result<Vec<Self>, InvalidInput> {
        let Value::Array(list) = value else {
            return Err(InvalidInput::new("filters", "expected a list of filters"));
        };
        let mut nodes = 0;
        let parse =
            |(index, value)| Self::parse_at(value, &format!("filters[{index}]"), 0, &mut nodes);
        list.iter().enumerate().map(parse).collect()
    }

    fn parse_at(
        value: &Value,
        path: &str,
        depth: usize,
        nodes: &mut usize,
    ) -> Result<Self, InvalidInput> {
        *nodes += 1;
        if depth > DEPTH_MAX || *nodes > NODES_MAX {
            return Err(InvalidInput::new(
                path,
                format!("expected at most {NODES_MAX} filters, nested at most {DEPTH_MAX} deep"),
            ));
        }
        let Some((dialect, body)) = value.as_object().and_then(single) else {
            return Err(InvalidInput::new(path, "expected an object with one member, the dialect"));
        };
        let path = format!("{path}.{dialect}");
        let mut nested = |body: &Value| -> Result<Vec<Self>, InvalidInput> {
            let list = body.as_array().filter(|list| !list.is_empty());
            let list = list
                .ok_or_else(|| InvalidInput::new(&*path, "expected a non-empty list of filters"))?;
            let parse = |(index, value)| {
                Self::parse_at(value, &format!("{path}[{index}]"), depth + 1, nodes)
            };
            list.iter().enumerate().map(parse).collect()
        };
        match dialect {
            "exact" => Ok(Self::Exact(comparisons(body, &path)?)),
            "prefix" => Ok(Self::Prefix(comparisons(body, &path)?)),
            "suffix" => Ok(Self::Suffix(comparisons(body, &path)?)),
            "all" => Ok(Self::All(nested(body)?)),
            "any" => Ok(Self::Any(nested(body)?)),
            "not" => Ok(Self::Not(Box::new(Self::parse_at(body, &path, depth + 1, nodes)?))),
            "sql" => Ok(Self::Sql(expression(body, &path)?)),
            _ => Err(InvalidInput::new(
                path,
                "expected one of the dialects exact, prefix, suffix, all, any, not, sql",
            )),
        }
    }

    /// Whether `event` passes.
    #[must_use]
    pub fn matches(&self, event: &CloudEvent) -> bool {
        match self {
            Self::Exact(list) => list.iter().all(|c| c.holds(event, equals)),
            Self::Prefix(list) => list.iter().all(|c| c.holds(event, begins)),
            Self::Suffix(list) => list.iter().all(|c| c.holds(event, ends)),
            Self::All(filters) => filters.iter().all(|filter| filter.matches(event)),
            Self::Any(filters) => filters.iter().any(|filter| filter.matches(event)),
            Self::Not(filter) => !filter.matches(event),
            Self::Sql(expression) => expression.lets_pass(event),
        }
    }

    /// The filter in the form of the Subscriptions API.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let compared = |list: &[Comparison]| -> Value {
            list.iter().map(|c| (c.attribute.clone(), Value::from(&*c.text))).collect()
        };
        let nested = |filters: &[Self]| -> Value { filters.iter().map(Self::to_json).collect() };
        let (dialect, body) = match self {
            Self::Exact(list) => ("exact", compared(list)),
            Self::Prefix(list) => ("prefix", compared(list)),
            Self::Suffix(list) => ("suffix", compared(list)),
            Self::All(filters) => ("all", nested(filters)),
            Self::Any(filters) => ("any", nested(filters)),
            Self::Not(filter) => ("not", filter.to_json()),
            Self::Sql(expression) => ("sql", Value::from(expression.source())),
        };
        Value::Object([(dialect.to_owned(), body)].into_iter().collect())
    }
}

impl Comparison {
    fn holds(&self, event: &CloudEvent, test: fn(&str, &str) -> bool) -> bool {
        attribute_text(event, &self.attribute).is_some_and(|found| test(&found, &self.text))
    }
}

fn equals(found: &str, text: &str) -> bool {
    found == text
}

fn begins(found: &str, text: &str) -> bool {
    found.starts_with(text)
}

fn ends(found: &str, text: &str) -> bool {
    found.ends_with(text)
}

/// The canonical text of the attribute `name`; `None` when the event does not have it.
#[must_use]
pub fn attribute_text<'a>(event: &'a CloudEvent, name: &str) -> Option<Cow<'a, str>> {
    if let Some(text) = defined_attribute(event, name) {
        return Some(Cow::Borrowed(text));
    }
    event.extension(name).map(|value| match value {
        AttributeValue::String(text) => Cow::Borrowed(&**text),
        other => Cow::Owned(other.to_string()),
    })
}

/// The attribute `name` when it is one that CloudEvents defines itself and the event has it.
pub(crate) fn defined_attribute<'a>(event: &'a CloudEvent, name: &str) -> Option<&'a str> {
    match name {
        "id" => Some(event.id()),
        "source" => Some(event.source()),
        "type" => Some(event.ty()),
        "specversion" => Some(SPEC_VERSION),
        "subject" => event.subject(),
        "time" => event.time(),
        "datacontenttype" => event.datacontenttype(),
        "dataschema" => event.dataschema(),
        _ => None,
    }
}

fn single(object: &serde_json::Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, value) = object.iter().next().filter(|_| object.len() == 1)?;
    Some((name, value))
}

fn comparisons(body: &Value, path: &str) -> Result<Vec<Comparison>, InvalidInput> {
    let expected =
        || InvalidInput::new(path, "expected an object of attribute names and non-empty texts");
    let object = body.as_object().filter(|object| !object.is_empty()).ok_or_else(expected)?;
    let read = |(attribute, text): (&String, &Value)| {
        let text = text.as_str().filter(|text| !text.is_empty()).ok_or_else(expected)?;
        let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if attribute.is_empty() || !attribute.bytes().all(is_of_name) {
            let detail = "expected the name of an attribute: lower-case letters and digits";
            return Err(InvalidInput::new(format!("{path}.{attribute}"), detail));
        }
        Ok(Comparison { attribute: attribute.clone(), text: text.to_owned() })
    };
    object.iter().map(read).collect()
}

/// An expression that could let something pass: one that calls a function which does not exist is
/// refused like one that is not of the language (Subscriptions API, 3.2.4.1.2).
fn expression(body: &Value, path: &str) -> Result<Expression, InvalidInput> {
    let source = body
        .as_str()
        .ok_or_else(|| InvalidInput::new(path, "expected a CESQL expression as a string"))?;
    Expression::parse(source)
        .and_then(|expression| expression.check_functions().map(|()| expression))
        .map_err(|error| InvalidInput::new(path, error.to_string()))
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::parse_at(&value, "filter", 0, &mut 0).map_err(D::Error::custom)
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
            ("type", "order.created"),
            ("region", "eu-west"),
        ] {
            builder.attribute(name, text).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn dialects_let_pass_what_they_say() {
        let rows = [
            (json!([]), true),
            (json!([{"exact": {"type": "order.created"}}]), true),
            (json!([{"exact": {"type": "order.created", "region": "us"}}]), false),
            (json!([{"prefix": {"source": "/shop"}}, {"suffix": {"region": "west"}}]), true),
            (json!([{"exact": {"missing": "x"}}]), false),
            (json!([{"not": {"exact": {"missing": "x"}}}]), true),
            (json!([{"any": [{"exact": {"type": "x"}}, {"prefix": {"type": "order."}}]}]), true),
            (json!([{"all": [{"exact": {"type": "x"}}, {"prefix": {"type": "order."}}]}]), false),
            (json!([{"sql": "type LIKE 'order.%' AND region = 'eu-west'"}]), true),
            (json!([{"sql": "NOT (region LIKE 'eu-%')"}]), false),
            (json!([{"sql": "missing = 'x'"}]), false),
            (json!([{"sql": "NOT (missing = 'x')"}]), false),
            (json!([{"not": {"sql": "missing = 'x'"}}]), true),
            (json!([{"sql": "2 - 1"}]), true),
            (json!([{"sql": "1 - 1"}]), false),
            (json!([{"sql": "'True'"}]), true),
            (json!([{"sql": "type"}]), false),
            (json!([{"any": [{"exact": {"type": "x"}}, {"sql": "EXISTS region"}]}]), true),
        ];
        for (filters, expected) in rows {
            let parsed = Filter::parse_list(&filters).unwrap();
            assert_eq!(parsed.iter().all(|filter| filter.matches(&event())), expected, "{filters}");
            let written: Value = parsed.iter().map(Filter::to_json).collect();
            assert_eq!(written, filters);
            let read: Vec<Filter> = serde_json::from_value(filters).unwrap();
            assert_eq!(read, parsed);
        }
    }

    #[test]
    fn what_is_not_a_filter_is_refused_with_its_place() {
        let rows = [
            (json!({}), "filters"),
            (json!([1]), "filters[0]"),
            (json!([{}]), "filters[0]"),
            (json!([{"exact": {}, "prefix": {}}]), "filters[0]"),
            (json!([{"exact": {}}]), "filters[0].exact"),
            (json!([{"exact": {"type": ""}}]), "filters[0].exact"),
            (json!([{"exact": {"type": 1}}]), "filters[0].exact"),
            (json!([{"any": []}]), "filters[0].any"),
            (json!([{"not": {"some": 1}}]), "filters[0].not.some"),
            (json!([{"sql": 1}]), "filters[0].sql"),
            (json!([{"sql": ""}]), "filters[0].sql"),
            (json!([{"sql": "type = "}]), "filters[0].sql"),
            (json!([{"sql": "FOO(type)"}]), "filters[0].sql"),
            (json!([{"exact": {"a": "b"}}, {"any": [{"sql": "("}]}]), "filters[1].any[0].sql"),
            (json!([{"all": [{"exact": {"a": "b"}}, {"fuzzy": {}}]}]), "filters[0].all[1].fuzzy"),
        ];
        for (filters, place) in rows {
            assert_eq!(Filter::parse_list(&filters).unwrap_err().field, place, "{filters}");
        }
        let detail = |sql: &str| Filter::parse_list(&json!([{ "sql": sql }])).unwrap_err().detail;
        assert_eq!(detail("type == 'a'"), "column 7: expected an expression, found \"=\"");
        assert_eq!(
            detail("TRUE OR LENGTH(type, 1) = 2"),
            "column 9: expected a function of CESQL 1.0 that takes 2 arguments, found \"LENGTH\""
        );
        let mut deep = json!({"exact": {"a": "b"}});
        for _ in 0..40 {
            deep = json!({"not": deep});
        }
        assert!(Filter::parse_list(&json!([deep])).is_err());
    }
}
