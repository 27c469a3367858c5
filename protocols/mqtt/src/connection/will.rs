//! What is published for a client that was lost (MQTT 5.0 section 3.1.2.5).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eg_event::Submission;

use super::Client;
use crate::codec::Will;
use crate::normalize::normalize;
use crate::server::Server;
use crate::sessions::{Left, WillFate};

/// Publishes the will now, or, if it has a delay and the session goes on, after that or at the end
/// of the session, whichever comes first; not at all if the client is back before, or its credential
/// is revoked.
pub(super) fn publish_or_wait(server: &Server, client: Client, will: &Will, left: Left) {
    let told = match left {
        Left::TakenOver(true) if will.delay_s > 0 => return,
        Left::Remembered(Some(told)) => told,
        Left::TakenOver(_) | Left::Remembered(None) | Left::Over => {
            return publish(server, &client, will);
        }
    };
    let Some(submission) = submission(server, &client, will) else { return };
    // The session's end is looked for now and then; the will does not wait for that.
    let expiry = client.session_expiry.unwrap_or(Duration::MAX);
    let delay = Duration::from_secs(will.delay_s.into()).min(expiry);
    let waiting = server.clone();
    // Held on to, so that a revocation meanwhile is heard of.
    let identity = client.identity;
    server.0.tasks.spawn(async move {
        let due = tokio::select! {
            fate = told => fate != Ok(WillFate::Cancelled),
            () = tokio::time::sleep(delay) => true,
            () = identity.revoked() => false,
            () = waiting.0.stop.cancelled() => true,
        };
        if due && !identity.is_revoked() {
            hand_over(&waiting, submission);
        }
    });
}

fn publish(server: &Server, client: &Client, will: &Will) {
    if let Some(submission) = submission(server, client, will) {
        hand_over(server, submission);
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

fn hand_over(server: &Server, submission: Submission) {
    let answers = server.0.ports.ingest.ingest(vec![submission]);
    let server = Arc::clone(&server.0);
    let counting = Arc::clone(&server);
    counting.tasks.spawn(async move {
        if answers.await.iter().any(Result::is_err) {
            server.counters.messages_dropped.fetch_add(1, Ordering::Relaxed);
        }
    });
}
