//! What sessions have, on the disk: subscriptions before their client is told, everything else
//! now and then. A crash repeats what was sent with QoS 1 since, and nothing of QoS 2, whose
//! exchanges are noted one by one.
//!
//! The rows are described in `storage/DESIGN.md`, chapter "Sessions".

mod rows;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eg_event::{Refusal, Sequence, SessionChanges, SessionRows, SessionStore};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio_util::sync::CancellationToken;

use self::rows::{Damaged, NOT_NOTED, ROW_REFERENCES, STATE_ROW, SavedSession, State};
use crate::codec::Qos;
use crate::connection::{NOTED, RELEASED};
use crate::inflight::Step;
use crate::queue::{Flags, Reference};
use crate::router::Router;
use crate::subscriber::{Inbox, Saved, Subscriber};

/// How often what has changed is written down.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(200);

/// Completes once what was handed over is durable.
type Saving = BoxFuture<'static, Result<(), Refusal>>;

/// Keeps what sessions have.
pub(crate) struct Keeper {
    store: Arc<dyn SessionStore>,
    /// Of what was routed before this, every session has on the disk what concerns it.
    kept_to: AtomicU64,
    /// Held from looking at a session until what was seen is handed over, so that nothing older is
    /// written after it. Taken before any inbox.
    saving: Mutex<()>,
}

impl Keeper {
    pub(crate) fn new(store: Arc<dyn SessionStore>) -> Self {
        Self { store, kept_to: AtomicU64::default(), saving: Mutex::default() }
    }

    fn saving(&self) -> MutexGuard<'_, ()> {
        self.saving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what sessions had, of those clients that still have one.
    pub(crate) fn restore(&self, router: &Router, kept: &HashSet<Arc<str>>) -> Result<(), Refusal> {
        let SessionRows { routed, sessions, rows } = self.store.load()?;
        let mut of_session: HashMap<u64, Vec<(u64, Vec<u8>)>> = HashMap::new();
        for ((number, row), value) in rows {
            of_session.entry(number).or_default().push((row, value));
        }
        let mut noted: HashMap<Arc<str>, BTreeMap<u16, Sequence>> = HashMap::new();
        for (exchange, sequence) in self.store.noted() {
            noted.entry(exchange.client_id).or_default().insert(exchange.packet_id, sequence);
        }
        let mut gone = SessionChanges::default();
        for (client_id, value) in sessions {
            let client_id: Arc<str> = client_id.into();
            let mut session =
                rows::session_of(&value).map_err(|damaged| unreadable(&client_id, damaged))?;
            router.next_number.fetch_max(session.number + 1, Ordering::Relaxed);
            if !kept.contains(&client_id) {
                gone.ended.push(session.number);
                gone.sessions.push((client_id, None));
                continue;
            }
            let rows = of_session.remove(&session.number).unwrap_or_default();
            let noted = noted.remove(&client_id).unwrap_or_default();
            let number = session.number;
            let before = std::mem::take(&mut session.before);
            let inbox = inbox_of(session, &rows, &noted);
            let inbox = inbox.map_err(|damaged| unreadable(&client_id, damaged))?;
            router.restore(Arc::new(Subscriber::new(client_id, number, inbox)), before);
        }
        for number in of_session.into_keys() {
            // Rows that nobody has: their number is not given to another before they are gone.
            router.next_number.fetch_max(number + 1, Ordering::Relaxed);
            gone.ended.push(number);
        }
        if let Some(routed) = routed {
            router.begin_at(routed.min(router.feed.end()));
        }
        self.kept_to.store(router.routed().0, Ordering::Release);
        if !gone.is_empty() {
            drop(self.store.save(gone));
        }
        Ok(())
    }

    /// Makes the subscriptions of a session durable, if it is kept.
    pub(crate) fn keep(
        &self,
        router: &Router,
        subscriber: &Arc<Subscriber>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        let _saving = self.saving();
        let kept_to = Sequence(self.kept_to.load(Ordering::Acquire));
        // Others may not have on the disk what has been routed since.
        let mut changes = SessionChanges { routed: Some(kept_to), ..Default::default() };
        let saved = {
            let mut inbox = subscriber.inbox();
            if !inbox.is_kept {
                return ready(Ok(())).boxed();
            }
            let before = router.option_changes.before(subscriber, kept_to);
            let value = rows::session(subscriber.number, &inbox.subscriptions, &before);
            changes.sessions.push((Arc::clone(&subscriber.client_id), Some(value)));
            let saved = inbox.saved;
            inbox.saved.exists = true;
            write(subscriber.number, &mut inbox, &mut changes);
            saved
        };
        let (saving, _) = self.hand_over(router, changes, vec![(Arc::clone(subscriber), saved)]);
        saving
    }

    /// Hands over what was seen of sessions, each with how much of it was on the disk before. Says
    /// whether it was taken: if there was no room, it is as if nothing had been seen.
    fn hand_over(
        &self,
        router: &Router,
        changes: SessionChanges,
        seen: Vec<(Arc<Subscriber>, Saved)>,
    ) -> (Saving, bool) {
        let mut saving = self.store.save(changes);
        let refusal = match (&mut saving).now_or_never() {
            None => return (saving, true),
            Some(Ok(())) => return (ready(Ok(())).boxed(), true),
            Some(Err(refusal)) => refusal,
        };
        for (subscriber, saved) in seen {
            let mut inbox = subscriber.inbox();
            inbox.saved = Saved { is_dirty: false, ..saved };
            router.note_change(&subscriber, &mut inbox);
        }
        (ready(Err(refusal)).boxed(), false)
    }

    /// Forgets what a session had. Durable once the future completes.
    pub(crate) fn forget(
        &self,
        subscriber: &Arc<Subscriber>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        let _saving = self.saving();
        let mut inbox = subscriber.inbox();
        inbox.is_kept = false;
        if !std::mem::take(&mut inbox.saved).exists {
            return ready(Ok(())).boxed();
        }
        self.store.save(SessionChanges {
            sessions: vec![(Arc::clone(&subscriber.client_id), None)],
            ended: vec![subscriber.number],
            ..SessionChanges::default()
        })
    }

    /// Writes down what has changed, every now and then, until `stop`.
    pub(crate) async fn run(&self, router: &Router, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(CHECKPOINT_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
            self.checkpoint(router).await;
        }
    }

    /// Writes down what has changed.
    pub(crate) async fn checkpoint(&self, router: &Router) {
        let (saved, noted) = self.begin_checkpoint(router);
        if let Err(refusal) = saved.await {
            tracing::warn!(%refusal, "what MQTT sessions have could not be written down yet");
        }
        // Not noted, it is released once more after a restart, and that is all.
        drop(noted.await);
    }

    /// Hands over what has changed, and which exchanges are over.
    fn begin_checkpoint(&self, router: &Router) -> (Saving, Saving) {
        let _saving = self.saving();
        // What is routed from here on is matched again after a crash, and known by then.
        let position = router.routed();
        let touched =
            std::mem::take(&mut *router.changed.lock().unwrap_or_else(PoisonError::into_inner));
        if touched.is_empty() {
            router.option_changes.let_go(position);
            self.kept_to.store(position.0, Ordering::Release);
            return (ready(Ok(())).boxed(), ready(Ok(())).boxed());
        }
        let mut changes = SessionChanges { routed: Some(position), ..SessionChanges::default() };
        let (mut over, mut seen) = (Vec::new(), Vec::new());
        for subscriber in touched {
            let mut inbox = subscriber.inbox();
            if !inbox.is_kept || !inbox.saved.exists {
                inbox.saved.is_dirty = false;
                continue;
            }
            let client_id = &subscriber.client_id;
            over.extend(std::mem::take(&mut inbox.over).into_iter().map(|packet_id| {
                let client_id = Arc::clone(client_id);
                (eg_event::Handshake { client_id, packet_id }, None)
            }));
            let saved = inbox.saved;
            write(subscriber.number, &mut inbox, &mut changes);
            drop(inbox);
            seen.push((subscriber, saved));
        }
        let noted = if over.is_empty() { ready(Ok(())).boxed() } else { self.store.note(over) };
        let (saved, is_taken) = self.hand_over(router, changes, seen);
        if is_taken {
            // What is saved from here on becomes durable after this.
            router.option_changes.let_go(position);
            self.kept_to.store(position.0, Ordering::Release);
        }
        (saved, noted)
    }
}

fn unreadable(client_id: &str, damaged: Damaged) -> Refusal {
    tracing::error!(client_id, damaged = damaged.0, "an MQTT session cannot be read");
    Refusal::Unavailable {
        reason: format!("the MQTT session of {client_id:?}: {}", damaged.0).into(),
        retry_after: Duration::from_secs(1),
    }
}

/// Adds what has changed of a session.
fn write(number: u64, inbox: &mut Inbox, changes: &mut SessionChanges) {
    let (head, end) = (inbox.queue.head, inbox.queue.end());
    let (first, behind) = inbox.saved.rows;
    let gone = (first / ROW_REFERENCES..head / ROW_REFERENCES).filter(|_| behind > first);
    changes.rows.extend(gone.map(|row| ((number, row), None)));
    let mut rest = inbox.queue.from(behind.max(head) / ROW_REFERENCES * ROW_REFERENCES).peekable();
    while let Some((place, _)) = rest.peek().copied() {
        let row = place / ROW_REFERENCES;
        let of_row = std::iter::from_fn(|| rest.next_if(|(at, _)| at / ROW_REFERENCES == row));
        let value = rows::references(place, of_row.map(|(_, reference)| *reference));
        changes.rows.push(((number, row), Some(value)));
    }
    let state = State {
        head,
        seen: inbox.queue.before_open().unwrap_or(inbox.seen).max(inbox.restored),
        labels: &inbox.labels,
        inflight: inbox.inflight.open().copied().collect(),
    };
    changes.rows.push(((number, STATE_ROW), Some(rows::state(&state))));
    // Of the row that `head` is in something may be left, which goes with it.
    let rows = (head / ROW_REFERENCES * ROW_REFERENCES, end);
    inbox.saved = Saved { is_dirty: false, exists: true, rows };
}

/// What a session has, from its rows and from what is noted of its exchanges.
fn inbox_of(
    session: SavedSession,
    rows: &[(u64, Vec<u8>)],
    noted: &BTreeMap<u16, Sequence>,
) -> Result<Inbox, Damaged> {
    let state = rows.iter().find(|(row, _)| *row == STATE_ROW);
    let state = state.map(|(_, value)| rows::state_of(value)).transpose()?.unwrap_or_default();
    let mut inbox = Inbox {
        subscriptions: session.subscriptions,
        labels: state.labels,
        is_kept: true,
        seen: state.seen,
        restored: state.seen,
        noted: noted.get(&NOTED).copied().unwrap_or_default(),
        ..Inbox::default()
    };
    inbox.queue.head = state.head;
    // What was not noted was not sent either: unless that was done since, it goes out first.
    let mut waiting: Vec<Reference> = not_noted(&state.inflight).collect();
    let (mut first, mut behind) = (state.head, state.head);
    for (row, value) in rows.iter().filter(|(row, _)| *row != STATE_ROW) {
        let (place, references) = rows::references_of(value)?;
        first = first.min(row * ROW_REFERENCES);
        behind = behind.max(place + references.len() as u64);
        let placed = (place..).zip(references).filter(|(place, _)| *place >= state.head);
        waiting.extend(placed.map(|(_, reference)| reference));
    }
    restore_inflight(&mut inbox, &state.inflight, (&waiting, noted));
    let under_way: HashSet<Sequence> =
        inbox.inflight.open().map(|sent| sent.reference.sequence).collect();
    for reference in waiting {
        let exactly_once = reference.flags.qos() == Qos::ExactlyOnce;
        let is_ordered = !reference.flags.is_late() && reference.group == 0;
        let was_handed_out = is_ordered && reference.sequence <= inbox.noted;
        if exactly_once && (was_handed_out || under_way.contains(&reference.sequence)) {
            continue;
        }
        inbox.queue.restore(reference);
    }
    // Whatever is on the disk is written anew at the next change.
    inbox.saved = Saved { is_dirty: false, exists: true, rows: (first, first.max(behind)) };
    inbox.queue.renumber(behind);
    Ok(inbox)
}

/// What was taken to be sent with QoS 2 when its exchange was not noted.
fn not_noted(written: &[(u16, Reference)]) -> impl Iterator<Item = Reference> {
    let not_noted = written.iter().filter(|(packet_id, _)| *packet_id == NOT_NOTED);
    not_noted.map(|(_, reference)| *reference)
}

/// Puts back what was under way: QoS 1 as it was written down, QoS 2 as it was noted.
fn restore_inflight(
    inbox: &mut Inbox,
    written: &[(u16, Reference)],
    (waiting, noted): (&[Reference], &BTreeMap<u16, Sequence>),
) {
    let mut all: Vec<(Reference, u16, Step)> = Vec::new();
    let at_least_once = |reference: &Reference| reference.flags.qos() == Qos::AtLeastOnce;
    for (packet_id, reference) in written.iter().filter(|(_, reference)| at_least_once(reference)) {
        if !noted.contains_key(packet_id) {
            all.push((*reference, *packet_id, Step::Published));
        }
    }
    for (packet_id, value) in noted.iter().filter(|(packet_id, _)| **packet_id != NOTED) {
        let sequence = Sequence(value.0 & !RELEASED);
        let step = if value.0 & RELEASED == 0 { Step::Published } else { Step::Released };
        let written = written.iter().map(|(_, reference)| reference);
        let known = written.chain(waiting).find(|known| known.sequence == sequence).copied();
        let reference = known.unwrap_or_else(|| Reference {
            sequence,
            bytes: 0,
            identifiers: 0,
            group: 0,
            flags: Flags::new(Qos::ExactlyOnce, false),
        });
        all.push((reference, *packet_id, step));
    }
    all.sort_by_key(|(reference, ..)| reference.sequence);
    for (reference, packet_id, step) in all {
        inbox.inflight.restore(reference, packet_id, step);
    }
}
