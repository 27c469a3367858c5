//! From a definition to the messages that it declares.

use std::sync::Arc;

use eg_event::{Deprecation, Timestamp, attribute};
use eg_spec::{Channel, ChannelMatcher, PayloadSchema, Schema, Spec};
use serde_json::Value;

use super::access::Access;
use super::message::Message;
use super::place::Place;
use super::template::{Template, push_encoded};
use crate::specs::definition::{Definition, PayloadCheck};

/// How many things that are wrong with a payload are told.
const VIOLATIONS_MAX: usize = 3;

/// What one definition declares.
#[derive(Debug)]
pub(super) struct Document {
    definition: Arc<Definition>,
    application: Arc<str>,
    version: Vec<u64>,
    messages: Vec<(ChannelMatcher, Arc<Message>)>,
    warnings: Vec<String>,
}

impl Document {
    pub(super) fn compile(definition: &Arc<Definition>, application: &Arc<str>) -> Self {
        let version = definition.version.as_ref().map_or("", |version| &version.value);
        let mut document = Self {
            definition: Arc::clone(definition),
            application: Arc::clone(application),
            version: version
                .split(|c: char| !c.is_ascii_digit())
                .map_while(|n| n.parse().ok())
                .collect(),
            messages: Vec::new(),
            warnings: Vec::new(),
        };
        match definition.spec.read() {
            Ok(Some(spec)) => document.add(&spec),
            Ok(None) => {}
            Err(why) => document.warn(format!("the document is not used: {why}")),
        }
        document
    }

    /// Whether this is what `definition` of `application` comes to.
    pub(super) fn is_of(&self, definition: &Arc<Definition>, application: &str) -> bool {
        *self.application == *application
            && (Arc::ptr_eq(&self.definition, definition) || self.definition == *definition)
    }

    /// Whether both are of one definition, or of versions of the same.
    pub(super) fn is_version_of(&self, other: &Self) -> bool {
        let (one, other) = (&self.definition, &other.definition);
        one.id == other.id || (one.group.is_some() && one.group == other.group)
    }

    pub(super) fn application(&self) -> Arc<str> {
        Arc::clone(&self.application)
    }

    pub(super) fn name(&self) -> &str {
        &self.definition.name
    }

    /// Later ones are greater.
    pub(super) fn version(&self) -> &[u64] {
        &self.version
    }

    pub(super) fn messages(&self) -> &[(ChannelMatcher, Arc<Message>)] {
        &self.messages
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn warn(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    fn add(&mut self, spec: &Spec) {
        for channel in &spec.channels {
            let Some(address) = &channel.address else { continue };
            let matcher = match ChannelMatcher::parse(address) {
                Ok(matcher) => matcher,
                Err(why) => {
                    self.warn(format!("the channel {address:?} is left out: expected {why}"));
                    continue;
                }
            };
            for place in Place::all_on(spec, channel) {
                let compiled = self.message(&place, &matcher);
                self.messages.push((matcher.clone(), Arc::new(compiled)));
            }
        }
    }

    fn message(&mut self, place: &Place<'_>, matcher: &ChannelMatcher) -> Message {
        let Place { spec, channel, operation, message } = *place;
        let parameters = channel.parameters.iter().filter_map(|parameter| {
            let compiled = self.schema(parameter.schema.as_ref()?)?;
            Some((parameter.name.clone(), compiled))
        });
        let parameters = parameters.collect();
        let is_structured = message
            .cloud_event
            .as_ref()
            .is_some_and(|event| event.mode == eg_spec::CloudEventMode::Structured);
        let checked = self.definition.payload_check != PayloadCheck::Off;
        let payload = message.payload.as_ref().filter(|_| checked);
        let schema = payload.and_then(|schema| self.schema(schema));
        let mut warnings = Vec::new();
        let access = Access::of(spec, channel, operation, &mut |text| warnings.push(text));
        let source = place.source();
        let source = self.own_unless_uri(source, channel, &mut |text| warnings.push(text));
        for text in warnings {
            self.warn(text);
        }
        let dataschema = place.declared("dataschema").map(str::to_owned);
        Message {
            application: Arc::clone(&self.application),
            definition: Arc::from(&*self.definition.name),
            check: self.definition.payload_check,
            matcher: matcher.clone(),
            received: place.is_received(),
            ty: place.ty(),
            source,
            subject: place.template("x-event-subject").unwrap_or_else(|| Template::literal("")),
            content_type: content_type(message, is_structured),
            dataschema: dataschema.filter(|uri| attribute::check_uri("dataschema", uri).is_ok()),
            structured: is_structured,
            schema,
            parameters,
            access,
            deprecation: self.deprecation(place).map(Arc::new),
        }
    }

    /// What is no source becomes the application's.
    fn own_unless_uri(
        &self,
        given: Option<Template>,
        channel: &Channel,
        warn: &mut impl FnMut(String),
    ) -> Template {
        let application = &self.application;
        let own = || Template::literal(&format!("/{application}"));
        let Some(given) = given else { return own() };
        let mut values: Vec<_> =
            channel.parameters.iter().map(|one| (one.name.as_str(), "a")).collect();
        values.push(("application", application));
        let probe = given.fill(&values, push_encoded);
        if attribute::check_uri_reference("source", &probe).is_ok() {
            return given;
        }
        warn(format!("the source {probe:?} is no URI-reference: /{application} is used"));
        own()
    }

    fn schema(&mut self, schema: &Schema) -> Option<PayloadSchema> {
        match PayloadSchema::compile(schema, VIOLATIONS_MAX) {
            Ok(compiled) => Some(compiled),
            Err(why) => {
                self.warn(why.to_string());
                None
            }
        }
    }

    fn deprecation(&self, place: &Place<'_>) -> Option<Deprecation> {
        let Place { spec, channel, operation, message } = place;
        let version = self.definition.version.as_ref();
        let whole = version.is_some_and(|version| version.deprecated || version.for_removal)
            || spec.extensions.get("x-deprecated") == Some(&Value::Bool(true));
        let name = &self.definition.name;
        let what = if whole {
            let value = version.map(|version| format!(" {}", version.value)).unwrap_or_default();
            let removed = version.is_some_and(|version| version.for_removal);
            let end = if removed { ", which will be removed" } else { "" };
            format!("{name}{value} of {}{end}", self.application)
        } else if channel.deprecated || operation.is_some_and(|one| one.deprecated) {
            format!("the channel {:?} of {name}", channel.address.as_deref().unwrap_or_default())
        } else if message.deprecated {
            format!("the message {} of {name}", message.name.as_ref().unwrap_or(&message.key))
        } else {
            return None;
        };
        let since = place.text("x-deprecated-at").and_then(instant);
        let sunset = place.text("x-sunset").and_then(instant);
        Some(Deprecation { since: since.unwrap_or(self.definition.updated_at), sunset, what })
    }
}

/// The media type of the data: an envelope's own type is not that of what is in it.
fn content_type(message: &eg_spec::Message, is_structured: bool) -> Option<String> {
    let declared = message.content_type.clone().filter(|_| !is_structured);
    let text = declared.filter(|text| !text.starts_with("application/cloudevents"));
    text.filter(|text| attribute::check_media_type("datacontenttype", text).is_ok())
}

/// A date, or a date with a time (RFC 3339).
fn instant(text: &str) -> Option<Timestamp> {
    let midnight = || Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z"));
    Timestamp::parse_rfc3339(text).or_else(midnight)
}
