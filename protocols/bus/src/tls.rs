//! TLS towards a bus.

use std::sync::Arc;

use eg_event::outbound::ClientIdentity;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

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
