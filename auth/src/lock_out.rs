//! Guessing, slowed down: whoever fails too often for a name from an address, or for whatever names
//! from that address, has to wait, twice as long each further time.

use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use eg_event::{Clock, Timestamp};
use quick_cache::sync::{Cache, EntryAction, EntryResult};

use crate::config::AuthConfig;
use crate::{Peer, Thumbprint, Unauthenticated};

/// The longest wait of a whole address, behind which there may be many who did nothing wrong.
const ADDRESS_WAIT_MAX: Duration = Duration::from_mins(1);

/// Who failed to log in, how often, and until when they have to wait.
#[derive(Debug)]
pub(crate) struct LockOut {
    clock: Clock,
    by_suspect: Watched<Suspect>,
    by_network: Watched<IpAddr>,
}

/// An address, and the name that it tries, by its digest: a name may be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Suspect {
    network: IpAddr,
    name: Thumbprint,
}

/// Those who failed, and what they are allowed.
#[derive(Debug)]
struct Watched<K> {
    failures_max: u32,
    wait_max: Duration,
    failed: Cache<K, Failures>,
}

#[derive(Clone, Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
    locked_until: Timestamp,
}

impl Suspect {
    /// Whoever at the address of `peer` says to be `name`.
    pub(crate) fn new(peer: &Peer, name: &str) -> Self {
        Self { network: peer.network(), name: Thumbprint::of(name.as_bytes()) }
    }
}

impl LockOut {
    pub(crate) fn new(config: &AuthConfig, clock: Clock) -> Self {
        let wait_max = Duration::from_secs(config.lock_out_seconds_max.into());
        let count_max = usize::try_from(config.lock_outs_max).unwrap_or(usize::MAX);
        let address_wait_max = wait_max.min(ADDRESS_WAIT_MAX);
        Self {
            clock,
            by_suspect: Watched::new(config.failures_max, wait_max, count_max),
            by_network: Watched::new(config.failures_per_address_max, address_wait_max, count_max),
        }
    }

    /// Lets nobody try who has to wait.
    pub(crate) fn check(&self, suspect: &Suspect) -> Result<(), Unauthenticated> {
        self.by_suspect.check(suspect, self.clock.now())
    }

    /// Lets nobody be checked whose address has to wait.
    pub(crate) fn check_network(&self, suspect: &Suspect) -> Result<(), Unauthenticated> {
        self.by_network.check(&suspect.network, self.clock.now())
    }

    /// Counts a failure. Whoever has not failed for as long as the longest lock-out starts anew.
    pub(crate) fn failed(&self, suspect: &Suspect) {
        let now = self.clock.now();
        self.by_suspect.failed(suspect, now);
        self.by_network.failed(&suspect.network, now);
    }

    /// Counts a failure for no name in particular.
    pub(crate) fn network_failed(&self, suspect: &Suspect) {
        self.by_network.failed(&suspect.network, self.clock.now());
    }

    /// Forgets the failures of whoever got in; those of the address stay, or whoever has one
    /// credential could go on guessing others.
    pub(crate) fn succeeded(&self, suspect: &Suspect) {
        self.by_suspect.failed.remove(suspect);
    }
}

impl<K: Copy + Eq + Hash> Watched<K> {
    fn new(failures_max: u32, wait_max: Duration, count_max: usize) -> Self {
        Self { failures_max, wait_max, failed: Cache::new(count_max) }
    }

    fn check(&self, who: &K, now: Timestamp) -> Result<(), Unauthenticated> {
        match self.failed.get(who) {
            Some(failures) if now < failures.locked_until => {
                Err(Unauthenticated::LockedOut { retry_after: failures.locked_until.since(now) })
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, who: &K, now: Timestamp) {
        let first = Failures { count: 0, last: now, locked_until: Timestamp::default() };
        let count = |_: &K, failures: &mut Failures| {
            self.count(failures, now);
            EntryAction::Retain(())
        };
        if let EntryResult::Vacant(guard) = self.failed.entry(who, None, count) {
            let mut failures = first;
            self.count(&mut failures, now);
            // Who is not remembered was forgotten in favour of others.
            drop(guard.insert(failures));
        }
    }

    fn count(&self, failures: &mut Failures, now: Timestamp) {
        if now.since(failures.last.max(failures.locked_until)) > self.wait_max {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        if let Some(beyond) = failures.count.checked_sub(self.failures_max) {
            let seconds = 1_u64.checked_shl(beyond).unwrap_or(u64::MAX);
            let wait = Duration::from_secs(seconds).min(self.wait_max);
            failures.locked_until = now.after(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::new((address.parse::<IpAddr>().unwrap(), 1).into())
    }

    fn lock_out(clock: &Clock) -> LockOut {
        let config =
            AuthConfig { failures_max: 3, lock_out_seconds_max: 10, ..AuthConfig::default() };
        LockOut::new(&config, clock.clone())
    }

    fn wait(lock_out: &LockOut, suspect: &Suspect) -> u64 {
        match lock_out.check(suspect) {
            Ok(()) => 0,
            Err(Unauthenticated::LockedOut { retry_after }) => retry_after.as_secs(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn each_failure_beyond_the_limit_doubles_the_wait_up_to_the_longest() {
        let clock = Clock::by_hand(Timestamp::from_micros(1));
        let lock_out = lock_out(&clock);
        let suspect = Suspect::new(&peer("192.0.2.1"), "ann");
        for expected in [0, 0, 1, 2, 4, 8, 10, 10] {
            lock_out.failed(&suspect);
            assert_eq!(wait(&lock_out, &suspect), expected);
            clock.advance(Duration::from_secs(expected));
            assert_eq!(wait(&lock_out, &suspect), 0);
        }
        lock_out.succeeded(&suspect);
        lock_out.failed(&suspect);
        assert_eq!(wait(&lock_out, &suspect), 0, "success forgets failures");
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let clock = Clock::by_hand(Timestamp::from_micros(1));
        let lock_out = lock_out(&clock);
        let suspect = Suspect::new(&peer("192.0.2.1"), "ann");
        for _ in 0..6 {
            lock_out.failed(&suspect);
            clock.advance(Duration::from_secs(11));
        }
        assert_eq!(wait(&lock_out, &suspect), 0);
    }

    #[test]
    fn others_may_go_on_but_not_another_address_of_the_same_network() {
        let lock_out = lock_out(&Clock::by_hand(Timestamp::from_micros(1)));
        for _ in 0..3 {
            lock_out.failed(&Suspect::new(&peer("2001:db8::1"), "ann"));
        }
        let locked = |address: &str, name| wait(&lock_out, &Suspect::new(&peer(address), name)) > 0;
        assert!(locked("2001:db8::2", "ann"));
        assert!(!locked("2001:db8:0:1::1", "ann"));
        assert!(!locked("2001:db8::1", "bob"));
        assert!(!locked("192.0.2.1", "ann"));
    }

    #[test]
    fn the_table_does_not_grow_beyond_its_limit() {
        let config = AuthConfig { lock_outs_max: 100, ..AuthConfig::default() };
        let lock_out = LockOut::new(&config, Clock::system());
        for number in 0..10_000_u32 {
            let address = format!("10.1.{}.{}", number >> 8, number & 255);
            lock_out.failed(&Suspect::new(&peer(&address), &number.to_string()));
        }
        assert!(lock_out.by_suspect.failed.len() <= 100);
        assert!(lock_out.by_network.failed.len() <= 100);
        assert!(size_of::<Suspect>() <= 64, "whatever is presented as a name");
    }

    #[test]
    fn an_address_that_tries_many_names_has_to_wait_and_those_it_locked_out_still_do() {
        let clock = Clock::by_hand(Timestamp::from_micros(1));
        let config = AuthConfig { failures_per_address_max: 20, ..AuthConfig::default() };
        let lock_out = LockOut::new(&config, clock.clone());
        let (here, elsewhere) = (peer("192.0.2.1"), peer("192.0.2.2"));
        let network = |from: &Peer, name| lock_out.check_network(&Suspect::new(from, name)).is_ok();
        for number in 0..20 {
            assert!(network(&here, "any"), "{number} failures are not too many");
            lock_out.failed(&Suspect::new(&here, &number.to_string()));
        }
        assert!(!network(&here, "new") && network(&elsewhere, "new"));
        lock_out.succeeded(&Suspect::new(&here, "own"));
        assert!(!network(&here, "new"), "one who knows a secret may not guess the next");
        for _ in 0..20 {
            clock.advance(Duration::from_mins(1));
            assert!(network(&here, "new"), "it waits a minute at the most");
            lock_out.failed(&Suspect::new(&here, "new"));
        }
        assert!(!network(&here, "new"));
    }
}
