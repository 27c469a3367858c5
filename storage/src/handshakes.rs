//! The exchanges under which events are taken exactly once, in memory; the journal's newest file
//! holds the same, and is where they are read from at start.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use eg_event::{Handshake, KeptSession, Owner, Sequence};

/// A packet identifier that no exchange has (MQTT 5.0 section 2.2.1): it marks a session that is
/// kept, and in place of a sequence it has the seconds that the session outlives its connection,
/// and above them whose it is.
const KEPT: u16 = 0;

/// The mark of a session that is kept, and its value.
pub(crate) fn kept(session: KeptSession) -> (Handshake, Sequence) {
    let KeptSession { client_id, owner, expiry_s } = session;
    let value = u64::from(owner.0) << 32 | u64::from(expiry_s);
    (Handshake { client_id, packet_id: KEPT }, Sequence(value))
}

/// What stands before the client identifier of an exchange on its way out: no identifier has it.
const OUTBOUND: char = '\0';

/// An exchange with a subscriber, told apart from those with publishers.
pub(crate) fn outbound(exchange: &Handshake) -> Handshake {
    let client_id = format!("{OUTBOUND}{}", exchange.client_id).into();
    Handshake { client_id, packet_id: exchange.packet_id }
}

/// Which exchanges are open, and which event each stands for.
#[derive(Debug, Default)]
pub(crate) struct OpenHandshakes {
    sessions: Mutex<HashMap<Arc<str>, BTreeMap<u16, Sequence>>>,
}

impl OpenHandshakes {
    /// Starts over from what the journal holds.
    pub(crate) fn reset(&self, open: Vec<(Handshake, Sequence)>) {
        let mut sessions: HashMap<Arc<str>, BTreeMap<u16, Sequence>> = HashMap::new();
        for (handshake, sequence) in open {
            sessions.entry(handshake.client_id).or_default().insert(handshake.packet_id, sequence);
        }
        *self.lock() = sessions;
    }

    pub(crate) fn get(&self, handshake: &Handshake) -> Option<Sequence> {
        self.lock().get(&handshake.client_id)?.get(&handshake.packet_id).copied()
    }

    pub(crate) fn open(&self, handshake: Handshake, sequence: Sequence) {
        self.lock().entry(handshake.client_id).or_default().insert(handshake.packet_id, sequence);
    }

    /// Whether it was open.
    pub(crate) fn close(&self, handshake: &Handshake) -> bool {
        let mut sessions = self.lock();
        let Some(session) = sessions.get_mut(&handshake.client_id) else {
            return false;
        };
        let was_open = session.remove(&handshake.packet_id).is_some();
        if session.is_empty() {
            sessions.remove(&handshake.client_id);
        }
        was_open
    }

    /// Closes all exchanges of a session and says which they were.
    pub(crate) fn close_session(&self, client_id: &Arc<str>) -> Vec<Handshake> {
        let session = self.lock().remove(client_id).unwrap_or_default();
        let handshake = |packet_id| Handshake { client_id: Arc::clone(client_id), packet_id };
        session.into_keys().map(handshake).collect()
    }

    pub(crate) fn of_session(&self, client_id: &str) -> Vec<u16> {
        self.lock()
            .get(client_id)
            .map(|session| session.keys().copied().filter(|packet_id| *packet_id != KEPT).collect())
            .unwrap_or_default()
    }

    /// Every session.
    pub(crate) fn sessions(&self) -> Vec<KeptSession> {
        let half = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let kept = |(client_id, session): (&Arc<str>, &BTreeMap<u16, Sequence>)| {
            let value = session.get(&KEPT).map_or(0, |value| value.0);
            let (owner, expiry_s) = (Owner(half(value >> 32)), half(value));
            KeptSession { client_id: Arc::clone(client_id), owner, expiry_s }
        };
        let sessions = self.lock();
        sessions.iter().filter(|(id, _)| !id.starts_with(OUTBOUND)).map(kept).collect()
    }

    /// Every exchange with a subscriber.
    pub(crate) fn noted(&self) -> Vec<(Handshake, Sequence)> {
        let all = self.all().into_iter();
        let outbound = all.filter_map(|(exchange, sequence)| {
            let client_id = exchange.client_id.strip_prefix(OUTBOUND)?.into();
            Some((Handshake { client_id, ..exchange }, sequence))
        });
        outbound.collect()
    }

    pub(crate) fn all(&self) -> Vec<(Handshake, Sequence)> {
        let sessions = self.lock();
        let of_session = |(client_id, session): (&Arc<str>, &BTreeMap<u16, Sequence>)| {
            let client_id = Arc::clone(client_id);
            let handshake = move |(&packet_id, &sequence): (&u16, &Sequence)| {
                (Handshake { client_id: Arc::clone(&client_id), packet_id }, sequence)
            };
            session.iter().map(handshake).collect::<Vec<_>>()
        };
        sessions.iter().flat_map(of_session).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, BTreeMap<u16, Sequence>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_with_subscribers_are_told_apart_from_those_with_publishers() {
        let handshakes = OpenHandshakes::default();
        let exchange = Handshake { client_id: "c".into(), packet_id: 7 };
        handshakes.open(exchange.clone(), Sequence(1));
        handshakes.open(outbound(&exchange), Sequence(2));
        assert_eq!(handshakes.of_session("c"), [7]);
        assert_eq!(handshakes.noted(), [(exchange.clone(), Sequence(2))]);
        assert_eq!(handshakes.sessions().len(), 1);
        assert!(handshakes.close(&outbound(&exchange)));
        assert_eq!(handshakes.get(&exchange), Some(Sequence(1)));
    }
}
