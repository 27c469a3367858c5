//! What an outside party may see: which events there are, what they look like, and how to send and
//! get them. Everybody sees what they have a right to, and nothing else.

pub mod access;
pub mod http;
pub mod merged;
pub mod topic;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::SimpleObject;
use eg_auth::policy::{Action, Area, Policy, PolicyStore, Request, Resource};
use eg_event::Principal;
use eg_storage::Journal;
use serde::Serialize;

use self::access::Access;
use self::topic::Topic;
use crate::declared::is_owner;
use crate::specs::definition::{Application, Definition};
use crate::specs::registry::Registry;

/// What is to be seen of what is registered.
pub struct Catalog {
    specs: Arc<Registry>,
    policy: PolicyStore,
    journal: Journal,
    access: Access,
    /// What definitions declare, by their ids, as they were read last.
    read: Mutex<HashMap<String, Read>>,
}

/// What a definition declares, as it was read.
type Read = (Arc<Definition>, Arc<[Topic]>);

/// What one party sees.
#[derive(Clone, Debug, Serialize, SimpleObject)]
#[serde(rename_all = "camelCase")]
#[graphql(name = "Catalog")]
pub struct Seen {
    /// The events, by application, definition and topic.
    pub entries: Vec<Entry>,
    /// How to connect, and with what.
    #[serde(flatten)]
    #[graphql(flatten)]
    pub access: Access,
}

/// The events of one topic and message.
#[derive(Clone, Debug, Serialize, SimpleObject)]
#[serde(rename_all = "camelCase")]
#[graphql(name = "CatalogEntry")]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of its own for clients")]
pub struct Entry {
    /// Whose they are.
    pub application: String,
    /// The document that declares them, by the name of its definition.
    pub definition: String,
    /// The version of the definition.
    pub version: Option<String>,
    /// What they are and where they go.
    #[serde(flatten)]
    #[graphql(flatten)]
    pub topic: Topic,
    /// Whether you may publish them.
    pub may_publish: bool,
    /// Whether you may subscribe to them by MQTT.
    pub may_subscribe: bool,
    /// For how long they are kept, in hours.
    pub retention_hours: u64,
    /// How many bytes of its events the application keeps.
    pub retention_bytes: u64,
    /// Whether they should no longer be used.
    pub deprecated: bool,
    /// Whether they will be gone.
    pub for_removal: bool,
}

impl Catalog {
    /// Shows what `specs` has to whom `policy` lets see it, and how to get at it by `access`.
    #[must_use]
    pub fn new(
        specs: &Arc<Registry>,
        journal: &Journal,
        (policy, access): (&PolicyStore, Access),
    ) -> Self {
        let (specs, policy) = (Arc::clone(specs), policy.clone());
        Self { specs, policy, journal: journal.clone(), access, read: Mutex::default() }
    }

    /// What `principal` sees; of one application alone, if that is asked for.
    #[must_use]
    pub fn seen_by(&self, principal: &Principal, application: Option<&str>) -> Seen {
        let (snapshot, policy) = (self.specs.snapshot(), self.policy.load());
        let is_asked = |one: &Arc<Application>| application.is_none_or(|name| one.name == name);
        let mut entries = Vec::new();
        for application in snapshot.applications().iter().filter(|one| is_asked(one)) {
            for definition in snapshot.definitions_of(&application.id) {
                let topics = self.topics(&definition);
                let rights = |topic| Rights::of(&policy, principal, (application, topic));
                let seen = topics.iter().map(|topic| (topic, rights(topic)));
                let seen = seen.filter(|(_, rights)| rights.may_see());
                entries.extend(
                    seen.map(|(topic, rights)| {
                        self.entry((application, &definition), topic, rights)
                    }),
                );
            }
        }
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|id, _| snapshot.definition(id).is_some());
        let access = if entries.is_empty() { Access::default() } else { self.access.clone() };
        Seen { entries, access }
    }

    /// How to get at events.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    fn topics(&self, definition: &Arc<Definition>) -> Arc<[Topic]> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, topics)) = read.get(&definition.id)
            && Arc::ptr_eq(known, definition)
        {
            return Arc::clone(topics);
        }
        // One that cannot be read was told so when it was registered.
        let spec = definition.spec.read().ok().flatten();
        let topics: Arc<[Topic]> = spec.map_or_else(Vec::new, |spec| topic::topics(&spec)).into();
        read.insert(definition.id.clone(), (Arc::clone(definition), Arc::clone(&topics)));
        topics
    }

    fn entry(
        &self,
        (application, definition): (&Application, &Definition),
        topic: &Topic,
        rights: Rights,
    ) -> Entry {
        let (age_max, bytes_max) = self.journal.retention();
        let (hours_max, limits) = (age_max.as_secs() / 3600, application.limits);
        let version = definition.version.as_ref();
        Entry {
            application: application.name.clone(),
            definition: definition.name.clone(),
            version: version.map(|version| version.value.clone()),
            may_publish: rights.publish,
            may_subscribe: rights.subscribe,
            retention_hours: limits
                .retention_hours
                .map_or(hours_max, |own| hours_max.min(own.into())),
            retention_bytes: limits.retention_bytes.map_or(bytes_max, |own| bytes_max.min(own)),
            deprecated: topic.is_deprecated || version.is_some_and(|version| version.deprecated),
            for_removal: version.is_some_and(|version| version.for_removal),
            topic: topic.clone(),
        }
    }
}

/// What somebody may do with the events of a topic.
#[derive(Clone, Copy, Debug)]
struct Rights {
    publish: bool,
    subscribe: bool,
    read: bool,
}

impl Rights {
    fn of(policy: &Policy, who: &Principal, (application, topic): (&Application, &Topic)) -> Self {
        let source = format!("/{}", application.name);
        let may = |action, address: Option<&str>| {
            let resource = Resource {
                application: Some(&application.name),
                topic: address,
                ty: Some(&topic.event_type),
                source: (action == Action::Publish).then_some(&source),
                ..Resource::default()
            };
            policy.check(&Request { subject: who.into(), action, resource }).is_ok()
        };
        let address = Some(&*topic.address);
        let read = Request {
            subject: who.into(),
            action: Action::Read,
            resource: Resource::of(Area::Specs),
        };
        let is_open = topic.is_received || is_owner(who, &application.name);
        Self {
            publish: is_open && (may(Action::Publish, address) || may(Action::Publish, None)),
            subscribe: may(Action::Subscribe, address),
            read: policy.check(&read).is_ok(),
        }
    }

    fn may_see(self) -> bool {
        self.publish || self.subscribe || self.read
    }
}

#[cfg(test)]
mod tests {
    use eg_auth::policy::PolicyConfig;
    use eg_event::principal::Method;

    use super::*;
    use crate::declared::fixture;

    const SPEC: &str = "asyncapi: 3.0.0\ninfo: {title: Orders, version: '1'}\nchannels:\n  \
        placed: {address: placed, messages: {placed: {}}}\n  \
        wanted: {address: wanted, messages: {wanted: {}}}\n  \
        other: {address: other, messages: {other: {}}}\noperations:\n  \
        tell: {action: send, channel: {$ref: '#/channels/placed'}}\n  \
        take: {action: receive, channel: {$ref: '#/channels/wanted'}}\n";
    const ALL: &str = "source_binding = \"none\"\n[[rules]]\neffect = \"allow\"\n\
        principals = [\"*\"]\nactions = [\"publish\"]\n";

    #[test]
    #[expect(clippy::disallowed_methods, reason = "somebody has to be recognized here")]
    fn what_an_application_sends_itself_nobody_else_may_publish() {
        let spec = fixture::definition("shop", "orders", SPEC).spec.read().unwrap().unwrap();
        let policy = Policy::compile(&toml::from_str::<PolicyConfig>(ALL).unwrap()).unwrap();
        let shop = fixture::application("shop");
        let published_by = |name: &str| {
            let who = Principal::vouch_for(name, Method::Bearer, None).for_application(name);
            let topics = topic::topics(&spec);
            let may = |topic: &&Topic| Rights::of(&policy, &who, (&shop, topic)).publish;
            let mut published: Vec<_> =
                topics.iter().filter(may).map(|topic| topic.address.clone()).collect();
            published.sort();
            published
        };
        assert_eq!(published_by("shop"), ["other", "placed", "wanted"]);
        assert_eq!(published_by("bank"), ["other", "wanted"]);
    }
}
