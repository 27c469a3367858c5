//! Changes to the ledger that become durable together.

use eg_event::{RetainedChanges, Sequence, SessionChanges, SessionRow};
use redb::{ReadableTable as _, TableDefinition, WriteTransaction};

use crate::attempt::{self, Attempt};
use crate::ledger::{
    ATTEMPTS, ATTEMPTS_BYTES, CURSORS, DEAD_LETTERS, DOCUMENTS, EXCEPTIONS, FLOOR, META,
    REFERENCES, RETAINED, RETAINED_APPLIED, ROUTED, SESSION, SESSION_ROWS, SESSIONS_ROUTED,
    rows_of,
};
use crate::outstanding::{Cursor, DeadLetter, Exception};
use crate::record::{self, Parts};
use crate::refs;
use crate::wills::{StoredWill, WILL};

/// How many attempts go into one row.
const ATTEMPTS_PER_ROW: usize = 1024;

/// A list of changes, in the order in which they are made.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    numbers: Vec<(String, u64)>,
    documents: Vec<(String, String, Option<Vec<u8>>)>,
    removed_subscriptions: Vec<u64>,
    rows: Vec<Row>,
    attempts: Vec<Attempt>,
    session_rows: Vec<SessionRow>,
    ended_sessions: Vec<u64>,
    retained: Vec<(Sequence, Option<Vec<u8>>)>,
}

/// A row of one of the tables by subscription and sequence; no value removes it.
#[derive(Clone, Debug)]
struct Row {
    table: RowTable,
    subscription: u64,
    sequence: Sequence,
    value: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowTable {
    Cursors,
    Exceptions,
    References,
    DeadLetters,
}

impl Changes {
    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
            && self.documents.is_empty()
            && self.removed_subscriptions.is_empty()
            && self.rows.is_empty()
            && self.attempts.is_empty()
            && self.session_rows.is_empty()
            && self.ended_sessions.is_empty()
            && self.retained.is_empty()
    }

    /// Adds the changes of `later` after these.
    pub fn append(&mut self, mut later: Self) {
        self.numbers.append(&mut later.numbers);
        self.documents.append(&mut later.documents);
        for subscription in later.removed_subscriptions {
            self.remove_subscription(subscription);
        }
        self.rows.append(&mut later.rows);
        self.attempts.append(&mut later.attempts);
        self.session_rows.retain(|((number, _), _)| !later.ended_sessions.contains(number));
        self.ended_sessions.append(&mut later.ended_sessions);
        self.session_rows.append(&mut later.session_rows);
        self.retained.append(&mut later.retained);
    }

    /// Stores what has changed of MQTT sessions.
    pub fn put_sessions(&mut self, changes: SessionChanges) {
        let SessionChanges { routed, sessions, rows, ended } = changes;
        if let Some(routed) = routed {
            self.put_number(SESSIONS_ROUTED, routed.0);
        }
        for (client_id, value) in sessions {
            self.documents.push((SESSION.to_owned(), client_id.to_string(), value));
        }
        self.session_rows.extend(rows);
        self.ended_sessions.extend(ended);
    }

    /// Stores what has changed of retained messages.
    pub fn put_retained(&mut self, changes: &RetainedChanges) {
        self.put_number(RETAINED_APPLIED, changes.applied.0);
        self.retained.extend(changes.gone.iter().map(|sequence| (*sequence, None)));
        self.retained.extend(changes.kept.iter().map(|event| {
            let mut row = Vec::new();
            record::encode(&Parts::of(event), &mut row);
            (event.sequence, Some(row))
        }));
    }

    /// Stores a will under its number; none: it goes.
    pub fn put_will(&mut self, number: u64, will: Option<&StoredWill>) {
        let name = format!("{number:016x}");
        self.documents.push((WILL.to_owned(), name, will.map(StoredWill::encode)));
    }

    /// Stores a document under its kind and name.
    pub fn put_document(&mut self, kind: &str, name: &str, value: Vec<u8>) {
        self.documents.push((kind.to_owned(), name.to_owned(), Some(value)));
    }

    /// From now on `application` keeps nothing before `floor`.
    pub fn put_floor(&mut self, application: &str, floor: Sequence) {
        self.put_document(FLOOR, application, floor.0.to_string().into_bytes());
    }

    /// `application` keeps everything that is there.
    pub fn remove_floor(&mut self, application: &str) {
        self.remove_document(FLOOR, application);
    }

    /// Removes a document.
    pub fn remove_document(&mut self, kind: &str, name: &str) {
        self.documents.push((kind.to_owned(), name.to_owned(), None));
    }

    /// Stores a named number.
    pub fn put_number(&mut self, name: &str, value: u64) {
        self.numbers.push((name.to_owned(), value));
    }

    /// States that everything before `routed` has been routed to every subscription.
    pub fn put_routed(&mut self, routed: Sequence) {
        self.put_number(ROUTED, routed.0);
    }

    /// Stores where a subscription stands.
    pub fn put_cursor(&mut self, subscription: u64, cursor: &Cursor) {
        self.row(RowTable::Cursors, subscription, Sequence(0), Some(cursor.encode()));
    }

    /// Stores an event that was taken up and is not settled.
    pub fn put_exception(&mut self, subscription: u64, at: Sequence, exception: &Exception) {
        self.row(RowTable::Exceptions, subscription, at, Some(exception.encode()));
    }

    /// Removes an event that is settled.
    pub fn remove_exception(&mut self, subscription: u64, at: Sequence) {
        self.row(RowTable::Exceptions, subscription, at, None);
    }

    /// Stores a chunk of references, under its first one.
    pub fn put_references(&mut self, subscription: u64, references: &[Sequence]) {
        if let Some(first) = references.first() {
            let value = refs::encode(references.iter().copied());
            self.row(RowTable::References, subscription, *first, Some(value));
        }
    }

    /// Removes the chunk whose first reference is `first`.
    pub fn remove_references(&mut self, subscription: u64, first: Sequence) {
        self.row(RowTable::References, subscription, first, None);
    }

    /// Stores a dead letter.
    pub fn put_dead_letter(&mut self, subscription: u64, letter: &DeadLetter) {
        let value = Some(letter.encode());
        self.row(RowTable::DeadLetters, subscription, letter.event.sequence, value);
    }

    /// Removes a dead letter.
    pub fn remove_dead_letter(&mut self, subscription: u64, at: Sequence) {
        self.row(RowTable::DeadLetters, subscription, at, None);
    }

    /// Removes everything that a subscription has outstanding, its dead letters too.
    pub fn remove_subscription(&mut self, subscription: u64) {
        self.rows.retain(|row| row.subscription != subscription);
        self.removed_subscriptions.push(subscription);
    }

    /// Logs attempts.
    pub fn log_attempts(&mut self, attempts: impl IntoIterator<Item = Attempt>) {
        self.attempts.extend(attempts);
    }

    fn row(
        &mut self,
        table: RowTable,
        subscription: u64,
        sequence: Sequence,
        value: Option<Vec<u8>>,
    ) {
        self.rows.push(Row { table, subscription, sequence, value });
    }

    pub(crate) fn write(
        &self,
        transaction: &WriteTransaction,
        attempts_bytes_max: u64,
    ) -> Result<(), redb::Error> {
        self.write_documents(transaction)?;
        self.write_removed(transaction)?;
        self.write_cursors(transaction)?;
        self.write_rows(transaction, RowTable::Exceptions, EXCEPTIONS)?;
        self.write_rows(transaction, RowTable::References, REFERENCES)?;
        self.write_rows(transaction, RowTable::DeadLetters, DEAD_LETTERS)?;
        self.write_sessions(transaction)?;
        self.write_retained(transaction)?;
        self.write_attempts(transaction, attempts_bytes_max)
    }

    fn write_sessions(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        if self.session_rows.is_empty() && self.ended_sessions.is_empty() {
            return Ok(());
        }
        let mut table = transaction.open_table(SESSION_ROWS)?;
        for number in &self.ended_sessions {
            table.retain_in(rows_of(*number), |_, _| false)?;
        }
        for (key, value) in &self.session_rows {
            match value {
                Some(value) => table.insert(key, &**value)?,
                None => table.remove(key)?,
            };
        }
        Ok(())
    }

    fn write_retained(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        if self.retained.is_empty() {
            return Ok(());
        }
        let mut table = transaction.open_table(RETAINED)?;
        for (sequence, value) in &self.retained {
            match value {
                Some(value) => table.insert(sequence.0, &**value)?,
                None => table.remove(sequence.0)?,
            };
        }
        Ok(())
    }

    fn write_documents(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut numbers = transaction.open_table(META)?;
        for (name, value) in &self.numbers {
            numbers.insert(&**name, value)?;
        }
        let mut documents = transaction.open_table(DOCUMENTS)?;
        for (kind, name, value) in &self.documents {
            match value {
                Some(value) => documents.insert((&**kind, &**name), &**value)?,
                None => documents.remove((&**kind, &**name))?,
            };
        }
        Ok(())
    }

    fn write_removed(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        for subscription in &self.removed_subscriptions {
            transaction.open_table(CURSORS)?.remove(subscription)?;
            for table in [EXCEPTIONS, REFERENCES, DEAD_LETTERS] {
                transaction.open_table(table)?.retain_in(rows_of(*subscription), |_, _| false)?;
            }
        }
        Ok(())
    }

    fn write_cursors(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut table = transaction.open_table(CURSORS)?;
        for row in self.rows.iter().filter(|row| row.table == RowTable::Cursors) {
            if let Some(value) = &row.value {
                table.insert(row.subscription, &**value)?;
            }
        }
        Ok(())
    }

    fn write_rows(
        &self,
        transaction: &WriteTransaction,
        which: RowTable,
        definition: TableDefinition<'static, (u64, u64), &'static [u8]>,
    ) -> Result<(), redb::Error> {
        let mut table = transaction.open_table(definition)?;
        for row in self.rows.iter().filter(|row| row.table == which) {
            let key = (row.subscription, row.sequence.0);
            match &row.value {
                Some(value) => table.insert(key, &**value)?,
                None => table.remove(key)?,
            };
        }
        Ok(())
    }

    /// Appends the attempts, and lets the oldest go while there are too many bytes of them.
    fn write_attempts(
        &self,
        transaction: &WriteTransaction,
        bytes_max: u64,
    ) -> Result<(), redb::Error> {
        if self.attempts.is_empty() {
            return Ok(());
        }
        let mut table = transaction.open_table(ATTEMPTS)?;
        let mut meta = transaction.open_table(META)?;
        let mut bytes = meta.get(ATTEMPTS_BYTES)?.map_or(0, |bytes| bytes.value());
        let next = table.last()?.map_or(0, |(key, _)| key.value() + 1);
        for (attempts, key) in self.attempts.chunks(ATTEMPTS_PER_ROW).zip(next..) {
            let row = attempt::encode(attempts);
            bytes += row.len() as u64;
            table.insert(key, &*row)?;
        }
        while bytes > bytes_max {
            let Some((_, row)) = table.pop_first()? else {
                break;
            };
            bytes = bytes.saturating_sub(row.value().len() as u64);
        }
        meta.insert(ATTEMPTS_BYTES, bytes)?;
        Ok(())
    }
}
