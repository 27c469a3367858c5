//! A disk that forgets what was not synced: after a crash each unsynced write is there or not, in
//! pieces of a page, and so is each file whose name was not synced. It can be made to fail.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eg_storage::volume::{BackendError, StorageBackend, Volume};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const PAGE: usize = 4096;
/// How long it takes to close a file.
const CLOSE_TIME: Duration = Duration::from_micros(200);

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrashVolume(Arc<Mutex<Disk>>);

#[derive(Clone, Debug, Default)]
struct Disk {
    files: BTreeMap<String, Image>,
    /// Files whose removal has not been synced.
    removed: BTreeMap<String, Image>,
    /// New names that have not been synced, each with the name that it stands for until then.
    unsynced_names: BTreeMap<String, String>,
    /// Where those who have a file open under its old name find it.
    renamed: BTreeMap<String, String>,
    /// After so many writes and syncs the power goes; none: it stays on.
    operations_left: Option<u64>,
    /// Which files are locked, under the names that they were opened by, and by which opening.
    locks: BTreeMap<String, u64>,
    openings: u64,
    dead: bool,
    free_bytes: Option<u64>,
    failing: Option<Failing>,
}

/// What a disk may fail to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
    /// To sync a journal file: what was to be written is read back, and never reaches the disk.
    Syncs,
    /// To sync the names of files.
    NameSyncs,
    /// To open a file.
    Opens,
}

#[derive(Clone, Debug, Default)]
struct Image {
    name_synced: bool,
    synced: Vec<u8>,
    now: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl CrashVolume {
    /// Lets the power go after `operations` more writes and syncs.
    pub(crate) fn crash_after(&self, operations: u64) {
        self.0.lock().unwrap().operations_left = Some(operations);
    }

    /// Lets the power go now.
    pub(crate) fn crash(&self) {
        self.0.lock().unwrap().dead = true;
    }

    /// Whether the power has gone.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.lock().unwrap().dead
    }

    /// Makes the disk as full as to have `bytes` left, and fail every write that makes a file
    /// longer when that is 0.
    pub(crate) fn set_free_bytes(&self, bytes: Option<u64>) {
        self.0.lock().unwrap().free_bytes = bytes;
    }

    /// Makes every operation of one kind fail, or none.
    pub(crate) fn set_failing(&self, failing: Option<Failing>) {
        self.0.lock().unwrap().failing = failing;
    }

    /// The same disk for the next process, when this one is killed and the power stays on.
    pub(crate) fn after_kill(&self) -> Self {
        let disk = self.0.lock().unwrap().clone();
        let disk = Disk { locks: BTreeMap::new(), dead: false, operations_left: None, ..disk };
        Self(Arc::new(Mutex::new(disk)))
    }

    /// What is found when the power comes back.
    pub(crate) fn after_crash(&self, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = self.0.lock().unwrap();
        let mut files = BTreeMap::new();
        for (name, image) in &disk.files {
            let found = image.after_crash(&mut rng);
            match disk.unsynced_names.get(name) {
                Some(old_name) if rng.random_bool(0.5) => files.insert(old_name.clone(), found),
                _ if image.name_synced || rng.random_bool(0.5) => files.insert(name.clone(), found),
                _ => None,
            };
        }
        for (name, image) in &disk.removed {
            if rng.random_bool(0.5) {
                files.entry(name.clone()).or_insert_with(|| image.after_crash(&mut rng));
            }
        }
        Self(Arc::new(Mutex::new(Disk { files, ..Disk::default() })))
    }
}

impl Image {
    fn after_crash(&self, rng: &mut StdRng) -> Self {
        let mut found = self.synced.clone();
        for (offset, data) in &self.unsynced {
            for (piece, bytes) in data.chunks(PAGE).enumerate() {
                if rng.random_bool(0.5) {
                    let at = offset + piece * PAGE;
                    if found.len() < at + bytes.len() {
                        found.resize(at + bytes.len(), 0);
                    }
                    found[at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
        }
        // The new length may have reached the disk or not.
        if self.now.len() > found.len() && rng.random_bool(0.5) {
            found.resize(self.now.len(), 0);
        }
        Self { name_synced: true, synced: found.clone(), now: found, unsynced: Vec::new() }
    }

    /// Writes the pages that are dirty. Pages whose sync failed are not: the system takes them for
    /// clean.
    fn sync(&mut self) {
        self.synced.resize(self.now.len(), 0);
        for (offset, data) in self.unsynced.drain(..) {
            let begin = (offset / PAGE * PAGE).min(self.now.len());
            let end = (offset + data.len()).next_multiple_of(PAGE).min(self.now.len());
            self.synced[begin..end].copy_from_slice(&self.now[begin..end]);
        }
    }
}

impl Disk {
    /// Counts an operation; the one at which the power goes is not done.
    fn operate(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.operations_left {
            if *left == 0 {
                self.dead = true;
            }
            *left = left.saturating_sub(1);
        }
        if self.dead { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }
}

impl Volume for CrashVolume {
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let mut disk = self.0.lock().unwrap();
        disk.operate()?;
        disk.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        if disk.failing == Some(Failing::Opens) {
            return Err(io::Error::other("the disk failed"));
        }
        disk.openings += 1;
        let opening = disk.openings;
        Ok(Box::new(CrashFile { disk: self.clone(), name: name.to_owned(), opening }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let mut disk = self.0.lock().unwrap();
        disk.operate()?;
        disk.files.insert(name.to_owned(), Image::default());
        disk.openings += 1;
        let opening = disk.openings;
        Ok(Box::new(CrashFile { disk: self.clone(), name: name.to_owned(), opening }))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().files.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.operate()?;
        if let Some(image) = disk.files.remove(name) {
            disk.removed.insert(name.to_owned(), image);
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.operate()?;
        let image = disk.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.renamed.insert(from.to_owned(), to.to_owned());
        disk.unsynced_names.insert(to.to_owned(), from.to_owned());
        disk.files.insert(to.to_owned(), image);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.operate()?;
        if disk.failing == Some(Failing::NameSyncs) {
            return Err(io::Error::other("the disk failed"));
        }
        disk.removed.clear();
        disk.unsynced_names.clear();
        disk.files.values_mut().for_each(|image| image.name_synced = true);
        Ok(())
    }

    fn size_bytes(&self, name: &str) -> io::Result<u64> {
        let disk = self.0.lock().unwrap();
        Ok(disk.files.get(name).map_or(0, |image| image.now.len() as u64))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().free_bytes.unwrap_or(u64::MAX))
    }
}

#[derive(Debug)]
struct CrashFile {
    disk: CrashVolume,
    name: String,
    opening: u64,
}

impl CrashFile {
    fn with<T>(&self, act: impl FnOnce(&mut Image) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.0.lock().unwrap();
        // A removed file lives on for those who have it open.
        let Disk { files, removed, renamed, .. } = &mut *disk;
        let name = renamed.get(&self.name).unwrap_or(&self.name);
        let image = files.get_mut(name).or_else(|| removed.get_mut(name));
        act(image.ok_or(io::ErrorKind::NotFound)?)
    }
}

impl StorageBackend for CrashFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|image| Ok(image.now.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.with(|image| {
            let found = image.now.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(found);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.0.lock().unwrap().operate()?;
        let full = self.disk.0.lock().unwrap().free_bytes == Some(0);
        let len = usize::try_from(len).unwrap();
        self.with(|image| {
            if full && len > image.now.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            image.now.resize(len, 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.0.lock().unwrap().operate()?;
        let failing = self.disk.0.lock().unwrap().failing == Some(Failing::Syncs);
        let fails = failing && self.name.starts_with("journal");
        self.with(|image| {
            if fails {
                image.unsynced.clear();
                return Err(io::Error::other("the disk failed"));
            }
            image.sync();
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.0.lock().unwrap().operate()?;
        let at = usize::try_from(offset).unwrap();
        self.with(|image| {
            if image.now.len() < at + data.len() {
                image.now.resize(at + data.len(), 0);
            }
            image.now[at..at + data.len()].copy_from_slice(data);
            image.unsynced.push((at, data.to_vec()));
            Ok(())
        })
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        let mut disk = self.disk.0.lock().unwrap();
        let holder = *disk.locks.entry(self.name.clone()).or_insert(self.opening);
        Ok(holder == self.opening)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        // What a real disk takes to write the last pages.
        std::thread::sleep(CLOSE_TIME);
        let mut disk = self.disk.0.lock().unwrap();
        if disk.locks.get(&self.name) == Some(&self.opening) {
            disk.locks.remove(&self.name);
        }
        Ok(())
    }
}
