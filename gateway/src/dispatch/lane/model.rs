//! The lane against a model: random receivers, random crashes, and what must hold of every run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eg_event::subscription::Ordering;
use eg_event::{Clock, Sequence, Timestamp};
use eg_storage::{Changes, Ledger, StorageConfig, Store};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng as _};

use super::{Lane, Next, Settled, Taken};

const MAX_IN_FLIGHT: usize = 4;

/// A receiver that fails now and then, and what it has seen.
struct Run {
    lane: Lane,
    ordering: Ordering,
    now: Timestamp,
    pushed: u64,
    in_flight: BTreeMap<Sequence, Box<str>>,
    delivered: BTreeSet<Sequence>,
    /// The events of each key in the order in which they were delivered.
    by_key: BTreeMap<Box<str>, Vec<Sequence>>,
    rng: StdRng,
    /// What is on its way to the disk, and what the tailer had routed then.
    on_its_way: Option<(Changes, Sequence)>,
    /// What the tailer has routed, as the disk has it.
    routed: Sequence,
    /// It is paused, or not activated, or both.
    held: bool,
    /// Some keys fail more often than they succeed.
    failing: bool,
}

/// Events share five keys.
fn key(sequence: Sequence) -> Box<str> {
    (sequence.0 % 5).to_string().into()
}

impl Run {
    fn step(&mut self, ledger: &Ledger) {
        match self.rng.random_range(0..12) {
            0..2 => self.push(),
            2..6 => self.begin(ledger),
            6..9 => self.end(),
            9 => self.operate(),
            10 => self.write(ledger),
            _ => self.now = self.now.after(Duration::from_millis(self.rng.random_range(0..50))),
        }
    }

    /// An operator pauses or resumes, an event activation comes or goes; each on its own.
    fn operate(&mut self) {
        match self.rng.random_range(0..4) {
            0 => self.lane.pause("for a test".to_owned()),
            1 => self.lane.resume(),
            2 => self.lane.activate(false),
            _ => self.lane.activate(true),
        }
        let view = self.lane.view();
        self.held = view.paused.is_some() || !view.is_activated;
    }

    /// Routes some events, or so many that they do not stay in memory.
    fn push(&mut self) {
        let first = self.pushed + 1;
        let is_many = self.rng.random_bool(0.1);
        self.pushed += self.rng.random_range(if is_many { 1000..5000 } else { 1..20u64 });
        let sequences: Vec<_> = (first..=self.pushed).map(Sequence).collect();
        self.lane.push(&sequences);
    }

    /// Begins what can begin now.
    fn begin(&mut self, ledger: &Ledger) {
        loop {
            let next = self.lane.next(self.now, MAX_IN_FLIGHT);
            let (sequence, taken) = match next {
                Next::Wait(_) => return,
                Next::Load(chunk) => {
                    let Some(found) = ledger.references(1, chunk).unwrap() else { return };
                    self.lane.loaded(chunk.first, found);
                    continue;
                }
                Next::Rescan(rescan) => {
                    let found = (rescan.next.0..rescan.until.0).map(Sequence).collect();
                    self.lane.rescanned(rescan.next, rescan.until, found);
                    continue;
                }
                Next::New(sequence) => {
                    let key = self.key(sequence);
                    (sequence, self.lane.take(sequence, key, self.now))
                }
                Next::Retry(sequence) => {
                    let key = self.key(sequence);
                    (sequence, self.lane.retake(sequence, key, self.now))
                }
            };
            if let Some(Taken::Attempt(_) | Taken::Probe(_)) = taken {
                assert!(!self.held, "{sequence} is attempted although no attempts are made");
                let key = key(sequence);
                let busy =
                    self.ordering == Ordering::Key && self.in_flight.values().any(|k| *k == key);
                assert!(!busy, "two events of key {key} are under way");
                assert!(!self.in_flight.contains_key(&sequence), "{sequence} is under way twice");
                self.in_flight.insert(sequence, key);
                assert!(self.in_flight.len() <= MAX_IN_FLIGHT);
            }
        }
    }

    fn key(&self, sequence: Sequence) -> Option<Box<str>> {
        (self.ordering == Ordering::Key).then(|| key(sequence))
    }

    /// Ends an attempt at random.
    fn end(&mut self) {
        let count = self.in_flight.len();
        if count == 0 {
            return;
        }
        let chosen = self.rng.random_range(0..count);
        let Some((sequence, key)) = self.in_flight.iter().nth(chosen).map(|(s, k)| (*s, k.clone()))
        else {
            return;
        };
        self.in_flight.remove(&sequence);
        let fails = self.failing && self.rng.random_bool(0.4);
        let settled = if fails {
            let due = self.now.after(Duration::from_millis(self.rng.random_range(0..30)));
            Settled::Again { due, status: Some(500), reason: "answered 500".to_owned() }
        } else {
            if self.delivered.insert(sequence) {
                self.by_key.entry(key).or_default().push(sequence);
            }
            Settled::Done { delivered: true }
        };
        self.lane.settle(sequence, settled, (self.now, Duration::from_secs(1)));
    }

    /// Hands over what has changed; it is on the disk some time later, and before the next.
    fn save(&mut self, ledger: &Ledger) {
        self.write(ledger);
        let mut changes = Changes::default();
        self.lane.save(&mut changes);
        self.on_its_way = Some((changes, Sequence(self.pushed + 1)));
    }

    fn write(&mut self, ledger: &Ledger) {
        if let Some((changes, routed)) = self.on_its_way.take() {
            ledger.apply(&changes).unwrap();
            self.routed = routed;
        }
    }

    /// Starts over from what was written last; the tailer routes again from there on.
    fn crash(&mut self, ledger: &Ledger) {
        self.on_its_way = None;
        let found = ledger.outstanding(1).unwrap();
        let in_order = self.ordering == Ordering::Key;
        self.lane = Lane::recovered(1, found, BTreeSet::new(), in_order);
        self.in_flight.clear();
        self.held = false;
        let again: Vec<_> = (self.routed.0..=self.pushed).map(Sequence).collect();
        self.lane.push(&again);
    }

    fn finish(&mut self, ledger: &Ledger) {
        self.write(ledger);
        self.failing = false;
        self.held = false;
        self.lane.resume();
        self.lane.activate(true);
        for _ in 0..100_000 {
            self.begin(ledger);
            if self.in_flight.is_empty() && self.delivered.len() as u64 == self.pushed {
                return;
            }
            self.end();
            self.now = self.now.after(Duration::from_millis(20));
        }
        panic!(
            "{} of {} were delivered: {:?}",
            self.delivered.len(),
            self.pushed,
            self.lane.view()
        );
    }
}

fn check(seed: u64, ordering: Ordering) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), &StorageConfig::default(), &Clock::system()).unwrap();
    let ledger = store.ledger();
    let mut run = Run {
        lane: Lane::starting(1, Sequence::FIRST, Sequence::FIRST),
        ordering,
        now: Timestamp::from_micros(1_000_000),
        pushed: 0,
        in_flight: BTreeMap::new(),
        delivered: BTreeSet::new(),
        by_key: BTreeMap::new(),
        rng: StdRng::seed_from_u64(seed),
        on_its_way: None,
        routed: Sequence::FIRST,
        held: false,
        failing: true,
    };
    run.save(ledger);
    run.write(ledger);
    for _ in 0..300 {
        run.step(ledger);
        match run.rng.random_range(0..40) {
            0..3 => run.save(ledger),
            3 => run.crash(ledger),
            _ => {}
        }
    }
    run.finish(ledger);
    if ordering == Ordering::Key {
        for (key, order) in &run.by_key {
            assert!(order.is_sorted(), "key {key} was delivered as {order:?}");
        }
    }
    run.save(ledger);
    run.write(ledger);
    let left = ledger.outstanding(1).unwrap();
    assert!(left.exceptions.is_empty(), "{:?}", left.exceptions);
    store.close().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_event_arrives_whatever_fails_and_crashes(seed: u64) {
        check(seed, Ordering::None);
    }

    #[test]
    fn events_of_a_key_arrive_in_order_whatever_fails_and_crashes(seed: u64) {
        check(seed, Ordering::Key);
    }
}
