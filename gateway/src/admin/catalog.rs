//! The catalog as management clients see it: with their own rights.

use std::sync::Arc;

use async_graphql::{Context, Object, Result};

use super::error::{Code, coded};
use super::guard::Caller;
use crate::catalog::{Catalog, Seen};

/// What can be asked of the catalog.
pub struct CatalogQuery(pub(super) Arc<Catalog>);

#[Object]
impl CatalogQuery {
    /// What there is to publish and to subscribe to, with your rights; of one application alone, if
    /// that is asked for.
    async fn catalog(&self, context: &Context<'_>, application: Option<String>) -> Result<Seen> {
        let principal = Arc::clone(&context.data::<Caller>()?.principal);
        let catalog = Arc::clone(&self.0);
        let look = move || catalog.seen_by(&principal, application.as_deref());
        let seen = tokio::task::spawn_blocking(look).await;
        seen.map_err(|_| coded(Code::InternalError, "the catalog could not be read"))
    }
}
