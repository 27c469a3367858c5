//! YAML with the place of every value: the part of YAML 1.2 that is also JSON, and merge keys.
//!
//! Read from events, not through serde: events have places, and an alias costs what it expands to.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Number, Value};

use crate::Limits;
use crate::limits::NODE_BYTES;
use crate::text::{Malformed, Parts, Place, Position};

/// The value of a text, and where its parts stand. The place of a member is that of its name.
pub(crate) fn read(text: &str, limits: &Limits) -> Result<(Value, Place), Malformed> {
    let missing = || Malformed::at(Position { line: 1, column: 1 }, "a document");
    read_all(text, limits, 1)?.pop().ok_or_else(missing)
}

/// The same of every document of a text, of which there may be `documents_max`.
pub(crate) fn read_all(
    text: &str,
    limits: &Limits,
    documents_max: usize,
) -> Result<Vec<(Value, Place)>, Malformed> {
    let mut reader =
        Reader { limits, expanded_bytes: 0, open: Vec::new(), anchors: HashMap::new() };
    let mut roots = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| not_yaml(&error))?;
        let position = place_of(span);
        if matches!(event, Event::DocumentStart(_)) {
            if roots.len() == documents_max {
                let many = format!("at most {documents_max} YAML documents");
                let expected = if documents_max == 1 { "one YAML document" } else { &many };
                return Err(Malformed::at(position, expected));
            }
            reader.anchors.clear();
        }
        if let Some(node) = reader.step(event, position)? {
            roots.push((node.value, node.place));
        }
    }
    Ok(roots)
}

fn not_yaml(error: &ScanError) -> Malformed {
    let marker = error.marker();
    let position = Position { line: marker.line(), column: marker.col() + 1 };
    Malformed::at(position, format!("YAML: {}", error.info()))
}

fn place_of(span: Span) -> Position {
    Position { line: span.start.line(), column: span.start.col() + 1 }
}

/// A value that is read to its end.
#[derive(Clone)]
struct Node {
    value: Value,
    place: Place,
    /// Whether it is the plain scalar `<<`.
    merges: bool,
    /// What it counts towards the limit.
    bytes: usize,
}

/// A sequence or mapping that has not ended.
struct Open {
    anchor: usize,
    position: Position,
    bytes: usize,
    content: Content,
}

enum Content {
    Items(Vec<Value>, Vec<Place>),
    Members {
        values: Map<String, Value>,
        places: HashMap<String, Place>,
        name: Option<Node>,
        merged: Vec<Node>,
    },
}

struct Reader<'a> {
    limits: &'a Limits,
    expanded_bytes: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
}

impl Reader<'_> {
    /// One event; the document, when it ended with it.
    fn step(&mut self, event: Event<'_>, position: Position) -> Result<Option<Node>, Malformed> {
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.grow(NODE_BYTES + text.len(), position)?;
                (anchor, scalar(&text, style, tag.as_deref(), position)?)
            }
            Event::Alias(anchor) => (0, self.alias(anchor, position)?),
            Event::SequenceStart(anchor, _) => {
                return self.begin(anchor, position, Content::Items(Vec::new(), Vec::new()));
            }
            Event::MappingStart(anchor, _) => {
                let (values, places) = (Map::new(), HashMap::new());
                let content = Content::Members { values, places, name: None, merged: Vec::new() };
                return self.begin(anchor, position, content);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(None) };
                (open.anchor, open.close()?)
            }
            _ => return Ok(None),
        };
        if anchor > 0 {
            self.grow(node.bytes, position)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else { return Ok(Some(node)) };
        parent.bytes += node.bytes;
        parent.add(node)?;
        Ok(None)
    }

    fn begin(
        &mut self,
        anchor: usize,
        position: Position,
        content: Content,
    ) -> Result<Option<Node>, Malformed> {
        self.grow(NODE_BYTES, position)?;
        if self.open.len() >= self.limits.depth_max {
            let expected = format!("at most {} values inside one another", self.limits.depth_max);
            return Err(Malformed::at(position, expected));
        }
        self.open.push(Open { anchor, position, bytes: NODE_BYTES, content });
        Ok(None)
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<Node, Malformed> {
        let known = self.anchors.get(&anchor);
        let node = known.ok_or_else(|| Malformed::at(position, "an alias of a value before it"))?;
        let (bytes, depth) = (node.bytes, self.open.len() + depth(&node.value));
        if depth > self.limits.depth_max {
            let expected = format!("at most {} values inside one another", self.limits.depth_max);
            return Err(Malformed::at(position, expected));
        }
        self.grow(bytes, position)?;
        self.anchors.get(&anchor).cloned().ok_or_else(|| Malformed::at(position, "an alias"))
    }

    fn grow(&mut self, bytes: usize, position: Position) -> Result<(), Malformed> {
        self.expanded_bytes += bytes;
        if self.expanded_bytes <= self.limits.expanded_bytes_max {
            return Ok(());
        }
        let max = self.limits.expanded_bytes_max;
        Err(Malformed::at(position, format!("at most {max} bytes with every alias expanded")))
    }
}

impl Open {
    fn add(&mut self, node: Node) -> Result<(), Malformed> {
        match &mut self.content {
            Content::Items(values, places) => {
                values.push(node.value);
                places.push(node.place);
            }
            Content::Members { values, places, name, merged } => {
                let Some(key) = name.take() else {
                    *name = Some(node);
                    return Ok(());
                };
                if key.merges {
                    merged.push(node);
                    return Ok(());
                }
                let (position, key) = (key.place.position, name_of(key)?);
                let place = Place { position, parts: node.place.parts };
                if places.insert(key.clone(), place).is_some() {
                    return Err(Malformed::at(position, format!("{key:?} only once")));
                }
                values.insert(key, node.value);
            }
        }
        Ok(())
    }

    fn close(self) -> Result<Node, Malformed> {
        let (value, parts) = match self.content {
            Content::Items(values, places) => (Value::Array(values), Parts::Items(places)),
            Content::Members { mut values, mut places, merged, .. } => {
                for node in merged {
                    merge(node, &mut values, &mut places)?;
                }
                (Value::Object(values), Parts::Members(places))
            }
        };
        let place = Place { position: self.position, parts };
        Ok(Node { value, place, merges: false, bytes: self.bytes })
    }
}

/// What `<<` brings: members that are not there yet.
fn merge(
    node: Node,
    values: &mut Map<String, Value>,
    places: &mut HashMap<String, Place>,
) -> Result<(), Malformed> {
    let position = node.place.position;
    match (node.value, node.place.parts) {
        (Value::Object(members), Parts::Members(mut member_places)) => {
            for (name, value) in members {
                if let Some(place) = member_places.remove(&name)
                    && !values.contains_key(&name)
                {
                    places.insert(name.clone(), place);
                    values.insert(name, value);
                }
            }
            Ok(())
        }
        (Value::Array(items), Parts::Items(item_places)) => {
            for (value, place) in items.into_iter().zip(item_places) {
                merge(Node { value, place, merges: false, bytes: 0 }, values, places)?;
            }
            Ok(())
        }
        _ => Err(Malformed::at(position, "a mapping, or a list of them, to merge")),
    }
}

fn name_of(node: Node) -> Result<String, Malformed> {
    match node.value {
        Value::String(name) => Ok(name),
        Value::Null => Ok("null".to_owned()),
        Value::Bool(_) | Value::Number(_) => Ok(node.value.to_string()),
        Value::Array(_) | Value::Object(_) => {
            Err(Malformed::at(node.place.position, "a name, not a list or mapping"))
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    position: Position,
) -> Result<Node, Malformed> {
    let plain = style == ScalarStyle::Plain;
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    let value = match core {
        Some("str" | "binary" | "timestamp") => Value::String(text.to_owned()),
        None if !plain => Value::String(text.to_owned()),
        _ => resolved(text, position)?,
    };
    let place = Place { position, parts: Parts::None };
    Ok(Node { value, place, merges: plain && text == "<<", bytes: NODE_BYTES + text.len() })
}

/// The core schema (YAML 1.2.2 section 10.3.2).
fn resolved(text: &str, position: Position) -> Result<Value, Malformed> {
    let number = |digits: &str, radix| {
        u64::from_str_radix(digits, radix).map_or_else(|_| text.into(), Value::from)
    };
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if text.starts_with("0x") => number(&text[2..], 16),
        _ if text.starts_with("0o") => number(&text[2..], 8),
        _ if is_infinite(text) => {
            return Err(Malformed::at(position, "a number that JSON can say"));
        }
        _ => decimal(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    })
}

fn is_infinite(text: &str) -> bool {
    let unsigned = text.trim_start_matches(['+', '-']);
    [".inf", ".Inf", ".INF"].contains(&unsigned) || [".nan", ".NaN", ".NAN"].contains(&text)
}

fn decimal(text: &str) -> Option<Number> {
    let begins = text.trim_start_matches(['+', '-']);
    let digit = begins.bytes().any(|byte| byte.is_ascii_digit());
    let numeric = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    if !digit || begins.starts_with(['e', 'E']) || !text.bytes().all(numeric) {
        return None;
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Some(whole.into());
    }
    text.parse::<f64>().ok().and_then(Number::from_f64)
}
