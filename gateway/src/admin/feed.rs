//! GraphQL subscriptions over WebSocket, by the protocol `graphql-transport-ws`: who asks is known
//! before the first frame, and no longer served than the credential is good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_graphql::http::{ClientMessage, WebSocket as Protocol, WebSocketProtocols, WsMessage};
use async_graphql::parser::types::OperationType;
use async_graphql::{Data, Executor, Request, Response as Answer, ServerError};
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Error, Extension};
use eg_event::Clock;
use futures_util::stream::{BoxStream, SplitSink};
use futures_util::{SinkExt as _, StreamExt as _, future, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::guard::Caller;
use super::schema::Schema;
use super::{Admin, Cuts};

/// How many clients may follow at once.
const FEEDS_MAX: usize = 256;
/// How many subscriptions one client may have at once.
const SUBSCRIPTIONS_PER_FEED_MAX: usize = 16;
/// The longest message of a client, in bytes.
const MESSAGE_BYTES_MAX: usize = 65_536;
/// How long a client may take to begin.
const INIT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a client may take to accept a message.
const SEND_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a client is asked whether it is there; it answers before it is asked again.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How often it is looked whether the credential has expired.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// The close codes for who may not go on, and for who does not begin (`graphql-transport-ws`).
const FORBIDDEN: u16 = 4403;
const INIT_TIMEOUT: u16 = 4408;
/// RFC 6455 section 7.4.1: the server goes away.
const GOING_AWAY: u16 = 1001;

/// The places for clients that follow.
#[must_use]
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(FEEDS_MAX))
}

/// Takes a client's request for a WebSocket.
pub(super) async fn upgrade(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Extension(cuts): Extension<Cuts>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !is_own_origin(&headers) {
        let text = "pages of other origins do not follow from here\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let upgrade = upgrade
        .protocols(["graphql-transport-ws"])
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX);
    if upgrade.selected_protocol().is_none() {
        let expected = "expected the WebSocket subprotocol graphql-transport-ws\n";
        return (StatusCode::BAD_REQUEST, expected).into_response();
    }
    let Ok(place) = Arc::clone(&admin.feeds).try_acquire_owned() else {
        let text = format!("{FEEDS_MAX} clients follow already, which is the limit\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    upgrade.on_upgrade(async move |socket| {
        let tasks = admin.tasks.clone();
        drop(tasks.spawn(serve(admin, caller, cuts, socket, place)));
    })
}

/// Whether no page of another origin asks: a browser lets any page open a WebSocket, and presents
/// its certificates there (RFC 6455 section 10.2). Programs that are no browsers name no origin.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.zip(host).is_some_and(|((_, own), host)| own.eq_ignore_ascii_case(host))
}

async fn serve(
    admin: Admin,
    caller: Caller,
    cuts: Cuts,
    socket: WebSocket,
    _place: OwnedSemaphorePermit,
) {
    let (mut sink, frames) = socket.split();
    let principal = Arc::clone(&caller.principal);
    let presence = principal.credential().map(|credential| admin.live.enter(credential.clone()));
    // Whose credential was revoked before the connection was on the list would never be cut.
    if admin.live.cuts() != cuts.0 {
        return close(&mut sink, FORBIDDEN, "present the credential again").await;
    }
    let cut = async {
        match &presence {
            Some(presence) => presence.cut().await,
            None => future::pending().await,
        }
    };
    let answered = Arc::new(AtomicBool::new(true));
    let heard = Arc::clone(&answered);
    let messages =
        frames.take_while(|frame| future::ready(is_more(frame))).filter_map(move |frame| {
            heard.store(true, Ordering::Relaxed);
            future::ready(match frame {
                Ok(Message::Text(text)) => Some(ClientMessage::from_bytes(text.as_bytes())),
                _ => None,
            })
        });
    let mut data = Data::default();
    data.insert(caller);
    let places = Arc::new(Semaphore::new(SUBSCRIPTIONS_PER_FEED_MAX));
    let executor = Follower { schema: admin.schema.clone(), places };
    let protocol = Protocol::from_message_stream(executor, messages, WebSocketProtocols::GraphQLWS)
        .connection_data(data);
    let pumped = pump(protocol, &mut sink, &answered);
    let clock = admin.guard.audit.clock().clone();
    let reason = tokio::select! {
        () = pumped => None,
        () = cut => Some((FORBIDDEN, "the credential is revoked")),
        () = expired(clock, principal.expires_at()) => Some((FORBIDDEN, "the credential has expired")),
        () = admin.stop.cancelled() => Some((GOING_AWAY, "the gateway stops")),
    };
    if let Some((code, reason)) = reason {
        close(&mut sink, code, reason).await;
    }
}

/// Passes on what there is to say, and sees to it that somebody listens.
async fn pump(
    protocol: impl futures_util::Stream<Item = WsMessage>,
    sink: &mut SplitSink<WebSocket, Message>,
    answered: &AtomicBool,
) {
    let mut protocol = Box::pin(protocol);
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.tick().await;
    let Ok(mut message) = timeout(INIT_TIME_MAX, protocol.next()).await else {
        return close(sink, INIT_TIMEOUT, "Connection initialisation timeout").await;
    };
    loop {
        let sent = match message {
            None => return,
            Some(WsMessage::Text(text)) => send(sink, Message::Text(text.into())).await,
            Some(WsMessage::Close(code, reason)) => return close(sink, code, &reason).await,
        };
        if sent.is_err() {
            return;
        }
        message = loop {
            tokio::select! {
                message = protocol.next() => break message,
                _ = pings.tick() => {
                    let is_there = answered.swap(false, Ordering::Relaxed);
                    let ping = Message::Ping(bytes::Bytes::new());
                    if !is_there || send(sink, ping).await.is_err() {
                        return;
                    }
                }
            }
        };
    }
}

fn is_more(frame: &Result<Message, Error>) -> bool {
    matches!(frame, Ok(frame) if !matches!(frame, Message::Close(_)))
}

async fn send(sink: &mut SplitSink<WebSocket, Message>, message: Message) -> Result<(), ()> {
    match timeout(SEND_TIME_MAX, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(()),
    }
}

async fn close(sink: &mut SplitSink<WebSocket, Message>, code: u16, reason: &str) {
    let frame = CloseFrame { code, reason: reason.into() };
    // Whoever is gone needs no farewell.
    let _ = send(sink, Message::Close(Some(frame))).await.ok();
}

/// Completes when the credential has expired.
async fn expired(clock: Clock, expires_at: Option<eg_event::Timestamp>) {
    let Some(expires_at) = expires_at else { return future::pending().await };
    let mut ticks = interval(EXPIRY_INTERVAL);
    loop {
        ticks.tick().await;
        if clock.now() >= expires_at {
            return;
        }
    }
}

/// Executes subscriptions, and nothing else: what changes something does so over HTTP, where it
/// ends although its client has left.
#[derive(Clone)]
struct Follower {
    schema: Schema,
    places: Arc<Semaphore>,
}

impl Executor for Follower {
    async fn execute(&self, _: Request) -> Answer {
        refused("expected a subscription")
    }

    fn execute_stream(
        &self,
        mut request: Request,
        data: Option<Arc<Data>>,
    ) -> BoxStream<'static, Answer> {
        let answer = |text: &str| stream::iter([refused(text)]).boxed();
        if !is_subscription(&mut request) {
            return answer("expected a subscription: queries and mutations are sent over HTTP");
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let max = SUBSCRIPTIONS_PER_FEED_MAX;
            return answer(&format!("expected at most {max} subscriptions at once"));
        };
        let answers = Executor::execute_stream(&self.schema, request, data);
        answers.inspect(move |_| _ = &place).boxed()
    }
}

/// Whether every operation of a request is a subscription.
fn is_subscription(request: &mut Request) -> bool {
    let is_one = |document: &async_graphql::parser::types::ExecutableDocument| {
        document.operations.iter().all(|(_, one)| one.node.ty == OperationType::Subscription)
    };
    request.parsed_query().is_ok_and(is_one)
}

fn refused(text: &str) -> Answer {
    Answer::from_errors(vec![ServerError::new(text, None)])
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn pages_of_other_origins_do_not_follow() {
        let is_own = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:8081"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            is_own_origin(&headers)
        };
        assert!(is_own(None));
        assert!(is_own(Some("http://LocalHost:8081")));
        for foreign in ["http://evil.test", "http://localhost:8080", "http://localhost", "null"] {
            assert!(!is_own(Some(foreign)), "{foreign}");
        }
    }
}
