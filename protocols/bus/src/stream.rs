//! The bytes of a connection: TCP to an address that was checked, and TLS over it.

use std::sync::Arc;

use eg_event::Subscription;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::connections::Surroundings;
use crate::error::PublishError;
use crate::target::Target;
use crate::tls;

/// What carries a connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens a stream to a host of `target`.
#[cfg(feature = "amqp")]
pub(crate) async fn open(
    target: &Target,
    host: &(String, u16),
    subscription: &Subscription,
    around: &Surroundings,
) -> Result<Box<dyn Stream>, PublishError> {
    let stream = tcp(host, around).await?;
    if !target.tls {
        return Ok(Box::new(stream));
    }
    let not_connected = |why: String| not_connected(host, &why);
    let connector = tls(target, subscription).map_err(not_connected)?;
    let proved = ServerName::try_from(host.0.clone());
    let proved = proved.map_err(|error| not_connected(error.to_string()))?;
    let stream = connector.connect(proved, stream).await;
    Ok(Box::new(stream.map_err(|error| not_connected(format!("TLS: {error}")))?))
}

/// Connects to a host.
pub(crate) async fn tcp(
    host: &(String, u16),
    around: &Surroundings,
) -> Result<TcpStream, PublishError> {
    let addresses = around.addresses(host).await?;
    let failed = |error: std::io::Error| not_connected(host, &error.to_string());
    let stream = TcpStream::connect(&*addresses).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// TLS as `target` wants it.
pub(crate) fn tls(target: &Target, subscription: &Subscription) -> Result<TlsConnector, String> {
    let authorities = target.attributes.get("caCertificates");
    let identity = subscription.auth.as_ref().and_then(|auth| auth.certificate.as_ref());
    Ok(TlsConnector::from(Arc::new(tls::client(authorities, identity)?)))
}

/// Why there is no connection to a host.
pub(crate) fn not_connected((name, port): &(String, u16), why: &str) -> PublishError {
    PublishError::NotConnected(format!("{name}:{port}: {why}"))
}
