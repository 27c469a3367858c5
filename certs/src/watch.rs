//! Notices that files have changed: by their directories, so that a file that is replaced (as
//! Kubernetes and editors do) is still followed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Certificate and key are two files: what follows one change within this time belongs to it.
const SETTLE: Duration = Duration::from_millis(100);

/// Watches the directories of files.
#[derive(Debug)]
pub struct Watch {
    changed: Arc<Notify>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches `files`. Where the system does not allow that, it says so in the log and sees nothing.
    #[must_use]
    pub fn over<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let changed = Arc::new(Notify::new());
        let watcher = Self::watcher(files, Arc::clone(&changed)).inspect_err(|error| {
            tracing::warn!(%error, "changes of certificate files are not noticed, only SIGHUP is");
        });
        Self { changed, _watcher: watcher.ok() }
    }

    fn watcher<'a>(
        files: impl IntoIterator<Item = &'a PathBuf>,
        changed: Arc<Notify>,
    ) -> Result<RecommendedWatcher, notify::Error> {
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<_>| {
            if event.is_ok_and(|event: notify::Event| is_change(event.kind)) {
                changed.notify_one();
            }
        })?;
        let directory = |file: &'a PathBuf| match file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let directories: BTreeSet<_> = files.into_iter().map(directory).collect();
        for directory in directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }

    /// Completes when something has changed and has settled.
    pub async fn changed(&self) {
        self.changed.notified().await;
        let settled =
            async { while tokio::time::timeout(SETTLE, self.changed.notified()).await.is_ok() {} };
        // In a directory where something changes all the time, this is often enough.
        drop(tokio::time::timeout(10 * SETTLE, settled).await);
    }
}

/// Whether a file may be another than before. Reading one is no change, or every look would be
/// followed by another.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_replaced_is_noticed_and_one_that_is_read_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("server.pem");
        std::fs::write(&file, "1").unwrap();
        let watch = Watch::over([&file]);
        for text in ["2", "3"] {
            std::fs::read(&file).unwrap();
            let quiet = tokio::time::timeout(3 * SETTLE, watch.changed()).await;
            assert!(quiet.is_err(), "reading is no change");
            let new = directory.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, &file).unwrap();
            let noticed = tokio::time::timeout(Duration::from_mins(1), watch.changed()).await;
            assert!(noticed.is_ok(), "replacing is one");
        }
    }
}
