//! Which files of the journal are let go: whole files, oldest first, by age and by bytes,
//! whichever bites first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use eg_event::{Sequence, Timestamp};

use crate::config::StorageConfig;

/// What applications may hold, by their names; one that is not named may hold what the store holds.
pub type Limits = HashMap<Arc<str>, Limit>;

/// What an application may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Its events are let go at this age.
    pub retention: Option<Duration>,
    /// When it holds more than this, in bytes, its oldest events are let go.
    pub retention_bytes: Option<u64>,
    /// When it holds this much, in bytes, events are refused.
    pub quota_bytes: Option<u64>,
}

/// One file of the journal, as retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSpan {
    /// Its first sequence.
    pub(crate) first: Sequence,
    /// When the file after it was begun: no event in it is younger. `None` for the newest.
    pub(crate) ended_at: Option<Timestamp>,
    /// Its size, in bytes.
    pub(crate) bytes: u64,
}

/// How many of the oldest files go. `hold` is the oldest sequence that a subscription holds
/// retention back for; it counts for as long as the journal is not too large by more than
/// `retention_hold_bytes_max`.
pub(crate) fn files_to_drop(
    files: &[FileSpan],
    config: &StorageConfig,
    now: Timestamp,
    hold: Option<Sequence>,
) -> usize {
    let age_max = Duration::from_hours(config.retention_hours.into());
    let hold_limit = config.retention_bytes.saturating_add(config.retention_hold_bytes_max);
    let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let mut dropped = 0;
    // The newest file is being written, and stays.
    for pair in files.windows(2) {
        let [file, next] = pair else { break };
        let too_old = file.ended_at.is_some_and(|ended| now.since(ended) >= age_max);
        let too_large = bytes > config.retention_bytes;
        let waits = hold.is_some_and(|needed| needed < next.first) && bytes <= hold_limit;
        if waits || !(too_old || too_large) {
            break;
        }
        bytes -= file.bytes;
        dropped += 1;
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: u64 = 3_600_000_000;

    /// Four files of 100 bytes, of ten events and an hour each; the newest is begun at 3 h.
    fn files() -> Vec<FileSpan> {
        (0..4u64)
            .map(|n| FileSpan {
                first: Sequence(1 + n * 10),
                ended_at: (n < 3).then(|| Timestamp::from_micros((n + 1) * HOUR_US)),
                bytes: 100,
            })
            .collect()
    }

    fn dropped(hours: u32, bytes: u64, hold_bytes: u64, now_h: u64, hold: Option<u64>) -> usize {
        let config = StorageConfig {
            retention_hours: hours,
            retention_bytes: bytes,
            retention_hold_bytes_max: hold_bytes,
            ..StorageConfig::default()
        };
        let now = Timestamp::from_micros(now_h * HOUR_US);
        files_to_drop(&files(), &config, now, hold.map(Sequence))
    }

    #[test]
    fn age_and_bytes_let_go_whichever_bites_first() {
        assert_eq!(dropped(100, 1000, 0, 4, None), 0);
        assert_eq!(dropped(2, 1000, 0, 4, None), 2, "files ended at 1 h and 2 h are 2 h old");
        assert_eq!(dropped(100, 250, 0, 4, None), 2, "400 bytes become 200");
        assert_eq!(dropped(1, 250, 0, 4, None), 3);
        assert_eq!(dropped(1, 1, 0, 1000, None), 3, "the newest file stays");
    }

    #[test]
    fn a_subscription_holds_retention_back_within_its_bytes() {
        assert_eq!(dropped(1, 1000, 500, 1000, Some(5)), 0, "the first file is needed");
        assert_eq!(dropped(1, 1000, 500, 1000, Some(11)), 1, "only the second one is");
        assert_eq!(dropped(100, 200, 200, 4, Some(5)), 0, "400 is within 200 + 200");
        assert_eq!(dropped(100, 200, 100, 4, Some(5)), 1, "300 is within 200 + 100");
    }
}
