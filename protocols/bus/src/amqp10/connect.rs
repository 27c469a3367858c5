//! Opens connections of AMQP 1.0.

use std::sync::Arc;

use eg_event::Subscription;
use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection, Receiver, Session};
use tokio_rustls::TlsConnector;

use super::explain;
use crate::connections::Surroundings;
use crate::error::PublishError;
use crate::login::Login;
use crate::stream;
use crate::target::Target;
use crate::tls;

/// Without a sign of life for so long, in milliseconds, the broker counts as gone.
const IDLE_MS: u32 = 30_000;
/// The largest frame, in bytes.
const FRAME_BYTES_MAX: u32 = 64 * 1024;
/// How many frames wait for the socket.
const FRAMES_MAX: usize = 512;

/// A connection that the broker has accepted, and a session in it.
pub(super) struct Opened {
    pub(super) session: SessionHandle<()>,
    /// It ends when it is dropped.
    connection: ConnectionHandle<()>,
}

impl Opened {
    /// Connects to the first host that lets the gateway in.
    pub(super) async fn open(
        target: &Target,
        subscription: &Subscription,
        around: &Surroundings,
        login: &Login,
    ) -> Result<Self, PublishError> {
        let mut last = PublishError::NotConnected("the URL names no host".to_owned());
        for host in &target.hosts {
            match stream::tcp(host, around).await {
                Ok(stream) => match greet(target, subscription, login, (&host.0, stream)).await {
                    Ok(opened) => return Ok(opened),
                    Err(why) => last = stream::not_connected(host, &why),
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Opened {
    /// Fails when an address cannot be read from. In a session of its own, which ends with a failure.
    pub(super) async fn check(&mut self, name: &str, address: &str) -> Result<(), String> {
        let session = Session::begin(&mut self.connection).await;
        let mut session = session.map_err(|error| explain::begin(&error))?;
        let reader = Receiver::builder()
            .name(name)
            .source(address)
            .credit_mode(CreditMode::Manual)
            .attach(&mut session)
            .await;
        let reader = reader.map_err(|error| explain::attach_to_read(&error, address))?;
        // RabbitMQ before 4.0 does not answer when it is closed.
        drop(reader);
        session.end().await.map_err(|error| error.to_string())
    }
}

async fn greet(
    target: &Target,
    subscription: &Subscription,
    login: &Login,
    (host, stream): (&str, tokio::net::TcpStream),
) -> Result<Opened, String> {
    // RabbitMQ takes the virtual host from the name of the host.
    let virtual_host = target.path.as_ref().map(|path| format!("vhost:{path}"));
    let builder = Connection::builder()
        .container_id(format!("event-gateway {}", subscription.name))
        .hostname(virtual_host.as_deref().unwrap_or(host))
        .sasl_hostname(host)
        .max_frame_size(FRAME_BYTES_MAX)
        .idle_time_out(IDLE_MS)
        .buffer_size(FRAMES_MAX)
        .sasl_profile(profile(login));
    let opened = if target.tls {
        let connector = TlsConnector::from(Arc::new(tls::of(target, subscription)?));
        // TLS comes first, without a header of AMQP before it (AMQP 1.0 part 5, section 5.2.1).
        let builder = builder.scheme("amqps").alt_tls_establishment(true);
        builder.domain(host).tls_connector(connector).open_with_stream(stream).await
    } else {
        builder.scheme("amqp").open_with_stream(stream).await
    };
    let mut connection = opened.map_err(|error| explain::open(&error))?;
    let session = Session::begin(&mut connection).await;
    let session = session.map_err(|error| explain::begin(&error))?;
    Ok(Opened { session, connection })
}

fn profile(login: &Login) -> SaslProfile {
    match login {
        Login::Anonymous => SaslProfile::Anonymous,
        Login::External => SaslProfile::External,
        Login::Password { name, secret, .. } => {
            SaslProfile::Plain { username: name.clone(), password: secret.expose().to_owned() }
        }
    }
}
