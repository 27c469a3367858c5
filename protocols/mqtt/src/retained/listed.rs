//! Retained messages as operators see them.

use std::ops::Bound;
use std::sync::Arc;

use eg_event::{Refusal, Sequence, StoredEvent, Timestamp};

use super::Kept;
use crate::codec::{Qos, Version};
use crate::publication::Publication;
use crate::server::Server;
use crate::topic_filter::TopicFilter;

/// How many topics are looked at under one lock.
const LOOK_MAX: usize = 1024;

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

/// A retained message with its payload.
#[derive(Clone, Debug)]
pub struct RetainedContent {
    /// The message.
    pub message: RetainedMessage,
    /// The event that it is.
    pub event: Arc<StoredEvent>,
    /// The beginning of the payload as MQTT 5 clients get it.
    pub payload: Vec<u8>,
    /// How large the whole payload is, in bytes.
    pub payload_bytes: usize,
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
        self.visit_retained(filter, after, |topic, kept| {
            found.push(RetainedMessage::new(topic, kept));
            found.len() < count_max
        });
        Some(found)
    }

    /// Of how many topics that `filter` stands for something is retained. None if it is no topic
    /// filter.
    #[must_use]
    pub fn retained_count(&self, filter: &str) -> Option<usize> {
        let filter = TopicFilter::parse(filter, u32::MAX).filter(|one| one.share.is_none())?;
        let mut count = 0;
        self.visit_retained(filter, "", |_, _| {
            count += 1;
            true
        });
        Some(count)
    }

    /// Shows `visit` what is retained of the topics that `filter` stands for, those after the topic
    /// `after`, in order, until it wants no more.
    fn visit_retained(
        &self,
        filter: TopicFilter<'_>,
        after: &str,
        mut visit: impl FnMut(&str, &Kept) -> bool,
    ) {
        let (fixed, mut after, mut is_after) = (filter.fixed(), Box::from(after), true);
        if *after < *fixed {
            (after, is_after) = (fixed.into(), false);
        }
        loop {
            let from = if is_after { Bound::Excluded(&*after) } else { Bound::Included(&*after) };
            let state = self.0.router.retained.lock();
            let look = state.topics.from(from).take(LOOK_MAX);
            let look = look.take_while(|(topic, _)| topic.starts_with(fixed));
            let (mut count, mut last) = (0, None);
            for (topic, kept) in look {
                (count, last) = (count + 1, Some(topic));
                if filter.stands_for(topic) && !visit(topic, kept) {
                    return;
                }
            }
            let next = last.filter(|_| count == LOOK_MAX).map(Box::from);
            drop(state);
            let Some(next) = next else { return };
            (after, is_after) = (next, true);
        }
    }

    /// The event that is retained of `topic`, if one is.
    pub async fn retained_event(&self, topic: &str) -> Result<Option<Arc<StoredEvent>>, Refusal> {
        let router = &self.0.router;
        let kept = router.retained.lock().topics.get(topic).map(|kept| kept.sequence);
        let Some(sequence) = kept else { return Ok(None) };
        Ok(router.get(vec![sequence]).await?.pop())
    }

    /// The same with the beginning of its payload, at most `payload_bytes_max`.
    pub async fn retained_content(
        &self,
        topic: &str,
        payload_bytes_max: usize,
    ) -> Result<Option<RetainedContent>, Refusal> {
        let router = &self.0.router;
        let message = {
            let state = router.retained.lock();
            state.topics.get(topic).map(|kept| RetainedMessage::new(topic, kept))
        };
        let Some(message) = message else { return Ok(None) };
        let Some(event) = router.get(vec![message.sequence]).await?.pop() else { return Ok(None) };
        let publication = Publication::new(Arc::clone(&event), &*router.topics);
        let form = publication.form(Version::V5);
        let (mut payload, payload_bytes) = (Vec::new(), form.payload_bytes());
        for part in &form.payload {
            let room = payload_bytes_max.saturating_sub(payload.len());
            payload.extend_from_slice(&part[..part.len().min(room)]);
        }
        Ok(Some(RetainedContent { message, event, payload, payload_bytes }))
    }

    /// Ends what is retained of `topic`, durably. Says whether anything was. Subscribers are not
    /// told.
    pub async fn delete_retained(&self, topic: &str) -> Result<bool, Refusal> {
        let retained = &self.0.router.retained;
        let existed = retained.lock().remove(topic);
        if existed {
            retained.checkpoint(0).await?;
        }
        Ok(existed)
    }
}
