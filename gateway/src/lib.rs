//! The program: configuration, assembly, ingest, dispatch, the management API and the commands.

pub mod admin;
pub mod config;
pub mod dispatch;
pub mod ingest;
pub mod journey;
pub mod matching;
pub mod metrics;
