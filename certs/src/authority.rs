//! The gateway's own certificate authority: one key that signs certificates and lists of revoked
//! ones.

use std::time::Duration;

use eg_event::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::request::SigningRequest;
use crate::revocation::{CertificateName, Revoked};
use crate::serial::Serial;
use crate::subject::Subject;

/// How long a new authority is good for.
const AUTHORITY_DAYS: u64 = 3650;
/// How long a list of revoked certificates is good for.
const LIST_DAYS: u64 = 30;
/// A certificate is good from a little before it was made, for clocks that are behind.
const SKEW: Duration = Duration::from_mins(5);

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    certificate: CertificateDer<'static>,
    not_after: Timestamp,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It says who a client is.
    Client,
    /// It says who a server is.
    Server,
}

/// A certificate that is wanted.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// Whom it speaks of.
    pub subject: &'a Subject,
    /// Further names: host names, IP addresses, URIs.
    pub names: &'a [String],
    /// What it is for.
    pub purpose: Purpose,
    /// How long it is to be good; it ends no later than its authority.
    pub validity: Duration,
}

/// A certificate that was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Its number.
    pub serial: Serial,
    /// It, in PEM.
    pub pem: String,
    /// It, in DER.
    pub der: CertificateDer<'static>,
    /// When it stops being good.
    pub not_after: Timestamp,
}

/// The authority could not sign.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The authority's own files cannot be read.
    #[error("the certificate authority's files: {0}")]
    Authority(String),
    /// The authority has expired.
    #[error("the certificate authority expired at {0}")]
    Expired(Timestamp),
    /// A further name is neither a host name nor an IP address nor a URI.
    #[error("expected a host name, an IP address or a URI, found {0:?}")]
    Name(String),
    /// Something else was wrong.
    #[error("the certificate could not be made: {0}")]
    Failed(String),
}

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<aws_lc_rs::error::Unspecified> for IssueError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Failed("the system gives no randomness".to_owned())
    }
}

impl Authority {
    /// Makes a new authority: its certificate and its private key (a secret), both in PEM.
    pub fn generate(now: Timestamp) -> Result<(String, String), IssueError> {
        let key = KeyPair::generate()?;
        let serial = Serial::random()?;
        // Two authorities must not go by the same name: a revocation names issuer and number.
        let name = format!("Event Gateway CA {}", &serial.as_str()[..8]);
        let subject = Subject::default().with("CN", &name);
        let subject = subject.map_err(|error| IssueError::Failed(error.to_string()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject.to_rcgen();
        params.serial_number = Some(serial.to_rcgen());
        params.not_before = date(before(now, SKEW));
        params.not_after = date(now.after(days(AUTHORITY_DAYS)));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
    }

    /// Takes up an authority from its certificate and its private key, both in PEM.
    pub fn load(certificate: &str, key: &str) -> Result<Self, IssueError> {
        let unusable = |error: &dyn std::fmt::Display| IssueError::Authority(error.to_string());
        let key = KeyPair::from_pem(key).map_err(|error| unusable(&error))?;
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| unusable(&error))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| unusable(&error))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(unusable(&"the key is not the certificate's"));
        }
        let not_after = instant(parsed.validity().not_after.timestamp());
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| unusable(&error))?;
        Ok(Self { issuer, pem: certificate.to_owned(), certificate: der, not_after })
    }

    /// Its certificate in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its certificate in DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// When it stops being good.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Issues what `order` says to the holder of the key of `request`.
    pub fn issue(
        &self,
        order: &Order<'_>,
        request: &SigningRequest,
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        self.sign(order, &request.key, now)
    }

    /// Issues what `order` says for a public key.
    pub(crate) fn sign(
        &self,
        order: &Order<'_>,
        key: &impl PublicKeyData,
        now: Timestamp,
    ) -> Result<Issued, IssueError> {
        if self.not_after <= now {
            return Err(IssueError::Expired(self.not_after));
        }
        let serial = Serial::random()?;
        let not_after = now.after(order.validity).min(self.not_after);
        let mut params = CertificateParams::default();
        params.distinguished_name = order.subject.to_rcgen();
        params.serial_number = Some(serial.to_rcgen());
        params.not_before = date(before(now, SKEW));
        params.not_after = date(not_after);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match order.purpose {
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.subject_alt_names =
            order.names.iter().map(|name| alternative(name)).collect::<Result<_, _>>()?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key, &self.issuer)?;
        // The certificate counts whole seconds.
        let not_after = Timestamp::from_micros(not_after.as_secs() * 1_000_000);
        Ok(Issued { serial, pem: certificate.pem(), der: certificate.der().clone(), not_after })
    }

    /// What a revocation of the certificate with this number names.
    pub fn name_of(&self, serial: &Serial) -> Result<CertificateName, IssueError> {
        let (_, parsed) = X509Certificate::from_der(&self.certificate)
            .map_err(|error| IssueError::Authority(error.to_string()))?;
        Ok(CertificateName::new(parsed.subject().as_raw(), &serial.bytes()))
    }

    /// The list of what was revoked (CRL), in PEM; later ones have higher numbers.
    pub fn revocation_list(
        &self,
        revoked: &[Revoked],
        number: u64,
        now: Timestamp,
    ) -> Result<String, IssueError> {
        let entry = |revoked: &Revoked| RevokedCertParams {
            serial_number: revoked.serial.to_rcgen(),
            revocation_time: date(revoked.at),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date(now),
            next_update: date(now.after(days(LIST_DAYS))),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }
}

fn alternative(name: &str) -> Result<SanType, IssueError> {
    let refused = || IssueError::Name(name.to_owned());
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    if name.is_empty() || !name.is_ascii() || name.chars().any(|c| c.is_control() || c == ' ') {
        return Err(refused());
    }
    let is_uri = name.contains(':');
    let text = name.try_into().map_err(|_| refused())?;
    if is_uri {
        return Ok(SanType::URI(text));
    }
    let is_host = name.split('.').enumerate().all(|(at, label)| {
        (at == 0 && label == "*")
            || (!label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
    });
    if is_host && name.len() <= 253 { Ok(SanType::DnsName(text)) } else { Err(refused()) }
}

pub(crate) fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

fn before(instant: Timestamp, duration: Duration) -> Timestamp {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(instant.as_micros().saturating_sub(micros))
}

/// An instant of a certificate, in seconds since 1970; what lies before counts as 1970.
pub(crate) fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_micros(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000))
}

fn date(instant: Timestamp) -> OffsetDateTime {
    let seconds = i64::try_from(instant.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::generate;
    use crate::revocation::List;

    fn now() -> Timestamp {
        Timestamp::parse_rfc3339("2030-01-01T00:00:00Z").unwrap()
    }

    fn authority() -> Authority {
        let (certificate, key) = Authority::generate(now()).unwrap();
        Authority::load(&certificate, &key).unwrap()
    }

    fn request(subject: &Subject) -> SigningRequest {
        SigningRequest::parse(generate(subject).unwrap().1.as_bytes()).unwrap()
    }

    fn order<'a>(subject: &'a Subject, names: &'a [String], validity: Duration) -> Order<'a> {
        Order { subject, names, purpose: Purpose::Client, validity }
    }

    #[test]
    fn a_certificate_says_what_was_ordered_and_nothing_that_was_only_asked_for() {
        let asked = Subject::parse("O=Root,CN=shop").unwrap();
        let granted = Subject::parse("CN=shop").unwrap();
        let names = ["urn:shop:1".to_owned(), "shop.example".to_owned(), "::1".to_owned()];
        let order = order(&granted, &names, days(7));
        let issued = authority().issue(&order, &request(&asked), now()).unwrap();
        assert_eq!(issued.not_after, now().after(days(7)));
        let (_, read) = X509Certificate::from_der(&issued.der).unwrap();
        assert!(Subject::of(read.subject()).is_same(&granted));
        assert_eq!(Serial::from_bytes(read.raw_serial()), issued.serial);
        assert!(!read.is_ca());
        let usage = read.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        let alternative = read.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(alternative.general_names.len(), 3);
    }

    #[test]
    fn nothing_outlives_the_authority() {
        let (authority, subject) = (authority(), Subject::parse("CN=shop").unwrap());
        let late = now().after(days(AUTHORITY_DAYS - 1));
        let issued = authority.issue(&order(&subject, &[], days(90)), &request(&subject), late);
        assert_eq!(issued.unwrap().not_after, authority.not_after());
        let later = authority.issue(
            &order(&subject, &[], days(90)),
            &request(&subject),
            late.after(days(1)),
        );
        assert!(matches!(later, Err(IssueError::Expired(_))));
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let (authority, subject) = (authority(), Subject::parse("CN=shop").unwrap());
        for name in ["", "a b", "a..b", "-\n", "a/b", &"x".repeat(64), "z\u{fc}rich.example"] {
            let names = [name.to_owned()];
            let issued =
                authority.issue(&order(&subject, &names, days(1)), &request(&subject), now());
            assert!(matches!(issued, Err(IssueError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn a_key_of_another_authority_is_refused() {
        let (certificate, _) = Authority::generate(now()).unwrap();
        let (_, key) = Authority::generate(now()).unwrap();
        assert!(matches!(Authority::load(&certificate, &key), Err(IssueError::Authority(_))));
    }

    #[test]
    fn a_list_names_what_was_revoked_and_has_to_be_signed_by_whom_it_names() {
        let authority = authority();
        let serial = Serial::random().unwrap();
        let revoked = [Revoked { serial: serial.clone(), at: now() }];
        let pem = authority.revocation_list(&revoked, 7, now()).unwrap();
        let mut der =
            rustls::pki_types::CertificateRevocationListDer::from_pem_slice(pem.as_bytes())
                .unwrap()
                .to_vec();
        let authorities = [authority.certificate().clone()];
        let list = List::read(&der, &authorities).unwrap();
        assert_eq!(list.revoked, [authority.name_of(&serial).unwrap()].into());
        assert_eq!(list.next_update, Some(now().after(days(LIST_DAYS))));
        *der.last_mut().unwrap() ^= 1;
        assert!(List::read(&der, &authorities).unwrap_err().starts_with("not signed by"));
    }
}
