//! The program: configuration, assembly, ingest, dispatch, the management API and the commands.

pub mod dispatch;
pub mod matching;
