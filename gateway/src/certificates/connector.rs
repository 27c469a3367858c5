//! How applications get their certificates: by a token, and then by the certificate before.

use std::sync::Arc;

use eg_auth::ClientCertificate;
use eg_certs::{Claim, SigningRequest, Subject};
use eg_event::InvalidInput;
use eg_http::connector::{Answer, Chain, Connector, Holder, Invitation, Refused};
use eg_http::is_application;
use futures_util::future::FutureExt as _;

use super::{CertificateError, Certificates, Issued, Origin, Record, Wanted};

/// Gives certificates to applications.
pub struct Desk {
    certificates: Arc<Certificates>,
    base_url: String,
}

/// A token, and where to take it.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Where to take it.
    pub url: String,
    /// The token: a secret that is shown once.
    pub token: String,
}

impl Desk {
    /// Issues by `certificates`; clients reach the HTTPS listener at `base_url`.
    #[must_use]
    pub fn new(certificates: Arc<Certificates>, base_url: String) -> Self {
        Self { certificates, base_url }
    }

    /// Where clients reach the HTTPS listener.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Makes a token for an application; an empty tenant or group is none.
    pub fn create_token(&self, claim: Claim) -> Result<Invite, CertificateError> {
        self.certificates.authority()?;
        self.subject(&claim)?;
        let token = self.certificates.tokens.create(claim)?;
        let url = format!("{}/v1/applications/signingRequests/info?token={token}", self.base_url);
        Ok(Invite { url, token })
    }

    fn subject(&self, claim: &Claim) -> Result<Subject, CertificateError> {
        let mut subject = Subject::parse(&self.certificates.config.subject)?;
        if !claim.tenant.is_empty() {
            subject = subject.with("O", &claim.tenant)?;
        }
        if !claim.group.is_empty() {
            subject = subject.with("OU", &claim.group)?;
        }
        if !is_application(&claim.application) {
            let invalid = InvalidInput::new("application", "expected the name of an application");
            return Err(CertificateError::Invalid(invalid));
        }
        Ok(subject.with("CN", &claim.application)?)
    }

    /// What the subject of a certificate says of its holder.
    fn holder(&self, subject: &Subject) -> Holder {
        let usual = Subject::parse(&self.certificates.config.subject).unwrap_or_default();
        let own = |name| {
            let value = subject.value(name).filter(|value| usual.value(name) != Some(value));
            value.unwrap_or_default().to_owned()
        };
        Holder {
            application: subject.value("CN").unwrap_or_default().to_owned(),
            tenant: own("O"),
            group: own("OU"),
            subject: subject.to_string(),
            base_url: self.base_url.clone(),
        }
    }

    /// The record of a certificate that was issued here and is still good.
    fn record(&self, certificate: &ClientCertificate) -> Result<Record, Refused> {
        let found = eg_certs::Serial::parse(&certificate.serial)
            .and_then(|serial| self.certificates.get(&serial))
            .filter(|record| record.thumbprint == certificate.thumbprint.to_string());
        match found {
            None => Err(Refused::Stranger),
            Some(record) if record.revoked.is_some() => Err(Refused::Revoked),
            Some(record) => Ok(record),
        }
    }

    /// Issues a certificate for `request`, which has to be for exactly `subject`.
    async fn issue(&self, wanted: Wanted, request: &[u8]) -> Result<Chain, Refused> {
        let request =
            SigningRequest::parse(request).map_err(|e| Refused::Request(e.to_string()))?;
        if !request.subject.is_same(&wanted.subject) {
            return Err(Refused::Request(mismatch(&request.subject, &wanted.subject)));
        }
        let Issued { certificate_pem, authority_pem, .. } =
            self.certificates.issue(wanted, &request).await.map_err(|e| unavailable(&e))?;
        Ok(Chain { certificate: certificate_pem, authority: authority_pem })
    }
}

impl Connector for Desk {
    fn invite(&self, token: &str) -> Result<Invitation, Refused> {
        let claim = self.certificates.tokens.take(token).ok_or(Refused::Token)?;
        let holder = self.holder(&self.subject(&claim).map_err(|e| unavailable(&e))?);
        let token = self.certificates.tokens.create(claim).map_err(|e| unavailable(&e.into()))?;
        Ok(Invitation { holder, token })
    }

    fn sign<'a>(&'a self, token: &'a str, request: &'a [u8]) -> Answer<'a, Chain> {
        async move {
            let claim = self.certificates.tokens.take(token).ok_or(Refused::Token)?;
            let subject = self.subject(&claim).map_err(|e| unavailable(&e))?;
            let origin = Origin::Token;
            let wanted = Wanted { subject, names: Vec::new(), validity_days: None, origin };
            self.issue(wanted, request).await
        }
        .boxed()
    }

    fn identify(&self, certificate: &ClientCertificate) -> Result<Holder, Refused> {
        let record = self.record(certificate)?;
        Ok(self.holder(&record.subject().map_err(|e| unavailable(&e.into()))?))
    }

    fn renew<'a>(
        &'a self,
        certificate: &'a ClientCertificate,
        request: &'a [u8],
    ) -> Answer<'a, Chain> {
        async move {
            let record = self.record(certificate)?;
            let subject = record.subject().map_err(|e| unavailable(&e.into()))?;
            let origin = Origin::Renewal;
            let wanted = Wanted { subject, names: record.names, validity_days: None, origin };
            self.issue(wanted, request).await
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, certificate: &'a ClientCertificate) -> Answer<'a, ()> {
        async move {
            let record = self.record(certificate)?;
            let reason = "revoked by its holder";
            self.certificates.revoke(&record.serial, reason).await.map_err(|e| unavailable(&e))?;
            Ok(())
        }
        .boxed()
    }
}

/// Says what is wrong with a subject, in Kyma's words where it has some.
fn mismatch(found: &Subject, expected: &Subject) -> String {
    let names = [
        ("CN", "common name"),
        ("OU", "organizational unit"),
        ("O", "organization"),
        ("L", "locality"),
        ("ST", "province"),
        ("C", "country"),
    ];
    let differs = names.iter().find(|(name, _)| found.value(name) != expected.value(name));
    format!("CSR: Invalid {} provided.", differs.map_or("subject", |(_, words)| words))
}

/// What the application is told of the gateway's own troubles; the log has the rest.
fn unavailable(error: &CertificateError) -> Refused {
    match error {
        CertificateError::NoAuthority
        | CertificateError::TooMany(_)
        | CertificateError::Token(_) => Refused::Unavailable(error.to_string()),
        _ => {
            tracing::error!(%error, "a certificate could not be issued or revoked");
            Refused::Unavailable("the certificate authority failed; try again later".to_owned())
        }
    }
}
