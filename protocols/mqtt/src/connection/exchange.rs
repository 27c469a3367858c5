//! Packets in and answers out, on a connection that has been let in.
//!
//! All messages of one read are handed over together, and reading goes on while they are
//! committed; answers go out in the order of the packets (MQTT 5.0 section 4.6).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use eg_event::{Ingested, Receipt, Refusal, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Client;
use super::deliver::Delivery;
use super::output::Output;
use super::pace;
use super::renew::Renewal;
use crate::acknowledge::{acknowledgement, released};
use crate::codec::{Codec, Incoming, Kind, Qos, Reason, Version};
use crate::server::Server;

/// How many bytes are read at once.
const READ_BYTES: usize = 64 * 1024;
/// How many reads a connection may make before others have their turn.
const READS_PER_TURN: usize = 4;
/// How often a connection is looked at that has nothing to do, no keep alive and no end.
const IDLE_LOOK: Duration = Duration::from_hours(1);

/// A user property.
type Told = (&'static str, String);

thread_local! {
    /// What a read fills and is taken apart from before the next one: a connection that waits
    /// holds no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client said DISCONNECT; true: its will is to be published all the same.
    ByClient(bool),
    /// The client is gone without a word.
    Lost,
    /// The server ended it.
    ByServer(Reason),
    /// An operator ended it.
    ByOperator(Reason),
}

impl Ended {
    pub(super) fn sends_will(self) -> bool {
        self != Self::ByClient(false)
    }

    /// What is not answered yet is not waited for: nobody is there, or nobody is to be.
    fn is_at_once(self) -> bool {
        matches!(self, Self::Lost | Self::ByServer(Reason::AdministrativeAction))
    }
}

/// Whether something is durable.
pub(super) type Kept = BoxFuture<'static, Result<(), Refusal>>;

/// The answers that are due, in the order of the packets.
pub(super) enum Pending {
    Messages { answers: Ingested, slots: Vec<Slot> },
    Release { packet_id: u16, known: bool, answer: Kept },
    Received { packet_ids: Vec<u16>, answer: Kept },
    Subscribed { packet_id: u16, codes: Vec<u8>, text: Option<String>, answer: Kept },
    Unsubscribed { packet_id: u16, existed: Vec<bool>, answer: Kept },
}

/// One message that waits for its answer.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) qos: Qos,
    pub(super) packet_id: u16,
    /// An MQTT client subscribes to its topic.
    pub(super) is_heard: bool,
}

/// What was read with CONNECT.
#[derive(Default)]
pub(super) struct Early {
    pub(super) packets: Vec<Incoming>,
    /// What was wrong with what followed.
    pub(super) end: Option<Reason>,
    /// How many bytes that was.
    pub(super) bytes: usize,
}

/// A connection at work.
pub(super) struct Exchange<'a> {
    pub(super) server: &'a Server,
    pub(super) client: &'a mut Client,
    pub(super) codec: Codec,
    pub(super) output: Output,
    pub(super) pending: VecDeque<Pending>,
    pub(super) pending_events: usize,
    /// How many SUBSCRIBE are not answered.
    pub(super) subscribing: usize,
    /// Set when events were refused for want of room, until there is some.
    congested: Option<BoxFuture<'static, ()>>,
    /// What came right behind CONNECT, until it is taken up.
    early: Option<Box<Early>>,
    /// Set once nothing more is read.
    pub(super) ended: Option<Ended>,
    /// What is said of that, if more than the reason.
    why: Option<String>,
    /// What the client gets, once it has subscribed.
    pub(super) delivery: Option<Box<Delivery>>,
    /// The client takes no more bytes at present.
    pub(super) is_blocked: bool,
    /// Whether the client authenticates again.
    pub(super) renewal: Renewal,
    /// Completes when what the client was recognized by is revoked.
    pub(super) revoked: BoxFuture<'static, ()>,
    last_read: Instant,
    /// When something last moved of what waits to be sent or answered.
    last_progress: Instant,
    /// Whether anything waited, and whether the client was held back, when that was last noted.
    noted: (bool, bool),
    timer: Pin<Box<Sleep>>,
    taken_over: Pin<Box<WaitForCancellationFutureOwned>>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Early {
    fn is_any(&self) -> bool {
        !self.packets.is_empty() || self.end.is_some()
    }
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        server: &'a Server,
        client: &'a mut Client,
        (codec, output): (Codec, Output),
        early: Early,
    ) -> Self {
        let now = Instant::now();
        let taken_over = Box::pin(client.seat.taken_over.clone().cancelled_owned());
        let stopped = Box::pin(server.0.stop.clone().cancelled_owned());
        let revoked = client.identity.revoked();
        let delivery = client.subscriber.take().map(|one| Box::new(Delivery::new(one)));
        let mut exchange = Self {
            server,
            client,
            codec,
            output,
            pending: VecDeque::new(),
            pending_events: 0,
            subscribing: 0,
            congested: None,
            early: early.is_any().then(|| Box::new(early)),
            ended: None,
            why: None,
            delivery,
            is_blocked: false,
            renewal: Renewal::default(),
            revoked,
            last_read: now,
            last_progress: now,
            noted: (false, false),
            timer: Box::pin(tokio::time::sleep_until(now)),
            taken_over,
            stopped,
        };
        exchange.look_again();
        exchange
    }

    pub(super) fn into_output(self) -> Output {
        self.output
    }

    /// Works until the connection has ended and what was read is answered.
    pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(&mut self, io: &mut S) -> Ended {
        std::future::poll_fn(|cx| self.poll(io, cx)).await
    }

    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<Ended> {
        self.poll_signals(cx);
        for _ in 0..READS_PER_TURN {
            self.poll_renewal(cx);
            self.poll_answers(cx);
            let was_full = self.is_output_full();
            let delivers = self.poll_deliver(cx);
            if self.poll_send(io, cx).is_err() {
                self.end(Ended::Lost);
                return Poll::Ready(Ended::Lost);
            }
            if let Some(ended) = self.ended {
                if self.pending.is_empty() || ended.is_at_once() {
                    self.say_goodbye(ended);
                    return Poll::Ready(ended);
                }
                return self.poll_timer(cx);
            }
            let is_read =
                self.may_read(cx) && (self.take_early() || self.poll_read(io, cx).is_ready());
            let may_deliver = was_full && !self.is_output_full();
            if !is_read && !delivers && !may_deliver {
                return self.poll_timer(cx);
            }
        }
        cx.waker().wake_by_ref();
        self.poll_timer(cx)
    }

    /// Sends what there is, as far as the client takes it.
    fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> std::io::Result<()> {
        let unsent = self.output.unsent();
        let sent = self.output.poll_send(io, cx);
        self.is_blocked = sent.is_pending();
        if self.output.unsent() < unsent {
            let sent = (unsent - self.output.unsent()) as u64;
            self.server.0.counters.bytes_sent.fetch_add(sent, Ordering::Relaxed);
            self.client.link.bytes_sent.fetch_add(sent, Ordering::Relaxed);
            self.last_progress = Instant::now();
        }
        if let Poll::Ready(sent) = sent { sent } else { Ok(()) }
    }

    /// The end that comes from elsewhere: another connection, an operator, or the server's own.
    fn poll_signals(&mut self, cx: &mut Context<'_>) {
        if self.ended.is_some() {
            return;
        }
        if let Some(reason) = self.client.link.poll_end(cx) {
            self.end(Ended::ByOperator(reason));
        } else if self.taken_over.as_mut().poll(cx).is_ready() {
            self.end_for(Reason::SessionTakenOver);
        } else if self.revoked.poll_unpin(cx).is_ready() {
            self.end_for(Reason::AdministrativeAction);
        } else if self.stopped.as_mut().poll(cx).is_ready() {
            self.end_for(Reason::ShuttingDown);
        }
    }

    /// Ends a connection whose credential holds no more: whatever else it sends is not taken.
    pub(super) fn end_if_over(&mut self, now: Timestamp) {
        if self.client.identity.is_revoked() {
            self.end_for(Reason::AdministrativeAction);
        } else if self.client.identity.expires_in(now) == Some(Duration::ZERO) {
            self.end_for(Reason::MaximumConnectTime);
        }
    }

    /// Writes the answers that have come, in order.
    fn poll_answers(&mut self, cx: &mut Context<'_>) {
        while let Some(front) = self.pending.front_mut() {
            match front {
                Pending::Messages { answers, slots } => {
                    let Poll::Ready(answers) = answers.poll_unpin(cx) else { return };
                    let slots = std::mem::take(slots);
                    self.pending.pop_front();
                    self.pending_events -= slots.len();
                    let warning = self.expiry_warning();
                    for (slot, answer) in slots.into_iter().zip(&answers) {
                        self.answer(slot, answer, warning.as_ref());
                    }
                }
                Pending::Release { answer, .. }
                | Pending::Received { answer, .. }
                | Pending::Subscribed { answer, .. }
                | Pending::Unsubscribed { answer, .. } => {
                    let Poll::Ready(answer) = answer.poll_unpin(cx) else { return };
                    match (self.pending.pop_front(), answer) {
                        (Some(kept), Ok(())) => self.answer_kept(kept),
                        // Not durable, and not said to be: the client asks again.
                        _ => self.end_for(Reason::QuotaExceeded),
                    }
                }
            }
            self.last_progress = Instant::now();
        }
    }

    /// Answers what is durable.
    fn answer_kept(&mut self, kept: Pending) {
        let out = self.output.buffer();
        match kept {
            Pending::Release { packet_id, known, .. } => {
                let told = released(known, self.client.resumes);
                self.codec.acknowledge(Kind::Pubcomp, packet_id, &told, out);
            }
            Pending::Received { packet_ids, .. } => {
                for packet_id in packet_ids {
                    self.codec.release(packet_id, false, out);
                }
            }
            Pending::Subscribed { packet_id, codes, text, .. } => {
                self.subscribing -= 1;
                self.codec.suback(packet_id, &codes, text.as_deref(), out);
            }
            Pending::Unsubscribed { packet_id, existed, .. } => {
                self.codec.unsuback(packet_id, &existed, out);
            }
            Pending::Messages { .. } => {}
        }
    }

    /// What a client is told when its credential is about to expire.
    fn expiry_warning(&self) -> Option<Told> {
        let warning = Duration::from_secs(self.server.0.config.expiry_warning_seconds.into());
        let now = self.server.0.ports.clock.now();
        let is_near = self.client.identity.expires_in(now).is_some_and(|left| left < warning);
        if is_near { self.client.identity.told_expiry(now) } else { None }
    }

    fn answer(&mut self, slot: Slot, answer: &Result<Receipt, Refusal>, warning: Option<&Told>) {
        if let Err(refusal) = answer {
            if matches!(refusal, Refusal::Busy { .. } | Refusal::Unavailable { .. }) {
                self.congested.get_or_insert_with(|| self.server.0.ports.ingest.room());
            }
            if slot.qos == Qos::AtMostOnce {
                self.server.0.counters.messages_dropped.fetch_add(1, Ordering::Relaxed);
            } else if self.client.version == Version::V311 {
                // 3.1.1 knows only yes and silence, and a yes would not be true.
                tracing::warn!(client_id = &*self.client.id, %refusal, "a message was refused");
                return self.end_for(Reason::QuotaExceeded);
            }
        }
        let kind = match slot.qos {
            Qos::AtMostOnce => return,
            Qos::AtLeastOnce => Kind::Puback,
            Qos::ExactlyOnce => Kind::Pubrec,
        };
        let mut told = acknowledgement(answer, slot.is_heard);
        told.properties.extend(warning.cloned());
        self.codec.acknowledge(kind, slot.packet_id, &told, self.output.buffer());
    }

    /// Whether more may be read, or what waits has to go first.
    fn may_read(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(room) = &mut self.congested {
            if room.poll_unpin(cx).is_pending() {
                return false;
            }
            self.congested = None;
        }
        if self.client.pace.as_mut().is_some_and(|pace| pace.poll_rest(cx)) {
            return false;
        }
        !self.is_held_back()
    }

    /// Whether what waits has to go before more is read.
    fn is_held_back(&self) -> bool {
        let config = &self.server.0.config;
        let pending_max = usize::try_from(config.pending_events_max).unwrap_or(usize::MAX);
        let output_max = usize::try_from(config.output_bytes_max).unwrap_or(usize::MAX);
        self.congested.is_some()
            || self.client.pace.as_ref().is_some_and(|pace| pace.rests())
            || self.pending_events >= pending_max
            || self.output.unsent() >= output_max
    }

    /// Takes up what was read with CONNECT; says whether there was anything.
    fn take_early(&mut self) -> bool {
        let Some(early) = self.early.take() else { return false };
        self.keep_pace(&early.packets, early.bytes);
        self.handle(early.packets, early.end);
        true
    }

    fn poll_read<S: AsyncRead + Unpin>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            let is_paced = self.client.pace.is_some();
            let bytes_max = if is_paced { pace::READ_BYTES_MAX } else { READ_BYTES };
            let mut buffer = ReadBuf::new(&mut scratch[..bytes_max]);
            match Pin::new(io).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => self.end(Ended::Lost),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => self.end(Ended::Lost),
                Poll::Ready(Ok(())) => {
                    self.last_read = Instant::now();
                    let received = buffer.filled().len() as u64;
                    let counters = &self.server.0.counters;
                    counters.bytes_received.fetch_add(received, Ordering::Relaxed);
                    self.client.link.bytes_received.fetch_add(received, Ordering::Relaxed);
                    let read = self.codec.read(buffer.filled(), self.output.buffer());
                    self.keep_pace(&read.packets, buffer.filled().len());
                    self.handle(read.packets, read.end);
                }
            }
            Poll::Ready(())
        })
    }

    /// Lets a client rest that has published faster than it may.
    fn keep_pace(&mut self, packets: &[Incoming], bytes: usize) {
        let Some(pace) = &mut self.client.pace else { return };
        let messages = packets.iter().filter(|one| matches!(one, Incoming::Publish(_))).count();
        if pace.count((messages, bytes), self.last_read) {
            self.server.0.counters.reading_paused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads nothing more. The first reason counts.
    pub(super) fn end(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
    }

    /// The same, by the server.
    pub(super) fn end_for(&mut self, reason: Reason) {
        self.end(Ended::ByServer(reason));
    }

    /// The same, and the client is told more than the reason.
    pub(super) fn end_because(&mut self, reason: Reason, why: String) {
        if self.ended.is_none() {
            self.why = Some(why);
        }
        self.end_for(reason);
    }

    /// Whether the end has come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Tells the client why the server ends the connection.
    fn say_goodbye(&mut self, ended: Ended) {
        let counters = &self.server.0.counters;
        let (reason, text) = match ended {
            Ended::ByServer(reason) => {
                counters.connections_ended.add(reason);
                (reason, self.why.as_deref().unwrap_or_else(|| reason.text()))
            }
            Ended::ByOperator(reason) => {
                counters.connections_ended_by_operators.fetch_add(1, Ordering::Relaxed);
                (reason, "an operator has ended the connection")
            }
            Ended::ByClient(_) | Ended::Lost => return,
        };
        tracing::debug!(client_id = &*self.client.id, ?reason, text, "a connection is ended");
        self.codec.disconnect(reason, text, self.output.buffer());
    }

    /// Looks at what has taken too long, and sets the timer for the next look.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        self.note_what_waits();
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let silent = self.silent_at().is_some_and(|at| at <= now);
            if self.is_stalled(now) {
                // What was handed over is stored or not, and the client will ask again.
                let stalled = Ended::ByServer(Reason::QuotaExceeded);
                let ended = *self.ended.get_or_insert(stalled);
                self.say_goodbye(ended);
                return Poll::Ready(ended);
            }
            if self.ended.is_none() {
                self.end_if_over(self.server.0.ports.clock.now());
                if silent {
                    self.end_for(Reason::KeepAliveTimeout);
                }
                if self.ended.is_some() {
                    cx.waker().wake_by_ref();
                }
            }
            let next = self.next_look(now).max(now + Duration::from_millis(10));
            self.timer.as_mut().reset(next);
        }
        Poll::Pending
    }

    /// When the client will have been silent for too long: never while it is not listened to.
    fn silent_at(&self) -> Option<Instant> {
        let keep_alive = self.client.keep_alive.filter(|_| !self.is_held_back());
        keep_alive.map(|max| self.last_read + max)
    }

    /// Whether something waits to be answered, sent or taken.
    fn waits(&self) -> bool {
        !self.pending.is_empty() || self.output.unsent() > 0 || self.congested.is_some()
    }

    fn is_stalled(&self, now: Instant) -> bool {
        self.waits() && now - self.last_progress >= self.stall_max()
    }

    fn stall_max(&self) -> Duration {
        Duration::from_secs(self.server.0.config.stall_seconds_max.into())
    }

    /// When its credential will have expired, if nothing was ended before.
    fn expires_at(&self, now: Instant) -> Option<Instant> {
        let left = self.client.identity.expires_in(self.server.0.ports.clock.now())?;
        self.ended.is_none().then_some(now + left.min(IDLE_LOOK))
    }

    /// The next look is when the client will have been silent for too long, when its credential
    /// expires, or in a while to see whether something is stuck.
    fn next_look(&self, now: Instant) -> Instant {
        let stalled = self.last_progress.max(now) + self.stall_max();
        let stalled = self.waits().then_some(stalled);
        let reasons = [self.silent_at(), stalled, self.expires_at(now)];
        reasons.into_iter().flatten().min().unwrap_or(now + IDLE_LOOK)
    }

    /// Sets the timer after what it looks at has changed.
    pub(super) fn look_again(&mut self) {
        let next = self.next_look(Instant::now());
        self.timer.as_mut().reset(next);
    }

    /// Notes that something began to wait, or that the client is listened to again, so that the
    /// time of either is counted from now.
    fn note_what_waits(&mut self) {
        let noted = (self.waits(), self.is_held_back());
        if noted == self.noted {
            return;
        }
        let now = Instant::now();
        if noted.0 && !self.noted.0 {
            self.last_progress = now;
        }
        if self.noted.1 && !noted.1 {
            self.last_read = now;
        }
        self.noted = noted;
        let next = self.next_look(now);
        if self.timer.deadline() > next {
            self.timer.as_mut().reset(next);
        }
    }
}
