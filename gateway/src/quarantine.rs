//! Events that do not follow their declaration: kept, and delivered to nobody until they are
//! mended and released, or given up.
//!
//! An event is in the journal, marked, before its sender is told; the tailer puts a copy of it here,
//! which outlives the journal, and writes it down before it moves past.

mod release;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use eg_event::{CloudEvent, Data, Hold, InvalidInput, Sequence, StoredEvent, Timestamp};
use eg_storage::{Changes, DeadLetter, Ledger, StoreError};
use serde::{Deserialize, Serialize};

pub use release::{ReleaseError, Released};

/// The number in the ledger that no subscription has, under which events in quarantine are.
pub const NUMBER: u64 = 0;
/// What an event takes beside its payload, in bytes, roughly.
const EVENT_BYTES: u64 = 512;
/// How many events are read at once at the start.
const PAGE: usize = 256;

/// How much may be in quarantine; what comes beyond that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuarantineConfig {
    /// How many events.
    pub events_max: u32,
    /// How many bytes of them.
    pub bytes_max: u64,
}

impl Default for QuarantineConfig {
    fn default() -> Self {
        Self { events_max: 10_000, bytes_max: 64 << 20 }
    }
}

impl QuarantineConfig {
    /// Names the first setting that makes no sense.
    ///
    /// # Errors
    /// The setting, and what was expected.
    pub fn check(&self) -> Result<(), InvalidInput> {
        let rows = [
            ("quarantine.events_max", u64::from(self.events_max)),
            ("quarantine.bytes_max", self.bytes_max),
        ];
        match rows.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(InvalidInput::new(*key, "expected at least 1")),
            None => Ok(()),
        }
    }
}

/// The events in quarantine.
#[derive(Debug)]
pub struct Quarantine {
    config: QuarantineConfig,
    /// Only events from here on had room reserved by this process.
    began: Sequence,
    state: Mutex<State>,
    /// One release at a time.
    releasing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    kept: BTreeMap<Sequence, Kept>,
    used: Room,
    /// What is to be written down.
    letters: Vec<DeadLetter>,
    done: Vec<Sequence>,
}

#[derive(Debug)]
struct Kept {
    application: Box<str>,
    room: Room,
}

/// Room in the quarantine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    events: u32,
    bytes: u64,
}

impl Quarantine {
    /// What the ledger has; the journal ends before `end`.
    pub(crate) fn recover(
        config: QuarantineConfig,
        ledger: &Ledger,
        end: Sequence,
    ) -> Result<Self, StoreError> {
        let mut state = State::default();
        let mut after = Sequence(0);
        loop {
            let letters = ledger.dead_letters(NUMBER, after, PAGE)?;
            let Some(last) = letters.last() else { break };
            after = last.event.sequence;
            for letter in &letters {
                state.keep(&letter.event);
            }
        }
        let state = Mutex::new(state);
        Ok(Self { config, began: end, state, releasing: tokio::sync::Mutex::default() })
    }

    /// Takes room for an event, if there is some.
    #[must_use]
    pub fn reserve(&self, event: &CloudEvent, hold: &Hold) -> Option<Room> {
        let room = Room::of(event, hold);
        let mut state = self.lock();
        let fits = state.used.events < self.config.events_max
            && state.used.bytes.saturating_add(room.bytes) <= self.config.bytes_max;
        fits.then(|| {
            state.used.add(room);
            room
        })
    }

    /// Gives back room for an event that was not stored.
    pub fn give_back(&self, room: Room) {
        self.lock().used.subtract(room);
    }

    /// How many events there are, and how many bytes of them.
    #[must_use]
    pub fn used(&self) -> (u32, u64) {
        let used = self.lock().used;
        (used.events, used.bytes)
    }

    /// How many events of an application, or of all, there are.
    #[must_use]
    pub fn count(&self, application: Option<&str>) -> usize {
        let state = self.lock();
        state.kept.values().filter(|kept| kept.is_of(application)).count()
    }

    /// Whether the event at `at` is here.
    #[must_use]
    pub fn has(&self, at: Sequence) -> bool {
        self.lock().kept.contains_key(&at)
    }

    /// The events of an application, or of all, after `after`, in the order of the journal.
    #[must_use]
    pub fn after(&self, application: Option<&str>, after: Sequence, max: usize) -> Vec<Sequence> {
        let state = self.lock();
        let later = state.kept.range(after.next()..);
        later.filter(|(_, kept)| kept.is_of(application)).map(|(at, _)| *at).take(max).collect()
    }

    /// Takes over an event that the journal has as held.
    pub(crate) fn route(&self, event: &StoredEvent, now: Timestamp) {
        let mut state = self.lock();
        let Some(room) = state.keep(event) else { return };
        if event.sequence >= self.began {
            // It was reserved when the event came in.
            state.used.subtract(room);
        }
        let reason = event.held.as_ref().map(|hold| hold.reason.as_ref().to_owned());
        state.letters.push(DeadLetter {
            event: event.clone(),
            parked_at: now,
            first_attempt_at: now,
            attempts: 0,
            last_status: None,
            reason: reason.unwrap_or_default(),
            requeued: false,
        });
    }

    /// Removes an event; says whether it was here.
    pub(crate) fn remove(&self, at: Sequence) -> bool {
        let mut state = self.lock();
        let Some(kept) = state.kept.remove(&at) else { return false };
        state.used.subtract(kept.room);
        state.letters.retain(|letter| letter.event.sequence != at);
        state.done.push(at);
        true
    }

    /// Writes down what has changed since the last time.
    pub(crate) fn save(&self, changes: &mut Changes) {
        let mut state = self.lock();
        for letter in state.letters.drain(..) {
            changes.put_dead_letter(NUMBER, &letter);
        }
        for at in state.done.drain(..) {
            changes.remove_dead_letter(NUMBER, at);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The room that an event takes, unless it is here already, or is not held.
    fn keep(&mut self, event: &StoredEvent) -> Option<Room> {
        let hold = event.held.as_ref()?;
        if self.kept.contains_key(&event.sequence) {
            return None;
        }
        let room = Room::of(&event.event, hold);
        self.used.add(room);
        self.kept.insert(event.sequence, Kept { application: hold.application.clone(), room });
        Some(room)
    }
}

impl Kept {
    fn is_of(&self, application: Option<&str>) -> bool {
        application.is_none_or(|name| *self.application == *name)
    }
}

impl Room {
    fn of(event: &CloudEvent, hold: &Hold) -> Self {
        let payload = event.data().map_or(0, Data::len);
        let bytes = u64::try_from(payload + hold.reason.len()).unwrap_or(u64::MAX);
        Self { events: 1, bytes: bytes.saturating_add(EVENT_BYTES) }
    }

    fn add(&mut self, other: Self) {
        self.events = self.events.saturating_add(other.events);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn subtract(&mut self, other: Self) {
        self.events = self.events.saturating_sub(other.events);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}
