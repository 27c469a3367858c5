//! The gateway beside real brokers: what goes out is read back by clients that nobody here wrote.
#![expect(clippy::unwrap_used, reason = "a test may stop here")]

mod amqp;
mod amqp10;
mod amqp_killed;
mod amqp_secured;
mod authenticated;
mod consume;
mod deliver;
mod embedded;
mod examined;
mod given_up;
mod kafka;
mod kafka_read;
mod kafka_secured;
mod kafka_shared;
mod killed;
mod loops;
mod misconfigured;
mod nats_users;
mod registered;

/// The program, as cargo built it for this suite.
const PROGRAM: &str = env!("CARGO_BIN_EXE_gateway-under-test");
