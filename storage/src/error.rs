//! What can go wrong with the store's files, each with the file's name.

use eg_event::Sequence;

use crate::varint::Damaged;

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error("data directory {path}: {cause}")]
    Directory {
        /// The directory.
        path: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Another process has the store open.
    #[error("another process uses this data directory ({file} is locked)")]
    InUse {
        /// The locked file.
        file: String,
    },
    /// The file was written by a version of the gateway that this one does not know.
    #[error("{file} has format version {found}, and this program reads version {known}")]
    UnknownVersion {
        /// The file.
        file: String,
        /// The version in the file.
        found: u32,
        /// The version that this program writes.
        known: u32,
    },
    /// A configured limit makes no sense.
    #[error(transparent)]
    Invalid(#[from] eg_event::InvalidInput),
    /// The thread that writes could not be started.
    #[error("the writer's thread: {0}")]
    Thread(std::io::Error),
    /// Reading or writing failed.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// Reading or writing the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be read or written.
    #[error("{file}: {cause}")]
    File {
        /// The file.
        file: String,
        /// What redb or the system says.
        cause: Box<redb::Error>,
    },
    /// The file holds something that it should not.
    #[error("{file}, at {at}: {cause}")]
    Damaged {
        /// The file.
        file: String,
        /// The sequence or key.
        at: Sequence,
        /// What was found.
        cause: Damaged,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn file(file: &str, cause: impl Into<redb::Error>) -> Self {
        Self::File { file: file.to_owned(), cause: Box::new(cause.into()) }
    }

    pub(crate) fn damaged(file: &str, at: Sequence, cause: Damaged) -> Self {
        Self::Damaged { file: file.to_owned(), at, cause }
    }
}
