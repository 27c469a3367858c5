//! A line to a server that can be cut like a cable, and mended.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A line from a port of its own to a server.
#[derive(Debug)]
pub struct Line {
    port: u16,
    is_whole: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Line {
    /// Lays a line to a server on this machine.
    #[expect(clippy::disallowed_methods, reason = "the harness ends with the test")]
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_whole, seen) = watch::channel(true);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, ([127, 0, 0, 1], server).into(), seen.clone()));
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

async fn carry(mut near: TcpStream, server: SocketAddr, mut is_whole: watch::Receiver<bool>) {
    if !*is_whole.borrow_and_update() {
        return;
    }
    let Ok(mut far) = TcpStream::connect(server).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = is_whole.wait_for(|is_whole| !is_whole) => {}
    }
}
