//! What an operator may set about the store; every limit names its unit.

use serde::{Deserialize, Serialize};

/// The section `[storage]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Events older than this are let go, in hours.
    pub retention_hours: u32,
    /// When the journal is larger than this, its oldest events are let go, in bytes.
    pub retention_bytes: u64,
    /// How much of the journal subscriptions that hold retention back may keep beyond
    /// `retention_bytes`, in bytes.
    pub retention_hold_bytes_max: u64,
    /// A journal file is closed and a new one begun at this size, in bytes. Retention drops whole
    /// files, and recovery after a crash reads one.
    pub segment_bytes: u64,
    /// A journal file is closed and a new one begun at this age, in hours.
    pub segment_hours: u32,
    /// How many events may wait for the disk before senders are told to wait.
    pub intake_events_max: u32,
    /// How many bytes of events may wait for the disk before senders are told to wait.
    pub intake_bytes_max: u64,
    /// How many events go into one commit at the most.
    pub commit_events_max: u32,
    /// How much is collected in the commit log before it goes into the journal's file, in bytes.
    pub commit_log_bytes: u64,
    /// How many of the latest events are remembered by source and id, so that a second one is
    /// answered with the first one's receipt.
    pub dedupe_events: u32,
    /// For how long they are remembered, in minutes.
    pub dedupe_minutes: u32,
    /// How many bytes of the latest events are kept in memory for delivery.
    pub fresh_bytes_max: u64,
    /// Below this much free space on the disk, in bytes, events are refused.
    pub disk_free_bytes_min: u64,
    /// How many bytes of delivery attempts are kept for the journeys of events.
    pub attempts_bytes_max: u64,
    /// The page cache of each open file, in bytes.
    pub cache_bytes: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            retention_hours: 168,
            retention_bytes: 64 << 30,
            retention_hold_bytes_max: 16 << 30,
            segment_bytes: 256 << 20,
            segment_hours: 24,
            intake_events_max: 65_536,
            intake_bytes_max: 64 << 20,
            commit_events_max: 16_384,
            commit_log_bytes: 4 << 20,
            dedupe_events: 1 << 20,
            dedupe_minutes: 60,
            fresh_bytes_max: 32 << 20,
            disk_free_bytes_min: 256 << 20,
            attempts_bytes_max: 512 << 20,
            cache_bytes: 16 << 20,
        }
    }
}

impl StorageConfig {
    /// Names the first setting whose value makes no sense.
    pub fn check(&self) -> Result<(), eg_event::InvalidInput> {
        let at_least = |key: &str, value: u64, least: u64| {
            if value >= least {
                return Ok(());
            }
            let detail = format!("expected at least {least}, found {value}");
            Err(eg_event::InvalidInput::new(format!("storage.{key}"), detail))
        };
        at_least("retention_hours", self.retention_hours.into(), 1)?;
        at_least("retention_bytes", self.retention_bytes, 1 << 16)?;
        at_least("segment_bytes", self.segment_bytes, 1 << 16)?;
        at_least("segment_hours", self.segment_hours.into(), 1)?;
        at_least("intake_events_max", self.intake_events_max.into(), 1)?;
        at_least("intake_bytes_max", self.intake_bytes_max, 1 << 20)?;
        at_least("commit_events_max", self.commit_events_max.into(), 1)?;
        at_least("commit_log_bytes", self.commit_log_bytes, 1 << 14)?;
        at_least("fresh_bytes_max", self.fresh_bytes_max, 1 << 12)?;
        at_least("attempts_bytes_max", self.attempts_bytes_max, 1 << 16)?;
        at_least("cache_bytes", self.cache_bytes, 1 << 20)
    }
}
