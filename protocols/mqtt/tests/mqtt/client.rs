//! A client that writes its bytes itself, so that it can write wrong ones.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::PATIENCE;
use crate::packet::{Answer, Connect, PINGREQ};

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new() }
    }

    /// With so little room for what the other side sends.
    pub(crate) async fn open_with_receive_buffer(address: SocketAddr, bytes: u32) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        Self { stream: socket.connect(address).await.unwrap(), received: Vec::new() }
    }

    /// Connects, and is let in.
    pub(crate) async fn connect(address: SocketAddr, connect: &Connect) -> Self {
        let (client, connack) = Self::try_connect(address, connect).await;
        assert_eq!((connack.first, connack.code()), (0x20, 0), "{connack:?}");
        client
    }

    /// Sends CONNECT; says what came back.
    pub(crate) async fn try_connect(address: SocketAddr, connect: &Connect) -> (Self, Answer) {
        let mut client = Self::open(address).await;
        let answer = client.exchange(&connect.bytes()).await;
        (client, answer)
    }

    /// Writes as much as the other side takes; says whether that was all.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap().is_ok()
    }

    /// Whether the other side takes all of it within `time`.
    pub(crate) async fn try_write(&mut self, bytes: &[u8], time: Duration) -> bool {
        let written = tokio::time::timeout(time, self.stream.write_all(bytes)).await;
        written.is_ok_and(|written| written.is_ok())
    }

    /// Writes what the other side takes within `time`; says how many bytes that was.
    pub(crate) async fn write_some(&mut self, bytes: &[u8], time: Duration) -> usize {
        let written = tokio::time::timeout(time, self.stream.write(bytes)).await;
        written.map_or(0, Result::unwrap_or_default)
    }

    /// Says that no more will be written.
    pub(crate) async fn finish(&mut self) {
        drop(self.stream.shutdown().await);
    }

    /// Reads one packet; `None` when the other side closes instead.
    pub(crate) async fn read(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, length)) = Answer::parse(&self.received) {
                self.received.drain(..length);
                return Some(answer);
            }
            if !self.more().await {
                assert!(self.received.is_empty(), "cut short: {:02x?}", self.received);
                return None;
            }
        }
    }

    /// Reads one packet, which has to come.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.read().await.expect("an answer, not the end of the connection")
    }

    pub(crate) async fn exchange(&mut self, bytes: &[u8]) -> Answer {
        self.write(bytes).await;
        self.answer().await
    }

    /// Reads one packet, or the end; `None` when neither comes within `time`.
    pub(crate) async fn read_within(&mut self, time: Duration) -> Option<Option<Answer>> {
        tokio::time::timeout(time, self.read()).await.ok()
    }

    /// Whether nothing comes for `time`.
    pub(crate) async fn is_silent_for(&mut self, time: Duration) -> bool {
        self.read_within(time).await.is_none()
    }

    /// Whether the connection works.
    pub(crate) async fn is_alive(&mut self) -> bool {
        self.write(&PINGREQ).await;
        self.read().await.is_some_and(|answer| answer.first == 0xd0)
    }

    async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
        matches!(read.expect("an answer in time"), Ok(length) if length > 0)
    }
}
