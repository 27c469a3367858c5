//! Why connections end and are refused, in the codes of both versions.

use mqtt_protocol_core::mqtt::result_code as codes;

/// Why a connection ends, as DISCONNECT tells it (MQTT 5.0 section 3.14.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// 0x80
    Unspecified = 0x80,
    /// 0x81
    MalformedPacket = 0x81,
    /// 0x82
    ProtocolError = 0x82,
    /// 0x87
    NotAuthorized = 0x87,
    /// 0x8B
    ShuttingDown = 0x8b,
    /// 0x8D
    KeepAliveTimeout = 0x8d,
    /// 0x8E
    SessionTakenOver = 0x8e,
    /// 0x90
    TopicNameInvalid = 0x90,
    /// 0x93
    ReceiveMaximumExceeded = 0x93,
    /// 0x94
    TopicAliasInvalid = 0x94,
    /// 0x95
    PacketTooLarge = 0x95,
    /// 0x97
    QuotaExceeded = 0x97,
    /// 0x9A
    RetainNotSupported = 0x9a,
}

impl Reason {
    /// What is said of it to people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Unspecified => "the packet cannot be processed",
            Self::MalformedPacket => "malformed packet",
            Self::ProtocolError => "protocol error",
            Self::NotAuthorized => "not authorized",
            Self::ShuttingDown => "the server is shutting down",
            Self::KeepAliveTimeout => "nothing came for one and a half times the keep alive",
            Self::SessionTakenOver => "another connection has taken over the session",
            Self::TopicNameInvalid => "the topic name is not valid",
            Self::ReceiveMaximumExceeded => "more publications at once than the receive maximum",
            Self::TopicAliasInvalid => "the topic alias is not valid",
            Self::PacketTooLarge => "the packet is larger than the maximum packet size",
            Self::QuotaExceeded => "a limit of the server is reached",
            Self::RetainNotSupported => "retained messages are not supported",
        }
    }
}

/// How CONNECT is refused; each is a code of both versions (MQTT 5.0 section 3.2.2.2, 3.1.1
/// section 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectRefusal {
    /// The client identifier is not allowed.
    ClientIdentifierNotValid,
    /// The credential is not good.
    BadUserNameOrPassword,
    /// The client may not connect.
    NotAuthorized,
    /// Events cannot be taken at present.
    ServerUnavailable,
    /// There are as many connections as there may be.
    ServerBusy,
    /// No such method of authentication is offered.
    BadAuthenticationMethod,
    /// The will asks for what is not supported.
    RetainNotSupported,
    /// The will is no event.
    PayloadFormatInvalid,
    /// The will's topic is not a topic name.
    TopicNameInvalid,
    /// No such version is spoken.
    UnsupportedVersion,
    /// The client takes no packet as large as CONNACK.
    PacketTooLarge,
    /// CONNECT cannot be read.
    Malformed,
    /// CONNECT says what it may not.
    ProtocolError,
}

impl From<Reason> for ConnectRefusal {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::ProtocolError => Self::ProtocolError,
            Reason::TopicNameInvalid => Self::TopicNameInvalid,
            _ => Self::Malformed,
        }
    }
}

impl ConnectRefusal {
    /// What is said of it to people where nobody knows more.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::ClientIdentifierNotValid => "the client identifier is not valid",
            Self::BadUserNameOrPassword => "bad user name or password",
            Self::NotAuthorized => "not authorized",
            Self::ServerUnavailable => "events cannot be taken at present",
            Self::ServerBusy => "there are as many connections as there may be",
            Self::BadAuthenticationMethod => "the authentication method is not offered",
            Self::RetainNotSupported => "a retained will is not supported",
            Self::PayloadFormatInvalid => "the will is no event",
            Self::TopicNameInvalid => "the topic of the will is not valid",
            Self::UnsupportedVersion => "expected MQTT 3.1.1 or 5.0",
            Self::PacketTooLarge => "the maximum packet size is too small",
            Self::Malformed => "malformed packet",
            Self::ProtocolError => "protocol error",
        }
    }
}

impl Reason {
    /// The reason for an error of the library, whose low byte is a reason code where the error is
    /// the protocol's.
    pub(super) fn of_error(error: u16) -> Self {
        const ALL: [Reason; 13] = [
            Reason::Unspecified,
            Reason::MalformedPacket,
            Reason::ProtocolError,
            Reason::NotAuthorized,
            Reason::ShuttingDown,
            Reason::KeepAliveTimeout,
            Reason::SessionTakenOver,
            Reason::TopicNameInvalid,
            Reason::ReceiveMaximumExceeded,
            Reason::TopicAliasInvalid,
            Reason::PacketTooLarge,
            Reason::QuotaExceeded,
            Reason::RetainNotSupported,
        ];
        let known = ALL.into_iter().find(|reason| u16::from(*reason as u8) == error);
        known.unwrap_or(Self::MalformedPacket)
    }

    pub(super) fn code(self) -> codes::DisconnectReasonCode {
        codes::DisconnectReasonCode::try_from(self as u8)
            .unwrap_or(codes::DisconnectReasonCode::UnspecifiedError)
    }
}

impl ConnectRefusal {
    /// The codes of 5.0 and of 3.1.1.
    pub(super) fn codes(self) -> (codes::ConnectReasonCode, codes::ConnectReturnCode) {
        use codes::{ConnectReasonCode as V5, ConnectReturnCode as V311};
        match self {
            Self::ClientIdentifierNotValid => {
                (V5::ClientIdentifierNotValid, V311::IdentifierRejected)
            }
            Self::BadUserNameOrPassword => (V5::BadUserNameOrPassword, V311::BadUserNameOrPassword),
            Self::NotAuthorized => (V5::NotAuthorized, V311::NotAuthorized),
            Self::ServerUnavailable => (V5::ServerUnavailable, V311::ServerUnavailable),
            Self::ServerBusy => (V5::ServerBusy, V311::ServerUnavailable),
            Self::BadAuthenticationMethod => {
                (V5::BadAuthenticationMethod, V311::BadUserNameOrPassword)
            }
            Self::RetainNotSupported => (V5::RetainNotSupported, V311::NotAuthorized),
            Self::PayloadFormatInvalid => (V5::PayloadFormatInvalid, V311::NotAuthorized),
            Self::TopicNameInvalid => (V5::TopicNameInvalid, V311::NotAuthorized),
            Self::UnsupportedVersion => {
                (V5::UnsupportedProtocolVersion, V311::UnacceptableProtocolVersion)
            }
            Self::PacketTooLarge => (V5::PacketTooLarge, V311::NotAuthorized),
            Self::Malformed => (V5::MalformedPacket, V311::NotAuthorized),
            Self::ProtocolError => (V5::ProtocolError, V311::NotAuthorized),
        }
    }
}
