//! How many schemas apply to a value, so that checking a payload always ends in time.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::Schema;
use crate::document::each_reference;

/// How many schemas may apply to one value at once.
const APPLIED_MAX: usize = 10_000;
/// How often one value may be looked at, through all the levels above it.
const EVALUATIONS_MAX: usize = 1_000_000;
/// How deep a payload may be in any case.
pub(crate) const DEPTH_MAX: usize = 128;

/// Keywords whose schemas apply to the same value.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];

/// Keywords whose schemas apply to every value inside, or to some.
const INSIDE: [&str; 6] = [
    "items",
    "additionalItems",
    "contains",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
];

/// How deep a payload may be, so that checking it ends in time.
///
/// # Errors
/// Where and why it never would: a schema applies to the same value again, by a reference to
/// itself, or too many schemas apply to one value.
pub(crate) fn depth_max(schema: &Schema) -> Result<usize, (String, String)> {
    let definitions = schema.value().get("definitions").and_then(Value::as_object);
    let mut counts = Counts { schema, known: Vec::new() };
    for (name, definition) in definitions.into_iter().flatten() {
        counts
            .each(definition, &mut Vec::new())
            .map_err(|expected| (format!("/definitions/{name}"), expected))?;
    }
    let recursive: HashSet<String> = definitions
        .into_iter()
        .flatten()
        .map(|(name, _)| format!("#/definitions/{name}"))
        .filter(|name| reached(schema, name).contains(&**name))
        .collect();
    if recursive.is_empty() {
        return Ok(DEPTH_MAX);
    }
    let looks = most_looks_inside(schema, schema.value(), &recursive);
    let mut depth = 0;
    let mut evaluations = 1_usize;
    while depth < DEPTH_MAX && evaluations <= EVALUATIONS_MAX {
        evaluations = evaluations.saturating_mul(looks);
        depth += 1;
    }
    Ok(depth)
}

/// The definitions that one refers to, at whatever distance.
fn reached<'s>(schema: &'s Schema, name: &str) -> HashSet<&'s str> {
    let definition =
        |name: &str| schema.value().pointer(name.strip_prefix('#').unwrap_or_default());
    let mut found = HashSet::new();
    let mut open: Vec<&'s str> = definition(name).map(references).unwrap_or_default();
    while let Some(name) = open.pop() {
        if found.insert(name) {
            open.extend(definition(name).map(references).unwrap_or_default());
        }
    }
    found
}

fn references(value: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    each_reference(value, &mut Vec::new(), &mut |_, reference| found.push(reference));
    found
}

/// The most of [`looks`], of all schemas in a value.
fn most_looks_inside(schema: &Schema, value: &Value, recursive: &HashSet<String>) -> usize {
    let most = |value| most_looks_inside(schema, value, recursive);
    let inside = match value {
        Value::Object(members) => members.values().map(most).max(),
        Value::Array(items) => items.iter().map(most).max(),
        _ => None,
    };
    inside.unwrap_or_default().max(looks(schema, value, recursive))
}

/// How often a recursive schema looks at one value inside the value that it applies to.
fn looks(schema: &Schema, value: &Value, recursive: &HashSet<String>) -> usize {
    let mut looks: HashMap<&str, usize> = HashMap::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            open.extend(schema.value().pointer(reference.strip_prefix('#').unwrap_or_default()));
            continue;
        }
        for keyword in IN_PLACE {
            match value.get(keyword) {
                Some(Value::Array(parts)) => open.extend(parts),
                part => open.extend(part),
            }
        }
        let mut look = |name, inside: &Value| {
            if references(inside).iter().any(|reference| recursive.contains(*reference)) {
                *looks.entry(name).or_default() += 1;
            }
        };
        let named = value.get("properties").and_then(Value::as_object).into_iter().flatten();
        named.for_each(|(name, inside)| look(name, inside));
        INSIDE.iter().filter_map(|keyword| value.get(keyword)).for_each(|inside| look("", inside));
    }
    let every = looks.remove("").unwrap_or_default();
    looks.into_values().max().unwrap_or_default() + every
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
