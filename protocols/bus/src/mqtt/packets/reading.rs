//! Packets of an MQTT client that reads: SUBSCRIBE, what is published to it, and what it answers.

use bytes::Bytes;
use eg_event::trace;
use mqtt_protocol_core::mqtt::packet::{
    Packet, Property, Qos, ReasonString, RetainHandling, SubEntry, SubOpts, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{PubackReasonCode, PubrecReasonCode};

use super::{Packets, Said, write};
use crate::source::Arrival;

/// The longest reason that is told, in bytes.
const REASON_BYTES_MAX: usize = 512;

/// A message that was published to the gateway, and what it is answered by.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Arrived {
    pub(in super::super) arrival: Arrival,
    pub(in super::super) answer: Option<Answer>,
}

/// What a message is answered by; none with QoS 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Answer {
    packet_id: u16,
    exactly_once: bool,
}

impl Packets {
    /// From now on the gateway itself answers what is published to it.
    pub(in super::super) fn answer_by_hand(&mut self) {
        self.connection.set_auto_pub_response(false);
    }

    /// Writes SUBSCRIBE.
    pub(in super::super) fn subscribe(
        &mut self,
        filter: &str,
        exactly_once: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let text = |error| format!("SUBSCRIBE cannot be written: {error:?}");
        let packet_id = self.connection.acquire_packet_id().map_err(text)?;
        let qos = if exactly_once { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
        let mut options = SubOpts::new().set_qos(qos);
        if !self.is_old {
            // What is retained is no news to a session that goes on.
            options = options.set_rh(RetainHandling::SendRetainedIfNotExists);
        }
        let entries = vec![SubEntry::new(filter, options).map_err(text)?];
        let events = if self.is_old {
            let packet = v3_1_1::Subscribe::builder().packet_id(packet_id).entries(entries);
            self.connection.checked_send(packet.build().map_err(text)?)
        } else {
            let packet = v5_0::Subscribe::builder().packet_id(packet_id).entries(entries);
            self.connection.checked_send(packet.build().map_err(text)?)
        };
        write(events, out)
    }

    /// Writes PUBACK or PUBREC; `refused` says why the message is not wanted, which MQTT 3.1.1 has
    /// no word for.
    pub(in super::super) fn answer(
        &mut self,
        answer: Answer,
        refused: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let text = |error| format!("a message cannot be acknowledged: {error:?}");
        let Answer { packet_id, exactly_once } = answer;
        let reason = |why: &str| -> Result<_, String> {
            let why = &why[..why.floor_char_boundary(REASON_BYTES_MAX)];
            Ok(vec![Property::ReasonString(ReasonString::new(why).map_err(text)?)])
        };
        let properties = refused.map(reason).transpose()?;
        let events = match (self.is_old, exactly_once) {
            (true, false) => {
                let packet = v3_1_1::Puback::builder().packet_id(packet_id);
                self.connection.checked_send(packet.build().map_err(text)?)
            }
            (true, true) => {
                let packet = v3_1_1::Pubrec::builder().packet_id(packet_id);
                self.connection.checked_send(packet.build().map_err(text)?)
            }
            (false, false) => {
                let mut packet = v5_0::Puback::builder().packet_id(packet_id);
                if let Some(properties) = properties {
                    let code = PubackReasonCode::ImplementationSpecificError;
                    packet = packet.reason_code(code).props(properties);
                }
                self.connection.checked_send(packet.build().map_err(text)?)
            }
            (false, true) => {
                let mut packet = v5_0::Pubrec::builder().packet_id(packet_id);
                if let Some(properties) = properties {
                    let code = PubrecReasonCode::ImplementationSpecificError;
                    packet = packet.reason_code(code).props(properties);
                }
                self.connection.checked_send(packet.build().map_err(text)?)
            }
        };
        write(events, out)
    }

    /// Writes PUBCOMP: the message with this identifier is done with.
    pub(in super::super) fn complete(
        &mut self,
        packet_id: u16,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let text = |error| format!("PUBCOMP cannot be written: {error:?}");
        let events = if self.is_old {
            let packet = v3_1_1::Pubcomp::builder().packet_id(packet_id);
            self.connection.checked_send(packet.build().map_err(text)?)
        } else {
            let packet = v5_0::Pubcomp::builder().packet_id(packet_id);
            self.connection.checked_send(packet.build().map_err(text)?)
        };
        write(events, out)
    }
}

/// What a packet means to who reads.
pub(super) fn meaning(packet: &Packet) -> Option<Said> {
    Some(match packet {
        Packet::V3_1_1Suback(suback) => match suback.return_codes().first() {
            Some(code) if code.is_success() => Said::Subscribed(Ok(())),
            code => Said::Subscribed(Err(format!("{code:?}"))),
        },
        Packet::V5_0Suback(suback) => match suback.reason_codes().first() {
            Some(code) if (*code as u8) < 0x80 => Said::Subscribed(Ok(())),
            code => Said::Subscribed(Err(format!("{code:?}"))),
        },
        Packet::V3_1_1Publish(publish) => {
            let arrival = Arrival {
                topic: publish.topic_name().to_owned(),
                body: Bytes::copy_from_slice(publish.payload().as_slice()),
                ..Arrival::default()
            };
            let exactly_once = publish.qos() == Qos::ExactlyOnce;
            let answer = publish.packet_id().map(|packet_id| Answer { packet_id, exactly_once });
            Said::Arrived(Box::new(Arrived { arrival, answer }))
        }
        Packet::V5_0Publish(publish) => {
            let mut arrival = Arrival {
                topic: publish.topic_name().to_owned(),
                body: Bytes::copy_from_slice(publish.payload().as_slice()),
                ..Arrival::default()
            };
            publish.props().iter().for_each(|property| describe(property, &mut arrival));
            let exactly_once = publish.qos() == Qos::ExactlyOnce;
            let answer = publish.packet_id().map(|packet_id| Answer { packet_id, exactly_once });
            Said::Arrived(Box::new(Arrived { arrival, answer }))
        }
        Packet::V3_1_1Pubrel(pubrel) => Said::Released(pubrel.packet_id()),
        Packet::V5_0Pubrel(pubrel) => Said::Released(pubrel.packet_id()),
        _ => return None,
    })
}

/// Notes what a property says of a message.
fn describe(property: &Property, arrival: &mut Arrival) {
    match property {
        Property::ContentType(value) => arrival.content_type = Some(value.val().to_owned()),
        Property::UserProperty(value) => {
            let named = (value.key().to_owned(), value.val().to_owned());
            if trace::HEADERS.contains(&value.key()) {
                arrival.trace.push(named);
            } else {
                arrival.attributes.push(named);
            }
        }
        _ => {}
    }
}
