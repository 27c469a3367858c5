//! Facts about what applications may send.

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
    let taken =
        |millis| std::iter::repeat_with(|| rate.take(at(millis))).take_while(Result::is_ok).count();
    assert_eq!(taken(0), 3);
    assert_eq!(taken(99), 0);
    assert_eq!(taken(200), 2);
    assert_eq!(taken(60_000), 3, "a long pause saves up no more than a burst");
}

#[test]
fn who_is_too_fast_is_told_the_limit_and_when_to_come_again() {
    let rate = rate(2, Some(1));
    rate.take(at(0)).unwrap();
    let (limit, wait) = rate.take(at(100)).unwrap_err();
    assert_eq!((limit.as_str(), wait), ("2 events per second", Duration::from_millis(400)));
    rate.take(at(500)).unwrap();
}

#[test]
fn a_clock_that_goes_back_gives_nothing_away() {
    let rate = rate(1, None);
    rate.take(at(5000)).unwrap();
    rate.take(at(0)).unwrap_err();
    rate.take(at(5500)).unwrap_err();
    rate.take(at(6000)).unwrap();
}

#[test]
fn other_changes_of_an_application_do_not_fill_its_bucket() {
    let limits = ApplicationLimits { events_per_second: Some(1), ..ApplicationLimits::default() };
    let rate = Rate::of(&limits, None, at(0)).unwrap();
    rate.take(at(0)).unwrap();
    Rate::of(&limits, Some(&rate), at(1)).unwrap().take(at(1)).unwrap_err();
    let faster = ApplicationLimits { events_per_second: Some(2), ..limits };
    Rate::of(&faster, Some(&rate), at(1)).unwrap().take(at(1)).unwrap();
}
