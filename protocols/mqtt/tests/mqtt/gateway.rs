//! An MQTT server on a free port, over a store that remembers what it was given.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eg_auth::{Authenticate, Authenticator, Live};
use eg_event::{
    Announce, Clock, CloudEvent, Feed, Grants, Handshake, Handshakes, Ingest, Ingested,
    KeptSession, KeptWill, NoChannels, Owner, Principal, Receipt, Refusal, RetainedChanges,
    RetainedStore, Scanned, Sequence, SessionChanges, SessionRows, SessionStore, StoredEvent,
    Submission, Tenant, Tenants, Timestamp, Topic, Topics, WillStore,
};
use eg_mqtt::{MqttConfig, Ports, Server};
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Takes every event and exchange, or refuses all; answers at once, or when the test says so.
#[derive(Default)]
pub(crate) struct Store {
    taken: Mutex<Vec<Submission>>,
    /// The exchanges that are open, with the receipts of their events.
    open: Mutex<BTreeMap<Handshake, Receipt>>,
    forgotten: Mutex<Vec<String>>,
    /// The sessions that are kept over a restart.
    kept: Mutex<BTreeMap<Arc<str>, KeptSession>>,
    refusal: Mutex<Option<Refusal>>,
    /// While there is a list, answers wait in it, in the order of the calls.
    held: Mutex<Option<VecDeque<oneshot::Sender<()>>>>,
    is_full: watch::Sender<bool>,
    /// Nothing of the journal can be read at present.
    is_unread: watch::Sender<bool>,
    /// Where the journal ends.
    end: watch::Sender<Sequence>,
    rows: Mutex<SessionRows>,
    /// There is no room for what sessions have.
    is_crowded: AtomicBool,
    /// How often there was none.
    turned_away: AtomicUsize,
    noted: Mutex<BTreeMap<Handshake, Sequence>>,
    /// How many events the journal has let go.
    gone: Mutex<usize>,
    announced: Mutex<Vec<CloudEvent>>,
    wills: Mutex<BTreeMap<u64, KeptWill>>,
    retained: Mutex<(Sequence, BTreeMap<Sequence, Arc<StoredEvent>>)>,
    /// The application that is registered.
    tenant: Mutex<Option<Arc<Tenant>>>,
}

impl Store {
    /// From now on every event and exchange is refused, or none.
    pub(crate) fn refuse(&self, refusal: impl Into<Option<Refusal>>) {
        *self.refusal.lock().unwrap() = refusal.into();
    }

    /// From now on no commit completes by itself.
    pub(crate) fn hold(&self) {
        self.held.lock().unwrap().get_or_insert_default();
    }

    /// Completes the commit at this place of those that wait.
    pub(crate) fn complete(&self, at: usize) {
        let waiting = self.held.lock().unwrap().as_mut().unwrap().remove(at);
        waiting.unwrap().send(()).unwrap();
    }

    /// Completes all, and holds none any more.
    pub(crate) fn complete_all(&self) {
        drop(self.held.lock().unwrap().take());
    }

    /// How many commits wait.
    pub(crate) fn waiting(&self) -> usize {
        self.held.lock().unwrap().as_ref().map_or(0, VecDeque::len)
    }

    /// Whether there is room after a refusal.
    pub(crate) fn set_full(&self, full: bool) {
        self.is_full.send_replace(full);
    }

    /// Whether the journal is read.
    pub(crate) fn set_unread(&self, unread: bool) {
        self.is_unread.send_replace(unread);
    }

    /// The journal lets go of what there is.
    pub(crate) fn let_go(&self) {
        *self.gone.lock().unwrap() = self.count();
    }

    /// How many wills are kept.
    pub(crate) fn wills(&self) -> usize {
        self.wills.lock().unwrap().len()
    }

    /// Registers an application, in place of another.
    pub(crate) fn register(&self, name: &str) -> Arc<Tenant> {
        Arc::clone(self.tenant.lock().unwrap().insert(Tenant::new(name).into()))
    }

    /// Nothing is retained, and that is written down up to the end of the journal.
    pub(crate) fn retain_nothing(&self) {
        *self.retained.lock().unwrap() = (Feed::end(self), BTreeMap::new());
    }

    /// What another server finds after a crash of this one: what is durable now.
    pub(crate) fn after_a_crash(&self) -> Arc<Self> {
        fn copy<T: Clone>(of: &Mutex<T>) -> Mutex<T> {
            Mutex::new(of.lock().unwrap().clone())
        }
        Arc::new(Self {
            taken: copy(&self.taken),
            end: watch::Sender::new(Feed::end(self)),
            kept: copy(&self.kept),
            rows: copy(&self.rows),
            noted: copy(&self.noted),
            wills: copy(&self.wills),
            retained: copy(&self.retained),
            ..Self::default()
        })
    }

    /// What the server told of its clients.
    pub(crate) fn announced(&self) -> Vec<CloudEvent> {
        self.announced.lock().unwrap().clone()
    }

    /// Takes what another store has.
    pub(crate) fn put(&self, submission: Submission) {
        self.take(submission).unwrap();
    }

    /// Whether there is room for what sessions have.
    pub(crate) fn set_crowded(&self, crowded: bool) {
        self.is_crowded.store(crowded, Ordering::Relaxed);
    }

    /// How often there was none.
    pub(crate) fn times_turned_away(&self) -> usize {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// How many rows sessions have.
    pub(crate) fn row_count(&self) -> usize {
        self.rows.lock().unwrap().rows.len()
    }

    /// How many retained messages are written down.
    pub(crate) fn retained_count(&self) -> usize {
        self.retained.lock().unwrap().1.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// Forgets what was taken.
    pub(crate) fn clear(&self) {
        self.taken.lock().unwrap().clear();
    }

    /// Forgets all but the first so many.
    pub(crate) fn clear_but(&self, count: usize) {
        self.taken.lock().unwrap().truncate(count);
    }

    pub(crate) fn taken(&self) -> Vec<Submission> {
        self.taken.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Submission {
        self.taken.lock().unwrap().last().unwrap().clone()
    }

    /// The payloads of what was taken, as text.
    pub(crate) fn payloads(&self) -> Vec<String> {
        let text = |one: &Submission| one.event.data().map(|data| data.bytes().to_vec());
        let taken = self.taken.lock().unwrap();
        taken.iter().map(|one| String::from_utf8(text(one).unwrap_or_default()).unwrap()).collect()
    }

    /// How often the exchanges of this session were closed all at once.
    pub(crate) fn times_forgotten(&self, client_id: &str) -> usize {
        self.forgotten.lock().unwrap().iter().filter(|known| *known == client_id).count()
    }

    fn take(&self, submission: Submission) -> Result<Receipt, Refusal> {
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        let mut open = self.open.lock().unwrap();
        let known = submission.handshake.as_ref().and_then(|handshake| open.get(handshake));
        if let Some(receipt) = known {
            return Ok(Receipt { duplicate: true, ..receipt.clone() });
        }
        let mut taken = self.taken.lock().unwrap();
        let event = &submission.event;
        let receipt = Receipt {
            id: event.id().into(),
            source: event.source().into(),
            sequence: Sequence(u64::try_from(taken.len()).unwrap() + 1),
            subscriptions: u32::from(event.ty() != "nobody.cares"),
            duplicate: false,
            held: false,
            deprecation: None,
        };
        if let Some(handshake) = &submission.handshake {
            open.insert(handshake.clone(), receipt.clone());
        }
        taken.push(submission);
        self.end.send_replace(Sequence(u64::try_from(taken.len()).unwrap() + 1));
        Ok(receipt)
    }

    /// Completes at once, or when the test says so.
    fn commit(&self) -> BoxFuture<'static, ()> {
        let Some(waiting) = &mut *self.held.lock().unwrap() else {
            return Box::pin(std::future::ready(()));
        };
        let (sender, receiver) = oneshot::channel();
        waiting.push_back(sender);
        Box::pin(async move { drop(receiver.await) })
    }
}

impl Ingest for Store {
    fn ingest(&self, submissions: Vec<Submission>) -> Ingested {
        let outcomes = submissions.into_iter().map(|one| self.take(one)).collect();
        let committed = self.commit();
        Box::pin(async move {
            committed.await;
            outcomes
        })
    }

    fn room(&self) -> BoxFuture<'static, ()> {
        let mut is_full = self.is_full.subscribe();
        Box::pin(async move { drop(is_full.wait_for(|full| !full).await.map(|full| *full)) })
    }
}

impl Handshakes for Store {
    fn release(&self, handshake: Handshake) -> BoxFuture<'static, Result<(), Refusal>> {
        self.open.lock().unwrap().remove(&handshake);
        let committed = self.commit();
        Box::pin(async move {
            committed.await;
            Ok(())
        })
    }

    fn owner(&self, principal: &Principal) -> Owner {
        let texts = [principal.name(), principal.application().unwrap_or_default()];
        let bytes = texts.join(" ").into_bytes();
        Owner(bytes.iter().fold(1, |sum: u32, byte| sum.wrapping_mul(31) ^ u32::from(*byte)))
    }

    fn keep_session(&self, session: KeptSession) -> BoxFuture<'static, Result<(), Refusal>> {
        self.kept.lock().unwrap().insert(Arc::clone(&session.client_id), session);
        Box::pin(std::future::ready(Ok(())))
    }

    fn sessions(&self) -> Vec<KeptSession> {
        let mut sessions = self.kept.lock().unwrap().clone();
        for Handshake { client_id, .. } in self.open.lock().unwrap().keys() {
            let client_id = Arc::clone(client_id);
            let (owner, expiry_s) = (Owner::NOBODY, 0);
            let open = KeptSession { client_id: Arc::clone(&client_id), owner, expiry_s };
            sessions.entry(client_id).or_insert(open);
        }
        sessions.into_values().collect()
    }

    fn forget_session(&self, client_id: Arc<str>) -> BoxFuture<'static, Result<(), Refusal>> {
        self.kept.lock().unwrap().remove(&client_id);
        self.open.lock().unwrap().retain(|handshake, _| handshake.client_id != client_id);
        self.forgotten.lock().unwrap().push(client_id.as_ref().to_owned());
        Box::pin(std::future::ready(Ok(())))
    }

    fn open_in_session(&self, client_id: &str) -> Vec<u16> {
        let open = self.open.lock().unwrap();
        let of_session = open.keys().filter(|handshake| &*handshake.client_id == client_id);
        of_session.map(|handshake| handshake.packet_id).collect()
    }
}

/// What was taken, as the journal would have it.
impl Feed for Store {
    fn end(&self) -> Sequence {
        Sequence(u64::try_from(self.count()).unwrap() + 1)
    }

    fn reached(&self, sequence: Sequence) -> BoxFuture<'static, ()> {
        let mut end = self.end.subscribe();
        Box::pin(async move { drop(end.wait_for(|end| *end > sequence).await.map(|end| *end)) })
    }

    fn scan_fresh(&self, from: Sequence, events_max: usize) -> Option<Vec<Arc<StoredEvent>>> {
        if *self.is_unread.borrow() {
            return None;
        }
        let taken = self.taken.lock().unwrap();
        let gone = *self.gone.lock().unwrap();
        let stored = (1..).map(Sequence).zip(&*taken).skip(gone).map(|(sequence, one)| {
            Arc::new(StoredEvent {
                sequence,
                received_at: start().now(),
                event: one.event.clone(),
                sender: one.sender(),
                origin: one.origin.clone(),
                trace: one.trace.clone(),
                held: None,
                message: one.message.clone(),
            })
        });
        Some(stored.skip_while(|one| one.sequence < from).take(events_max).collect())
    }

    fn scan(&self, from: Sequence, events_max: usize) -> Scanned {
        if let Some(found) = self.scan_fresh(from, events_max) {
            return Box::pin(std::future::ready(Ok(found)));
        }
        let mut is_unread = self.is_unread.subscribe();
        Box::pin(async move {
            drop(is_unread.wait_for(|unread| !unread).await.map(|unread| *unread));
            // Whoever reads looks again.
            Ok(Vec::new())
        })
    }

    fn get(&self, sequences: Vec<Sequence>) -> Scanned {
        let mut found = self.scan_fresh(Sequence(1), usize::MAX).unwrap_or_default();
        found.retain(|one| sequences.contains(&one.sequence));
        Box::pin(std::future::ready(Ok(found)))
    }
}

impl Tenants for Store {
    fn tenant(&self, name: &str) -> Option<Arc<Tenant>> {
        self.tenant.lock().unwrap().clone().filter(|tenant| tenant.name() == name)
    }
}

/// Everybody may subscribe to everything but what is secret.
impl Grants for Store {
    fn subscribe(&self, _: &Principal, _: &str, filter: &str) -> Result<(), Refusal> {
        if filter.starts_with("secret") { Err(Refusal::Forbidden("no".into())) } else { Ok(()) }
    }
}

impl SessionStore for Store {
    fn load(&self) -> Result<SessionRows, Refusal> {
        Ok(self.rows.lock().unwrap().clone())
    }

    fn save(&self, changes: SessionChanges) -> BoxFuture<'static, Result<(), Refusal>> {
        if self.is_crowded.load(Ordering::Relaxed) {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            let busy = Refusal::Busy { retry_after: Duration::from_secs(1) };
            return Box::pin(std::future::ready(Err(busy)));
        }
        let mut rows = self.rows.lock().unwrap();
        rows.routed = changes.routed.or(rows.routed);
        for (client_id, value) in changes.sessions {
            rows.sessions.retain(|(known, _)| **known != *client_id);
            rows.sessions.extend(value.map(|value| (client_id.to_string(), value)));
        }
        rows.rows.retain(|((number, _), _)| !changes.ended.contains(number));
        for (key, value) in changes.rows {
            rows.rows.retain(|(known, _)| *known != key);
            rows.rows.extend(value.map(|value| (key, value)));
        }
        rows.rows.sort();
        Box::pin(std::future::ready(Ok(())))
    }

    fn note(
        &self,
        exchanges: Vec<(Handshake, Option<Sequence>)>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Box::pin(std::future::ready(Err(refusal)));
        }
        let mut noted = self.noted.lock().unwrap();
        for (exchange, sequence) in exchanges {
            match sequence {
                Some(sequence) => drop(noted.insert(exchange, sequence)),
                None => drop(noted.remove(&exchange)),
            }
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn noted(&self) -> Vec<(Handshake, Sequence)> {
        self.noted.lock().unwrap().clone().into_iter().collect()
    }
}

impl WillStore for Store {
    fn load(&self) -> Result<Vec<(u64, KeptWill)>, Refusal> {
        Ok(self.wills.lock().unwrap().clone().into_iter().collect())
    }

    fn save(
        &self,
        changes: Vec<(u64, Option<KeptWill>)>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        let mut wills = self.wills.lock().unwrap();
        for (number, will) in changes {
            match will {
                Some(will) => drop(wills.insert(number, will)),
                None => drop(wills.remove(&number)),
            }
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Announce for Store {
    fn announce(&self, events: Vec<CloudEvent>) -> BoxFuture<'static, ()> {
        self.announced.lock().unwrap().extend(events);
        Box::pin(std::future::ready(()))
    }
}

impl RetainedStore for Store {
    fn load(&self, visit: &mut dyn FnMut(StoredEvent)) -> Result<Sequence, Refusal> {
        let (applied, events) = self.retained.lock().unwrap().clone();
        for event in events.into_values() {
            visit(StoredEvent::clone(&event));
        }
        Ok(applied)
    }

    fn get(&self, sequences: Vec<Sequence>) -> Scanned {
        let events = &self.retained.lock().unwrap().1;
        let found = sequences.iter().filter_map(|sequence| events.get(sequence).cloned());
        Box::pin(std::future::ready(Ok(found.collect())))
    }

    fn save(&self, changes: RetainedChanges) -> BoxFuture<'static, Result<(), Refusal>> {
        let (applied, events) = &mut *self.retained.lock().unwrap();
        *applied = changes.applied;
        events.retain(|sequence, _| !changes.gone.contains(sequence));
        events.extend(changes.kept.into_iter().map(|event| (event.sequence, event)));
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Everything came by MQTT.
struct NoTopics;

impl Topics for NoTopics {
    fn of(&self, event: &StoredEvent) -> Topic {
        Topic { name: event.origin.address.clone(), is_raw: true }
    }
}

/// A clock that is moved by hand.
pub(crate) fn start() -> Clock {
    Clock::by_hand(Timestamp::default().after(Duration::from_hours(480_000)))
}

/// What runs.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) server: Server,
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Clock,
    pub(crate) live: Live,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut MqttConfig)) -> Self {
        let mut config = MqttConfig::default();
        change(&mut config);
        Self::assemble(config, Authenticator::anonymous_on_loopback(), Arc::default()).await
    }

    pub(crate) async fn assemble(
        config: MqttConfig,
        authenticator: Authenticator,
        store: Arc<Store>,
    ) -> Self {
        let around = (start(), Live::default());
        Self::assemble_with(config, Arc::new(authenticator), store, around).await
    }

    pub(crate) async fn assemble_with(
        config: MqttConfig,
        authenticator: Arc<dyn Authenticate>,
        store: Arc<Store>,
        (clock, live): (Clock, Live),
    ) -> Self {
        let ports = Ports {
            tenants: Arc::clone(&store) as Arc<dyn Tenants>,
            ingest: Arc::clone(&store) as Arc<dyn Ingest>,
            handshakes: Arc::clone(&store) as Arc<dyn Handshakes>,
            channels: Arc::new(NoChannels),
            feed: Arc::clone(&store) as Arc<dyn Feed>,
            topics: Arc::new(NoTopics),
            grants: Arc::clone(&store) as Arc<dyn Grants>,
            sessions: Arc::clone(&store) as Arc<dyn SessionStore>,
            retained: Arc::clone(&store) as Arc<dyn RetainedStore>,
            wills: Arc::clone(&store) as Arc<dyn WillStore>,
            announce: Arc::clone(&store) as Arc<dyn Announce>,
            authenticator,
            live: live.clone(),
            clock: clock.clone(),
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let server = Server::new(config, ports, tasks.clone(), stop.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = server.clone();
        tasks.spawn(async move { serving.serve(listener).await });
        let delivering = server.clone();
        tasks.spawn(async move { delivering.deliver().await });
        Self { address, server, store, clock, live, stop, tasks }
    }

    /// What the next one is when this one crashes now.
    pub(crate) async fn after_a_crash(&self) -> Self {
        let anyone = Authenticator::anonymous_on_loopback();
        Self::assemble(MqttConfig::default(), anyone, self.store.after_a_crash()).await
    }

    /// Stops it, and starts another one on the same store.
    pub(crate) async fn restart(self) -> Self {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.server.settle().await;
        let around = (self.clock, self.live);
        let authenticator = Arc::new(Authenticator::anonymous_on_loopback());
        Self::assemble_with(MqttConfig::default(), authenticator, self.store, around).await
    }
}
