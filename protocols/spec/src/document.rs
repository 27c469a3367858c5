//! A document as it was sent: read, of a known version, and valid by the official schema.

use std::borrow::Cow;
use std::collections::BTreeMap;

use fluent_uri::{Uri, UriRef};
use serde_json::Value;

use crate::text::Text;
use crate::{Format, Invalid, Limits, Pointer, Position, SpecError, structure};

/// The major version of AsyncAPI, which decides what words mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 2.0.0 to 2.6.0, all judged by the schema of 2.6.0, to which the others were extended.
    V2,
    /// 3.0.0
    V3_0,
    /// 3.1.0
    V3_1,
}

impl Version {
    fn named(name: &str) -> Option<Self> {
        match name {
            "2.0.0" | "2.1.0" | "2.2.0" | "2.3.0" | "2.4.0" | "2.5.0" | "2.6.0" => Some(Self::V2),
            "3.0.0" => Some(Self::V3_0),
            "3.1.0" => Some(Self::V3_1),
            _ => None,
        }
    }
}

/// An AsyncAPI document that is valid by itself. What it refers to may still be missing.
#[derive(Debug, Clone)]
pub struct Document {
    pub(crate) text: Text,
    pub(crate) version: Version,
    pub(crate) limits: Limits,
    /// The URL that references are relative to.
    pub(crate) base: Option<Uri<String>>,
}

/// What a document refers to outside of itself, by URL without fragment: fetched by others, this
/// crate asks nobody.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    pub(crate) documents: BTreeMap<String, Text>,
}

/// A reference to another document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteReference {
    /// What to fetch: absolute, without fragment.
    pub url: String,
    /// The document that refers to it, when it is not the one that was handed in.
    pub document: Option<String>,
    /// The value that has the `$ref`.
    pub pointer: Pointer,
    /// Where it stands.
    pub position: Position,
}

impl Document {
    /// Reads and judges a document. `base` is the URL it came from, if it has one; without it,
    /// relative references cannot be followed.
    ///
    /// # Errors
    /// Everything that is wrong with the text or by the schema of its version.
    ///
    /// ```
    /// use eg_spec::{Document, Format, Limits};
    /// let text = "asyncapi: 3.0.0\ninfo: {title: Lamps}\n";
    /// let invalid = Document::parse(text.as_bytes(), Format::Yaml, None, &Limits::default());
    /// let error = &invalid.unwrap_err().errors[0];
    /// assert_eq!((error.pointer.as_str(), error.position.unwrap().line), ("/info", 2));
    /// ```
    pub fn parse(
        text: &[u8],
        format: Format,
        base: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, Invalid> {
        let text = Text::read(text, format, limits)?;
        let wrong = |pointer: &str, expected: &str| {
            let pointer = Pointer::parse(pointer).unwrap_or_default();
            let position = Some(text.position(&pointer));
            Invalid::one(SpecError { document: None, pointer, position, expected: expected.into() })
        };
        let base = base.map(absolute).transpose();
        let base = base.map_err(|()| wrong("", "to come from an absolute URL"))?;
        if !text.value.is_object() {
            return Err(wrong("", "an object"));
        }
        let named = text
            .value
            .get("asyncapi")
            .ok_or_else(|| wrong("", "the member \"asyncapi\" with the version"))?;
        let version = named.as_str().and_then(Version::named);
        let version = version
            .ok_or_else(|| wrong("/asyncapi", "\"2.0.0\" to \"2.6.0\", \"3.0.0\" or \"3.1.0\""))?;
        let document = Self { text, version, limits: limits.clone(), base };
        Invalid::unless_empty(document.too_much(), limits.errors_max)?;
        Invalid::unless_empty(structure::errors(&document), limits.errors_max)?;
        Ok(document)
    }

    /// Its major version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The whole document with everything in it, extensions and all.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.text.value
    }

    /// Where a value stands in the text, or where it would belong.
    #[must_use]
    pub fn position(&self, pointer: &Pointer) -> Position {
        self.text.position(pointer)
    }

    /// The documents that are referred to and not in `fetched`, in the order of their URLs, also
    /// by what was fetched: fetch them, and ask again until there are none.
    #[must_use]
    pub fn unfetched(&self, fetched: &Fetched) -> Vec<RemoteReference> {
        let mut found = BTreeMap::new();
        let base = self.base.as_ref();
        let own = base.map(|base| base.as_str().to_owned()).unwrap_or_default();
        let fragments = fetched.documents.iter().map(|(url, text)| (Some(url), text));
        for (document, text) in std::iter::once((None, &self.text)).chain(fragments) {
            each_reference(&text.value, &mut Vec::new(), &mut |steps, reference| {
                let Some((url, _)) = resolve(reference, base) else { return };
                if url == own || url.is_empty() || fetched.documents.contains_key(&url) {
                    return;
                }
                found.entry(url.clone()).or_insert_with(|| {
                    let pointer = Pointer::of(steps);
                    let position = text.position(&pointer);
                    RemoteReference { url, document: document.cloned(), pointer, position }
                });
            });
        }
        found.into_values().collect()
    }

    pub(crate) fn error(&self, pointer: Pointer, expected: impl Into<String>) -> SpecError {
        let position = Some(self.position(&pointer));
        SpecError { document: None, pointer, position, expected: expected.into() }
    }

    fn too_much(&self) -> Vec<SpecError> {
        let mut errors = Vec::new();
        let channels = self.value().get("channels").and_then(Value::as_object);
        let max = self.limits.channels_max;
        if let Some(channels) = channels.filter(|channels| channels.len() > max) {
            let pointer = Pointer::default().join("channels");
            errors.push(
                self.error(pointer, format!("at most {max} channels, not {}", channels.len())),
            );
        }
        let (count, max) = (count_references(self.value()), self.limits.references_max);
        if count > max {
            errors.push(self.error(Pointer::default(), format!("at most {max} $ref, not {count}")));
        }
        errors
    }
}

impl Fetched {
    /// Adds what was fetched from `url`.
    ///
    /// # Errors
    /// What is wrong with the text, or that the URL is not absolute.
    pub fn insert(
        &mut self,
        url: &str,
        text: &[u8],
        format: Format,
        limits: &Limits,
    ) -> Result<(), Invalid> {
        let named = |mut invalid: Invalid| {
            invalid.errors.iter_mut().for_each(|error| error.document = Some(url.to_owned()));
            invalid
        };
        let error = |expected: String| {
            let pointer = Pointer::default();
            named(Invalid::one(SpecError { document: None, pointer, position: None, expected }))
        };
        let base = absolute(url).map_err(|()| error("an absolute URL".to_owned()))?;
        let mut text = Text::read(text, format, limits).map_err(named)?;
        let (count, max) = (count_references(&text.value), limits.references_max);
        if count > max {
            return Err(error(format!("at most {max} $ref, not {count}")));
        }
        make_absolute(&mut text.value, &base);
        self.documents.insert(base.into_string(), text);
        Ok(())
    }
}

/// An absolute URL without its fragment.
fn absolute(url: &str) -> Result<Uri<String>, ()> {
    let mut uri = Uri::parse(url.to_owned()).map_err(|_| ())?;
    uri.set_fragment(None);
    Ok(uri)
}

/// The document (empty: the one that has the reference, as nothing else is known of it) and the
/// fragment that a reference leads to.
pub(crate) fn resolve(reference: &str, base: Option<&Uri<String>>) -> Option<(String, String)> {
    let (path, fragment) = reference.split_once('#').unwrap_or((reference, ""));
    let url = match base {
        _ if path.is_empty() => base.map(|base| base.as_str().to_owned()).unwrap_or_default(),
        Some(base) => UriRef::parse(path).ok()?.resolve_against(base).ok()?.into_string(),
        None => Uri::parse(path).ok()?.as_str().to_owned(),
    };
    Some((url, fragment.to_owned()))
}

/// Shows every `$ref` of a document, with the steps to the value that has it.
pub(crate) fn each_reference<'a>(
    value: &'a Value,
    steps: &mut Vec<Cow<'a, str>>,
    see: &mut impl FnMut(&[Cow<'a, str>], &'a str),
) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                see(steps, reference);
            }
            for (name, member) in members {
                steps.push(name.into());
                each_reference(member, steps, see);
                steps.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                steps.push(index.to_string().into());
                each_reference(item, steps, see);
                steps.pop();
            }
        }
        _ => {}
    }
}

fn count_references(value: &Value) -> usize {
    let mut count = 0;
    each_reference(value, &mut Vec::new(), &mut |_, _| count += 1);
    count
}

/// Makes every reference of a fetched document mean the same wherever it is copied to.
fn make_absolute(value: &mut Value, base: &Uri<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref")
                && let Some((url, fragment)) = resolve(reference, Some(base))
            {
                *reference = format!("{url}#{fragment}");
            }
            members.values_mut().for_each(|member| make_absolute(member, base));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| make_absolute(item, base)),
        _ => {}
    }
}
