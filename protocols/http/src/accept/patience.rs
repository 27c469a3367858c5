//! Drives a connection for as long as it keeps to its times, and to its end once the gateway stops.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::server::conn::auto::UpgradeableConnection;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::OnTracker;
use super::watch::Watch;

/// For how long a connection is driven.
pub(super) struct Patience {
    pub(super) watch: Arc<Watch>,
    /// Once this is cancelled, the request under way is the last.
    pub(super) stop: CancellationToken,
    /// How long that request may take.
    pub(super) drain_time_max: Duration,
}

/// What happened to a connection.
enum Turn<E> {
    Ended(Result<(), E>),
    TimerWentOff,
    Stopped,
}

impl Patience {
    /// Drives `connection` to its end, or says why it was given up.
    pub(super) async fn drive<I, S, B>(
        self,
        mut connection: Pin<&mut UpgradeableConnection<'_, I, S, OnTracker>>,
    ) -> Result<(), String>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
        S: hyper::service::Service<http::Request<Incoming>, Response = http::Response<B>>,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send + 'static,
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut timer = pin!(sleep_until(self.next_look(None)));
        let mut stopped = pin!(self.stop.cancelled());
        let mut give_up = None;
        loop {
            let turn = poll_fn(|context| {
                if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                    return Poll::Ready(Turn::Ended(ended));
                }
                // A timer that goes off early is set again then; only one that would be late needs
                // setting now, so that a busy connection leaves it alone.
                if let Some(due) = self.watch.due()
                    && due < timer.deadline()
                {
                    timer.as_mut().reset(due);
                }
                if timer.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Turn::TimerWentOff);
                }
                if give_up.is_none() && stopped.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Turn::Stopped);
                }
                Poll::Pending
            });
            match turn.await {
                Turn::Ended(ended) => return ended.map_err(|error| error.to_string()),
                Turn::TimerWentOff => {
                    let now = Instant::now();
                    if give_up.is_some_and(|at| at <= now) {
                        return Err("the request under way took too long to finish".to_owned());
                    }
                    if let Some(due) = self.watch.due()
                        && due <= now
                    {
                        return Err("nothing came for too long".to_owned());
                    }
                }
                Turn::Stopped => {
                    connection.as_mut().graceful_shutdown();
                    give_up = Some(Instant::now() + self.drain_time_max);
                }
            }
            timer.as_mut().reset(self.next_look(give_up));
        }
    }

    fn next_look(&self, give_up: Option<Instant>) -> Instant {
        let due = self.watch.due().unwrap_or_else(|| Instant::now() + self.watch.idle_time());
        give_up.map_or(due, |at| due.min(at))
    }
}
