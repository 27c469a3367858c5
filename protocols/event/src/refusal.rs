//! Why an event was not taken: a closed list that each protocol maps to its own codes in one table.

use std::borrow::Cow;
use std::time::Duration;

use crate::attribute::InvalidAttribute;

/// Why nothing was stored. Whatever the reason, the refusal is complete: no part of the event
/// remains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody said, or proved, who is asking.
    #[error("not authenticated: {0}")]
    Unauthenticated(Cow<'static, str>),
    /// The principal may not do this.
    #[error("not allowed: {0}")]
    Forbidden(Cow<'static, str>),
    /// The input breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// The input is larger than the gateway takes.
    #[error("larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// More is arriving than can be stored; later it will fit.
    #[error("too busy, try again in {} s", retry_after.as_secs().max(1))]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The application that it is published for has used up what it may; later it has not.
    #[error("the quota of {application} is used up: {limit}")]
    Quota {
        /// Whose quota.
        application: Box<str>,
        /// Which limit, in words, without what others use.
        limit: Cow<'static, str>,
        /// When to try again.
        retry_after: Duration,
    },
    /// The store cannot take events at present (disk full, I/O error, shutting down).
    #[error("unavailable: {reason}")]
    Unavailable {
        /// What stands in the way, without internals.
        reason: Cow<'static, str>,
        /// When to try again.
        retry_after: Duration,
    },
}

/// Which field of the input is wrong, and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct InvalidInput {
    /// The attribute, header, member or packet field.
    pub field: String,
    /// What was expected.
    pub detail: String,
}

impl InvalidInput {
    /// Says what is wrong with `field`.
    #[must_use]
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }
}

impl From<InvalidAttribute> for InvalidInput {
    fn from(invalid: InvalidAttribute) -> Self {
        Self::new(invalid.name, format!("expected {}", invalid.expected))
    }
}

impl From<InvalidAttribute> for Refusal {
    fn from(invalid: InvalidAttribute) -> Self {
        Self::Invalid(invalid.into())
    }
}
