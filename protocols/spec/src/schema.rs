//! What headers, payloads and parameters are: a schema that stands for itself.

use serde_json::Value;

use crate::{Location, Pointer};

/// A schema with everything that it refers to, so that it can be kept and used alone.
#[derive(Debug, Clone)]
pub struct Schema {
    format: Option<String>,
    value: Value,
    /// Where each of `#/definitions/<index>` stands in the document.
    origins: Vec<Location>,
}

/// The language of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaFormat {
    /// The Schema Object of AsyncAPI, a superset of JSON Schema draft 07; also when none is named.
    AsyncApi,
    /// JSON Schema draft 07.
    JsonSchema,
    /// Apache Avro.
    Avro,
    /// The Schema Object of `OpenAPI`.
    OpenApi,
    /// RAML.
    Raml,
    /// Protocol buffers.
    Protobuf,
    /// One that AsyncAPI does not name.
    Other,
}

impl Schema {
    pub(crate) fn new(format: Option<String>, value: Value, origins: Vec<Location>) -> Self {
        Self { format, value, origins }
    }

    /// The language it is written in.
    #[must_use]
    pub fn format(&self) -> SchemaFormat {
        let Some(name) = &self.format else { return SchemaFormat::AsyncApi };
        let families = [
            ("application/vnd.aai.asyncapi", SchemaFormat::AsyncApi),
            ("application/schema", SchemaFormat::JsonSchema),
            ("application/vnd.apache.avro", SchemaFormat::Avro),
            ("application/vnd.oai.openapi", SchemaFormat::OpenApi),
            ("application/raml", SchemaFormat::Raml),
            ("application/vnd.google.protobuf", SchemaFormat::Protobuf),
        ];
        let family = families.iter().find(|(prefix, _)| name.starts_with(prefix));
        match family {
            Some((_, SchemaFormat::JsonSchema)) if !name.contains("draft-07") => {
                SchemaFormat::Other
            }
            Some((_, format)) => *format,
            None => SchemaFormat::Other,
        }
    }

    /// The name of the language, as the document says it.
    #[must_use]
    pub fn format_name(&self) -> Option<&str> {
        self.format.as_deref()
    }

    /// All of it: `{"$ref": "#/definitions/0", "definitions": {"0": ...}}`.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The schema itself, in which references lead to the definitions of [`Schema::value`].
    #[must_use]
    pub fn root(&self) -> &Value {
        self.behind(&self.value)
    }

    /// Where a keyword of [`Schema::value`] stands in the document.
    pub(crate) fn origin(&self, pointer: &str) -> Location {
        let pointer = Pointer::parse(pointer).unwrap_or_default();
        let mut steps = pointer.steps();
        let definition = (steps.next().as_deref() == Some("definitions")).then(|| steps.next());
        let index = definition.flatten().and_then(|index| index.parse::<usize>().ok());
        let origin = index.and_then(|index| self.origins.get(index)).cloned();
        origin
            .map_or_else(Location::default, |origin| steps.fold(origin, |at, step| at.join(&step)))
    }

    /// Whether it is marked as deprecated.
    #[must_use]
    pub fn deprecated(&self) -> bool {
        self.root().get("deprecated") == Some(&Value::Bool(true))
    }

    /// The definition that a value refers to, or the value.
    pub(crate) fn behind<'v>(&'v self, value: &'v Value) -> &'v Value {
        let reference = value.get("$ref").and_then(Value::as_str);
        let pointer = reference.and_then(|reference| reference.strip_prefix('#'));
        pointer.and_then(|pointer| self.value.pointer(pointer)).unwrap_or(value)
    }

    /// The members that a schema describes, also by `allOf` and by reference.
    pub(crate) fn properties(&self) -> Vec<(&str, &Value)> {
        let mut found = Vec::new();
        self.gather(&self.value, 0, &mut found);
        found
    }

    fn gather<'v>(&'v self, value: &'v Value, depth: usize, found: &mut Vec<(&'v str, &'v Value)>) {
        // Deeper, or wider, is nothing that a person declared a CloudEvent with.
        if depth > 8 || found.len() > 256 {
            return;
        }
        if value.get("$ref").is_some() {
            return self.gather(self.behind(value), depth + 1, found);
        }
        let members = value.get("properties").and_then(Value::as_object).into_iter().flatten();
        found.extend(members.map(|(name, schema)| (&**name, self.behind(schema))));
        let parts = value.get("allOf").and_then(Value::as_array).into_iter().flatten();
        parts.for_each(|part| self.gather(part, depth + 1, found));
    }
}
