//! What packets say, whatever their version: what clients ask for, and what they are answered.

use std::borrow::Cow;
use std::fmt;

use super::Publish;

/// The version that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// How surely a message arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// At most once.
    AtMostOnce,
    /// At least once.
    AtLeastOnce,
    /// Exactly once.
    ExactlyOnce,
}

/// A packet from a client.
#[derive(Debug)]
pub enum Incoming {
    /// CONNECT.
    Connect(Box<Connect>),
    /// PUBLISH.
    Publish(Publish),
    /// PUBREL for a packet identifier.
    Release(u16),
    /// SUBSCRIBE.
    Subscribe(Box<Subscribe>),
    /// UNSUBSCRIBE: the packet identifier and the filters.
    Unsubscribe(u16, Vec<String>),
    /// The answer to a PUBLISH or PUBREL that was sent to the client.
    Acknowledged {
        /// Which one.
        kind: Ack,
        /// The packet identifier.
        packet_id: u16,
        /// The client could not take it.
        is_error: bool,
    },
    /// PINGREQ; answered already.
    Ping,
    /// AUTH.
    Auth(Auth),
    /// DISCONNECT.
    Disconnect(Disconnect),
    /// What no client sends.
    Unexpected,
}

/// SUBSCRIBE, MQTT 5.0 section 3.8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The packet identifier.
    pub packet_id: u16,
    /// What messages are marked with that match one of the filters.
    pub identifier: Option<u32>,
    /// The filters, at least one.
    pub filters: Vec<Requested>,
}

/// One filter of SUBSCRIBE, and how it is subscribed to (MQTT 5.0 section 3.8.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// The topic filter, as it came.
    pub filter: String,
    /// The highest quality of service that is asked for.
    pub qos: Qos,
    /// The client's own messages are left out.
    pub no_local: bool,
    /// The flag RETAIN stays as it was published.
    pub retain_as_published: bool,
    /// Retained messages: 0 are sent, 1 only for a new subscription, 2 are not.
    pub retain_handling: u8,
}

/// What a client acknowledges a publication with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// PUBACK, for QoS 1.
    Puback,
    /// PUBREC, for QoS 2.
    Pubrec,
    /// PUBCOMP, for PUBREL.
    Pubcomp,
}

/// CONNECT, MQTT 5.0 section 3.1; fields that 3.1.1 lacks have their defaults.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The version that the client speaks.
    pub version: Version,
    /// The client identifier; empty when the server is to assign one.
    pub client_id: String,
    /// Clean start, or clean session.
    pub clean_start: bool,
    /// The longest silence of the client, in seconds; 0: any.
    pub keep_alive_s: u16,
    /// How long the session outlives the connection, in seconds; `u32::MAX`: for ever.
    pub session_expiry_s: u32,
    /// The user name.
    pub user_name: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The method of enhanced authentication (section 4.12).
    pub authentication_method: Option<String>,
    /// What that method takes.
    pub authentication_data: Option<Secret>,
    /// Whether reason strings and user properties may be sent.
    pub problem_information: bool,
    /// How many publications of QoS 1 and 2 the client takes at once.
    pub receive_maximum: u16,
    /// How many topic aliases the client takes.
    pub topic_alias_maximum: u16,
    /// What is to be published when the client is lost.
    pub will: Option<Will>,
}

/// What proves who somebody is. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// AUTH from a client, MQTT 5.0 section 3.15.
#[derive(Clone, Debug)]
pub struct Auth {
    /// What it asks for: [`AuthStep::Continue`] or [`AuthStep::Again`].
    pub step: AuthStep,
    /// The method of enhanced authentication.
    pub method: String,
    /// What that method takes.
    pub data: Option<Secret>,
}

/// Where an exchange of AUTH packets stands (MQTT 5.0 section 3.15.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthStep {
    /// It has succeeded; the server says so.
    Success,
    /// It goes on with this packet.
    Continue,
    /// The client authenticates again.
    Again,
}

/// What is to be published when a client is lost.
#[derive(Clone, Debug)]
pub struct Will {
    /// The message.
    pub message: Publish,
    /// How long after the loss, in seconds.
    pub delay_s: u32,
}

/// DISCONNECT from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// The will is to be published all the same (reason code 0x04, or an error).
    pub with_will: bool,
    /// A new session expiry, in seconds.
    pub session_expiry_s: Option<u32>,
}

/// What CONNACK tells a client that is let in.
#[derive(Clone, Debug)]
pub struct Accept {
    /// The server knows the session.
    pub session_present: bool,
    /// The identifier that the server chose.
    pub assigned_client_id: Option<String>,
    /// The session expiry that holds, if it is not what was asked for, in seconds.
    pub session_expiry_s: Option<u32>,
    /// The keep alive that holds, if it is not what was asked for, in seconds.
    pub keep_alive_s: Option<u16>,
    /// How many QoS 1 and 2 publications may be under way.
    pub receive_maximum: u16,
    /// How many topic aliases there may be.
    pub topic_alias_maximum: u16,
    /// The method by which the client was recognized, when it named one.
    pub authentication_method: Option<String>,
    /// User properties, which a client that takes small packets is not told.
    pub user_properties: Vec<(&'static str, String)>,
}

/// The answer to a PUBLISH of QoS 1 or 2, or to a PUBREL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The reason code (MQTT 5.0 section 3.4.2.1).
    pub code: u8,
    /// What is wrong, in words.
    pub reason: Option<Cow<'static, str>>,
    /// User properties.
    pub properties: Vec<(&'static str, String)>,
}

/// Which acknowledgement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PUBACK, for QoS 1.
    Puback,
    /// PUBREC, for QoS 2.
    Pubrec,
    /// PUBCOMP, for PUBREL.
    Pubcomp,
}
