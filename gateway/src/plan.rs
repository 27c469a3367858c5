//! How much the events of each application will take, from what came lately and what is kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use eg_storage::{Journal, Share, StoreError};

use crate::specs::definition::ApplicationLimits;
use crate::specs::snapshot::Snapshot;

const DAY: Duration = Duration::from_hours(24);
/// Over what rates are measured.
pub const PERIODS: [Duration; 3] = [Duration::from_mins(1), Duration::from_hours(1), DAY];
/// A rate is measured over this at least, so that a first event is no flood.
const MEASURE_MIN: Duration = Duration::from_mins(1);

/// How fast events come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Events in a second.
    pub events_per_second: f64,
    /// Bytes of the journal in a second.
    pub bytes_per_second: f64,
}

/// What an application holds, and will hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// Its name; none: events without an application.
    pub application: Option<Arc<str>>,
    /// What it may send and hold.
    pub limits: ApplicationLimits,
    /// What is held of it.
    pub held: Share,
    /// How fast its events come, over each of [`PERIODS`].
    pub rates: [Rate; 3],
    /// What will be held of it, in bytes.
    pub forecast_bytes: f64,
    /// When it holds all that it may; none: never, at this rate.
    pub quota_full_in: Option<Duration>,
}

/// What is kept of whom.
#[derive(Clone, Copy, Debug)]
struct Kept {
    age_max: Duration,
    bytes_max: u64,
}

/// What the store holds, and will hold.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who holds how much; those who hold or may hold something.
    pub applications: Vec<Usage>,
    /// What the journal's files take, in bytes.
    pub journal_bytes: u64,
    /// What the disk takes before events are refused, in bytes.
    pub room_bytes: u64,
    /// What will be held in all, in bytes.
    pub forecast_bytes: f64,
    /// When the disk takes no more; none: never, at this rate.
    pub disk_full_in: Option<Duration>,
}

impl Plan {
    /// Looks `ahead` from what `journal` holds. May wait for the disk.
    pub fn make(
        journal: &Journal,
        snapshot: &Snapshot,
        ahead: Duration,
    ) -> Result<Self, StoreError> {
        let applications = usage(journal, snapshot, ahead)?;
        let (age_max, bytes_max) = journal.retention();
        let journal_bytes = journal.usage()?.bytes;
        let room_bytes = journal.room_bytes()?;
        let sum = |of: fn(&Usage) -> f64| applications.iter().map(of).sum::<f64>();
        let held = sum(|one| float(one.held.bytes));
        let rate = sum(|one| one.rates[2].bytes_per_second);
        let forecast_bytes = sum(|one| one.forecast_bytes).min(float(bytes_max));
        let most = Kept { age_max, bytes_max }.most(rate);
        let disk_full_in = time_to(float(room_bytes), rate, (most - held).max(0.0));
        Ok(Self { applications, journal_bytes, room_bytes, forecast_bytes, disk_full_in })
    }
}

/// What each application holds, and will hold when `ahead` has passed.
pub fn usage(
    journal: &Journal,
    snapshot: &Snapshot,
    ahead: Duration,
) -> Result<Vec<Usage>, StoreError> {
    let all = journal.held();
    let within = [
        journal.held_within(PERIODS[0])?,
        journal.held_within(PERIODS[1])?,
        journal.held_within(PERIODS[2])?,
    ];
    let registered = snapshot.applications();
    let names: BTreeSet<Arc<str>> =
        registered.iter().map(|one| one.name.as_str().into()).chain(all.keys().cloned()).collect();
    let (age_max, bytes_max) = journal.retention();
    let mut usage = Vec::with_capacity(names.len());
    for name in names {
        let limits = snapshot.application_named(&name).map(|one| one.limits).unwrap_or_default();
        let held = all.get(&name).copied().unwrap_or_default();
        let age = journal.age_of(&name)?.unwrap_or_default();
        let mut rates = [Rate::default(); 3];
        for ((rate, within), period) in rates.iter_mut().zip(&within).zip(PERIODS) {
            let share = within.get(&name).copied().unwrap_or_default();
            *rate = Rate::of(share, period.min(age.max(MEASURE_MIN)));
        }
        let own_age = limits.retention_hours.map(|hours| Duration::from_hours(hours.into()));
        let kept = Kept {
            age_max: own_age.map_or(age_max, |own| own.min(age_max)),
            bytes_max: limits.retention_bytes.map_or(bytes_max, |own| own.min(bytes_max)),
        };
        let rate = rates[2].bytes_per_second;
        let quota_full_in = limits.quota_bytes.and_then(|quota| {
            let left = float(quota) - float(held.bytes);
            time_to(left.max(0.0), rate, kept.most(rate) - float(held.bytes))
        });
        let quota = limits.quota_bytes.map_or(f64::INFINITY, float);
        let forecast_bytes = kept.forecast(float(held.bytes), rate, ahead).min(quota);
        let application = Some(name).filter(|name| !name.is_empty());
        usage.push(Usage { application, limits, held, rates, forecast_bytes, quota_full_in });
    }
    Ok(usage)
}

impl Rate {
    fn of(share: Share, period: Duration) -> Self {
        let seconds = period.as_secs_f64();
        Self {
            events_per_second: float(share.events) / seconds,
            bytes_per_second: float(share.bytes) / seconds,
        }
    }
}

impl Kept {
    /// The most that is kept of what comes at `rate`, in bytes.
    fn most(&self, rate: f64) -> f64 {
        (rate * self.age_max.as_secs_f64()).min(float(self.bytes_max))
    }

    /// What is held when `ahead` has passed, of `held` now and what comes at `rate`: until what is
    /// held now is too old it grows, and then it is what comes in the time that is kept.
    fn forecast(&self, held: f64, rate: f64, ahead: Duration) -> f64 {
        if ahead >= self.age_max {
            return self.most(rate);
        }
        let grown = held + rate * ahead.as_secs_f64();
        grown.min(self.most(rate).max(held)).min(float(self.bytes_max))
    }
}

/// When `left` bytes are full at `rate`, if no more than `growth` bytes ever come.
fn time_to(left: f64, rate: f64, growth: f64) -> Option<Duration> {
    if growth < left || (left > 0.0 && rate <= 0.0) {
        return None;
    }
    if left <= 0.0 {
        return Some(Duration::ZERO);
    }
    Duration::try_from_secs_f64(left / rate).ok()
}

/// What so many messages take: a day's, of so many kilobytes, for so many days; in bytes.
#[must_use]
pub fn what_if(messages_per_day: f64, kilobytes: f64, days: f64) -> f64 {
    messages_per_day * days * kilobytes * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a forecast is no more exact")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn is(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-6
    }

    #[test]
    fn what_is_held_grows_until_it_is_too_old_or_too_much() {
        let kept = Kept { age_max: DAY, bytes_max: 1_000_000 };
        assert!(is(kept.forecast(0.0, 1.0, HOUR), 3600.0));
        assert!(is(kept.forecast(85_000.0, 1.0, HOUR), 86_400.0), "a day's, at one a second");
        assert!(is(kept.forecast(0.0, 1.0, 2 * DAY), 86_400.0));
        assert!(is(kept.forecast(0.0, 100.0, 2 * DAY), 1_000_000.0));
        assert!(is(kept.forecast(500.0, 0.0, HOUR), 500.0), "nothing comes, and it is still there");
        assert!(is(kept.forecast(500.0, 0.0, 2 * DAY), 0.0));
    }

    #[test]
    fn what_retention_keeps_small_is_never_full() {
        assert_eq!(time_to(100.0, 1.0, 99.0), None);
        assert_eq!(time_to(100.0, 2.0, 1e9), Some(Duration::from_secs(50)));
        assert_eq!(time_to(0.0, 0.0, 0.0), Some(Duration::ZERO));
        assert_eq!(time_to(1.0, 0.0, 1e9), None);
    }

    #[test]
    fn messages_a_day_times_days_times_kilobytes() {
        assert!(is(what_if(10_000.0, 5.0, 7.0), 350_000_000.0));
    }
}
