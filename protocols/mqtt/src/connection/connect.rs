//! The beginning of a connection: CONNECT in, CONNACK out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eg_auth::Peer;
use eg_event::Refusal;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

use super::Client;
use super::output::Output;
use super::packets::{THE_SERVERS, is_the_servers};
use crate::authenticate::authenticate;
use crate::codec::{Accept, Codec, Connect, ConnectRefusal, Incoming, Read, Reason, Version};
use crate::normalize::{Context, normalize};
use crate::server::Server;
use crate::sessions::{Taken, TooMany, UNTIL_THE_NEXT_LOOK};

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
    peer: Peer,
) -> Option<Admitted> {
    let remote = peer.address;
    let patience = Duration::from_secs(server.0.config.connect_seconds_max.into());
    let until = Instant::now() + patience;
    let connect = tokio::select! {
        first = first_packet(io, (&mut *codec, &mut *output), until) => first?,
        () = server.0.stop.cancelled() => return None,
    };
    match let_in(server, *connect, peer).await {
        Ok((client, accept)) => {
            if !codec.accept(&accept, output.buffer()) {
                let end = Some(Reason::PacketTooLarge);
                return Some(Admitted { client, packets: Vec::new(), end });
            }
            let Read { packets, end } = codec.read(&[], output.buffer());
            Some(Admitted { client, packets, end })
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
pub(super) async fn first_packet<S: AsyncRead + Unpin>(
    io: &mut S,
    (codec, output): Halves<'_>,
    until: Instant,
) -> Option<Box<Connect>> {
    let mut bytes = [0; 1024];
    loop {
        let count = tokio::time::timeout_at(until, io.read(&mut bytes)).await.ok()?.ok()?;
        if count == 0 {
            return None;
        }
        let read = codec.read(&bytes[..count], output.buffer());
        if let Some(first) = read.packets.into_iter().next() {
            let Incoming::Connect(connect) = first else { return None };
            return Some(connect);
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
    peer: Peer,
) -> Result<(Client, Accept), Refused> {
    let config = &server.0.config;
    let principal = authenticate(&*server.0.ports.authenticator, &connect, &peer).await?;
    let assigned = assign_client_id(server, &connect)?;
    let id: Arc<str> = assigned.as_deref().unwrap_or(&connect.client_id).into();
    check_will(server, &connect, &id)?;
    let session_expiry_s = connect.session_expiry_s.min(config.session_expiry_seconds_max);
    let now = server.0.ports.clock.now();
    let claim = (connect.clean_start, session_expiry_s == 0);
    let taken = server.0.sessions.take(&id, claim, now);
    let taken = taken.map_err(|TooMany| {
        (ConnectRefusal::ServerBusy, "there are as many sessions as there may be".to_owned())
    })?;
    if let Some(previous) = &taken.previous {
        // What the old connection has handed over comes before what this one will.
        drop(tokio::time::timeout(LEAVE_MAX, previous.left.cancelled()).await);
    }
    if let Err(refusal) = keep_session(server, &id, &taken, session_expiry_s).await {
        let ended = (Some(UNTIL_THE_NEXT_LOOK), false);
        drop(server.0.sessions.leave(&id, &taken.seat, ended, now));
        return Err((ConnectRefusal::ServerUnavailable, refusal.to_string()));
    }
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
        peer,
        keep_alive: Some(silence_max).filter(|silence| !silence.is_zero()),
        session_expiry: Some(Duration::from_secs(session_expiry_s.into())),
        new_expiry_s: None,
        resumes: !connect.clean_start,
        seat: taken.seat,
        will: connect.will,
    };
    Ok((client, accept))
}

/// Lets go what is left of a session that has ended, and makes the one that begins or goes on
/// durable, before the client is told of it.
async fn keep_session(
    server: &Server,
    id: &Arc<str>,
    taken: &Taken,
    expiry_s: u32,
) -> Result<(), Refusal> {
    let handshakes = &server.0.ports.handshakes;
    if taken.ended {
        handshakes.forget_session(Arc::clone(id)).await?;
    }
    if taken.present || expiry_s > 0 {
        handshakes.keep_session(Arc::clone(id), expiry_s).await?;
    }
    Ok(())
}

/// A will that could not be published is refused while somebody can be told.
fn check_will(server: &Server, connect: &Connect, id: &str) -> Result<(), Refused> {
    let Some(will) = &connect.will else { return Ok(()) };
    let refused = |refusal: ConnectRefusal| (refusal, refusal.text().to_owned());
    if will.message.retain && connect.version == Version::V5 {
        return Err(refused(ConnectRefusal::RetainNotSupported));
    }
    if is_the_servers(will.message.topic()) {
        return Err((ConnectRefusal::NotAuthorized, THE_SERVERS.to_owned()));
    }
    let now = server.0.ports.clock.now();
    let context = Context {
        version: connect.version,
        client_id: id,
        user: connect.user_name.as_deref().unwrap_or_default(),
        now,
        now_text: &now.to_string(),
        mappings: &server.0.mappings,
        identifiers: &server.0.identifiers,
    };
    let normalized = normalize(&will.message, context);
    normalized.map(drop).map_err(|invalid| {
        (ConnectRefusal::PayloadFormatInvalid, format!("the will is no event: {invalid}"))
    })
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
