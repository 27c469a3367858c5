//! The scalars of Compass.

use std::collections::BTreeMap;

use async_graphql::{InputValueError, InputValueResult, Name, NewType, Scalar, ScalarType, Value};

/// A long text.
#[derive(Clone, Debug, NewType)]
#[graphql(name = "CLOB")]
pub struct Clob(pub String);

/// Where the next page begins.
#[derive(Clone, Debug, NewType)]
#[graphql(name = "PageCursor")]
pub struct PageCursor(pub String);

/// An instant (RFC 3339).
#[derive(Clone, Debug, NewType)]
#[graphql(name = "Timestamp")]
pub struct Instant(pub String);

/// What a bus is told: texts by name.
#[derive(Clone, Debug, Default)]
pub struct Attributes(pub BTreeMap<String, String>);

/// Words to find something by, each with any value.
#[derive(Clone, Debug, Default)]
pub struct Labels(pub BTreeMap<String, serde_json::Value>);

#[Scalar(name = "EventAPISubscriptionAttributes")]
impl ScalarType for Attributes {
    fn parse(value: Value) -> InputValueResult<Self> {
        let text = |(name, value): (Name, Value)| match value {
            Value::String(text) => Some((name.to_string(), text)),
            _ => None,
        };
        let texts = match value {
            Value::Object(members) => members.into_iter().map(text).collect(),
            _ => None,
        };
        let expected = "expected names with a text each, such as {\"name\": \"value\"}";
        texts.map(Self).ok_or_else(|| InputValueError::custom(expected))
    }

    fn to_value(&self) -> Value {
        let member = |(name, text): (&String, &String)| (Name::new(name), text.clone().into());
        Value::Object(self.0.iter().map(member).collect())
    }
}

#[Scalar]
impl ScalarType for Labels {
    fn parse(value: Value) -> InputValueResult<Self> {
        let labels = value.into_json().ok().and_then(|json| serde_json::from_value(json).ok());
        let expected = "expected names with a value each, such as {\"name\": \"value\"}";
        labels.map(Self).ok_or_else(|| InputValueError::custom(expected))
    }

    fn to_value(&self) -> Value {
        let member = |(name, value): (&String, &serde_json::Value)| {
            (Name::new(name), Value::from_json(value.clone()).unwrap_or_default())
        };
        Value::Object(self.0.iter().map(member).collect())
    }
}
