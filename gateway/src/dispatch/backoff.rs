//! When to try again, and when to give up.

use std::time::Duration;

use eg_event::Timestamp;
use eg_event::subscription::RetryPolicy;
use rand::{Rng, RngExt as _};

/// The longest wait that a receiver can ask for with `Retry-After`.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// How long to wait before the next attempt, after `attempts` of them: between nothing and a
/// ceiling that doubles with each ("full jitter"), but no less than the receiver asked for.
pub fn delay(
    policy: &RetryPolicy,
    attempts: u32,
    retry_after: Option<Duration>,
    rng: &mut impl Rng,
) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    let ceiling = u64::from(policy.initial_delay_ms) << doublings;
    let ceiling = ceiling.min(policy.max_delay_ms.into());
    let jittered = Duration::from_millis(rng.random_range(0..=ceiling));
    jittered.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

/// Why an event is not tried again; `None` when it is.
#[must_use]
pub fn exhausted(
    policy: &RetryPolicy,
    attempts: u32,
    first_attempt_at: Timestamp,
    now: Timestamp,
) -> Option<String> {
    if attempts >= policy.max_attempts {
        return Some(format!("given up after {attempts} attempts"));
    }
    let age = now.since(first_attempt_at);
    if age >= Duration::from_secs(policy.max_age_s.into()) {
        return Some(format!("given up {} s after the first attempt", age.as_secs()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    #[test]
    fn an_event_is_given_up_by_count_or_by_age() {
        let policy = RetryPolicy { max_attempts: 3, max_age_s: 60, ..RetryPolicy::default() };
        let at = |secs: u64| Timestamp::from_micros(secs * 1_000_000);
        assert_eq!(exhausted(&policy, 2, at(0), at(59)), None);
        assert_eq!(exhausted(&policy, 3, at(0), at(1)).unwrap(), "given up after 3 attempts");
        assert_eq!(
            exhausted(&policy, 1, at(0), at(60)).unwrap(),
            "given up 60 s after the first attempt"
        );
    }

    proptest! {
        #[test]
        fn delays_stay_within_their_bounds(attempts in 1u32..100, asked in prop::option::of(0u64..200_000), seed: u64) {
            let policy = RetryPolicy { initial_delay_ms: 100, max_delay_ms: 5000, ..RetryPolicy::default() };
            let mut rng = StdRng::seed_from_u64(seed);
            let asked = asked.map(Duration::from_secs);
            let waited = delay(&policy, attempts, asked, &mut rng);
            let floor = asked.unwrap_or_default().min(RETRY_AFTER_MAX);
            let ceiling = Duration::from_millis((100u64 << (attempts - 1).min(31)).min(5000));
            prop_assert!(waited >= floor && waited <= ceiling.max(floor));
        }
    }
}
