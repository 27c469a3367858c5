//! When certificates and lists end, for metrics and warnings.

use eg_event::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authority::instant;

/// Something that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// What it is: `server`, `client_ca`, `crl`.
    pub kind: &'static str,
    /// Its subject; for a list its issuer.
    pub name: String,
    /// When it ends.
    pub at: Timestamp,
}

impl Expiry {
    /// The end of a certificate, if it can be read.
    pub(crate) fn of(kind: &'static str, der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let at = instant(certificate.validity().not_after.timestamp());
        Some(Self { kind, name: certificate.subject().to_string(), at })
    }
}
