//! Every normative statement of MQTT 3.1.1 and 5 that binds a server, and clients that nobody here
//! wrote; `docs/mqtt-conformance.md` says which test shows what.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop here")]

/// Says which statements a test shows; `document.rs` reads it.
macro_rules! covers {
    ($($id:literal),+ $(,)?) => {
        const _: &[&str] = &[$($id),+];
    };
}

mod authenticate;
mod client;
mod connect;
mod deliver;
mod document;
mod expiry;
mod libraries;
mod malformed;
mod mosquitto_clients;
mod publish;
mod retained;
mod rumqttc_works;
mod server;
mod session;
mod shared;
mod statements;
mod subscribe;
mod topics;
mod websocket;
mod will;
mod wire;

/// The program, as cargo built it for this suite.
const PROGRAM: &str = env!("CARGO_BIN_EXE_gateway-under-test");
