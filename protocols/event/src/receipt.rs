//! What a sender is told once an event is durable.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::deprecation::Deprecation;

/// The place of an event in the journal: gapless from 1, never used twice.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The first event of a journal.
    pub const FIRST: Self = Self(1);

    /// The sequence after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether anyone subscribes to the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// At least one subscription matches.
    Published,
    /// None does; the event is kept for its retention all the same.
    Ignored,
    /// It does not follow its document: it is kept, and delivered to nobody until it is released.
    Quarantined,
}

impl Status {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Ignored => "ignored",
            Self::Quarantined => "quarantined",
        }
    }

    /// The sentence on the wire, which Kyma's clients know.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Published => "Message successfully published to the channel",
            Self::Ignored => {
                "Event was ignored as there are no subscriptions or consumers configured for this event"
            }
            Self::Quarantined => {
                "Event was put into quarantine as it does not follow its declaration"
            }
        }
    }
}

/// Proof that an event is durable. One exists only after the commit: the store makes it, and no
/// protocol can acknowledge without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The event's `id`.
    pub id: Box<str>,
    /// The event's `source`.
    pub source: Box<str>,
    /// Where it stands in the journal; the first one's place when this is a duplicate.
    pub sequence: Sequence,
    /// How many subscriptions matched when it came in.
    pub subscriptions: u32,
    /// The same source and id was already in the journal, and nothing was written.
    pub duplicate: bool,
    /// It is in quarantine.
    pub held: bool,
    /// What its sender used should no longer be used.
    pub deprecation: Option<Arc<Deprecation>>,
}

impl Receipt {
    /// `published` when a subscription matched, else `ignored`; unless it is in quarantine.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.held {
            return Status::Quarantined;
        }
        if self.subscriptions > 0 { Status::Published } else { Status::Ignored }
    }
}
