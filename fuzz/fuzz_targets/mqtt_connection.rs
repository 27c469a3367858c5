//! Whatever a client sends in any state of its connection and its session: the server's own tests say
//! what holds, and how an input is read.
#![no_main]

#[allow(dead_code, reason = "the server's own tests use more of it")]
#[path = "../../protocols/mqtt/tests/mqtt/gateway.rs"]
mod gateway;
#[allow(dead_code, reason = "the server's own tests use more of it")]
#[path = "../../protocols/mqtt/tests/mqtt/states.rs"]
mod states;

libfuzzer_sys::fuzz_target!(|input: &[u8]| states::try_input(input));
