//! How fast a client may publish: what comes faster stays in its socket, so that it is neither lost
//! nor refused, whatever its quality of service.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::config::MqttConfig;

/// How many bytes are read at once from a client that is held to a pace.
pub(super) const READ_BYTES_MAX: usize = 4096;

/// The pace of one connection.
pub(super) struct Pace {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// Until when nothing is read.
    rest: Option<Pin<Box<Sleep>>>,
}

/// A bucket that fills with time, up to what may come in a second.
struct Bucket {
    per_second: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Pace {
    /// The pace that is configured, if one is.
    pub(super) fn of(config: &MqttConfig, now: Instant) -> Option<Box<Self>> {
        let bucket = |per_second: u32| (per_second > 0).then(|| Bucket::full(per_second, now));
        let messages = bucket(config.client_messages_per_second_max);
        let bytes = bucket(config.client_bytes_per_second_max);
        let is_any = messages.is_none() && bytes.is_none();
        (!is_any).then(|| Box::new(Self { messages, bytes, rest: None }))
    }

    /// Counts what came. Says whether nothing more is to be read for a while.
    pub(super) fn count(&mut self, (messages, bytes): (usize, usize), now: Instant) -> bool {
        let take = |bucket: &mut Option<Bucket>, count: usize| {
            bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.take(count, now))
        };
        let wait = take(&mut self.messages, messages).max(take(&mut self.bytes, bytes));
        if wait.is_zero() {
            return false;
        }
        self.rest = Some(Box::pin(tokio::time::sleep_until(now + wait)));
        true
    }

    /// Whether nothing is read at present.
    pub(super) fn rests(&self) -> bool {
        self.rest.is_some()
    }

    /// The same; its task is woken when reading goes on.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(rest) = &mut self.rest
            && rest.as_mut().poll(cx).is_ready()
        {
            self.rest = None;
        }
        self.rests()
    }
}

impl Bucket {
    fn full(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, tokens: per_second, filled_at: now }
    }

    /// Takes tokens, also those that are not there; says how long it takes until they are.
    fn take(&mut self, count: usize, now: Instant) -> Duration {
        let filled = (now - self.filled_at).as_secs_f64() * self.per_second;
        #[expect(clippy::cast_precision_loss, reason = "a read has far fewer bytes than that")]
        let count = count as f64;
        self.tokens = (self.tokens + filled).min(self.per_second) - count;
        self.filled_at = now;
        Duration::from_secs_f64((-self.tokens / self.per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_may_come_at_once_and_what_is_more_is_waited_for() {
        let start = Instant::now();
        let mut bucket = Bucket::full(10, start);
        assert_eq!(bucket.take(10, start), Duration::ZERO);
        assert_eq!(bucket.take(5, start), Duration::from_millis(500));
        let later = start + Duration::from_millis(500);
        assert_eq!(bucket.take(1, later), Duration::from_millis(100));
        let much_later = start + Duration::from_mins(1);
        assert_eq!(bucket.take(20, much_later), Duration::from_secs(1));
    }
}
