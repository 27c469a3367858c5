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
