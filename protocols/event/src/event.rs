//! The event: context attributes that hold the rules of CloudEvents 1.0, and a payload.

use crate::attribute::{
    AttributeName, AttributeValue, InvalidAttribute, check_media_type, check_non_empty,
    check_timestamp, check_uri, check_uri_reference,
};
use crate::data::Data;

/// The version of the specification that events are kept in.
pub const SPEC_VERSION: &str = "1.0";
/// The most extension attributes: receivers take about a hundred headers.
const EXTENSIONS_MAX: usize = 64;

/// An event that holds every rule of CloudEvents 1.0; made by [`EventBuilder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvent {
    attributes: Attributes,
    data: Option<Data>,
}

/// The context attributes of a [`CloudEvent`], each as the text that the sender wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `id`: unique within the source.
    pub id: Box<str>,
    /// `source`: a URI-reference for the context in which the event happened.
    pub source: Box<str>,
    /// `type`: what kind of occurrence this is.
    pub ty: Box<str>,
    /// `subject`: what within the source the event is about.
    pub subject: Option<Box<str>>,
    /// `time`: when it happened, RFC 3339, the sender's own text (offset and digits unchanged).
    pub time: Option<Box<str>>,
    /// `datacontenttype`: the media type of the payload.
    pub datacontenttype: Option<Box<str>>,
    /// `dataschema`: an absolute URI of the payload's schema.
    pub dataschema: Option<Box<str>>,
    /// Extension attributes, sorted by name.
    pub extensions: Vec<(AttributeName, AttributeValue)>,
}

impl CloudEvent {
    /// Starts an event with nothing set.
    #[must_use]
    pub fn builder() -> EventBuilder {
        EventBuilder::default()
    }

    /// Puts an event together from attributes that were checked when it came in; for the store,
    /// which reads back what it wrote.
    #[must_use]
    pub fn from_checked(attributes: Attributes, data: Option<Data>) -> Self {
        Self { attributes, data }
    }

    /// All attributes.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// `id`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.attributes.id
    }

    /// `source`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.attributes.source
    }

    /// `type`.
    #[must_use]
    pub fn ty(&self) -> &str {
        &self.attributes.ty
    }

    /// `subject`.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.attributes.subject.as_deref()
    }

    /// `time`, as the sender wrote it.
    #[must_use]
    pub fn time(&self) -> Option<&str> {
        self.attributes.time.as_deref()
    }

    /// `datacontenttype`.
    #[must_use]
    pub fn datacontenttype(&self) -> Option<&str> {
        self.attributes.datacontenttype.as_deref()
    }

    /// `dataschema`.
    #[must_use]
    pub fn dataschema(&self) -> Option<&str> {
        self.attributes.dataschema.as_deref()
    }

    /// The extension attribute `name`.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&AttributeValue> {
        let extensions = &self.attributes.extensions;
        let at = extensions.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(&extensions[at].1)
    }

    /// The extension attributes, sorted by name.
    #[must_use]
    pub fn extensions(&self) -> &[(AttributeName, AttributeValue)] {
        &self.attributes.extensions
    }

    /// The payload; `None` when the event has none.
    #[must_use]
    pub fn data(&self) -> Option<&Data> {
        self.data.as_ref()
    }

    /// The same event with the extension `name` set to `value`.
    #[must_use]
    pub fn with_extension(mut self, name: AttributeName, value: AttributeValue) -> Self {
        insert_sorted(&mut self.attributes.extensions, name, value);
        self
    }

    /// Every attribute but `specversion` and `datacontenttype` as name and canonical text, in the
    /// order of the specification: what the binary content modes carry as headers.
    pub fn text_attributes(&self) -> impl Iterator<Item = (&str, std::borrow::Cow<'_, str>)> {
        use std::borrow::Cow;
        let own = &self.attributes;
        let optional = [
            ("subject", own.subject.as_deref()),
            ("time", own.time.as_deref()),
            ("dataschema", own.dataschema.as_deref()),
        ];
        [("id", &*own.id), ("source", &*own.source), ("type", &*own.ty)]
            .into_iter()
            .chain(optional.into_iter().filter_map(|(name, value)| Some((name, value?))))
            .map(|(name, value)| (name, Cow::Borrowed(value)))
            .chain(own.extensions.iter().map(|(name, value)| {
                let text = match value {
                    AttributeValue::String(text) => Cow::Borrowed(&**text),
                    other => Cow::Owned(other.to_string()),
                };
                (name.as_str(), text)
            }))
    }
}

/// Takes attributes one by one, in any order, from any binding, and checks each as it comes.
///
/// ```
/// use eg_event::CloudEvent;
/// let mut builder = CloudEvent::builder();
/// builder.attribute("specversion", "1.0")?;
/// builder.attribute("id", "1")?;
/// builder.attribute("source", "/shop")?;
/// builder.attribute("type", "order.created")?;
/// let event = builder.build()?;
/// assert_eq!(event.source(), "/shop");
/// # Ok::<(), eg_event::InvalidAttribute>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct EventBuilder {
    id: Option<Box<str>>,
    source: Option<Box<str>>,
    ty: Option<Box<str>>,
    spec_version_seen: bool,
    rest: Attributes,
    data: Option<Data>,
}

impl EventBuilder {
    /// Sets the attribute `name` to `text`; an unknown name is an extension of type String. An
    /// attribute may come once.
    pub fn attribute(&mut self, name: &str, text: &str) -> Result<(), InvalidAttribute> {
        match name {
            "specversion" => {
                if text != SPEC_VERSION {
                    return Err(InvalidAttribute::new(name, "the version \"1.0\""));
                }
                if std::mem::replace(&mut self.spec_version_seen, true) {
                    return Err(twice(name));
                }
                Ok(())
            }
            "id" => set_once(&mut self.id, name, text, check_non_empty),
            "source" => set_once(&mut self.source, name, text, check_uri_reference),
            "type" => set_once(&mut self.ty, name, text, check_non_empty),
            "subject" => set_once(&mut self.rest.subject, name, text, check_non_empty),
            "time" => set_once(&mut self.rest.time, name, text, check_timestamp),
            "datacontenttype" => {
                set_once(&mut self.rest.datacontenttype, name, text, check_media_type)
            }
            "dataschema" => set_once(&mut self.rest.dataschema, name, text, check_uri),
            _ => self.extension(name, AttributeValue::text(name, text)?),
        }
    }

    /// Sets the extension `name`; it may come once.
    pub fn extension(&mut self, name: &str, value: AttributeValue) -> Result<(), InvalidAttribute> {
        let checked = AttributeName::parse(name)?;
        if self.has_extension(name) {
            return Err(twice(name));
        }
        if self.rest.extensions.len() >= EXTENSIONS_MAX {
            return Err(InvalidAttribute::new(name, "no more than 64 extension attributes"));
        }
        insert_sorted(&mut self.rest.extensions, checked, value);
        Ok(())
    }

    /// Says that the version is 1.0, where the binding implies it.
    pub fn implied_spec_version(&mut self) {
        self.spec_version_seen = true;
    }

    /// Sets the payload.
    pub fn data(&mut self, data: Data) {
        self.data = Some(data);
    }

    /// `datacontenttype`, if it has been set.
    #[must_use]
    pub fn datacontenttype(&self) -> Option<&str> {
        self.rest.datacontenttype.as_deref()
    }

    /// Whether the extension `name` has been set.
    #[must_use]
    pub fn has_extension(&self, name: &str) -> bool {
        self.rest.extensions.iter().any(|(known, _)| known.as_str() == name)
    }

    /// Finishes the event; names the first required attribute that is missing.
    pub fn build(self) -> Result<CloudEvent, InvalidAttribute> {
        let missing = |name| InvalidAttribute::new(name, "this required attribute to be present");
        if !self.spec_version_seen {
            return Err(missing("specversion"));
        }
        let attributes = Attributes {
            id: self.id.ok_or_else(|| missing("id"))?,
            source: self.source.ok_or_else(|| missing("source"))?,
            ty: self.ty.ok_or_else(|| missing("type"))?,
            ..self.rest
        };
        Ok(CloudEvent { attributes, data: self.data })
    }
}

fn set_once(
    slot: &mut Option<Box<str>>,
    name: &str,
    text: &str,
    check: fn(&str, &str) -> Result<(), InvalidAttribute>,
) -> Result<(), InvalidAttribute> {
    check(name, text)?;
    if slot.is_some() {
        return Err(twice(name));
    }
    *slot = Some(text.into());
    Ok(())
}

fn twice(name: &str) -> InvalidAttribute {
    InvalidAttribute::new(name, "this attribute at most once")
}

/// Sets an extension, in the order of their names.
fn insert_sorted(
    extensions: &mut Vec<(AttributeName, AttributeValue)>,
    name: AttributeName,
    value: AttributeValue,
) {
    match extensions.binary_search_by(|(known, _)| known.cmp(&name)) {
        Ok(at) => extensions[at].1 = value,
        Err(at) => extensions.insert(at, (name, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> EventBuilder {
        let mut builder = CloudEvent::builder();
        for (name, text) in [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t")] {
            builder.attribute(name, text).unwrap();
        }
        builder
    }

    #[test]
    fn every_required_attribute_is_asked_for_by_name() {
        for left_out in ["specversion", "id", "source", "type"] {
            let mut builder = CloudEvent::builder();
            for (name, text) in
                [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t")]
            {
                if name != left_out {
                    builder.attribute(name, text).unwrap();
                }
            }
            assert_eq!(builder.build().unwrap_err().name, left_out);
        }
    }

    #[test]
    fn extensions_are_limited() {
        let mut builder = CloudEvent::builder();
        for number in 0..EXTENSIONS_MAX {
            builder.attribute(&format!("ext{number}"), "x").unwrap();
        }
        let error = builder.attribute("onemore", "x").unwrap_err();
        assert!(error.to_string().contains("no more than 64"), "{error}");
    }

    #[test]
    fn attributes_that_break_a_rule_are_named() {
        let rows = [
            ("id", ""),
            ("source", "not a uri"),
            ("type", ""),
            ("specversion", "0.3"),
            ("subject", ""),
            ("time", "yesterday"),
            ("datacontenttype", "json"),
            ("dataschema", "/relative"),
            ("Upper", "x"),
            ("data", "x"),
            ("ext", "a\u{7}"),
        ];
        for (name, text) in rows {
            let found = CloudEvent::builder().attribute(name, text).unwrap_err();
            assert_eq!(found.name, name, "{text:?}");
        }
        assert_eq!(minimal().attribute("id", "2").unwrap_err().name, "id");
        let mut builder = minimal();
        builder.attribute("ext", "1").unwrap();
        assert_eq!(builder.attribute("ext", "2").unwrap_err().name, "ext");
    }

    #[test]
    fn extensions_are_found_by_name_whatever_their_order() {
        let mut builder = minimal();
        builder.attribute("zeta", "z").unwrap();
        builder.extension("alpha", AttributeValue::Integer(7)).unwrap();
        let event = builder.build().unwrap();
        assert_eq!(event.extension("alpha"), Some(&AttributeValue::Integer(7)));
        assert_eq!(event.extension("beta"), None);
        let names: Vec<_> = event.text_attributes().map(|(name, _)| name).collect();
        assert_eq!(names, ["id", "source", "type", "alpha", "zeta"]);
    }
}
