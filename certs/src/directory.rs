//! Where the authority keeps its files: `ca/` in the data directory.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use eg_event::Timestamp;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::acme::AcmeDirectory;
use crate::authority::{Authority, IssueError, Order, Purpose, days, instant};
use crate::subject::Subject;

/// How long a server certificate is good.
const SERVER_DAYS: u64 = 90;
/// A file that only its owner may read.
const PRIVATE: u32 = 0o600;
/// A file that others may read.
const PUBLIC: u32 = 0o644;

/// The authority's directory.
#[derive(Clone, Debug)]
pub struct AuthorityDirectory(PathBuf);

/// The authority's files could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is an authority already.
    #[error("{0} exists already, and is not overwritten")]
    Exists(PathBuf),
    /// A file could not be read or written.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A certificate could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl AuthorityDirectory {
    /// The directory of the authority that belongs to the store in `data`.
    #[must_use]
    pub fn in_data(data: &Path) -> Self {
        Self(data.join("ca"))
    }

    /// The directory for what a public authority gave, beside this one.
    pub(crate) fn acme(&self) -> AcmeDirectory {
        AcmeDirectory::in_data(self.0.parent().unwrap_or(&self.0))
    }

    /// The authority's certificate: what clients trust.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    /// The server's certificate.
    #[must_use]
    pub fn server_file(&self) -> PathBuf {
        self.0.join("server.pem")
    }

    /// The server's private key.
    #[must_use]
    pub fn server_key_file(&self) -> PathBuf {
        self.0.join("server.key")
    }

    /// The list of what the authority has revoked.
    #[must_use]
    pub fn list_file(&self) -> PathBuf {
        self.0.join("crl.pem")
    }

    fn key_file(&self) -> PathBuf {
        self.0.join("ca.key")
    }

    /// Makes an authority, and a server certificate for `hosts` (names and IP addresses). What
    /// exists is not touched, and what is made appears all at once.
    pub fn create(&self, hosts: &[String], now: Timestamp) -> Result<(), DirectoryError> {
        if self.0.exists() {
            return Err(DirectoryError::Exists(self.0.clone()));
        }
        let (certificate, key) = Authority::generate(now)?;
        let authority = Authority::load(&certificate, &key)?;
        let server_key = KeyPair::generate().map_err(IssueError::from)?;
        let server = server_certificate(&authority, hosts, &server_key, now)?;
        let list = authority.revocation_list(&[], 1, now)?;

        let made = Self(self.0.with_extension(format!("new-{}", std::process::id())));
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&made.0).map_err(failed(&made.0))?;
        write_new(&made.key_file(), &key, PRIVATE)?;
        write_new(&made.authority_file(), &certificate, PUBLIC)?;
        write_new(&made.server_key_file(), &server_key.serialize_pem(), PRIVATE)?;
        write_new(&made.server_file(), &server, PUBLIC)?;
        write_new(&made.list_file(), &list, PUBLIC)?;
        fs::rename(&made.0, &self.0).map_err(failed(&self.0))
    }

    /// The authority; none when none was made.
    pub fn authority(&self) -> Result<Option<Authority>, DirectoryError> {
        if !self.authority_file().exists() {
            return Ok(None);
        }
        let authority = Authority::load(&read(&self.authority_file())?, &read(&self.key_file())?)?;
        Ok(Some(authority))
    }

    /// Replaces the server's certificate once two thirds of its time are over: for the same names
    /// and the same key, so that replacing one file is enough. Says whether it did.
    pub fn renew_server(
        &self,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<bool, DirectoryError> {
        let path = self.server_file();
        let unreadable = |error: &dyn std::fmt::Display| {
            DirectoryError::Issue(IssueError::Authority(format!("{}: {error}", path.display())))
        };
        let der = CertificateDer::from_pem_slice(read(&path)?.as_bytes())
            .map_err(|error| unreadable(&error))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| unreadable(&error))?;
        let begins = instant(parsed.validity().not_before.timestamp());
        let ends = instant(parsed.validity().not_after.timestamp());
        if ends.since(now) > ends.since(begins) / 3 {
            return Ok(false);
        }
        let hosts = hosts(&parsed);
        let key = KeyPair::from_pem(&read(&self.server_key_file())?);
        let key = key.map_err(|error| unreadable(&error))?;
        let renewed = server_certificate(authority, &hosts, &key, now)?;
        replace(&path, &renewed)?;
        Ok(true)
    }

    /// The first name in the server's certificate.
    #[must_use]
    pub fn server_name(&self) -> Option<String> {
        let text = read(&self.server_file()).ok()?;
        let der = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        hosts(&parsed).into_iter().next()
    }

    /// Replaces the list of what was revoked.
    pub fn write_list(&self, list: &str) -> Result<(), DirectoryError> {
        replace(&self.list_file(), list)
    }
}

fn server_certificate(
    authority: &Authority,
    hosts: &[String],
    key: &KeyPair,
    now: Timestamp,
) -> Result<String, IssueError> {
    let name = hosts.first().map_or("event-gateway", |host| &**host);
    let subject = Subject::default().with("CN", name).or_else(|_| {
        // A long host name is no common name; the alternative names are what counts.
        Subject::default().with("CN", "event-gateway")
    });
    let subject = subject.map_err(|error| IssueError::Failed(error.to_string()))?;
    let validity = days(SERVER_DAYS);
    let order = Order { subject: &subject, names: hosts, purpose: Purpose::Server, validity };
    Ok(authority.sign(&order, key, now)?.pem)
}

pub(crate) fn hosts(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.iter()).into_iter().flatten();
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let sixteen = <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
            four.or(sixteen).ok().map(|address| address.to_string())
        }
        _ => None,
    };
    names.filter_map(host).collect()
}

fn read(path: &Path) -> Result<String, DirectoryError> {
    fs::read_to_string(path).map_err(failed(path))
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), DirectoryError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(failed(path))
}

/// Replaces a file that others may read.
fn replace(path: &Path, text: &str) -> Result<(), DirectoryError> {
    replace_with(path, text, PUBLIC)
}

/// Replaces a file that is for its owner alone.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), DirectoryError> {
    replace_with(path, text, PRIVATE)
}

/// Replaces a file as a whole: whoever reads sees the old one or the new one.
fn replace_with(path: &Path, text: &str, mode: u32) -> Result<(), DirectoryError> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    if let Err(cause) = fs::remove_file(&new)
        && cause.kind() != io::ErrorKind::NotFound
    {
        return Err(failed(&new)(cause));
    }
    write_new(&new, text, mode)?;
    fs::rename(&new, path).map_err(failed(path))
}

pub(crate) fn failed(path: &Path) -> impl Fn(io::Error) -> DirectoryError {
    move |cause| DirectoryError::File { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse_rfc3339("2030-01-01T00:00:00Z").unwrap()
    }

    fn made() -> (tempfile::TempDir, AuthorityDirectory) {
        let data = tempfile::tempdir().unwrap();
        let directory = AuthorityDirectory::in_data(data.path());
        let hosts = ["gateway.example".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        directory.create(&hosts, now()).unwrap();
        (data, directory)
    }

    #[test]
    fn private_keys_are_for_their_owner_alone() {
        let (_data, directory) = made();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory.key_file()), 0o600);
        assert_eq!(mode(&directory.server_key_file()), 0o600);
        assert_eq!(mode(&directory.authority_file()), 0o644);
        assert_eq!(mode(&directory.0), 0o700);
    }

    #[test]
    fn an_authority_is_never_overwritten() {
        let (_data, directory) = made();
        let before = read(&directory.key_file()).unwrap();
        assert!(matches!(directory.create(&[], now()), Err(DirectoryError::Exists(_))));
        assert_eq!(read(&directory.key_file()).unwrap(), before);
    }

    #[test]
    fn a_server_certificate_is_renewed_in_its_last_third_for_the_same_names_and_key() {
        let (_data, directory) = made();
        let authority = directory.authority().unwrap().unwrap();
        let key = read(&directory.server_key_file()).unwrap();
        let days = |count: u64| now().after(Duration::from_hours(24 * count));
        assert!(!directory.renew_server(&authority, days(59)).unwrap());
        assert!(directory.renew_server(&authority, days(61)).unwrap());
        assert!(!directory.renew_server(&authority, days(61)).unwrap());
        assert!(directory.renew_server(&authority, days(400)).unwrap(), "even long after its end");
        let der =
            CertificateDer::from_pem_slice(read(&directory.server_file()).unwrap().as_bytes());
        let der = der.unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(hosts(&parsed), ["gateway.example", "127.0.0.1", "::1"]);
        assert_eq!(read(&directory.server_key_file()).unwrap(), key);
    }

    #[test]
    fn where_no_authority_was_made_there_is_none() {
        let data = tempfile::tempdir().unwrap();
        assert!(AuthorityDirectory::in_data(data.path()).authority().unwrap().is_none());
    }
}
