//! A certificate from a public authority (ACME, RFC 8555): where it is kept, when it is due, and
//! how the listener proves that its names are its own (TLS-ALPN-01, RFC 8737).

use std::collections::BTreeMap;
use std::fs::{DirBuilder, read_to_string};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use eg_event::{InvalidInput, Timestamp};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authority::{IssueError, instant};
use crate::directory::{DirectoryError, failed, hosts, write_private};

/// What an authority speaks that looks at a challenge, and nobody else.
pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";
/// Where Let's Encrypt is found.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The most names of one certificate.
const DOMAINS_MAX: usize = 100;

/// The section `[tls.acme]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcmeConfig {
    /// Whom the authority writes to, such as `mailto:ops@gateway.example`.
    pub contact: Option<String>,
    /// The PEM file of what the authority's own server is trusted by, beside the system's.
    pub directory_ca_file: Option<PathBuf>,
    /// Where the authority is.
    pub directory_url: String,
    /// The names to be certified; empty: no certificate is got.
    pub domains: Vec<String>,
    /// The operator has agreed to the authority's terms of service.
    pub terms_of_service_agreed: bool,
}

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            contact: None,
            directory_ca_file: None,
            directory_url: LETS_ENCRYPT.to_owned(),
            domains: Vec::new(),
            terms_of_service_agreed: false,
        }
    }
}

impl AcmeConfig {
    /// Whether a certificate is to be got.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.domains.is_empty()
    }

    /// Names the first setting that makes no sense.
    pub(crate) fn check(&self) -> Result<(), InvalidInput> {
        if !self.is_on() {
            return Ok(());
        }
        if !self.terms_of_service_agreed {
            let detail = "expected true: the authority certifies for nobody who has not agreed";
            return Err(InvalidInput::new("tls.acme.terms_of_service_agreed", detail));
        }
        let is_name = |name: &String| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
            name.len() <= 253 && name.contains('.') && name.bytes().all(allowed)
        };
        if self.domains.len() > DOMAINS_MAX || !self.domains.iter().all(is_name) {
            let detail = format!("expected 1 to {DOMAINS_MAX} names such as gateway.example");
            return Err(InvalidInput::new("tls.acme.domains", detail));
        }
        if !self.directory_url.starts_with("https://") {
            let detail = "expected a URL that begins with https://";
            return Err(InvalidInput::new("tls.acme.directory_url", detail));
        }
        if self.contact.as_ref().is_some_and(|contact| !contact.starts_with("mailto:")) {
            let detail = "expected an address such as mailto:ops@gateway.example";
            return Err(InvalidInput::new("tls.acme.contact", detail));
        }
        Ok(())
    }
}

/// Where what the authority gave is kept: `acme/` in the data directory.
#[derive(Clone, Debug)]
pub struct AcmeDirectory(PathBuf);

impl AcmeDirectory {
    /// The directory beside the store in `data`.
    #[must_use]
    pub fn in_data(data: &Path) -> Self {
        Self(data.join("acme"))
    }

    /// The certificate, those above it, and its private key: one file, so that they are replaced
    /// together.
    #[must_use]
    pub fn server_file(&self) -> PathBuf {
        self.0.join("server.pem")
    }

    fn account_file(&self) -> PathBuf {
        self.0.join("account.json")
    }

    /// The account at the authority, its key too; none when there is none yet.
    pub fn account(&self) -> Result<Option<String>, DirectoryError> {
        match read_to_string(self.account_file()) {
            Ok(text) => Ok(Some(text)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(failed(&self.account_file())(cause)),
        }
    }

    /// Keeps the account.
    pub fn write_account(&self, text: &str) -> Result<(), DirectoryError> {
        self.write(&self.account_file(), text)
    }

    /// Replaces the certificate.
    pub fn write_server(&self, chain: &str, key: &str) -> Result<(), DirectoryError> {
        self.write(&self.server_file(), &format!("{}\n{key}", chain.trim_end()))
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), DirectoryError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(failed(&self.0))?;
        write_private(path, text)
    }

    /// When a certificate for `domains` is to be got: once two thirds of the time of the one that
    /// there is are over; `None`: at once, there is none, or it is for other names.
    #[must_use]
    pub fn due_at(&self, domains: &[String]) -> Option<Timestamp> {
        let text = read_to_string(self.server_file()).ok()?;
        let der = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let named = hosts(&parsed);
        let is_named = |domain: &String| named.iter().any(|name| name.eq_ignore_ascii_case(domain));
        let begins = instant(parsed.validity().not_before.timestamp());
        let ends = instant(parsed.validity().not_after.timestamp());
        domains.iter().all(is_named).then(|| begins.after(ends.since(begins) * 2 / 3))
    }
}

/// Makes a key, and a request (DER) to have `domains` certified with it; the key in PEM.
pub fn server_request(domains: &[String]) -> Result<(Vec<u8>, String), IssueError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(domains.to_vec())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok((params.serialize_request(&key)?.der().to_vec(), key.serialize_pem()))
}

/// The challenges that are open, by the name that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Challenges(Arc<Mutex<BTreeMap<String, Arc<CertifiedKey>>>>);

/// A challenge that is answered until this goes.
#[derive(Debug)]
pub struct Answered {
    challenges: Challenges,
    domain: String,
}

impl Challenges {
    /// Answers the challenge for `domain` with `digest`, the SHA-256 of its key authorization (RFC
    /// 8737 section 3).
    pub fn answer(&self, domain: &str, digest: &[u8]) -> Result<Answered, IssueError> {
        let (chain, key) = self_signed(domain, Some(digest))?;
        let key =
            any_supported_type(&key).map_err(|error| IssueError::Failed(error.to_string()))?;
        let domain = domain.to_ascii_lowercase();
        self.open().insert(domain.clone(), Arc::new(CertifiedKey::new(chain, key)));
        Ok(Answered { challenges: self.clone(), domain })
    }

    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<CertifiedKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.challenges.open().remove(&self.domain);
    }
}

/// A certificate that nobody trusts: for the time until there is one, and for challenges.
pub(crate) fn self_signed(
    domain: &str,
    digest: Option<&[u8]>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), IssueError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([domain.to_owned()])?;
    params.custom_extensions.extend(digest.map(CustomExtension::new_acme_identifier));
    let certificate = params.self_signed(&key)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok((vec![certificate.der().clone()], key.into()))
}

/// A certificate with its key, which have to belong together.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map(Arc::new)
}

/// Shows clients the server's certificate, and an authority that looks at a challenge the answer.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) server: Arc<CertifiedKey>,
    pub(crate) challenges: Challenges,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.alpn().is_some_and(|mut names| names.any(|name| name == PROTOCOL)) {
            let domain = hello.server_name()?.to_ascii_lowercase();
            return self.challenges.open().get(&domain).map(Arc::clone);
        }
        Some(Arc::clone(&self.server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> AcmeConfig {
        AcmeConfig {
            domains: vec!["gateway.example".to_owned()],
            terms_of_service_agreed: true,
            ..AcmeConfig::default()
        }
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        type Change = fn(&mut AcmeConfig);
        let rows: [(&str, Change); 5] = [
            ("tls.acme.terms_of_service_agreed", |c| c.terms_of_service_agreed = false),
            ("tls.acme.domains", |c| c.domains.push("localhost".to_owned())),
            ("tls.acme.domains", |c| c.domains.push("*.gateway.example".to_owned())),
            ("tls.acme.directory_url", |c| c.directory_url = "http://x.test".to_owned()),
            ("tls.acme.contact", |c| c.contact = Some("ops@gateway.example".to_owned())),
        ];
        assert_eq!(config().check(), Ok(()));
        for (field, change) in rows {
            let mut bad = config();
            change(&mut bad);
            assert_eq!(bad.check().unwrap_err().field, field);
        }
    }

    #[test]
    fn a_certificate_is_due_when_its_last_third_begins_or_there_is_none_for_these_names() {
        let data = tempfile::tempdir().unwrap();
        let directory = AcmeDirectory::in_data(data.path());
        let domains = config().domains;
        assert_eq!(directory.due_at(&domains), None);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(domains.clone()).unwrap();
        params.not_before = time::OffsetDateTime::from_unix_timestamp(1_893_456_000).unwrap();
        params.not_after = params.not_before + time::Duration::days(90);
        let pem = params.self_signed(&key).unwrap().pem();
        directory.write_server(&pem, &key.serialize_pem()).unwrap();
        let due = Timestamp::parse_rfc3339("2030-03-02T00:00:00Z");
        assert_eq!(directory.due_at(&domains), due);
        assert_eq!(directory.due_at(&["other.example".to_owned()]), None);
    }

    #[test]
    fn a_challenge_is_answered_as_long_as_it_is_open() {
        let challenges = Challenges::default();
        let answered = challenges.answer("Gateway.example", &[7; 32]).unwrap();
        assert!(challenges.open().contains_key("gateway.example"));
        drop(answered);
        assert!(challenges.open().is_empty());
    }
}
