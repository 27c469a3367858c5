//! Which client has which session: one connection at a time, taken over by the latest, and
//! remembered for as long as the client asked (MQTT 5.0 section 4.1).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eg_event::{Handshakes, Refusal, Timestamp};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The sessions of one server.
pub(crate) struct Sessions {
    by_client: Mutex<HashMap<Arc<str>, Session>>,
    count_max: usize,
    handshakes: Arc<dyn Handshakes>,
}

/// A session has ended; completes when that is durable.
pub(crate) type Forgotten = BoxFuture<'static, Result<(), Refusal>>;

#[derive(Debug)]
struct Session {
    /// The connection that has it.
    seat: Option<Seat>,
    /// When it ends, once no connection has it; none: never.
    expires_at: Option<Timestamp>,
    /// A will that waits for its delay.
    waiting_will: Option<oneshot::Sender<WillFate>>,
}

/// What becomes of a will that waits for its delay.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WillFate {
    /// The client is back in the session: it is not sent.
    Cancelled,
    /// The session has ended: it is sent now.
    Due,
}

/// A connection's hold on its session.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// Cancelled when another connection takes the session over.
    pub(crate) taken_over: CancellationToken,
    /// Cancelled when this connection is done with the session.
    pub(crate) left: CancellationToken,
}

/// A session that a connection has taken.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The hold on it.
    pub(crate) seat: Seat,
    /// There was one already, and it goes on.
    pub(crate) present: bool,
    /// The connection that had it until now.
    pub(crate) previous: Option<Seat>,
}

/// There are as many sessions as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Sessions {
    /// Remembers at most `count_max` sessions.
    #[must_use]
    pub(crate) fn new(count_max: usize, handshakes: Arc<dyn Handshakes>) -> Self {
        Self { by_client: Mutex::default(), count_max, handshakes }
    }

    /// Remembers sessions from before the start, each as if its connection had just gone: who it
    /// is, and how long the session outlives that, in seconds.
    pub(crate) fn restore(&self, kept: Vec<(Arc<str>, u32)>, now: Timestamp) {
        let restored = kept.into_iter().map(|(client_id, expiry_s)| {
            let expires_at = Some(now.after(Duration::from_secs(expiry_s.into())));
            (client_id, Session { seat: None, expires_at, waiting_will: None })
        });
        self.lock().extend(restored);
    }

    /// Gives the session of `client_id` to a new connection; with `clean`, an old one ends.
    pub(crate) fn take(
        &self,
        client_id: &Arc<str>,
        clean: bool,
        now: Timestamp,
    ) -> Result<Taken, TooMany> {
        let mut sessions = self.lock();
        let old = sessions.remove(client_id);
        if old.is_none() && sessions.len() >= self.count_max {
            return Err(TooMany);
        }
        let expired =
            old.as_ref().and_then(|old| old.expires_at).is_some_and(|expiry| expiry <= now);
        let present = old.is_some() && !clean && !expired;
        let seat = Seat { taken_over: CancellationToken::new(), left: CancellationToken::new() };
        let previous = old.and_then(|old| {
            if let Some(will) = old.waiting_will {
                let fate = if present { WillFate::Cancelled } else { WillFate::Due };
                drop(will.send(fate));
            }
            old.seat
        });
        let session = Session { seat: Some(seat.clone()), expires_at: None, waiting_will: None };
        sessions.insert(Arc::clone(client_id), session);
        Ok(Taken { seat, present, previous })
    }

    /// Ends a connection's hold. The session outlives it by `expiry`; `None`: for ever. Says
    /// whether the session ends with it, which it does not when another connection has it.
    ///
    /// What ends is handed over to be forgotten while nobody else can take it, so that it is
    /// forgotten before anything of a later session of the same name is stored.
    pub(crate) fn leave(
        &self,
        client_id: &Arc<str>,
        seat: &Seat,
        expiry: Option<Duration>,
        now: Timestamp,
    ) -> Option<Forgotten> {
        let mut sessions = self.lock();
        seat.left.cancel();
        if seat.taken_over.is_cancelled() {
            return None;
        }
        if expiry == Some(Duration::ZERO) {
            sessions.remove(client_id);
            return Some(self.handshakes.forget_session(Arc::clone(client_id)));
        }
        if let Some(session) = sessions.get_mut(client_id) {
            session.seat = None;
            session.expires_at = expiry.map(|expiry| now.after(expiry));
        }
        None
    }

    /// Lets a will wait with its session; the receiver is told what becomes of it.
    pub(crate) fn let_will_wait(
        &self,
        client_id: &Arc<str>,
    ) -> Option<oneshot::Receiver<WillFate>> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(client_id)?;
        let (fate, told) = oneshot::channel();
        session.waiting_will = Some(fate);
        Some(told)
    }

    /// Ends the sessions whose time has come by `now`.
    pub(crate) fn expire(&self, now: Timestamp) -> Vec<Forgotten> {
        let mut ended = Vec::new();
        self.lock().retain(|client_id, session| {
            let over =
                session.seat.is_none() && session.expires_at.is_some_and(|expiry| expiry <= now);
            if over {
                ended.push(self.handshakes.forget_session(Arc::clone(client_id)));
                if let Some(will) = session.waiting_will.take() {
                    drop(will.send(WillFate::Due));
                }
            }
            !over
        });
        ended
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Session>> {
        self.by_client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use eg_event::Handshake;
    use futures_util::future::FutureExt as _;

    /// Remembers who was to be forgotten.
    #[derive(Default)]
    struct Kept(Mutex<Vec<Arc<str>>>);

    impl Handshakes for Kept {
        fn release(&self, _: Handshake) -> Forgotten {
            async { Ok(()) }.boxed()
        }

        fn keep_session(&self, _: Arc<str>, _: u32) -> Forgotten {
            async { Ok(()) }.boxed()
        }

        fn sessions(&self) -> Vec<(Arc<str>, u32)> {
            Vec::new()
        }

        fn forget_session(&self, client_id: Arc<str>) -> Forgotten {
            self.0.lock().unwrap().push(client_id);
            async { Ok(()) }.boxed()
        }

        fn open_in_session(&self, _: &str) -> Vec<u16> {
            Vec::new()
        }
    }

    fn sessions(sessions_max: usize) -> (Sessions, Arc<Kept>) {
        let kept = Arc::new(Kept::default());
        (Sessions::new(sessions_max, Arc::clone(&kept) as Arc<dyn Handshakes>), kept)
    }

    const START: Timestamp = Timestamp::from_micros(1_000_000);

    fn after(secs: u64) -> Timestamp {
        START.after(Duration::from_secs(secs))
    }

    #[test]
    fn the_latest_connection_has_the_session() {
        let (sessions, kept) = sessions(10);
        let client: Arc<str> = "c".into();
        let first = sessions.take(&client, true, START).unwrap();
        assert!(!first.present && first.previous.is_none());
        let second = sessions.take(&client, false, START).unwrap();
        let previous = second.previous.unwrap();
        previous.taken_over.cancel();
        assert!(first.seat.taken_over.is_cancelled() && second.present);
        assert!(sessions.leave(&client, &first.seat, Some(Duration::ZERO), START).is_none());
        assert!(second.seat.left.is_cancelled() != first.seat.left.is_cancelled());
        assert!(sessions.leave(&client, &second.seat, Some(Duration::ZERO), START).is_some());
        assert_eq!(*kept.0.lock().unwrap(), [Arc::clone(&client)]);
        assert!(!sessions.take(&client, false, START).unwrap().present);
    }

    #[test]
    fn a_session_outlives_its_connection_for_as_long_as_was_asked() {
        let (sessions, kept) = sessions(10);
        let client: Arc<str> = "c".into();
        let stay = |secs| {
            let taken = sessions.take(&client, true, START).unwrap();
            let expiry = Some(Duration::from_secs(secs));
            assert!(sessions.leave(&client, &taken.seat, expiry, START).is_none());
        };
        stay(5);
        assert!(sessions.take(&client, false, after(4)).unwrap().present);
        stay(5);
        assert!(!sessions.take(&client, false, after(5)).unwrap().present);
        stay(5);
        assert!(sessions.expire(after(4)).is_empty());
        assert_eq!(sessions.expire(after(5)).len(), 1);
        assert_eq!(*kept.0.lock().unwrap(), [Arc::clone(&client)]);
        assert!(!sessions.take(&client, false, after(5)).unwrap().present);
    }

    #[test]
    fn sessions_from_before_the_start_are_there_until_they_expire() {
        let (sessions, kept_as) = sessions(10);
        let (kept, over): (Arc<str>, Arc<str>) = ("kept".into(), "over".into());
        sessions.restore(vec![(Arc::clone(&kept), 5), (Arc::clone(&over), 0)], START);
        assert!(sessions.take(&kept, false, after(4)).unwrap().present);
        assert!(!sessions.take(&over, false, START).unwrap().present);
        sessions.restore(vec![(Arc::clone(&over), 0)], START);
        assert_eq!(sessions.expire(START).len(), 1);
        assert_eq!(*kept_as.0.lock().unwrap(), [over]);
    }

    #[test]
    fn a_waiting_will_follows_its_session() {
        let (sessions, _) = sessions(10);
        let client: Arc<str> = "c".into();
        let wait = || {
            let taken = sessions.take(&client, true, START).unwrap();
            let expiry = Some(Duration::from_secs(5));
            assert!(sessions.leave(&client, &taken.seat, expiry, START).is_none());
            sessions.let_will_wait(&client).unwrap()
        };
        let mut told = wait();
        sessions.take(&client, false, after(1)).unwrap();
        assert_eq!(told.try_recv(), Ok(WillFate::Cancelled));
        let mut told = wait();
        sessions.take(&client, true, after(1)).unwrap();
        assert_eq!(told.try_recv(), Ok(WillFate::Due));
        let mut told = wait();
        assert_eq!(sessions.expire(after(9)).len(), 1);
        assert_eq!(told.try_recv(), Ok(WillFate::Due));
    }

    #[test]
    fn there_are_only_so_many_sessions() {
        let (sessions, _) = sessions(1);
        sessions.take(&"a".into(), true, START).unwrap();
        assert_eq!(sessions.take(&"b".into(), true, START).unwrap_err(), TooMany);
        assert!(sessions.take(&"a".into(), true, START).is_ok());
    }
}
