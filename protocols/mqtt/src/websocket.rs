//! MQTT over WebSocket (MQTT 5.0 section 6): binary frames that need not align with packets.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::Bytes;
use eg_auth::Peer;
use futures_util::{Sink as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::Server;

/// How much is written to a socket at once, in bytes.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// The route `/mqtt` with the subprotocol `mqtt`. Every request carries its [`Peer`] as an
/// extension.
pub fn router(server: Server) -> Router {
    let upgrade = async move |extensions: Extensions, upgrade: WebSocketUpgrade| {
        upgraded(&server, extensions.get::<Peer>().cloned(), upgrade)
    };
    Router::new().route("/mqtt", any(upgrade))
}

fn upgraded(server: &Server, peer: Option<Peer>, upgrade: WebSocketUpgrade) -> Response {
    let Some(peer) = peer else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let packet_bytes_max = usize::try_from(server.0.config.packet_bytes_max).unwrap_or(usize::MAX);
    let upgrade = upgrade
        .protocols(["mqtt"])
        .max_message_size(packet_bytes_max.max(FRAME_BYTES_MAX))
        .max_frame_size(packet_bytes_max.max(FRAME_BYTES_MAX));
    // A client that does not name the subprotocol is not speaking MQTT (MQTT-6.0.0-3).
    if upgrade.selected_protocol().is_none() {
        let expected = "expected the WebSocket subprotocol mqtt\n";
        return (StatusCode::BAD_REQUEST, expected).into_response();
    }
    let server = server.clone();
    upgrade.on_upgrade(async move |socket| {
        server.attach_websocket(Stream { socket, rest: Bytes::new() }, peer);
    })
}

/// A WebSocket as a stream of bytes.
struct Stream {
    socket: WebSocket,
    /// What is left of the last frame.
    rest: Bytes,
}

fn broken(error: axum::Error) -> io::Error {
    io::Error::other(error)
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    let refused = io::Error::new(io::ErrorKind::InvalidData, "a text frame");
                    return Poll::Ready(Err(refused));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(broken)?;
        let count = bytes.len().min(FRAME_BYTES_MAX);
        let frame = Message::Binary(Bytes::copy_from_slice(&bytes[..count]));
        Pin::new(&mut self.socket).start_send(frame).map_err(broken)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(broken)
    }
}
