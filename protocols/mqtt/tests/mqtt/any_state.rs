//! Packets that are nearly right, in every state, for as long as is wished:
//! `FUZZ_SECONDS=1800 cargo test --release -p eg-mqtt any_state`.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::arbitrary::packets;
use crate::states::{AS_IT_IS, STATES, answers, try_input};

/// How many inputs are tried at least.
const INPUTS_MIN: u64 = 300;
/// After how many inputs memory has its size, and how much it may grow from there.
const SETTLED_AFTER: u64 = 2000;
const GROWTH_KIB_MAX: u64 = 64 * 1024;
/// How long one input may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// What whoever runs this for long asks for.
fn asked(name: &str) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
    std::env::var(name).map_or(0, |text| text.parse().unwrap())
}

#[test]
fn in_every_state_whatever_comes_is_answered_or_ends_the_connection() {
    let seconds = asked("FUZZ_SECONDS");
    let until = Instant::now() + Duration::from_secs(seconds);
    let first = asked("FUZZ_FIRST");
    let (told, tried) = channel();
    let trying = std::thread::spawn(move || {
        let mut settled_kib = None;
        let mut seed = first;
        while seed < first + INPUTS_MIN || Instant::now() < until {
            told.send(seed).unwrap();
            try_input(&input(seed));
            seed += 1;
            if seed == first + SETTLED_AFTER {
                settled_kib = Some(resident_kib());
            }
        }
        let grown_kib = settled_kib.map_or(0, |settled| resident_kib().saturating_sub(settled));
        assert!(grown_kib < GROWTH_KIB_MAX, "memory has grown by {grown_kib} KiB");
        (seed - first, grown_kib)
    });
    let mut last = first;
    loop {
        match tried.recv_timeout(PATIENCE) {
            Ok(seed) => last = seed,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                panic!("hangs with input {last}: {:02x?}", input(last))
            }
        }
    }
    let ended = trying.join();
    assert!(ended.is_ok(), "fails with input {last}: {:02x?}", input(last));
}

#[tokio::test(start_paused = true)]
async fn every_state_that_is_tried_is_reached() {
    // CONNACK is 2, PUBLISH 3, PUBACK 4, PUBREC 5, PUBREL 6, PUBCOMP 7, SUBACK 9, AUTH 15.
    let expected: [&[u8]; STATES as usize] = [
        &[],
        &[2],
        &[2],
        &[2, 9],
        &[2, 9],
        &[2, 9],
        &[2, 5],
        &[2, 5],
        &[2, 3, 5, 7, 9],
        &[2, 3, 5, 7, 9],
        &[2, 3, 5, 6, 7, 9],
        &[2, 3, 4, 9],
        &[15],
        &[2, 15],
        &[2, 9, 15, 15],
        &[2, 9],
    ];
    for (state, expected) in (0..).zip(expected) {
        assert_eq!(answers(state).await, expected, "state {state}");
    }
}

/// Right packets of which some bytes are wrong, in a state by chance.
fn input(seed: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let state = random.random_range(0..STATES);
    let right = packets(if random.random_bool(0.6) { 5 } else { 4 });
    let mut stream = Vec::new();
    for _ in 0..random.random_range(1..12) {
        stream.extend_from_slice(&right[random.random_range(0..right.len())]);
    }
    for _ in 0..random.random_range(0..4) {
        if stream.is_empty() {
            break;
        }
        let at = random.random_range(0..stream.len());
        match random.random_range(0..4) {
            0 => stream[at] = random.random(),
            1 => stream[at] ^= 1 << random.random_range(0..8),
            2 => drop(stream.remove(at)),
            _ => stream.insert(at, random.random()),
        }
    }
    let cut = if random.random_bool(0.5) { 255 } else { random.random() };
    let mut input = vec![state | AS_IT_IS, cut, random.random()];
    if random.random_bool(0.2) {
        // Bodies of chance in right frames.
        input[0] = state;
        stream = (0..random.random_range(1..200)).map(|_| random.random()).collect();
    }
    input.extend(stream);
    input
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}
