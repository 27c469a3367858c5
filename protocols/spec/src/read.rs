//! From a document and what was fetched for it to the model: the parts that both versions share.

mod message;
mod v2;
mod v3;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::document::{Version, each_reference};
use crate::library::{Library, Node};
use crate::model::{Info, Named, Parameter, Requirement, SecurityScheme, Spec, Tag};
use crate::{Document, Fetched, Invalid, Location, Pointer, SpecError, address, rules, traits};

impl Spec {
    /// Reads a document whose references to elsewhere are in `fetched`
    /// (see [`Document::unfetched`]).
    ///
    /// # Errors
    /// Everything that is wrong beyond the structure: references that lead nowhere, parameters and
    /// servers that do not exist, names that are not unique.
    ///
    /// ```
    /// use eg_spec::{Document, Fetched, Format, Limits, Spec};
    /// let text = br#"{"asyncapi": "3.0.0", "info": {"title": "Lamps", "version": "1"},
    ///     "channels": {"lit": {"address": "lamps/{id}/lit"}}}"#;
    /// let document = Document::parse(text, Format::Json, None, &Limits::default()).unwrap();
    /// let spec = Spec::read(&document, &Fetched::default()).unwrap();
    /// assert_eq!(spec.channels[0].parameters[0].name, "id");
    /// ```
    pub fn read(document: &Document, fetched: &Fetched) -> Result<Self, Invalid> {
        let library = Library { document, fetched };
        let mut reader = Reader { library, errors: Vec::new() };
        reader.check_references();
        rules::check(library.root(), document.version, &mut reader.errors, &library);
        let spec = match document.version {
            Version::V2 => reader.spec_v2(),
            Version::V3_0 | Version::V3_1 => reader.spec_v3(),
        };
        let mut errors = reader.errors;
        errors.sort_by_key(|error| (error.document.is_some(), error.position));
        errors.dedup();
        Invalid::unless_empty(errors, document.limits.errors_max)?;
        Ok(spec)
    }
}

/// Reads on after an error, to find them all.
struct Reader<'a> {
    library: Library<'a>,
    errors: Vec<SpecError>,
}

impl<'a> Reader<'a> {
    fn check_references(&mut self) {
        let library = self.library;
        let root = library.root();
        let errors = &mut self.errors;
        each_reference(root.value, &mut Vec::new(), &mut |steps, _| {
            let at = Location { document: None, pointer: Pointer::of(steps) };
            if let Some(value) = at.pointer.find(root.value)
                && let Err(error) = library.follow(&Node { value, at })
                && errors.len() <= library.document.limits.errors_max
            {
                errors.push(error);
            }
        });
    }

    fn note<T>(&mut self, result: Result<T, SpecError>) -> Option<T> {
        result.map_err(|error| self.errors.push(error)).ok()
    }

    /// The object behind a reference; anything else is an error.
    fn object<'v>(&mut self, node: &Node<'v>) -> Option<Node<'v>>
    where
        'a: 'v,
    {
        let found = self.library.follow(node);
        let found = self.note(found)?;
        if !found.value.is_object() {
            let error = self.library.error(&found.at, "an object");
            self.errors.push(error);
            return None;
        }
        Some(found)
    }

    /// What a node says with its traits.
    fn with_traits(&mut self, node: &Node<'_>) -> Value {
        let items = node.items("traits");
        let shared: Vec<Node<'_>> = items.iter().filter_map(|item| self.object(item)).collect();
        if shared.is_empty() {
            return node.value.clone();
        }
        let sources: Vec<&Node<'_>> = shared.iter().chain([node]).collect();
        let prepared: Vec<Value> =
            sources.iter().map(|source| self.prepared(source, &sources)).collect();
        let Some((own, shared)) = prepared.split_last() else { return node.value.clone() };
        let shared: Vec<&Value> = shared.iter().collect();
        traits::merged(own, &shared, self.library.document.version)
    }

    /// A source of a merge. What only one source says becomes a reference, so that its place is
    /// not lost; what several say is followed, to be merged with what it leads to.
    fn prepared(&self, source: &Node<'_>, sources: &[&Node<'_>]) -> Value {
        let mut copy = source.value.clone();
        for name in ["headers", "payload", "correlationId", "bindings"] {
            let Some(member) = source.member(name) else { continue };
            let alone = sources.iter().filter(|other| other.value.get(name).is_some()).count() == 1;
            if alone && member.value.is_object() && member.reference().is_none() {
                copy[name] = json!({"$ref": member.at.reference()});
            } else if !alone && let Ok(found) = self.library.follow(&member) {
                copy[name] = found.value.clone();
            }
        }
        copy
    }

    fn tags(&mut self, node: &Node<'_>) -> Vec<Tag> {
        let items = node.items("tags");
        let tags = items.iter().filter_map(|item| self.object(item));
        let tags = tags.collect::<Vec<_>>().into_iter();
        tags.filter_map(|tag| {
            Some(Tag { name: tag.text("name")?, description: tag.text("description") })
        })
        .collect()
    }

    fn bindings(&mut self, node: &Node<'_>) -> Named {
        let Some(bindings) = node.member("bindings").and_then(|node| self.object(&node)) else {
            return Named::new();
        };
        let members = bindings.value.as_object().into_iter().flatten();
        members
            .filter_map(|(name, value)| {
                let found = self.object(&Node { value, at: bindings.at.join(name) })?;
                Some((name.clone(), found.value.clone()))
            })
            .collect()
    }

    fn security_schemes(&mut self, root: &Node<'_>) -> BTreeMap<String, SecurityScheme> {
        let Some(components) = root.member("components") else { return BTreeMap::new() };
        let schemes = components.members("securitySchemes").into_iter();
        schemes
            .filter_map(|(name, node)| Some((name.to_owned(), self.security_scheme(&node)?)))
            .collect()
    }

    fn security_scheme(&mut self, node: &Node<'_>) -> Option<SecurityScheme> {
        let found = self.object(node)?;
        let kind = found.text("type").unwrap_or_default();
        Some(SecurityScheme { kind, value: found.value.clone() })
    }

    /// The parameters of an address, in its order.
    fn parameters(
        &mut self,
        channel: &Node<'_>,
        address: &str,
        read: fn(&mut Self, &str, &Node<'_>) -> Parameter,
    ) -> Vec<Parameter> {
        let described: BTreeMap<&str, Node<'_>> =
            channel.members("parameters").into_iter().collect();
        let names = address::parameter_names(address);
        names
            .map(|name| {
                let node = described.get(name).and_then(|node| self.object(node));
                node.map_or_else(
                    || Parameter {
                        name: name.to_owned(),
                        description: None,
                        schema: None,
                        location: None,
                    },
                    |node| read(self, name, &node),
                )
            })
            .collect()
    }
}

fn info(root: &Node<'_>) -> Info {
    let Some(info) = root.member("info") else { return Info::default() };
    Info {
        title: info.text("title").unwrap_or_default(),
        version: info.text("version").unwrap_or_default(),
        description: info.text("description"),
    }
}

fn extensions(node: &Node<'_>) -> Named {
    let members = node.value.as_object().into_iter().flatten();
    let extensions = members.filter(|(name, _)| name.starts_with("x-"));
    extensions.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Extensions of the document and of its `info`.
fn document_extensions(root: &Node<'_>) -> Named {
    let mut found = root.member("info").map(|info| extensions(&info)).unwrap_or_default();
    found.extend(extensions(root));
    found
}

fn deprecated(node: &Node<'_>) -> bool {
    ["deprecated", "x-deprecated"]
        .iter()
        .any(|name| node.value.get(name) == Some(&Value::Bool(true)))
}

/// The requirement that names schemes by their keys, as 2.x writes it.
fn requirement(value: &Value) -> Requirement {
    let schemes = value.as_object().into_iter().flatten();
    let schemes = schemes.map(|(name, scopes)| (name.clone(), texts(scopes)));
    Requirement { schemes: schemes.collect() }
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
