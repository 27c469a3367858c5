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
    /// 0x89
    ServerBusy = 0x89,
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
    /// 0x98
    AdministrativeAction = 0x98,
    /// 0x9A
    RetainNotSupported = 0x9a,
    /// 0xA0
    MaximumConnectTime = 0xa0,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::Unspecified,
        Self::MalformedPacket,
        Self::ProtocolError,
        Self::NotAuthorized,
        Self::ServerBusy,
        Self::ShuttingDown,
        Self::KeepAliveTimeout,
        Self::SessionTakenOver,
        Self::TopicNameInvalid,
        Self::ReceiveMaximumExceeded,
        Self::TopicAliasInvalid,
        Self::PacketTooLarge,
        Self::QuotaExceeded,
        Self::AdministrativeAction,
        Self::RetainNotSupported,
        Self::MaximumConnectTime,
    ];

    /// The reason with this code; none if the server gives no such reason.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == code)
    }

    /// The word for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.words().0
    }

    /// What is said of it to people where nobody knows more.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Unspecified => ("unspecified", "the packet cannot be processed"),
            Self::MalformedPacket => ("malformed_packet", "malformed packet"),
            Self::ProtocolError => ("protocol_error", "protocol error"),
            Self::NotAuthorized => ("not_authorized", "not authorized"),
            Self::ServerBusy => ("server_busy", "the server cannot do this at present"),
            Self::ShuttingDown => ("shutting_down", "the server is shutting down"),
            Self::KeepAliveTimeout => {
                ("keep_alive_timeout", "nothing came for one and a half times the keep alive")
            }
            Self::SessionTakenOver => {
                ("session_taken_over", "another connection has taken over the session")
            }
            Self::TopicNameInvalid => ("topic_name_invalid", "the topic name is not valid"),
            Self::ReceiveMaximumExceeded => {
                ("receive_maximum_exceeded", "more publications at once than the receive maximum")
            }
            Self::TopicAliasInvalid => ("topic_alias_invalid", "the topic alias is not valid"),
            Self::PacketTooLarge => {
                ("packet_too_large", "the packet is larger than the maximum packet size")
            }
            Self::QuotaExceeded => ("quota_exceeded", "a limit of the server is reached"),
            Self::AdministrativeAction => ("revoked", "the credential has been revoked"),
            Self::RetainNotSupported => {
                ("retain_not_supported", "retained messages are not supported")
            }
            Self::MaximumConnectTime => ("expired", "the credential has expired"),
        }
    }

    /// The reason for an error of the library, whose low byte is a reason code where the error is
    /// the protocol's.
    pub(super) fn of_error(error: u16) -> Self {
        let known = Self::ALL.into_iter().find(|reason| u16::from(*reason as u8) == error);
        known.unwrap_or(Self::MalformedPacket)
    }

    pub(super) fn code(self) -> codes::DisconnectReasonCode {
        codes::DisconnectReasonCode::try_from(self as u8)
            .unwrap_or(codes::DisconnectReasonCode::UnspecifiedError)
    }
}

/// How CONNECT is refused; each has a code of either version (MQTT 5.0 section 3.2.2.2, 3.1.1
/// section 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectRefusal {
    /// The client identifier is not allowed.
    ClientIdentifierNotValid,
    /// The credential is not good.
    BadUserNameOrPassword,
    /// The credential was good, and is no more.
    CredentialExpired,
    /// The client may not connect.
    NotAuthorized,
    /// Too many attempts have failed.
    LockedOut,
    /// Events cannot be taken, or nobody can be recognized, at present.
    ServerUnavailable,
    /// There are as many connections as there may be.
    ServerBusy,
    /// The application has as many as it may.
    QuotaExceeded,
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
    /// CONNECT is too large, or the client takes no packet as large as CONNACK.
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
            Reason::PacketTooLarge => Self::PacketTooLarge,
            _ => Self::Malformed,
        }
    }
}

impl ConnectRefusal {
    /// Every way to be refused.
    pub const ALL: [Self; 16] = [
        Self::ClientIdentifierNotValid,
        Self::BadUserNameOrPassword,
        Self::CredentialExpired,
        Self::NotAuthorized,
        Self::LockedOut,
        Self::ServerUnavailable,
        Self::ServerBusy,
        Self::QuotaExceeded,
        Self::BadAuthenticationMethod,
        Self::RetainNotSupported,
        Self::PayloadFormatInvalid,
        Self::TopicNameInvalid,
        Self::UnsupportedVersion,
        Self::PacketTooLarge,
        Self::Malformed,
        Self::ProtocolError,
    ];

    /// The word for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.words().0
    }

    /// What is said of it to people where nobody knows more.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::ClientIdentifierNotValid => {
                ("client_identifier_not_valid", "the client identifier is not valid")
            }
            Self::BadUserNameOrPassword => {
                ("bad_user_name_or_password", "bad user name or password")
            }
            Self::CredentialExpired => ("credential_expired", "the credential has expired"),
            Self::NotAuthorized => ("not_authorized", "not authorized"),
            Self::LockedOut => ("locked_out", "too many attempts failed"),
            Self::ServerUnavailable => ("server_unavailable", "events cannot be taken at present"),
            Self::ServerBusy => ("server_busy", "there are as many connections as there may be"),
            Self::QuotaExceeded => {
                ("quota_exceeded", "the application has as many connections as it may")
            }
            Self::BadAuthenticationMethod => {
                ("bad_authentication_method", "the authentication method is not offered")
            }
            Self::RetainNotSupported => {
                ("retain_not_supported", "a retained will is not supported")
            }
            Self::PayloadFormatInvalid => ("payload_format_invalid", "the will is no event"),
            Self::TopicNameInvalid => ("topic_name_invalid", "the topic of the will is not valid"),
            Self::UnsupportedVersion => ("unsupported_version", "expected MQTT 3.1.1 or 5.0"),
            Self::PacketTooLarge => ("packet_too_large", "the maximum packet size is too small"),
            Self::Malformed => ("malformed", "malformed packet"),
            Self::ProtocolError => ("protocol_error", "protocol error"),
        }
    }

    /// The codes of 5.0 and of 3.1.1.
    pub(super) fn codes(self) -> (codes::ConnectReasonCode, codes::ConnectReturnCode) {
        use codes::{ConnectReasonCode as V5, ConnectReturnCode as V311};
        match self {
            Self::ClientIdentifierNotValid => {
                (V5::ClientIdentifierNotValid, V311::IdentifierRejected)
            }
            Self::BadUserNameOrPassword => (V5::BadUserNameOrPassword, V311::BadUserNameOrPassword),
            Self::CredentialExpired | Self::NotAuthorized => {
                (V5::NotAuthorized, V311::NotAuthorized)
            }
            Self::LockedOut | Self::QuotaExceeded => (V5::QuotaExceeded, V311::ServerUnavailable),
            Self::ServerUnavailable => (V5::ServerUnavailable, V311::ServerUnavailable),
            Self::ServerBusy => (V5::ServerBusy, V311::ServerUnavailable),
            Self::BadAuthenticationMethod => (V5::BadAuthenticationMethod, V311::NotAuthorized),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_reason_has_a_word_of_its_own() {
        let words: BTreeSet<_> = Reason::ALL.map(Reason::as_str).into();
        assert_eq!(words.len(), Reason::ALL.len());
        let words: BTreeSet<_> = ConnectRefusal::ALL.map(ConnectRefusal::as_str).into();
        assert_eq!(words.len(), ConnectRefusal::ALL.len());
    }
}
