//! Bytes to packets and back, for both versions of MQTT. The only file that names the protocol
//! library; everything else sees the types of this one.

mod frame;
mod outgoing;
mod packet;
mod properties;
mod publish;
mod reason;
mod rules;
mod subscribe;
mod translate;

use std::borrow::Cow;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait as _, Packet, Properties, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code as codes;
use mqtt_protocol_core::mqtt::{Connection, Version as LibraryVersion, role};

use self::frame::Frames;
use self::outgoing::Aliases;
pub use self::outgoing::{Head, PropertiesWriter};
pub use self::packet::{
    Accept, Ack, Acknowledgement, Auth, AuthStep, Connect, Disconnect, Incoming, Kind, Qos,
    Requested, Secret, Subscribe, Version, Will,
};
use self::publish::Message;
pub use self::publish::Publish;
pub use self::reason::{ConnectRefusal, Reason};
use self::rules::BadConnect;
use self::translate::{
    accept_properties, auth_v5, authentication_method, connect_v5, connect_v311, disconnect_v5,
    packet_bytes_max, publish, qos, reason_string, user_property,
};

/// What reading bytes came to.
#[derive(Debug, Default)]
pub struct Read {
    /// The packets, in their order.
    pub packets: Vec<Incoming>,
    /// The connection ends after these packets, for this reason; the client has been told, as far
    /// as its version can be.
    pub end: Option<Reason>,
    /// CONNECT cannot be read, and was answered with this.
    pub refused: Option<ConnectRefusal>,
}

/// The server's side of one connection. Bytes to send are appended to an output buffer.
pub struct Codec {
    connection: Connection<role::Server>,
    version: Option<Version>,
    problem_information: bool,
    /// The largest packet that the client takes, in bytes.
    client_packet_bytes_max: usize,
    /// The topics that have a short name on this connection.
    aliases: Aliases,
    frames: Frames,
    /// What came behind CONNECT before that was answered.
    early: Vec<u8>,
    /// The library takes the connection for closed: what is still to be said goes past it.
    is_over: bool,
    /// The client has said that it takes no topic alias.
    takes_no_alias: bool,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Codec {
    /// A connection on which nothing has been read. No packet may be larger than
    /// `packet_bytes_max`, and none before [`Codec::accept`] larger than `connect_bytes_max`.
    #[must_use]
    pub fn new(packet_bytes_max: u32, connect_bytes_max: u32) -> Self {
        let options = ConnectionOptions::new().maximum_packet_size_recv(packet_bytes_max);
        let mut connection = Connection::with_options(LibraryVersion::Undetermined, options);
        connection.set_auto_pub_response(false);
        connection.set_auto_ping_response(true);
        Self {
            connection,
            version: None,
            problem_information: true,
            client_packet_bytes_max: usize::MAX,
            aliases: Aliases::default(),
            frames: Frames::new(packet_bytes_max, connect_bytes_max),
            early: Vec::new(),
            is_over: false,
            takes_no_alias: false,
        }
    }

    /// The version that the client speaks, once it has said so.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// How many bytes came behind CONNECT that have not been read.
    #[must_use]
    pub fn early_bytes(&self) -> usize {
        self.early.len()
    }

    /// Reads bytes as they came; answers that need no decision go to `out`. What follows CONNECT
    /// is read by the next call: when the client is let in, or is to say more with AUTH.
    pub fn read(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Read {
        if self.early.is_empty() {
            return self.read_packets(bytes, out);
        }
        let mut early = std::mem::take(&mut self.early);
        early.extend_from_slice(bytes);
        self.read_packets(&early, out)
    }

    fn read_packets(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Read {
        let mut read = Read::default();
        while read.end.is_none() {
            let packet = match self.frames.next(&mut bytes) {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(reason) => {
                    self.is_over = true;
                    read.end = Some(reason);
                    break;
                }
            };
            let Some(version) = self.version else {
                self.read_connect(&packet, &mut read, out);
                self.early.extend_from_slice(bytes);
                break;
            };
            match rules::check(&packet, version) {
                Ok(()) => match subscribe::read(&packet, version) {
                    Some(Ok(incoming)) => read.packets.push(incoming),
                    Some(Err(reason)) => {
                        self.is_over = true;
                        read.end = Some(reason);
                    }
                    None => self.feed(&packet, &mut read, out),
                },
                Err(reason) => {
                    self.is_over = true;
                    read.end = Some(reason);
                }
            }
        }
        read
    }

    /// Reads the first packet. One that breaks a rule is answered here.
    fn read_connect(&mut self, packet: &[u8], read: &mut Read, out: &mut Vec<u8>) {
        match rules::connect(rules::body(packet)) {
            Ok(good) => {
                let mut packet = Cow::Borrowed(packet);
                if let Some(at) = good.no_alias_at {
                    rules::say_one_alias(packet.to_mut(), at);
                    self.takes_no_alias = true;
                }
                if let Some(at) = good.lone_password_at {
                    packet = rules::with_user_name(&packet, at).into();
                }
                self.feed(&packet, read, out);
            }
            Err(bad) => {
                self.is_over = true;
                let (version, refusal) = match bad {
                    BadConnect::Unknown => (None, ConnectRefusal::UnsupportedVersion),
                    BadConnect::Older => (Some(Version::V311), ConnectRefusal::UnsupportedVersion),
                    BadConnect::Newer => (Some(Version::V5), ConnectRefusal::UnsupportedVersion),
                    // 3.1.1 has no return code for what is malformed.
                    BadConnect::Wrong(Version::V311, reason) => (None, reason.into()),
                    BadConnect::Wrong(Version::V5, reason) => (Some(Version::V5), reason.into()),
                };
                self.version = version;
                self.refuse(refusal, refusal.text(), out);
                read.end = Some(Reason::MalformedPacket);
                read.refused = Some(refusal);
            }
        }
    }

    /// Hands a whole packet to the library.
    fn feed(&mut self, packet: &[u8], read: &mut Read, out: &mut Vec<u8>) {
        let mut cursor = Cursor::new(packet);
        for event in self.connection.recv(&mut cursor) {
            self.take(event, read, out);
        }
        let nameless = packet[0] >> 4 == 3 && rules::body(packet).starts_with(&[0, 0]);
        // An alias that nobody has set leaves the topic without a name (MQTT 5.0 section 3.3.4).
        if nameless && read.end == Some(Reason::TopicAliasInvalid) {
            read.end = Some(Reason::ProtocolError);
        }
    }

    fn take(&mut self, event: Event, read: &mut Read, out: &mut Vec<u8>) {
        match event {
            Event::NotifyPacketReceived(packet) => match self.incoming(packet) {
                Ok(packet) => read.packets.push(packet),
                Err(reason) => {
                    self.is_over = true;
                    read.end.get_or_insert(reason);
                }
            },
            Event::NotifyError(error) => {
                self.is_over = true;
                // The low byte of an error of the protocol is its reason code.
                read.end.get_or_insert_with(|| Reason::of_error(error as u16));
            }
            Event::RequestClose => self.is_over = true,
            // What ends the connection is said behind the answers that are due before it.
            Event::RequestSendPacket { packet: Packet::V5_0Disconnect(_), .. }
            | Event::NotifyPacketIdReleased(_)
            | Event::RequestTimerReset { .. }
            | Event::RequestTimerCancel(_) => {}
            Event::RequestSendPacket { packet, .. } => {
                out.extend_from_slice(&packet.to_continuous_buffer());
            }
        }
    }

    fn incoming(&mut self, packet: Packet) -> Result<Incoming, Reason> {
        let incoming = match packet {
            Packet::V3_1_1Connect(connect) => {
                self.version = Some(Version::V311);
                Incoming::Connect(Box::new(connect_v311(&connect)))
            }
            Packet::V5_0Connect(connect) => {
                self.version = Some(Version::V5);
                self.client_packet_bytes_max = packet_bytes_max(&connect);
                let mut connect = connect_v5(&connect);
                if self.takes_no_alias {
                    connect.topic_alias_maximum = 0;
                }
                self.problem_information = connect.problem_information;
                self.aliases = Aliases::new(connect.topic_alias_maximum);
                Incoming::Connect(Box::new(connect))
            }
            Packet::V3_1_1Publish(packet) => {
                self.leave_duplicates_to_the_store();
                let (qos, packet_id) = (qos(packet.qos()), packet.packet_id().unwrap_or(0));
                let retain = packet.retain();
                publish(Publish { packet: Message::V311(packet), qos, packet_id, retain })?
            }
            Packet::V5_0Publish(packet) => {
                self.leave_duplicates_to_the_store();
                let (qos, packet_id) = (qos(packet.qos()), packet.packet_id().unwrap_or(0));
                let retain = packet.retain();
                publish(Publish { packet: Message::V5(packet), qos, packet_id, retain })?
            }
            Packet::V3_1_1Pubrel(packet) => Incoming::Release(packet.packet_id()),
            Packet::V5_0Pubrel(packet) => Incoming::Release(packet.packet_id()),
            Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => Incoming::Ping,
            Packet::V3_1_1Disconnect(_) => {
                Incoming::Disconnect(Disconnect { with_will: false, session_expiry_s: None })
            }
            Packet::V5_0Disconnect(packet) => Incoming::Disconnect(disconnect_v5(&packet)),
            Packet::V5_0Auth(packet) => auth_v5(&packet)?,
            _ => Incoming::Unexpected,
        };
        Ok(incoming)
    }

    /// The library answers a QoS 2 message that comes again by itself, also when the first one has
    /// not been committed yet. The store knows what it has: every copy is for it to judge.
    fn leave_duplicates_to_the_store(&mut self) {
        self.connection.restore_qos2_publish_handled(std::iter::empty().collect());
    }

    /// Lets the client in. Says whether it has been told: not if it takes no packet as large as
    /// that, which it is told instead.
    pub fn accept(&mut self, accept: &Accept, out: &mut Vec<u8>) -> bool {
        self.frames.admit();
        let connack = match self.version {
            Some(Version::V311) => v3_1_1::Connack::builder()
                .session_present(accept.session_present)
                .return_code(codes::ConnectReturnCode::Accepted)
                .build()
                .map(Packet::from),
            Some(Version::V5) => self.connack_v5(accept),
            None => return false,
        };
        let before = out.len();
        self.send(connack, out);
        if out.len() > before {
            return true;
        }
        let refusal = ConnectRefusal::PacketTooLarge;
        self.refuse(refusal, refusal.text(), out);
        // Nothing may follow.
        self.version = None;
        false
    }

    fn connack_v5(&self, accept: &Accept) -> Result<Packet, codes::MqttError> {
        let connack = |properties| {
            let builder = v5_0::Connack::builder().session_present(accept.session_present);
            let builder = builder.reason_code(codes::ConnectReasonCode::Success);
            builder.props(properties).build().map(Packet::from)
        };
        let mut properties = accept_properties(accept);
        for (name, value) in &accept.user_properties {
            properties.extend(user_property(name, value));
        }
        let told = connack(properties)?;
        if self.fits(&told) { Ok(told) } else { connack(accept_properties(accept)) }
    }

    /// Goes on with an exchange of AUTH packets, or ends it (MQTT 5.0 section 3.15). What is told
    /// beside, in user properties, is left out where it does not fit or is not wanted.
    pub fn auth(
        &mut self,
        step: AuthStep,
        method: &str,
        user_properties: &[(&'static str, String)],
        out: &mut Vec<u8>,
    ) {
        let code = match step {
            AuthStep::Success => codes::AuthReasonCode::Success,
            AuthStep::Continue => codes::AuthReasonCode::ContinueAuthentication,
            AuthStep::Again => codes::AuthReasonCode::ReAuthenticate,
        };
        let auth = |told: &[(&'static str, String)]| {
            let mut properties = Properties::new();
            properties.extend(authentication_method(method));
            properties.extend(told.iter().filter_map(|(name, value)| user_property(name, value)));
            v5_0::Auth::builder().reason_code(code).props(properties).build().map(Packet::from)
        };
        let told = if self.problem_information { user_properties } else { &[] };
        let packet = auth(told);
        let fits = packet.as_ref().is_ok_and(|packet| self.fits(packet));
        self.send(if fits { packet } else { auth(&[]) }, out);
    }

    /// Refuses CONNECT.
    pub fn refuse(&mut self, refusal: ConnectRefusal, text: &str, out: &mut Vec<u8>) {
        let (code, return_code) = refusal.codes();
        match self.version {
            Some(Version::V311) => {
                let connack =
                    v3_1_1::Connack::builder().session_present(false).return_code(return_code);
                self.send(connack.build().map(Packet::from), out);
            }
            Some(Version::V5) => {
                let connack = |properties| {
                    let builder = v5_0::Connack::builder().session_present(false);
                    builder.reason_code(code).props(properties).build().map(Packet::from)
                };
                self.send_explained(connack, text, out);
            }
            None => {}
        }
    }

    /// Acknowledges; what a 3.1.1 client cannot be told is left out.
    pub fn acknowledge(
        &mut self,
        kind: Kind,
        packet_id: u16,
        acknowledgement: &Acknowledgement,
        out: &mut Vec<u8>,
    ) {
        match self.version {
            Some(Version::V311) => self.acknowledge_v311(kind, packet_id, out),
            Some(Version::V5) => self.acknowledge_v5(kind, packet_id, acknowledgement, out),
            None => {}
        }
    }

    fn acknowledge_v311(&mut self, kind: Kind, packet_id: u16, out: &mut Vec<u8>) {
        let packet = match kind {
            Kind::Puback => {
                v3_1_1::Puback::builder().packet_id(packet_id).build().map(Packet::from)
            }
            Kind::Pubrec => {
                v3_1_1::Pubrec::builder().packet_id(packet_id).build().map(Packet::from)
            }
            Kind::Pubcomp => {
                v3_1_1::Pubcomp::builder().packet_id(packet_id).build().map(Packet::from)
            }
        };
        self.send(packet, out);
    }

    /// An acknowledgement that is larger than the client takes goes without its properties (MQTT
    /// 5.0 section 3.4.2.2.2).
    fn acknowledge_v5(
        &mut self,
        kind: Kind,
        packet_id: u16,
        acknowledgement: &Acknowledgement,
        out: &mut Vec<u8>,
    ) {
        let mut properties = Properties::new();
        if let Some(reason) = &acknowledgement.reason {
            self.explain(reason, &mut properties);
        }
        if self.problem_information {
            for (name, value) in &acknowledgement.properties {
                properties.extend(user_property(name, value));
            }
        }
        let mut packet = acknowledgement_v5(kind, packet_id, acknowledgement.code, properties);
        if packet.as_ref().is_ok_and(|packet| !self.fits(packet)) {
            let none = Properties::new();
            packet = acknowledgement_v5(kind, packet_id, acknowledgement.code, none);
        }
        self.send(packet, out);
    }

    /// Answers SUBSCRIBE: one code for each filter (MQTT 5.0 section 3.9.3), and in words what was
    /// refused, if anything.
    pub fn suback(&mut self, packet_id: u16, codes: &[u8], text: Option<&str>, out: &mut Vec<u8>) {
        match self.version {
            Some(Version::V311) => {
                let failure = codes::SubackReturnCode::Failure;
                let code = |code: &u8| codes::SubackReturnCode::try_from(*code).unwrap_or(failure);
                let codes = codes.iter().map(code).collect();
                let suback = v3_1_1::Suback::builder().packet_id(packet_id).return_codes(codes);
                self.send(suback.build().map(Packet::from), out);
            }
            Some(Version::V5) => {
                let failure = codes::SubackReasonCode::UnspecifiedError;
                let code = |code: &u8| codes::SubackReasonCode::try_from(*code).unwrap_or(failure);
                let codes: Vec<_> = codes.iter().map(code).collect();
                let suback = |properties| {
                    let builder = v5_0::Suback::builder().packet_id(packet_id);
                    let builder = builder.reason_codes(codes.clone()).props(properties);
                    builder.build().map(Packet::from)
                };
                match text {
                    Some(text) => self.send_explained(suback, text, out),
                    None => self.send(suback(Properties::new()), out),
                }
            }
            None => {}
        }
    }

    /// Answers UNSUBSCRIBE: for each filter, whether there was such a subscription (MQTT 5.0
    /// section 3.11.3).
    pub fn unsuback(&mut self, packet_id: u16, existed: &[bool], out: &mut Vec<u8>) {
        match self.version {
            Some(Version::V311) => {
                let unsuback = v3_1_1::Unsuback::builder().packet_id(packet_id).build();
                self.send(unsuback.map(Packet::from), out);
            }
            Some(Version::V5) => {
                let code = |existed: &bool| match existed {
                    true => codes::UnsubackReasonCode::Success,
                    false => codes::UnsubackReasonCode::NoSubscriptionExisted,
                };
                let codes = existed.iter().map(code).collect();
                let unsuback = v5_0::Unsuback::builder().packet_id(packet_id).reason_codes(codes);
                self.send(unsuback.build().map(Packet::from), out);
            }
            None => {}
        }
    }

    /// Says why the connection ends; 3.1.1 has no packet for that.
    pub fn disconnect(&mut self, reason: Reason, text: &str, out: &mut Vec<u8>) {
        if self.version != Some(Version::V5) {
            return;
        }
        let disconnect = |properties| {
            let builder = v5_0::Disconnect::builder().reason_code(reason.code());
            builder.props(properties).build().map(Packet::from)
        };
        self.send_explained(disconnect, text, out);
    }

    /// Sends a packet with a reason string, or without one where it would not fit.
    fn send_explained(
        &mut self,
        packet: impl Fn(Properties) -> Result<Packet, codes::MqttError>,
        text: &str,
        out: &mut Vec<u8>,
    ) {
        let mut properties = Properties::new();
        self.explain(text, &mut properties);
        let explained = packet(properties);
        let fits = explained.as_ref().is_ok_and(|packet| self.fits(packet));
        self.send(if fits { explained } else { packet(Properties::new()) }, out);
    }

    /// Adds a reason string, if the client wants to know.
    fn explain(&self, text: &str, properties: &mut Properties) {
        if self.problem_information {
            properties.extend(reason_string(text));
        }
    }

    fn fits(&self, packet: &Packet) -> bool {
        packet.size() <= self.client_packet_bytes_max
    }

    /// Sends a packet, or leaves it out when it is larger than the client takes (MQTT 5.0 section
    /// 3.1.2.11.4).
    fn send(&mut self, packet: Result<Packet, codes::MqttError>, out: &mut Vec<u8>) {
        let Ok(packet) = packet else { return };
        if self.is_over {
            if self.fits(&packet) {
                out.extend_from_slice(&packet.to_continuous_buffer());
            }
            return;
        }
        for event in self.connection.send(packet) {
            if let Event::RequestSendPacket { packet, .. } = event {
                out.extend_from_slice(&packet.to_continuous_buffer());
            }
        }
    }
}

/// PUBACK, PUBREC or PUBCOMP of version 5.
fn acknowledgement_v5(
    kind: Kind,
    packet_id: u16,
    code: u8,
    properties: Properties,
) -> Result<Packet, codes::MqttError> {
    match kind {
        Kind::Puback => {
            let code = codes::PubackReasonCode::try_from(code);
            let code = code.unwrap_or(codes::PubackReasonCode::UnspecifiedError);
            let builder = v5_0::Puback::builder().packet_id(packet_id).props(properties);
            builder.reason_code(code).build().map(Packet::from)
        }
        Kind::Pubrec => {
            let code = codes::PubrecReasonCode::try_from(code);
            let code = code.unwrap_or(codes::PubrecReasonCode::UnspecifiedError);
            let builder = v5_0::Pubrec::builder().packet_id(packet_id).props(properties);
            builder.reason_code(code).build().map(Packet::from)
        }
        Kind::Pubcomp => {
            let code = codes::PubcompReasonCode::try_from(code);
            let code = code.unwrap_or(codes::PubcompReasonCode::PacketIdentifierNotFound);
            let builder = v5_0::Pubcomp::builder().packet_id(packet_id).props(properties);
            builder.reason_code(code).build().map(Packet::from)
        }
    }
}
