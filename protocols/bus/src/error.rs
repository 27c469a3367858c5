//! Why the bus does not have an event.

/// Why the bus does not have an event, as far as we know; in words for an operator, without
/// secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Nobody can be reached, or not as configured.
    #[error("no connection: {0}")]
    NotConnected(String),
    /// The bus refuses, or did not answer.
    #[error("{0}")]
    NotConfirmed(String),
    /// The connection is of no use any more.
    #[error("the connection was lost: {0}")]
    Lost(String),
}
