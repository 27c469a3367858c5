//! The files that TLS is made of, read all at once.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::acme;
use crate::config::TlsConfig;
use crate::directory::AuthorityDirectory;
use crate::expiry::Expiry;
use crate::revocation::{CertificateName, List};
use crate::tls::{Listener, TlsError};

/// What the files say.
pub(crate) struct Material {
    /// Their bytes, to tell whether anything has changed.
    pub(crate) contents: BTreeMap<PathBuf, Vec<u8>>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    /// The authorities whose client certificates count everywhere.
    authorities: Vec<CertificateDer<'static>>,
    /// Those that count on one listener alone.
    further: Vec<(Listener, CertificateDer<'static>)>,
    pub(crate) lists: Vec<CertificateRevocationListDer<'static>>,
    /// What the lists revoke.
    pub(crate) revoked: HashSet<CertificateName>,
    /// When all this ends.
    pub(crate) expiries: Vec<Expiry>,
}

impl Material {
    /// Reads everything that `config` names; what it does not name comes from the authority's
    /// `directory`.
    pub(crate) fn read(
        config: &TlsConfig,
        directory: &AuthorityDirectory,
    ) -> Result<Self, TlsError> {
        let mut files = Files::default();
        let (chain, key) = server(config, directory, &mut files)?;
        let mut authorities = Vec::new();
        let own = Some(directory.authority_file()).filter(|file| file.exists());
        for file in own.iter().chain(&config.client_ca_files) {
            authorities.extend(files.all_of(file, "certificates in PEM")?);
        }
        let mut further = Vec::new();
        for (listener, paths) in [
            (Listener::Https, &config.https_client_ca_files),
            (Listener::Mqtts, &config.mqtts_client_ca_files),
        ] {
            for path in paths {
                let found = files.all_of(path, "certificates in PEM")?;
                further.extend(found.into_iter().map(|authority| (listener, authority)));
            }
        }
        let server = chain.first().and_then(|der| Expiry::of("server", der));
        let known: Vec<_> =
            authorities.iter().chain(further.iter().map(|(_, der)| der)).cloned().collect();
        let clients = known.iter().filter_map(|der| Expiry::of("client_ca", der));
        let mut material = Self {
            expiries: server.into_iter().chain(clients).collect(),
            contents: BTreeMap::new(),
            chain,
            key,
            authorities,
            further,
            lists: Vec::new(),
            revoked: HashSet::new(),
        };
        for file in &config.crl_files {
            material.add_lists(&mut files, file, &known)?;
        }
        material.contents = files.0;
        Ok(material)
    }

    fn add_lists(
        &mut self,
        files: &mut Files,
        path: &Path,
        authorities: &[CertificateDer<'_>],
    ) -> Result<(), TlsError> {
        for der in files.lists(path)? {
            let list = List::read(&der, authorities).map_err(|why| unusable(path, why))?;
            if let Some(at) = list.next_update {
                self.expiries.push(Expiry { kind: "crl", name: list.issuer, at });
            }
            self.revoked.extend(list.revoked);
            self.lists.push(der);
        }
        Ok(())
    }

    /// The authorities whose client certificates count on `listener`.
    pub(crate) fn roots(&self, listener: Listener) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        let here = self.further.iter().filter(|(on, _)| *on == listener).map(|(_, der)| der);
        for der in self.authorities.iter().chain(here) {
            roots.add(der.clone()).map_err(|error| TlsError::Rejected(error.to_string()))?;
        }
        Ok(roots)
    }
}

/// The server's certificate: the one that is named, or a public authority's, or the own one's.
fn server(
    config: &TlsConfig,
    directory: &AuthorityDirectory,
    files: &mut Files,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let public = directory.acme().server_file();
    let (certificate, key) = match (&config.certificate_file, &config.key_file) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ if config.acme.is_on() && public.exists() => (public.clone(), public),
        _ if directory.server_file().exists() => {
            (directory.server_file(), directory.server_key_file())
        }
        _ => {
            let Some(domain) = config.acme.domains.first() else {
                return Err(TlsError::NoCertificate);
            };
            let made = acme::self_signed(domain, None);
            return made.map_err(|error| TlsError::Rejected(error.to_string()));
        }
    };
    Ok((files.all_of(&certificate, "a certificate in PEM")?, files.private_key(&key)?))
}

/// The files that were read, each once.
#[derive(Default)]
struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    fn bytes(&mut self, path: &Path) -> Result<Vec<u8>, TlsError> {
        if let Some(known) = self.0.get(path) {
            return Ok(known.clone());
        }
        let bytes = std::fs::read(path)
            .map_err(|cause| TlsError::Unreadable { path: path.to_owned(), cause })?;
        self.0.insert(path.to_owned(), bytes.clone());
        Ok(bytes)
    }

    /// Everything of one kind in a PEM file, which has to have some.
    fn all_of<T: PemObject>(&mut self, path: &Path, expected: &str) -> Result<Vec<T>, TlsError> {
        let bytes = self.bytes(path)?;
        let all: Result<Vec<T>, _> = T::pem_slice_iter(&bytes).collect();
        let all = all.map_err(|why| unusable(path, why))?;
        if all.is_empty() {
            return Err(unusable(path, format!("expected {expected}")));
        }
        Ok(all)
    }

    fn private_key(&mut self, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
        // What is wrong with the file is not said in its own words: they may be of the secret.
        let key = PrivateKeyDer::from_pem_slice(&self.bytes(path)?);
        key.map_err(|_| unusable(path, "expected a private key in PEM, without a password"))
    }

    fn lists(
        &mut self,
        path: &Path,
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        let bytes = self.bytes(path)?;
        if bytes.starts_with(b"\x30") {
            return Ok(vec![CertificateRevocationListDer::from(bytes)]);
        }
        self.all_of(path, "lists of revoked certificates (CRL) in PEM or DER")
    }
}

fn unusable(path: &Path, why: impl Display) -> TlsError {
    TlsError::Unusable { path: path.to_owned(), why: why.to_string() }
}
