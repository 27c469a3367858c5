//! A connection as operators see it: whose it is, since when, what went over it; and how they end
//! it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Context;
use std::time::Duration;

use eg_auth::Peer;
use eg_event::{Principal, Timestamp};
use futures_util::task::AtomicWaker;

use crate::codec::{Reason, Version};

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// TCP with TLS.
    Tls,
    /// WebSocket over HTTP.
    WebSocket,
    /// WebSocket over HTTPS.
    SecureWebSocket,
}

impl Transport {
    pub(crate) fn of(peer: &Peer, is_websocket: bool) -> Self {
        match (is_websocket, peer.is_encrypted) {
            (false, false) => Self::Tcp,
            (false, true) => Self::Tls,
            (true, false) => Self::WebSocket,
            (true, true) => Self::SecureWebSocket,
        }
    }
}

/// A connection of a client that has been let in.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) version: Version,
    pub(crate) principal: Arc<Principal>,
    pub(crate) connected_at: Timestamp,
    pub(crate) keep_alive_s: u16,
    /// The client's own Receive Maximum.
    pub(crate) receive_maximum: u16,
    /// How long the session outlives the connection; none: for ever.
    pub(crate) session_expiry: Option<Duration>,
    pub(crate) messages_received: AtomicU64,
    pub(crate) messages_sent: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    /// The code of the reason for which an operator has ended it; 0: none has.
    end_code: AtomicU8,
    waker: AtomicWaker,
}

impl Link {
    /// Nothing has gone over it yet.
    pub(crate) fn new(
        (peer, transport): (&Peer, Transport),
        (version, principal): (Version, &Arc<Principal>),
        (keep_alive_s, receive_maximum): (u16, u16),
        session_expiry: Option<Duration>,
        connected_at: Timestamp,
    ) -> Self {
        Self {
            address: peer.address,
            transport,
            version,
            principal: Arc::clone(principal),
            connected_at,
            keep_alive_s,
            receive_maximum,
            session_expiry,
            messages_received: AtomicU64::default(),
            messages_sent: AtomicU64::default(),
            bytes_received: AtomicU64::default(),
            bytes_sent: AtomicU64::default(),
            end_code: AtomicU8::default(),
            waker: AtomicWaker::new(),
        }
    }

    /// Ends it for an operator. The first reason counts.
    pub(crate) fn end(&self, reason: Reason) {
        let (code, order) = (reason as u8, Ordering::AcqRel);
        if self.end_code.compare_exchange(0, code, order, Ordering::Relaxed).is_ok() {
            self.waker.wake();
        }
    }

    /// Why an operator has ended it, if one has; otherwise its task is woken when one does.
    pub(crate) fn poll_end(&self, cx: &mut Context<'_>) -> Option<Reason> {
        self.waker.register(cx.waker());
        Reason::of_code(self.end_code.load(Ordering::Acquire))
    }
}
