//! The program: configuration, assembly, ingest, dispatch, the management API and the commands.

mod acme;
pub mod activation;
pub mod admin;
pub mod assemble;
pub mod audit;
pub mod authorize;
pub mod bench;
pub mod broker;
pub mod catalog;
pub mod certificates;
mod cli;
pub mod config;
pub mod credentials;
pub mod declared;
pub mod dispatch;
mod front;
pub mod ingest;
pub mod journey;
pub mod listeners;
pub mod manifest;
pub mod matching;
pub mod metrics;
pub mod plan;
pub mod policy;
pub mod quarantine;
pub mod quotas;
pub mod recognition;
pub mod reload;
pub mod run;
pub mod secrets;
pub mod sinks;
pub mod specs;
pub mod subscribed;
pub mod tls;
pub mod validate;

use clap::Parser as _;

/// The program `event-gateway`: 0 when the command worked, 1 when it did not, 2 when it was not
/// understood.
#[must_use]
pub fn main() -> std::process::ExitCode {
    cli::Cli::parse().execute()
}
