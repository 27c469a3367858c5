//! TLS towards a bus.

use std::error::Error;
use std::io;
use std::sync::Arc;

use eg_event::Subscription;
use eg_event::outbound::ClientIdentity;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::target::Target;

/// A connection over TLS.
pub(crate) type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

/// TLS as a subscription has it.
pub(crate) fn of(target: &Target, subscription: &Subscription) -> Result<ClientConfig, String> {
    let identity = subscription.auth.as_ref().and_then(|auth| auth.certificate.as_ref());
    client(target.attributes.get("caCertificates"), identity)
}

/// Speaks TLS with `host`, which has to prove that name.
pub(crate) async fn connect(
    config: ClientConfig,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream, String> {
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| format!("{host} is no name that a certificate can have"))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| {
        let is_tls = error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>);
        let doubt = if is_tls { "" } else { ": is TLS spoken there?" };
        format!("{}{doubt}", reason(&error))
    })
}

/// Why there is no connection, and what an operator is to mend.
pub(crate) fn reason(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let Some(cause) = cause else { return plain(error) };
    let known = match cause {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => {
                "the certificate of the bus is of an authority that is not trusted: give that in \
                 attributes.caCertificates"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate of the bus is for another name than that of the URL"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate of the bus has ended: renew it there"
            }
            _ => return error.to_string(),
        },
        rustls::Error::InvalidMessage(_) => {
            "no TLS is spoken there: mend scheme or port of the URL"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the bus wants a client certificate: give one in auth.certificate"
        }
        rustls::Error::AlertReceived(AlertDescription::UnknownCA) => {
            "the bus does not trust the authority of auth.certificate"
        }
        _ => return error.to_string(),
    };
    known.to_owned()
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nobody listens there".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::UnexpectedEof => "the connection was closed during the handshake".to_owned(),
        _ => error.to_string(),
    }
}

/// TLS that trusts `authorities` (PEM), or else those of the system, and shows `identity`.
pub(crate) fn client(
    authorities: Option<&str>,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(pem) => {
            for authority in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let authority = authority.map_err(|error| error.to_string())?;
                roots.add(authority).map_err(|error| error.to_string())?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(identity.certificate_chain.as_bytes()).collect();
    let chain = chain.map_err(|_| "the client certificate is not PEM".to_owned())?;
    let key = PrivateKeyDer::from_pem_slice(identity.private_key.expose().as_bytes());
    let key = key.map_err(|_| "the private key is not PEM".to_owned())?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| format!("the client certificate and its key: {error}"))
}
