//! What an operator is to mend when a broker of AMQP 1.0 refuses.

use std::io::ErrorKind;

use fe2o3_amqp::connection::{ConnectionStopReason, OpenError};
use fe2o3_amqp::link::{
    LinkStateError, ReceiverAttachError, RecvError, SendError, SenderAttachError, SessionStopReason,
};
use fe2o3_amqp::session::BeginError;
use fe2o3_amqp::types::definitions::{AmqpError, Error, ErrorCondition};

use crate::tls;

/// What the broker says, in its own words.
pub(super) fn condition(error: &Error) -> String {
    let hint = match &error.condition {
        ErrorCondition::AmqpError(AmqpError::NotFound) => ": make it, or mend the topic",
        ErrorCondition::AmqpError(AmqpError::UnauthorizedAccess) => {
            ": let the user of auth do that there, and mend the path of the URL"
        }
        _ => "",
    };
    match &error.description {
        Some(said) => format!("the broker says: {said}{hint}"),
        None => format!("the broker says: {:?}{hint}", error.condition),
    }
}

pub(super) fn open(error: &OpenError) -> String {
    match error {
        OpenError::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            "the broker closed the connection without an answer: mend the port, or the scheme, of \
             the URL; it may want TLS (amqps10)"
                .to_owned()
        }
        OpenError::Io(error) => tls::reason(error),
        OpenError::ProtocolHeaderMismatch(_) => {
            "what answers there does not speak AMQP 1.0: mend the port, or the scheme, of the URL; \
             RabbitMQ before 4.0 needs its plugin rabbitmq_amqp1_0"
                .to_owned()
        }
        OpenError::SaslError { .. } => {
            "the broker refuses the login: mend the name or the password in auth, or the attribute \
             authentication"
                .to_owned()
        }
        OpenError::RemoteClosedWithError(error) => condition(error),
        error => error.to_string(),
    }
}

pub(super) fn begin(error: &BeginError) -> String {
    match error {
        BeginError::RemoteEndedWithError(error)
        | BeginError::ConnectionStopped(ConnectionStopReason::RemoteClosedWithError(error)) => {
            condition(error)
        }
        error => error.to_string(),
    }
}

pub(super) fn attach(error: &SenderAttachError, address: &str) -> String {
    match error {
        SenderAttachError::RemoteClosedWithError(error) => condition(error),
        SenderAttachError::SessionStopped(reason) => stopped(reason),
        error => format!("{address} cannot be attached to: {error}"),
    }
}

pub(super) fn attach_to_read(error: &ReceiverAttachError, address: &str) -> String {
    match error {
        ReceiverAttachError::RemoteClosedWithError(error) => condition(error),
        ReceiverAttachError::SessionStopped(reason) => stopped(reason),
        error => format!("{address} cannot be attached to: {error}"),
    }
}

pub(super) fn send(error: &SendError) -> String {
    match error {
        SendError::LinkStateError(error) => link(error),
        error => error.to_string(),
    }
}

pub(super) fn receive(error: &RecvError) -> String {
    match error {
        RecvError::LinkStateError(error) => link(error),
        error => error.to_string(),
    }
}

pub(super) fn link(error: &LinkStateError) -> String {
    match error {
        LinkStateError::RemoteDetachedWithError(error)
        | LinkStateError::RemoteClosedWithError(error) => condition(error),
        LinkStateError::SessionStopped(reason) => stopped(reason),
        error => error.to_string(),
    }
}

fn stopped(reason: &SessionStopReason) -> String {
    match reason {
        SessionStopReason::RemoteEndedWithError(error)
        | SessionStopReason::ConnectionStopped(ConnectionStopReason::RemoteClosedWithError(
            error,
        )) => condition(error),
        _ => "the broker ended the connection".to_owned(),
    }
}
