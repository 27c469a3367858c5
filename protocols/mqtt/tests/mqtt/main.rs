//! MQTT as its clients see it: bytes over real sockets on this machine.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop here")]

mod acknowledge;
mod any_state;
mod arbitrary;
mod authentication;
mod client;
mod events;
mod exactly_once;
mod flow;
mod gateway;
mod issuer;
mod lifecycle;
mod lifetime;
mod malformed;
mod packet;
mod retained;
mod sessions;
mod shared;
mod states;
mod subscribe;
mod system;
mod websocket;
mod will;
mod written;

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
