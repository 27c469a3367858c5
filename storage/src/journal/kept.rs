//! What each application keeps of the journal, by limits of its own within the store's.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use eg_event::{Sequence, StoredEvent};

use super::{Journal, reading};
use crate::error::{OpenError, StoreError};
use crate::holdings::{Holdings, Share};
use crate::retention::{Limit, Limits};
use crate::segments::Segments;

impl Journal {
    /// From now on applications may hold what `limits` say.
    pub fn limit(&self, limits: Limits) {
        let mut slot = self.shared.limits.write().unwrap_or_else(PoisonError::into_inner);
        *slot = Arc::new(limits);
    }

    /// How much is held of each application, the latest included; what has none is under an empty
    /// name.
    #[must_use]
    pub fn held(&self) -> HashMap<Arc<str>, Share> {
        self.shared.holdings.all()
    }

    /// How much is held of what came within the last `period`, by application, roughly.
    pub fn held_within(&self, period: Duration) -> Result<HashMap<Arc<str>, Share>, StoreError> {
        let since = self.first_since(self.clock.now().before(period))?;
        Ok(self.shared.holdings.since(since, self.end()))
    }

    /// How long ago the oldest event came that is held of `application`, roughly.
    pub fn age_of(&self, application: &str) -> Result<Option<Duration>, StoreError> {
        let Some(oldest) = self.shared.holdings.oldest(application) else { return Ok(None) };
        let received_at = reading(self.reader().received_at(oldest))?;
        Ok(received_at.map(|at| self.clock.now().since(at)))
    }

    /// How long, and how many bytes, events are kept whoever's they are.
    #[must_use]
    pub fn retention(&self) -> (Duration, u64) {
        let hours = self.config.retention_hours.into();
        (Duration::from_hours(hours), self.config.retention_bytes)
    }

    /// How much the disk takes before events are refused, in bytes.
    pub fn room_bytes(&self) -> Result<u64, StoreError> {
        let free = self.shared.segments.volume().free_bytes();
        let free = free.map_err(|cause| StoreError::file("journal", redb::Error::Io(cause)))?;
        Ok(free.saturating_sub(self.config.disk_free_bytes_min))
    }

    /// What applications keep no longer, by their own limits: for each the first event that it
    /// keeps, if that is another one than before. `hold` is the oldest event that a subscription
    /// holds retention back for, which counts within `retention_hold_bytes_max`.
    pub fn outgrown(
        &self,
        hold: Option<Sequence>,
    ) -> Result<Vec<(Arc<str>, Sequence)>, StoreError> {
        let limits = self.shared.limits.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut by_age = HashMap::new();
        let mut outgrown = Vec::new();
        for (application, limit) in &*limits {
            let Some(oldest) = self.shared.holdings.oldest(application) else { continue };
            let mut floor = self.within_bytes(application, limit);
            if let Some(age) = limit.retention {
                let young = match by_age.get(&age) {
                    Some(known) => *known,
                    None => self.first_since(self.clock.now().before(age))?,
                };
                by_age.insert(age, young);
                floor = floor.max(young);
            }
            floor = self.held_back(application, floor, hold);
            if floor > oldest {
                outgrown.push((Arc::clone(application), floor));
            }
        }
        Ok(outgrown)
    }

    fn within_bytes(&self, application: &str, limit: &Limit) -> Sequence {
        let first_within = |max| self.shared.holdings.first_within(application, max);
        limit.retention_bytes.and_then(first_within).unwrap_or_default()
    }

    /// `floor`, or `hold` if that is before it and does not take too much.
    fn held_back(&self, application: &str, floor: Sequence, hold: Option<Sequence>) -> Sequence {
        let Some(hold) = hold.filter(|hold| *hold < floor) else { return floor };
        let bytes_since = |from| {
            let since = self.shared.holdings.since(from, self.end());
            since.get(application).map_or(0, |share| share.bytes)
        };
        let beyond = bytes_since(hold).saturating_sub(bytes_since(floor));
        if beyond <= self.config.retention_hold_bytes_max { hold } else { floor }
    }

    /// Hides what applications keep no longer; what is gone stays gone. The caller has written it
    /// down with [`Changes::put_floor`](crate::Changes::put_floor).
    pub fn let_go(&self, outgrown: &[(Arc<str>, Sequence)]) {
        for (application, floor) in outgrown {
            self.shared.holdings.raise(application, *floor, || self.end());
        }
    }

    /// Gives back the disk what applications keep no longer: removes files of which nobody keeps
    /// anything, and writes one file anew of which little is kept. The newest file stays, and those
    /// that the dedupe window reads.
    pub fn compact(&self) -> Result<(), StoreError> {
        let age_min = Duration::from_mins(self.config.dedupe_minutes.into());
        let names = self.shared.segments.names();
        let mut has_rewritten = false;
        for pair in names.windows(2) {
            let [name, next] = pair else { break };
            let (first, end) = (name.first, next.first);
            if self.clock.now().since(next.created_at) < age_min {
                break;
            }
            if self.shared.holdings.is_hollow(first, end) {
                self.shared.segments.remove(name)?;
                self.shared.holdings.forget(first, end);
                tracing::info!(file = name.file(), "nothing in a journal file was kept any more");
                continue;
            }
            let file_bytes = self.shared.segments.volume().size_bytes(&name.file()).unwrap_or(0);
            if !has_rewritten && self.shared.holdings.is_sparse(first, end, file_bytes) {
                let rows = reading(self.shared.segments.rewrite(name, &|event| self.keeps(event)))?;
                self.shared.holdings.rewritten((first, end), rows);
                tracing::info!(
                    file = name.file(),
                    "a journal file of which little is kept was rewritten"
                );
                has_rewritten = true;
            }
        }
        Ok(())
    }

    /// The applications whose floor no longer says anything, for whoever has written it down.
    pub fn forget_floors(&self) -> Result<Vec<Arc<str>>, StoreError> {
        let first = self.usage()?.first;
        Ok(self.shared.holdings.forget_floors_before(first))
    }

    pub(super) fn keeps(&self, event: &StoredEvent) -> bool {
        !self.shared.holdings.is_gone(event.sender.application.as_ref(), event.sequence)
    }
}

/// What applications hold, as the files say.
pub(super) fn read(segments: &Segments) -> Result<Holdings, OpenError> {
    let holdings = Holdings::default();
    let names = segments.names();
    for (index, name) in names.iter().enumerate() {
        // Of two that begin alike the later one holds the events.
        if names.get(index + 1).is_some_and(|next| next.first == name.first) {
            continue;
        }
        let Some(segment) = segments.by_name(name)? else { continue };
        for row in segment.holdings()? {
            holdings.add(row);
        }
        holdings.begin_file();
    }
    Ok(holdings)
}
