//! What packets say, whatever their version: what clients ask for, and what they are answered.

use std::borrow::Cow;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// SUBSCRIBE: the packet identifier and how many filters.
    Subscribe(u16, usize),
    /// UNSUBSCRIBE: the packet identifier and how many filters.
    Unsubscribe(u16, usize),
    /// PINGREQ; answered already.
    Ping,
    /// AUTH.
    Auth,
    /// DISCONNECT.
    Disconnect(Disconnect),
    /// An acknowledgement of something that this server never sent.
    Unexpected,
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
    pub password: Option<Vec<u8>>,
    /// The method of enhanced authentication.
    pub authentication_method: Option<String>,
    /// Whether reason strings and user properties may be sent.
    pub problem_information: bool,
    /// What is to be published when the client is lost.
    pub will: Option<Will>,
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
