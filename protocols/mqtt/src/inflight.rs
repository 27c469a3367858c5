//! What has been sent with QoS 1 and 2 and is not acknowledged, in the order of sending (MQTT 5.0
//! sections 4.3, 4.4 and 4.6).

use std::collections::{HashSet, VecDeque};

use eg_event::Sequence;

use crate::codec::{Ack, Qos};
use crate::queue::Reference;

/// One message under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Which message.
    pub(crate) reference: Reference,
    /// Under which packet identifier.
    pub(crate) packet_id: u16,
    /// How far it has come.
    pub(crate) step: Step,
    /// On this connection it has been sent.
    is_sent_here: bool,
    /// Of QoS 2: its packet identifier is noted where exchanges are.
    pub(crate) is_noted: bool,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// PUBLISH is sent.
    Published,
    /// PUBREC has come, and PUBREL is sent.
    Released,
    /// It is done.
    Done,
}

/// What an acknowledgement brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// The message is done.
    Done,
    /// PUBREL is due, once it is noted that this was received.
    Release(Sequence),
    /// PUBREL is due again.
    ReleaseAgain,
    /// There is no such message.
    Unknown,
}

/// The messages under way of one session.
#[derive(Debug, Default)]
pub(crate) struct Inflight {
    sent: VecDeque<Sent>,
    used: HashSet<u16>,
    last_id: u16,
    /// How many are under way on this connection.
    outstanding: usize,
    /// The first that may have to be sent again on this connection.
    resend_at: usize,
}

impl Inflight {
    /// How many messages are not done.
    pub(crate) fn len(&self) -> usize {
        self.used.len()
    }

    /// How many are under way on this connection.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// How many more may be under way on this connection, of `window`.
    pub(crate) fn room(&self, window: usize) -> usize {
        window.saturating_sub(self.outstanding)
    }

    /// A message that is about to be sent; says under which packet identifier.
    pub(crate) fn begin(&mut self, reference: Reference) -> u16 {
        let packet_id = self.next_id();
        self.used.insert(packet_id);
        let step = Step::Published;
        if self.resend_at == self.sent.len() {
            self.resend_at += 1;
        }
        let (is_sent_here, is_noted) = (true, false);
        self.sent.push_back(Sent { reference, packet_id, step, is_sent_here, is_noted });
        self.outstanding += 1;
        packet_id
    }

    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.used.contains(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// What has been taken on this connection until now is noted where exchanges are.
    pub(crate) fn note(&mut self) {
        for sent in self.sent.iter_mut().filter(|sent| sent.is_sent_here) {
            sent.is_noted = true;
        }
    }

    /// A new connection: everything is to be sent again, in its order.
    pub(crate) fn reconnect(&mut self) {
        for sent in &mut self.sent {
            sent.is_sent_here = false;
        }
        self.outstanding = 0;
        self.resend_at = 0;
    }

    /// The next message that is to be sent again.
    pub(crate) fn resend(&mut self) -> Option<Sent> {
        while let Some(sent) = self.sent.get_mut(self.resend_at) {
            self.resend_at += 1;
            if sent.step != Step::Done && !sent.is_sent_here {
                sent.is_sent_here = true;
                self.outstanding += 1;
                return Some(*sent);
            }
        }
        None
    }

    /// Whether something is to be sent again.
    pub(crate) fn resends(&self) -> bool {
        let rest = self.sent.iter().skip(self.resend_at);
        rest.into_iter().any(|sent| sent.step != Step::Done && !sent.is_sent_here)
    }

    /// Takes an acknowledgement.
    pub(crate) fn acknowledge(
        &mut self,
        kind: Ack,
        packet_id: u16,
        is_error: bool,
    ) -> Acknowledged {
        let found = self.sent.iter_mut().find(|sent| {
            sent.packet_id == packet_id && sent.step != Step::Done && sent.is_sent_here
        });
        let Some(sent) = found else { return Acknowledged::Unknown };
        let qos = sent.reference.flags.qos();
        match (kind, qos, sent.step) {
            (Ack::Puback, Qos::AtLeastOnce, Step::Published)
            | (Ack::Pubcomp, Qos::ExactlyOnce, Step::Released) => {}
            (Ack::Pubrec, Qos::ExactlyOnce, Step::Published) if is_error => {}
            (Ack::Pubrec, Qos::ExactlyOnce, Step::Published) => {
                sent.step = Step::Released;
                return Acknowledged::Release(sent.reference.sequence);
            }
            (Ack::Pubrec, Qos::ExactlyOnce, Step::Released) => return Acknowledged::ReleaseAgain,
            _ => return Acknowledged::Unknown,
        }
        self.finish(packet_id);
        Acknowledged::Done
    }

    /// The message of a packet identifier is done, or cannot be sent.
    pub(crate) fn finish(&mut self, packet_id: u16) {
        let open = |sent: &&mut Sent| sent.packet_id == packet_id && sent.step != Step::Done;
        let Some(sent) = self.sent.iter_mut().find(open) else { return };
        sent.step = Step::Done;
        self.outstanding -= usize::from(sent.is_sent_here);
        self.used.remove(&packet_id);
        while self.sent.front().is_some_and(|sent| sent.step == Step::Done) {
            self.sent.pop_front();
            self.resend_at = self.resend_at.saturating_sub(1);
        }
        self.close_gaps();
    }

    /// Keeps the list about as long as what is open, whatever order that is done in.
    fn close_gaps(&mut self) {
        const GAPS_MIN: usize = 64;
        let gaps = self.sent.len() - self.used.len();
        if gaps >= GAPS_MIN && gaps >= self.used.len() {
            let is_open = |sent: &&Sent| sent.step != Step::Done;
            self.resend_at = self.sent.iter().take(self.resend_at).filter(is_open).count();
            self.sent.retain(|sent| sent.step != Step::Done);
        }
        if self.sent.is_empty() && self.sent.capacity() > GAPS_MIN {
            self.sent.shrink_to(16);
            self.used.shrink_to(16);
        }
    }

    /// The messages that are not done, in their order.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(|sent| sent.step != Step::Done)
    }

    /// Takes back those of QoS 1 that `leaves` names, to be sent to somebody else.
    pub(crate) fn extract(&mut self, leaves: impl Fn(&Reference) -> bool) -> Vec<Reference> {
        let is_meant = |sent: &&Sent| {
            sent.reference.flags.qos() == Qos::AtLeastOnce && leaves(&sent.reference)
        };
        let taken: Vec<_> = self.open().filter(is_meant).copied().collect();
        for sent in &taken {
            self.finish(sent.packet_id);
        }
        taken.into_iter().map(|sent| sent.reference).collect()
    }

    /// Puts one back that was read from the disk.
    pub(crate) fn restore(&mut self, reference: Reference, packet_id: u16, step: Step) {
        if self.used.insert(packet_id) {
            self.last_id = packet_id;
            let (is_sent_here, is_noted) = (false, true);
            self.sent.push_back(Sent { reference, packet_id, step, is_sent_here, is_noted });
        }
    }

    /// The open message of an event, to be told more of it.
    pub(crate) fn of_event(&mut self, sequence: Sequence) -> Option<&mut Reference> {
        let open = self.sent.iter_mut().filter(|sent| sent.step != Step::Done);
        open.map(|sent| &mut sent.reference).find(|reference| reference.sequence == sequence)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::queue::tests::reference;

    #[derive(Clone, Debug)]
    enum Act {
        Begin(Qos),
        Acknowledge(Ack, prop::sample::Index, bool),
        Reconnect,
    }

    fn act() -> impl Strategy<Value = Act> {
        let qos = prop_oneof![Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)];
        let ack = prop_oneof![Just(Ack::Puback), Just(Ack::Pubrec), Just(Ack::Pubcomp)];
        let acknowledge = (ack, any::<prop::sample::Index>(), prop::bool::weighted(0.1));
        prop_oneof![
            3 => qos.prop_map(Act::Begin),
            5 => acknowledge.prop_map(|(ack, at, error)| Act::Acknowledge(ack, at, error)),
            1 => Just(Act::Reconnect),
        ]
    }

    proptest! {
        #[test]
        fn messages_go_through_their_steps_like_those_of_a_plain_list(
            acts in prop::collection::vec(act(), 0..300),
        ) {
            let mut inflight = Inflight::default();
            let mut list: Vec<(u16, Qos, Step)> = Vec::new();
            for (sequence, act) in (1..).zip(acts) {
                match act {
                    Act::Begin(qos) => {
                        let packet_id = inflight.begin(reference(sequence, qos));
                        prop_assert!(list.iter().all(|(known, ..)| *known != packet_id));
                        list.push((packet_id, qos, Step::Published));
                    }
                    Act::Acknowledge(_, _, _) if list.is_empty() => {}
                    Act::Acknowledge(ack, at, is_error) => {
                        let at = at.index(list.len());
                        let (packet_id, qos, step) = list[at];
                        inflight.acknowledge(ack, packet_id, is_error);
                        match (ack, qos, step) {
                            (Ack::Puback, Qos::AtLeastOnce, _)
                            | (Ack::Pubcomp, Qos::ExactlyOnce, Step::Released) => drop(list.remove(at)),
                            (Ack::Pubrec, Qos::ExactlyOnce, Step::Published) if is_error => {
                                list.remove(at);
                            }
                            (Ack::Pubrec, Qos::ExactlyOnce, _) => list[at].2 = Step::Released,
                            _ => {}
                        }
                    }
                    Act::Reconnect => {
                        inflight.reconnect();
                        let again = std::iter::from_fn(|| inflight.resend());
                        let again: Vec<_> = again.map(|sent| (sent.packet_id, sent.step)).collect();
                        let expected: Vec<_> = list.iter().map(|(id, _, step)| (*id, *step)).collect();
                        prop_assert_eq!(again, expected);
                    }
                }
                prop_assert_eq!(inflight.len(), list.len());
                prop_assert_eq!(inflight.room(1000), 1000 - list.len());
                prop_assert!(!inflight.resends());
                let open: Vec<_> = inflight.open().map(|sent| (sent.packet_id, sent.step)).collect();
                let expected: Vec<_> = list.iter().map(|(id, _, step)| (*id, *step)).collect();
                prop_assert_eq!(open, expected);
            }
        }
    }

    #[test]
    fn each_quality_of_service_has_its_steps() {
        let mut inflight = Inflight::default();
        let one = inflight.begin(reference(1, Qos::AtLeastOnce));
        let two = inflight.begin(reference(2, Qos::ExactlyOnce));
        assert_eq!((inflight.len(), inflight.room(2)), (2, 0));
        assert_eq!(inflight.acknowledge(Ack::Pubrec, one, false), Acknowledged::Unknown);
        assert_eq!(inflight.acknowledge(Ack::Puback, one, false), Acknowledged::Done);
        assert_eq!(inflight.acknowledge(Ack::Puback, one, false), Acknowledged::Unknown);
        assert_eq!(inflight.acknowledge(Ack::Pubcomp, two, false), Acknowledged::Unknown);
        let release = Acknowledged::Release(Sequence(2));
        assert_eq!(inflight.acknowledge(Ack::Pubrec, two, false), release);
        let again = inflight.acknowledge(Ack::Pubrec, two, false);
        assert_eq!((again, inflight.room(2)), (Acknowledged::ReleaseAgain, 1));
        assert_eq!(inflight.acknowledge(Ack::Pubcomp, two, false), Acknowledged::Done);
        assert_eq!((inflight.len(), inflight.room(2)), (0, 2));
    }

    #[test]
    fn a_client_that_cannot_take_a_message_is_done_with_it() {
        let mut inflight = Inflight::default();
        let id = inflight.begin(reference(1, Qos::ExactlyOnce));
        assert_eq!(inflight.acknowledge(Ack::Pubrec, id, true), Acknowledged::Done);
        assert_eq!(inflight.len(), 0);
    }

    #[test]
    fn a_new_connection_sends_again_what_is_open_in_its_order_under_its_identifiers() {
        let mut inflight = Inflight::default();
        let ids: Vec<_> =
            (1..5).map(|sequence| inflight.begin(reference(sequence, Qos::ExactlyOnce))).collect();
        inflight.acknowledge(Ack::Pubrec, ids[2], false);
        inflight.acknowledge(Ack::Pubrec, ids[1], true);
        inflight.reconnect();
        assert!(inflight.resends());
        assert_eq!(inflight.acknowledge(Ack::Pubrec, ids[0], false), Acknowledged::Unknown);
        let again: Vec<_> = std::iter::from_fn(|| inflight.resend())
            .map(|sent| (sent.packet_id, sent.step))
            .collect();
        let expected =
            [(ids[0], Step::Published), (ids[2], Step::Released), (ids[3], Step::Published)];
        assert_eq!(again, expected);
        assert_eq!(inflight.room(10), 7);
        assert!(!inflight.resends());
    }

    #[test]
    fn an_identifier_is_not_used_again_while_it_is_open() {
        let mut inflight = Inflight::default();
        let kept = inflight.begin(reference(1, Qos::AtLeastOnce));
        for sequence in 0..70_000 {
            let id = inflight.begin(reference(sequence, Qos::AtLeastOnce));
            assert_ne!(id, kept);
            inflight.finish(id);
        }
        assert_eq!(inflight.len(), 1);
        assert!(inflight.sent.len() < 100, "what is done is not kept");
    }
}
