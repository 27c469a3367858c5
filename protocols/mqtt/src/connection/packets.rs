//! What each packet asks for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use eg_event::{
    Binding, CloudEvent, Data, Handshake, Message, Origin, Protocol, Refusal, Submission, Timestamp,
};
use memchr::memmem;

use super::Client;
use super::exchange::{Ended, Exchange, Pending, Slot};
use crate::codec::{Disconnect, Incoming, Publish, Qos, Reason, Version};
use crate::normalize::{Context, Normalized, normalize};
use crate::server::Server;

/// What a client that publishes to them is told.
pub(super) const THE_SERVERS: &str = "topics below $SYS and $share are the server's";

/// When a client may try again whose message there is no room to retain.
const RETAINED_RETRY: Duration = Duration::from_mins(1);

/// Topics that clients do not publish to (MQTT 5.0 sections 4.7.2 and 4.8.2).
pub(super) fn is_the_servers(topic: &str) -> bool {
    matches!(topic.split('/').next(), Some("$SYS" | "$share"))
}

/// Messages that are handed over together.
#[derive(Default)]
struct Batch {
    submissions: Vec<Submission>,
    slots: Vec<Slot>,
}

impl Exchange<'_> {
    /// Does what packets ask for, in their order; `end` is what was wrong with what followed.
    pub(super) fn handle(&mut self, packets: Vec<Incoming>, end: Option<Reason>) {
        let now = self.server.0.ports.clock.now();
        let now_text = now.to_string();
        let mut batch = Batch::default();
        self.end_if_over(now);
        for packet in packets {
            if self.has_ended() {
                break;
            }
            match packet {
                Incoming::Publish(message) => self.publish(&message, (now, &now_text), &mut batch),
                Incoming::Acknowledged { kind, packet_id, is_error } => {
                    self.acknowledged(kind, packet_id, is_error);
                }
                other => {
                    self.submit(&mut batch);
                    self.control(&other);
                }
            }
        }
        self.submit(&mut batch);
        self.note_received();
        if let Some(reason) = end {
            self.end_for(reason);
        }
    }

    fn publish(&mut self, message: &Publish, now: (Timestamp, &str), batch: &mut Batch) {
        let is_told = message.qos > Qos::AtMostOnce && self.client.version == Version::V5;
        let is_heard = is_told && self.server.0.router.is_heard(message.topic());
        let slot = Slot { qos: message.qos, packet_id: message.packet_id, is_heard };
        let normalized = if is_the_servers(message.topic()) {
            Err(Refusal::Forbidden(THE_SERVERS.into()))
        } else if !self.may_be_retained(message) {
            let reason = "as many messages are retained as may be";
            Err(Refusal::Unavailable { reason: reason.into(), retry_after: RETAINED_RETRY })
        } else {
            let context = self.client.context(self.server, now);
            normalize(message, context)
        };
        match normalized {
            Ok(normalized) => {
                batch.submissions.push(self.client.submission(message, normalized));
                batch.slots.push(slot);
            }
            Err(refusal) => {
                self.server.0.counters.messages_refused.fetch_add(1, Ordering::Relaxed);
                self.client.link.messages_received.fetch_add(1, Ordering::Relaxed);
                // Its answer has its place behind those of the messages before it.
                self.submit(batch);
                let answers = Box::pin(std::future::ready(vec![Err(refusal)]));
                self.wait_for(Pending::Messages { answers, slots: vec![slot] }, 1);
            }
        }
    }

    /// Whether there is room, if a message is to be retained. Of QoS 0, whose sender cannot be told,
    /// those who are there get it all the same.
    fn may_be_retained(&self, message: &Publish) -> bool {
        let bytes = message.payload().len();
        !message.retain
            || bytes == 0
            || message.qos == Qos::AtMostOnce
            || self.server.0.router.retained.has_room(message.topic(), bytes)
    }

    /// Hands over what has been gathered. From here on it is on its way to the disk.
    fn submit(&mut self, batch: &mut Batch) {
        let Batch { submissions, slots } = std::mem::take(batch);
        if submissions.is_empty() {
            return;
        }
        let count = slots.len();
        self.server.0.counters.publications.fetch_add(count as u64, Ordering::Relaxed);
        self.client.link.messages_received.fetch_add(count as u64, Ordering::Relaxed);
        let answers = self.server.0.ports.ingest.ingest(submissions);
        self.wait_for(Pending::Messages { answers, slots }, count);
    }

    fn wait_for(&mut self, pending: Pending, events: usize) {
        self.pending_events += events;
        self.pending.push_back(pending);
    }

    fn control(&mut self, packet: &Incoming) {
        match packet {
            Incoming::Release(packet_id) => self.release(*packet_id),
            Incoming::Subscribe(subscribe) => self.subscribe(subscribe),
            Incoming::Unsubscribe(packet_id, filters) => self.unsubscribe(*packet_id, filters),
            Incoming::Ping => {}
            Incoming::Disconnect(disconnect) => self.disconnect(*disconnect),
            Incoming::Auth(auth) => self.authenticate_again(auth),
            // A second CONNECT is an error (MQTT 5.0 sections 3.1, 4.13).
            Incoming::Unexpected
            | Incoming::Connect(_)
            | Incoming::Publish(_)
            | Incoming::Acknowledged { .. } => {
                self.end_for(Reason::ProtocolError);
            }
        }
    }

    fn release(&mut self, packet_id: u16) {
        let handshakes = &self.server.0.ports.handshakes;
        let known = handshakes.open_in_session(&self.client.id).contains(&packet_id);
        let client_id = Arc::clone(&self.client.id);
        let answer = handshakes.release(Handshake { client_id, packet_id });
        self.wait_for(Pending::Release { packet_id, known, answer }, 0);
    }

    fn disconnect(&mut self, disconnect: Disconnect) {
        if let Some(seconds) = disconnect.session_expiry_s {
            // A session that was to end with the connection cannot be kept after all (MQTT 5.0
            // section 3.14.2.2.2).
            if self.client.session_expiry == Some(Duration::ZERO) && seconds > 0 {
                return self.end_for(Reason::ProtocolError);
            }
            let seconds = seconds.min(self.server.0.config.session_expiry_seconds_max);
            self.client.session_expiry = Some(Duration::from_secs(seconds.into()));
            self.client.new_expiry_s = Some(seconds);
            if seconds == 0 {
                let Client { id, seat, .. } = &*self.client;
                self.server.0.sessions.end_with_connection(id, seat);
            }
        }
        self.end(Ended::ByClient(disconnect.with_will));
    }
}

impl Client {
    /// What normalizing this client's messages takes.
    pub(super) fn context<'a>(
        &'a self,
        server: &'a Server,
        (now, now_text): (Timestamp, &'a str),
    ) -> Context<'a> {
        Context {
            version: self.version,
            client_id: &self.id,
            user: &self.user,
            now,
            now_text,
            mappings: &server.0.mappings,
            identifiers: &server.0.identifiers,
            declared: Some((&*server.0.ports.channels, &self.identity.principal)),
        }
    }

    /// A message of this client's, ready to be handed over.
    pub(super) fn submission(&self, message: &Publish, normalized: Normalized) -> Submission {
        let Normalized { event, binding, trace, id_assigned, declaration } = normalized;
        let forwarded = forwarded(message, &event, binding);
        let protocol = match self.version {
            Version::V311 => Protocol::Mqtt311,
            Version::V5 => Protocol::Mqtt5,
        };
        let counts_once = message.qos == Qos::ExactlyOnce && message.packet_id != 0;
        let origin = Origin {
            protocol,
            binding,
            remote: Some(self.peer.address),
            address: message.topic().into(),
            client_id: Some(Arc::clone(&self.id)),
        };
        Submission {
            trace,
            handshake: counts_once.then(|| Handshake {
                client_id: Arc::clone(&self.id),
                packet_id: message.packet_id,
            }),
            id_assigned,
            declaration,
            message: forwarded,
            ..Submission::new(event, Arc::clone(&self.identity.principal), origin)
        }
    }
}

/// What a message says beside its topic and its event, for subscribers.
fn forwarded(publish: &Publish, event: &CloudEvent, binding: Binding) -> Option<Box<Message>> {
    let message = Message {
        qos: publish.qos as u8,
        retain: publish.retain,
        expiry_s: publish.message_expiry_s(),
        properties: publish.forwarded_properties(),
        envelope: (binding == Binding::Structured).then(|| envelope(publish, event)),
    };
    (message != Message::default()).then(|| Box::new(message))
}

/// What stands around the data of an event in the payload that it is; or the whole payload, where
/// the data does not stand in it as it is.
fn envelope(publish: &Publish, event: &CloudEvent) -> (Bytes, Bytes) {
    let payload = publish.payload();
    let data = event.data().map(Data::bytes).filter(|data| data.len() > 8);
    let at = data.and_then(|data| Some((memmem::find(payload, data)?, data.len())));
    let copy = Bytes::copy_from_slice;
    match at {
        Some((at, length)) if at + length < payload.len() => {
            (copy(&payload[..at]), copy(&payload[at + length..]))
        }
        _ => (copy(payload), Bytes::new()),
    }
}
