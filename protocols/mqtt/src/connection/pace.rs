//! How fast a client may publish: what comes faster stays in its socket, so that it is neither lost
//! nor refused, whatever its quality of service. Who connects again goes on where it was.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::config::MqttConfig;

/// How many bytes are read at once from a client that is held to a pace.
pub(super) const READ_BYTES_MAX: usize = 4096;
/// Of how many clients that are gone it is kept what they have spent.
const KEPT_CLIENTS_MAX: usize = 65_536;
/// What comes in this time may come at once.
const SAVED_UP: Duration = Duration::from_secs(1);

/// The pace of one client.
pub(crate) struct Pace {
    /// How many messages, and how many bytes, may come in a second; 0: any number.
    per_second: [u32; 2],
    spent: Spent,
    /// Until when nothing is read.
    rest: Option<Pin<Box<Sleep>>>,
}

/// What a client has sent lately, as the times at which it may send a second's worth of messages,
/// and of bytes, at once again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent([Instant; 2]);

impl Pace {
    /// The pace that is configured, if one is, of a client that has `spent` so much.
    pub(crate) fn of(config: &MqttConfig, spent: Option<Spent>, now: Instant) -> Option<Box<Self>> {
        let per_second =
            [config.client_messages_per_second_max, config.client_bytes_per_second_max];
        if per_second == [0, 0] {
            return None;
        }
        let mut pace = Self { per_second, spent: spent.unwrap_or(Spent([now; 2])), rest: None };
        pace.rest_from(now);
        Some(Box::new(pace))
    }

    /// Counts what came. Says whether nothing more is to be read for a while.
    pub(super) fn count(&mut self, (messages, bytes): (usize, usize), now: Instant) -> bool {
        let came = self.spent.0.iter_mut().zip(self.per_second).zip([messages, bytes]);
        for ((at, per_second), count) in came.filter(|((_, per_second), _)| *per_second > 0) {
            #[expect(clippy::cast_precision_loss, reason = "a read has far fewer bytes than that")]
            let count = count as f64;
            *at = now.max(*at) + Duration::from_secs_f64(count / f64::from(per_second));
        }
        self.rest_from(now)
    }

    /// Lets nothing be read until what was spent too much is made up for.
    fn rest_from(&mut self, now: Instant) -> bool {
        let debt = self.spent.end().saturating_duration_since(now).saturating_sub(SAVED_UP);
        if debt.is_zero() {
            return false;
        }
        self.rest = Some(Box::pin(tokio::time::sleep_until(now + debt)));
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

impl Spent {
    /// When nothing of it matters any more.
    fn end(self) -> Instant {
        let [messages, bytes] = self.0;
        messages.max(bytes)
    }
}

/// What those clients have spent that are gone, for as long as it matters.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_client: HashMap<Arc<str>, Spent>,
    /// In the order in which they can be let go.
    by_end: BTreeSet<(Instant, Arc<str>)>,
}

impl Paces {
    /// Keeps what a client has spent that goes.
    pub(super) fn keep(&self, client_id: &Arc<str>, pace: &Pace, now: Instant) {
        let spent = pace.spent;
        if spent.end() <= now {
            return;
        }
        let mut kept = self.lock();
        kept.let_go(now);
        kept.take(client_id);
        kept.by_end.insert((spent.end(), Arc::clone(client_id)));
        kept.by_client.insert(Arc::clone(client_id), spent);
        if kept.by_client.len() > KEPT_CLIENTS_MAX {
            kept.let_go_next();
        }
    }

    /// Takes what a client has spent that comes back.
    pub(super) fn take(&self, client_id: &str, now: Instant) -> Option<Spent> {
        let mut kept = self.lock();
        kept.let_go(now);
        kept.take(client_id)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, client_id: &str) -> Option<Spent> {
        let (client_id, spent) = self.by_client.remove_entry(client_id)?;
        self.by_end.remove(&(spent.end(), client_id));
        Some(spent)
    }

    /// Lets go what matters no more.
    fn let_go(&mut self, now: Instant) {
        while self.by_end.first().is_some_and(|(end, _)| *end <= now) {
            self.let_go_next();
        }
        if self.by_client.is_empty() {
            self.by_client.shrink_to_fit();
        }
    }

    fn let_go_next(&mut self) {
        if let Some((_, client_id)) = self.by_end.pop_first() {
            self.by_client.remove(&client_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(spent: Option<Spent>, now: Instant) -> Pace {
        let config = MqttConfig {
            client_messages_per_second_max: 10,
            client_bytes_per_second_max: 1000,
            ..MqttConfig::default()
        };
        *Pace::of(&config, spent, now).unwrap()
    }

    fn rest(pace: &Pace) -> Option<Instant> {
        pace.rest.as_ref().map(|rest| rest.deadline())
    }

    #[tokio::test]
    async fn a_second_s_worth_may_come_at_once_and_what_is_more_is_waited_for() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut pace = pace(None, start);
        assert!(!pace.count((10, 10), start));
        assert!(pace.count((5, 10), start));
        assert_eq!(rest(&pace), Some(after(500)));
        assert!(pace.count((1, 10), after(500)));
        assert_eq!(rest(&pace), Some(after(600)));
        assert!(pace.count((1, 3000), after(60_000)), "bytes count too");
        assert_eq!(rest(&pace), Some(after(62_000)));
    }

    #[tokio::test]
    async fn who_comes_back_goes_on_where_it_was_and_what_is_made_up_for_is_let_go() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let (paces, one, other): (_, Arc<str>, Arc<str>) =
            (Paces::default(), "one".into(), "other".into());
        let mut spent = pace(None, start);
        paces.keep(&one, &spent, start);
        assert_eq!(paces.take(&one, start), None, "it has spent nothing");
        spent.count((20, 0), start);
        paces.keep(&one, &spent, start);
        paces.keep(&other, &spent, start);
        let back = pace(paces.take(&one, after(200)), after(200));
        assert_eq!(rest(&back), Some(after(1000)));
        assert_eq!(paces.take(&one, after(200)), None, "it has it again");
        assert_eq!(paces.take(&other, after(2000)), None);
        let kept = paces.lock();
        assert!(kept.by_client.is_empty() && kept.by_end.is_empty());
    }

    #[tokio::test]
    async fn of_too_many_the_first_to_be_let_go_is_let_go_now() {
        let (paces, start) = (Paces::default(), Instant::now());
        let mut spent = pace(None, start);
        for number in 0..=KEPT_CLIENTS_MAX {
            spent.spent = Spent([start + Duration::from_micros(number as u64 + 1); 2]);
            paces.keep(&number.to_string().into(), &spent, start);
        }
        assert_eq!(paces.lock().by_client.len(), KEPT_CLIENTS_MAX);
        assert_eq!(paces.take("0", start), None);
        assert!(paces.take("1", start).is_some());
    }
}
