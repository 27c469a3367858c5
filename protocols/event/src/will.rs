//! The port through which the wills of MQTT clients are kept, so that a restart does not lose them.

use futures_util::future::BoxFuture;

use crate::refusal::Refusal;
use crate::submission::Submission;

/// What is to be published when a client is lost.
#[derive(Clone, Debug)]
pub struct KeptWill {
    /// The message.
    pub submission: Submission,
    /// How long after the loss, at most, in seconds.
    pub wait_s: u32,
}

/// Keeps wills over restarts.
pub trait WillStore: Send + Sync {
    /// Every will that is kept, under its number.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when the store cannot be read.
    fn load(&self) -> Result<Vec<(u64, KeptWill)>, Refusal>;

    /// Makes all of `changes` durable together: wills under their numbers; none: it is not kept any
    /// more.
    fn save(
        &self,
        changes: Vec<(u64, Option<KeptWill>)>,
    ) -> BoxFuture<'static, Result<(), Refusal>>;
}
