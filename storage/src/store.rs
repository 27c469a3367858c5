//! The store as a whole: a journal and a ledger in one place, opened and closed together.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use eg_event::Clock;

use crate::config::StorageConfig;
use crate::error::{OpenError, StoreError};
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::volume::{Directory, Volume};

/// An open store. One process has it at a time.
#[derive(Debug)]
pub struct Store {
    journal: Journal,
    ledger: Ledger,
    writer: JoinHandle<()>,
}

impl Store {
    /// Opens the store in the directory `path`, or makes one.
    ///
    /// # Errors
    /// [`OpenError::InUse`] when another process has it open, [`OpenError::UnknownVersion`] when a
    /// newer program wrote it.
    pub fn open(path: &Path, config: &StorageConfig, clock: &Clock) -> Result<Self, OpenError> {
        let directory = Directory::open(path)
            .map_err(|cause| OpenError::Directory { path: path.display().to_string(), cause })?;
        Self::open_on(Arc::new(directory), config, clock)
    }

    /// Opens the store on `volume`, or makes one.
    pub fn open_on(
        volume: Arc<dyn Volume>,
        config: &StorageConfig,
        clock: &Clock,
    ) -> Result<Self, OpenError> {
        config.check()?;
        // The ledger first: its lock is the store's.
        let ledger = Ledger::open(Arc::clone(&volume), config)?;
        let not_before = ledger.routed()?;
        let floors = ledger.floors()?;
        let (journal, writer) = Journal::open(volume, config, clock, (not_before, floors))?;
        Ok(Self { journal, ledger, writer })
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Writes what has been handed over, and leaves the files such that they open at once. Blocks
    /// until that is done.
    pub fn close(self) -> Result<(), StoreError> {
        self.journal.close();
        self.writer.join().map_err(|_| StoreError::Closed)
    }
}
