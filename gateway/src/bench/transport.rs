//! A connection of the load generator: TCP, or TLS on it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// What bytes go over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Makes connections.
#[derive(Clone)]
pub(super) enum Transport {
    Plain,
    Tls(TlsConnector, ServerName<'static>),
}

impl Transport {
    /// TLS to the host of `authority`, trusting the certificates in the PEM file `authorities`.
    pub(super) fn tls(authority: &str, authorities: &Path) -> io::Result<Self> {
        let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidInput, error);
        let mut roots = RootCertStore::empty();
        let pem = CertificateDer::pem_file_iter(authorities);
        for certificate in pem.map_err(|error| invalid(error.to_string()))? {
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            roots.add(certificate).map_err(|error| invalid(error.to_string()))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned();
        let name = ServerName::try_from(host).map_err(|error| invalid(error.to_string()))?;
        Ok(Self::Tls(TlsConnector::from(Arc::new(config)), name))
    }

    /// Connects to `authority`.
    pub(super) async fn connect(&self, authority: &str) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        match self {
            Self::Plain => Ok(Box::new(stream)),
            Self::Tls(connector, name) => {
                Ok(Box::new(connector.connect(name.clone(), stream).await?))
            }
        }
    }
}
