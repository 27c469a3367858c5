//! A subscriber's server that does exactly what a test tells it to, byte by byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

/// What follows each request.
#[derive(Clone)]
pub(crate) enum Then {
    /// These bytes.
    Answer(Vec<u8>),
    /// These bytes, then the connection is closed.
    AnswerAndClose(Vec<u8>),
    /// These bytes, and more of a body without end.
    AnswerWithoutEnd(Vec<u8>),
    /// These bytes, one every few milliseconds.
    Drip(Vec<u8>),
    /// Nothing at all.
    Hang,
}

/// The requests that came: head in lower case, and body.
type Requests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

pub(crate) struct Subscriber {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: Requests,
    _stop: DropGuard,
}

impl Subscriber {
    pub(crate) async fn start(then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::default());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (opened, seen, each) = (Arc::clone(&connections), Arc::clone(&requests), tasks.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                opened.fetch_add(1, Ordering::Relaxed);
                each.spawn(serve(stream, then.clone(), Arc::clone(&seen)));
            }
        }));
        Self { address, connections, requests, _stop: stop.drop_guard() }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

/// An answer of `status` with this body.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn serve(mut stream: TcpStream, then: Then, seen: Requests) -> Option<()> {
    let mut received = Vec::new();
    loop {
        let (head, length) = loop {
            if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break (String::from_utf8_lossy(&received[..at]).to_lowercase(), at + 4);
            }
            (stream.read_buf(&mut received).await.ok()? > 0).then_some(())?;
        };
        let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body_length: usize = line.map_or(0, |n| n.parse().unwrap());
        while received.len() < length + body_length {
            (stream.read_buf(&mut received).await.ok()? > 0).then_some(())?;
        }
        let body = received[length..length + body_length].to_vec();
        received.drain(..length + body_length);
        seen.lock().unwrap().push((head, body));
        match &then {
            Then::Answer(bytes) => stream.write_all(bytes).await.ok()?,
            Then::AnswerAndClose(bytes) => {
                stream.write_all(bytes).await.ok()?;
                return None;
            }
            Then::AnswerWithoutEnd(bytes) => {
                stream.write_all(bytes).await.ok()?;
                loop {
                    stream.write_all(&[b'x'; 4096]).await.ok()?;
                }
            }
            Then::Drip(bytes) => {
                for byte in bytes {
                    stream.write_all(&[*byte]).await.ok()?;
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
            Then::Hang => std::future::pending().await,
        }
    }
}
