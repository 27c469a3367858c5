//! Runtimes as management clients see them.

use std::sync::Arc;

use async_graphql::{ID, Object, SimpleObject};

use super::application::labels;
use super::page::Page;
use super::scalar::{Instant, Labels};
use crate::admin::page::PageInfo;
use crate::specs::definition as words;

/// What consumes the events of applications.
#[derive(Clone)]
pub struct Runtime(pub Arc<words::Runtime>);

/// What consumes the events of applications.
#[Object]
impl Runtime {
    /// Never used again for another one.
    async fn id(&self) -> ID {
        self.0.id.clone().into()
    }

    /// Unique among runtimes.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Prose.
    async fn description(&self) -> Option<&str> {
        self.0.description.as_deref()
    }

    /// Words to find it by; with `key`, that one alone.
    async fn labels(&self, key: Option<String>) -> Labels {
        labels(&self.0.labels, key.as_deref())
    }

    /// When it was registered.
    async fn created_at(&self) -> Instant {
        Instant(self.0.created_at.to_string())
    }

    /// When it was changed last.
    async fn updated_at(&self) -> Instant {
        Instant(self.0.updated_at.to_string())
    }
}

/// A page of runtimes.
#[derive(SimpleObject)]
pub struct RuntimePage {
    /// The runtimes, in the order of their names.
    data: Vec<Runtime>,
    /// Where the page lies.
    page_info: PageInfo,
    /// How many there are in all.
    total_count: usize,
}

impl From<Page<Runtime>> for RuntimePage {
    fn from(Page { data, info, total_count }: Page<Runtime>) -> Self {
        Self { data, page_info: info, total_count }
    }
}
