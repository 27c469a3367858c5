//! The gateway as a broker, with clients that nobody here wrote.
#![expect(clippy::unwrap_used, reason = "a test may stop here")]

mod admin;
mod events;
mod limits;
mod retained;
mod subscriber;
mod survives_kill;

/// The program, as cargo built it for this suite.
const PROGRAM: &str = env!("CARGO_BIN_EXE_gateway-under-test");
