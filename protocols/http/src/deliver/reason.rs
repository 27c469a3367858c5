//! Why there was no answer, in a sentence for an operator.

use std::error::Error;
use std::io;

use hyper_util::client::legacy;

use super::client::LookupError;

/// The deepest chain of causes that is followed.
const DEPTH_MAX: usize = 16;

/// Says why a request was not answered. The sentence names no part of the URL but its host.
pub(super) fn of(error: &legacy::Error) -> String {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut last = None;
    for _ in 0..DEPTH_MAX {
        let Some(current) = cause else { break };
        if let Some(sentence) = sentence(current) {
            return sentence;
        }
        last = Some(current);
        // The source of an I/O error is its cause's source: the cause itself would be passed over.
        cause = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    last.map_or_else(|| error.to_string(), ToString::to_string)
}

/// The sentence for a cause that is known.
fn sentence(cause: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<LookupError>() {
        return Some(error.to_string());
    }
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(of_tls(error));
    }
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        return of_http(error);
    }
    let error = cause.downcast_ref::<io::Error>()?;
    if error.get_ref().is_some() {
        return None;
    }
    let sentence = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => "connection closed",
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        io::ErrorKind::TimedOut => "connection timed out",
        _ => return Some(error.to_string()),
    };
    Some(sentence.to_owned())
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => format!("certificate not trusted: {why}"),
        other => format!("TLS handshake failed: {other}"),
    }
}

fn of_http(error: &hyper::Error) -> Option<String> {
    if error.is_incomplete_message() {
        return Some("connection closed before an answer".to_owned());
    }
    if error.is_parse_too_large() {
        return Some("the head of the answer is too large".to_owned());
    }
    if error.is_parse() {
        return Some(format!("the answer is not HTTP: {error}"));
    }
    None
}
