//! Facts about what applications may send and have.

use super::*;

fn rate(events_per_second: u32, burst_events: Option<u32>) -> Arc<Rate> {
    let limits = ApplicationLimits {
        events_per_second: Some(events_per_second),
        burst_events,
        ..ApplicationLimits::default()
    };
    Rate::of(&limits, None, at(0)).unwrap()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + millis * 1000)
}

#[test]
fn a_burst_passes_and_then_as_many_as_the_rate_says() {
    let rate = rate(10, Some(3));
    let taken = |millis| rate.take(10, at(millis)).events;
    assert_eq!(taken(0), 3);
    assert_eq!(taken(99), 0);
    assert_eq!(taken(200), 2);
    assert_eq!(taken(60_000), 3, "a long pause saves up no more than a burst");
}

#[test]
fn who_is_too_fast_is_told_the_limit_and_when_to_come_again() {
    let rate = rate(2, Some(1));
    let of = |millis| rate.take(2, at(millis));
    assert_eq!(of(0).events, 1);
    let wait = Duration::from_millis(400);
    assert_eq!(of(100), Granted { events: 0, events_per_second: 2, retry_after: wait });
    assert_eq!(of(500).events, 1);
}

#[test]
fn a_clock_that_goes_back_gives_nothing_away() {
    let rate = rate(1, None);
    let taken = [5000, 0, 5500, 6000].map(|millis| rate.take(1, at(millis)).events);
    assert_eq!(taken, [1, 0, 0, 1]);
}

#[test]
fn other_changes_of_an_application_do_not_fill_its_bucket() {
    let limits = ApplicationLimits { events_per_second: Some(1), ..ApplicationLimits::default() };
    let rate = Rate::of(&limits, None, at(0)).unwrap();
    assert_eq!(rate.take(1, at(0)).events, 1);
    assert_eq!(Rate::of(&limits, Some(&rate), at(1)).unwrap().take(1, at(1)).events, 0);
    let faster = ApplicationLimits { events_per_second: Some(2), ..limits };
    assert_eq!(Rate::of(&faster, Some(&rate), at(1)).unwrap().take(1, at(1)).events, 1);
}
