//! HTTP as senders and subscribers see it: over real sockets on this machine.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop here")]

mod authorize;
mod channels;
mod client;
mod connections;
mod gateway;
mod intake;
mod kyma;
mod malformed;
mod push;
mod shutdown;
mod subscriber;
mod tls;

use std::time::Duration;

/// How long anything is waited for that has to happen.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `holds`, for at most [`PATIENCE`].
async fn until(what: &str, holds: impl Fn() -> bool + Send + Sync) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "waited in vain: {what}");
}
