//! From a definition to the messages that it declares.

use std::sync::Arc;

use eg_event::{Deprecation, Timestamp, attribute};
use eg_spec::{Action, Channel, ChannelMatcher, Named, Operation, PayloadSchema, Schema, Spec};
use serde_json::Value;

use super::access::Access;
use super::message::Message;
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
            let on_it = |operation: &&Operation| operation.channel == channel.name;
            let operations: Vec<_> = spec.operations.iter().filter(on_it).collect();
            for message in &channel.messages {
                let with_it = |one: &&&Operation| one.messages.contains(&message.key);
                let using: Vec<_> = operations.iter().filter(with_it).copied().collect();
                let using: Vec<_> = match &*using {
                    [] if operations.is_empty() => vec![None],
                    using => using.iter().copied().map(Some).collect(),
                };
                for operation in using {
                    let place = Place { spec, channel, operation, message, matcher: &matcher };
                    let compiled = self.message(&place);
                    self.messages.push((matcher.clone(), Arc::new(compiled)));
                }
            }
        }
    }

    fn message(&mut self, place: &Place<'_>) -> Message {
        let Place { spec, channel, operation, message, matcher } = *place;
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
        let source = place.source(&self.application, &mut |text| warnings.push(text));
        for text in warnings {
            self.warn(text);
        }
        let dataschema = place.declared("dataschema");
        Message {
            application: Arc::clone(&self.application),
            definition: Arc::from(&*self.definition.name),
            check: self.definition.payload_check,
            matcher: matcher.clone(),
            received: operation.is_none_or(|one| one.action == Action::Receive),
            ty: place.ty(),
            source,
            subject: place.template("x-event-subject").unwrap_or_else(|| Template::literal("")),
            content_type: place.content_type(is_structured),
            dataschema: dataschema.filter(|uri| attribute::check_uri("dataschema", uri).is_ok()),
            structured: is_structured,
            schema,
            parameters,
            access,
            deprecation: self.deprecation(place).map(Arc::new),
        }
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
        let Place { spec, channel, operation, message, .. } = place;
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
        let since = place.text("x-deprecated-at").and_then(|text| instant(&text));
        let sunset = place.text("x-sunset").and_then(|text| instant(&text));
        Some(Deprecation { since: since.unwrap_or(self.definition.updated_at), sunset, what })
    }
}

/// A message where one operation has it.
#[derive(Clone, Copy)]
struct Place<'a> {
    spec: &'a Spec,
    channel: &'a Channel,
    operation: Option<&'a Operation>,
    message: &'a eg_spec::Message,
    matcher: &'a ChannelMatcher,
}

impl Place<'_> {
    /// An extension: of the message, the operation, the channel, or the document.
    fn text(&self, name: &str) -> Option<String> {
        let operation = self.operation.map(|one| &one.extensions);
        let places: [Option<&Named>; 4] = [
            Some(&self.message.extensions),
            operation,
            Some(&self.channel.extensions),
            Some(&self.spec.extensions),
        ];
        let found = places.into_iter().flatten().find_map(|place| place.get(name))?;
        found.as_str().map(str::to_owned).filter(|text| !text.is_empty())
    }

    fn template(&self, name: &str) -> Option<Template> {
        let mut names: Vec<_> =
            self.channel.parameters.iter().map(|one| one.name.as_str()).collect();
        names.push("application");
        self.text(name).map(|text| Template::parse(&text, &names))
    }

    /// The value of an attribute that the message declares as a CloudEvent, if there is but one.
    fn declared(&self, name: &str) -> Option<String> {
        let event = self.message.cloud_event.as_ref()?;
        event.attributes.get(name)?.clone().filter(|value| !value.is_empty())
    }

    fn ty(&self) -> Template {
        let declared = self.declared("type").map(|text| Template::literal(&text));
        declared.or_else(|| self.template("x-event-type")).unwrap_or_else(|| {
            Template::literal(self.message.name.as_ref().unwrap_or(&self.channel.name))
        })
    }

    /// What is no source becomes the application's.
    fn source(&self, application: &str, warn: &mut impl FnMut(String)) -> Template {
        let declared = self.declared("source").map(|text| Template::literal(&text));
        let given = declared.or_else(|| self.template("x-event-source"));
        let own = || Template::literal(&format!("/{application}"));
        let Some(given) = given else { return own() };
        let mut values: Vec<_> =
            self.channel.parameters.iter().map(|one| (one.name.as_str(), "a")).collect();
        values.push(("application", application));
        let probe = given.fill(&values, push_encoded);
        if attribute::check_uri_reference("source", &probe).is_ok() {
            return given;
        }
        warn(format!("the source {probe:?} is no URI-reference: /{application} is used"));
        own()
    }

    /// The media type of the data: an envelope's own type is not that of what is in it.
    fn content_type(&self, is_structured: bool) -> Option<String> {
        let declared = self.message.content_type.clone().filter(|_| !is_structured);
        let text = declared.filter(|text| !text.starts_with("application/cloudevents"));
        text.filter(|text| attribute::check_media_type("datacontenttype", text).is_ok())
    }
}

/// A date, or a date with a time (RFC 3339).
fn instant(text: &str) -> Option<Timestamp> {
    let midnight = || Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z"));
    Timestamp::parse_rfc3339(text).or_else(midnight)
}
