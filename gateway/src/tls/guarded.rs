//! A connection that ends when the certificate that it rests on is revoked.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::connections::Resting;

/// How long what is under way may take to be answered once the certificate is revoked.
const FAREWELL: Duration = Duration::from_millis(200);

/// A stream that may rest on a certificate. Once that is revoked nothing more is read; what is
/// under way has a moment to be answered, and then everything fails.
pub struct Guarded<S> {
    stream: S,
    guard: Option<Guard>,
}

struct Guard {
    /// The connection is on the list for as long as this is.
    _resting: Resting,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    farewell: Option<Pin<Box<Sleep>>>,
}

/// Where a connection stands.
enum Standing {
    Good,
    /// Revoked, a moment ago.
    Ending,
    Ended,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, resting: Option<Resting>) -> Self {
        let guard = resting.map(|resting| Guard {
            cut: Box::pin(resting.presence.token().clone().cancelled_owned()),
            _resting: resting,
            farewell: None,
        });
        Self { stream, guard }
    }

    fn standing(&mut self, context: &mut Context<'_>) -> Standing {
        let Some(guard) = &mut self.guard else { return Standing::Good };
        if guard.farewell.is_none() && guard.cut.as_mut().poll(context).is_pending() {
            return Standing::Good;
        }
        let farewell = guard.farewell.get_or_insert_with(|| Box::pin(sleep(FAREWELL)));
        match farewell.as_mut().poll(context) {
            Poll::Pending => Standing::Ending,
            Poll::Ready(()) => Standing::Ended,
        }
    }
}

fn revoked() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the client's certificate was revoked")
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.standing(context) {
            Standing::Good => Pin::new(&mut self.stream).poll_read(context, buffer),
            Standing::Ending => Poll::Pending,
            Standing::Ended => Poll::Ready(Err(revoked())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if matches!(self.standing(context), Standing::Ended) {
            return Poll::Ready(Err(revoked()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if matches!(self.standing(context), Standing::Ended) {
            return Poll::Ready(Err(revoked()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.standing(context), Standing::Ended) {
            return Poll::Ready(Err(revoked()));
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.standing(context), Standing::Ended) {
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        Poll::Ready(Ok(()))
    }
}
