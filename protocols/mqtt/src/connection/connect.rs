//! The beginning of a connection: CONNECT in, CONNACK out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eg_event::Refusal;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

use super::Client;
use super::output::Output;
use crate::authenticate::authenticate;
use crate::codec::{Accept, Codec, Connect, ConnectRefusal, Incoming, Read, Reason, Version};
use crate::server::Server;
use crate::sessions::TooMany;

/// How long a connection whose session is taken over may take to leave it.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// A client that has been let in, and what it sent right behind CONNECT.
pub(super) struct Admitted {
    pub(super) client: Client,
    pub(super) packets: Vec<Incoming>,
    pub(super) end: Option<Reason>,
}

type Halves<'a> = (&'a mut Codec, &'a mut Output);

/// Waits for CONNECT and answers it; none when the connection is to be closed.
pub(super) async fn admit<S: AsyncRead + Unpin>(
    server: &Server,
    io: &mut S,
    (codec, output): Halves<'_>,
    remote: SocketAddr,
) -> Option<Admitted> {
    let patience = Duration::from_secs(server.0.config.connect_seconds_max.into());
    let until = Instant::now() + patience;
    let (connect, rest) = tokio::select! {
        first = first_packets(io, (&mut *codec, &mut *output), until) => first?,
        () = server.0.stop.cancelled() => return None,
    };
    match let_in(server, *connect, remote).await {
        Ok((client, accept)) => {
            codec.accept(&accept, output.buffer());
            Some(Admitted { client, packets: rest.packets, end: rest.end })
        }
        Err((refusal, text)) => {
            server.0.counters.connects_refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%remote, ?refusal, text, "CONNECT was refused");
            codec.refuse(refusal, &text, output.buffer());
            None
        }
    }
}

/// Waits for CONNECT; none when something else comes, or nothing in time.
pub(super) async fn first_packets<S: AsyncRead + Unpin>(
    io: &mut S,
    (codec, output): Halves<'_>,
    until: Instant,
) -> Option<(Box<Connect>, Read)> {
    let mut bytes = [0; 1024];
    loop {
        let count = tokio::time::timeout_at(until, io.read(&mut bytes)).await.ok()?.ok()?;
        if count == 0 {
            return None;
        }
        let mut read = codec.read(&bytes[..count], output.buffer());
        if !read.packets.is_empty() {
            let Incoming::Connect(connect) = read.packets.remove(0) else { return None };
            return Some((connect, read));
        }
        if read.end.is_some() {
            return None;
        }
    }
}

type Refused = (ConnectRefusal, String);

async fn let_in(
    server: &Server,
    connect: Connect,
    remote: SocketAddr,
) -> Result<(Client, Accept), Refused> {
    let config = &server.0.config;
    let principal = authenticate(&server.0.ports.authenticator, &connect, remote).await?;
    let assigned = assign_client_id(server, &connect)?;
    let id: Arc<str> = assigned.as_deref().unwrap_or(&connect.client_id).into();
    if connect.version == Version::V5
        && connect.will.as_ref().is_some_and(|will| will.message.retain)
    {
        return Err((
            ConnectRefusal::RetainNotSupported,
            "a retained will is not supported".to_owned(),
        ));
    }

    let now = server.0.ports.clock.now();
    let taken = server.0.sessions.take(&id, connect.clean_start, now);
    let taken = taken.map_err(|TooMany| {
        (ConnectRefusal::ServerBusy, "there are as many sessions as there may be".to_owned())
    })?;
    if let Some(previous) = &taken.previous {
        previous.taken_over.cancel();
        // What the old connection has handed over comes before what this one will.
        drop(tokio::time::timeout(LEAVE_MAX, previous.left.cancelled()).await);
    }
    let session_expiry_s = connect.session_expiry_s.min(config.session_expiry_seconds_max);
    keep_session(server, &id, taken.present, session_expiry_s).await?;
    let keep_alive_s = match (connect.keep_alive_s, config.keep_alive_seconds_max) {
        (asked, 0) => asked,
        (0, cap) => cap,
        (asked, cap) => asked.min(cap),
    };
    let differs = |is: u32, asked: u32| (is != asked).then_some(is);
    let accept = Accept {
        session_present: taken.present,
        assigned_client_id: assigned,
        session_expiry_s: differs(session_expiry_s, connect.session_expiry_s),
        keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
        receive_maximum: config.receive_maximum,
        topic_alias_maximum: config.topic_alias_maximum,
    };
    // One and a half times the keep alive (MQTT 5.0 section 3.1.2.10).
    let silence_max = Duration::from_millis(u64::from(keep_alive_s) * 1500);
    let client = Client {
        version: connect.version,
        id,
        user: connect.user_name.unwrap_or_default(),
        principal,
        remote,
        keep_alive: Some(silence_max).filter(|silence| !silence.is_zero()),
        new_expiry_s: None,
        resumes: !connect.clean_start,
        session_expiry: Some(Duration::from_secs(session_expiry_s.into())),
        seat: taken.seat,
        will: connect.will,
    };
    Ok((client, accept))
}

/// Makes the session durable before the client is told of it, and what is left of an older one
/// go.
async fn keep_session(
    server: &Server,
    id: &Arc<str>,
    present: bool,
    expiry_s: u32,
) -> Result<(), Refused> {
    let handshakes = &server.0.ports.handshakes;
    let unavailable = |refusal: Refusal| (ConnectRefusal::ServerUnavailable, refusal.to_string());
    if !present {
        handshakes.forget_session(Arc::clone(id)).await.map_err(unavailable)?;
    }
    if present || expiry_s > 0 {
        handshakes.keep_session(Arc::clone(id), expiry_s).await.map_err(unavailable)?;
    }
    Ok(())
}

/// An identifier for a client that brings none (MQTT 5.0 section 3.1.3.1, 3.1.1 section 3.1.3.1).
fn assign_client_id(server: &Server, connect: &Connect) -> Result<Option<String>, Refused> {
    if !connect.client_id.is_empty() {
        return Ok(None);
    }
    if connect.version == Version::V311 && !connect.clean_start {
        let text = "a session that is not clean needs a client identifier".to_owned();
        return Err((ConnectRefusal::ClientIdentifierNotValid, text));
    }
    Ok(Some(format!("auto-{}", server.0.identifiers.next())))
}
