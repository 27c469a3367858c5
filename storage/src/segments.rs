//! The files of the journal in their order, opened when somebody reads them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use eg_event::{Sequence, StoredEvent};

use crate::error::{OpenError, StoreError};
use crate::holdings::Row;
use crate::segment::{Beginning, Segment, SegmentName};
use crate::volume::{UNFINISHED, Volume};

/// How many files stay open for reading besides the one that is written.
const OPEN_FILES_MAX: usize = 4;

/// The files of the journal.
#[derive(Debug)]
pub(crate) struct Segments {
    volume: Arc<dyn Volume>,
    cache_bytes: usize,
    slots: RwLock<Vec<Arc<Slot>>>,
    /// The files that are open, the latest read ones last.
    opened: Mutex<VecDeque<Arc<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    name: SegmentName,
    /// The file while it is open: opened once however many read it, and closed under this lock,
    /// so that nobody finds it locked by one who still closes it.
    open: Mutex<Option<Arc<Segment>>>,
}

impl Segments {
    /// Takes stock of the files that there are.
    pub(crate) fn list(volume: Arc<dyn Volume>, cache_bytes: usize) -> Result<Self, StoreError> {
        let names = volume.names();
        let names = names.map_err(|cause| StoreError::file("journal", redb::Error::Io(cause)))?;
        // What a crash left unfinished holds nothing that anyone was told of.
        for file in names.iter().filter(|file| file.ends_with(UNFINISHED)) {
            let removed = volume.remove(file);
            removed.map_err(|cause| StoreError::file(file, redb::Error::Io(cause)))?;
        }
        let mut names: Vec<_> = names.iter().filter_map(|file| SegmentName::parse(file)).collect();
        names.sort_by_key(|name| (name.first, name.created_at));
        let slots = names.into_iter().map(Slot::closed).collect();
        let slots = RwLock::new(slots);
        Ok(Self { volume, cache_bytes, slots, opened: Mutex::default() })
    }

    pub(crate) fn volume(&self) -> &dyn Volume {
        &*self.volume
    }

    /// The names of the files, oldest first.
    pub(crate) fn names(&self) -> Vec<SegmentName> {
        self.read_slots().iter().map(|slot| slot.name.clone()).collect()
    }

    /// Begins a file and lists it as the newest.
    pub(crate) fn begin(
        &self,
        mut name: SegmentName,
        beginning: &Beginning,
    ) -> Result<Arc<Segment>, OpenError> {
        // After a failure in an empty file two files begin with the same sequence: the later one
        // sorts after it, even if the clock went back.
        if let Some(newest) = self.read_slots().last()
            && newest.name.first == name.first
        {
            let later = newest.name.created_at.after(Duration::from_micros(1));
            name.created_at = name.created_at.max(later);
        }
        let segment = Segment::create(self.volume(), name.clone(), self.cache_bytes, beginning)?;
        let segment = Arc::new(segment);
        let slot = Arc::new(Slot { name, open: Mutex::new(Some(Arc::clone(&segment))) });
        self.slots.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&slot));
        self.keep_open(&slot);
        Ok(segment)
    }

    /// Whether there may be a journal file that is not listed: one that could not be begun for
    /// certain.
    pub(crate) fn may_hold_unlisted(&self) -> bool {
        let Ok(files) = self.volume.names() else { return true };
        let names: Vec<_> = files.iter().filter_map(|file| SegmentName::parse(file)).collect();
        names.len() > self.read_slots().len()
    }

    /// Opens the newest file; `None` when there has never been one.
    pub(crate) fn open_newest(&self) -> Result<Option<Arc<Segment>>, OpenError> {
        let Some(slot) = self.read_slots().last().map(Arc::clone) else {
            return Ok(None);
        };
        // Retention leaves the newest file alone, so that it is there or has been lost.
        let lost = || StoreError::file(&slot.name.file(), io::Error::from(io::ErrorKind::NotFound));
        Ok(Some(self.open(&slot)?.ok_or_else(lost)?))
    }

    /// The file that holds `sequence`, or, when that has been let go, the first one after it.
    pub(crate) fn holding(&self, sequence: Sequence) -> Result<Option<Arc<Segment>>, OpenError> {
        let mut at = Some(sequence);
        while let Some(sequence) = at {
            let slot = {
                let slots = self.read_slots();
                let after = slots.partition_point(|slot| slot.name.first <= sequence);
                slots.get(after.saturating_sub(1)).map(Arc::clone)
            };
            let Some(slot) = slot else { break };
            if let Some(segment) = self.open(&slot)? {
                return Ok(Some(segment));
            }
            // It may have been written anew meanwhile.
            let is_listed = self.read_slots().iter().any(|known| Arc::ptr_eq(known, &slot));
            let has_another =
                self.read_slots().iter().any(|known| known.name.first == slot.name.first);
            if is_listed || !has_another {
                at = self.first_after(slot.name.first);
            }
        }
        Ok(None)
    }

    /// Opens the file called `name`, or what has been written in its place; `None` when it is not
    /// there (any more).
    pub(crate) fn by_name(&self, name: &SegmentName) -> Result<Option<Arc<Segment>>, OpenError> {
        let find = |is: &dyn Fn(&SegmentName) -> bool| {
            self.read_slots().iter().rfind(|slot| is(&slot.name)).map(Arc::clone)
        };
        let exactly = find(&|known| known == name).map_or(Ok(None), |slot| self.open(&slot))?;
        if exactly.is_some() {
            return Ok(exactly);
        }
        let instead = find(&|known| known.first == name.first && known != name);
        instead.map_or(Ok(None), |slot| self.open(&slot))
    }

    /// The first sequence of the file after the one that holds `sequence`.
    pub(crate) fn first_after(&self, sequence: Sequence) -> Option<Sequence> {
        let slots = self.read_slots();
        let after = slots.partition_point(|slot| slot.name.first <= sequence);
        slots.get(after).map(|slot| slot.name.first)
    }

    /// Writes a file anew with the events that `keeps` says; says what applications hold of it.
    pub(crate) fn rewrite(
        &self,
        name: &SegmentName,
        keeps: &dyn Fn(&StoredEvent) -> bool,
    ) -> Result<Vec<Row>, OpenError> {
        let Some(old) = self.by_name(name)? else { return Ok(Vec::new()) };
        let (new, rows) = old.rewrite(self.volume(), self.cache_bytes, keeps)?;
        drop(old);
        let slot = Arc::new(Slot { name: new.name.clone(), open: Mutex::new(None) });
        // Who reads it opens it anew, under the lock of its place.
        drop(new);
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = slots.iter_mut().find(|known| known.name == *name) {
            *place = Arc::clone(&slot);
        }
        drop(slots);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|known| known.name != *name);
        drop(opened);
        self.remove(name)?;
        Ok(rows)
    }

    /// Removes a file; who is reading it reads on.
    pub(crate) fn remove(&self, name: &SegmentName) -> Result<(), StoreError> {
        let file = name.file();
        let failed = |cause| StoreError::file(&file, redb::Error::Io(cause));
        self.forget_open(name);
        self.slots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|slot| slot.name != *name);
        self.volume.remove(&file).map_err(failed)?;
        self.volume.sync_names().map_err(failed)
    }

    /// Closes a file for its writer, so that the next reader opens it anew.
    pub(crate) fn close(&self, written: Arc<Segment>) {
        let name = written.name.clone();
        drop(written);
        self.forget_open(&name);
    }

    fn forget_open(&self, name: &SegmentName) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|slot| slot.name != *name);
        drop(opened);
        for slot in self.read_slots().iter().filter(|slot| slot.name == *name) {
            *slot.lock() = None;
        }
    }

    /// Opens a file; `None` when retention has let it go since it was looked up.
    fn open(&self, slot: &Arc<Slot>) -> Result<Option<Arc<Segment>>, OpenError> {
        let mut open = slot.lock();
        let segment = if let Some(segment) = &*open {
            Arc::clone(segment)
        } else {
            let opened = Segment::open(self.volume(), slot.name.clone(), self.cache_bytes)?;
            let Some(opened) = opened else { return Ok(None) };
            Arc::clone(open.insert(Arc::new(opened)))
        };
        drop(open);
        self.keep_open(slot);
        Ok(Some(segment))
    }

    /// Keeps the latest read files open, so that reading on does not open them again.
    fn keep_open(&self, slot: &Arc<Slot>) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.back().is_some_and(|latest| Arc::ptr_eq(latest, slot)) {
            return;
        }
        opened.retain(|known| !Arc::ptr_eq(known, slot));
        opened.push_back(Arc::clone(slot));
        // One file more: the one that is written.
        let mut excess = opened.len().saturating_sub(OPEN_FILES_MAX + 1);
        opened.retain(|slot| {
            let closed = excess > 0 && slot.close_if_unused();
            excess -= usize::from(closed);
            !closed
        });
    }

    fn read_slots(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<Slot>>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn closed(name: SegmentName) -> Arc<Self> {
        Arc::new(Self { name, open: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Segment>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the file is closed now: nobody reads or writes it. Does not wait for one who opens
    /// it.
    fn close_if_unused(&self) -> bool {
        let Ok(mut open) = self.open.try_lock() else { return false };
        // Whoever reads it got it under this lock, so that a count of one stays one.
        let used = open.as_ref().is_some_and(|segment| Arc::strong_count(segment) > 1);
        if !used {
            *open = None;
        }
        !used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Directory;
    use eg_event::Timestamp;

    #[test]
    fn a_reader_that_comes_after_retention_finds_the_next_file_and_makes_none() {
        let directory = tempfile::tempdir().unwrap();
        let volume = Arc::new(Directory::open(directory.path()).unwrap());
        let list = || Segments::list(Arc::clone(&volume) as Arc<dyn Volume>, 1 << 20).unwrap();
        let name = |first| SegmentName {
            first: Sequence(first),
            created_at: Timestamp::from_micros(first),
        };
        for first in [1, 5] {
            list().begin(name(first), &Beginning::default()).unwrap();
        }
        let segments = list();
        // A reader looks a file up, and opens it when it has been let go meanwhile.
        segments.volume().remove(&name(1).file()).unwrap();
        assert!(segments.by_name(&name(1)).unwrap().is_none());
        assert_eq!(segments.holding(Sequence(2)).unwrap().unwrap().name, name(5));
        assert_eq!(segments.volume().names().unwrap(), [name(5).file()]);
    }
}
