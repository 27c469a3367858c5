//! A connection to a broker, and the bytes under way on it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use super::super::BenchError;
use super::MqttVersion;
use super::packets::{Packet, read};

/// How many bytes are read at once.
const READ_BYTES: usize = 256 * 1024;

/// The buffer that all connections of a thread read into: an idle one costs nothing.
pub(super) struct Scratch(Mutex<Vec<u8>>);

impl Default for Scratch {
    fn default() -> Self {
        Self(Mutex::new(vec![0; READ_BYTES]))
    }
}

/// A connection, and the bytes under way on it.
pub(super) struct Link {
    stream: TcpStream,
    version: MqttVersion,
    /// A packet whose end has not come yet.
    begun: Vec<u8>,
    pub(super) output: Vec<u8>,
    /// How many publications may be under way towards the broker.
    pub(super) receive_maximum: u16,
}

impl Link {
    /// Connects from `local`, and waits until the broker has accepted `connect`.
    pub(super) async fn open(
        (local, target): (Ipv4Addr, SocketAddr),
        (version, connect): (MqttVersion, Vec<u8>),
        scratch: &Scratch,
    ) -> Result<Self, BenchError> {
        let failed = |cause| failed(target, cause);
        let stream = stream(local, target).await.map_err(failed)?;
        let (begun, receive_maximum) = (Vec::new(), u16::MAX);
        let mut link = Self { stream, version, begun, output: connect, receive_maximum };
        link.send().await.map_err(failed)?;
        let mut answer = None;
        while answer.is_none() {
            let first = |packet: Packet<'_>, _: &mut _| {
                answer = answer.or(Some(match packet {
                    Packet::Connack { code, receive_maximum } => Some((code, receive_maximum)),
                    _ => None,
                }));
            };
            link.receive(scratch, first).await.map_err(failed)?;
        }
        match answer.flatten() {
            Some((0, receive_maximum)) => link.receive_maximum = receive_maximum,
            Some((code, _)) => return Err(BenchError::Refused { target, packet: "CONNECT", code }),
            None => return Err(failed(io::ErrorKind::InvalidData.into())),
        }
        Ok(link)
    }

    /// Writes what is in `output`.
    pub(super) async fn send(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sent = self.stream.write_all(&self.output).await;
        self.output.clear();
        sent
    }

    /// Waits for bytes, and hands over each packet that is complete, with the output to answer to.
    /// Nothing is lost when the caller stops waiting.
    pub(super) async fn receive(
        &mut self,
        scratch: &Scratch,
        mut take: impl FnMut(Packet<'_>, &mut Vec<u8>),
    ) -> io::Result<()> {
        loop {
            self.stream.readable().await?;
            let mut scratch = scratch.0.lock().unwrap_or_else(PoisonError::into_inner);
            let begun = self.begun.len();
            if scratch.len() < begun + READ_BYTES / 2 {
                scratch.resize(begun + READ_BYTES, 0);
            }
            scratch[..begun].copy_from_slice(&self.begun);
            let end = match self.stream.try_read(&mut scratch[begun..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => begun + count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let mut at = 0;
            while let Some((packet, length)) = read(self.version, &scratch[at..end]) {
                take(packet, &mut self.output);
                at += length;
            }
            self.begun.clear();
            self.begun.extend_from_slice(&scratch[at..end]);
            return Ok(());
        }
    }
}

async fn stream(local: Ipv4Addr, target: SocketAddr) -> io::Result<TcpStream> {
    let stream = if local.is_unspecified() {
        TcpStream::connect(target).await?
    } else {
        let socket = TcpSocket::new_v4()?;
        socket.bind((local, 0).into())?;
        socket.connect(target).await?
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(super) fn failed(target: SocketAddr, cause: io::Error) -> BenchError {
    BenchError::Connection { target: target.to_string(), cause }
}
