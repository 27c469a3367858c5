//! What was accepted, kept in redb until delivered and until retention lets go.
//!
//! Every byte on the disk is described in `DESIGN.md` beside this crate's manifest.

mod attempt;
mod block;
mod changes;
mod commit_log;
mod compaction;
mod config;
mod error;
mod fresh;
mod handshakes;
mod holdings;
mod intake;
mod journal;
mod ledger;
mod outstanding;
mod read;
mod record;
pub mod refs;
mod retention;
mod segment;
mod segments;
mod staged;
mod store;
pub mod stored;
mod varint;
pub mod volume;
mod wills;
mod window;
mod writer;

pub use attempt::{Attempt, Verdict};
pub use changes::Changes;
pub use config::StorageConfig;
pub use error::{OpenError, StoreError};
pub use holdings::Share;
pub use journal::{Journal, Usage};
pub use ledger::{Chunk, Ledger, Outstanding};
pub use outstanding::{Cursor, DeadLetter, Exception};
pub use retention::{Limit, Limits};
pub use store::Store;
pub use varint::Damaged;
pub use wills::StoredWill;
pub use writer::Health;
