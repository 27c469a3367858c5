//! The beginning of a connection: CONNECT in, CONNACK out.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use eg_auth::{Credential, Peer, Unauthenticated};
use eg_event::principal::Method;
use eg_event::{KeptSession, Owner, Principal, Quantity, Refusal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::Instant;

use super::Client;
use super::exchange::Early;
use super::output::Output;
use super::pace::Pace;
use super::packets::{THE_SERVERS, is_the_servers};
use crate::authenticate::{Identity, TOKEN_METHOD, connect_refusal, presented, token, told};
use crate::codec::{
    Accept, AuthStep, Codec, Connect, ConnectRefusal, Incoming, Read, Reason, Version,
};
use crate::link::{Link, Transport};
use crate::normalize::{Context, normalize};
use crate::server::Server;
use crate::sessions::{Claimant, NotTaken, Taken, UNTIL_THE_NEXT_LOOK};
use crate::subscriber::Subscriber;
use crate::tenancy::TenantPlace;

/// A client that has been let in, and what it sent right behind CONNECT.
pub(super) struct Admitted {
    pub(super) client: Client,
    pub(super) early: Early,
    /// The session was there already.
    pub(super) is_present: bool,
}

/// Waits for CONNECT and answers it; none when the connection is to be closed.
pub(super) async fn admit<S: AsyncRead + AsyncWrite + Unpin>(
    server: &Server,
    mut wire: Wire<'_, S>,
    from: (Peer, Transport),
) -> Option<Admitted> {
    let remote = from.0.address;
    let patience = Duration::from_secs(server.0.config.connect_seconds_max.into());
    let until = Instant::now() + patience;
    let connect = tokio::select! {
        first = wire.connect(until) => match first? {
            Ok(connect) => *connect,
            Err(refusal) => {
                server.0.counters.connects_refused.add(refusal);
                return None;
            }
        },
        () = server.0.stop.cancelled() => return None,
    };
    let has_token_method = connect.authentication_method.is_some();
    match let_in(server, (&mut wire, until), connect, from).await {
        Ok((client, accept)) => {
            let Wire { codec, output, .. } = wire;
            let is_present = accept.session_present;
            let at_its_end = |client, end| {
                let early = Early { end: Some(end), ..Early::default() };
                Some(Admitted { client, early, is_present })
            };
            if !codec.accept(&accept, output.buffer()) {
                server.0.counters.connects_refused.add(ConnectRefusal::PacketTooLarge);
                return at_its_end(client, Reason::PacketTooLarge);
            }
            let bytes = codec.early_bytes();
            let Read { packets, end, .. } = codec.read(&[], output.buffer());
            let too_early = |packet: &Incoming| !matches!(packet, Incoming::Disconnect(_));
            if has_token_method && packets.iter().any(too_early) {
                // Nothing but AUTH and DISCONNECT may come before CONNACK (MQTT-3.1.2-30).
                return at_its_end(client, Reason::ProtocolError);
            }
            Some(Admitted { client, early: Early { packets, end, bytes }, is_present })
        }
        Err(None) => None,
        Err(Some((refusal, text))) => {
            server.0.counters.connects_refused.add(refusal);
            tracing::debug!(%remote, ?refusal, text, "CONNECT was refused");
            wire.codec.refuse(refusal, &text, wire.output.buffer());
            None
        }
    }
}

/// What a connection is read from and answered through.
pub(super) struct Wire<'a, S> {
    pub(super) io: &'a mut S,
    pub(super) codec: &'a mut Codec,
    pub(super) output: &'a mut Output,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<'_, S> {
    /// Waits for CONNECT, or what is wrong with it; none when nothing comes in time.
    pub(super) async fn connect(
        &mut self,
        until: Instant,
    ) -> Option<Result<Box<Connect>, ConnectRefusal>> {
        let read = self.next(until).await?;
        if let Some(Incoming::Connect(connect)) = read.packets.into_iter().next() {
            return Some(Ok(connect));
        }
        let told = read.refused.or_else(|| read.end.map(ConnectRefusal::from));
        Some(Err(told.unwrap_or(ConnectRefusal::ProtocolError)))
    }

    /// Asks for the token that was not with CONNECT (MQTT 5.0 section 4.12).
    async fn ask_for_token(&mut self, until: Instant) -> Result<Credential, NotLetIn> {
        self.codec.auth(AuthStep::Continue, TOKEN_METHOD, &[], self.output.buffer());
        let sent = poll_fn(|cx| self.output.poll_send(self.io, cx));
        if !matches!(tokio::time::timeout_at(until, sent).await, Ok(Ok(()))) {
            return Err(None);
        }
        let read = self.next(until).await.ok_or(None)?;
        let mut packets = read.packets.into_iter();
        match (packets.next(), packets.next(), read.end) {
            (Some(Incoming::Disconnect(_)), ..) => Err(None),
            (Some(Incoming::Auth(auth)), ..) if auth.method != TOKEN_METHOD => {
                Err(Some(method_not_offered()))
            }
            (Some(Incoming::Auth(auth)), None, None) if auth.step == AuthStep::Continue => {
                let presented = token(auth.data.as_ref()).unwrap_or(Err(Unauthenticated::Missing));
                presented.map_err(|why| Some(not_recognized(&why)))
            }
            (_, _, end) => Err(Some(refused(end.unwrap_or(Reason::ProtocolError).into()))),
        }
    }

    /// The packets that come next; none when nothing more comes, or not in time.
    async fn next(&mut self, until: Instant) -> Option<Read> {
        let mut bytes = [0; 1024];
        let mut read = self.codec.read(&[], self.output.buffer());
        while read.packets.is_empty() && read.end.is_none() {
            let count =
                tokio::time::timeout_at(until, self.io.read(&mut bytes)).await.ok()?.ok()?;
            if count == 0 {
                return None;
            }
            read = self.codec.read(&bytes[..count], self.output.buffer());
        }
        Some(read)
    }
}

type Refused = (ConnectRefusal, String);
/// What CONNACK says, if somebody is there to be told.
type NotLetIn = Option<Refused>;

fn refused(refusal: ConnectRefusal) -> Refused {
    (refusal, refusal.text().to_owned())
}

fn not_recognized(why: &Unauthenticated) -> Refused {
    (connect_refusal(why), told(why))
}

fn method_not_offered() -> Refused {
    let text = format!("expected the authentication method {TOKEN_METHOD}");
    (ConnectRefusal::BadAuthenticationMethod, text)
}

/// Says who connects.
async fn recognize<S: AsyncRead + AsyncWrite + Unpin>(
    server: &Server,
    (wire, until): (&mut Wire<'_, S>, Instant),
    connect: &Connect,
    peer: &Peer,
) -> Result<Identity, NotLetIn> {
    let credential = match connect.authentication_method.as_deref() {
        None => presented(connect),
        Some(TOKEN_METHOD) => match token(connect.authentication_data.as_ref()) {
            Some(token) => token.map_err(|why| not_recognized(&why))?,
            None => wire.ask_for_token(until).await?,
        },
        Some(_) => return Err(Some(method_not_offered())),
    };
    let identity = Identity::establish(server, &credential, peer).await;
    identity.map_err(|why| Some(not_recognized(&why)))
}

async fn let_in<S: AsyncRead + AsyncWrite + Unpin>(
    server: &Server,
    wire: (&mut Wire<'_, S>, Instant),
    connect: Connect,
    (peer, transport): (Peer, Transport),
) -> Result<(Client, Accept), NotLetIn> {
    let config = &server.0.config;
    let identity = tokio::select! {
        identity = recognize(server, wire, &connect, &peer) => identity?,
        () = server.0.stop.cancelled() => return Err(None),
    };
    let assigned = assign_client_id(server, &connect)?;
    let id: Arc<str> = assigned.as_deref().unwrap_or(&connect.client_id).into();
    let user = user(&identity.principal, &connect);
    check_will(server, &connect, (&id, &user))?;
    let session_expiry_s = connect.session_expiry_s.min(config.session_expiry_seconds_max);
    let claimant = claimant(server, &identity.principal, &id);
    let session = KeptSession {
        client_id: Arc::clone(&id),
        owner: claimant.owner,
        expiry_s: session_expiry_s,
    };
    let tenant = take_place(server, &identity.principal, &id)?;
    let taken = begin_session(server, &session, claimant, connect.clean_start).await?;
    let subscriber = resume(server, &id, (session_expiry_s > 0, tenant.as_ref()));
    let pace = pace(server, &id);
    let keep_alive_s = keep_alive_s(&connect, config.keep_alive_seconds_max);
    let differs = |is: u32, asked: u32| (is != asked).then_some(is);
    let accept = Accept {
        session_present: taken.present,
        assigned_client_id: assigned,
        session_expiry_s: differs(session_expiry_s, connect.session_expiry_s),
        keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
        receive_maximum: config.receive_maximum,
        topic_alias_maximum: config.topic_alias_maximum,
        user_properties: identity.told_expiry(server.0.ports.clock.now()).into_iter().collect(),
        authentication_method: connect.authentication_method.clone(),
    };
    let link = Arc::new(Link::new(
        (&peer, transport),
        (connect.version, &identity.principal),
        (keep_alive_s, connect.receive_maximum),
        Some(Duration::from_secs(session_expiry_s.into())),
        server.0.ports.clock.now(),
    ));
    server.0.sessions.introduce(&id, &taken.seat, Arc::clone(&link));
    // One and a half times the keep alive (MQTT 5.0 section 3.1.2.10).
    let silence_max = Duration::from_millis(u64::from(keep_alive_s) * 1500);
    let client = Client {
        version: connect.version,
        id,
        user,
        owner: claimant.owner,
        identity,
        has_token_method: connect.authentication_method.is_some(),
        peer,
        link,
        keep_alive: Some(silence_max).filter(|silence| !silence.is_zero()),
        session_expiry: Some(Duration::from_secs(session_expiry_s.into())),
        new_expiry_s: None,
        resumes: !connect.clean_start,
        seat: taken.seat,
        tenant,
        subscriber,
        inflight_max: config.session_inflight_max.min(connect.receive_maximum).into(),
        pace,
        will: connect.will,
    };
    Ok((client, accept))
}

/// The pace of a client, with what it has spent on an earlier connection.
fn pace(server: &Server, id: &str) -> Option<Box<Pace>> {
    let now = Instant::now();
    Pace::of(&server.0.config, server.0.paces.take(id, now), now)
}

/// The keep alive that holds: the server's word only where the client can hear it.
fn keep_alive_s(connect: &Connect, cap: u16) -> u16 {
    match (connect.version, connect.keep_alive_s, cap) {
        (Version::V311, asked, _) | (Version::V5, asked, 0) => asked,
        (Version::V5, 0, cap) => cap,
        (Version::V5, asked, cap) => asked.min(cap),
    }
}

/// What `{user}` stands for in mappings: who is known goes by their name, whatever they say.
fn user(principal: &Principal, connect: &Connect) -> String {
    match principal.method() {
        Method::Anonymous => connect.user_name.clone().unwrap_or_default(),
        _ => principal.name().to_owned(),
    }
}

/// Who wants the session `id`.
fn claimant(server: &Server, principal: &Principal, id: &str) -> Claimant {
    let is_bound = server.0.config.sessions_bound_to_principal;
    let owner = if is_bound { server.0.ports.handshakes.owner(principal) } else { Owner::NOBODY };
    Claimant { owner, by_name: principal.name() == id }
}

/// A place among the connections of the application; a client that takes its own over has one.
fn take_place(
    server: &Server,
    principal: &Principal,
    id: &str,
) -> Result<Option<TenantPlace>, Refused> {
    let known = principal.application().and_then(|name| server.0.ports.tenants.tenant(name));
    let Some(tenant) = known else { return Ok(None) };
    let connected = server.0.sessions.link(id);
    let is_its_own =
        connected.is_some_and(|link| link.principal.application() == principal.application());
    TenantPlace::take(tenant, is_its_own).map(Some).map_err(|tenant| {
        let (name, max) = (tenant.name(), tenant.max(Quantity::Connections));
        let text = format!("{name} may have {max} MQTT connections, and has them");
        (ConnectRefusal::QuotaExceeded, text)
    })
}

/// Takes the session, from another connection if need be.
async fn begin_session(
    server: &Server,
    session: &KeptSession,
    claimant: Claimant,
    clean: bool,
) -> Result<Taken, Refused> {
    let now = server.0.ports.clock.now();
    let (id, expiry_s) = (&session.client_id, session.expiry_s);
    let taken = server.0.sessions.take(id, claimant, (clean, expiry_s == 0), now);
    let taken = taken.map_err(|why| match why {
        NotTaken::TooMany => {
            let text = "there are as many sessions as there may be";
            (ConnectRefusal::ServerBusy, text.to_owned())
        }
        NotTaken::AnothersSession => {
            let text = "the client identifier has a session of another principal";
            (ConnectRefusal::NotAuthorized, text.to_owned())
        }
    })?;
    if let Some(previous) = &taken.previous {
        // What the old connection has handed over comes before what this one will.
        previous.has_left().await;
    }
    if let Err(refusal) = keep_session(server, session, &taken).await {
        let ended = (Some(UNTIL_THE_NEXT_LOOK), false);
        drop(server.0.sessions.leave(id, &taken.seat, ended, now));
        return Err((ConnectRefusal::ServerUnavailable, refusal.to_string()));
    }
    Ok(taken)
}

/// Lets go what is left of a session that has ended, and makes the one that begins or goes on
/// durable, before the client is told of it.
async fn keep_session(
    server: &Server,
    session: &KeptSession,
    taken: &Taken,
) -> Result<(), Refusal> {
    let handshakes = &server.0.ports.handshakes;
    if taken.ended {
        server.forget_all(&session.client_id).await?;
    }
    if taken.present || session.expiry_s > 0 {
        handshakes.keep_session(session.clone()).await?;
    }
    Ok(())
}

/// What the session of a client had as a subscriber, if it goes on.
fn resume(
    server: &Server,
    id: &str,
    (is_kept, tenant): (bool, Option<&TenantPlace>),
) -> Option<Arc<Subscriber>> {
    let subscriber = server.0.router.subscriber(id)?;
    let mut inbox = subscriber.inbox();
    inbox.is_kept = is_kept;
    inbox.inflight.reconnect();
    inbox.join(tenant);
    drop(inbox);
    subscriber.set_connected(true);
    Some(subscriber)
}

/// A will that could not be published is refused while somebody can be told.
fn check_will(server: &Server, connect: &Connect, (id, user): (&str, &str)) -> Result<(), Refused> {
    let Some(will) = &connect.will else { return Ok(()) };
    if is_the_servers(will.message.topic()) {
        return Err((ConnectRefusal::NotAuthorized, THE_SERVERS.to_owned()));
    }
    let now = server.0.ports.clock.now();
    let context = Context {
        version: connect.version,
        client_id: id,
        user,
        now,
        now_text: &now.to_string(),
        mappings: &server.0.mappings,
        identifiers: &server.0.identifiers,
        // Channels are looked for when it is published.
        declared: None,
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
