//! A message that a document declares: which events are it, and whether they look as it says.

use std::cell::OnceCell;
use std::sync::Arc;

use eg_event::principal::Method;
use eg_event::{
    CloudEvent, Data, Deprecation, InvalidInput, Principal, Protocol, Refusal, data, json,
};
use eg_spec::{ChannelMatcher, PayloadSchema, Violation};
use serde_json::Value;

use super::access::Access;
use super::template::{Parameters, Template, push_encoded, push_plain};
use crate::specs::definition::PayloadCheck;

/// The longest description of what is wrong with a payload, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// A message on a channel, as one operation has it.
#[derive(Debug)]
pub struct Message {
    pub(super) application: Arc<str>,
    /// The name of the definition.
    pub(super) definition: Arc<str>,
    pub(super) check: PayloadCheck,
    pub(super) matcher: ChannelMatcher,
    /// Whether others send it to the application; else the application sends it itself.
    pub(super) received: bool,
    pub(super) ty: Template,
    pub(super) source: Template,
    pub(super) subject: Template,
    pub(super) content_type: Option<String>,
    pub(super) dataschema: Option<String>,
    /// The schema is of the whole event in JSON, not of its data.
    pub(super) structured: bool,
    pub(super) schema: Option<PayloadSchema>,
    /// What parameters of the address may be.
    pub(super) parameters: Vec<(String, PayloadSchema)>,
    pub(super) access: Access,
    pub(super) deprecation: Option<Arc<Deprecation>>,
}

/// Why an event is not what its document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong.
    pub wrong: InvalidInput,
    /// How many things are.
    count: usize,
}

/// Bytes that are parsed when first looked at, and only once.
#[derive(Debug)]
pub struct Payload<'a> {
    bytes: &'a [u8],
    value: OnceCell<Option<Value>>,
}

impl<'a> Payload<'a> {
    /// Nothing is parsed yet.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, value: OnceCell::new() }
    }

    fn check(&self, schema: &PayloadSchema) -> Result<(), Vec<Violation>> {
        if schema.passes(self.bytes) {
            return Ok(());
        }
        match self.value.get_or_init(|| serde_json::from_slice(self.bytes).ok()) {
            Some(value) => schema.validate_value(value),
            // Which says where it ends being JSON.
            None => schema.validate(self.bytes),
        }
    }
}

impl Message {
    /// Whose document it is in.
    #[must_use]
    pub fn application(&self) -> &str {
        &self.application
    }

    /// The name of the definition that has it.
    #[must_use]
    pub fn definition(&self) -> &str {
        &self.definition
    }

    /// What becomes of events that are not what it says.
    #[must_use]
    pub fn payload_check(&self) -> PayloadCheck {
        self.check
    }

    /// What a publisher is told of it.
    #[must_use]
    pub fn deprecation(&self) -> Option<&Arc<Deprecation>> {
        self.deprecation.as_ref()
    }

    /// Whether others than its application may send it.
    #[must_use]
    pub fn is_received(&self) -> bool {
        self.received
    }

    /// The address of its channel, if that is the same for all.
    #[must_use]
    pub fn fixed_address(&self) -> Option<&str> {
        Some(self.matcher.address()).filter(|address| !address.contains('{'))
    }

    /// Whether the whole event in JSON is the message, and not its data.
    #[must_use]
    pub fn is_structured(&self) -> bool {
        self.structured
    }

    pub(super) fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    pub(super) fn dataschema(&self) -> Option<&str> {
        self.dataschema.as_deref()
    }

    pub(super) fn type_text(&self) -> String {
        self.ty.fill(&[], push_plain)
    }

    pub(super) fn type_pattern(&self) -> Option<ChannelMatcher> {
        self.ty.pattern()
    }

    /// The parameters of its address that make it `address`, and the application's name.
    pub(super) fn matches<'a>(&'a self, address: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        let mut parameters = self.matcher.matches(address)?;
        parameters.push(("application", &self.application));
        Some(parameters)
    }

    /// `type`, `source` and `subject` of what is sent to `address`.
    pub(super) fn attributes(
        &self,
        address: &str,
        parameters: &Parameters<'_>,
    ) -> (String, String, String) {
        let subject = self.subject.fill(parameters, push_plain);
        let subject = if subject.is_empty() { address.to_owned() } else { subject };
        let (ty, source) = (&self.ty, &self.source);
        (ty.fill(parameters, push_plain), source.fill(parameters, push_encoded), subject)
    }

    /// Whether the parameters of an address are what it says.
    pub(super) fn check_parameters(&self, address: &str) -> Result<(), InvalidInput> {
        if self.parameters.is_empty() {
            return Ok(());
        }
        for (name, value) in self.matcher.matches(address).unwrap_or_default() {
            let schema = self.parameters.iter().find(|(known, _)| known == name);
            let Some((_, schema)) = schema else { continue };
            // A number in an address is text as well.
            let text = Value::String(value.to_owned());
            let number = value.parse::<serde_json::Number>().map(Value::Number);
            let fits_number = || number.is_ok_and(|number| schema.validate_value(&number).is_ok());
            let Err(violations) = schema.validate_value(&text) else { continue };
            if !fits_number() {
                let expected = violations.first().map_or("another value", |one| &one.expected);
                let detail = format!("parameter {{{name}}}: expected {expected}");
                return Err(InvalidInput::new("topic", detail));
            }
        }
        Ok(())
    }

    /// Whether a payload of this media type can be it; one without a type can be anything.
    pub(super) fn takes_content_type(&self, found: Option<&str>) -> bool {
        let (Some(expected), Some(found)) = (&self.content_type, found) else { return true };
        self.structured || data::essence(expected).eq_ignore_ascii_case(data::essence(found))
    }

    /// How far from it a payload is: 0 is all right.
    pub(super) fn count_violations(&self, payload: &Payload<'_>) -> usize {
        let check = |schema| payload.check(schema).map_or_else(|wrong| wrong.len(), |()| 0);
        self.schema.as_ref().map_or(0, check)
    }

    /// Whether `principal` may send it over `protocol`, as far as the document says.
    ///
    /// # Errors
    /// It is the application's own to send, the channel is elsewhere, or another way of saying who
    /// one is is asked for.
    pub fn check_access(&self, principal: &Principal, protocol: Protocol) -> Result<(), Refusal> {
        let channel = self.matcher.address();
        let is_own = principal.application() == Some(&*self.application);
        if principal.method() == Method::Bus && is_own {
            // The definition itself says that it comes from there, whatever servers it names.
            return Ok(());
        }
        if !self.received && !super::is_owner(principal, &self.application) {
            let text = format!("channel: {channel:?} is one that {} sends to", self.application);
            return Err(Refusal::Forbidden(text.into()));
        }
        self.access.check((channel, &self.application), principal, protocol)
    }

    /// Whether `event` looks as it says.
    ///
    /// # Errors
    /// What is wrong: the content type, or places in the data and in the document.
    pub fn check_event(&self, event: &CloudEvent, data: &Payload<'_>) -> Result<(), Unfit> {
        if self.check == PayloadCheck::Off {
            return Ok(());
        }
        let content_type = event.datacontenttype();
        // A schema is for JSON, and another media type is no way round it.
        let is_evaded = self.schema.is_some()
            && self.content_type.is_none()
            && !self.structured
            && !content_type.is_none_or(data::is_json);
        if is_evaded || !self.takes_content_type(content_type) {
            let (expected, found) = (self.content_type(), content_type.unwrap_or_default());
            let expected = expected.unwrap_or("application/json");
            let detail = format!("expected {expected}, found {found:?}{}", self.whose());
            let wrong = InvalidInput::new("datacontenttype", detail);
            return Err(Unfit { wrong, count: 1 });
        }
        let Some(schema) = &self.schema else { return Ok(()) };
        let checked = if self.structured {
            let mut text = Vec::new();
            json::encode(event, &mut text);
            Payload::new(&text).check(schema)
        } else if content_type.or_else(|| self.content_type()).is_none_or(data::is_json) {
            data.check(schema)
        } else {
            Ok(())
        };
        checked.map_err(|violations| self.unfit(&violations))
    }

    /// The document, for the end of a sentence.
    fn whose(&self) -> String {
        format!(", as {} of {} says", self.definition, self.application)
    }

    fn unfit(&self, violations: &[Violation]) -> Unfit {
        let told: Vec<String> = violations
            .iter()
            .map(|one| {
                let at = &one.schema_pointer;
                let document = at.document.as_deref().unwrap_or_default();
                format!(
                    "at \"{}\" expected {} (\"{document}{}\")",
                    one.pointer, one.expected, at.pointer
                )
            })
            .collect();
        let mut detail = told.join("; ");
        if detail.len() > REASON_BYTES_MAX {
            detail.truncate(detail.floor_char_boundary(REASON_BYTES_MAX));
            detail.push_str("...");
        }
        detail.push_str(&self.whose());
        Unfit { wrong: InvalidInput::new("data", detail), count: violations.len() }
    }
}

impl Unfit {
    /// Whether less is wrong than by `other`.
    #[must_use]
    pub fn is_closer_than(&self, other: &Self) -> bool {
        self.count < other.count
    }
}

/// The data of an event, as it is checked: what has none is `null`.
#[must_use]
pub fn data_of(event: &CloudEvent) -> Payload<'_> {
    Payload::new(event.data().map_or(b"null", |data: &Data| data.bytes()))
}
