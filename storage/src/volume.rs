//! Where the store's files are: a directory, or something that behaves like one in a test of
//! crashes and full disks.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use redb::Database;
use redb::backends::FileBackend;
pub use redb::{BackendError, StorageBackend};

use crate::error::{OpenError, StoreError};

/// What the name of a file ends in while it is begun.
pub(crate) const UNFINISHED: &str = ".unfinished";

/// A place for files that are written through redb.
pub trait Volume: fmt::Debug + Send + Sync {
    /// Opens the file `name`; [`io::ErrorKind::NotFound`] when there is none.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;

    /// Makes the empty file `name`, which no file has.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;

    /// The names of the files.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Removes the file `name`; readers that have it open keep reading.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives the file `from` the name `to`, which no file has; at any instant it has one of both.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes durable which files there are: the names of new ones, the absence of removed ones.
    fn sync_names(&self) -> io::Result<()>;

    /// The size of the file `name`, in bytes.
    fn size_bytes(&self, name: &str) -> io::Result<u64>;

    /// The space that is left for new data, in bytes.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Uses the directory `path`, and makes it, readable by its owner alone, when it is missing.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = path.into();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Volume for Directory {
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        backend(OpenOptions::new().read(true).write(true).open(self.0.join(name))?)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        backend(options.open(self.0.join(name))?)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(&self.0)?.filter_map(|entry| {
            entry.map(|entry| entry.file_name().into_string().ok()).transpose()
        });
        names.collect()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn size_bytes(&self, name: &str) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        // The blocks in use, not the length: a file may have holes.
        Ok(std::fs::metadata(self.0.join(name))?.blocks() * 512)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.0)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

fn backend(file: File) -> io::Result<Box<dyn StorageBackend>> {
    Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
}

/// Opens the database in `file`; `None` when there is no such file (any more).
pub(crate) fn open_database(
    volume: &dyn Volume,
    file: &str,
    cache_bytes: usize,
) -> Result<Option<Database>, OpenError> {
    match volume.open(file) {
        Ok(backend) => database(backend, file, cache_bytes).map(Some),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(StoreError::file(file, cause).into()),
    }
}

/// Makes the database in `file`; `begin` writes its first commit. The file has its name only once
/// that commit is durable, so that a crash leaves the whole file or none.
pub(crate) fn create_database(
    volume: &dyn Volume,
    file: &str,
    cache_bytes: usize,
    begin: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<Database, OpenError> {
    let failed = |cause: io::Error| StoreError::file(file, cause);
    let unfinished = format!("{file}{UNFINISHED}");
    if volume.names().map_err(failed)?.contains(&unfinished) {
        volume.remove(&unfinished).map_err(failed)?;
    }
    let backend = volume.create(&unfinished).map_err(failed)?;
    let database = database(backend, file, cache_bytes)?;
    begin(&database).map_err(|cause| StoreError::file(file, cause))?;
    volume.rename(&unfinished, file).and_then(|()| volume.sync_names()).map_err(failed)?;
    Ok(database)
}

/// Opens a database. One that was not closed is written back before redb repairs it and builds on
/// what it has read: after a failed sync the system shows pages that are not on the disk, and takes
/// them for clean, so that no later sync writes them.
fn database(
    backend: Box<dyn StorageBackend>,
    file: &str,
    cache_bytes: usize,
) -> Result<Database, OpenError> {
    let backend = Shared(Arc::from(backend));
    let (unclosed, name) = (backend.clone(), file.to_owned());
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    builder.set_repair_callback(move |repair| {
        // Called again as the repair goes on; at 0 it has not begun.
        if repair.progress() > 0.0 {
            return;
        }
        if let Err(error) = write_back(&unclosed) {
            tracing::error!(file = name, %error, "a file that was not closed cannot be written back");
            repair.abort();
        }
    });
    builder.create_with_backend(backend).map_err(|cause| match cause {
        redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { file: file.to_owned() },
        other => StoreError::file(file, other).into(),
    })
}

/// Writes what the file shows once more and syncs it, so that it is on the disk for certain. The
/// zeros at the end stay as they are: space that the file was grown by and that was never used.
fn write_back(file: &Shared) -> io::Result<()> {
    const PIECE_BYTES: usize = 1 << 20;
    let len = file.len()?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut end = len;
    while end > 0 {
        let begin = (end - 1) / PIECE_BYTES as u64 * PIECE_BYTES as u64;
        let read = &mut piece[..usize::try_from(end - begin).unwrap_or(PIECE_BYTES)];
        file.read(begin, read)?;
        if read.iter().any(|byte| *byte != 0) {
            break;
        }
        end = begin;
    }
    // A payload may end in zeros.
    let end = end.saturating_add(PIECE_BYTES as u64).min(len);
    for begin in (0..end).step_by(PIECE_BYTES) {
        let left = usize::try_from(end - begin).unwrap_or(PIECE_BYTES);
        let read = &mut piece[..left.min(PIECE_BYTES)];
        file.read(begin, read)?;
        file.write(begin, read)?;
    }
    file.sync_data()
}

/// A backend of any kind, which redb wants by value.
#[derive(Clone, Debug)]
pub(crate) struct Shared(pub(crate) Arc<dyn StorageBackend>);

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}
