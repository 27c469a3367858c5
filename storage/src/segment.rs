//! One file of the journal: events in the order of their sequences, their fingerprints, and the
//! handshakes that were open when the file was begun or have been opened since.
//!
//! The layout is in `DESIGN.md`, chapter "Journal file".

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eg_event::{Handshake, Sequence, StoredEvent, Timestamp};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, Table,
    TableDefinition, WriteTransaction,
};

use crate::block::{self, Block};
use crate::compaction::{self, Compaction};
use crate::error::{OpenError, StoreError};
use crate::holdings::{NOBODY, Row, Share};
use crate::volume::{Volume, create_database, open_database};

/// The version of the file layout that this code writes.
pub(crate) const VERSION: u64 = 3;
/// The oldest version that this code reads: it does not say what applications hold. What MQTT
/// publications say beside came with version 3.
const VERSION_MIN: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The latest commit of the commit log that the file holds.
const LOGGED: &str = "logged";
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const FINGERPRINTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("fingerprints");
const HANDSHAKES: TableDefinition<'_, &[u8], u64> = TableDefinition::new("handshakes");
const HOLDINGS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("holdings");

/// What a journal file is called: the first sequence that it holds, and when it was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentName {
    pub(crate) first: Sequence,
    pub(crate) created_at: Timestamp,
}

impl SegmentName {
    /// Reads a file name; `None` when it is not a journal file's.
    pub(crate) fn parse(file: &str) -> Option<Self> {
        let middle = file.strip_prefix("journal-")?.strip_suffix(".redb")?;
        let (first, micros) = middle.split_once('-')?;
        let created_at = Timestamp::from_micros(micros.parse().ok()?);
        Some(Self { first: Sequence(first.parse().ok()?), created_at })
    }

    pub(crate) fn file(&self) -> String {
        format!("journal-{:020}-{:020}.redb", self.first.0, self.created_at.as_micros())
    }
}

/// What a journal file begins with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beginning {
    /// Keys the fingerprints of every file of a journal alike.
    pub(crate) fingerprint_key: u64,
    /// The latest commit of the commit log that the file before holds.
    pub(crate) logged: u64,
    /// The handshakes that are open.
    pub(crate) open: Vec<(Handshake, Sequence)>,
}

/// An open journal file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: SegmentName,
    file: String,
    database: Database,
    version: u64,
    fingerprint_key: u64,
}

impl Segment {
    /// Begins a file in one commit: a crash leaves all of it or nothing.
    pub(crate) fn create(
        volume: &dyn Volume,
        name: SegmentName,
        cache_bytes: usize,
        beginning: &Beginning,
    ) -> Result<Self, OpenError> {
        let file = name.file();
        let database =
            create_database(volume, &file, cache_bytes, |database| begin(database, beginning))?;
        let fingerprint_key = beginning.fingerprint_key;
        Ok(Self { name, file, database, version: VERSION, fingerprint_key })
    }

    /// Writes the file anew with the events that `keeps` says, and says what applications hold of
    /// it. The new file follows the old one by name, and has its place once it is whole.
    pub(crate) fn rewrite(
        &self,
        volume: &dyn Volume,
        cache_bytes: usize,
        keeps: &dyn Fn(&StoredEvent) -> bool,
    ) -> Result<(Self, Vec<Row>), OpenError> {
        let created_at = self.name.created_at.after(Duration::from_micros(1));
        let name = SegmentName { created_at, ..self.name.clone() };
        let file = name.file();
        let fingerprint_key = self.fingerprint_key;
        let beginning = Beginning { fingerprint_key, logged: self.logged()?, open: Vec::new() };
        let mut compaction = Compaction::new(self, keeps);
        let database = create_database(volume, &file, cache_bytes, |database| {
            begin(database, &beginning)?;
            while let Some(kept) = compaction.read().map_err(compaction::reading)? {
                let transaction = database.begin_write()?;
                let mut tables = Tables::open(&transaction)?;
                kept.write(&mut tables)?;
                for row in compaction.rows() {
                    tables.put_holdings(row)?;
                }
                drop(tables);
                transaction.commit()?;
            }
            Ok(())
        })?;
        let segment = Self { name, file, database, version: VERSION, fingerprint_key };
        segment.seal()?;
        Ok((segment, compaction.into_rows()))
    }

    /// Opens an existing file; `None` when retention has let it go.
    pub(crate) fn open(
        volume: &dyn Volume,
        name: SegmentName,
        cache_bytes: usize,
    ) -> Result<Option<Self>, OpenError> {
        let file = name.file();
        let Some(database) = open_database(volume, &file, cache_bytes)? else {
            return Ok(None);
        };
        let read = || -> Result<(u64, u64), redb::Error> {
            let meta = database.begin_read()?.open_table(META)?;
            let get = |key: &str| -> Result<u64, redb::Error> {
                Ok(meta.get(key)?.map_or(0, |value| value.value()))
            };
            Ok((get("version")?, get("fingerprint_key")?))
        };
        let (version, fingerprint_key) = read().map_err(|cause| StoreError::file(&file, cause))?;
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(OpenError::UnknownVersion {
                file,
                found: u32::try_from(version).unwrap_or(u32::MAX),
                known: u32::try_from(VERSION).unwrap_or(u32::MAX),
            });
        }
        Ok(Some(Self { name, file, database, version, fingerprint_key }))
    }

    pub(crate) fn fingerprint_key(&self) -> u64 {
        self.fingerprint_key
    }

    /// Begins a commit; it is durable when [`Commit::finish`] returns.
    pub(crate) fn begin(&self) -> Result<Commit<'_>, StoreError> {
        let transaction = self.database.begin_write().map_err(|cause| self.failed(cause))?;
        Ok(Commit { segment: self, transaction })
    }

    /// Leaves the file such that it opens at once next time, also after a crash.
    pub(crate) fn seal(&self) -> Result<(), StoreError> {
        let mut transaction = self.database.begin_write().map_err(|cause| self.failed(cause))?;
        transaction.set_quick_repair(true);
        transaction.commit().map_err(|cause| self.failed(cause))
    }

    /// The sequence after the last event; the first sequence of the file when it has none.
    pub(crate) fn next(&self) -> Result<Sequence, StoreError> {
        let last = self.reading(|events| {
            Ok(events
                .last()?
                .map(|(key, value)| (key.value(), Bytes::copy_from_slice(value.value()))))
        })?;
        match last {
            None => Ok(self.name.first),
            Some((first, value)) => {
                let block = self.block(Sequence(first), value)?;
                Ok(Sequence(first + block.len() as u64))
            }
        }
    }

    /// The blocks that hold `from` and what follows, up to about `bytes_max` bytes but at least
    /// one block; each with the sequence of its first record.
    pub(crate) fn blocks(
        &self,
        from: Sequence,
        bytes_max: usize,
    ) -> Result<Vec<(Sequence, Block)>, StoreError> {
        let rows = self.reading(|events| {
            let before = events.range(..=from.0)?.next_back().transpose()?;
            // It may end before, if what follows it is gone.
            let holding = before.filter(|(key, value)| {
                block::count(value.value()).is_none_or(|count| key.value() + count > from.0)
            });
            let begin = holding.map_or(from.0, |(key, _)| key.value());
            let mut rows = Vec::new();
            let mut bytes = 0;
            for row in events.range(begin..)? {
                let (key, value) = row?;
                bytes += value.value().len();
                rows.push((key.value(), Bytes::copy_from_slice(value.value())));
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(rows)
        })?;
        let parse = |(first, value)| Ok((Sequence(first), self.block(Sequence(first), value)?));
        rows.into_iter().map(parse).collect()
    }

    /// The fingerprint of every event of the file, in order: each row with the sequence of its
    /// first.
    pub(crate) fn fingerprints(
        &self,
        mut each: impl FnMut(Sequence, &[u8]),
    ) -> Result<(), StoreError> {
        let mut read = || -> Result<(), redb::Error> {
            for row in self.database.begin_read()?.open_table(FINGERPRINTS)?.iter()? {
                let (key, value) = row?;
                each(Sequence(key.value()), value.value());
            }
            Ok(())
        };
        read().map_err(|cause| self.failed(cause))
    }

    /// Whether the file is of the version that this code writes; otherwise it is not written on.
    pub(crate) fn is_current(&self) -> bool {
        self.version == VERSION
    }

    /// Whether the file says what applications hold.
    fn has_holdings(&self) -> bool {
        self.version >= 2
    }

    /// What applications hold of the file.
    pub(crate) fn holdings(&self) -> Result<Vec<Row>, StoreError> {
        if !self.has_holdings() {
            return self.held_by_nobody();
        }
        let read = || -> Result<Vec<(u64, Bytes)>, redb::Error> {
            let table = self.database.begin_read()?.open_table(HOLDINGS)?;
            let mut rows = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                rows.push((key.value(), Bytes::copy_from_slice(value.value())));
            }
            Ok(rows)
        };
        let rows = read().map_err(|cause| self.failed(cause))?;
        let decode = |(first, value)| {
            let first = Sequence(first);
            Row::decode(first, value).map_err(|cause| StoreError::damaged(&self.file, first, cause))
        };
        rows.into_iter().map(decode).collect()
    }

    /// All of the file as events without an application.
    fn held_by_nobody(&self) -> Result<Vec<Row>, StoreError> {
        let read = || -> Result<u64, redb::Error> {
            let transaction = self.database.begin_read()?;
            Ok(transaction.open_table(EVENTS)?.stats()?.stored_bytes())
        };
        let bytes = read().map_err(|cause| self.failed(cause))?;
        let mut row = Row::new(self.name.first);
        let events = self.next()?.0 - self.name.first.0;
        row.share(NOBODY, Share { events, bytes });
        Ok(if events > 0 { vec![row] } else { Vec::new() })
    }

    /// The latest commit of the commit log that the file holds.
    pub(crate) fn logged(&self) -> Result<u64, StoreError> {
        let read = || -> Result<u64, redb::Error> {
            let meta = self.database.begin_read()?.open_table(META)?;
            Ok(meta.get(LOGGED)?.map_or(0, |value| value.value()))
        };
        read().map_err(|cause| self.failed(cause))
    }

    /// The open handshakes and the event that each stands for.
    pub(crate) fn handshakes(&self) -> Result<Vec<(Handshake, Sequence)>, StoreError> {
        let read = || -> Result<Vec<(Handshake, Sequence)>, redb::Error> {
            let table = self.database.begin_read()?.open_table(HANDSHAKES)?;
            let mut open = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                open.extend(
                    handshake_of(key.value()).map(|known| (known, Sequence(value.value()))),
                );
            }
            Ok(open)
        };
        read().map_err(|cause| self.failed(cause))
    }

    fn reading<T>(
        &self,
        read: impl FnOnce(&redb::ReadOnlyTable<u64, &'static [u8]>) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let open =
            || -> Result<T, redb::Error> { read(&self.database.begin_read()?.open_table(EVENTS)?) };
        open().map_err(|cause| self.failed(cause))
    }

    fn block(&self, at: Sequence, value: Bytes) -> Result<Block, StoreError> {
        Block::parse(value).map_err(|cause| StoreError::damaged(&self.file, at, cause))
    }

    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    fn failed(&self, cause: impl Into<redb::Error>) -> StoreError {
        StoreError::file(&self.file, cause)
    }
}

/// The first commit of a file.
fn begin(database: &Database, beginning: &Beginning) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    let mut meta = transaction.open_table(META)?;
    meta.insert("version", VERSION)?;
    meta.insert("fingerprint_key", beginning.fingerprint_key)?;
    meta.insert(LOGGED, beginning.logged)?;
    drop(meta);
    let mut tables = Tables::open(&transaction)?;
    for (handshake, sequence) in &beginning.open {
        tables.open_handshake(handshake, *sequence)?;
    }
    drop(tables);
    transaction.commit()?;
    Ok(())
}

/// One commit on its way: everything in it becomes durable together, or none of it.
pub(crate) struct Commit<'a> {
    segment: &'a Segment,
    transaction: WriteTransaction,
}

impl Commit<'_> {
    /// Hands out the tables to write to, of what the commit log has up to `logged`.
    pub(crate) fn write(
        &self,
        logged: u64,
        write: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::StorageError>,
    ) -> Result<(), StoreError> {
        let open = || -> Result<(), redb::Error> {
            let mut tables = Tables::open(&self.transaction)?;
            write(&mut tables)?;
            self.transaction.open_table(META)?.insert(LOGGED, logged)?;
            Ok(())
        };
        open().map_err(|cause| self.segment.failed(cause))
    }

    /// Makes it durable.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        self.transaction.commit().map_err(|cause| self.segment.failed(cause))
    }
}

/// The tables of a file within a commit.
pub(crate) struct Tables<'txn> {
    events: Table<'txn, u64, &'static [u8]>,
    fingerprints: Table<'txn, u64, &'static [u8]>,
    handshakes: Table<'txn, &'static [u8], u64>,
    holdings: Table<'txn, u64, &'static [u8]>,
}

impl<'txn> Tables<'txn> {
    fn open(transaction: &'txn WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            events: transaction.open_table(EVENTS)?,
            fingerprints: transaction.open_table(FINGERPRINTS)?,
            handshakes: transaction.open_table(HANDSHAKES)?,
            holdings: transaction.open_table(HOLDINGS)?,
        })
    }

    pub(crate) fn put_block(
        &mut self,
        first: Sequence,
        row: &[u8],
    ) -> Result<(), redb::StorageError> {
        self.events.insert(first.0, row).map(drop)
    }

    pub(crate) fn put_fingerprints(
        &mut self,
        first: Sequence,
        row: &[u8],
    ) -> Result<(), redb::StorageError> {
        self.fingerprints.insert(first.0, row).map(drop)
    }

    pub(crate) fn put_holdings(&mut self, row: &Row) -> Result<(), redb::StorageError> {
        self.holdings.insert(row.first.0, &*row.encode()).map(drop)
    }

    pub(crate) fn open_handshake(
        &mut self,
        handshake: &Handshake,
        sequence: Sequence,
    ) -> Result<(), redb::StorageError> {
        self.handshakes.insert(&*handshake_key(handshake), sequence.0).map(drop)
    }

    pub(crate) fn close_handshake(
        &mut self,
        handshake: &Handshake,
    ) -> Result<(), redb::StorageError> {
        self.handshakes.remove(&*handshake_key(handshake)).map(drop)
    }
}

/// The client identifier, a zero byte (which MQTT excludes from it), and the packet identifier.
pub(crate) fn handshake_key(handshake: &Handshake) -> Vec<u8> {
    let mut key = Vec::with_capacity(handshake.client_id.len() + 3);
    key.extend_from_slice(handshake.client_id.as_bytes());
    key.push(0);
    key.extend_from_slice(&handshake.packet_id.to_be_bytes());
    key
}

pub(crate) fn handshake_of(key: &[u8]) -> Option<Handshake> {
    let (client_id, tail) = key.split_at_checked(key.len().checked_sub(3)?)?;
    let [0, high, low] = *tail else { return None };
    let client_id = Arc::from(std::str::from_utf8(client_id).ok()?);
    Some(Handshake { client_id, packet_id: u16::from_be_bytes([high, low]) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn handshake_keys_read_back_and_sessions_do_not_mix(client in "[^\u{0}]{0,20}", packet_id: u16) {
            let handshake = Handshake { client_id: client.into(), packet_id };
            prop_assert_eq!(handshake_of(&handshake_key(&handshake)), Some(handshake));
        }

        #[test]
        fn damaged_keys_are_none_and_no_panic(key: Vec<u8>) {
            drop(handshake_of(&key));
        }
    }

    #[test]
    fn file_names_sort_like_their_sequences() {
        let name = |first, micros| SegmentName {
            first: Sequence(first),
            created_at: Timestamp::from_micros(micros),
        };
        assert!(name(9, 5).file() < name(10, 4).file());
        assert_eq!(SegmentName::parse(&name(10, 4).file()), Some(name(10, 4)));
        assert_eq!(SegmentName::parse("store.redb"), None);
    }
}
