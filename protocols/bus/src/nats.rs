//! NATS JetStream: published with an identifier that the stream removes duplicates by, and done
//! when the stream has acknowledged it.

mod read;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self};
use async_nats::{Client, ConnectOptions, Event};
use eg_event::outbound::{Auth, Credential};
use eg_event::{Delivery, Subscription, header};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio_util::sync::CancellationToken;

pub(crate) use self::read::read;
use crate::connections::{Connection, Surroundings};
use crate::error::PublishError;
use crate::message::{Headers, Message};
use crate::target::Target;
use crate::tls;

/// How the NATS binding of CloudEvents (1.0.2, section 3.1) writes attributes.
const HEADERS: Headers =
    Headers { prefix: "ce-", content_type: "ce-datacontenttype", value: header::encode };
/// How many commands may wait for the socket.
const QUEUED_MAX: usize = 1024;
/// The longest pause before a connection is tried again.
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// A connection to NATS.
pub(crate) struct Nats {
    target: Target,
    client: Client,
    jetstream: jetstream::Context,
    complaint: Complaint,
}

/// What the server complained of last: it does not say in an answer that something is not allowed.
#[derive(Clone, Default)]
struct Complaint {
    text: Arc<Mutex<Option<String>>>,
    /// The connection was lost at least once.
    lost: CancellationToken,
}

impl Complaint {
    fn note(&self, event: &Event) {
        match event {
            Event::ServerError(error) => self.set(Some(error.to_string())),
            Event::ClientError(error) => self.set(Some(error.to_string())),
            Event::Connected => self.set(None),
            Event::Disconnected => self.lost.cancel(),
            _ => {}
        }
    }

    fn set(&self, text: Option<String>) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn take(&self) -> Option<String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Nats {
    pub(crate) async fn connect(
        target: Target,
        subscription: &Subscription,
        around: &Surroundings,
    ) -> Result<Self, PublishError> {
        let hosts = hosts(&target, around).await?;
        let complaint = Complaint::default();
        let noted = complaint.clone();
        let timeout = subscription.request_timeout();
        let mut options = authenticated(&target, subscription.auth.as_deref())?
            .name(format!("event-gateway {}", subscription.name))
            .client_capacity(QUEUED_MAX)
            .connection_timeout(timeout)
            .ignore_discovered_servers()
            .reconnect_delay_callback(|attempts| {
                let exponent = u32::try_from(attempts).unwrap_or(u32::MAX).min(6);
                (Duration::from_millis(50) * 2_u32.pow(exponent)).min(RECONNECT_MAX)
            })
            .event_callback(move |event| {
                noted.note(&event);
                std::future::ready(())
            });
        if target.tls {
            let authorities = target.attributes.get("caCertificates");
            let identity = subscription.auth.as_ref().and_then(|auth| auth.certificate.as_ref());
            let config = tls::client(authorities, identity).map_err(PublishError::NotConnected)?;
            options = options.require_tls(true).tls_client_config(config);
        }
        let client = options.connect(hosts).await.map_err(|error| {
            let said = complaint.take().map(|said| format!(": {said}")).unwrap_or_default();
            PublishError::NotConnected(format!("{error}{said}"))
        })?;
        let jetstream = ContextBuilder::new().timeout(timeout).build(client.clone());
        Ok(Self { target, client, jetstream, complaint })
    }

    async fn hand_over(&self, delivery: &Delivery) -> Result<(), PublishError> {
        if self.client.connection_state() != State::Connected {
            return Err(PublishError::NotConnected("the server cannot be reached".to_owned()));
        }
        let event = &delivery.event.event;
        let subject = self.target.topic.fill(event, token);
        let subject = subject.map_err(PublishError::NotConfirmed)?.into_owned();
        let message = Message::of(delivery, self.target.is_structured(), &HEADERS);
        let mut headers = HeaderMap::new();
        for (name, value) in &message.headers {
            let unusable = || PublishError::NotConfirmed(format!("{name} cannot be a header"));
            let value = value.parse::<HeaderValue>().map_err(|_| unusable())?;
            headers.insert(name.parse::<HeaderName>().map_err(|_| unusable())?, value);
        }
        // The stream removes what comes again within its window (duplicate_window).
        let identifier = format!("{} {}", event.source(), event.id());
        let mut message = PublishMessage::build()
            .payload(message.body)
            .headers(headers)
            .message_id(header::encode(&identifier));
        if let Some(stream) = self.target.attributes.get("stream") {
            message = message.expected_stream(stream);
        }
        let sent = self.jetstream.send_publish(subject.clone(), message).await;
        let acknowledged = match sent {
            Ok(acknowledged) => acknowledged.await,
            Err(error) => Err(error),
        };
        acknowledged.map(drop).map_err(|error| self.explain(&error, &subject))
    }

    /// What an operator is to mend.
    fn explain(&self, error: &jetstream::context::PublishError, subject: &str) -> PublishError {
        let complaint = self.complaint.take();
        PublishError::NotConfirmed(match (error.kind(), complaint) {
            (PublishErrorKind::StreamNotFound, _) => {
                format!("no stream takes {subject}: make one whose subjects include it")
            }
            (PublishErrorKind::MaxPayloadExceeded, _) => {
                "the event is larger than max_payload of the server".to_owned()
            }
            (_, Some(complaint)) => format!("the server says: {complaint}"),
            (_, None) => error.to_string(),
        })
    }
}

impl Connection for Nats {
    fn publish<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), PublishError>> {
        self.hand_over(delivery).boxed()
    }
}

/// Where to connect to, now and again: the addresses that were checked; over TLS by name, which the
/// certificate has to prove.
async fn hosts(target: &Target, around: &Surroundings) -> Result<Vec<String>, PublishError> {
    let mut hosts = Vec::new();
    for host in &target.hosts {
        let addresses = around.addresses(host).await?;
        if target.tls {
            let (name, port) = host;
            let name = if name.contains(':') { format!("[{name}]") } else { name.clone() };
            hosts.push(format!("tls://{name}:{port}"));
        } else {
            hosts.extend(addresses.iter().map(|address| format!("nats://{address}")));
        }
    }
    Ok(hosts)
}

/// What may stand between the dots of a subject; the rest is percent-encoded.
fn token(text: &str) -> Cow<'_, str> {
    let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'*' | b'>' | b'%');
    if text.bytes().all(is_plain) && !text.starts_with('.') && !text.ends_with('.') {
        return Cow::Borrowed(text);
    }
    let hex = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
    let mut written = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if is_plain(byte) && byte != b'.' {
            written.push(char::from(byte));
        } else {
            written.extend(['%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    Cow::Owned(written)
}

/// How the gateway says who it is.
fn authenticated(target: &Target, auth: Option<&Auth>) -> Result<ConnectOptions, PublishError> {
    let options = ConnectOptions::new();
    let Some(Credential::Basic { username, password }) =
        auth.and_then(|auth| auth.credential.as_ref())
    else {
        return Ok(options);
    };
    let secret = password.expose().to_owned();
    Ok(match target.attributes.get("authentication") {
        Some("TOKEN") => options.token(secret),
        Some("NKEY") => options.nkey(secret),
        Some("CREDENTIALS") => options.credentials(&secret).map_err(|_| {
            let why = "auth: the password is not the text of a credentials file";
            PublishError::NotConnected(why.to_owned())
        })?,
        _ => options.user_and_password(username.clone(), secret),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_a_subject_makes_no_wildcard_and_no_empty_token() {
        let rows = [
            ("com.example.made", "com.example.made"),
            ("/plant/1", "/plant/1"),
            ("a b", "a%20b"),
            ("a.*", "a%2E%2A"),
            (">", "%3E"),
            (".a", "%2Ea"),
        ];
        for (text, written) in rows {
            assert_eq!(token(text), written);
        }
    }
}
