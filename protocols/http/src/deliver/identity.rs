//! The certificate and key that a subscription shows during TLS handshakes.

use eg_auth::ClientCertificate;
use eg_event::outbound::ClientIdentity;
use eg_event::{InvalidInput, Timestamp};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

const CHAIN: &str = "auth.certificate.certificateChain";
const KEY: &str = "auth.certificate.privateKey";

/// A certificate chain and its key, as TLS takes them.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads the PEM texts. What is wrong with a key is said without anything of it.
    pub(super) fn read(given: &ClientIdentity) -> Result<Self, InvalidInput> {
        let chain = chain(given)?;
        let key = PrivateKeyDer::from_pem_slice(given.private_key.expose().as_bytes());
        let expected = "expected a private key in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)";
        let key = key.map_err(|_| InvalidInput::new(KEY, expected))?;
        Ok(Self { chain, key })
    }

    /// Reads them, and checks that they can be used at `now`.
    pub(super) fn check(given: &ClientIdentity, now: Timestamp) -> Result<(), InvalidInput> {
        for certificate in certificates_of(given)? {
            if certificate.not_after <= now {
                let detail = format!(
                    "expected certificates that hold: that of {} expired at {}",
                    certificate.subject, certificate.not_after
                );
                return Err(InvalidInput::new(CHAIN, detail));
            }
        }
        let Self { chain, key } = Self::read(given)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        CertifiedKey::from_der(chain, key, &provider).map(drop).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                InvalidInput::new(KEY, "expected the key of the first certificate of the chain")
            }
            _ => InvalidInput::new(KEY, "expected a key that TLS can sign with"),
        })
    }
}

/// What the certificates of a chain say, that of the client first.
pub fn certificates_of(given: &ClientIdentity) -> Result<Vec<ClientCertificate>, InvalidInput> {
    let parse = |der: &CertificateDer<'_>| {
        ClientCertificate::parse(der).map_err(|error| InvalidInput::new(CHAIN, error.to_string()))
    };
    chain(given)?.iter().map(parse).collect()
}

fn chain(given: &ClientIdentity) -> Result<Vec<CertificateDer<'static>>, InvalidInput> {
    let chain = CertificateDer::pem_slice_iter(given.certificate_chain.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| InvalidInput::new(CHAIN, error.to_string()))?;
    if chain.is_empty() {
        return Err(InvalidInput::new(CHAIN, "expected certificates in PEM"));
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eg_event::outbound::SecretText;
    use rcgen::{CertificateParams, CertifiedKey as Made, KeyPair, generate_simple_self_signed};

    fn identity(chain: &str, key: &str) -> ClientIdentity {
        let private_key = SecretText::new(key);
        ClientIdentity { certificate_chain: chain.to_owned(), private_key }
    }

    #[test]
    fn what_is_wrong_with_a_certificate_or_key_is_said_by_field() {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let Made { cert, signing_key } = generate_simple_self_signed(["a".to_owned()]).unwrap();
        let (chain, key) = (cert.pem(), signing_key.serialize_pem());
        let other = KeyPair::generate().unwrap().serialize_pem();
        let mut params = CertificateParams::new(["old".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let expired = params.self_signed(&signing_key).unwrap().pem();
        let broken = chain.replace("\nMII", "\nMIJ");
        let rows = [
            (&*chain, &*key, None),
            ("", &key, Some((CHAIN, "expected certificates in PEM"))),
            (&*key, &key, Some((CHAIN, "expected certificates in PEM"))),
            (&*broken, &key, Some((CHAIN, "not an X.509 certificate"))),
            (&*expired, &key, Some((CHAIN, "expired at 2020-01-01"))),
            (&*chain, "", Some((KEY, "expected a private key in PEM"))),
            (&*chain, &*chain, Some((KEY, "expected a private key in PEM"))),
            (&*chain, &*other, Some((KEY, "expected the key of the first certificate"))),
        ];
        for (chain, key, expected) in rows {
            let error = Identity::check(&identity(chain, key), now).err();
            let found = error.as_ref().map(|error| (&*error.field, &*error.detail));
            match (found, expected) {
                (None, None) => {}
                (Some((field, detail)), Some((at, part))) => {
                    assert!(field == at && detail.contains(part), "{field}: {detail}");
                }
                _ => panic!("{found:?}, expected {expected:?}"),
            }
        }
    }
}
