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
    /// How many publications were sent.
    pub(super) published: u64,
    /// What subscribers saw of them.
    pub(super) deliveries: Option<Deliveries>,
}

/// What subscribers saw.
#[derive(Clone, Debug)]
pub(super) struct Deliveries {
    received: u64,
    bytes: u64,
    latency_us: Histogram<u64>,
    /// How many came more than once.
    pub(super) duplicates: u64,
    /// How many never came.
    pub(super) missing: u64,
    /// How many came after a later one of the same publisher.
    pub(super) out_of_order: u64,
    /// How many were not of this run.
    pub(super) foreign: u64,
}

/// An empty histogram of latencies.
fn latency_us() -> Histogram<u64> {
    // The bounds are constants that make sense; a histogram of the default size does as well.
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
        .unwrap_or_else(|_| Histogram::<u64>::new(3).unwrap_or_else(|_| unreachable!()))
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1)
}

impl Default for Deliveries {
    fn default() -> Self {
        let (received, bytes, duplicates, missing, out_of_order, foreign) = (0, 0, 0, 0, 0, 0);
        let latency_us = latency_us();
        Self { received, bytes, latency_us, duplicates, missing, out_of_order, foreign }
    }
}

impl Deliveries {
    /// Counts a publication that came in time to be measured.
    pub(super) fn received(&mut self, bytes: u64, latency: Duration) {
        self.received += 1;
        self.bytes += bytes;
        self.latency_us.saturating_record(micros(latency));
    }

    fn add(&mut self, other: Self) {
        self.received += other.received;
        self.bytes += other.bytes;
        self.duplicates += other.duplicates;
        self.missing += other.missing;
        self.out_of_order += other.out_of_order;
        self.foreign += other.foreign;
        // Both have the same bounds.
        self.latency_us.add(other.latency_us).unwrap_or_default();
    }

    fn to_json(&self, seconds: u32) -> Value {
        json!({
            "received_per_s": per_second(self.received, seconds),
            "received": self.received,
            "payload_bytes_per_s": per_second(self.bytes, seconds),
            "missing": self.missing,
            "duplicates": self.duplicates,
            "out_of_order": self.out_of_order,
            "foreign": self.foreign,
            "latency_ms": quantiles(&self.latency_us),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
fn per_second(count: u64, seconds: u32) -> f64 {
    (count as f64 / f64::from(seconds.max(1))).round()
}

fn quantiles(latency_us: &Histogram<u64>) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "a latency is a float")]
    let millis = |quantile| latency_us.value_at_quantile(quantile) as f64 / 1000.0;
    json!({ "p50": millis(0.5), "p99": millis(0.99), "p99.9": millis(0.999), "max": millis(1.0) })
}

impl Report {
    pub(super) fn new(seconds: u32) -> Self {
        let errors = BTreeMap::new();
        let (acknowledged, bytes, published, deliveries) = (0, 0, 0, None);
        Self {
            seconds,
            acknowledged,
            bytes,
            errors,
            latency_us: latency_us(),
            published,
            deliveries,
        }
    }

    /// Counts acknowledged publications that were sent together.
    pub(super) fn acknowledged(&mut self, count: u64, bytes: u64, latency: Duration) {
        self.acknowledged += count;
        self.bytes += bytes;
        self.latency_us.saturating_record_n(micros(latency), count);
    }

    pub(super) fn error(&mut self, kind: &str, count: u64) {
        *self.errors.entry(kind.to_owned()).or_default() += count;
    }

    pub(super) fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.bytes += other.bytes;
        self.published += other.published;
        if let Some(deliveries) = other.deliveries {
            self.deliveries.get_or_insert_default().add(deliveries);
        }
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        // Both have the same bounds.
        self.latency_us.add(other.latency_us).unwrap_or_default();
    }

    /// The report for programs and, member by member, for people.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut report = json!({
            "acknowledged_per_s": per_second(self.acknowledged, self.seconds),
            "acknowledged": self.acknowledged,
            "payload_bytes_per_s": per_second(self.bytes, self.seconds),
            "errors": self.errors,
            "latency_ms": quantiles(&self.latency_us),
            "seconds": self.seconds,
        });
        if let Some(deliveries) = &self.deliveries {
            report["published_per_s"] = per_second(self.published, self.seconds).into();
            report["deliveries"] = deliveries.to_json(self.seconds);
        }
        report
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
