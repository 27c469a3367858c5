//! Messages on their way to a subscriber: taken from what waits for it, within its flow control
//! (MQTT 5.0 section 4.9), and written in their order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use eg_event::{Handshake, Refusal, Sequence, StoredEvent, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _};

use super::exchange::{Exchange, Pending};
use crate::codec::{Ack, Head, Qos, Reason};
use crate::counters::Dropped;
use crate::inflight::{Acknowledged, Sent, Step};
use crate::publication::Publication;
use crate::queue::Reference;
use crate::subscriber::{Inbox, Subscriber};

/// How many messages are taken at once, and how many bytes of them.
const TAKEN_MAX: usize = 256;
const TAKEN_BYTES_MAX: u64 = 32 * 1024;
/// How many bytes may wait to be sent while messages are added.
const OUTPUT_BYTES_MAX: usize = 32 * 1024;

/// The packet identifier under which it is noted how far messages have been handed out; no message
/// has it.
pub(crate) const NOTED: u16 = 0;
/// Marks an exchange of QoS 2 whose PUBREC has come, in what is noted of it.
pub(crate) const RELEASED: u64 = 1 << 63;

/// What a connection delivers from.
pub(super) struct Delivery {
    pub(super) subscriber: Arc<Subscriber>,
    /// What was taken and is being made ready.
    preparing: Option<Preparing>,
    /// PUBREC that have come and are not noted.
    received: Vec<(u16, Sequence)>,
}

/// A message that is to be sent.
struct Due {
    reference: Reference,
    packet_id: u16,
    dup: bool,
    identifiers: Option<Arc<[u32]>>,
}

/// Messages that are sent once their exchanges are noted and their events are read.
struct Preparing {
    due: Vec<Due>,
    /// What [`Inbox::noted`] is once they are noted.
    noted: Option<Sequence>,
    found: Vec<Option<Arc<Publication>>>,
    ready: BoxFuture<'static, Result<Vec<Arc<StoredEvent>>, Refusal>>,
}

/// What was taken from an inbox.
#[derive(Default)]
struct Taken {
    due: Vec<Due>,
    /// PUBREL that are to be sent again.
    releases: Vec<u16>,
    /// The same, once it is certain that it is noted.
    received: Vec<(u16, Sequence)>,
    /// What is to be noted before the messages are sent.
    notes: Vec<(u16, Option<Sequence>)>,
    /// What [`Inbox::noted`] is then.
    noted: Sequence,
}

impl Delivery {
    /// Goes on with what waits for `subscriber`.
    pub(super) fn new(subscriber: Arc<Subscriber>) -> Self {
        Self { subscriber, preparing: None, received: Vec::new() }
    }
}

impl Exchange<'_> {
    /// Writes what is due, as far as there is room; says whether there may be more.
    pub(super) fn poll_deliver(&mut self, cx: &mut Context<'_>) -> bool {
        let delivers = !self.has_ended() && self.poll_due(cx);
        if !delivers
            && self.client.tenant.is_some()
            && let Some(delivery) = &self.delivery
        {
            delivery.subscriber.inbox().pass_on();
        }
        delivers
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> bool {
        // Whoever subscribes is told so before anything comes of it.
        if self.is_output_full() || self.subscribing > 0 {
            return false;
        }
        let Some(delivery) = &mut self.delivery else { return false };
        if let Some(preparing) = &mut delivery.preparing {
            let Poll::Ready(ready) = preparing.ready.poll_unpin(cx) else { return false };
            let Some(Preparing { due, noted, found, .. }) = delivery.preparing.take() else {
                return false;
            };
            match ready {
                Ok(events) => {
                    if let Some(noted) = noted {
                        delivery.subscriber.inbox().note(noted);
                    }
                    let found = self.complete(&due, found, events);
                    self.write(due, found);
                }
                Err(refusal) => self.end_because(Reason::ServerBusy, refusal.to_string()),
            }
            return true;
        }
        delivery.subscriber.listen(cx.waker());
        let window = self.client.inflight_max;
        let taken = take(&mut delivery.subscriber.inbox(), window, cx.waker());
        delivery.received.extend(taken.received);
        for packet_id in &taken.releases {
            self.codec.release(*packet_id, false, self.output.buffer());
        }
        let is_noted = !delivery.received.is_empty();
        if is_noted {
            self.note_received();
        }
        if taken.due.is_empty() {
            return is_noted || !taken.releases.is_empty();
        }
        let router = &self.server.0.router;
        let found = router.recent(taken.due.iter().map(|due| due.reference.sequence));
        let missing = taken.due.iter().zip(&found).filter(|(_, found)| found.is_none());
        let mut missing: Vec<_> = missing.map(|(due, _)| due.reference.sequence).collect();
        if missing.is_empty() && taken.notes.is_empty() {
            self.write(taken.due, found);
            return true;
        }
        missing.sort_unstable();
        missing.dedup();
        let noted = (!taken.notes.is_empty()).then_some(taken.noted);
        let noting = noted.map(|_| self.note(taken.notes));
        let server = self.server.clone();
        let ready = async move {
            if let Some(noting) = noting {
                noting.await?;
            }
            server.0.router.get(missing).await
        };
        if let Some(delivery) = &mut self.delivery {
            let (due, ready) = (taken.due, ready.boxed());
            delivery.preparing = Some(Preparing { due, noted, found, ready });
        }
        true
    }

    /// Whether the client has to take something before it gets more.
    pub(super) fn is_output_full(&self) -> bool {
        self.is_blocked || self.output.unsent() >= OUTPUT_BYTES_MAX
    }

    /// Notes what becomes of exchanges with this client.
    fn note(&self, notes: Vec<(u16, Option<Sequence>)>) -> BoxFuture<'static, Result<(), Refusal>> {
        let exchange = |(packet_id, sequence)| {
            (Handshake { client_id: Arc::clone(&self.client.id), packet_id }, sequence)
        };
        self.server.0.ports.sessions.note(notes.into_iter().map(exchange).collect())
    }

    /// Puts events that were read where they were missing.
    fn complete(
        &self,
        due: &[Due],
        mut found: Vec<Option<Arc<Publication>>>,
        events: Vec<Arc<StoredEvent>>,
    ) -> Vec<Option<Arc<Publication>>> {
        let topics = &*self.server.0.router.topics;
        let make = |event| Arc::new(Publication::new(event, topics));
        let read: Vec<_> = events.into_iter().map(make).collect();
        let missing = due.iter().zip(&mut found).filter(|(_, found)| found.is_none());
        for (due, slot) in missing {
            let sequence = due.reference.sequence;
            let at = read.binary_search_by_key(&sequence, |one| one.event.sequence);
            *slot = at.ok().map(|at| Arc::clone(&read[at]));
        }
        found
    }

    /// Writes messages in their order. One that cannot be sent is done.
    fn write(&mut self, due: Vec<Due>, found: Vec<Option<Arc<Publication>>>) {
        let now = self.server.0.ports.clock.now();
        let mut dropped = Vec::new();
        let mut count = 0;
        for (due, publication) in due.into_iter().zip(found) {
            let written = match &publication {
                None => Err(Dropped::Gone),
                Some(publication) => self.write_one(&due, publication, now),
            };
            match written {
                Ok(()) => count += 1,
                Err(why) => {
                    self.server.0.counters.deliveries_dropped.add(why);
                    dropped.push((due.packet_id, why));
                }
            }
        }
        self.server.0.counters.deliveries.fetch_add(count, Ordering::Relaxed);
        self.client.link.messages_sent.fetch_add(count, Ordering::Relaxed);
        if let Some(delivery) = &self.delivery
            && !dropped.is_empty()
        {
            let mut inbox = delivery.subscriber.inbox();
            for (packet_id, why) in dropped {
                inbox.count_dropped(why);
                if packet_id != 0 {
                    inbox.inflight.finish(packet_id);
                    inbox.end_exchange(packet_id);
                }
            }
            inbox.recount();
        }
    }

    fn write_one(
        &mut self,
        due: &Due,
        publication: &Publication,
        now: Timestamp,
    ) -> Result<(), Dropped> {
        let expires_at = publication.expires_at();
        if !due.dup && expires_at.is_some_and(|at| at <= now) {
            return Err(Dropped::Expired);
        }
        let expiry_s = expires_at.map(|at| at.since(now).as_micros().div_ceil(1_000_000));
        let form = publication.form(self.client.version);
        let head = Head {
            qos: due.reference.flags.qos(),
            packet_id: due.packet_id,
            dup: due.dup,
            retain: due.reference.flags.retain(),
            topic: publication.topic(),
            identifiers: due.identifiers.as_deref().unwrap_or_default(),
            expiry_s: expiry_s.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            properties: &form.properties,
        };
        if !self.codec.publish(&head, form.payload_bytes(), self.output.buffer()) {
            return Err(Dropped::PacketTooLarge);
        }
        for part in &form.payload {
            self.output.append(part);
        }
        Ok(())
    }

    /// Takes what a client acknowledges.
    pub(super) fn acknowledged(&mut self, kind: Ack, packet_id: u16, is_error: bool) {
        let Some(delivery) = &mut self.delivery else {
            return self.answer_unknown(kind, packet_id);
        };
        let mut inbox = delivery.subscriber.inbox();
        let found = inbox.inflight.acknowledge(kind, packet_id, is_error);
        match found {
            Acknowledged::Done => {
                if kind != Ack::Puback {
                    inbox.end_exchange(packet_id);
                }
                inbox.recount();
                self.server.0.router.note_change(&delivery.subscriber, &mut inbox);
            }
            Acknowledged::Release(sequence) if inbox.is_kept => {
                delivery.received.push((packet_id, sequence));
                self.server.0.router.note_change(&delivery.subscriber, &mut inbox);
            }
            Acknowledged::Release(_) | Acknowledged::ReleaseAgain => {
                self.codec.release(packet_id, false, self.output.buffer());
            }
            Acknowledged::Unknown => {
                drop(inbox);
                self.answer_unknown(kind, packet_id);
            }
        }
    }

    /// Of a message that was done long ago the client may have kept the packet identifier.
    fn answer_unknown(&mut self, kind: Ack, packet_id: u16) {
        if kind == Ack::Pubrec {
            self.codec.release(packet_id, true, self.output.buffer());
        }
    }

    /// Notes the PUBREC of one read together; PUBREL follow once that is durable, so that no
    /// message is sent again after its receiver has let go of the packet identifier.
    pub(super) fn note_received(&mut self) {
        let Some(delivery) = &mut self.delivery else { return };
        if delivery.received.is_empty() {
            return;
        }
        let received = std::mem::take(&mut delivery.received);
        let packet_ids = received.iter().map(|(packet_id, _)| *packet_id).collect();
        let released = |(packet_id, sequence): (u16, Sequence)| {
            (packet_id, Some(Sequence(sequence.0 | RELEASED)))
        };
        let answer = self.note(received.into_iter().map(released).collect());
        self.pending.push_back(Pending::Received { packet_ids, answer });
    }
}

/// Takes what may be sent now: what was under way on an earlier connection comes first.
fn take(inbox: &mut Inbox, window: usize, waker: &Waker) -> Taken {
    let mut taken = Taken::default();
    let mut bytes = 0;
    while bytes < TAKEN_BYTES_MAX && taken.due.len() < TAKEN_MAX {
        if inbox.inflight.resends() {
            if !inbox.may_begin(window, waker) {
                break;
            }
            let Some(sent) = inbox.inflight.resend() else { break };
            let Sent { reference, packet_id, step, .. } = sent;
            if step == Step::Released {
                if inbox.is_kept {
                    taken.received.push((packet_id, reference.sequence));
                } else {
                    taken.releases.push(packet_id);
                }
                continue;
            }
            bytes += u64::from(reference.bytes);
            taken.add(inbox, reference, packet_id, true);
            continue;
        }
        let Some(next) = inbox.queue.front() else { break };
        let qos = next.flags.qos();
        if qos != Qos::AtMostOnce && !inbox.may_begin(window, waker) {
            break;
        }
        let Some(reference) = inbox.queue.pop() else { break };
        let packet_id = if qos == Qos::AtMostOnce { 0 } else { inbox.inflight.begin(reference) };
        bytes += u64::from(reference.bytes);
        taken.add(inbox, reference, packet_id, false);
    }
    inbox.recount();
    if !taken.notes.is_empty() {
        // Those that are over come first: their packet identifiers may be among the new ones.
        let over = std::mem::take(&mut inbox.over).into_iter().map(|packet_id| (packet_id, None));
        taken.notes = over.chain(std::mem::take(&mut taken.notes)).collect();
        taken.noted = taken.noted.max(inbox.noted);
        if taken.noted > Sequence(0) {
            taken.notes.push((NOTED, Some(taken.noted)));
        }
    }
    taken
}

impl Taken {
    fn add(&mut self, inbox: &mut Inbox, reference: Reference, packet_id: u16, dup: bool) {
        if inbox.is_kept && reference.flags.qos() == Qos::ExactlyOnce {
            self.notes.push((packet_id, Some(reference.sequence)));
            if !reference.flags.is_late() && reference.group == 0 {
                self.noted = self.noted.max(reference.sequence);
            }
        }
        let has_identifiers = reference.identifiers != 0;
        let identifiers = has_identifiers.then(|| inbox.labels.of(&reference));
        self.due.push(Due { reference, packet_id, dup, identifiers });
    }
}
