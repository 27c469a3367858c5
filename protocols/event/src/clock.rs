//! Instants, and where they come from: handed in, so that retry, expiry and retention are tested
//! without sleeping.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant, in microseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The instant `micros` microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This instant and `duration` more; the end of time when that overflows.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// The instant `duration` earlier, but not before 1970.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }

    /// How long after `earlier` this instant is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Reads an RFC 3339 `date-time` (section 5.6): the strict grammar, any offset, any number of
    /// fraction digits, a leap second taken as the last second of its minute. `None` when `text` is not one or lies
    /// before 1970.
    ///
    /// ```
    /// use eg_event::Timestamp;
    /// let noon = Timestamp::parse_rfc3339("1970-01-01T14:00:00.5+02:00").unwrap();
    /// assert_eq!(noon.as_micros(), 12 * 3_600_000_000 + 500_000);
    /// assert!(Timestamp::parse_rfc3339("1970-01-01 12:00").is_none());
    /// ```
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        is_rfc3339(text.as_bytes()).then_some(())?;
        // The grammar above is stricter than the parser; leap seconds and over-long fractions are
        // the two things that it knows and the parser does not take.
        let mut plain = text.to_owned();
        if text.get(17..19) == Some("60") {
            plain.replace_range(17..19, "59");
        }
        let fraction = plain.bytes().skip(20).take_while(u8::is_ascii_digit).count();
        if plain.as_bytes().get(19) == Some(&b'.') && fraction > 9 {
            plain.replace_range(29..20 + fraction, "");
        }
        let instant: jiff::Timestamp = plain.parse().ok()?;
        // An instant before 1970 is a valid timestamp of an event, and no instant of ours.
        Some(Self(u64::try_from(instant.as_microsecond()).unwrap_or(0)))
    }

    /// The date that HTTP headers have (RFC 9110 section 5.6.7).
    #[must_use]
    pub fn to_http_date(self) -> String {
        let seconds = i64::try_from(self.as_secs()).unwrap_or(i64::MAX);
        let instant = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
        instant.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

/// The grammar of RFC 3339 section 5.6: what a lenient parser would let pass is settled here.
fn is_rfc3339(text: &[u8]) -> bool {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    if text.len() < SHAPE.len() + 1 {
        return false;
    }
    let (head, mut rest) = text.split_at(SHAPE.len());
    let fits = head.iter().zip(SHAPE).all(|(&b, &s)| match s {
        b'd' => b.is_ascii_digit(),
        b'T' => b == b'T' || b == b't',
        _ => b == s,
    });
    if !fits {
        return false;
    }
    if rest[0] == b'.' {
        let digits = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &rest[1 + digits..];
    }
    match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit())
                && (*h1, *h2) <= (b'2', b'3')
                && *m1 <= b'5'
        }
        _ => false,
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_microsecond(micros) {
            Ok(instant) => write!(f, "{instant:.6}"),
            Err(_) => f.write_str("9999-12-31T23:59:59.999999Z"),
        }
    }
}

/// Where the time comes from: the system's clock, or one that a test moves by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// The clock of the operating system.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it; its clones move along.
    #[must_use]
    pub fn by_hand(start: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicU64::new(start.0))))
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        if let Some(hand) = &self.0 {
            return Timestamp(hand.load(Ordering::Acquire));
        }
        #[expect(clippy::disallowed_methods, reason = "this is the clock that others take")]
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp::default().after(since_epoch.unwrap_or_default())
    }

    /// Moves a clock made with [`Clock::by_hand`]; the system's clock stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Some(hand) = &self.0 {
            let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
            hand.fetch_add(micros, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_read_strictly() {
        for good in [
            "2018-04-05T17:31:00Z",
            "2018-04-05t17:31:00.123456789012z",
            "2018-04-05T17:31:00-07:00",
            "2016-12-31T23:59:60Z",
            "1937-01-01T12:00:27.87+00:20",
        ] {
            assert!(Timestamp::parse_rfc3339(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "2018-04-05",
            "2018-04-05T17:31Z",
            "2018-04-05 17:31:00Z",
            "2018-04-05T17:31:00",
            "2018-04-05T17:31:00.Z",
            "2018-13-05T17:31:00Z",
            "2018-02-30T17:31:00Z",
            "2018-04-05T25:31:00Z",
            "2018-04-05T17:31:00+02",
            "2018-04-05T17:31:00+0200",
            "2018-04-05T17:31:00+24:00",
            "2018-04-05T17:31:00Z ",
            "+018-04-05T17:31:00Z",
        ] {
            assert!(Timestamp::parse_rfc3339(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_timestamp_prints_what_it_reads() {
        let text = "2026-11-21T03:06:00.000250Z";
        assert_eq!(Timestamp::parse_rfc3339(text).unwrap().to_string(), text);
    }

    #[test]
    fn a_clock_by_hand_moves_only_by_hand() {
        let clock = Clock::by_hand(Timestamp::from_micros(5));
        let other = clock.clone();
        clock.advance(Duration::from_secs(1));
        assert_eq!(other.now().as_micros(), 1_000_005);
    }
}
