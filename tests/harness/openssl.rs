//! OpenSSL as an operator uses it: authorities that are not the gateway's, keys, signing requests,
//! and a client that shows what was agreed on.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio_rustls::TlsAcceptor;

use crate::peers;
use crate::wait::DEADLINE;

/// Runs openssl in `directory` to its end.
pub async fn openssl(directory: &Path, args: &[&str]) -> Output {
    let mut command = peers::program("openssl", "openssl");
    command.current_dir(directory).args(args).stdin(Stdio::null());
    tokio::time::timeout(DEADLINE, command.output()).await.expect("openssl ends in time").unwrap()
}

/// The same; stops the test when it fails.
pub async fn run(directory: &Path, args: &[&str]) -> String {
    let output = openssl(directory, args).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a private key `NAME.key` and a signing request `NAME.csr` with this subject.
pub async fn request(directory: &Path, name: &str, subject: &str) {
    let (key, csr) = (format!("{name}.key"), format!("{name}.csr"));
    let args = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-sha256", "-subj", subject];
    run(directory, &[&args[..], &["-keyout", &key, "-out", &csr]].concat()).await;
}

/// A certificate authority that is not the gateway's.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
}

impl Authority {
    /// Makes one.
    pub async fn create(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let config = "[ca]\ndefault_ca = main\n[main]\ndatabase = index.txt\nserial = serial\n\
            crlnumber = crlnumber\nnew_certs_dir = .\ncertificate = ca.pem\nprivate_key = ca.key\n\
            default_md = sha256\ndefault_days = 30\ndefault_crl_days = 30\npolicy = any\n\
            unique_subject = no\nx509_extensions = client\n[any]\ncommonName = supplied\n\
            [client]\nextendedKeyUsage = clientAuth\nbasicConstraints = critical,CA:FALSE\n\
            [server]\nextendedKeyUsage = serverAuth\nsubjectAltName = DNS:localhost,IP:127.0.0.1\n";
        for (file, text) in
            [("ca.cnf", config), ("index.txt", ""), ("serial", "1000\n"), ("crlnumber", "01\n")]
        {
            std::fs::write(path.join(file), text).unwrap();
        }
        let subject = format!("/CN={name}");
        let args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj"];
        run(path, &[&args[..], &[&subject, "-keyout", "ca.key", "-out", "ca.pem"]].concat()).await;
        Self { directory }
    }

    /// A file of the authority: `ca.pem`, `NAME.pem`, `NAME.key`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Issues `NAME.pem` with `NAME.key`; `options` are those of `openssl ca`.
    pub async fn issue(&self, name: &str, options: &[&str]) {
        let path = self.directory.path();
        request(path, name, &format!("/CN={name}")).await;
        let (csr, pem) = (format!("{name}.csr"), format!("{name}.pem"));
        let args = ["ca", "-batch", "-notext", "-config", "ca.cnf", "-in", &csr, "-out", &pem];
        run(path, &[&args[..], options].concat()).await;
    }

    /// Speaks TLS with the certificate `NAME.pem`, to who shows one of this authority.
    #[must_use]
    pub fn acceptor(&self, name: &str) -> TlsAcceptor {
        let certificates = |file: &str| {
            let found = CertificateDer::pem_file_iter(self.file(file)).unwrap();
            found.collect::<Result<Vec<_>, _>>().unwrap()
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates("ca.pem"));
        let clients =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_client_cert_verifier(clients.build().unwrap());
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).unwrap();
        let config = config.with_single_cert(certificates(&format!("{name}.pem")), key).unwrap();
        Arc::new(config).into()
    }

    /// Revokes what it has issued.
    pub async fn revoke(&self, name: &str) {
        let pem = format!("{name}.pem");
        run(self.directory.path(), &["ca", "-config", "ca.cnf", "-revoke", &pem]).await;
    }

    /// Writes the list of what it has revoked.
    pub async fn list(&self, file: &str) -> PathBuf {
        run(self.directory.path(), &["ca", "-config", "ca.cnf", "-gencrl", "-out", file]).await;
        self.file(file)
    }
}

/// A connection of `openssl s_client`, which stays open until the other side closes it.
#[derive(Debug)]
pub struct Connection {
    child: Child,
}

impl Connection {
    /// Connects; `args` are those of `s_client`.
    #[must_use]
    pub fn open(args: &[&str]) -> Self {
        let mut command: Command = peers::program("openssl", "openssl");
        command.arg("s_client").args(args).args(["-ign_eof"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: command.spawn().unwrap() }
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(bytes).await.unwrap();
        input.flush().await.unwrap();
    }

    /// Reads what is said until `expected` is part of it.
    pub async fn read_until(&mut self, expected: &str) -> String {
        let mut said = Vec::new();
        let output = self.child.stdout.as_mut().unwrap();
        let found = async {
            loop {
                let count = output.read_buf(&mut said).await.unwrap();
                let text = String::from_utf8_lossy(&said).into_owned();
                if text.contains(expected) {
                    return text;
                }
                assert!(count > 0, "closed before {expected:?} was said: {text}");
            }
        };
        tokio::time::timeout(DEADLINE, found).await.expect("it is said in time")
    }

    /// Whether it is still open.
    pub fn is_open(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the other side closes; gives back everything that was said.
    pub async fn closed(self) -> String {
        let mut child = self.child;
        // Kept open: the client would otherwise say that it closes.
        let input = child.stdin.take();
        let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
        drop(input);
        let output = ended.expect("the connection ends in time").unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }
}
