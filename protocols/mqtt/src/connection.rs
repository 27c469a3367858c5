//! One connection's life: CONNECT, then packets until it ends, then what its end brings about.

mod connect;
mod deliver;
mod exchange;
mod output;
pub(crate) mod pace;
mod packets;
mod renew;
mod subscribe;
mod will;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use eg_auth::Peer;
use eg_event::{KeptSession, Owner};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use self::connect::{Admitted, Wire};
pub(crate) use self::deliver::{NOTED, RELEASED};
pub(crate) use self::exchange::Ended;
use self::exchange::Exchange;
use self::output::Output;
use self::pace::Pace;
use crate::authenticate::Identity;
use crate::codec::{Codec, ConnectRefusal, Version, Will};
use crate::link::{Link, Transport};
use crate::server::Server;
use crate::sessions::Seat;
use crate::subscriber::Subscriber;
use crate::tenancy::TenantPlace;
use crate::wills::WillNumber;

/// How long the last bytes of a connection may take.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// A client that has been let in.
pub(crate) struct Client {
    pub(crate) version: Version,
    pub(crate) id: Arc<str>,
    /// What `{user}` stands for in mappings.
    pub(crate) user: String,
    pub(crate) owner: Owner,
    pub(crate) identity: Identity,
    /// It was recognized by enhanced authentication, and so may be again.
    pub(crate) has_token_method: bool,
    pub(crate) peer: Peer,
    /// The connection as operators see it.
    pub(crate) link: Arc<Link>,
    pub(crate) keep_alive: Option<Duration>,
    /// How long the session outlives the connection; none: for ever.
    pub(crate) session_expiry: Option<Duration>,
    /// What it has asked for instead when it left, in seconds.
    pub(crate) new_expiry_s: Option<u32>,
    /// It asked to go on with a session.
    pub(crate) resumes: bool,
    pub(crate) seat: Seat,
    /// What its application has and may have.
    pub(crate) tenant: Option<TenantPlace>,
    /// What it had as a subscriber when it came.
    pub(crate) subscriber: Option<Arc<Subscriber>>,
    /// How many messages of QoS 1 and 2 may be under way to it.
    pub(crate) inflight_max: usize,
    /// How fast it may publish, if that is limited.
    pub(crate) pace: Option<Box<Pace>>,
    pub(crate) will: Option<Will>,
}

/// Serves a connection to its end.
pub(crate) async fn serve<S>(server: Server, mut io: S, from: (Peer, Transport))
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let config = &server.0.config;
    let mut codec = Codec::new(config.packet_bytes_max, config.connect_bytes_max);
    let mut output = Output::default();
    let wire = Wire { io: &mut io, codec: &mut codec, output: &mut output };
    let admitted = connect::admit(&server, wire, from).await;
    let Some(Admitted { mut client, early, is_present }) = admitted else {
        return farewell(&mut io, &mut output).await;
    };
    server.tell_connected(&client, is_present);
    let kept_will = will::keep(&server, &client);
    let mut exchange = Exchange::new(&server, &mut client, (codec, output), early);
    let ended = exchange.run(&mut io).await;
    let mut output = exchange.into_output();
    server.tell_disconnected(&client, ended);
    tokio::join!(farewell(&mut io, &mut output), conclude(&server, (client, kept_will), ended));
}

/// What the end of a connection brings about: the end of the session, and the will.
async fn conclude(
    server: &Server,
    (mut client, kept_will): (Client, Option<WillNumber>),
    ended: Ended,
) {
    leave(server, &client);
    let mut expiry = client.session_expiry;
    // Who takes the session over waits until it has been left, and so until this is forgotten.
    if !client.seat.taken_over.is_cancelled() {
        if expiry == Some(Duration::ZERO) {
            expiry = Some(server.forget(&client.id).await);
        } else if let Some(expiry_s) = client.new_expiry_s {
            let (client_id, owner) = (Arc::clone(&client.id), client.owner);
            server.keep(KeptSession { client_id, owner, expiry_s }).await;
        }
    }
    // Who was cut off says no more, not even this.
    let is_sent = ended.sends_will() && !client.identity.is_revoked();
    let will = client.will.take().filter(|_| is_sent);
    let may_wait = client.session_expiry != Some(Duration::ZERO);
    let will_waits = may_wait && will.as_ref().is_some_and(|will| will.delay_s > 0);
    let now = server.0.ports.clock.now();
    let left = server.0.sessions.leave(&client.id, &client.seat, (expiry, will_waits), now);
    match (will, kept_will) {
        (Some(will), kept_will) => will::publish_or_wait(server, (client, kept_will), &will, left),
        (None, Some(kept_will)) => server.0.wills.forget(kept_will),
        (None, None) => {}
    }
}

/// What was on its way to the client waits for it again, or goes to others who share it. If nobody
/// has waited for that any more, all of it is the next connection's.
fn leave(server: &Server, client: &Client) {
    if let Some(pace) = &client.pace {
        server.0.paces.keep(&client.id, pace, Instant::now());
    }
    if client.seat.left.is_cancelled() {
        return;
    }
    if let Some(subscriber) = server.0.router.subscriber(&client.id) {
        subscriber.set_connected(false);
        if !client.seat.taken_over.is_cancelled() {
            subscriber.inbox().disconnect();
        }
        server.0.router.share_out(&subscriber, &server.0.counters);
    }
}

/// Tells a client that there are as many connections as there may be.
pub(crate) async fn turn_away<S>(server: Server, mut io: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let config = &server.0.config;
    let mut codec = Codec::new(config.connect_bytes_max, config.connect_bytes_max);
    let mut output = Output::default();
    let until = Instant::now() + Duration::from_secs(config.connect_seconds_max.into());
    let mut wire = Wire { io: &mut io, codec: &mut codec, output: &mut output };
    let first = wire.connect(until).await;
    if matches!(first, Some(Ok(_))) {
        let text = "there are as many connections as there may be";
        codec.refuse(ConnectRefusal::ServerBusy, text, output.buffer());
    }
    farewell(&mut io, &mut output).await;
}

/// Sends what is left, and closes.
async fn farewell<S: AsyncWrite + Unpin>(io: &mut S, output: &mut Output) {
    let last = async {
        poll_fn(|cx| output.poll_send(io, cx)).await?;
        io.shutdown().await
    };
    // A client that is gone, or does not read, misses it.
    drop(tokio::time::timeout(FAREWELL_MAX, last).await);
}
