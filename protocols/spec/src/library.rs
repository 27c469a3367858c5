//! Where references lead: in the document, and in those that were fetched for it.

use serde_json::{Map, Value, json};

use crate::document::resolve;
use crate::{Document, Fetched, Pointer, Schema, SpecError};

/// How many references may lead from one to the next.
const CHAIN_MAX: usize = 64;
/// How many different schemas a payload's schema may consist of.
const SCHEMAS_MAX: usize = 1000;

/// A place in the document, or in one that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Location {
    /// The URL of a fetched document; `None` is the document itself.
    pub document: Option<String>,
    /// The place in it.
    pub pointer: Pointer,
}

impl Location {
    pub(crate) fn join(&self, step: &str) -> Self {
        Self { document: self.document.clone(), pointer: self.pointer.join(step) }
    }

    /// A reference that leads here, from any document.
    pub(crate) fn reference(&self) -> String {
        let url = self.document.as_deref().unwrap_or_default();
        format!("{url}#{}", self.pointer.as_str().replace('%', "%25"))
    }
}

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    pub(crate) at: Location,
}

impl<'a> Node<'a> {
    pub(crate) fn member(&self, name: &str) -> Option<Self> {
        Some(Node { value: self.value.get(name)?, at: self.at.join(name) })
    }

    /// The members of the object that is a member.
    pub(crate) fn members(&self, name: &str) -> Vec<(&'a str, Self)> {
        let Some(object) = self.member(name) else { return Vec::new() };
        let members = object.value.as_object().into_iter().flatten();
        members.map(|(name, value)| (&**name, Node { value, at: object.at.join(name) })).collect()
    }

    /// The items of the array that is a member.
    pub(crate) fn items(&self, name: &str) -> Vec<Self> {
        let Some(array) = self.member(name) else { return Vec::new() };
        let items = array.value.as_array().into_iter().flatten().enumerate();
        items.map(|(index, value)| Node { value, at: array.at.join(&index.to_string()) }).collect()
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.value.get(name)?.as_str().map(str::to_owned)
    }

    /// The reference that stands in place of a value.
    pub(crate) fn reference(&self) -> Option<&'a str> {
        self.value.get("$ref")?.as_str()
    }
}

/// The document and those that were fetched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Library<'a> {
    pub(crate) document: &'a Document,
    pub(crate) fetched: &'a Fetched,
}

impl<'a> Library<'a> {
    pub(crate) fn root(&self) -> Node<'a> {
        Node { value: self.document.value(), at: Location::default() }
    }

    /// The value behind a reference, and behind the reference that this may be.
    pub(crate) fn follow<'v>(&self, node: &Node<'v>) -> Result<Node<'v>, SpecError>
    where
        'a: 'v,
    {
        let mut found = node.clone();
        for _ in 0..CHAIN_MAX {
            let Some(reference) = found.reference() else { return Ok(found) };
            found = self.find(reference, &found.at)?;
        }
        Err(self.error(&node.at, "a reference that does not lead back to itself"))
    }

    fn find(&self, reference: &str, from: &Location) -> Result<Node<'a>, SpecError> {
        let wrong = |expected: String| self.error(from, expected);
        let (url, fragment) = resolve(reference, self.document.base.as_ref()).ok_or_else(|| {
            wrong("a reference that is absolute, or a document with a URL".into())
        })?;
        let own =
            url.is_empty() || self.document.base.as_ref().is_some_and(|base| base.as_str() == url);
        let pointer = Pointer::from_fragment(&fragment)
            .ok_or_else(|| wrong("a reference with a JSON pointer".into()))?;
        let (document, root) = if own {
            (None, self.document.value())
        } else {
            let text = self.fetched.documents.get(&url);
            let text = text.ok_or_else(|| wrong(format!("{url}, which was not fetched")))?;
            (Some(url), &text.value)
        };
        let value = pointer.find(root);
        let value = value.ok_or_else(|| wrong(format!("{reference:?} to lead to a value")))?;
        Ok(Node { value, at: Location { document, pointer } })
    }

    /// An error at a place, or where the last part of it that exists stands.
    pub(crate) fn error(&self, at: &Location, expected: impl Into<String>) -> SpecError {
        let fetched = at.document.as_ref().and_then(|url| self.fetched.documents.get(url));
        let text = fetched.unwrap_or(&self.document.text);
        let mut pointer = Pointer::default();
        for step in at.pointer.steps() {
            let next = pointer.join(&step);
            if next.find(&text.value).is_none() {
                break;
            }
            pointer = next;
        }
        let position = Some(text.position(&pointer));
        SpecError { document: at.document.clone(), pointer, position, expected: expected.into() }
    }

    /// A schema with everything that it refers to.
    pub(crate) fn schema(
        &self,
        node: &Node<'_>,
        format: Option<String>,
    ) -> Result<Schema, SpecError> {
        let mut bundle = Bundle { library: *self, parts: Vec::new(), waiting: Vec::new() };
        let value = bundle.rewrite(node.value, &node.at, Role::Schema)?;
        bundle.parts.push((node.at.clone(), value));
        let first = bundle.parts.len() - 1;
        while let Some((index, part)) = bundle.waiting.pop() {
            bundle.parts[index].1 = bundle.rewrite(part.value, &part.at, Role::Schema)?;
        }
        let mut origins = Vec::new();
        let mut definitions = Map::new();
        for (index, (origin, value)) in bundle.parts.into_iter().enumerate() {
            definitions.insert(index.to_string(), value);
            origins.push(origin);
        }
        let value = json!({"$ref": format!("#/definitions/{first}"), "definitions": definitions});
        Ok(Schema::new(format, value, origins))
    }
}

/// What a part of a schema is.
#[derive(Clone, Copy)]
enum Role {
    /// A schema, or a list of them.
    Schema,
    /// Names with schemas.
    Named,
    /// A value as it may occur, in which nothing is a reference.
    Data,
}

impl Role {
    fn of(keyword: &str) -> Self {
        match keyword {
            "properties" | "patternProperties" | "definitions" | "dependencies" => Self::Named,
            "const" | "enum" | "default" | "examples" | "externalDocs" => Self::Data,
            _ if keyword.starts_with("x-") => Self::Data,
            _ => Self::Schema,
        }
    }
}

/// Schemas that are copied into one, so that it stands for itself.
struct Bundle<'a> {
    library: Library<'a>,
    parts: Vec<(Location, Value)>,
    waiting: Vec<(usize, Node<'a>)>,
}

impl Bundle<'_> {
    fn rewrite(&mut self, value: &Value, at: &Location, role: Role) -> Result<Value, SpecError> {
        match (value, role) {
            (Value::Object(members), Role::Schema | Role::Named) => {
                if let (Role::Schema, Some(reference)) =
                    (role, members.get("$ref").and_then(Value::as_str))
                {
                    let index = self.part(reference, at)?;
                    return Ok(json!({"$ref": format!("#/definitions/{index}")}));
                }
                let mut copy = Map::new();
                for (name, member) in members {
                    // A name of its own would change what references in it mean.
                    if matches!(role, Role::Schema) && matches!(&**name, "$id" | "$schema") {
                        continue;
                    }
                    let role =
                        if matches!(role, Role::Named) { Role::Schema } else { Role::of(name) };
                    copy.insert(name.clone(), self.rewrite(member, &at.join(name), role)?);
                }
                Ok(Value::Object(copy))
            }
            (Value::Array(items), Role::Schema) => {
                let items = items.iter().enumerate();
                let items = items
                    .map(|(index, item)| self.rewrite(item, &at.join(&index.to_string()), role));
                items.collect::<Result<_, _>>().map(Value::Array)
            }
            _ => Ok(value.clone()),
        }
    }

    /// The place of the schema that a reference leads to.
    fn part(&mut self, reference: &str, at: &Location) -> Result<usize, SpecError> {
        let node = self.library.find(reference, at)?;
        if let Some(index) = self.parts.iter().position(|(known, _)| *known == node.at) {
            return Ok(index);
        }
        if self.parts.len() >= SCHEMAS_MAX {
            return Err(self.library.error(at, format!("at most {SCHEMAS_MAX} schemas in one")));
        }
        self.parts.push((node.at.clone(), Value::Null));
        self.waiting.push((self.parts.len() - 1, node));
        Ok(self.parts.len() - 1)
    }
}
