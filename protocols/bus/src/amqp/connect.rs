//! Opens connections of AMQP 0.9.1.

use std::sync::Mutex;

use async_rs::Runtime;
use eg_event::Subscription;
use futures_util::StreamExt as _;
use lapin::auth::AuthProvider;
use lapin::types::{LongString, ShortString};
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, Event};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::explain::{explain, short};
use super::runtime::{Carrier, Kit};
use crate::connections::Surroundings;
use crate::error::PublishError;
use crate::login::{Login, Renewal};
use crate::stream;
use crate::target::Target;

/// Without a sign of life for so long, in seconds, the broker counts as gone.
const HEARTBEAT_SECONDS: u16 = 30;
/// The largest frame, in bytes; lapin keeps buffers of 64 of them for a connection.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// A connection that the broker has accepted.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Why the broker takes nothing, while it does not.
    blocked: watch::Receiver<Option<String>>,
    renewal: Renewal,
}

impl Opened {
    /// Connects to the first host that lets the gateway in.
    pub(super) async fn open(
        target: &Target,
        subscription: &Subscription,
        around: &Surroundings,
    ) -> Result<Self, PublishError> {
        let login = Login::of(target, subscription, around).await?;
        let mut last = PublishError::NotConnected("the URL names no host".to_owned());
        for host in &target.hosts {
            match stream::open(target, host, subscription, around).await {
                Ok(stream) => match greet(target, subscription, &login, stream).await {
                    Ok(connection) => {
                        let blocked = watch_blocked(&connection, around);
                        let renewal = login.renewal(around);
                        return Ok(Self { connection, blocked, renewal });
                    }
                    Err(why) => last = stream::not_connected(host, &why),
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Shows the broker a new token, if there is one.
    pub(super) async fn renew(&self, subscription: &Subscription) -> Result<(), PublishError> {
        let Some(token) = self.renewal.newer(subscription).await? else { return Ok(()) };
        let shown = self.connection.update_secret(token.expose().into(), "renewed".into()).await;
        shown.map_err(|error| PublishError::Lost(explain(&error)))
    }

    /// Waits until the broker takes nothing, and says why.
    pub(super) async fn blocked(&self) -> String {
        let mut blocked = self.blocked.clone();
        let why = blocked.wait_for(Option::is_some).await.map(|why| why.clone());
        match why {
            Ok(why) => why.unwrap_or_default(),
            // Nobody watches a connection that is lost: that is told to who waits for it.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn greet(
    target: &Target,
    subscription: &Subscription,
    login: &Login,
    stream: Box<dyn stream::Stream>,
) -> Result<Connection, String> {
    let mut uri = AMQPUri::default();
    target.path.as_deref().unwrap_or("/").clone_into(&mut uri.vhost);
    short("the virtual host", &uri.vhost)?;
    uri.query.heartbeat = Some(HEARTBEAT_SECONDS);
    uri.query.frame_max = Some(FRAME_BYTES_MAX);
    let name = format!("event-gateway {}", subscription.name);
    let properties = ConnectionProperties::default()
        .with_connection_name(name.into())
        .with_auth_provider(Shown::of(login));
    let given_up = CancellationToken::new();
    let guard = given_up.clone().drop_guard();
    let carrier = Mutex::new(Some(Carrier::new(stream, given_up)));
    let once = async move |_: AMQPUri, _: Runtime<Kit>| {
        let carrier = carrier.lock().ok().and_then(|mut carrier| carrier.take());
        // It is asked for again when the broker has closed the first without a word.
        let closed = || {
            std::io::Error::other(
                "the broker closed the connection without an answer: mend the port, or the scheme, of \
             the URL; it may want TLS",
            )
        };
        Ok(AsyncTcpStream::Plain(carrier.ok_or_else(closed)?))
    };
    let runtime = Runtime::new(Kit::current());
    let connection = Connection::connector(uri, runtime, once, properties).await;
    let connection = connection.map_err(|error| explain(&error))?;
    guard.disarm();
    Ok(connection)
}

/// What the broker says about taking nothing, as it changes.
fn watch_blocked(
    connection: &Connection,
    around: &Surroundings,
) -> watch::Receiver<Option<String>> {
    let (tell, blocked) = watch::channel(None);
    let mut events = connection.events_listener().boxed();
    let stop = around.stop.clone();
    around.tracker.spawn(stop.run_until_cancelled_owned(async move {
        while let Some(event) = events.next().await {
            match event {
                Event::ConnectionBlocked(why) => tell.send_replace(Some(why)),
                Event::ConnectionUnblocked => tell.send_replace(None),
                Event::Error(_) => return,
                _ => continue,
            };
        }
    }));
    blocked
}

/// How the gateway says who it is.
struct Shown {
    mechanism: &'static str,
    response: Vec<u8>,
}

impl Shown {
    fn of(login: &Login) -> Self {
        match login {
            Login::External => Self { mechanism: "EXTERNAL", response: Vec::new() },
            Login::Anonymous => Self::plain("guest", "guest"),
            Login::Password { name, secret, .. } => Self::plain(name, secret.expose()),
        }
    }

    /// RFC 4616 section 2.
    fn plain(name: &str, secret: &str) -> Self {
        Self { mechanism: "PLAIN", response: format!("\0{name}\0{secret}").into_bytes() }
    }
}

impl AuthProvider for Shown {
    fn mechanism(&self) -> ShortString {
        self.mechanism.into()
    }

    fn auth_starter(&self) -> Result<LongString, String> {
        Ok(self.response.clone().into())
    }
}
