//! Which client has which session: one connection at a time, taken over by the latest, and
//! remembered for as long as the client asked (MQTT 5.0 section 4.1).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eg_event::{KeptSession, Owner, Timestamp};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::link::Link;

/// How long a session that has ended is remembered if it could not be forgotten: until the next
/// look, and no client finds it.
pub(crate) const UNTIL_THE_NEXT_LOOK: Duration = Duration::from_micros(1);

/// How long a connection whose session is taken over may take to leave it.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// The sessions of one server.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// In the order of client identifiers, so that a page of them is found.
    by_client: Mutex<BTreeMap<Arc<str>, Session>>,
    count_max: usize,
}

#[derive(Debug)]
struct Session {
    /// Whose it is.
    owner: Owner,
    /// The connection that has it.
    seat: Option<Seat>,
    /// The same, as operators see it, once it is let in.
    link: Option<Arc<Link>>,
    /// When it began; none: before the start.
    created_at: Option<Timestamp>,
    /// It ends with that connection.
    ends_with_connection: bool,
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
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat {
    /// Cancelled when another connection takes the session over.
    pub(crate) taken_over: CancellationToken,
    /// Cancelled when this connection is done with the session, or nobody waits for that any more.
    pub(crate) left: CancellationToken,
    /// The session goes on with the connection that took it over.
    goes_on: Arc<AtomicBool>,
}

/// A session that a connection has taken.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The hold on it.
    pub(crate) seat: Seat,
    /// There was one already, and it goes on.
    pub(crate) present: bool,
    /// There was one already, and it has ended: what is left of it is to be forgotten.
    pub(crate) ended: bool,
    /// The connection that had it until now, and has been told.
    pub(crate) previous: Option<Seat>,
}

/// A session as operators see it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) client_id: Arc<str>,
    pub(crate) link: Option<Arc<Link>>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
}

/// How a connection leaves its session behind.
#[derive(Debug)]
pub(crate) enum Left {
    /// Ended.
    Over,
    /// Remembered; the will that waits with it is told here what becomes of it.
    Remembered(Option<oneshot::Receiver<WillFate>>),
    /// Another connection's; true: and it goes on there.
    TakenOver(bool),
}

/// Who wants a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimant {
    pub(crate) owner: Owner,
    /// The client identifier is the principal's own name: nobody else keeps them from it.
    pub(crate) by_name: bool,
}

/// Why a session cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// There are as many sessions as there may be.
    TooMany,
    /// It is another principal's.
    AnothersSession,
}

impl Seat {
    /// Waits until a connection whose session is taken over has left it; if that takes too long, it
    /// has nothing to do with it any more.
    pub(crate) async fn has_left(&self) {
        drop(tokio::time::timeout(LEAVE_MAX, self.left.cancelled()).await);
        self.left.cancel();
    }
}

impl Sessions {
    /// Remembers at most `count_max` sessions.
    #[must_use]
    pub(crate) fn new(count_max: usize) -> Self {
        Self { by_client: Mutex::default(), count_max }
    }

    /// Remembers sessions from before the start, each as if its connection had just gone.
    pub(crate) fn restore(&self, kept: Vec<KeptSession>, now: Timestamp) {
        let restored = kept.into_iter().map(|KeptSession { client_id, owner, expiry_s }| {
            let session = Session {
                owner,
                seat: None,
                link: None,
                created_at: None,
                ends_with_connection: false,
                expires_at: Some(now.after(Duration::from_secs(expiry_s.into()))),
                waiting_will: None,
            };
            (client_id, session)
        });
        self.lock().extend(restored);
    }

    /// Gives the session of `client_id` to a new connection, which has it for as long as it lives
    /// or longer; with `clean`, an old one ends. Another principal's is left alone, or, where the
    /// identifier is the claimant's name, ends.
    pub(crate) fn take(
        &self,
        client_id: &Arc<str>,
        claimant: Claimant,
        (clean, ends_with_connection): (bool, bool),
        now: Timestamp,
    ) -> Result<Taken, NotTaken> {
        let mut sessions = self.lock();
        let old = sessions.get(client_id);
        let is_anothers = old.is_some_and(|old| old.is_anothers_than(claimant.owner, now));
        if is_anothers && !claimant.by_name {
            return Err(NotTaken::AnothersSession);
        }
        if old.is_none() && sessions.len() >= self.count_max {
            return Err(NotTaken::TooMany);
        }
        let old = sessions.remove(client_id);
        let goes_on = old.as_ref().is_some_and(|old| old.goes_on(now));
        let present = goes_on && !clean && !is_anothers;
        let ended = old.is_some() && !present;
        let created_at = old.as_ref().filter(|_| present).map_or(Some(now), |old| old.created_at);
        let previous = old.and_then(|old| old.hand_over(present));
        let session = Session::begun(claimant.owner, ends_with_connection, created_at);
        let seat = session.seat.clone().unwrap_or_default();
        sessions.insert(Arc::clone(client_id), session);
        Ok(Taken { seat, present, ended, previous })
    }

    /// Ends a connection's hold. The session outlives it by `expiry`, and by nothing when that is
    /// zero; `None`: for ever. With `will_waits`, a will waits with a session that does.
    pub(crate) fn leave(
        &self,
        client_id: &Arc<str>,
        seat: &Seat,
        (expiry, will_waits): (Option<Duration>, bool),
        now: Timestamp,
    ) -> Left {
        let mut sessions = self.lock();
        seat.left.cancel();
        if seat.taken_over.is_cancelled() {
            return Left::TakenOver(seat.goes_on.load(Ordering::Acquire));
        }
        if expiry == Some(Duration::ZERO) {
            sessions.remove(client_id);
            return Left::Over;
        }
        let Some(session) = sessions.get_mut(client_id) else { return Left::Over };
        session.seat = None;
        session.link = None;
        session.expires_at = expiry.map(|expiry| now.after(expiry));
        let told = will_waits.then(|| {
            let (fate, told) = oneshot::channel();
            session.waiting_will = Some(fate);
            told
        });
        Left::Remembered(told)
    }

    /// How many sessions a connection has, and how many there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let sessions = self.lock();
        (sessions.values().filter(|session| session.seat.is_some()).count(), sessions.len())
    }

    /// Lets a will wait with a session that no connection has; none if there is no such session.
    pub(crate) fn wait(&self, client_id: &str) -> Option<oneshot::Receiver<WillFate>> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(client_id).filter(|session| session.seat.is_none())?;
        let (fate, told) = oneshot::channel();
        session.waiting_will = Some(fate);
        Some(told)
    }

    /// The session of a connection ends with it after all: who connects next does not find it, even
    /// before it has been left.
    pub(crate) fn end_with_connection(&self, client_id: &str, seat: &Seat) {
        let mut sessions = self.lock();
        if let Some(session) = sessions.get_mut(client_id)
            && !seat.taken_over.is_cancelled()
        {
            session.ends_with_connection = true;
        }
    }

    /// Whose sessions have ended by `now`.
    pub(crate) fn expired(&self, now: Timestamp) -> Vec<Arc<str>> {
        let sessions = self.lock();
        let ended = sessions.iter().filter(|(_, session)| session.has_expired(now));
        ended.map(|(client_id, _)| Arc::clone(client_id)).collect()
    }

    /// Takes a session that has ended, so that no connection begins one of the same client before
    /// what is left of it is forgotten; none when it has been taken already.
    pub(crate) fn take_expired(&self, client_id: &Arc<str>, now: Timestamp) -> Option<Seat> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(client_id).filter(|session| session.has_expired(now))?;
        if let Some(will) = session.waiting_will.take() {
            drop(will.send(WillFate::Due));
        }
        session.ends_with_connection = true;
        session.owner = Owner::NOBODY;
        Some(session.seat.insert(Seat::default()).clone())
    }

    /// Lets operators see the connection that has a session.
    pub(crate) fn introduce(&self, client_id: &str, seat: &Seat, link: Arc<Link>) {
        let mut sessions = self.lock();
        if let Some(session) = sessions.get_mut(client_id)
            && !seat.taken_over.is_cancelled()
        {
            session.link = Some(link);
        }
    }

    /// Takes a session in order to end it, from its connection if it has one; none if there is no
    /// such session.
    pub(crate) fn take_to_end(&self, client_id: &Arc<str>) -> Option<Taken> {
        let mut sessions = self.lock();
        let old = sessions.remove(client_id)?;
        let previous = old.hand_over(false);
        let session = Session::begun(Owner::NOBODY, true, None);
        let seat = session.seat.clone().unwrap_or_default();
        sessions.insert(Arc::clone(client_id), session);
        Some(Taken { seat, present: false, ended: true, previous })
    }

    /// One session.
    pub(crate) fn get(&self, client_id: &str) -> Option<Listed> {
        let sessions = self.lock();
        sessions.get_key_value(client_id).map(|(client_id, session)| session.listed(client_id))
    }

    /// The connection that has a session.
    pub(crate) fn seat(&self, client_id: &str) -> Option<Seat> {
        self.lock().get(client_id)?.seat.clone()
    }

    /// The connection that has the session, once it is let in.
    pub(crate) fn link(&self, client_id: &str) -> Option<Arc<Link>> {
        self.lock().get(client_id)?.link.clone()
    }

    /// The next sessions from `from` on, in the order of client identifiers: at most `count_max`.
    pub(crate) fn list(&self, from: Bound<&str>, count_max: usize) -> Vec<Listed> {
        let sessions = self.lock();
        let all = sessions.range::<str, _>((from, Bound::Unbounded)).take(count_max);
        all.map(|(client_id, session)| session.listed(client_id)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, Session>> {
        self.by_client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// One that a connection has from now on.
    fn begun(owner: Owner, ends_with_connection: bool, created_at: Option<Timestamp>) -> Self {
        Self {
            owner,
            seat: Some(Seat::default()),
            link: None,
            created_at,
            ends_with_connection,
            expires_at: None,
            waiting_will: None,
        }
    }

    fn listed(&self, client_id: &Arc<str>) -> Listed {
        Listed {
            client_id: Arc::clone(client_id),
            link: self.link.clone(),
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }

    fn has_expired(&self, now: Timestamp) -> bool {
        self.seat.is_none() && self.expires_at.is_some_and(|expiry| expiry <= now)
    }

    /// Whether it lasts, and belongs to somebody else.
    fn is_anothers_than(&self, owner: Owner, now: Timestamp) -> bool {
        let is_known = self.owner != Owner::NOBODY && owner != Owner::NOBODY;
        is_known && self.owner != owner && !self.has_expired(now)
    }

    /// Whether a connection that begins now finds it.
    fn goes_on(&self, now: Timestamp) -> bool {
        let ends = self.seat.is_some() && self.ends_with_connection;
        !ends && !self.has_expired(now)
    }

    /// Tells those who have to do with it that another connection has it, or that it has ended.
    fn hand_over(self, goes_on: bool) -> Option<Seat> {
        if let Some(will) = self.waiting_will {
            drop(will.send(if goes_on { WillFate::Cancelled } else { WillFate::Due }));
        }
        let seat = self.seat?;
        seat.goes_on.store(goes_on, Ordering::Release);
        seat.taken_over.cancel();
        Some(seat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_000_000);

    fn after(secs: u64) -> Timestamp {
        START.after(Duration::from_secs(secs))
    }

    const ANN: Claimant = Claimant { owner: Owner(1), by_name: false };
    const BOB: Claimant = Claimant { owner: Owner(2), by_name: false };
    const CLEAN: (bool, bool) = (true, false);
    const RESUME: (bool, bool) = (false, false);

    fn for_secs(secs: u64) -> (Option<Duration>, bool) {
        (Some(Duration::from_secs(secs)), false)
    }

    #[test]
    fn the_latest_connection_has_the_session() {
        let sessions = Sessions::new(10);
        let client: Arc<str> = "c".into();
        let first = sessions.take(&client, ANN, CLEAN, START).unwrap();
        assert!(!first.present && !first.ended && first.previous.is_none());
        let second = sessions.take(&client, ANN, RESUME, START).unwrap();
        assert!(first.seat.taken_over.is_cancelled() && second.present && !second.ended);
        let left = sessions.leave(&client, &first.seat, for_secs(0), START);
        assert!(matches!(left, Left::TakenOver(true)));
        assert!(second.previous.unwrap().left.is_cancelled());
        let third = sessions.take(&client, ANN, CLEAN, START).unwrap();
        assert!(!third.present && third.ended);
        let left = sessions.leave(&client, &second.seat, for_secs(0), START);
        assert!(matches!(left, Left::TakenOver(false)));
        let left = sessions.leave(&client, &third.seat, for_secs(0), START);
        assert!(matches!(left, Left::Over));
        assert!(!sessions.take(&client, ANN, RESUME, START).unwrap().present);
    }

    #[test]
    fn sessions_from_before_the_start_are_there_until_they_expire() {
        let sessions = Sessions::new(10);
        let (kept, over): (Arc<str>, Arc<str>) = ("kept".into(), "over".into());
        let session = |client_id: &Arc<str>, expiry_s| {
            let (client_id, owner) = (Arc::clone(client_id), Owner(1));
            KeptSession { client_id, owner, expiry_s }
        };
        sessions.restore(vec![session(&kept, 5), session(&over, 0)], START);
        assert_eq!(sessions.expired(START), [Arc::clone(&over)]);
        let refused = sessions.take(&kept, BOB, RESUME, after(4)).unwrap_err();
        assert_eq!(refused, NotTaken::AnothersSession);
        assert!(sessions.take(&kept, ANN, RESUME, after(4)).unwrap().present);
        let taken = sessions.take(&over, ANN, RESUME, START).unwrap();
        assert!(!taken.present && taken.ended);
    }

    #[test]
    fn a_session_that_ends_with_its_connection_is_not_taken_over() {
        let sessions = Sessions::new(10);
        let client: Arc<str> = "c".into();
        let first = sessions.take(&client, ANN, (false, true), START).unwrap();
        let second = sessions.take(&client, ANN, RESUME, START).unwrap();
        assert!(!second.present && second.ended);
        assert!(first.seat.taken_over.is_cancelled());

        // Also one that was to go on, when its client has said so since.
        sessions.end_with_connection(&client, &first.seat);
        let third = sessions.take(&client, ANN, RESUME, START).unwrap();
        assert!(third.present, "it is no longer the first one's");
        sessions.end_with_connection(&client, &third.seat);
        let fourth = sessions.take(&client, ANN, RESUME, START).unwrap();
        assert!(!fourth.present && fourth.ended);
    }

    #[test]
    fn a_session_outlives_its_connection_for_as_long_as_was_asked() {
        let sessions = Sessions::new(10);
        let client: Arc<str> = "c".into();
        let stay = |secs| {
            let taken = sessions.take(&client, ANN, CLEAN, START).unwrap();
            let left = sessions.leave(&client, &taken.seat, for_secs(secs), START);
            assert!(matches!(left, Left::Remembered(None)));
        };
        stay(5);
        assert!(sessions.take(&client, ANN, RESUME, after(4)).unwrap().present);
        stay(5);
        let late = sessions.take(&client, ANN, RESUME, after(5)).unwrap();
        assert!(!late.present && late.ended);
        stay(5);
        assert!(sessions.expired(after(4)).is_empty());
        assert_eq!(sessions.expired(after(5)), [Arc::clone(&client)]);
        let ending = sessions.take_expired(&client, after(5)).unwrap();
        assert!(sessions.take_expired(&client, after(5)).is_none());
        let next = sessions.take(&client, ANN, RESUME, after(5)).unwrap();
        assert!(!next.present && next.ended);
        assert!(matches!(
            sessions.leave(&client, &ending, for_secs(0), after(5)),
            Left::TakenOver(false)
        ));
    }

    #[test]
    fn a_waiting_will_follows_its_session() {
        let sessions = Sessions::new(10);
        let client: Arc<str> = "c".into();
        let wait = || {
            let taken = sessions.take(&client, ANN, CLEAN, START).unwrap();
            let five_secs = (Some(Duration::from_secs(5)), true);
            match sessions.leave(&client, &taken.seat, five_secs, START) {
                Left::Remembered(Some(told)) => told,
                other => panic!("{other:?}"),
            }
        };
        let mut told = wait();
        sessions.take(&client, ANN, RESUME, after(1)).unwrap();
        assert_eq!(told.try_recv(), Ok(WillFate::Cancelled));
        let mut told = wait();
        sessions.take(&client, ANN, CLEAN, after(1)).unwrap();
        assert_eq!(told.try_recv(), Ok(WillFate::Due));
        let mut told = wait();
        sessions.take_expired(&client, after(9)).unwrap();
        assert_eq!(told.try_recv(), Ok(WillFate::Due));
    }

    #[test]
    fn sessions_are_listed_in_the_order_of_client_identifiers_with_when_they_began() {
        let sessions = Sessions::new(10);
        for (client, secs) in [("b", 1), ("c", 2), ("a", 3)] {
            sessions.take(&client.into(), ANN, CLEAN, after(secs)).unwrap();
        }
        let resumed = sessions.take(&"b".into(), ANN, RESUME, after(9)).unwrap();
        sessions.leave(&"b".into(), &resumed.seat, for_secs(5), after(9));
        let listed = |from, count| {
            let shown = |one: &Listed| (one.client_id.to_string(), one.created_at, one.expires_at);
            sessions.list(from, count).iter().map(shown).collect::<Vec<_>>()
        };
        let b = ("b".to_owned(), Some(after(1)), Some(after(14)));
        assert_eq!(listed(Bound::Excluded("a"), 1), [b]);
        assert_eq!(listed(Bound::Included("a"), 9).len(), 3);
        assert_eq!(listed(Bound::Excluded("c"), 9), []);
    }

    #[test]
    fn a_session_that_is_taken_to_be_ended_is_not_found_by_who_comes_meanwhile() {
        let sessions = Sessions::new(10);
        let client: Arc<str> = "c".into();
        assert!(sessions.take_to_end(&client).is_none());
        let held = sessions.take(&client, ANN, CLEAN, START).unwrap();
        let ending = sessions.take_to_end(&client).unwrap();
        assert!(held.seat.taken_over.is_cancelled() && ending.previous.is_some());
        let next = sessions.take(&client, BOB, RESUME, START).unwrap();
        assert!(!next.present && next.ended);
        let left = sessions.leave(&client, &ending.seat, for_secs(0), START);
        assert!(matches!(left, Left::TakenOver(false)), "the next one stays");
        assert!(sessions.get(&client).is_some());
    }

    #[test]
    fn there_are_only_so_many_sessions() {
        let sessions = Sessions::new(1);
        sessions.take(&"a".into(), ANN, CLEAN, START).unwrap();
        assert_eq!(sessions.take(&"b".into(), ANN, CLEAN, START).unwrap_err(), NotTaken::TooMany);
        assert!(sessions.take(&"a".into(), ANN, CLEAN, START).is_ok());
    }

    #[test]
    fn nobody_takes_over_the_session_of_another_principal_while_it_lasts() {
        let sessions = Sessions::new(10);
        let client: Arc<str> = "c".into();
        let held = sessions.take(&client, ANN, CLEAN, START).unwrap();
        for begin in [CLEAN, RESUME] {
            let refused = sessions.take(&client, BOB, begin, START).unwrap_err();
            assert_eq!(refused, NotTaken::AnothersSession);
        }
        assert!(!held.seat.taken_over.is_cancelled());
        let left = sessions.leave(&client, &held.seat, for_secs(5), START);
        assert!(matches!(left, Left::Remembered(None)));
        assert!(sessions.take(&client, BOB, CLEAN, after(4)).is_err());
        let taken = sessions.take(&client, BOB, RESUME, after(5)).unwrap();
        assert!(!taken.present && taken.ended, "it has expired, and nothing of it is left");
    }

    #[test]
    fn a_principal_of_that_name_gets_the_identifier_and_nothing_of_the_session() {
        let sessions = Sessions::new(10);
        let client: Arc<str> = "bob".into();
        let squatter = sessions.take(&client, ANN, CLEAN, START).unwrap();
        let bob = Claimant { by_name: true, ..BOB };
        let taken = sessions.take(&client, bob, RESUME, START).unwrap();
        assert!(!taken.present && taken.ended && squatter.seat.taken_over.is_cancelled());
        assert!(sessions.take(&client, ANN, CLEAN, START).is_err());
    }
}
