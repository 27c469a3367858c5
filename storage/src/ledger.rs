//! What is due, to whom, and how each attempt ended; and what operators registered. A file of its
//! own beside the journal, so that keeping it never holds up an event that comes in.
//!
//! The layout is in `DESIGN.md`, chapter "Ledger".

use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use eg_event::{Sequence, SessionRows, StoredEvent};
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::attempt::{self, Attempt};
use crate::changes::Changes;
use crate::config::StorageConfig;
use crate::error::{OpenError, StoreError};
use crate::outstanding::{Cursor, DeadLetter, Exception};
use crate::record;
use crate::refs;
use crate::varint::Damaged;
use crate::volume::{Volume, create_database, open_database};
use crate::wills::{StoredWill, WILL};

/// The version of the file layout that this code writes, and the only one it reads.
const VERSION: u64 = 1;
/// What the file is called.
const FILE: &str = "ledger.redb";

pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(crate) const DOCUMENTS: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("documents");
pub(crate) const CURSORS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("cursors");
pub(crate) const EXCEPTIONS: TableDefinition<'_, (u64, u64), &[u8]> =
    TableDefinition::new("exceptions");
pub(crate) const REFERENCES: TableDefinition<'_, (u64, u64), &[u8]> =
    TableDefinition::new("references");
pub(crate) const DEAD_LETTERS: TableDefinition<'_, (u64, u64), &[u8]> =
    TableDefinition::new("dead_letters");
pub(crate) const SESSION_ROWS: TableDefinition<'_, (u64, u64), &[u8]> =
    TableDefinition::new("session_rows");
pub(crate) const RETAINED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("retained");
pub(crate) const ATTEMPTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("attempts");

/// The name of the tailer's place in the table `meta`.
pub(crate) const ROUTED: &str = "routed";
/// The name of the size of the attempts, in bytes, in the table `meta`.
pub(crate) const ATTEMPTS_BYTES: &str = "attempts_bytes";

/// The kind of the documents that say where what an application keeps begins.
pub(crate) const FLOOR: &str = "retention-floor";

/// The kind of the documents that say what the session of an MQTT client is.
pub(crate) const SESSION: &str = "mqtt-session";
/// The name of how far the journal has been matched against MQTT sessions, in the table `meta`.
pub(crate) const SESSIONS_ROUTED: &str = "sessions_routed";

/// The name of how far retained messages follow the journal, in the table `meta`.
pub(crate) const RETAINED_APPLIED: &str = "retained_applied";

/// A handle on the ledger; clones share it. Every call may wait for the disk.
#[derive(Clone, Debug)]
pub struct Ledger {
    volume: Arc<dyn Volume>,
    /// None after a failed write, until the file has been opened again.
    database: Arc<Mutex<Option<Arc<Database>>>>,
    cache_bytes: usize,
    attempts_bytes_max: u64,
}

/// The stored references of a subscription: a chunk's first sequence, and how many it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The first reference.
    pub first: Sequence,
    /// How many there are.
    pub count: u64,
}

/// Everything that a subscription has outstanding, as it is read at start.
#[derive(Clone, Debug, Default)]
pub struct Outstanding {
    /// Where it stands.
    pub cursor: Cursor,
    /// What it took up and did not settle.
    pub exceptions: Vec<(Sequence, Exception)>,
    /// The references that wait.
    pub chunks: Vec<Chunk>,
}

impl Ledger {
    pub(crate) fn open(volume: Arc<dyn Volume>, config: &StorageConfig) -> Result<Self, OpenError> {
        let ledger = Self {
            volume,
            database: Arc::default(),
            cache_bytes: usize::try_from(config.cache_bytes).unwrap_or(usize::MAX),
            attempts_bytes_max: config.attempts_bytes_max,
        };
        let database = match open_database(&*ledger.volume, FILE, ledger.cache_bytes)? {
            Some(database) => database,
            None => create_database(&*ledger.volume, FILE, ledger.cache_bytes, begin)?,
        };
        let found = version(&database).map_err(failed)?;
        if found != VERSION {
            return Err(OpenError::UnknownVersion {
                file: FILE.to_owned(),
                found: u32::try_from(found).unwrap_or(u32::MAX),
                known: u32::try_from(VERSION).unwrap_or(u32::MAX),
            });
        }
        *ledger.lock() = Some(Arc::new(database));
        Ok(ledger)
    }

    /// Makes all of `changes` durable together.
    pub fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
        let database = self.database()?;
        let write = || -> Result<(), redb::Error> {
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(true);
            changes.write(&transaction, self.attempts_bytes_max)?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|cause| {
            // After a failed write redb refuses everything until the file is opened again.
            *self.lock() = None;
            failed(cause)
        })
    }

    /// The documents of one kind, by name.
    pub fn documents(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(DOCUMENTS)?;
            let mut documents = Vec::new();
            for row in table.range((kind, "")..)? {
                let (key, value) = row?;
                let (found, name) = key.value();
                if found != kind {
                    break;
                }
                documents.push((name.to_owned(), value.value().to_vec()));
            }
            Ok(documents)
        })
    }

    /// The first event that applications keep, as [`Changes::put_floor`] stored it.
    pub fn floors(&self) -> Result<Vec<(Arc<str>, Sequence)>, StoreError> {
        let read = |(application, value): (String, Vec<u8>)| {
            let floor = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
            Some((Arc::from(application), Sequence(floor?)))
        };
        Ok(self.documents(FLOOR)?.into_iter().filter_map(read).collect())
    }

    /// A named number that [`Changes::put_number`] stored.
    pub fn number(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.read(|transaction| {
            Ok(transaction.open_table(META)?.get(name)?.map(|value| value.value()))
        })
    }

    /// Everything before this has been routed to every subscription.
    pub fn routed(&self) -> Result<Sequence, StoreError> {
        Ok(self.number(ROUTED)?.map_or(Sequence::FIRST, Sequence))
    }

    /// What is kept of MQTT sessions.
    pub fn sessions(&self) -> Result<SessionRows, StoreError> {
        let rows = self.read(|transaction| {
            let table = match transaction.open_table(SESSION_ROWS) {
                // No session has ever been kept.
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let read = |row: Result<_, redb::StorageError>| {
                let (key, value): (
                    redb::AccessGuard<'_, (u64, u64)>,
                    redb::AccessGuard<'_, &[u8]>,
                ) = row?;
                Ok((key.value(), value.value().to_vec()))
            };
            table.iter()?.map(read).collect()
        })?;
        let routed = self.number(SESSIONS_ROUTED)?.map(Sequence);
        Ok(SessionRows { routed, sessions: self.documents(SESSION)?, rows })
    }

    /// Up to where retained messages follow the journal, if any were ever kept.
    pub fn retained_applied(&self) -> Result<Option<Sequence>, StoreError> {
        Ok(self.number(RETAINED_APPLIED)?.map(Sequence))
    }

    /// Shows `visit` every retained message, in the order of the journal.
    pub fn retained(&self, visit: &mut dyn FnMut(StoredEvent)) -> Result<(), StoreError> {
        let damages = self.read(|transaction| {
            let table = match transaction.open_table(RETAINED) {
                // Nothing was ever retained.
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table?,
            };
            for row in table.iter()? {
                let (key, value) = row?;
                let sequence = Sequence(key.value());
                match record::decode(sequence, Bytes::copy_from_slice(value.value())) {
                    Ok(event) => visit(event),
                    Err(damage) => return Ok(Some((sequence, damage))),
                }
            }
            Ok(None)
        })?;
        damages.map_or(Ok(()), |(at, damage)| Err(damaged(at)(damage)))
    }

    /// The retained messages at `sequences`; those that are not kept are left out.
    pub fn retained_at(&self, sequences: &[Sequence]) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = self.read(|transaction| {
            let table = match transaction.open_table(RETAINED) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut rows = Vec::new();
            for sequence in sequences {
                let row = table.get(sequence.0)?;
                rows.extend(row.map(|row| (*sequence, Bytes::copy_from_slice(row.value()))));
            }
            Ok(rows)
        })?;
        let decode = |(at, row)| record::decode(at, row).map_err(damaged(at));
        rows.into_iter().map(decode).collect()
    }

    /// The wills that are kept, under their numbers.
    pub fn wills(&self) -> Result<Vec<(u64, StoredWill)>, StoreError> {
        let read = |(name, value): (String, Vec<u8>)| {
            let number = u64::from_str_radix(&name, 16);
            let number = number.map_err(|_| Damaged("a will has no number"));
            let will = number.and_then(|number| Ok((number, StoredWill::decode(value.into())?)));
            will.map_err(damaged(Sequence::default()))
        };
        self.documents(WILL)?.into_iter().map(read).collect()
    }

    /// What a subscription has outstanding.
    pub fn outstanding(&self, subscription: u64) -> Result<Outstanding, StoreError> {
        let rows = rows_of(subscription);
        let (cursor, exceptions, chunks) = self.read(|transaction| {
            let cursor = transaction.open_table(CURSORS)?.get(subscription)?;
            let cursor = cursor.map(|value| Bytes::copy_from_slice(value.value()));
            let exceptions = collect(transaction, EXCEPTIONS, rows.clone(), usize::MAX)?;
            let chunks = collect(transaction, REFERENCES, rows.clone(), usize::MAX)?;
            Ok((cursor, exceptions, chunks))
        })?;
        let cursor = cursor.map(Cursor::decode).transpose();
        let exceptions = exceptions.into_iter().map(|(at, value)| {
            Exception::decode(value).map(|exception| (at, exception)).map_err(damaged(at))
        });
        let chunks = chunks.into_iter().map(|(first, value)| {
            refs::count(value).map(|count| Chunk { first, count }).map_err(damaged(first))
        });
        Ok(Outstanding {
            cursor: cursor.map_err(damaged(Sequence(subscription)))?.unwrap_or_default(),
            exceptions: exceptions.collect::<Result<_, _>>()?,
            chunks: chunks.collect::<Result<_, _>>()?,
        })
    }

    /// The references of one chunk. None when it is not there yet: a chunk grows until it is full,
    /// so under its first reference there may be one with fewer than are asked for.
    pub fn references(
        &self,
        subscription: u64,
        chunk: Chunk,
    ) -> Result<Option<Vec<Sequence>>, StoreError> {
        let value = self.read(|transaction| {
            let found = transaction.open_table(REFERENCES)?.get((subscription, chunk.first.0))?;
            Ok(found.map(|value| Bytes::copy_from_slice(value.value())))
        })?;
        let found = value.map(refs::decode).transpose().map_err(damaged(chunk.first))?;
        Ok(found.filter(|references| references.len() as u64 >= chunk.count))
    }

    /// The dead letters of a subscription after `after`, in the order of the journal.
    pub fn dead_letters(
        &self,
        subscription: u64,
        after: Sequence,
        letters_max: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let rows = (subscription, after.0.saturating_add(1))..=(subscription, u64::MAX);
        let found =
            self.read(|transaction| collect(transaction, DEAD_LETTERS, rows.clone(), letters_max))?;
        let letter = |(at, value)| DeadLetter::decode(at, value).map_err(damaged(at));
        found.into_iter().map(letter).collect()
    }

    /// One dead letter.
    pub fn dead_letter(
        &self,
        subscription: u64,
        sequence: Sequence,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let value = self.read(|transaction| {
            let found = transaction.open_table(DEAD_LETTERS)?.get((subscription, sequence.0))?;
            Ok(found.map(|value| Bytes::copy_from_slice(value.value())))
        })?;
        let letter = value.map(|value| DeadLetter::decode(sequence, value)).transpose();
        letter.map_err(damaged(sequence))
    }

    /// Which events are dead letters of a subscription.
    pub fn dead_letter_sequences(&self, subscription: u64) -> Result<Vec<Sequence>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(DEAD_LETTERS)?;
            let keys =
                table.range(rows_of(subscription))?.map(|row| Ok(Sequence(row?.0.value().1)));
            keys.collect()
        })
    }

    /// Every attempt that is still logged for the event at `sequence`, oldest first.
    pub fn attempts(&self, sequence: Sequence) -> Result<Vec<Attempt>, StoreError> {
        let found = self.read(|transaction| {
            let table = transaction.open_table(ATTEMPTS)?;
            let mut found: Vec<Result<Vec<Attempt>, Damaged>> = Vec::new();
            for row in table.iter()? {
                let (_, value) = row?;
                // The head of a block says which sequences are in it.
                if attempt::may_hold(sequence, value.value()) {
                    let block = Bytes::copy_from_slice(value.value());
                    found.push(attempt::decode_for(sequence, block));
                }
            }
            Ok(found)
        })?;
        let mut attempts = Vec::new();
        for block in found {
            attempts.extend(block.map_err(damaged(sequence))?);
        }
        Ok(attempts)
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        let run = || -> Result<T, redb::Error> { read(&database.begin_read()?) };
        run().map_err(failed)
    }

    /// The open file; opened again after a failed write.
    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let mut slot = self.lock();
        if let Some(database) = &*slot {
            return Ok(Arc::clone(database));
        }
        let opened = open_database(&*self.volume, FILE, self.cache_bytes);
        let database = opened.map_err(|error| match error {
            OpenError::Failed(error) => error,
            other => StoreError::file(FILE, redb::Error::Io(io::Error::other(other))),
        })?;
        let gone = || failed(redb::Error::Io(io::ErrorKind::NotFound.into()));
        let database = Arc::new(database.ok_or_else(gone)?);
        *slot = Some(Arc::clone(&database));
        Ok(database)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Database>>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the tables of a new file.
fn begin(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    transaction.open_table(META)?.insert("version", VERSION)?;
    transaction.open_table(DOCUMENTS)?;
    transaction.open_table(CURSORS)?;
    transaction.open_table(EXCEPTIONS)?;
    transaction.open_table(REFERENCES)?;
    transaction.open_table(DEAD_LETTERS)?;
    transaction.open_table(ATTEMPTS)?;
    transaction.commit()?;
    Ok(())
}

fn version(database: &Database) -> Result<u64, redb::Error> {
    let meta = database.begin_read()?.open_table(META)?;
    Ok(meta.get("version")?.map_or(0, |version| version.value()))
}

/// The keys of one subscription's rows.
pub(crate) fn rows_of(subscription: u64) -> RangeInclusive<(u64, u64)> {
    (subscription, 0)..=(subscription, u64::MAX)
}

fn collect(
    transaction: &ReadTransaction,
    table: TableDefinition<'static, (u64, u64), &'static [u8]>,
    rows: RangeInclusive<(u64, u64)>,
    rows_max: usize,
) -> Result<Vec<(Sequence, Bytes)>, redb::Error> {
    let table = transaction.open_table(table)?;
    let read = |row: Result<_, redb::StorageError>| {
        let (key, value): (redb::AccessGuard<'_, (u64, u64)>, redb::AccessGuard<'_, &[u8]>) = row?;
        Ok((Sequence(key.value().1), Bytes::copy_from_slice(value.value())))
    };
    table.range(rows)?.take(rows_max).map(read).collect()
}

fn failed(cause: redb::Error) -> StoreError {
    StoreError::file(FILE, cause)
}

fn damaged(at: Sequence) -> impl Fn(Damaged) -> StoreError {
    move |cause| StoreError::damaged(FILE, at, cause)
}
