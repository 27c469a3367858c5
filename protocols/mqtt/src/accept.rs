//! Takes connections in, within limits; at a limit the client is told before it is let go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eg_auth::Peer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use crate::connection;
use crate::server::Server;

/// The shortest and the longest pause after the system refused to hand over a connection.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

impl Server {
    /// Serves the connections of `listener` until the server stops.
    pub async fn serve(&self, listener: TcpListener) {
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
                    self.attach(stream, Peer::new(remote)).await;
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
    /// client is told so; when too many are being told, this waits.
    pub async fn attach<S>(&self, io: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server = self.clone();
        if let Some(admission) = self.admit(peer.address) {
            self.0.tasks.spawn(async move {
                connection::serve(server, io, peer).await;
                drop(admission);
            });
            return;
        }
        self.0.counters.connections_refused.fetch_add(1, Ordering::Relaxed);
        let Ok(permit) = Arc::clone(&self.0.turning_away).acquire_owned().await else { return };
        self.0.tasks.spawn(async move {
            connection::turn_away(server, io).await;
            drop(permit);
        });
    }
}
