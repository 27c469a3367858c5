//! Makes everything as manifests ask for it, or changes nothing.

use std::sync::Arc;

use super::{
    Asked, Difference, Fault, Faults, File, Manifest, SubscriptionManifest, differences,
    differences_of_activation, differences_of_subscription, own,
};
use crate::admin::schema::TargetCheck;
use crate::dispatch::Dispatch;
use crate::dispatch::change::{Effect, Wanted};
use crate::dispatch::registry::{Position, RegistryError};
use crate::specs::change::{
    AuthChange, Change, ChangeKind, Changed, DefinitionInput, Entry, ExternalInput, Owner,
    SpecInput,
};
use crate::specs::definition::Definition;
use crate::specs::error::{Rejected, SpecsError};
use crate::specs::registry::Registry;
use crate::specs::snapshot::Snapshot;

/// What became of one manifest, or would.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The manifest.
    pub manifest: Manifest,
    /// What became of it.
    pub effect: Effect<()>,
    /// The fields that are changed; all of them for something that is made.
    pub differences: Vec<Difference>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Something is wrong in the files.
    #[error(transparent)]
    Faults(#[from] Faults),
    /// The change could not be made.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The change of what is registered is refused.
    #[error(transparent)]
    Specs(#[from] SpecsError),
    /// Who asks may not change what is registered.
    #[error("{0}")]
    Forbidden(String),
}

/// What manifests are applied to.
pub struct Target<'a> {
    /// The subscriptions and event activations.
    pub dispatch: &'a Arc<Dispatch>,
    /// Whether a subscription can be sent to.
    pub check_target: &'a TargetCheck,
    /// The applications and definitions.
    pub specs: &'a Registry,
    /// Whether applications and definitions may be changed; otherwise why not.
    pub may_register: Result<(), String>,
}

/// Applies all manifests of `files` in one durable step; `is_dry_run` only says what that would
/// change. What no manifest asks for stays.
pub async fn apply(
    target: Target<'_>,
    files: &[File],
    is_dry_run: bool,
) -> Result<Vec<Applied>, ApplyError> {
    let mut manifests = super::read(files)?;
    // A definition may come before its application.
    manifests.sort_by_key(|manifest| matches!(manifest.asked, Asked::Definition(_)));
    let wanted = wanted(target.dispatch, target.check_target, &manifests)?;
    let before = target.specs.snapshot();
    let changes = changes(&before, &manifests);
    if !changes.is_empty() {
        target.may_register.map_err(ApplyError::Forbidden)?;
    }
    let applied = target.specs.apply_with(changes, wanted.clone(), is_dry_run).await;
    let (done, effects) = applied.map_err(|rejected| refused(rejected, &manifests))?;
    let subscriptions = wanted.subscriptions.iter().zip(effects.subscriptions);
    let mut subscriptions = subscriptions.map(|((new, _), effect)| match effect {
        Effect::Created => (Effect::Created, differences_of_subscription(None, new)),
        Effect::Updated(old) => (Effect::Updated(()), differences_of_subscription(Some(&old), new)),
        Effect::Unchanged => (Effect::Unchanged, Vec::new()),
    });
    let activations = wanted.activations.iter().zip(effects.activations);
    let mut activations = activations.map(|(new, effect)| match effect {
        Effect::Created => (Effect::Created, differences_of_activation(None, new)),
        Effect::Updated(old) => (Effect::Updated(()), differences_of_activation(Some(&old), new)),
        Effect::Unchanged => (Effect::Unchanged, Vec::new()),
    });
    let mut registered = done.iter().map(|one| registered(&before, one));
    // Each kind comes back in the order in which it was asked for.
    let applied = manifests.into_iter().filter_map(|manifest| {
        let (effect, differences) = match manifest.asked {
            Asked::Subscription(_) => subscriptions.next()?,
            Asked::EventActivation(_) => activations.next()?,
            Asked::Application(_) | Asked::Definition(_) => registered.next()?,
        };
        Some(Applied { manifest, effect, differences })
    });
    Ok(applied.collect())
}

fn is_registered(asked: &Asked) -> bool {
    matches!(asked, Asked::Application(_) | Asked::Definition(_))
}

/// What the registry is to change, in the order of the manifests that ask for it.
fn changes(known: &Snapshot, manifests: &[Manifest]) -> Vec<Change> {
    let change = |manifest: &Manifest| match &manifest.asked {
        Asked::Application(to) => Some(match known.application_named(&to.name) {
            None => Change::CreateApplication(to.clone()),
            Some(old) => Change::UpdateApplication { id: old.id.clone(), to: to.clone() },
        }),
        Asked::Definition(asked) => {
            let application = known.application_named(&asked.application);
            let old = application.and_then(|one| known.definition_named(&one.id, &asked.name));
            let to = Box::new(input(asked, old.map(AsRef::as_ref)));
            Some(match &old {
                None => {
                    let owner = Owner::Name(asked.application.clone());
                    Change::CreateDefinition { owner, to }
                }
                Some(old) => Change::UpdateDefinition { id: old.id.clone(), to },
            })
        }
        _ => None,
    };
    manifests.iter().filter_map(change).collect()
}

fn input(asked: &super::DefinitionManifest, old: Option<&Definition>) -> DefinitionInput {
    let kept = old.map(|old| old.external_subscriptions.as_slice()).unwrap_or_default();
    let kept = kept.iter().map(|one| ExternalInput {
        url: one.url.clone(),
        auth: AuthChange::Keep,
        topic: one.topic.clone(),
        attributes: one.attributes.clone(),
    });
    DefinitionInput {
        name: Some(asked.name.clone()),
        description: asked.description.clone(),
        group: match old.filter(|_| asked.is_bare) {
            Some(old) => old.group.clone(),
            None => asked.group.clone(),
        },
        version: old.and_then(|old| old.version.clone()),
        spec: SpecInput { data: Some(asked.data.clone()), ..SpecInput::default() },
        external_subscriptions: kept.collect(),
        ..DefinitionInput::default()
    }
}

fn registered(before: &Snapshot, changed: &Changed) -> (Effect<()>, Vec<Difference>) {
    let old = match &changed.entry {
        Entry::Application(new) => before.application(&new.id).cloned().map(Entry::Application),
        Entry::Definition(new) => before.definition(&new.id).cloned().map(Entry::Definition),
        Entry::Runtime(_) => None,
    };
    let differences = differences(old.as_ref().map(own::fields), own::fields(&changed.entry));
    match changed.kind {
        ChangeKind::Created => (Effect::Created, differences),
        ChangeKind::Unchanged => (Effect::Unchanged, Vec::new()),
        ChangeKind::Updated | ChangeKind::Deleted => (Effect::Updated(()), differences),
    }
}

/// A refusal, as a fault of the manifest that it is about.
fn refused(rejected: Rejected, manifests: &[Manifest]) -> ApplyError {
    let mut asking = manifests.iter().filter(|manifest| is_registered(&manifest.asked));
    match (rejected.error, rejected.place.and_then(|place| asking.nth(place))) {
        (SpecsError::Beside(error), _) => error.into(),
        (error, None) => error.into(),
        (SpecsError::Invalid(error), Some(Manifest { place, .. })) => {
            let field = if error.field == "name" { "metadata.name" } else { "spec" };
            Faults { faults: vec![place.fault(field, error.to_string())], untold: 0 }.into()
        }
        (error, Some(Manifest { place, .. })) => {
            Faults { faults: vec![place.fault("spec", error.to_string())], untold: 0 }.into()
        }
    }
}

fn wanted(
    dispatch: &Dispatch,
    check_target: &TargetCheck,
    manifests: &[Manifest],
) -> Result<Wanted, Faults> {
    let (mut wanted, mut faults) = (Wanted::default(), Vec::new());
    for Manifest { place, asked } in manifests {
        match asked {
            Asked::Application(_) | Asked::Definition(_) => {}
            Asked::EventActivation(activation) => wanted.activations.push(activation.clone()),
            Asked::Subscription(asked) => {
                let old = dispatch.get(&format!("{}/{}", asked.namespace, asked.name));
                let old = old.map(|old| Arc::clone(&old.definition().subscription));
                let new = asked.onto(old.as_deref());
                let new = new.and_then(|new| check_target(&new).map(|()| new));
                match new {
                    Ok(new) => wanted.subscriptions.push((new, Position::Now)),
                    Err(error) => {
                        let field = SubscriptionManifest::field(&error.field);
                        let fault: Fault = place.fault(field, error.detail);
                        faults.push(fault);
                    }
                }
            }
        }
    }
    Faults::unless_empty(faults)?;
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::fixture;
    use crate::manifest::DefinitionManifest;

    #[test]
    fn a_document_that_has_no_place_for_a_group_leaves_it_as_it_is() {
        let data = "asyncapi: 3.0.0\ninfo: {title: Orders, version: 1.0.0}\n";
        let mut known = fixture::definition("shop", "orders", data);
        known.group = Some("sales".to_owned());
        let mut asked = DefinitionManifest {
            application: "shop".to_owned(),
            name: "orders".to_owned(),
            description: None,
            group: None,
            data: data.to_owned(),
            is_bare: true,
        };
        assert_eq!(input(&asked, Some(&known)).group.as_deref(), Some("sales"));
        asked.is_bare = false;
        assert_eq!(input(&asked, Some(&known)).group, None);
    }
}
