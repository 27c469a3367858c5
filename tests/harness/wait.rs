//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it: much longer than it ever should, since
/// the machine may be slow and busy with other tests.
pub const DEADLINE: Duration = Duration::from_mins(2);

/// Waits until `condition` gives something; stops the test when that takes too long.
pub async fn until<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(DEADLINE, what, condition).await
}

/// As [`until`], for what may take longer.
pub async fn until_within<T>(
    time_max: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(started.elapsed() < time_max, "waited {time_max:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
