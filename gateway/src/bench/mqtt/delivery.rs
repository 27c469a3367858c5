//! What was published against what has come: credit for publishers, and what is missing or came
//! twice.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::report::Deliveries;

/// How long nothing may come after the last publication before the rest counts as missing.
const SILENCE: Duration = Duration::from_secs(3);
/// How often is looked for it.
const LOOK: Duration = Duration::from_millis(20);

/// What publishers and subscribers of all threads know of each other.
pub(super) struct Board {
    /// Tells this run's publications from others on the same topics.
    pub(super) run: u32,
    /// What times are counted from.
    pub(super) epoch: Instant,
    pub(super) flows: Vec<Flow>,
    /// How many publishers have not ended.
    pub(super) publishing: AtomicUsize,
    /// Nothing more is waited for.
    pub(super) over: CancellationToken,
    /// A thread could not do its part, so that no other needs to.
    pub(super) failed: CancellationToken,
    /// What the members of a shared subscription have seen together.
    together: Mutex<Vec<Seen>>,
}

/// The publications of one publisher.
#[derive(Default)]
pub(super) struct Flow {
    /// How many subscribers each of them is for.
    pub(super) fan_out: u64,
    pub(super) sent: AtomicU64,
    delivered: AtomicU64,
    /// Wakes the publisher when something has been delivered.
    pub(super) credit: Notify,
}

impl Flow {
    /// Counts deliveries.
    pub(super) fn add(&self, count: u64) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
        self.credit.notify_one();
    }

    /// How many publications have reached all for whom they are, on the average.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed) / self.fan_out.max(1)
    }

    fn due(&self) -> u64 {
        self.sent.load(Ordering::Relaxed) * self.fan_out
    }
}

impl Board {
    pub(super) fn new(fan_outs: impl Iterator<Item = u64>) -> Self {
        let flows: Vec<_> = fan_outs.map(|fan_out| Flow { fan_out, ..Flow::default() }).collect();
        Self {
            run: rand::random(),
            epoch: Instant::now(),
            publishing: AtomicUsize::new(flows.len()),
            flows,
            over: CancellationToken::new(),
            failed: CancellationToken::new(),
            together: Mutex::default(),
        }
    }

    /// Nanoseconds since the beginning.
    pub(super) fn ns(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Waits until all is published and has come, or nothing more does.
    pub(super) async fn watch(&self) {
        let (mut last, mut since) = (0, Instant::now());
        while !self.over.is_cancelled() {
            tokio::time::sleep(LOOK).await;
            let delivered: u64 =
                self.flows.iter().map(|flow| flow.delivered.load(Ordering::Relaxed)).sum();
            let is_publishing = self.publishing.load(Ordering::Acquire) > 0;
            if is_publishing || delivered != last {
                (last, since) = (delivered, Instant::now());
            }
            let due: u64 = self.flows.iter().map(Flow::due).sum();
            if !is_publishing && (delivered >= due || since.elapsed() > SILENCE) {
                self.over.cancel();
            }
        }
    }

    /// Adds what a member of a shared subscription has seen.
    pub(super) fn gather(&self, seen: Vec<Seen>, deliveries: &mut Deliveries) {
        let mut together = self.together.lock().unwrap_or_else(PoisonError::into_inner);
        together.resize_with(self.flows.len(), Seen::default);
        for (all, one) in together.iter_mut().zip(seen) {
            deliveries.duplicates += all.merge(&one);
        }
    }

    /// What no member of a shared subscription has seen.
    pub(super) fn missing_together(&self) -> u64 {
        let together = self.together.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |(flow, seen): (&Flow, &Seen)| {
            flow.sent.load(Ordering::Relaxed).saturating_sub(seen.count)
        };
        self.flows.iter().zip(together.iter()).map(missing).sum()
    }
}

/// Which publications of one publisher have come.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    bits: Vec<u64>,
    next: u64,
    /// How many different ones.
    pub(super) count: u64,
}

/// How a publication came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    InOrder,
    Late,
    Again,
}

impl Seen {
    pub(super) fn add(&mut self, sequence: u64) -> Came {
        let at = usize::try_from(sequence / 64).unwrap_or(usize::MAX);
        if at >= self.bits.len() {
            self.bits.resize(at + 1, 0);
        }
        let bit = 1 << (sequence % 64);
        if self.bits[at] & bit != 0 {
            return Came::Again;
        }
        self.bits[at] |= bit;
        self.count += 1;
        if sequence < self.next {
            return Came::Late;
        }
        self.next = sequence + 1;
        Came::InOrder
    }

    /// Adds what another has seen; says how much of it was known.
    fn merge(&mut self, other: &Self) -> u64 {
        self.bits.resize(self.bits.len().max(other.bits.len()), 0);
        let mut known = 0;
        for (mine, its) in self.bits.iter_mut().zip(&other.bits) {
            known += u64::from((*mine & its).count_ones());
            *mine |= its;
        }
        self.count += other.count - known;
        known
    }
}

/// Whether `filter` matches `topic` (MQTT 5.0 section 4.7).
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        match (part, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (part, Some(level)) if part == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::Came::{Again, InOrder, Late};
    use super::*;

    #[test]
    fn what_comes_again_or_late_is_told() {
        let mut seen = Seen::default();
        let came = [0, 1, 1, 5, 3, 100, 3].map(|sequence| seen.add(sequence));
        assert_eq!(came, [InOrder, InOrder, Again, InOrder, Late, InOrder, Again]);
        assert_eq!(seen.count, 5);
    }

    #[test]
    fn members_of_a_group_see_everything_once_together() {
        let board = Board::new([1].into_iter());
        board.flows[0].sent.store(10, Ordering::Relaxed);
        let mut deliveries = Deliveries::default();
        for sequences in [vec![0, 2, 4, 6], vec![1, 3, 5, 6, 70]] {
            let mut seen = Seen::default();
            for sequence in sequences {
                seen.add(sequence);
            }
            board.gather(vec![seen], &mut deliveries);
        }
        assert_eq!(deliveries.duplicates, 1);
        assert_eq!(board.missing_together(), 2);
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        let rows = [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/+", "a", false),
            ("a", "a/b", false),
            ("+/+", "a/", true),
        ];
        for (filter, topic, expected) in rows {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
