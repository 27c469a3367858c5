//! What the server says of itself under `$SYS/broker`, by the names that users of mosquitto know.
//! Only the latest values are kept, and nothing of it is in the journal.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use eg_event::event::Attributes;
use eg_event::principal::Method;
use eg_event::submission::Sender;
use eg_event::{
    Binding, CloudEvent, Data, Message, Origin, Protocol, Sequence, StoredEvent, Timestamp,
    TraceContext,
};

use crate::publication::Publication;
use crate::retained_topics::RetainedTopics;
use crate::server::Server;
use crate::topic_filter::TopicFilter;

/// What the names of these topics begin with.
const BEGIN: &str = "$SYS/broker/";
/// Marks the place of a value, where that of an event in the journal would stand.
const PLACE: u64 = 1 << 62;

/// Whether this stands for a value and not for an event of the journal.
pub(crate) fn is_system(sequence: Sequence) -> bool {
    sequence.0 & PLACE != 0
}

/// The latest value of each topic.
#[derive(Debug, Default)]
pub(crate) struct SystemTopics(RwLock<Current>);

#[derive(Debug, Default)]
struct Current {
    places: RetainedTopics<usize>,
    publications: Vec<Arc<Publication>>,
}

impl SystemTopics {
    /// Gives a topic a value; returns what is to be sent, if that is another one than before.
    fn set(&self, name: &str, value: String, now: Timestamp) -> Option<Arc<Publication>> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Current { places, publications } = &mut *current;
        let topic = format!("{BEGIN}{name}");
        let place = places.get(&topic).copied().unwrap_or(publications.len());
        let known = publications.get(place).and_then(|known| known.event.event.data());
        if known.is_some_and(|known| **known.bytes() == *value.as_bytes()) {
            return None;
        }
        let sequence = Sequence(PLACE | place as u64);
        let publication = Arc::new(Publication::of_system(stored(&topic, value, (sequence, now))));
        match publications.get_mut(place) {
            Some(known) => *known = Arc::clone(&publication),
            None => publications.push(Arc::clone(&publication)),
        }
        places.insert(&topic, place);
        Some(publication)
    }

    /// The value that `sequence` stands for, if it stands for one.
    pub(crate) fn get(&self, sequence: Sequence) -> Option<Arc<Publication>> {
        if !is_system(sequence) {
            return None;
        }
        let place = usize::try_from(sequence.0 & !PLACE).ok()?;
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        current.publications.get(place).map(Arc::clone)
    }

    /// The values whose topics `filter` stands for.
    pub(crate) fn matching(&self, filter: TopicFilter<'_>) -> Vec<Arc<Publication>> {
        let mut found = Vec::new();
        if filter.levels.starts_with('$') {
            let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
            current.places.matching(filter.levels, &mut |_, place| {
                found.extend(current.publications.get(*place).map(Arc::clone));
            });
        }
        found
    }
}

/// A value as an event that is nowhere stored.
fn stored(topic: &str, value: String, (sequence, now): (Sequence, Timestamp)) -> StoredEvent {
    let attributes = Attributes {
        id: sequence.0.to_string().into(),
        source: "/event-gateway/mqtt".into(),
        ty: "io.event-gateway.mqtt.system".into(),
        ..Attributes::default()
    };
    StoredEvent {
        sequence,
        received_at: now,
        event: CloudEvent::from_checked(attributes, Some(Data::Text(value.into()))),
        sender: Sender { name: "event-gateway".into(), method: Method::System, application: None },
        origin: Origin {
            protocol: Protocol::Mqtt5,
            binding: Binding::Mapped,
            remote: None,
            address: topic.into(),
            client_id: None,
        },
        trace: TraceContext::default(),
        held: None,
        message: Some(Box::new(Message { retain: true, ..Message::default() })),
    }
}

impl Server {
    /// Tells who subscribes to it how the server fares, at the configured interval, until the
    /// server stops.
    pub(crate) async fn tell_system_topics(&self) {
        let interval = self.0.config.sys_interval_seconds;
        if interval == 0 {
            return;
        }
        let interval = Duration::from_secs(interval.into());
        let (clock, started) = (&self.0.ports.clock, self.0.ports.clock.now());
        loop {
            let now = clock.now();
            for (name, value) in self.system_values(now.since(started)) {
                if let Some(publication) = self.0.router.system.set(name, value, now) {
                    self.0.router.announce(&publication, &self.0.counters);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.0.stop.cancelled() => return,
            }
        }
    }

    fn system_values(&self, uptime: Duration) -> Vec<(&'static str, String)> {
        let shared = &self.0;
        let counters = &shared.counters;
        let (connected, sessions) = shared.sessions.counts();
        let backlog = shared.router.backlog();
        let dropped: u64 = counters.deliveries_dropped.counts().map(|(_, count)| count).sum();
        let total = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let numbers = [
            ("clients/connected", connected as u64),
            ("clients/active", connected as u64),
            ("clients/disconnected", (sessions - connected) as u64),
            ("clients/inactive", (sessions - connected) as u64),
            ("clients/total", sessions as u64),
            ("clients/expired", total(&counters.sessions_expired)),
            ("messages/received", total(&counters.publications)),
            ("messages/sent", total(&counters.deliveries)),
            ("messages/inflight", backlog.inflight),
            ("publish/messages/received", total(&counters.publications)),
            ("publish/messages/sent", total(&counters.deliveries)),
            ("publish/messages/dropped", dropped),
            ("bytes/received", total(&counters.bytes_received)),
            ("bytes/sent", total(&counters.bytes_sent)),
            ("subscriptions/count", backlog.subscriptions),
            ("retained messages/count", backlog.retained),
            ("retained messages/bytes", backlog.retained_bytes),
            ("store/messages/count", backlog.messages + backlog.retained),
            ("store/messages/bytes", backlog.bytes + backlog.retained_bytes),
        ];
        let version = concat!("event-gateway version ", env!("CARGO_PKG_VERSION"));
        let texts =
            [("version", version.to_owned()), ("uptime", format!("{} seconds", uptime.as_secs()))];
        let numbers = numbers.into_iter().map(|(name, value)| (name, value.to_string()));
        texts.into_iter().chain(numbers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_told_when_it_changes_and_found_by_its_place_and_its_topic() {
        let topics = SystemTopics::default();
        let now = Timestamp::default();
        let first = topics.set("uptime", "1 seconds".to_owned(), now).unwrap();
        assert!(topics.set("uptime", "1 seconds".to_owned(), now).is_none());
        topics.set("version", "v".to_owned(), now).unwrap();
        let second = topics.set("uptime", "2 seconds".to_owned(), now).unwrap();
        assert_eq!(first.event.sequence, second.event.sequence);
        assert!(Arc::ptr_eq(&topics.get(first.event.sequence).unwrap(), &second));
        assert!(topics.get(Sequence(1)).is_none());
        let found = |filter| topics.matching(TopicFilter::parse(filter, 9).unwrap()).len();
        assert_eq!([found("$SYS/#"), found("$SYS/broker/uptime"), found("#")], [2, 1, 0]);
    }
}
