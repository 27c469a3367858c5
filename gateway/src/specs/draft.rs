//! What would be registered after changes: made one after another on a copy, each checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use eg_event::{InvalidInput, Timestamp};
use eg_http::random_uuid;
use eg_spec::Spec;

use super::change::{
    ApplicationInput, AuthChange, Change, ChangeKind, Changed, DefinitionInput, Entry,
    ExternalInput, Owner, RuntimeInput,
};
use super::definition::{
    Application, ApplicationLimits, Definition, ExternalSubscription, Runtime,
};
use super::error::SpecsError;
use super::fetch::Brought;
use super::snapshot::Snapshot;
use super::{external, rules};
use crate::admin::schema::TargetCheck;

const APPLICATIONS_MAX: usize = 10_000;
const RUNTIMES_MAX: usize = 1_000;
const DEFINITIONS_MAX: usize = 10_000;
/// The most subscriptions of definitions altogether.
const PUSHES_MAX: usize = 10_000;
/// How many bytes all documents may have together.
const DOCUMENT_BYTES_MAX: usize = 128 << 20;

/// A copy of what is registered, being changed.
pub(super) struct Draft {
    pub(super) snapshot: Snapshot,
    pub(super) now: Timestamp,
    pub(super) check_target: TargetCheck,
}

/// A change with what was fetched for it.
pub(super) struct Step {
    pub(super) change: Change,
    /// The document, and the one that it was fetched in place of.
    pub(super) brought: Option<(Brought, Option<Arc<Definition>>)>,
}

impl Draft {
    /// Makes one change.
    pub(super) fn make(&mut self, step: Step) -> Result<Changed, SpecsError> {
        let changed = match (step.change, step.brought) {
            (Change::CreateApplication(to), _) => self.put_application(None, to),
            (Change::UpdateApplication { id, to }, _) => self.put_application(Some(id), to),
            (Change::LimitApplication { id, to }, _) => self.limit_application(&id, to),
            (Change::DeleteApplication { id }, _) => self.delete_application(&id),
            (Change::CreateRuntime(to), _) => self.put_runtime(None, to),
            (Change::UpdateRuntime { id, to }, _) => self.put_runtime(Some(id), to),
            (Change::DeleteRuntime { id }, _) => {
                let gone = self.snapshot.runtimes.remove(&id);
                let gone = gone.ok_or_else(|| SpecsError::NotFound("runtime", id))?;
                Ok(deleted(Entry::Runtime(gone)))
            }
            (Change::CreateDefinition { owner, to }, Some((brought, _))) => {
                self.create_definition(&owner, *to, brought)
            }
            (Change::UpdateDefinition { id, to }, Some((brought, old))) => {
                let old = self.expect_definition(&id, old.as_ref())?;
                self.put_definition(&old, Some(*to), brought)
            }
            (Change::Refetch { id }, Some((brought, old))) => {
                let old = self.expect_definition(&id, old.as_ref())?;
                self.put_definition(&old, None, brought)
            }
            (Change::DeleteDefinition { id }, _) => {
                let gone = self.snapshot.definitions.remove(&id);
                self.snapshot.pushes.remove(&id);
                let gone = gone.ok_or_else(|| SpecsError::NotFound("definition", id))?;
                Ok(deleted(Entry::Definition(gone)))
            }
            (
                Change::CreateDefinition { .. }
                | Change::UpdateDefinition { .. }
                | Change::Refetch { .. },
                None,
            ) => Err(SpecsError::NothingToFetch),
        }?;
        self.within_limits()?;
        Ok(changed)
    }

    fn within_limits(&self) -> Result<(), SpecsError> {
        let counts = [
            ("applications", self.snapshot.applications.len(), APPLICATIONS_MAX),
            ("runtimes", self.snapshot.runtimes.len(), RUNTIMES_MAX),
            ("definitions", self.snapshot.definitions.len(), DEFINITIONS_MAX),
            ("external subscriptions", self.snapshot.external_count(), PUSHES_MAX),
            ("bytes of documents", self.snapshot.document_bytes(), DOCUMENT_BYTES_MAX),
        ];
        let over = counts.into_iter().find(|(_, count, limit)| count > limit);
        over.map_or(Ok(()), |(what, _, limit)| Err(SpecsError::TooMany { what, limit }))
    }

    fn put_application(
        &mut self,
        id: Option<String>,
        to: ApplicationInput,
    ) -> Result<Changed, SpecsError> {
        rules::application(&to)?;
        let old = match id {
            None => None,
            Some(id) => Some(
                self.snapshot
                    .application(&id)
                    .cloned()
                    .ok_or(SpecsError::NotFound("application", id))?,
            ),
        };
        let same = self.snapshot.application_named(&to.name);
        if same.is_some_and(|same| old.as_ref().is_none_or(|old| old.id != same.id)) {
            return Err(SpecsError::NotUnique("an application", to.name));
        }
        let new = Application {
            id: old.as_ref().map_or_else(random_uuid, |old| old.id.clone()),
            name: to.name,
            description: to.description,
            provider_name: to.provider_name,
            labels: to.labels,
            limits: old.as_ref().map_or_else(ApplicationLimits::default, |old| old.limits),
            created_at: old.as_ref().map_or(self.now, |old| old.created_at),
            updated_at: old.as_ref().map_or(self.now, |old| old.updated_at),
        };
        if let Some(old) = old.as_ref().filter(|old| ***old == new) {
            return Ok(unchanged(Entry::Application(Arc::clone(old))));
        }
        let new = Arc::new(Application { updated_at: self.now, ..new });
        self.snapshot.applications.insert(new.id.clone(), Arc::clone(&new));
        if old.as_ref().is_some_and(|old| old.name != new.name) {
            for definition in self.snapshot.definitions_of(&new.id) {
                let spec = definition.spec.read().map_err(SpecsError::Document)?;
                self.put_pushes(&definition, spec.as_ref())?;
            }
        }
        Ok(put(old.is_some(), Entry::Application(new)))
    }

    fn limit_application(
        &mut self,
        id: &str,
        to: ApplicationLimits,
    ) -> Result<Changed, SpecsError> {
        rules::limits(&to)?;
        let old = self.snapshot.application(id).cloned();
        let old = old.ok_or_else(|| SpecsError::NotFound("application", id.to_owned()))?;
        if old.limits == to {
            return Ok(unchanged(Entry::Application(old)));
        }
        let new = Application { limits: to, updated_at: self.now, ..Application::clone(&old) };
        let new = Arc::new(new);
        self.snapshot.applications.insert(new.id.clone(), Arc::clone(&new));
        Ok(put(true, Entry::Application(new)))
    }

    fn delete_application(&mut self, id: &str) -> Result<Changed, SpecsError> {
        let gone = self.snapshot.applications.remove(id);
        let gone = gone.ok_or_else(|| SpecsError::NotFound("application", id.to_owned()))?;
        for definition in self.snapshot.definitions_of(id) {
            self.snapshot.definitions.remove(&definition.id);
            self.snapshot.pushes.remove(&definition.id);
        }
        Ok(deleted(Entry::Application(gone)))
    }

    fn put_runtime(&mut self, id: Option<String>, to: RuntimeInput) -> Result<Changed, SpecsError> {
        rules::runtime(&to)?;
        let old = match id {
            None => None,
            Some(id) => Some(
                self.snapshot.runtime(&id).cloned().ok_or(SpecsError::NotFound("runtime", id))?,
            ),
        };
        let same = self.snapshot.runtime_named(&to.name);
        if same.is_some_and(|same| old.as_ref().is_none_or(|old| old.id != same.id)) {
            return Err(SpecsError::NotUnique("a runtime", to.name));
        }
        let new = Runtime {
            id: old.as_ref().map_or_else(random_uuid, |old| old.id.clone()),
            name: to.name,
            description: to.description,
            labels: to.labels,
            created_at: old.as_ref().map_or(self.now, |old| old.created_at),
            updated_at: old.as_ref().map_or(self.now, |old| old.updated_at),
        };
        if let Some(old) = old.as_ref().filter(|old| ***old == new) {
            return Ok(unchanged(Entry::Runtime(Arc::clone(old))));
        }
        let new = Arc::new(Runtime { updated_at: self.now, ..new });
        self.snapshot.runtimes.insert(new.id.clone(), Arc::clone(&new));
        Ok(put(old.is_some(), Entry::Runtime(new)))
    }

    fn create_definition(
        &mut self,
        owner: &Owner,
        to: DefinitionInput,
        brought: Brought,
    ) -> Result<Changed, SpecsError> {
        let (found, named) = match owner {
            Owner::Id(id) => (self.snapshot.application(id), id),
            Owner::Name(name) => (self.snapshot.application_named(name), name),
        };
        let application =
            found.ok_or_else(|| SpecsError::NotFound("application", named.clone()))?;
        let application_id = application.id.clone();
        let name = match &to.name {
            Some(name) => name.clone(),
            None => self.name_for(&application_id, &to, &brought)?,
        };
        let auth = rules::kept_auth("auth", &to.auth, None, "")?;
        let definition = Definition {
            id: random_uuid(),
            application_id,
            name,
            description: to.description,
            group: to.group,
            version: to.version,
            spec: brought.text,
            auth,
            external_subscriptions: external_subscriptions(&to.external_subscriptions, &[])?,
            payload_check: to.payload_check.unwrap_or_default(),
            created_at: self.now,
            updated_at: self.now,
        };
        self.insert_definition(definition, brought.spec.as_deref(), false)
    }

    /// Makes `old` what `to` says, if it says anything, with the document that was brought.
    fn put_definition(
        &mut self,
        old: &Arc<Definition>,
        to: Option<DefinitionInput>,
        brought: Brought,
    ) -> Result<Changed, SpecsError> {
        let kept = Definition { spec: brought.text, ..Definition::clone(old) };
        let new = match to {
            None => kept,
            Some(to) => {
                let known = &old.external_subscriptions;
                Definition {
                    name: to.name.unwrap_or(kept.name),
                    description: to.description,
                    group: to.group,
                    version: to.version,
                    auth: match to.auth {
                        AuthChange::Keep => kept.auth,
                        AuthChange::Remove => None,
                        AuthChange::Set(auth) => Some(auth),
                    },
                    external_subscriptions: external_subscriptions(
                        &to.external_subscriptions,
                        known,
                    )?,
                    payload_check: to.payload_check.unwrap_or(kept.payload_check),
                    ..kept
                }
            }
        };
        if new == **old {
            return Ok(unchanged(Entry::Definition(Arc::clone(old))));
        }
        let new = Definition { updated_at: self.now, ..new };
        self.insert_definition(new, brought.spec.as_deref(), true)
    }

    fn insert_definition(
        &mut self,
        definition: Definition,
        spec: Option<&Spec>,
        was_there: bool,
    ) -> Result<Changed, SpecsError> {
        let same = self.snapshot.definition_named(&definition.application_id, &definition.name);
        if same.is_some_and(|same| same.id != definition.id) {
            return Err(SpecsError::NotUnique("a definition of the application", definition.name));
        }
        let definition = Arc::new(definition);
        self.put_pushes(&definition, spec)?;
        self.snapshot.definitions.insert(definition.id.clone(), Arc::clone(&definition));
        Ok(put(was_there, Entry::Definition(definition)))
    }

    fn put_pushes(
        &mut self,
        definition: &Definition,
        spec: Option<&Spec>,
    ) -> Result<(), SpecsError> {
        self.snapshot.pushes.remove(&definition.id);
        let application = self.snapshot.application(&definition.application_id);
        let (Some(spec), Some(application)) = (spec, application) else { return Ok(()) };
        let pushes = external::pushes(application, definition, spec)?;
        for push in &pushes {
            let index = definition
                .external_subscriptions
                .iter()
                .position(|one| push.name.ends_with(&format!("-{}", one.number)));
            let place = format!("externalSubscriptions[{}]", index.unwrap_or_default());
            (self.check_target)(push).map_err(|error| external::named(&place, error))?;
        }
        if !pushes.is_empty() {
            self.snapshot.pushes.insert(definition.id.clone(), pushes.into());
        }
        Ok(())
    }

    /// The title of the document; with the version where the title is taken.
    fn name_for(
        &self,
        application_id: &str,
        to: &DefinitionInput,
        brought: &Brought,
    ) -> Result<String, InvalidInput> {
        let url = || brought.text.fetch_request.as_ref().map(|request| request.url.clone());
        let (title, version) = match &brought.spec {
            Some(spec) => (spec.info.title.clone(), spec.info.version.clone()),
            None => (url().unwrap_or_default().chars().take(100).collect(), String::new()),
        };
        let version = to.version.as_ref().map_or(version, |version| version.value.clone());
        let is_taken = self.snapshot.definition_named(application_id, &title).is_some();
        let name = if is_taken { format!("{title} {version}") } else { title };
        rules::name(name.trim()).map_err(|error| {
            let detail = format!("{}; the title of the document is none", error.detail);
            InvalidInput::new("name", detail)
        })?;
        Ok(name.trim().to_owned())
    }

    /// The definition, if it is still the one that a document was brought in for.
    fn expect_definition(
        &self,
        id: &str,
        seen: Option<&Arc<Definition>>,
    ) -> Result<Arc<Definition>, SpecsError> {
        let found = self.snapshot.definition(id);
        let found = found.ok_or_else(|| SpecsError::NotFound("definition", id.to_owned()))?;
        if seen.is_none_or(|seen| !Arc::ptr_eq(seen, found)) {
            return Err(SpecsError::Overtaken);
        }
        Ok(Arc::clone(found))
    }
}

/// External subscriptions as they are asked for. One that is known keeps its number, and what it
/// authenticates by unless that is given anew.
fn external_subscriptions(
    inputs: &[ExternalInput],
    known: &[ExternalSubscription],
) -> Result<Vec<ExternalSubscription>, InvalidInput> {
    let next = known.iter().map(|one| one.number + 1).max().unwrap_or_default();
    let mut numbers = next..;
    let make = |(index, input): (usize, &ExternalInput)| {
        let same = known.iter().find(|one| {
            let is_same_way =
                external::direction(&one.attributes) == external::direction(&input.attributes);
            one.url == input.url && one.topic == input.topic && is_same_way
        });
        let place = format!("externalSubscriptions[{index}].auth");
        let before = same.map(|same| (same.url.as_str(), same.auth.as_ref()));
        Ok(ExternalSubscription {
            number: same.map(|same| same.number).or_else(|| numbers.next()).unwrap_or_default(),
            url: input.url.clone(),
            auth: rules::kept_auth(&place, &input.auth, before, &input.url)?,
            topic: input.topic.clone(),
            attributes: BTreeMap::clone(&input.attributes),
        })
    };
    inputs.iter().enumerate().map(make).collect()
}

fn put(was_there: bool, entry: Entry) -> Changed {
    Changed { kind: if was_there { ChangeKind::Updated } else { ChangeKind::Created }, entry }
}

fn deleted(entry: Entry) -> Changed {
    Changed { kind: ChangeKind::Deleted, entry }
}

fn unchanged(entry: Entry) -> Changed {
    Changed { kind: ChangeKind::Unchanged, entry }
}
