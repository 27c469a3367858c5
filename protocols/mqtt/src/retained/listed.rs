//! Retained messages as operators see them.

use std::sync::Arc;

use eg_event::{Refusal, Sequence, StoredEvent, Timestamp};

use super::Kept;
use crate::codec::Qos;
use crate::server::Server;
use crate::topic_filter::TopicFilter;

/// A retained message, without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedMessage {
    /// The topic.
    pub topic: Box<str>,
    /// The event that it is.
    pub sequence: Sequence,
    /// How surely it was published.
    pub qos: Qos,
    /// About how large it is, in bytes.
    pub bytes: u32,
    /// When it is of no more use.
    pub expires_at: Option<Timestamp>,
}

impl RetainedMessage {
    fn new(topic: &str, kept: &Kept) -> Self {
        let Kept { sequence, qos, bytes, expires_at, .. } = *kept;
        Self { topic: topic.into(), sequence, qos, bytes, expires_at }
    }
}

impl Server {
    /// What is retained of the topics that `filter` stands for: at most `count_max`, those after the
    /// topic `after`, in the order of topics. None if `filter` is no topic filter.
    #[must_use]
    pub fn retained(
        &self,
        filter: &str,
        after: &str,
        count_max: usize,
    ) -> Option<Vec<RetainedMessage>> {
        let filter = TopicFilter::parse(filter, u32::MAX).filter(|one| one.share.is_none())?;
        let mut found = Vec::new();
        self.0.router.retained.lock().topics.matching(filter.levels, &mut |topic, kept| {
            if topic > after {
                found.push(RetainedMessage::new(topic, kept));
            }
        });
        found.sort_unstable_by(|one, other| one.topic.cmp(&other.topic));
        found.truncate(count_max);
        Some(found)
    }

    /// The event that is retained of `topic`, if one is.
    pub async fn retained_event(&self, topic: &str) -> Result<Option<Arc<StoredEvent>>, Refusal> {
        let router = &self.0.router;
        let kept = router.retained.lock().topics.get(topic).map(|kept| kept.sequence);
        let Some(sequence) = kept else { return Ok(None) };
        Ok(router.get(vec![sequence]).await?.pop())
    }

    /// Ends what is retained of `topic`, durably. Says whether anything was. Subscribers are not
    /// told.
    pub async fn delete_retained(&self, topic: &str) -> bool {
        let retained = &self.0.router.retained;
        let existed = retained.lock().remove(topic);
        if existed {
            retained.checkpoint(0).await;
        }
        existed
    }
}
