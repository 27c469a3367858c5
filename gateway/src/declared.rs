//! What registered documents ask of events: the channels of every application, the events that it
//! publishes, and how each is to look. Made anew when a document changes, and read without locks.

mod access;
mod compile;
#[cfg(test)]
mod facts;
#[cfg(test)]
pub(crate) mod fixture;
mod message;
mod place;
mod template;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use eg_event::principal::Method;
use eg_event::{
    ChannelEvent, ChannelMessage, Channels, Declaration, InvalidInput, Principal, RawPayload,
    Refusal,
};
use eg_spec::{ChannelIndex, ChannelMatcher, Conflict};

use self::compile::Document;
pub use self::message::{Message, Payload, Unfit, data_of};
pub use self::place::Place;
pub use self::template::Template;
use crate::specs::definition::{Application, Definition};
use crate::specs::registry::Follow;
use crate::specs::snapshot::Snapshot;

/// What all registered documents ask.
#[derive(Debug, Default)]
pub struct Declared {
    /// By the name of the application.
    applications: HashMap<Arc<str>, OfApplication>,
    /// The channels of all applications: those that are the same together.
    channels: ChannelIndex<Vec<Arc<Channel>>>,
    /// By the identifier of the definition.
    documents: BTreeMap<String, Arc<Document>>,
}

/// What the documents of one application ask.
#[derive(Debug, Default)]
struct OfApplication {
    channels: ChannelIndex<Arc<Channel>>,
    types: HashMap<String, Vec<Arc<Message>>>,
    /// Types that have parameters.
    patterns: Vec<(ChannelMatcher, Vec<Arc<Message>>)>,
}

/// A channel of an application.
#[derive(Debug)]
struct Channel {
    application: Arc<str>,
    matcher: ChannelMatcher,
    /// Those of the latest version of its document first.
    messages: Vec<Arc<Message>>,
}

/// A channel, and the address that was sent to.
type Addressed<'a> = (&'a Channel, Cow<'a, str>);

impl Declared {
    /// What `definitions` of `applications` ask. A definition without a document, or with one that
    /// cannot be read, asks nothing.
    ///
    /// # Errors
    /// Channels that two documents of one application claim, which are no versions of one another.
    pub fn compile(
        applications: &[Arc<Application>],
        definitions: &[Arc<Definition>],
    ) -> Result<Self, Vec<Conflict>> {
        Self::default().changed(applications, definitions)
    }

    /// The same, where definitions that are the same as before are not read again.
    ///
    /// # Errors
    /// As [`Declared::compile`].
    pub fn changed(
        &self,
        applications: &[Arc<Application>],
        definitions: &[Arc<Definition>],
    ) -> Result<Self, Vec<Conflict>> {
        let names: HashMap<&str, Arc<str>> =
            applications.iter().map(|one| (&*one.id, Arc::from(&*one.name))).collect();
        let mut documents = BTreeMap::new();
        for definition in definitions {
            let Some(application) = names.get(&*definition.application_id) else { continue };
            let known = self.documents.get(&definition.id);
            let document = match known.filter(|known| known.is_of(definition, application)) {
                Some(known) => Arc::clone(known),
                None => Arc::new(Document::compile(definition, application)),
            };
            documents.insert(definition.id.clone(), document);
        }
        let mut declared = Self { documents, ..Self::default() };
        let conflicts = declared.index();
        if conflicts.is_empty() { Ok(declared) } else { Err(conflicts) }
    }

    /// What the definition `id` says that is not held to, in words.
    #[must_use]
    pub fn warnings(&self, id: &str) -> &[String] {
        self.documents.get(id).map_or(&[], |document| document.warnings())
    }

    /// Whether nothing is declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.applications.is_empty()
    }

    /// What an event of `application` with the type `ty` may be, the latest version first.
    #[must_use]
    pub fn messages(&self, application: &str, ty: &str) -> &[Arc<Message>] {
        let Some(found) = self.applications.get(application) else { return &[] };
        if let Some(messages) = found.types.get(ty) {
            return messages;
        }
        let pattern = found.patterns.iter().find(|(pattern, _)| pattern.matches(ty).is_some());
        pattern.map_or(&[], |(_, messages)| messages)
    }

    /// Whether anything is declared for `application`.
    #[must_use]
    pub fn knows(&self, application: &str) -> bool {
        self.applications.contains_key(application)
    }

    /// Puts the messages of all documents where they are found.
    fn index(&mut self) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        let mut documents: Vec<_> = self.documents.values().map(Arc::clone).collect();
        documents.sort_by(|one, other| other.version().cmp(one.version()));
        let mut everywhere: BTreeMap<String, Vec<Arc<Channel>>> = BTreeMap::new();
        let mut by_application: BTreeMap<Arc<str>, Vec<Arc<Document>>> = BTreeMap::new();
        for document in documents {
            by_application.entry(document.application()).or_default().push(document);
        }
        for (application, documents) in by_application {
            let mut found = OfApplication::default();
            for document in &documents {
                found.add_types(document);
            }
            for (shape, channel) in channels(&application, &documents, &mut conflicts) {
                let channel = Arc::new(channel);
                // Where channels overlap, the more special one, or else the first, is meant.
                found.channels.insert(&application, channel.matcher.clone(), Arc::clone(&channel));
                everywhere.entry(shape).or_default().push(channel);
            }
            self.applications.insert(application, found);
        }
        for alike in everywhere.into_values() {
            let Some(first) = alike.first() else { continue };
            let (owner, matcher) = (Arc::clone(&first.application), first.matcher.clone());
            self.channels.insert(&owner, matcher, alike);
        }
        conflicts
    }

    /// The channel that a payload is sent to, and its address.
    fn channel<'a>(&'a self, raw: &RawPayload<'a>) -> Result<Option<Addressed<'a>>, Refusal> {
        let own = raw.application.or_else(|| raw.principal.application());
        if let Some(own) = own.and_then(|own| self.applications.get(own)) {
            if let Some(found) = own.channels.find(raw.address) {
                return Ok(Some((found.value, raw.address.into())));
            }
            // A path has no slash of its own before the address, and addresses may begin with one.
            let with_slash = raw.application.map(|_| format!("/{}", raw.address));
            if let Some(address) = with_slash
                && let Some(found) = own.channels.find(&address)
            {
                let channel: &Channel = found.value;
                return Ok(Some((channel, address.into())));
            }
        }
        if raw.application.is_some() {
            return Ok(None);
        }
        match self.channels.find(raw.address).map(|found| &**found.value) {
            None | Some([]) => Ok(None),
            Some([only]) => Ok(Some((only, raw.address.into()))),
            Some([one, other, ..]) => Err(Refusal::Forbidden(
                format!(
                    "topic: {:?} is a channel of {} and of {}; expected a sender of one of them",
                    raw.address, one.application, other.application
                )
                .into(),
            )),
        }
    }
}

impl OfApplication {
    fn add_types(&mut self, document: &Document) {
        for (_, message) in document.messages() {
            let Some(pattern) = message.type_pattern() else {
                let alike = self.types.entry(message.type_text()).or_default();
                alike.push(Arc::clone(message));
                continue;
            };
            let known =
                self.patterns.iter_mut().find(|(known, _)| known.address() == pattern.address());
            match known {
                Some((_, alike)) => alike.push(Arc::clone(message)),
                None => self.patterns.push((pattern, vec![Arc::clone(message)])),
            }
        }
    }
}

/// The channels of an application by their shape: addresses that differ in nothing but the names of
/// parameters are one channel, which versions of one definition may share.
fn channels(
    application: &Arc<str>,
    documents: &[Arc<Document>],
    conflicts: &mut Vec<Conflict>,
) -> BTreeMap<String, Channel> {
    let mut found: BTreeMap<String, (Channel, &Document)> = BTreeMap::new();
    for document in documents {
        for (matcher, message) in document.messages() {
            let (channel, first) = found.entry(shape(matcher.address())).or_insert_with(|| {
                let (application, matcher) = (Arc::clone(application), matcher.clone());
                (Channel { application, matcher, messages: Vec::new() }, document)
            });
            if !first.is_version_of(document) {
                conflicts.push(Conflict {
                    owner: document.name().to_owned(),
                    address: matcher.address().to_owned(),
                    other_owner: first.name().to_owned(),
                    other_address: channel.matcher.address().to_owned(),
                    kind: eg_spec::ConflictKind::Same,
                });
                break;
            }
            channel.messages.push(Arc::clone(message));
        }
    }
    found.into_iter().map(|(shape, (channel, _))| (shape, channel)).collect()
}

/// An address without the names of its parameters.
fn shape(address: &str) -> String {
    let mut parts = address.split('{');
    let mut shape = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shape.push_str("{}");
        shape.push_str(part.split_once('}').map_or(part, |(_, after)| after));
    }
    shape
}

/// Whether `principal` is `application`; anonymous access, which only development mode gives, is
/// anyone.
#[must_use]
pub fn is_owner(principal: &Principal, application: &str) -> bool {
    principal.method() == Method::Anonymous || principal.application() == Some(application)
}

/// What is declared now, shared by all who ask and replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct DeclaredStore(Arc<ArcSwap<Declared>>);

impl DeclaredStore {
    /// What is declared now.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Declared>> {
        self.0.load()
    }

    /// Declares this from the next event on.
    pub fn replace(&self, declared: Declared) {
        self.0.store(Arc::new(declared));
    }
}

impl Follow for DeclaredStore {
    fn prepare(&self, next: &Snapshot) -> Result<Box<dyn FnOnce() + Send>, Vec<String>> {
        let (applications, definitions) = (next.applications(), next.definitions());
        let declared = self
            .load()
            .changed(&applications, &definitions)
            .map_err(|conflicts| conflicts.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let store = self.clone();
        Ok(Box::new(move || store.replace(declared)))
    }
}

impl Channels for DeclaredStore {
    fn find(&self, raw: &RawPayload<'_>) -> Result<Option<ChannelMessage>, Refusal> {
        let declared = self.load();
        if declared.is_empty() {
            return Ok(None);
        }
        let Some((channel, address)) = declared.channel(raw)? else { return Ok(None) };
        let message = channel.meant(raw, &address)?;
        let declaration = Declaration::new(Arc::clone(message));
        if message.is_structured() {
            return Ok(Some(ChannelMessage::Event(declaration)));
        }
        let matched = message.matches(&address).unwrap_or_default();
        let (ty, source, subject) = message.attributes(&address, &matched);
        Ok(Some(ChannelMessage::Data(ChannelEvent {
            ty,
            source,
            subject,
            datacontenttype: message.content_type().map(str::to_owned),
            dataschema: message.dataschema().map(str::to_owned),
            declaration,
        })))
    }
}

impl Channel {
    /// Which message a payload is: of those that its sender may send and whose content type it has,
    /// the first that lets it pass, or else the one that it comes closest to.
    fn meant(&self, raw: &RawPayload<'_>, address: &str) -> Result<&Arc<Message>, Refusal> {
        let is_owner = is_owner(raw.principal, &self.application);
        let mut candidates: Vec<_> =
            self.messages.iter().filter(|one| is_owner || one.is_received()).collect();
        if candidates.is_empty() {
            let text = format!(
                "topic: {} sends to the channel {address:?}; others do not publish to it",
                self.application
            );
            return Err(Refusal::Forbidden(text.into()));
        }
        let wrong = candidates.iter().find_map(|one| one.check_parameters(address).err());
        candidates.retain(|one| one.check_parameters(address).is_ok());
        let of_type: Vec<_> = candidates
            .iter()
            .copied()
            .filter(|one| one.takes_content_type(raw.content_type))
            .collect();
        if !of_type.is_empty() {
            candidates = of_type;
        }
        let closest = if let [only] = *candidates {
            Some(only)
        } else {
            let payload = Payload::new(raw.payload);
            candidates.into_iter().min_by_key(|one| one.count_violations(&payload))
        };
        let no_such = || InvalidInput::new("topic", "expected a channel");
        closest.ok_or_else(|| Refusal::Invalid(wrong.unwrap_or_else(no_such)))
    }
}
