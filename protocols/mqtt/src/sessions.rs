//! Which client has which session: one connection at a time, taken over by the latest, and
//! remembered for as long as the client asked (MQTT 5.0 section 4.1).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eg_event::Timestamp;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The sessions of one server.
#[derive(Debug)]
pub(crate) struct Sessions {
    sessions: Mutex<HashMap<Arc<str>, Session>>,
    sessions_max: usize,
}

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
    /// Remembers at most `sessions_max` sessions.
    #[must_use]
    pub(crate) fn new(sessions_max: usize) -> Self {
        Self { sessions: Mutex::default(), sessions_max }
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
        if old.is_none() && sessions.len() >= self.sessions_max {
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
    /// whether the session has ended with it, which it has not when another connection has it.
    pub(crate) fn leave(
        &self,
        client_id: &Arc<str>,
        seat: &Seat,
        expiry: Option<Duration>,
        now: Timestamp,
    ) -> bool {
        let mut sessions = self.lock();
        seat.left.cancel();
        if seat.taken_over.is_cancelled() {
            return false;
        }
        if expiry == Some(Duration::ZERO) {
            sessions.remove(client_id);
            return true;
        }
        if let Some(session) = sessions.get_mut(client_id) {
            session.seat = None;
            session.expires_at = expiry.map(|expiry| now.after(expiry));
        }
        false
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

    /// Removes the sessions that have ended by `now`, and says whose they were.
    pub(crate) fn expire(&self, now: Timestamp) -> Vec<Arc<str>> {
        let mut ended = Vec::new();
        self.lock().retain(|client_id, session| {
            let over =
                session.seat.is_none() && session.expires_at.is_some_and(|expiry| expiry <= now);
            if over {
                ended.push(Arc::clone(client_id));
                if let Some(will) = session.waiting_will.take() {
                    drop(will.send(WillFate::Due));
                }
            }
            !over
        });
        ended
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_000_000);

    fn after(secs: u64) -> Timestamp {
        START.after(Duration::from_secs(secs))
    }

    #[test]
    fn the_latest_connection_has_the_session() {
        let sessions = Sessions::new(10);
        let client: Arc<str> = "c".into();
        let first = sessions.take(&client, true, START).unwrap();
        assert!(!first.present && first.previous.is_none());
        let second = sessions.take(&client, false, START).unwrap();
        let previous = second.previous.unwrap();
        previous.taken_over.cancel();
        assert!(first.seat.taken_over.is_cancelled() && second.present);
        assert!(!sessions.leave(&client, &first.seat, Some(Duration::ZERO), START));
        assert!(second.seat.left.is_cancelled() != first.seat.left.is_cancelled());
        assert!(sessions.leave(&client, &second.seat, Some(Duration::ZERO), START));
        assert!(!sessions.take(&client, false, START).unwrap().present);
    }

    #[test]
    fn a_session_outlives_its_connection_for_as_long_as_was_asked() {
        let sessions = Sessions::new(10);
        let client: Arc<str> = "c".into();
        let stay = |secs| {
            let taken = sessions.take(&client, true, START).unwrap();
            assert!(!sessions.leave(&client, &taken.seat, Some(Duration::from_secs(secs)), START));
        };
        stay(5);
        assert!(sessions.take(&client, false, after(4)).unwrap().present);
        stay(5);
        assert!(!sessions.take(&client, false, after(5)).unwrap().present);
        stay(5);
        assert!(sessions.expire(after(4)).is_empty());
        assert_eq!(sessions.expire(after(5)), [Arc::clone(&client)]);
        assert!(!sessions.take(&client, false, after(5)).unwrap().present);
    }

    #[test]
    fn a_waiting_will_follows_its_session() {
        let sessions = Sessions::new(10);
        let client: Arc<str> = "c".into();
        let wait = || {
            let taken = sessions.take(&client, true, START).unwrap();
            sessions.leave(&client, &taken.seat, Some(Duration::from_secs(5)), START);
            sessions.let_will_wait(&client).unwrap()
        };
        let mut told = wait();
        sessions.take(&client, false, after(1)).unwrap();
        assert_eq!(told.try_recv(), Ok(WillFate::Cancelled));
        let mut told = wait();
        sessions.take(&client, true, after(1)).unwrap();
        assert_eq!(told.try_recv(), Ok(WillFate::Due));
        let mut told = wait();
        sessions.expire(after(9));
        assert_eq!(told.try_recv(), Ok(WillFate::Due));
    }

    #[test]
    fn there_are_only_so_many_sessions() {
        let sessions = Sessions::new(1);
        sessions.take(&"a".into(), true, START).unwrap();
        assert_eq!(sessions.take(&"b".into(), true, START).unwrap_err(), TooMany);
        assert!(sessions.take(&"a".into(), true, START).is_ok());
    }
}
