//! Makes everything as manifests ask for it, or changes nothing.

use std::sync::Arc;

use super::{
    Asked, Difference, Fault, Faults, File, Manifest, SubscriptionManifest,
    differences_of_activation, differences_of_subscription,
};
use crate::admin::schema::TargetCheck;
use crate::dispatch::Dispatch;
use crate::dispatch::change::{Effect, Wanted};
use crate::dispatch::registry::{Position, RegistryError};

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
}

/// Applies all manifests of `files` in one durable step; `is_dry_run` only says what that would
/// change. What no manifest asks for stays.
pub async fn apply(
    dispatch: &Arc<Dispatch>,
    check_target: &TargetCheck,
    files: &[File],
    is_dry_run: bool,
) -> Result<Vec<Applied>, ApplyError> {
    let manifests = super::read(files)?;
    let wanted = wanted(dispatch, check_target, &manifests)?;
    let effects = dispatch.establish(wanted.clone(), is_dry_run).await?;
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
    // Each kind comes back in the order in which it was asked for.
    let applied = manifests.into_iter().filter_map(|manifest| {
        let (effect, differences) = match manifest.asked {
            Asked::Subscription(_) => subscriptions.next()?,
            Asked::EventActivation(_) => activations.next()?,
        };
        Some(Applied { manifest, effect, differences })
    });
    Ok(applied.collect())
}

fn wanted(
    dispatch: &Dispatch,
    check_target: &TargetCheck,
    manifests: &[Manifest],
) -> Result<Wanted, Faults> {
    let (mut wanted, mut faults) = (Wanted::default(), Vec::new());
    for Manifest { place, asked } in manifests {
        match asked {
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
