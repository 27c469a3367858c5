//! A line to a server that can be cut like a cable, and mended.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::acme::free_port;
use crate::wait;

/// A line from a port of its own to a server.
#[derive(Debug)]
pub struct Line {
    port: u16,
    is_whole: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Line {
    /// Lays a line to a server on this machine.
    pub async fn to(server: u16) -> Self {
        Self::begin(server, None).await
    }

    /// Lays a line whose near end speaks TLS.
    pub async fn over_tls(server: u16, tls: TlsAcceptor) -> Self {
        Self::begin(server, Some(tls)).await
    }

    #[expect(clippy::disallowed_methods, reason = "the harness ends with the test")]
    async fn begin(server: u16, tls: Option<TlsAcceptor>) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (is_whole, seen) = watch::channel(true);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (far, tls, seen) = (([127, 0, 0, 1], server).into(), tls.clone(), seen.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return carry(stream, far, seen).await };
                    match tls.accept(stream).into_fallible().await {
                        Ok(stream) => carry(stream, far, seen).await,
                        Err((_, stream)) => part(stream).await,
                    }
                });
            }
        });
        Self { port, is_whole, task }
    }

    /// Where it begins.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection, whatever is on its way, and lets no other through.
    pub fn cut(&self) {
        self.is_whole.send_replace(false);
    }

    /// The same, and waits until the server has done what had reached it.
    pub async fn cut_between_requests(&self) {
        self.cut();
        // Each connection looks whether the line is whole, and so does who accepts them.
        let is_quiet = async || (self.is_whole.receiver_count() == 1).then_some(());
        wait::until("the server has closed its connections", is_quiet).await;
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.is_whole.send_replace(true);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends a connection once the other side has read all, and ended it, too.
async fn part(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    }
}

async fn carry(
    mut near: impl AsyncRead + AsyncWrite + Unpin,
    server: SocketAddr,
    mut is_whole: watch::Receiver<bool>,
) {
    if !*is_whole.borrow_and_update() {
        return;
    }
    let Ok(mut far) = TcpStream::connect(server).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
        () = async { drop(is_whole.wait_for(|is_whole| !is_whole).await) } => {}
    }
    drop(near);
    part(far).await;
}
