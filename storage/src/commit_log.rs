//! The commit log: small commits become durable here, with one write and one fsync, before the
//! journal's file gets them many at a time.
//!
//! The layout is in `DESIGN.md`, chapter "Commit log".

use std::io;

use bytes::Bytes;
use eg_event::{Handshake, Sequence};
use redb::StorageBackend;

use crate::error::{OpenError, StoreError};
use crate::segment::{handshake_key, handshake_of};
use crate::varint::{Damaged, Reader};
use crate::volume::{UNFINISHED, Volume};

/// The file of the commit log.
const FILE: &str = "journal.log";

/// What a frame begins with; the digit is the version of the layout.
const MAGIC: [u8; 4] = *b"EGL1";
/// Magic, length of the payload, number, checksum.
const HEADER: usize = 4 + 4 + 8 + 8;
/// A frame begins at a multiple of this, in bytes, so that no page that holds an acknowledged
/// event is written again.
const PAGE: usize = 4096;

/// What becomes of a handshake: it is open and stands for an event, or it is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HandshakeChange {
    pub(crate) handshake: Handshake,
    pub(crate) stands_for: Option<Sequence>,
}

/// What one commit added to the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addition {
    pub(crate) first: Sequence,
    pub(crate) records: Vec<Bytes>,
    pub(crate) handshakes: Vec<HandshakeChange>,
}

/// The commit log, open for its one writer.
#[derive(Debug)]
pub(crate) struct CommitLog {
    file: Box<dyn StorageBackend>,
    bytes_max: usize,
    /// What checksums are keyed with, so that nobody can send an event that looks like a frame.
    key: u64,
    /// The number of the latest frame.
    number: u64,
    /// Where the next frame goes.
    at: usize,
    first: Sequence,
    count: u32,
    records: Vec<u8>,
    handshakes: Vec<u8>,
}

impl CommitLog {
    /// Opens the log on `volume`, or makes one of `bytes_max` zeros: space that the file has
    /// already can be synced without the file system's own records.
    pub(crate) fn open(volume: &dyn Volume, bytes_max: u64) -> Result<Self, OpenError> {
        let failed = |cause: io::Error| StoreError::file(FILE, cause);
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let file = match volume.open(FILE) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let unfinished = format!("{FILE}{UNFINISHED}");
                let file = volume.create(&unfinished).map_err(failed)?;
                fill(&*file, 0, bytes_max).map_err(failed)?;
                volume.rename(&unfinished, FILE).map_err(failed)?;
                volume.sync_names().map_err(failed)?;
                file
            }
            Err(cause) => return Err(failed(cause).into()),
        };
        let len = usize::try_from(file.len().map_err(failed)?).unwrap_or(usize::MAX);
        if len < bytes_max {
            fill(&*file, len, bytes_max).map_err(failed)?;
        }
        Ok(Self::over(file, bytes_max))
    }

    /// The log in `file`, which has `bytes_max` bytes.
    pub(crate) fn over(file: Box<dyn StorageBackend>, bytes_max: usize) -> Self {
        Self {
            file,
            bytes_max,
            key: 0,
            number: 0,
            at: 0,
            first: Sequence::FIRST,
            count: 0,
            records: Vec::new(),
            handshakes: Vec::new(),
        }
    }

    /// Reads what was added after the commit `number`, which the journal's file holds with all
    /// before it. `key` is the journal's.
    pub(crate) fn read(&mut self, key: u64, number: u64) -> Result<Vec<Addition>, OpenError> {
        let failed = |cause: io::Error| StoreError::file(FILE, cause);
        (self.key, self.number, self.at) = (key, number, 0);
        let mut content = vec![0; usize::try_from(self.file.len().map_err(failed)?).unwrap_or(0)];
        self.file.read(0, &mut content).map_err(failed)?;
        let content = Bytes::from(content);
        let mut additions = Vec::new();
        let mut at = 0;
        let mut expected = None;
        while let Some((number, payload)) = frame(&content, at, key) {
            if expected.is_some_and(|expected| number != expected) {
                break;
            }
            expected = Some(number + 1);
            at = (at + HEADER + payload.len()).next_multiple_of(PAGE);
            if number <= self.number {
                continue;
            }
            let addition = addition(payload);
            let whole = addition.ok().filter(|_| number == self.number + 1);
            additions.push(whole.ok_or_else(|| {
                let cause = Damaged("the commit log does not continue the journal");
                StoreError::damaged(FILE, Sequence(number), cause)
            })?);
            self.number = number;
        }
        if holds_later_than(&content, self.number, key) {
            let cause = Damaged("a commit in the middle of the commit log cannot be read");
            return Err(StoreError::damaged(FILE, Sequence(self.number + 1), cause).into());
        }
        Ok(additions)
    }

    /// The number of the latest commit in the log.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The journal's file holds everything: the log begins again.
    pub(crate) fn restart(&mut self) {
        self.at = 0;
    }

    /// Begins a commit whose first event will be `first`.
    pub(crate) fn begin(&mut self, first: Sequence) {
        self.first = first;
        self.count = 0;
        self.records.clear();
        self.records.resize(HEADER + 16, 0);
        self.handshakes.clear();
    }

    /// Adds a record to the commit.
    pub(crate) fn record(&mut self, record: &[u8]) {
        self.count += 1;
        // What does not fit is not going to be written here, and need not be copied.
        if self.fits() {
            self.records.extend_from_slice(&length(record.len()).to_le_bytes());
            self.records.extend_from_slice(record);
        }
    }

    /// Adds what becomes of a handshake to the commit.
    pub(crate) fn handshake(&mut self, change: &HandshakeChange) {
        let key = handshake_key(&change.handshake);
        self.handshakes.extend_from_slice(&length(key.len()).to_le_bytes());
        self.handshakes.extend_from_slice(&key);
        let stands_for = change.stands_for.map_or(0, |sequence| sequence.0);
        self.handshakes.extend_from_slice(&stands_for.to_le_bytes());
    }

    /// Makes the commit durable. False when the log has no room for it, and nothing is written.
    pub(crate) fn commit(&mut self) -> Result<bool, StoreError> {
        let records_bytes = self.records.len() - HEADER - 16;
        self.records.append(&mut self.handshakes);
        if !self.fits() {
            return Ok(false);
        }
        let frame = &mut self.records;
        frame[HEADER..HEADER + 8].copy_from_slice(&self.first.0.to_le_bytes());
        frame[HEADER + 8..HEADER + 12].copy_from_slice(&self.count.to_le_bytes());
        frame[HEADER + 12..HEADER + 16].copy_from_slice(&length(records_bytes).to_le_bytes());
        let number = self.number + 1;
        let checksum = checksum(self.key, number, &frame[HEADER..]);
        frame[..4].copy_from_slice(&MAGIC);
        let payload_bytes = length(frame.len() - HEADER);
        frame[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
        frame[8..16].copy_from_slice(&number.to_le_bytes());
        frame[16..HEADER].copy_from_slice(&checksum.to_le_bytes());
        let written = self.file.write(self.at as u64, frame).and_then(|()| self.file.sync_data());
        written.map_err(|cause| StoreError::file(FILE, cause))?;
        self.number = number;
        self.at = (self.at + frame.len()).next_multiple_of(PAGE);
        Ok(true)
    }

    fn fits(&self) -> bool {
        self.records.len() <= self.bytes_max.saturating_sub(self.at)
    }
}

/// Writes zeros from `begin` to `end`, and syncs them.
fn fill(file: &dyn StorageBackend, begin: usize, end: usize) -> io::Result<()> {
    file.set_len(end as u64)?;
    file.write(begin as u64, &vec![0; end - begin])?;
    file.sync_data()
}

/// The number and the payload of the frame at `at`; `None` when there is no whole one.
fn frame(content: &Bytes, at: usize, key: u64) -> Option<(u64, Bytes)> {
    let header = content.get(at..at.checked_add(HEADER)?)?;
    if header[..4] != MAGIC {
        return None;
    }
    let payload_bytes = u32::from_le_bytes(header[4..8].try_into().ok()?);
    let number = u64::from_le_bytes(header[8..16].try_into().ok()?);
    let expected = u64::from_le_bytes(header[16..].try_into().ok()?);
    let begin = at + HEADER;
    let end = begin.checked_add(usize::try_from(payload_bytes).ok()?)?;
    let payload = content.get(begin..end)?;
    let whole = checksum(key, number, payload) == expected;
    whole.then(|| (number, content.slice(begin..end)))
}

/// Whether there is a whole frame later than `number`, although none follows where it should: each
/// is begun once the one before is durable, so that this is not what a crash leaves behind.
fn holds_later_than(content: &Bytes, number: u64, key: u64) -> bool {
    let mut pages = (0..content.len()).step_by(PAGE);
    pages.any(|at| frame(content, at, key).is_some_and(|(found, _)| found > number))
}

fn addition(payload: Bytes) -> Result<Addition, Damaged> {
    let mut payload = Reader::new(payload);
    let first = Sequence(payload.u64()?);
    let count = u32::from_le_bytes(payload.array()?);
    let records_bytes = u32::from_le_bytes(payload.array()?);
    let mut rows = Reader::new(payload.bytes(size(records_bytes))?);
    let mut records = Vec::new();
    for _ in 0..count {
        let bytes = u32::from_le_bytes(rows.array()?);
        records.push(rows.bytes(size(bytes))?);
    }
    let mut handshakes = Vec::new();
    while !payload.is_empty() {
        let bytes = u32::from_le_bytes(payload.array()?);
        let key = payload.bytes(size(bytes))?;
        let handshake = handshake_of(&key).ok_or(Damaged("not a handshake"))?;
        let stands_for = Some(Sequence(payload.u64()?)).filter(|sequence| sequence.0 > 0);
        handshakes.push(HandshakeChange { handshake, stands_for });
    }
    Ok(Addition { first, records, handshakes })
}

fn checksum(key: u64, number: u64, payload: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(payload, key ^ number)
}

/// A length as the layout has it; what is longer does not fit the log anyway.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Directory;

    fn log(directory: &tempfile::TempDir) -> CommitLog {
        CommitLog::open(&Directory::open(directory.path()).unwrap(), 64 * 1024).unwrap()
    }

    fn change(packet_id: u16, stands_for: Option<u64>) -> HandshakeChange {
        let handshake = Handshake { client_id: "c".into(), packet_id };
        HandshakeChange { handshake, stands_for: stands_for.map(Sequence) }
    }

    fn commit(log: &mut CommitLog, first: u64, records: &[&[u8]]) -> bool {
        log.begin(Sequence(first));
        for record in records {
            log.record(record);
        }
        log.handshake(&change(7, Some(first)));
        log.handshake(&change(8, None));
        log.commit().unwrap()
    }

    #[test]
    fn commits_are_read_back_after_the_one_that_the_journal_holds() {
        let directory = tempfile::tempdir().unwrap();
        let mut written = log(&directory);
        assert!(written.read(5, 0).unwrap().is_empty());
        assert!(commit(&mut written, 1, &[b"one", b""]));
        assert!(commit(&mut written, 3, &[]));
        drop(written);
        let mut read = log(&directory);
        let additions = read.read(5, 0).unwrap();
        assert_eq!(additions.len(), 2);
        assert_eq!(additions[0].first, Sequence(1));
        assert_eq!(additions[0].records, [&b"one"[..], b""]);
        assert_eq!(additions[0].handshakes, [change(7, Some(1)), change(8, None)]);
        assert_eq!(read.number(), 2);
        assert_eq!(read.read(5, 1).unwrap(), additions[1..]);
        assert!(read.read(5, 2).unwrap().is_empty());
        assert!(read.read(6, 0).unwrap().is_empty(), "another journal's log is nobody's");
    }

    #[test]
    fn a_log_that_began_again_is_read_without_what_it_held_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(&directory);
        log.read(5, 0).unwrap();
        for first in 1..5 {
            assert!(commit(&mut log, first, &[b"old"]));
        }
        log.restart();
        assert!(commit(&mut log, 5, &[b"new"]));
        let additions = log.read(5, 4).unwrap();
        assert_eq!(additions.len(), 1);
        assert_eq!(additions[0].first, Sequence(5));
        assert!(log.read(5, 3).is_err(), "a commit is missing");
    }

    #[test]
    fn a_frame_that_was_cut_off_ends_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(&directory);
        log.read(5, 0).unwrap();
        assert!(commit(&mut log, 1, &[b"whole"]));
        assert!(commit(&mut log, 2, &[&[7; 6000]]));
        log.file.write(2 * PAGE as u64, &[0; 16]).unwrap();
        assert_eq!(log.read(5, 0).unwrap().len(), 1);
    }

    #[test]
    fn damage_before_the_last_commit_is_told_and_not_taken_for_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(&directory);
        log.read(5, 0).unwrap();
        for first in 1..5 {
            assert!(commit(&mut log, first, &[b"acknowledged"]));
        }
        log.file.write((PAGE + HEADER) as u64, &[0xff]).unwrap();
        let damaged = log.read(5, 0).unwrap_err().to_string();
        assert!(damaged.contains("in the middle"), "{damaged}");
        for logged in 1..4 {
            assert!(log.read(5, logged).is_err(), "it would be lost after {logged}");
        }
        assert!(log.read(5, 4).unwrap().is_empty(), "the journal has all of it");
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(&directory);
        log.read(5, 0).unwrap();
        let large = vec![7; 40_000];
        assert!(!commit(&mut log, 1, &[&large, &large]));
        assert!(commit(&mut log, 1, &[&large]));
        assert!(!commit(&mut log, 2, &[&large]));
        log.restart();
        assert!(commit(&mut log, 2, &[&large]));
    }
}
