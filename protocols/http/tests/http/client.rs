//! A sender that writes its bytes itself, so that it can write wrong ones.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::PATIENCE;

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            (known == name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The field that a problem names; empty when it names none.
    pub(crate) fn field(&self) -> String {
        let named = self.json()["errors"][0]["field"].as_str().map(str::to_owned);
        named.unwrap_or_default()
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), received: Vec::new() }
    }

    /// Writes as much as the other side takes; says whether that was all.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap().is_ok()
    }

    /// Says that no more will be written.
    pub(crate) async fn finish(&mut self) {
        drop(self.stream.shutdown().await);
    }

    /// Reads one answer; `None` when the other side closes instead.
    pub(crate) async fn read(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, length)) = parse(&self.received) {
                self.received.drain(..length);
                return Some(answer);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Whether the other side closes within `patience`, having said nothing more.
    pub(crate) async fn is_closed_within(&mut self, patience: Duration) -> bool {
        let closed = async { !self.more().await };
        tokio::time::timeout(patience, closed).await.unwrap_or(false)
    }

    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Answer {
        self.write(request).await;
        self.read().await.unwrap()
    }

    async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
        matches!(read.expect("an answer in time"), Ok(length) if length > 0)
    }
}

/// Sends `request` on a connection of its own.
pub(crate) async fn send(address: SocketAddr, request: &[u8]) -> Answer {
    Connection::open(address).await.exchange(request).await
}

/// A request with these header lines and this body.
pub(crate) fn request(line: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut text = format!("{line} HTTP/1.1\r\nhost: gateway.localhost\r\n").into_bytes();
    for header in headers {
        text.extend_from_slice(header.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    text.extend_from_slice(body);
    text
}

/// The headers of a valid event in the binary mode.
pub(crate) const EVENT: [&str; 4] =
    ["ce-specversion: 1.0", "ce-id: 1", "ce-source: /shop", "ce-type: order.created"];

/// A valid event in the binary mode.
pub(crate) fn event() -> Vec<u8> {
    request("POST /events", &EVENT, "")
}

fn parse(received: &[u8]) -> Option<(Answer, usize)> {
    let head_length = received.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(received[..head_length].to_vec()).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().unwrap();
    let mut answer = Answer { status, head, body: String::new() };
    let body_length: usize = answer.header("content-length").map_or(0, |n| n.parse().unwrap());
    let body = received.get(head_length..head_length + body_length)?;
    answer.body = String::from_utf8(body.to_vec()).unwrap();
    Some((answer, head_length + body_length))
}
