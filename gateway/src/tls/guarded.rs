//! A connection that ends when the certificate that it rests on is revoked or expires.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

use super::connections::Resting;

/// How long what is under way may take to be answered once the certificate is revoked.
const FAREWELL: Duration = Duration::from_millis(200);

/// A stream that may rest on a certificate. Once that is no longer good nothing more is read; what
/// is under way has a moment to be answered, and then everything fails.
pub struct Guarded<S> {
    stream: S,
    guard: Option<Guard>,
}

struct Guard {
    /// The connection is on the list for as long as this is.
    _resting: Resting,
    /// Completes when the certificate is revoked or expires.
    cut: BoxFuture<'static, ()>,
    farewell: Option<Pin<Box<Sleep>>>,
}

/// Where a connection stands.
enum Standing {
    Good,
    /// No longer good, since a moment ago.
    Ending,
    Ended,
}

impl<S> Guarded<S> {
    /// A stream that rests on nothing.
    pub(super) fn free(stream: S) -> Self {
        Self { stream, guard: None }
    }

    /// A stream that rests on a certificate which is good for so long.
    pub(super) fn resting(stream: S, resting: Resting, good: Duration) -> Self {
        let revoked = resting.presence.token().clone();
        // Revoked, or expired: either way it is over.
        let cut = async move { drop(timeout(good, revoked.cancelled()).await) };
        let guard = Guard { cut: cut.boxed(), _resting: resting, farewell: None };
        Self { stream, guard: Some(guard) }
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

fn over() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the client's certificate is no longer good")
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
            Standing::Ended => Poll::Ready(Err(over())),
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
            return Poll::Ready(Err(over()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if matches!(self.standing(context), Standing::Ended) {
            return Poll::Ready(Err(over()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.standing(context), Standing::Ended) {
            return Poll::Ready(Err(over()));
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
