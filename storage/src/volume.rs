//! Where the store's files are: a directory, or something that behaves like one in a test of
//! crashes and full disks.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::PathBuf;

use redb::Database;
use redb::backends::FileBackend;
pub use redb::{BackendError, StorageBackend};

use crate::error::{OpenError, StoreError};

/// What the name of a file ends in while it is begun.
pub(crate) const UNFINISHED: &str = ".unfinished";

/// A place for files that are written through redb.
pub trait Volume: fmt::Debug + Send + Sync {
    /// Opens the file `name`, or makes an empty one.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;

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
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(self.0.join(name))?;
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Box::new(backend))
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

/// Opens the database in `file`; `begin` writes the first commit of a new one. A new file has its
/// name only once that commit is durable, so that a crash leaves the whole file or none.
pub(crate) fn open_database(
    volume: &dyn Volume,
    file: &str,
    cache_bytes: usize,
    begin: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<Database, OpenError> {
    let failed = |cause: redb::Error| OpenError::Failed(StoreError::file(file, cause));
    let open = |name: &str| {
        let backend = volume.open(name).map_err(|cause| failed(cause.into()))?;
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        builder.create_with_backend(Boxed(backend)).map_err(|cause| match cause {
            redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { file: file.to_owned() },
            other => failed(other.into()),
        })
    };
    let names = volume.names().map_err(|cause| failed(cause.into()))?;
    if names.iter().any(|name| name == file) {
        return open(file);
    }
    let unfinished = format!("{file}{UNFINISHED}");
    if names.contains(&unfinished) {
        volume.remove(&unfinished).map_err(|cause| failed(cause.into()))?;
    }
    let database = open(&unfinished)?;
    begin(&database).map_err(failed)?;
    let in_place = volume.rename(&unfinished, file).and_then(|()| volume.sync_names());
    in_place.map_err(|cause| failed(cause.into()))?;
    Ok(database)
}

/// A boxed backend, which redb wants by value.
#[derive(Debug)]
struct Boxed(Box<dyn StorageBackend>);

impl StorageBackend for Boxed {
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
