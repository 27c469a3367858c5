//! What is published for a client that was lost (MQTT 5.0 section 3.1.2.5).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eg_event::{KeptWill, Refusal, Submission};
use futures_util::future::{BoxFuture, FutureExt as _, pending};
use tokio::sync::oneshot::Receiver;

use super::Client;
use crate::codec::Will;
use crate::normalize::normalize;
use crate::server::Server;
use crate::sessions::{Left, WillFate};
use crate::wills::{Found, WillNumber};

/// The longest time after which a will is tried again for which there is no room.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Keeps the will of a client that has been let in, for the case that the gateway is lost before
/// its client is.
pub(super) fn keep(server: &Server, client: &Client) -> Option<WillNumber> {
    let will = client.will.as_ref()?;
    let submission = submission(server, client, will)?;
    let wait_s = u32::try_from(wait(client, will).as_secs()).unwrap_or(u32::MAX);
    Some(server.0.wills.keep(KeptWill { submission, wait_s }))
}

/// How long a will waits at most. The session's end is looked for now and then; the will does not
/// wait for that.
fn wait(client: &Client, will: &Will) -> Duration {
    let expiry = client.session_expiry.unwrap_or(Duration::MAX);
    Duration::from_secs(will.delay_s.into()).min(expiry)
}

/// Publishes the will now, or, if it has a delay and the session goes on, after that or at the end
/// of the session, whichever comes first; not at all if the client is back before, or its credential
/// is revoked. One that waits when the gateway stops is left for the next start.
pub(super) fn publish_or_wait(
    server: &Server,
    (client, kept): (Client, Option<WillNumber>),
    will: &Will,
    left: Left,
) {
    let told = match left {
        Left::TakenOver(true) if will.delay_s > 0 => None,
        Left::Remembered(Some(told)) => Some(told),
        Left::TakenOver(_) | Left::Remembered(None) | Left::Over => {
            if let Some(submission) = submission(server, &client, will) {
                hand_over(server, submission, kept);
            } else if let Some(kept) = kept {
                server.0.wills.forget(kept);
            }
            return;
        }
    };
    if let Some(told) = told
        && let Some(submission) = submission(server, &client, will)
    {
        let delay = wait(&client, will);
        // Held on to, so that a revocation meanwhile is heard of.
        let identity = client.identity;
        let revoked = async move { identity.revoked().await }.boxed();
        server.publish_after((submission, kept), (told, delay), revoked);
    } else if let Some(kept) = kept {
        server.0.wills.forget(kept);
    }
}

impl Server {
    /// Publishes the wills of those who were connected when the gateway was lost, each after its
    /// delay if its session has lasted, as if they had been lost now.
    pub(crate) fn take_up_wills(&self) {
        for Found { number, will, told } in self.0.wills.take_found() {
            let (KeptWill { submission, wait_s }, kept) = (will, Some(number));
            let Some(told) = told else {
                hand_over(self, submission, kept);
                continue;
            };
            let presence = submission.principal.credential().cloned();
            let presence = presence.map(|credential| self.0.ports.live.enter(credential));
            let revoked = async move {
                match &presence {
                    Some(presence) => presence.cut().await,
                    None => pending().await,
                }
            };
            let delay = Duration::from_secs(wait_s.into());
            self.publish_after((submission, kept), (told, delay), revoked.boxed());
        }
    }

    fn publish_after(
        &self,
        (submission, kept): (Submission, Option<WillNumber>),
        (told, delay): (Receiver<WillFate>, Duration),
        revoked: BoxFuture<'static, ()>,
    ) {
        let server = self.clone();
        self.0.tasks.spawn(async move {
            let due = tokio::select! {
                biased;
                () = revoked => false,
                fate = told => fate != Ok(WillFate::Cancelled),
                () = tokio::time::sleep(delay) => true,
                // The next start takes it up.
                () = server.0.stop.cancelled() => return,
            };
            if due {
                hand_over(&server, submission, kept);
            } else if let Some(kept) = kept {
                server.0.wills.forget(kept);
            }
        });
    }
}

fn submission(server: &Server, client: &Client, will: &Will) -> Option<Submission> {
    let now = server.0.ports.clock.now();
    let text = now.to_string();
    match normalize(&will.message, client.context(server, (now, &text))) {
        Ok(normalized) => Some(client.submission(&will.message, normalized)),
        Err(refusal) => {
            server.0.counters.messages_refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(client_id = &*client.id, %refusal, "a will is no event");
            None
        }
    }
}

/// Publishes a will; it is kept until that is durable. While there is no room for it, it is tried
/// again; when the server stops before there is, the next start takes it up.
fn hand_over(server: &Server, submission: Submission, kept: Option<WillNumber>) {
    let mut answers = server.0.ports.ingest.ingest(vec![submission.clone()]);
    let server = Arc::clone(&server.0);
    let publishing = Arc::clone(&server);
    publishing.tasks.spawn(async move {
        let answer = loop {
            let answer = answers.await.pop();
            let Some(Err(refusal)) = &answer else { break answer };
            let Some(retry_after) = retry_after(refusal) else { break answer };
            let pause = tokio::time::sleep(retry_after.min(RETRY_MAX));
            if server.stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
            answers = server.ports.ingest.ingest(vec![submission.clone()]);
        };
        if answer.is_none_or(|answer| answer.is_err()) {
            server.counters.messages_dropped.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(kept) = kept {
            server.wills.forget(kept);
        }
    });
}

/// When there may be room that there is not now.
fn retry_after(refusal: &Refusal) -> Option<Duration> {
    match refusal {
        Refusal::Busy { retry_after }
        | Refusal::Quota { retry_after, .. }
        | Refusal::Unavailable { retry_after, .. } => Some(*retry_after),
        _ => None,
    }
}
