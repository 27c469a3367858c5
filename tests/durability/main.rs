//! What has been acknowledged is in the journal, whatever happens to the process and the disk.
#![expect(clippy::unwrap_used, reason = "a test may stop here")]

mod acked_events_survive;
mod applications;
mod crash_volume;
mod events;
mod failed_syncs;
mod full_disk;
mod journal_facts;
mod ledger_facts;
mod upgrade;
