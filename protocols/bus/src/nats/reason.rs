//! What an operator is to make of an error of the NATS client.

use std::error::Error;
use std::fmt::Display;
use std::io;

use async_nats::jetstream::context::PublishError;
use async_nats::{ConnectError, ConnectErrorKind};

use crate::tls;

/// Why there is no connection.
pub(super) fn of(error: &ConnectError) -> String {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation => {
            "the server refuses who the gateway is: mend auth.credential, \
             attributes.authentication or auth.certificate"
                .to_owned()
        }
        ConnectErrorKind::Authentication => {
            "auth.credential: the password cannot sign for the server: expected the seed of a key \
             with attributes.authentication NKEY, or the text of a credentials file with CREDENTIALS"
                .to_owned()
        }
        ConnectErrorKind::TimedOut => {
            "the server does not answer as NATS does in time: is it NATS, and on this port?".to_owned()
        }
        kind => match io_cause(error) {
            Some(cause) => tls::reason(cause),
            None => deepest(error).map_or_else(|| kind.to_string(), said),
        },
    }
}

/// What the server said in its own words, and what there is to mend.
pub(super) fn of_complaint(complaint: &str) -> String {
    let complaint = complaint.trim_start_matches("nats: ");
    let lower = complaint.to_ascii_lowercase();
    let mend = if lower.contains("permissions violation") {
        ": let the user of auth.credential do that on the server"
    } else {
        ""
    };
    format!("the server says {complaint}{mend}")
}

/// Why the stream did not take an event.
pub(super) fn of_publish(error: &PublishError) -> String {
    let text = deepest(error).map_or_else(|| error.to_string(), ToString::to_string);
    let mend = if text.contains("expected stream does not match") {
        ": another stream than that of attributes.stream takes the subject"
    } else {
        ""
    };
    format!("{text}{mend}")
}

/// Why a question was not answered.
pub(super) fn of_request(error: &(dyn Error + 'static)) -> String {
    let text = deepest(error).map_or_else(|| error.to_string(), ToString::to_string);
    if text.contains("no responders") {
        return "JetStream is not enabled there: enable it in the server's configuration"
            .to_owned();
    }
    text
}

fn said(cause: impl Display) -> String {
    let text = cause.to_string();
    if text.starts_with("expected INFO") {
        return "the server does not speak NATS: mend scheme or port of the URL".to_owned();
    }
    format!("the server says {}", text.trim_start_matches("nats: "))
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source()).take(8)
}

fn deepest<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    causes(error).last()
}

fn io_cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e io::Error> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>())
}
