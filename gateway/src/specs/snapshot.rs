//! What is registered at one moment. Who looks sees one moment, whatever changes meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use eg_event::Subscription;

use super::definition::{Application, Definition, Runtime};
use super::external;

/// What is registered at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(super) applications: BTreeMap<String, Arc<Application>>,
    pub(super) runtimes: BTreeMap<String, Arc<Runtime>>,
    pub(super) definitions: BTreeMap<String, Arc<Definition>>,
    /// What is pushed, and what is read from buses, because of a definition, by its id.
    pub(super) pushes: BTreeMap<String, Arc<[Subscription]>>,
}

impl Snapshot {
    /// The applications in the order of their names.
    #[must_use]
    pub fn applications(&self) -> Vec<Arc<Application>> {
        let mut all: Vec<_> = self.applications.values().cloned().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// The runtimes in the order of their names.
    #[must_use]
    pub fn runtimes(&self) -> Vec<Arc<Runtime>> {
        let mut all: Vec<_> = self.runtimes.values().cloned().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// The definitions of all applications, by application and name.
    #[must_use]
    pub fn definitions(&self) -> Vec<Arc<Definition>> {
        let mut all: Vec<_> = self.definitions.values().cloned().collect();
        let key = |one: &Definition| (one.application_id.clone(), one.name.clone());
        all.sort_by_cached_key(|one| key(one));
        all
    }

    /// The definitions of one application in the order of their names.
    #[must_use]
    pub fn definitions_of(&self, application_id: &str) -> Vec<Arc<Definition>> {
        let own = self.definitions.values().filter(|one| one.application_id == application_id);
        let mut own: Vec<_> = own.cloned().collect();
        own.sort_by(|one, other| one.name.cmp(&other.name));
        own
    }

    /// The application with this id.
    #[must_use]
    pub fn application(&self, id: &str) -> Option<&Arc<Application>> {
        self.applications.get(id)
    }

    /// The application called `name`.
    #[must_use]
    pub fn application_named(&self, name: &str) -> Option<&Arc<Application>> {
        self.applications.values().find(|one| one.name == name)
    }

    /// The runtime with this id.
    #[must_use]
    pub fn runtime(&self, id: &str) -> Option<&Arc<Runtime>> {
        self.runtimes.get(id)
    }

    /// The runtime called `name`.
    #[must_use]
    pub fn runtime_named(&self, name: &str) -> Option<&Arc<Runtime>> {
        self.runtimes.values().find(|one| one.name == name)
    }

    /// The definition with this id.
    #[must_use]
    pub fn definition(&self, id: &str) -> Option<&Arc<Definition>> {
        self.definitions.get(id)
    }

    /// The definition of the application that is called `name`.
    #[must_use]
    pub fn definition_named(&self, application_id: &str, name: &str) -> Option<&Arc<Definition>> {
        let mut all = self.definitions.values();
        all.find(|one| one.application_id == application_id && one.name == name)
    }

    /// What is pushed because of what is registered.
    pub fn pushes(&self) -> impl Iterator<Item = &Subscription> {
        let all = self.pushes.values().flat_map(|pushes| pushes.iter());
        all.filter(|one| !external::is_consumed(one))
    }

    /// What is read from buses because of what is registered, each with the name of its
    /// application.
    pub fn consumed(&self) -> impl Iterator<Item = (&str, &Subscription)> {
        self.pushes.iter().flat_map(|(id, all)| {
            let definition = self.definitions.get(id);
            let owner = definition.and_then(|one| self.applications.get(&one.application_id));
            let consumed = all.iter().filter(|one| external::is_consumed(one));
            consumed.filter_map(move |one| owner.map(|owner| (&*owner.name, one)))
        })
    }

    /// How many external subscriptions do anything.
    pub(super) fn external_count(&self) -> usize {
        self.pushes.values().map(|all| all.len()).sum()
    }

    /// How many bytes all documents have together.
    pub(super) fn document_bytes(&self) -> usize {
        self.definitions.values().map(|one| one.spec.bytes()).sum()
    }
}
