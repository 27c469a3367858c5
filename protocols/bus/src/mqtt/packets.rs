//! Packets of an MQTT client. Only this file and the one below it name the protocol library.

mod reading;

use std::time::Duration;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{
    ContentType, GenericPacketTrait as _, Packet, Property, Qos, ReceiveMaximum,
    SessionExpiryInterval, UserProperty, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use mqtt_protocol_core::mqtt::{Connection, Version, role};

pub(super) use self::reading::{Answer, Arrived};
use super::reason;
use crate::message::Message;

/// How the gateway introduces itself.
pub(super) struct Greeting {
    pub(super) client_id: String,
    pub(super) named: Option<(String, String)>,
    pub(super) keep_alive: Duration,
    /// For who reads: the session outlives the connection, and has no more messages than this under
    /// way at once.
    pub(super) session: Option<u16>,
}

/// A message to be published.
pub(super) struct Outgoing {
    pub(super) topic: String,
    pub(super) message: Message,
    pub(super) exactly_once: bool,
    pub(super) retain: bool,
}

/// What a broker takes (MQTT 5.0 section 3.2.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// The highest quality of service.
    pub(super) qos_max: u8,
    /// Whether it retains messages.
    pub(super) retain_available: bool,
    /// The largest packet, in bytes; `None`: any.
    pub(super) packet_bytes_max: Option<u32>,
}

impl Default for Admitted {
    fn default() -> Self {
        Self { qos_max: 2, retain_available: true, packet_bytes_max: None }
    }
}

/// What the broker said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It lets the gateway in, and takes this.
    Accepted(Admitted),
    /// It does not; why.
    Refused(String),
    /// It has the message with this identifier, or does not want it; why.
    Settled(u16, Result<(), String>),
    /// It lets the gateway subscribe, or does not; why.
    Subscribed(Result<(), String>),
    /// A message was published to the gateway.
    Arrived(Box<Arrived>),
    /// The message with this identifier is not sent again (QoS 2).
    Released(u16),
    /// It ends the connection; why.
    Ended(String),
}

/// The client's side of one connection. Bytes to send are appended to an output buffer.
pub(super) struct Packets {
    connection: Connection<role::Client>,
    is_old: bool,
    admitted: Admitted,
}

impl Packets {
    /// A connection on which nothing was said; `is_old`: in MQTT 3.1.1.
    pub(super) fn new(is_old: bool) -> Self {
        let version = if is_old { Version::V3_1_1 } else { Version::V5_0 };
        let mut connection = Connection::new(version);
        connection.set_auto_pub_response(true);
        Self { connection, is_old, admitted: Admitted::default() }
    }

    /// Writes CONNECT.
    pub(super) fn greet(&mut self, greeting: &Greeting, out: &mut Vec<u8>) -> Result<(), String> {
        let text = |error| format!("CONNECT cannot be written: {error:?}");
        let events = if self.is_old {
            let mut connect = v3_1_1::Connect::builder().keep_alive(seconds(greeting.keep_alive));
            connect = connect.clean_session(greeting.session.is_none());
            connect = connect.client_id(&greeting.client_id).map_err(text)?;
            if let Some((name, password)) = &greeting.named {
                connect = connect.user_name(name).map_err(text)?;
                connect = connect.password(&**password).map_err(text)?;
            }
            self.connection.checked_send(connect.build().map_err(text)?)
        } else {
            // Brokers overstep the receive maximum when a session goes on, and are not held to it:
            // what is too much waits in the socket. So the library is not told of it.
            let told = connect(greeting, greeting.session).map_err(text)?;
            out.extend_from_slice(&told.to_continuous_buffer());
            let known = self.connection.checked_send(connect(greeting, None).map_err(text)?);
            return write(known, &mut Vec::new());
        };
        write(events, out)
    }

    /// Sends nothing from now on that the broker does not take.
    pub(super) fn heed(&mut self, admitted: &Admitted) {
        self.admitted = admitted.clone();
    }

    /// Whether another message may be under way.
    pub(super) fn has_room(&self) -> bool {
        self.connection.get_receive_maximum_vacancy_for_send().is_none_or(|room| room > 0)
    }

    /// Writes PUBLISH; gives back its packet identifier.
    pub(super) fn publish(
        &mut self,
        outgoing: &Outgoing,
        out: &mut Vec<u8>,
    ) -> Result<u16, String> {
        let qos = if outgoing.exactly_once { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
        self.admitted.check(qos, outgoing)?;
        let packet_id = self.connection.acquire_packet_id();
        let packet_id = packet_id.map_err(|_| "65,535 messages are under way".to_owned())?;
        let body = outgoing.message.body.clone();
        let text = |error| format!("the event cannot be published: {error:?}");
        let events = if self.is_old {
            let publish = v3_1_1::Publish::builder().topic_name(&*outgoing.topic).map_err(text)?;
            let publish = publish.qos(qos).retain(outgoing.retain).packet_id(packet_id);
            self.connection.checked_send(publish.payload(body.to_vec()).build().map_err(text)?)
        } else {
            let properties = properties(&outgoing.message).map_err(text)?;
            let publish = v5_0::Publish::builder().topic_name(&*outgoing.topic).map_err(text)?;
            let publish = publish.qos(qos).retain(outgoing.retain).packet_id(packet_id);
            let publish = publish.props(properties).payload(body.to_vec());
            self.connection.checked_send(publish.build().map_err(text)?)
        };
        write(events, out).inspect_err(|_| drop(self.connection.release_packet_id(packet_id)))?;
        Ok(packet_id)
    }

    /// Writes PINGREQ.
    pub(super) fn ping(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let text = |error| format!("PINGREQ cannot be written: {error:?}");
        let events = if self.is_old {
            self.connection.checked_send(v3_1_1::Pingreq::builder().build().map_err(text)?)
        } else {
            self.connection.checked_send(v5_0::Pingreq::builder().build().map_err(text)?)
        };
        write(events, out)
    }

    /// Reads bytes as they came; what is to be answered at once goes to `out`.
    pub(super) fn read(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Vec<Said> {
        let (mut said, mut is_closed) = (Vec::new(), false);
        let mut cursor = Cursor::new(bytes);
        while cursor.position() < bytes.len() as u64 {
            let before = cursor.position();
            for event in self.connection.recv(&mut cursor) {
                match event {
                    Event::NotifyPacketReceived(packet) => said.extend(meaning(&packet)),
                    Event::RequestSendPacket { packet, .. } => {
                        out.extend_from_slice(&packet.to_continuous_buffer());
                    }
                    Event::NotifyError(error) => {
                        said.push(Said::Ended(format!("what it says makes no sense: {error:?}")));
                    }
                    Event::RequestClose => is_closed = true,
                    _ => {}
                }
            }
            if cursor.position() == before {
                break;
            }
        }
        if is_closed {
            // After why, if that was said.
            said.push(Said::Ended("it is closed".to_owned()));
        }
        said
    }
}

/// CONNECT of MQTT 5.
fn connect(greeting: &Greeting, receive_max: Option<u16>) -> Result<v5_0::Connect, MqttError> {
    let mut connect = v5_0::Connect::builder().keep_alive(seconds(greeting.keep_alive));
    let is_kept = greeting.session.is_some();
    let mut properties = Vec::new();
    if is_kept {
        let for_ever = SessionExpiryInterval::new(u32::MAX)?;
        properties.push(Property::SessionExpiryInterval(for_ever));
    }
    if let Some(receive_max) = receive_max {
        properties.push(Property::ReceiveMaximum(ReceiveMaximum::new(receive_max)?));
    }
    connect = connect.clean_start(!is_kept).props(properties).client_id(&greeting.client_id)?;
    if let Some((name, password)) = &greeting.named {
        connect = connect.user_name(name)?.password(&**password)?;
    }
    connect.build()
}

fn seconds(keep_alive: Duration) -> u16 {
    u16::try_from(keep_alive.as_secs()).unwrap_or(u16::MAX)
}

fn write(events: Vec<Event>, out: &mut Vec<u8>) -> Result<(), String> {
    for event in events {
        match event {
            Event::RequestSendPacket { packet, .. } => {
                out.extend_from_slice(&packet.to_continuous_buffer());
            }
            Event::NotifyError(error) => return Err(format!("{error:?}")),
            _ => {}
        }
    }
    Ok(())
}

/// Attributes as user properties, and the media type as the content type.
fn properties(message: &Message) -> Result<Vec<Property>, MqttError> {
    let property = |(name, value): &(std::borrow::Cow<'_, str>, String)| {
        Ok(match &**name {
            "content-type" => Property::ContentType(ContentType::new(value)?),
            name => Property::UserProperty(UserProperty::new(name, value)?),
        })
    };
    message.headers.iter().map(property).collect()
}

fn meaning(packet: &Packet) -> Option<Said> {
    let refusal = |code: u8| if code >= 0x80 { Err(reason::words(code)) } else { Ok(()) };
    Some(match packet {
        Packet::V3_1_1Connack(connack) => match connack.return_code() as u8 {
            0 => Said::Accepted(Admitted::default()),
            code => Said::Refused(reason::of_connect(reason::of_3_1_1(code))),
        },
        Packet::V5_0Connack(connack) => match connack.reason_code() as u8 {
            0 => Said::Accepted(Admitted::of(&connack.props)),
            code => Said::Refused(reason::of_connect(code)),
        },
        Packet::V3_1_1Puback(puback) => Said::Settled(puback.packet_id(), Ok(())),
        Packet::V3_1_1Pubcomp(pubcomp) => Said::Settled(pubcomp.packet_id(), Ok(())),
        Packet::V5_0Puback(puback) => {
            let code = puback.reason_code().map_or(0, |code| code as u8);
            Said::Settled(puback.packet_id(), refusal(code))
        }
        Packet::V5_0Pubrec(pubrec) => {
            let code = pubrec.reason_code().map_or(0, |code| code as u8);
            Said::Settled(pubrec.packet_id(), Err(refusal(code).err()?))
        }
        Packet::V5_0Pubcomp(pubcomp) => {
            let code = pubcomp.reason_code().map_or(0, |code| code as u8);
            Said::Settled(pubcomp.packet_id(), refusal(code))
        }
        Packet::V5_0Disconnect(disconnect) => {
            let code = disconnect.reason_code().map_or(0, |code| code as u8);
            Said::Ended(reason::words(code))
        }
        packet => return reading::meaning(packet),
    })
}

impl Admitted {
    fn of(properties: &[Property]) -> Self {
        let mut admitted = Self::default();
        for property in properties {
            match property {
                Property::MaximumQos(max) => admitted.qos_max = max.val(),
                Property::RetainAvailable(is) => admitted.retain_available = is.val() == 1,
                Property::MaximumPacketSize(max) => admitted.packet_bytes_max = Some(max.val()),
                _ => {}
            }
        }
        admitted
    }

    fn check(&self, qos: Qos, outgoing: &Outgoing) -> Result<(), String> {
        if qos as u8 > self.qos_max {
            return Err(format!(
                "the broker takes QoS {} at most: set attributes.qos",
                self.qos_max
            ));
        }
        if outgoing.retain && !self.retain_available {
            return Err("the broker retains nothing: leave attributes.retain out".to_owned());
        }
        let headers = &outgoing.message.headers;
        let named: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 5).sum();
        let bytes = outgoing.topic.len() + named + outgoing.message.body.len();
        match self.packet_bytes_max {
            Some(max) if bytes > max as usize => {
                Err(format!("the event has {bytes} bytes, and the broker takes {max} at most"))
            }
            _ => Ok(()),
        }
    }
}
