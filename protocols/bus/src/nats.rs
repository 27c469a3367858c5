//! NATS JetStream: published with an identifier that the stream removes duplicates by, and done
//! when the stream has acknowledged it.

mod read;
mod reason;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use async_nats::jetstream::context::{ContextBuilder, GetStreamByNameErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self};
use async_nats::{AuthError, Client, ConnectOptions, Event};
use eg_event::outbound::Credential;
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
        if is_by_token(subscription) {
            // Asked for first, so that its error is told as it is.
            let token = around.tokens.token(subscription).await;
            token.map_err(PublishError::NotConnected)?;
        }
        let complaint = Complaint::default();
        let noted = complaint.clone();
        let timeout = subscription.request_timeout();
        let mut options = authenticated(&target, subscription, around)?
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
            let config = tls::of(&target, subscription).map_err(PublishError::NotConnected)?;
            options = options.require_tls(true).tls_client_config(config);
        }
        let client = options.connect(hosts).await;
        let client = client.map_err(|error| PublishError::NotConnected(reason::of(&error)))?;
        // Before the attempt is over: what the server complains of is told with it.
        let jetstream = ContextBuilder::new().timeout(timeout * 9 / 10).build(client.clone());
        Ok(Self { target, client, jetstream, complaint })
    }

    async fn hand_over(&self, delivery: &Delivery) -> Result<(), PublishError> {
        if self.client.connection_state() != State::Connected {
            // The next attempt connects anew, and says what is in the way.
            return Err(PublishError::Lost("the server does not answer".to_owned()));
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
        PublishError::NotConfirmed(match (error.kind(), self.complaint.take()) {
            (PublishErrorKind::StreamNotFound, _) => no_stream(subject),
            (PublishErrorKind::MaxPayloadExceeded, _) => {
                let max = self.client.server_info().max_payload;
                format!("the event is larger than max_payload of the server, {max} bytes")
            }
            (_, Some(complaint)) => reason::of_complaint(&complaint),
            (_, None) => reason::of_publish(error),
        })
    }

    /// What the stream is that takes the subject.
    async fn stream(&self) -> Result<String, PublishError> {
        let server = self.client.server_info();
        let subject = self.target.topic.pattern("*");
        let not_confirmed = |why: String| Err(PublishError::NotConfirmed(why));
        let asked = match self.target.attributes.get("stream") {
            Some(name) => Ok(name.to_owned()),
            None => self.jetstream.stream_by_subject(&*subject).await,
        };
        let name = match asked {
            Ok(name) => name,
            Err(error) => {
                return not_confirmed(match (error.kind(), self.complaint.take()) {
                    (GetStreamByNameErrorKind::NotFound, _) => no_stream(&subject),
                    (_, Some(complaint)) => reason::of_complaint(&complaint),
                    (_, None) => reason::of_request(&error),
                });
            }
        };
        let stream = match self.jetstream.get_stream(&name).await {
            Ok(stream) => stream,
            Err(error) => {
                let complaint = self.complaint.take();
                return not_confirmed(match complaint {
                    Some(complaint) => reason::of_complaint(&complaint),
                    None => format!("the stream {name}: {}", reason::of_request(&error)),
                });
            }
        };
        let config = &stream.cached_info().config;
        Ok(format!(
            "stream {name} of {} takes {subject} (server {}, at most {} bytes an event; \
             {} replicas; keeps by {}; removes what comes again within {} s)",
            config.subjects.join(", "),
            server.version,
            server.max_payload,
            config.num_replicas,
            format!("{:?}", config.retention).to_lowercase(),
            config.duplicate_window.as_secs(),
        ))
    }
}

fn no_stream(subject: &str) -> String {
    format!("no stream takes {subject}: make one whose subjects include it, with JetStream enabled")
}

impl Connection for Nats {
    fn publish<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), PublishError>> {
        self.hand_over(delivery).boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Result<String, PublishError>> {
        self.stream().boxed()
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
fn authenticated(
    target: &Target,
    subscription: &Subscription,
    around: &Surroundings,
) -> Result<ConnectOptions, PublishError> {
    let credential = subscription.auth.as_ref().and_then(|auth| auth.credential.as_ref());
    let options = ConnectOptions::new();
    let (username, password) = match credential {
        None => return Ok(options),
        Some(Credential::OAuth(_)) => return Ok(by_token(subscription, around)),
        Some(Credential::Basic { username, password }) => (username.clone(), password),
    };
    let secret = password.expose();
    Ok(match target.attributes.get("authentication") {
        Some("TOKEN") => options.token(secret.to_owned()),
        Some("NKEY") => options.nkey(secret.trim().to_owned()),
        // The client looks for the end of the last line, which may have been trimmed.
        Some("CREDENTIALS") => options.credentials(&format!("{secret}\n")).map_err(|_| {
            let why = "auth.credential: the password is not the text of a credentials file";
            PublishError::NotConnected(why.to_owned())
        })?,
        _ => options.user_and_password(username, secret.to_owned()),
    })
}

fn is_by_token(subscription: &Subscription) -> bool {
    let credential = subscription.auth.as_ref().and_then(|auth| auth.credential.as_ref());
    matches!(credential, Some(Credential::OAuth(_)))
}

/// By an access token, which every connection gets afresh.
fn by_token(subscription: &Subscription, around: &Surroundings) -> ConnectOptions {
    let (subscription, around) = (Arc::new(subscription.clone()), around.clone());
    ConnectOptions::with_auth_callback(move |_| {
        let (subscription, tokens) = (Arc::clone(&subscription), Arc::clone(&around.tokens));
        let token = around.tracker.spawn(async move { tokens.token(&subscription).await });
        async move {
            let token = token.await.unwrap_or_else(|error| Err(error.to_string()));
            let mut auth = async_nats::Auth::new();
            auth.token = Some(token.map_err(AuthError::new)?.secret.expose().to_owned());
            Ok(auth)
        }
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
