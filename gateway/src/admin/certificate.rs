//! Certificates as management clients see them.

use async_graphql::{Enum, Error, InputObject, Result, SimpleObject};
use eg_certs::{Claim, Serial, SigningRequest, Subject};
use eg_event::InvalidInput;

use super::error::{Code, coded, invalid, store};
use super::page::{self, PageInfo};
use crate::certificates::{CertificateError, Certificates, Desk, Invite, Origin, Record, Wanted};

/// A certificate that the gateway's own authority has issued.
#[derive(Clone, Debug, SimpleObject)]
pub struct Certificate {
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    subject: String,
    /// Its further names: host names, IP addresses, URIs.
    names: Vec<String>,
    /// Its SHA-256 digest, in hexadecimal digits.
    thumbprint: String,
    issued_at: String,
    not_after: String,
    origin: CertificateOrigin,
    revoked_at: Option<String>,
    revocation_reason: Option<String>,
}

/// Who asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Origin")]
pub enum CertificateOrigin {
    /// An operator.
    Operator,
    /// An application, by a token.
    Token,
    /// An application, by the certificate before it.
    Renewal,
}

/// A page of certificates.
#[derive(Clone, Debug, SimpleObject)]
pub struct CertificatePage {
    /// The certificates, oldest first.
    pub data: Vec<Certificate>,
    /// Where the page lies.
    pub page_info: PageInfo,
    /// How many there are in all.
    pub total_count: usize,
}

/// A certificate that is wanted.
#[derive(Clone, Debug, InputObject)]
pub struct CertificateInput {
    /// The common name: who holds it. The signing request has to be for the same.
    name: String,
    /// The signing request (PKCS #10) in PEM. The private key stays where it was made.
    csr: String,
    /// How long it is to be good, in days.
    validity_days: Option<u32>,
    /// The organization: in Kyma's terms, the tenant.
    organization: Option<String>,
    /// The organizational unit: in Kyma's terms, the group.
    organizational_unit: Option<String>,
    /// Further names: host names, IP addresses, URIs.
    #[graphql(default)]
    names: Vec<String>,
}

/// A certificate that was issued just now.
#[derive(Clone, Debug, SimpleObject)]
pub struct IssuedCertificate {
    certificate: Certificate,
    /// It, in PEM.
    pem: String,
    /// Its authority's certificate, in PEM: what clients of the gateway trust.
    authority_pem: String,
}

/// A token with which an application gets its first certificate.
#[derive(Clone, SimpleObject)]
pub struct SigningToken {
    /// Where the application begins.
    url: String,
    /// The token; it is good once, for a short time, and is shown this once.
    token: String,
}

impl From<&Record> for Certificate {
    fn from(record: &Record) -> Self {
        let revoked = record.revoked.as_ref();
        Self {
            serial: record.serial.to_string(),
            subject: record.subject.clone(),
            names: record.names.clone(),
            thumbprint: record.thumbprint.clone(),
            issued_at: record.issued_at.to_string(),
            not_after: record.not_after.to_string(),
            origin: record.origin.into(),
            revoked_at: revoked.map(|revoked| revoked.at.to_string()),
            revocation_reason: revoked.map(|revoked| revoked.reason.clone()),
        }
    }
}

impl From<Invite> for SigningToken {
    fn from(Invite { url, token }: Invite) -> Self {
        Self { url, token }
    }
}

/// A page of the certificates that were issued.
pub(super) fn list(
    certificates: &Certificates,
    first: Option<i32>,
    after: Option<&str>,
) -> Result<CertificatePage> {
    let size = page::size(first)?;
    let all = certificates.all();
    let total_count = all.len();
    let begins = match after {
        None => 0,
        Some(text) => {
            let serial = serial("after", text)?;
            let at = all.iter().position(|record| record.serial == serial);
            at.ok_or_else(|| failed(&CertificateError::NotFound(text.to_owned())))? + 1
        }
    };
    let entries = all[begins..].iter().take(size + 1).map(Certificate::from).collect();
    let (data, page_info) = page::cut(entries, size, |one: &Certificate| one.serial.clone());
    Ok(CertificatePage { data, page_info, total_count })
}

/// Issues a certificate for an operator.
pub(super) async fn issue(
    certificates: &Certificates,
    input: CertificateInput,
) -> Result<IssuedCertificate> {
    let issued = async {
        let request = SigningRequest::parse(input.csr.as_bytes())?;
        let found = request.subject.value("CN").unwrap_or_default();
        if found != input.name {
            let (expected, found) = (input.name, found.to_owned());
            return Err(CertificateError::OtherName { expected, found });
        }
        let mut subject = Subject::default();
        let attributes = [
            ("O", input.organization),
            ("OU", input.organizational_unit),
            ("CN", Some(input.name)),
        ];
        for (attribute, value) in attributes {
            if let Some(value) = value {
                subject = subject.with(attribute, &value)?;
            }
        }
        let validity_days = input.validity_days;
        let (names, origin) = (input.names, Origin::Operator);
        certificates.issue(Wanted { subject, names, validity_days, origin }, &request).await
    };
    let issued = issued.await.map_err(|e| failed(&e))?;
    Ok(IssuedCertificate {
        certificate: Certificate::from(&issued.record),
        pem: issued.certificate_pem,
        authority_pem: issued.authority_pem,
    })
}

/// Revokes a certificate.
pub(super) async fn revoke(
    certificates: &Certificates,
    number: &str,
    reason: Option<String>,
) -> Result<Certificate> {
    let serial = serial("serial", number)?;
    let reason = reason.unwrap_or_else(|| "revoked by an operator".to_owned());
    let revoked = certificates.revoke(&serial, &reason).await.map_err(|e| failed(&e))?;
    Ok(Certificate::from(&revoked))
}

/// Makes a token for an application.
pub(super) fn create_token(desk: &Desk, claim: Claim) -> Result<SigningToken> {
    desk.create_token(claim).map(SigningToken::from).map_err(|e| failed(&e))
}

fn serial(field: &str, text: &str) -> Result<Serial> {
    let expected = || InvalidInput::new(field, format!("expected a serial number, found {text:?}"));
    Serial::parse(text).ok_or_else(|| invalid(&expected()))
}

fn failed(error: &CertificateError) -> Error {
    let field = match error {
        CertificateError::Store(error) => return store(error),
        CertificateError::Encode(_)
        | CertificateError::Unreadable(_)
        | CertificateError::Token(eg_certs::TokenError::Random) => {
            tracing::error!(%error, "a certificate could not be issued or revoked");
            return coded(
                Code::InternalError,
                "the certificate authority failed; the log says more",
            );
        }
        CertificateError::Invalid(error) => return invalid(error),
        CertificateError::NotFound(_) => return coded(Code::NotFound, &error.to_string()),
        CertificateError::NoAuthority
        | CertificateError::TooMany(_)
        | CertificateError::Token(_) => return coded(Code::InvalidOperation, &error.to_string()),
        CertificateError::Request(_) | CertificateError::OtherName { .. } => "in.csr",
        CertificateError::Days(_) => "in.validityDays",
        CertificateError::Reason => "reason",
        CertificateError::Subject(_) => "in.name",
        CertificateError::Issue(_) => "in",
    };
    invalid(&InvalidInput::new(field, error.to_string()))
}
