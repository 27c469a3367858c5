//! How topics are read, as management clients see it.

use async_graphql::SimpleObject;

use super::scalar::Instant;
use crate::consume::standing::View;

/// How the reading of a topic stands, since the gateway or the reading was started.
#[derive(Clone, Debug, SimpleObject)]
pub struct ExternalReading {
    /// Whether the bus is connected to.
    connected: bool,
    /// How many messages wait on the bus; null if it does not say.
    lag: Option<u64>,
    /// How many messages became events.
    taken: u64,
    /// How many were events that are known already.
    duplicates: u64,
    /// How many were refused.
    refused: u64,
    /// The latest of those.
    last_refusal: Option<ExternalRefusal>,
}

/// A message of a bus that was refused.
#[derive(Clone, Debug, SimpleObject)]
pub struct ExternalRefusal {
    /// Why.
    reason: String,
    /// When.
    at: Instant,
}

impl From<View> for ExternalReading {
    fn from(view: View) -> Self {
        let refusal = view.last_refusal.clone();
        Self {
            connected: view.is_reading(),
            lag: view.lag,
            taken: view.taken,
            duplicates: view.duplicates,
            refused: view.refused,
            last_refusal: refusal
                .map(|one| ExternalRefusal { reason: one.reason, at: Instant(one.at.to_string()) }),
        }
    }
}
