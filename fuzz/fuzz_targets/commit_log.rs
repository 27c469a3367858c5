//! A commit log, damaged in any way: what is read of it was written, or the damage is told.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| eg_storage::stored::damage_a_commit_log(input));
