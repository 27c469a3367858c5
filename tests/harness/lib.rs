//! A whole gateway in a temporary directory, and the peers that the suites run it against.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop here")]
#![expect(clippy::missing_panics_doc, reason = "a test may stop here")]

pub mod acme;
pub mod brokers;
pub mod cut;
pub mod gateway;
pub mod kafka;
pub mod opaque_provider;
pub mod openssl;
pub mod peers;
pub mod provider;
pub mod subscriber;
pub mod wait;
