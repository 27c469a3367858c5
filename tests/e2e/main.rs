//! The whole program as a process, with clients and subscribers that nobody here wrote.
#![expect(clippy::unwrap_used, reason = "a test may stop here")]

mod access;
mod acme;
mod activation;
mod apply;
mod bad_subscribers;
mod bad_tokens;
mod bearer;
mod catalog;
mod certificates;
mod commands;
mod credentials;
mod declared;
mod feed;
mod first_events;
mod lifecycle;
mod load;
mod malformed;
mod mqtt_authentication;
mod outbound;
mod policy;
mod quotas;
mod reloads;
mod specs;
mod subscriptions;
mod survives_kill;
mod tls;

/// The program, as cargo built it for these suites.
const PROGRAM: &str = env!("CARGO_BIN_EXE_gateway-under-test");
