//! What a publisher is told of something that it should no longer use.

use crate::clock::Timestamp;

/// Something is deprecated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deprecation {
    /// Since when.
    pub since: Timestamp,
    /// When it will be gone, if that is known.
    pub sunset: Option<Timestamp>,
    /// What it is, in words.
    pub what: String,
}

impl Deprecation {
    /// Since when, as the `Deprecation` header has it (RFC 9745 section 2.1).
    ///
    /// ```
    /// use eg_event::{Deprecation, Timestamp};
    /// let since = Timestamp::parse_rfc3339("2023-06-30T23:59:59Z").unwrap();
    /// let gone = Deprecation { since, sunset: Some(since), what: "orders".to_owned() };
    /// assert_eq!(gone.since_text(), "@1688169599");
    /// assert_eq!(gone.sunset_text().unwrap(), "Fri, 30 Jun 2023 23:59:59 GMT");
    /// ```
    #[must_use]
    pub fn since_text(&self) -> String {
        format!("@{}", self.since.as_secs())
    }

    /// When it will be gone, as the `Sunset` header has it (RFC 8594 section 3).
    #[must_use]
    pub fn sunset_text(&self) -> Option<String> {
        self.sunset.map(Timestamp::to_http_date)
    }
}
