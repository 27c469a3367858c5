//! Any bytes as a key or a value of the store: read or told to be damaged.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| eg_storage::stored::read_as_every_kind(input));
