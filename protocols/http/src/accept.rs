//! Takes connections in and serves HTTP/1.1 and HTTP/2 on them, within limits, until told to stop.

mod metered;
mod page;
mod patience;
mod places;
mod watch;

use std::convert::Infallible;
use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use eg_auth::Peer;

use crate::config::{HttpConfig, ms, size};
use metered::{Metered, RequestBody, ResponseBody};
use patience::Patience;
use places::{Place, Places};
use watch::{Limits, Watch};

/// The shortest and the longest pause after the system refused to hand over a connection.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// The smallest limit that HTTP/1.1 heads can have, in bytes.
const HEAD_BYTES_MIN: usize = 8192;

/// Serves requests on connections. All listeners of one server share its limit of connections.
#[derive(Clone)]
pub struct Server<R> {
    requests: R,
    connection: auto::Builder<OnTracker>,
    limits: Limits,
    head_time_max: Duration,
    drain_time_max: Duration,
    places: Arc<Places>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl<R> Server<R>
where
    R: Service<Request<Body>, Response = Response, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    R::Future: Send,
{
    /// Answers by `requests` within the limits of `config`, on tasks of `tasks`. Once `stop` is cancelled
    /// nothing new is taken in; requests under way are finished.
    #[must_use]
    pub fn new(
        config: &HttpConfig,
        requests: R,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let mut connection = auto::Builder::new(OnTracker(tasks.clone()));
        connection
            .http1()
            // A sender that closes its half after the last byte has still sent a request.
            .half_close(true)
            .header_read_timeout(None)
            .max_buf_size(size(config.head_bytes_max).max(HEAD_BYTES_MIN));
        connection
            .http2()
            .max_concurrent_streams(config.streams_per_connection_max)
            .max_header_list_size(config.head_bytes_max);
        Self {
            requests,
            connection,
            limits: Limits { head: ms(config.head_ms_max), idle: ms(config.idle_ms_max) },
            head_time_max: ms(config.head_ms_max),
            drain_time_max: ms(config.drain_ms_max),
            places: Places::new(config),
            tasks,
            stop,
        }
    }

    /// Serves plain connections of `listener` until told to stop.
    pub async fn run(&self, listener: TcpListener) {
        self.run_with(listener, |stream, address| ready(Ok((stream, Peer::new(address))))).await;
    }

    /// As [`Server::run`], over what `handshake` makes of each connection (TLS); it has the time
    /// that a request's head has.
    pub async fn run_with<S, H, F>(&self, listener: TcpListener, handshake: H)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        H: Fn(TcpStream, SocketAddr) -> F + Send + Sync,
        F: Future<Output = io::Result<(S, Peer)>> + Send + 'static,
    {
        let accept_each = async {
            loop {
                // The permit comes first: without one, connections wait in the kernel's queue.
                let Some(permit) = self.places.free().await else { return };
                let (stream, address) = accept(&listener).await;
                let Some(place) = self.places.take(permit, &Peer::new(address)) else {
                    tracing::debug!(%address, "the address has as many connections as it may have");
                    continue;
                };
                let shaken = timeout(self.head_time_max, handshake(stream, address));
                let server = self.clone();
                self.tasks.spawn(async move {
                    match shaken.await {
                        Ok(Ok((stream, peer))) => server.serve(stream, peer, place).await,
                        Ok(Err(error)) => tracing::debug!(%address, %error, "handshake failed"),
                        Err(_) => tracing::debug!(%address, "handshake took too long"),
                    }
                });
            }
        };
        let stopped = self.stop.run_until_cancelled(accept_each).await;
        debug_assert!(stopped.is_none(), "accepting ends only by the token");
    }

    async fn serve<S>(self, stream: S, peer: Peer, place: Place)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let watch = Arc::new(Watch::new(self.limits));
        let io = TokioIo::new(Metered::new(stream, Arc::clone(&watch), place));
        let (requests, watched) = (self.requests, Arc::clone(&watch));
        let address = peer.address;
        let service = service_fn(move |request: Request<Incoming>| {
            let busy = Watch::begin(&watched);
            let mut request =
                request.map(|body| Body::new(RequestBody::new(body, Arc::clone(&watched))));
            let peer = page::seen(&peer, &request);
            request.extensions_mut().insert(peer);
            let answered = requests.clone().call(request);
            async move { answered.await.map(|answer| answer.map(|body| ResponseBody::new(body, busy))) }
        });
        let connection = self.connection.serve_connection_with_upgrades(io, service);
        let patience = Patience { watch, stop: self.stop, drain_time_max: self.drain_time_max };
        if let Err(reason) = patience.drive(pin!(connection)).await {
            tracing::debug!(peer = %address, reason, "connection ended");
        }
    }
}

/// The next connection. What goes wrong with one connection is its own matter; when the system is
/// short of something, a pause gives it time to recover.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (mut pause, longest) = BACKOFF;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%address, %error, "TCP_NODELAY not set");
                }
                return (stream, address);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, ?pause, "no connection accepted");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Runs what a connection needs beside itself (the streams of HTTP/2) on tracked tasks.
#[derive(Clone, Debug)]
struct OnTracker(TaskTracker);

impl<F> Executor<F> for OnTracker
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
