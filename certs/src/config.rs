//! What an operator can set of TLS and of the certificates that the gateway issues.

use std::path::PathBuf;

use eg_event::InvalidInput;
use serde::{Deserialize, Serialize};

use crate::acme::AcmeConfig;
use crate::subject::Subject;

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They are not asked for any.
    Off,
    /// Those who have one show it; one that is not good ends the handshake.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// The section `[tls]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// A certificate from a public authority.
    pub acme: AcmeConfig,
    /// Speak TLS on the management port too.
    pub admin: bool,
    /// Whether clients show certificates on the management port, when it speaks TLS.
    pub admin_client_certificates: ClientCertificates,
    /// The PEM file of the server's certificate and its chain.
    pub certificate_file: Option<PathBuf>,
    /// PEM files of the authorities whose client certificates count, beside the gateway's own.
    pub client_ca_files: Vec<PathBuf>,
    /// PEM or DER files of certificates that other authorities have revoked (CRL).
    pub crl_files: Vec<PathBuf>,
    /// How many days before the end of a certificate or a CRL the log warns of it.
    pub expiry_warning_days: u32,
    /// How long a handshake may take, in milliseconds.
    pub handshake_ms_max: u32,
    /// Further authorities whose client certificates count over HTTPS alone.
    pub https_client_ca_files: Vec<PathBuf>,
    /// Whether clients show certificates over HTTPS.
    pub https_client_certificates: ClientCertificates,
    /// The PEM file of the server's private key.
    pub key_file: Option<PathBuf>,
    /// Further authorities whose client certificates count over MQTTS alone.
    pub mqtts_client_ca_files: Vec<PathBuf>,
    /// Whether clients show certificates over MQTTS.
    pub mqtts_client_certificates: ClientCertificates,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            acme: AcmeConfig::default(),
            admin: false,
            admin_client_certificates: ClientCertificates::Optional,
            certificate_file: None,
            client_ca_files: Vec::new(),
            crl_files: Vec::new(),
            expiry_warning_days: 14,
            handshake_ms_max: 10_000,
            https_client_ca_files: Vec::new(),
            https_client_certificates: ClientCertificates::Optional,
            key_file: None,
            mqtts_client_ca_files: Vec::new(),
            mqtts_client_certificates: ClientCertificates::Optional,
        }
    }
}

impl TlsConfig {
    /// Names the first setting that makes no sense.
    pub fn check(&self) -> Result<(), InvalidInput> {
        if self.certificate_file.is_some() != self.key_file.is_some() {
            let (missing, other) = match self.key_file {
                None => ("tls.key_file", "tls.certificate_file"),
                Some(_) => ("tls.certificate_file", "tls.key_file"),
            };
            return Err(InvalidInput::new(missing, format!("expected a file, as {other} is set")));
        }
        self.acme.check()?;
        if self.acme.is_on() && self.certificate_file.is_some() {
            let detail = "expected none: either the certificate is in a file, or it is got";
            return Err(InvalidInput::new("tls.acme.domains", detail));
        }
        if self.acme.is_on() && self.https_client_certificates == ClientCertificates::Required {
            let detail = "expected optional or off: an authority that looks at tls.acme.domains \
                shows no certificate";
            return Err(InvalidInput::new("tls.https_client_certificates", detail));
        }
        check_ranges(&[
            ("tls.handshake_ms_max", self.handshake_ms_max, 100, 600_000),
            ("tls.expiry_warning_days", self.expiry_warning_days, 0, 3650),
        ])
    }
}

/// The section `[certificates]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertificatesConfig {
    /// How many records of certificates are kept; those that have expired make room.
    pub issued_max: u32,
    /// Where clients reach the HTTPS listener, such as `https://gateway.example:8443`: what the
    /// answers of the one-click flow lead to.
    pub public_url: Option<String>,
    /// What the subjects of applications have beside their names.
    pub subject: String,
    /// How long a token of the one-click flow is good, in seconds.
    pub token_seconds_max: u32,
    /// How many such tokens there may be at once.
    pub tokens_max: u32,
    /// How long certificates are good when nobody says, in days.
    pub validity_days: u32,
}

impl Default for CertificatesConfig {
    fn default() -> Self {
        Self {
            issued_max: 100_000,
            public_url: None,
            subject: "OU=OrgUnit,O=Organization,L=Waldorf,ST=Waldorf,C=DE".to_owned(),
            token_seconds_max: 300,
            tokens_max: 1000,
            validity_days: 92,
        }
    }
}

impl CertificatesConfig {
    /// Names the first setting that makes no sense.
    pub fn check(&self) -> Result<(), InvalidInput> {
        let subject = Subject::parse(&self.subject);
        subject.map_err(|e| InvalidInput::new("certificates.subject", e.to_string()))?;
        if let Some(url) = &self.public_url
            && (!url.starts_with("https://") || url.ends_with('/') || url.contains(['?', '#', ' ']))
        {
            let detail =
                format!("expected a URL such as https://gateway.example:8443, found {url:?}");
            return Err(InvalidInput::new("certificates.public_url", detail));
        }
        check_ranges(&[
            ("certificates.issued_max", self.issued_max, 1, 10_000_000),
            ("certificates.token_seconds_max", self.token_seconds_max, 1, 86_400),
            ("certificates.tokens_max", self.tokens_max, 1, 1_000_000),
            ("certificates.validity_days", self.validity_days, 1, 3650),
        ])
    }
}

fn check_ranges(rows: &[(&str, u32, u32, u32)]) -> Result<(), InvalidInput> {
    for &(key, value, low, high) in rows {
        if !(low..=high).contains(&value) {
            let detail = format!("expected a number from {low} to {high}, found {value}");
            return Err(InvalidInput::new(key, detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_their_own_rules() {
        assert_eq!(TlsConfig::default().check(), Ok(()));
        assert_eq!(CertificatesConfig::default().check(), Ok(()));
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let half = TlsConfig { key_file: Some("k".into()), ..TlsConfig::default() };
        assert_eq!(half.check().unwrap_err().field, "tls.certificate_file");
        let hasty = TlsConfig { handshake_ms_max: 1, ..TlsConfig::default() };
        assert_eq!(hasty.check().unwrap_err().field, "tls.handshake_ms_max");
        let subject = CertificatesConfig { subject: "shop".into(), ..Default::default() };
        assert_eq!(subject.check().unwrap_err().field, "certificates.subject");
        let plain = Some("http://gateway.example".to_owned());
        let url = CertificatesConfig { public_url: plain, ..Default::default() };
        assert_eq!(url.check().unwrap_err().field, "certificates.public_url");
    }
}
