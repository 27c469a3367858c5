//! Schemas that most payloads have, checked while the payload is read: no value is built. What
//! passes here is valid; of anything else the validator says whether and why not.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};

use crate::Schema;

/// How deep schemas may be in one another.
const DEPTH_MAX: usize = 16;
/// How many members of one object may be described.
const MEMBERS_MAX: usize = 64;
/// Integers up to here are exact as floating point numbers.
const EXACT_MAX: f64 = 4_503_599_627_370_496.0;

const NULL: u8 = 1;
const BOOLEAN: u8 = 1 << 1;
const INTEGER: u8 = 1 << 2;
const FRACTION: u8 = 1 << 3;
const STRING: u8 = 1 << 4;
const ARRAY: u8 = 1 << 5;
const OBJECT: u8 = 1 << 6;

/// What values pass.
#[derive(Debug, Clone)]
pub(crate) struct Streamed {
    types: u8,
    /// With whether it is out itself.
    minimum: (f64, bool),
    maximum: (f64, bool),
    characters: (usize, usize),
    /// The only texts that pass.
    texts: Option<Vec<String>>,
    members: Vec<(String, Self)>,
    /// A bit for each of the members that have to be there.
    required: u64,
    /// Whether there may be members that are not described.
    open: bool,
    items: Option<Box<Self>>,
    count: (usize, usize),
}

impl Streamed {
    /// What passes a schema; none if it says what is not known here.
    pub(crate) fn of(schema: &Schema) -> Option<Self> {
        Self::read(schema, schema.value(), 0)
    }

    /// Whether a payload passes. If not, it may be valid all the same.
    pub(crate) fn passes(&self, payload: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(payload) else { return false };
        let mut reader = serde_json::Deserializer::from_str(text);
        Check(self).deserialize(&mut reader).is_ok() && reader.end().is_ok()
    }

    fn any() -> Self {
        Self {
            types: u8::MAX,
            minimum: (f64::NEG_INFINITY, false),
            maximum: (f64::INFINITY, false),
            characters: (0, usize::MAX),
            texts: None,
            members: Vec::new(),
            required: 0,
            open: true,
            items: None,
            count: (0, usize::MAX),
        }
    }

    fn read(schema: &Schema, value: &Value, depth: usize) -> Option<Self> {
        if depth > DEPTH_MAX {
            return None;
        }
        let keywords = match value {
            Value::Bool(true) => return Some(Self::any()),
            Value::Object(keywords) => keywords,
            _ => return None,
        };
        // Draft 07 looks at nothing beside a reference.
        if keywords.contains_key("$ref") {
            let behind = schema.behind(value);
            return if std::ptr::eq(behind, value) {
                None
            } else {
                Self::read(schema, behind, depth + 1)
            };
        }
        let mut rules = Self::any();
        for (keyword, value) in keywords {
            rules.take(keyword, value)?;
        }
        rules.take_members(schema, keywords, depth)?;
        if let Some(items) = keywords.get("items") {
            rules.items = Some(Box::new(Self::read(schema, items, depth + 1)?));
        }
        Some(rules)
    }

    fn take(&mut self, keyword: &str, value: &Value) -> Option<()> {
        match keyword {
            "type" => self.types &= types(value)?,
            // Two lower or two upper bounds: the validator knows.
            "minimum" | "exclusiveMinimum" if self.minimum.0.is_infinite() => {
                self.minimum = (bound(value)?, keyword == "exclusiveMinimum");
            }
            "maximum" | "exclusiveMaximum" if self.maximum.0.is_infinite() => {
                self.maximum = (bound(value)?, keyword == "exclusiveMaximum");
            }
            "minLength" => self.characters.0 = size(value)?,
            "maxLength" => self.characters.1 = size(value)?,
            "minItems" => self.count.0 = size(value)?,
            "maxItems" => self.count.1 = size(value)?,
            "const" => self.only(std::slice::from_ref(value))?,
            "enum" => self.only(value.as_array()?)?,
            "format" if matches!(value.as_str()?, "int32" | "int64" | "float" | "double") => {}
            "properties"
            | "required"
            | "additionalProperties"
            | "items"
            | "definitions"
            | "title"
            | "description"
            | "default"
            | "examples"
            | "deprecated"
            | "$comment"
            | "readOnly"
            | "writeOnly"
            | "externalDocs" => {}
            other if other.starts_with("x-") => {}
            _ => return None,
        }
        Some(())
    }

    fn take_members(
        &mut self,
        schema: &Schema,
        keywords: &Map<String, Value>,
        depth: usize,
    ) -> Option<()> {
        if let Some(properties) = keywords.get("properties") {
            for (name, value) in properties.as_object()? {
                self.members.push((name.clone(), Self::read(schema, value, depth + 1)?));
            }
        }
        self.open = match keywords.get("additionalProperties") {
            None | Some(Value::Bool(true)) => true,
            Some(Value::Bool(false)) => false,
            Some(_) => return None,
        };
        let required = match keywords.get("required") {
            Some(names) => names.as_array()?,
            None => &Vec::new(),
        };
        for name in required {
            let name = name.as_str()?;
            let known = self.members.iter().position(|(member, _)| member == name);
            if known.is_none() && !self.open {
                return None;
            }
            let index = known.unwrap_or(self.members.len());
            if known.is_none() {
                self.members.push((name.to_owned(), Self::any()));
            }
            self.required |= 1_u64.checked_shl(u32::try_from(index).ok()?)?;
        }
        (self.members.len() <= MEMBERS_MAX).then_some(())
    }

    fn only(&mut self, values: &[Value]) -> Option<()> {
        let texts = values.iter().map(|value| value.as_str().map(str::to_owned));
        // Both const and enum: the validator knows.
        if self.texts.replace(texts.collect::<Option<_>>()?).is_some() {
            return None;
        }
        self.types &= STRING;
        Some(())
    }

    fn takes(&self, kind: u8) -> bool {
        self.types & kind != 0
    }

    fn takes_number(&self, kind: u8, number: f64) -> bool {
        let (minimum, above) = self.minimum;
        let (maximum, below) = self.maximum;
        self.takes(kind)
            && (if above { number > minimum } else { number >= minimum })
            && (if below { number < maximum } else { number <= maximum })
    }

    fn takes_text(&self, text: &str) -> bool {
        let (min, max) = self.characters;
        let fits = (min, max) == (0, usize::MAX) || (min..=max).contains(&text.chars().count());
        let is_known = |texts: &Vec<String>| texts.iter().any(|known| known == text);
        self.takes(STRING) && fits && self.texts.as_ref().is_none_or(is_known)
    }
}

fn types(value: &Value) -> Option<u8> {
    let one = |value: &Value| {
        Some(match value.as_str()? {
            "null" => NULL,
            "boolean" => BOOLEAN,
            "integer" => INTEGER,
            "number" => INTEGER | FRACTION,
            "string" => STRING,
            "array" => ARRAY,
            "object" => OBJECT,
            _ => return None,
        })
    };
    match value {
        Value::Array(several) => several.iter().try_fold(0, |all, value| Some(all | one(value)?)),
        value => one(value),
    }
}

fn bound(value: &Value) -> Option<f64> {
    value.as_f64().filter(|bound| bound.abs() < EXACT_MAX)
}

fn size(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

/// Reads a value, and fails if it does not pass.
#[derive(Clone, Copy)]
struct Check<'a>(&'a Streamed);

fn passed<E: serde::de::Error>(passes: bool) -> Result<(), E> {
    if passes { Ok(()) } else { Err(E::custom("it may not pass")) }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that passes")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        passed(self.0.takes(NULL))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        passed(self.0.takes(BOOLEAN))
    }

    #[expect(clippy::cast_precision_loss, reason = "bounds are where nothing is lost")]
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        passed(self.0.takes_number(INTEGER, number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "bounds are where nothing is lost")]
    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        passed(self.0.takes_number(INTEGER, number as f64))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        passed(self.0.takes_number(FRACTION, number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        passed(self.0.takes_text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        passed::<A::Error>(self.0.takes(ARRAY))?;
        let mut count = 0;
        match &self.0.items {
            Some(rules) => {
                while items.next_element_seed(Check(rules))?.is_some() {
                    count += 1;
                }
            }
            None => {
                while items.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
            }
        }
        let (min, max) = self.0.count;
        passed((min..=max).contains(&count))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        passed::<A::Error>(self.0.takes(OBJECT))?;
        let mut seen = 0_u64;
        while let Some(found) = members.next_key_seed(Member(&self.0.members))? {
            match found.and_then(|index| Some((index, self.0.members.get(index)?))) {
                Some((index, (_, rules))) => {
                    seen |= 1 << index;
                    members.next_value_seed(Check(rules))?;
                }
                None if self.0.open => drop(members.next_value::<IgnoredAny>()?),
                None => return Err(A::Error::custom("a member may not be there")),
            }
        }
        passed(seen & self.0.required == self.0.required)
    }
}

/// Reads the name of a member, as its place among those that are described.
#[derive(Clone, Copy)]
struct Member<'a>(&'a [(String, Streamed)]);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Member<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|(known, _)| known == name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::PayloadSchema;

    fn schema(root: &Value) -> Schema {
        let node = json!({"type": ["integer", "null"], "maximum": 7});
        let definitions = json!({"0": root, "node": node});
        Schema::new(
            None,
            json!({"$ref": "#/definitions/0", "definitions": definitions}),
            Vec::new(),
        )
    }

    #[test]
    fn what_is_common_is_known_and_what_is_not_is_left_to_the_validator() {
        for known in [
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}),
            json!({"$ref": "#/definitions/node"}),
            json!({"x-anything": {}, "title": "t", "format": "int64"}),
        ] {
            assert!(Streamed::of(&schema(&known)).is_some(), "{known}");
        }
        for unknown in [
            json!({"pattern": "a"}),
            json!({"anyOf": [{}]}),
            json!({"format": "date"}),
            json!({"enum": [1]}),
            json!({"additionalProperties": {"type": "string"}}),
            json!({"maximum": 1e16}),
            json!({"required": ["a"], "additionalProperties": false}),
            json!({"minimum": 1, "exclusiveMinimum": 0}),
        ] {
            assert!(Streamed::of(&schema(&unknown)).is_none(), "{unknown}");
        }
    }

    #[test]
    fn a_payload_of_each_kind_passes() {
        let root = json!({"type": "object", "required": ["a", "b"], "additionalProperties": false,
            "properties": {"a": {"type": "integer", "minimum": 1}, "b": {"items": {"enum": ["x"]}},
            "c": {"type": "number", "exclusiveMaximum": 2}, "d": {"maxLength": 2}}});
        let streamed = Streamed::of(&schema(&root)).unwrap();
        for good in
            [r#"{"a": 1, "b": []}"#, r#"{"c": 1.5, "b": ["x"], "a": 7, "d": "\u00e9\u00e9"}"#]
        {
            assert!(streamed.passes(good.as_bytes()), "{good}");
        }
        for bad in [
            r#"{"a": 1}"#,
            r#"{"a": 0, "b": []}"#,
            r#"{"a": 1, "b": ["y"]}"#,
            r#"{"a": 1, "b": [], "c": 2}"#,
            r#"{"a": 1, "b": [], "d": "abc"}"#,
            r#"{"a": 1, "b": [], "e": 1}"#,
            r#"{"a": 1, "b": []} x"#,
            "{\"a\": 1, \"b\": []",
        ] {
            assert!(!streamed.passes(bad.as_bytes()), "{bad}");
        }
    }

    fn rules() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!({})),
            prop::sample::select(vec![
                "null", "boolean", "integer", "number", "string", "array", "object"
            ])
            .prop_map(|kind| json!({"type": kind})),
            (-2..3i32, 0..3i32).prop_map(|(a, b)| json!({"minimum": a, "exclusiveMaximum": a + b})),
            (0..2usize, 0..3usize).prop_map(|(a, b)| json!({"minLength": a, "maxLength": a + b})),
            Just(json!({"enum": ["a", "b"]})),
            Just(json!({"$ref": "#/definitions/node"})),
        ];
        leaf.prop_recursive(2, 12, 3, |inner| {
            prop_oneof![
                (inner.clone(), 0..2usize, 0..3usize)
                    .prop_map(|(one, a, b)| json!({"items": one, "minItems": a, "maxItems": a + b})),
                (inner.clone(), inner, any::<bool>(), prop::sample::subsequence(vec!["a", "b"], 0..2))
                    .prop_map(|(a, b, open, required)| {
                        json!({"properties": {"a": a, "b": b}, "required": required, "additionalProperties": open})
                    }),
            ]
        })
    }

    fn payload() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3..4i32).prop_map(Value::from),
            prop::sample::select(vec![0.5, 1.0, -1.5, 1e300]).prop_map(Value::from),
            "[abc\u{e9}]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 10, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_passes_is_valid_and_little_else_is(root in rules(), payload in payload()) {
            let schema = schema(&root);
            let validator = PayloadSchema::compile(&schema, 1).unwrap();
            let valid = validator.validate_value(&payload).is_ok();
            if let Some(streamed) = Streamed::of(&schema) {
                let text = payload.to_string();
                let passes = streamed.passes(text.as_bytes());
                prop_assert!(valid || !passes, "{root} {text}");
                // An integer that is written as a fraction is left to the validator.
                prop_assert!(passes || !valid || text.contains(".0") || text.contains('e'), "{root} {text}");
            }
        }
    }
}
