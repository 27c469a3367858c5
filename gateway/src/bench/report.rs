//! What was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Report {
    seconds: u32,
    acknowledged: u64,
    bytes: u64,
    errors: BTreeMap<String, u64>,
    latency_us: Histogram<u64>,
}

impl Report {
    pub(super) fn new(seconds: u32) -> Self {
        // The bounds are constants that make sense; a histogram of the default size does as well.
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
            .unwrap_or_else(|_| Histogram::<u64>::new(3).unwrap_or_else(|_| unreachable!()));
        Self { seconds, acknowledged: 0, bytes: 0, errors: BTreeMap::new(), latency_us }
    }

    /// Counts acknowledged publications that were sent together.
    pub(super) fn acknowledged(&mut self, count: u64, bytes: u64, latency: Duration) {
        self.acknowledged += count;
        self.bytes += bytes;
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record_n(micros.max(1), count);
    }

    pub(super) fn error(&mut self, kind: &str, count: u64) {
        *self.errors.entry(kind.to_owned()).or_default() += count;
    }

    pub(super) fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.bytes += other.bytes;
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        // Both have the same bounds.
        self.latency_us.add(other.latency_us).unwrap_or_default();
    }

    /// The report for programs and, member by member, for people.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let seconds = f64::from(self.seconds.max(1));
        #[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
        let per_second = |count: u64| (count as f64 / seconds).round();
        #[expect(clippy::cast_precision_loss, reason = "a latency is a float")]
        let millis = |quantile| self.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        json!({
            "acknowledged_per_s": per_second(self.acknowledged),
            "acknowledged": self.acknowledged,
            "payload_bytes_per_s": per_second(self.bytes),
            "errors": self.errors,
            "latency_ms": {
                "p50": millis(0.5), "p99": millis(0.99), "p99.9": millis(0.999), "max": millis(1.0),
            },
            "seconds": self.seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_adds_up() {
        let mut one = Report::new(2);
        one.acknowledged(10, 2560, Duration::from_millis(1));
        one.error("0x97", 1);
        let mut other = Report::new(2);
        other.acknowledged(10, 2560, Duration::from_millis(100));
        other.error("0x97", 2);
        one.add(other);
        let told = one.to_json();
        assert_eq!(told["acknowledged_per_s"], 10.0);
        assert_eq!(told["payload_bytes_per_s"], 2560.0);
        assert_eq!(told["errors"]["0x97"], 3);
        assert!((told["latency_ms"]["p50"].as_f64().unwrap() - 1.0).abs() < 0.01);
        assert!((told["latency_ms"]["p99"].as_f64().unwrap() - 100.0).abs() < 0.2);
    }
}
