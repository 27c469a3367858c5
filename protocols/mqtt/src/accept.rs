//! Takes connections in, within limits; at a limit the client is told before it is let go.

use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eg_auth::Peer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::connection;
use crate::link::Transport;
use crate::server::Server;

/// The shortest and the longest pause after the system refused to hand over a connection.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

impl Server {
    /// Serves plain connections of `listener` until the server stops.
    pub async fn serve(&self, listener: TcpListener) {
        self.serve_with(listener, |stream, remote| ready(Ok((stream, Peer::new(remote))))).await;
    }

    /// As [`Server::serve`], over what `handshake` makes of each connection (TLS). It has the time
    /// that CONNECT has, and takes place within the limits of connections.
    pub async fn serve_with<S, H, F>(&self, listener: TcpListener, handshake: H)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(TcpStream, SocketAddr) -> F + Send + Sync,
        F: Future<Output = io::Result<(S, Peer)>> + Send + 'static,
    {
        let mut pause = BACKOFF.0;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.0.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, remote)) => {
                    pause = BACKOFF.0;
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, %remote, "the connection is gone already");
                    }
                    self.take(remote, false, handshake(stream, remote));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Serves one connection, over whatever carries it, on a task of its own. At a limit the
    /// client is told so, unless too many are being told already.
    pub fn attach<S>(&self, io: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.take(peer.address, false, ready(Ok((io, peer))));
    }

    /// As [`Server::attach`], over a WebSocket.
    pub(crate) fn attach_websocket<S>(&self, io: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.take(peer.address, true, ready(Ok((io, peer))));
    }

    fn take<S, F>(&self, remote: SocketAddr, is_websocket: bool, handshake: F)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = io::Result<(S, Peer)>> + Send + 'static,
    {
        let server = self.clone();
        if let Some(admission) = self.admit(remote) {
            self.0.tasks.spawn(async move {
                if let Some((io, peer)) = server.shake(remote, handshake).await {
                    let transport = Transport::of(&peer, is_websocket);
                    connection::serve(server, io, (peer, transport)).await;
                }
                drop(admission);
            });
            return;
        }
        self.0.counters.connections_refused.fetch_add(1, Ordering::Relaxed);
        // To wait here would let those who are turned away, and take their time, keep all others out.
        let Ok(permit) = Arc::clone(&self.0.turning_away).try_acquire_owned() else { return };
        self.0.tasks.spawn(async move {
            if let Some((io, _)) = server.shake(remote, handshake).await {
                connection::turn_away(server, io).await;
            }
            drop(permit);
        });
    }

    /// What `handshake` makes of a connection, if it does so in time.
    async fn shake<T>(
        &self,
        remote: SocketAddr,
        handshake: impl Future<Output = io::Result<T>> + Send,
    ) -> Option<T> {
        let time_max = Duration::from_secs(self.0.config.connect_seconds_max.into());
        let shaken = self.0.stop.run_until_cancelled(timeout(time_max, handshake)).await?;
        match shaken {
            Ok(Ok(made)) => return Some(made),
            Ok(Err(error)) => tracing::debug!(%remote, %error, "handshake failed"),
            Err(_) => tracing::debug!(%remote, "handshake took too long"),
        }
        None
    }
}
