//! The bytes of a connection: TCP to an address that was checked, or TLS over it.

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

/// Opens a stream to one host of `target`.
pub(crate) async fn open(
    target: &Target,
    host: &(String, u16),
    subscription: &Subscription,
    around: &Surroundings,
) -> Result<Box<dyn Stream>, PublishError> {
    let addresses = around.addresses(host).await?;
    let (name, port) = host;
    let not_connected = |why: String| PublishError::NotConnected(format!("{name}:{port}: {why}"));
    let stream = TcpStream::connect(&*addresses).await;
    let stream = stream.map_err(|error| not_connected(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| not_connected(error.to_string()))?;
    if !target.tls {
        return Ok(Box::new(stream));
    }
    let authorities = target.attributes.get("caCertificates");
    let identity = subscription.auth.as_ref().and_then(|auth| auth.certificate.as_ref());
    let config = tls::client(authorities, identity).map_err(not_connected)?;
    let proved = ServerName::try_from(name.clone());
    let proved = proved.map_err(|error| not_connected(error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(proved, stream).await;
    let stream = stream.map_err(|error| not_connected(format!("TLS: {error}")))?;
    Ok(Box::new(stream))
}
