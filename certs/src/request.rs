//! Signing requests (CSR, RFC 2986): what somebody wants a certificate for.

use rcgen::{CertificateParams, KeyPair, SubjectPublicKeyInfo};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

use crate::authority::IssueError;
use crate::subject::Subject;

/// The longest request, in bytes.
const BYTES_MAX: usize = 16 * 1024;
/// How long an RSA key may be, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A request whose sender has proved to hold the private key. The extensions that it asks for do
/// not count: what a certificate says is for the authority to decide.
#[derive(Clone, Debug)]
pub struct SigningRequest {
    /// Who is to be certified.
    pub subject: Subject,
    pub(crate) key: SubjectPublicKeyInfo,
}

/// A signing request cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// It is not one.
    #[error("expected a PKCS #10 signing request in PEM or DER of at most {BYTES_MAX} bytes")]
    Unreadable,
    /// Its signature does not fit its key.
    #[error("the request is not signed by the key that it names")]
    Signature,
    /// Its key is too weak or too strange.
    #[error("expected a key of RSA with 2048 to 8192 bits, ECDSA P-256 or P-384, or Ed25519")]
    Key,
}

impl SigningRequest {
    /// Reads a request in PEM or DER, and checks its signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidRequest> {
        if bytes.len() > BYTES_MAX {
            return Err(InvalidRequest::Unreadable);
        }
        let from_pem = CertificateSigningRequestDer::from_pem_slice(bytes).ok();
        let der = from_pem.as_deref().unwrap_or(bytes);
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| InvalidRequest::Unreadable)?;
        if !rest.is_empty() {
            return Err(InvalidRequest::Unreadable);
        }
        let info = &request.certification_request_info;
        if let Ok(PublicKey::RSA(key)) = info.subject_pki.parsed()
            && !RSA_BITS.contains(&key.key_size())
        {
            return Err(InvalidRequest::Key);
        }
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw)
            .map_err(|_| InvalidRequest::Key)?;
        request.verify_signature().map_err(|_| InvalidRequest::Signature)?;
        Ok(Self { subject: Subject::of(&info.subject), key })
    }
}

/// A new private key (PKCS #8 in PEM, a secret), and a request for it in PEM.
pub fn generate(subject: &Subject) -> Result<(String, String), IssueError> {
    let key = KeyPair::generate().map_err(IssueError::from)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject.to_rcgen();
    let request = params.serialize_request(&key).map_err(IssueError::from)?;
    Ok((key.serialize_pem(), request.pem().map_err(IssueError::from)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_in_pem_and_in_der() {
        let subject = Subject::parse("OU=Sales,CN=blue").unwrap();
        let (key, pem) = generate(&subject).unwrap();
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap();
        for bytes in [pem.as_bytes(), &der] {
            assert!(SigningRequest::parse(bytes).unwrap().subject.is_same(&subject));
        }
    }

    #[test]
    fn a_request_that_was_tampered_with_is_refused() {
        let (_, pem) = generate(&Subject::parse("CN=blue").unwrap()).unwrap();
        let mut der =
            CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
        let at = der.windows(4).position(|four| four == b"blue").unwrap();
        der[at] = b'g';
        assert_eq!(SigningRequest::parse(&der).unwrap_err(), InvalidRequest::Signature);
        for bytes in [&b""[..], b"-----BEGIN", &vec![0x30; 20_000], &der[..der.len() - 1]] {
            assert_eq!(SigningRequest::parse(bytes).unwrap_err(), InvalidRequest::Unreadable);
        }
    }
}
