//! Guessing, slowed down: whoever fails too often for a name from an address has to wait, twice as
//! long each further time.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use eg_event::{Clock, Timestamp};
use quick_cache::sync::{Cache, EntryAction, EntryResult};

use crate::config::AuthConfig;
use crate::{Peer, Unauthenticated};

/// Who failed to log in, how often, and until when they have to wait.
#[derive(Debug)]
pub(crate) struct LockOut {
    clock: Clock,
    failures_max: u32,
    wait_max: Duration,
    failed: Cache<Suspect, Failures>,
}

/// An address, and the name that it tries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Suspect {
    network: IpAddr,
    name: Arc<str>,
}

#[derive(Clone, Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
    locked_until: Timestamp,
}

impl Suspect {
    /// Whoever at the address of `peer` says to be `name`. An IPv6 network counts as one address,
    /// because one machine has all of it.
    pub(crate) fn new(peer: &Peer, name: &str) -> Self {
        let network = match peer.address.ip().to_canonical() {
            IpAddr::V6(address) => {
                let prefix = u128::from(address) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(prefix))
            }
            address @ IpAddr::V4(_) => address,
        };
        Self { network, name: name.into() }
    }
}

impl LockOut {
    pub(crate) fn new(config: &AuthConfig, clock: Clock) -> Self {
        Self {
            clock,
            failures_max: config.failures_max,
            wait_max: Duration::from_secs(config.lock_out_seconds_max.into()),
            failed: Cache::new(usize::try_from(config.lock_outs_max).unwrap_or(usize::MAX)),
        }
    }

    /// Lets nobody try who has to wait.
    pub(crate) fn check(&self, suspect: &Suspect) -> Result<(), Unauthenticated> {
        let now = self.clock.now();
        match self.failed.get(suspect) {
            Some(failures) if now < failures.locked_until => {
                Err(Unauthenticated::LockedOut { retry_after: failures.locked_until.since(now) })
            }
            _ => Ok(()),
        }
    }

    /// Counts a failure. Whoever has not failed for as long as the longest lock-out starts anew.
    pub(crate) fn failed(&self, suspect: &Suspect) {
        let now = self.clock.now();
        let first = Failures { count: 0, last: now, locked_until: Timestamp::default() };
        let count = |_: &Suspect, failures: &mut Failures| {
            self.count(failures, now);
            EntryAction::Retain(())
        };
        if let EntryResult::Vacant(guard) = self.failed.entry(suspect, None, count) {
            let mut failures = first;
            self.count(&mut failures, now);
            // Who is not remembered was forgotten in favour of others.
            drop(guard.insert(failures));
        }
    }

    /// Forgets the failures of whoever got in.
    pub(crate) fn succeeded(&self, suspect: &Suspect) {
        self.failed.remove(suspect);
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
        for number in 0..10_000 {
            lock_out.failed(&Suspect::new(&peer("192.0.2.1"), &number.to_string()));
        }
        assert!(lock_out.failed.len() <= 100);
    }
}
