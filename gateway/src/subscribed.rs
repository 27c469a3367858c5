//! Which event types an application's subscribers want, for the route that Kyma's applications
//! ask before they publish.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::dispatch::Dispatch;

/// Answers from the subscriptions there are.
pub struct SubscribedTypes(Arc<Dispatch>);

impl SubscribedTypes {
    /// Looks at the subscriptions of `dispatch`.
    #[must_use]
    pub fn new(dispatch: Arc<Dispatch>) -> Self {
        Self(dispatch)
    }
}

impl eg_http::Subscribed for SubscribedTypes {
    /// The types that subscriptions name, of those that any or this source concerns. One that
    /// names no type cannot be told by its types, and is left out.
    fn subscribed(&self, application: &str) -> Vec<(String, String)> {
        let mut types = BTreeSet::new();
        for registered in self.0.all() {
            let definition = registered.definition();
            let asked = &definition.subscription;
            if asked.source.as_deref().is_none_or(|source| source == application)
                && let Some(event_type) = &asked.event_type
            {
                let version = asked.event_type_version.clone().unwrap_or_default();
                types.insert((event_type.clone(), version));
            }
        }
        types.into_iter().collect()
    }
}
