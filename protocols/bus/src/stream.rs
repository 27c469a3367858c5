//! The bytes of a connection: TCP to an address that was checked, and TLS over it.

use tokio::net::TcpStream;

use crate::connections::Surroundings;
use crate::error::PublishError;
use crate::tls;

/// What carries a connection, with or without TLS.
#[cfg(feature = "amqp")]
pub(crate) trait Stream:
    tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin
{
}

#[cfg(feature = "amqp")]
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for S {}

/// Opens a stream to a host of `target`.
#[cfg(feature = "amqp")]
pub(crate) async fn open(
    target: &crate::target::Target,
    host: &(String, u16),
    subscription: &eg_event::Subscription,
    around: &Surroundings,
) -> Result<Box<dyn Stream>, PublishError> {
    let stream = tcp(host, around).await?;
    if !target.tls {
        return Ok(Box::new(stream));
    }
    let not_connected = |why: String| not_connected(host, &why);
    let config = tls::of(target, subscription).map_err(not_connected)?;
    Ok(Box::new(tls::connect(config, &host.0, stream).await.map_err(not_connected)?))
}

/// Connects to a host.
pub(crate) async fn tcp(
    host: &(String, u16),
    around: &Surroundings,
) -> Result<TcpStream, PublishError> {
    let addresses = around.addresses(host).await?;
    let failed = |error: std::io::Error| not_connected(host, &tls::reason(&error));
    let stream = TcpStream::connect(&*addresses).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// Why there is no connection to a host.
pub(crate) fn not_connected((name, port): &(String, u16), why: &str) -> PublishError {
    PublishError::NotConnected(format!("{name}:{port}: {why}"))
}
