//! Bytes that wait to be sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

/// Capacity up to which an empty buffer is kept, in bytes.
const KEPT_BYTES_MAX: usize = 4096;
/// Payloads up to this size are copied behind what waits, in bytes; larger ones are sent from where
/// they are, so that they are in memory once, whoever gets them.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// A buffer that is written to its end before it is reused.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// What follows the bytes, if something large does.
    large: Option<Box<Large>>,
}

/// A large payload, and the bytes behind it.
#[derive(Debug)]
struct Large {
    payload: Bytes,
    behind: Vec<u8>,
}

impl Output {
    /// Where to append.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        match &mut self.large {
            Some(large) => &mut large.behind,
            None => &mut self.bytes,
        }
    }

    /// Appends a payload.
    pub(crate) fn append(&mut self, payload: &Bytes) {
        if payload.len() <= COPY_BYTES_MAX || self.large.is_some() {
            return self.buffer().extend_from_slice(payload);
        }
        self.large = Some(Box::new(Large { payload: payload.clone(), behind: Vec::new() }));
    }

    /// How many bytes have not been sent.
    pub(crate) fn unsent(&self) -> usize {
        let large = self.large.as_ref();
        let large = large.map_or(0, |large| large.payload.len() + large.behind.len());
        self.bytes.len() - self.sent + large
    }

    /// Sends as much as the other side takes now. Ready when everything is sent.
    pub(crate) fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.sent < self.bytes.len() {
                let count = ready!(Pin::new(&mut *io).poll_write(cx, &self.bytes[self.sent..]))?;
                self.sent += some(count)?;
            }
            self.sent = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEPT_BYTES_MAX {
                self.bytes.shrink_to(KEPT_BYTES_MAX);
            }
            let Some(large) = &mut self.large else { break };
            while !large.payload.is_empty() {
                let count = ready!(Pin::new(&mut *io).poll_write(cx, &large.payload))?;
                drop(large.payload.split_to(some(count)?));
            }
            self.bytes = std::mem::take(&mut large.behind);
            self.large = None;
        }
        Pin::new(io).poll_flush(cx)
    }
}

fn some(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_appended_behind_a_large_payload_follows_it() {
        let mut output = Output::default();
        let large = Bytes::from(vec![7; COPY_BYTES_MAX + 1]);
        output.buffer().extend_from_slice(b"head");
        output.append(&large);
        output.buffer().extend_from_slice(b"behind");
        output.append(&large);
        output.append(&Bytes::from_static(b"end"));
        let expected = [b"head", &large[..], b"behind", &large[..], b"end"].concat();
        assert_eq!(output.unsent(), expected.len());
        let mut sent = Vec::new();
        std::future::poll_fn(|cx| output.poll_send(&mut sent, cx)).await.unwrap();
        assert!(sent == expected && output.unsent() == 0);
    }
}
