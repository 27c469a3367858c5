//! The TLS of the listeners: versions 1.2 and 1.3, forward secrecy alone, made anew when its files
//! change. Connections that exist keep what they were made with.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::acme::{self, AcmeConfig, Challenges, Shown};
use crate::config::{ClientCertificates, TlsConfig};
use crate::directory::AuthorityDirectory;
use crate::expiry::Expiry;
use crate::material::Material;
use crate::revocation::{CertificateName, Revocations};
use crate::verifier::Verifier;
use crate::watch::Watch;

/// How many sessions of a listener can be resumed.
const SESSIONS_MAX: usize = 4096;

/// How long a client that is refused has to read why.
const LINGER: Duration = Duration::from_secs(1);
/// How much of what it still sends meanwhile is thrown away, in bytes.
const LINGER_BYTES_MAX: u64 = 64 * 1024;

/// A listener that speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    /// HTTP.
    Https,
    /// MQTT.
    Mqtts,
    /// Management.
    Admin,
}

impl Listener {
    /// What may be spoken in it (RFC 7301); a client that offers nothing of it is turned away, so
    /// that none can be led to speak one protocol to the other's listener.
    fn alpn(self, config: &TlsConfig) -> &'static [&'static [u8]] {
        match self {
            Self::Https if config.acme.is_on() => &[b"h2", b"http/1.1", acme::PROTOCOL],
            Self::Https | Self::Admin => &[b"h2", b"http/1.1"],
            Self::Mqtts => &[b"mqtt"],
        }
    }

    fn client_certificates(self, config: &TlsConfig) -> ClientCertificates {
        match self {
            Self::Https => config.https_client_certificates,
            Self::Mqtts => config.mqtts_client_certificates,
            Self::Admin => config.admin_client_certificates,
        }
    }
}

/// TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no server certificate.
    #[error("tls.certificate_file: expected a certificate; `event-gateway cert init` makes one")]
    NoCertificate,
    /// A file cannot be read.
    #[error("{path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The files do not go together.
    #[error("TLS: {0}")]
    Rejected(String),
    /// Clients are to show certificates, and no authority is known that could have issued them.
    #[error("tls.client_ca_files: expected an authority, as client certificates are required")]
    NoAuthority,
}

/// The TLS of all listeners.
#[derive(Debug)]
pub struct Tls {
    directory: AuthorityDirectory,
    revocations: Arc<Revocations>,
    challenges: Challenges,
    listeners: BTreeMap<Listener, ArcSwap<ServerConfig>>,
    state: Mutex<State>,
}

/// What the listeners were made from.
#[derive(Debug)]
struct State {
    config: TlsConfig,
    contents: BTreeMap<PathBuf, Vec<u8>>,
    expiries: Vec<Expiry>,
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Accepted<S> {
    /// What is said in it.
    pub stream: TlsStream<S>,
    /// The client's certificate and those between it and its authority; empty without one.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Tls {
    /// Makes the TLS of `listeners`. What `config` does not name comes from the authority's
    /// `directory`.
    pub fn open(
        config: TlsConfig,
        listeners: &[Listener],
        directory: AuthorityDirectory,
        revocations: Arc<Revocations>,
    ) -> Result<Self, TlsError> {
        let material = Material::read(&config, &directory)?;
        let challenges = Challenges::default();
        let made = listeners.iter().map(|listener| {
            let made = server_config(*listener, &config, &material, (&revocations, &challenges))?;
            Ok((*listener, ArcSwap::from_pointee(made)))
        });
        let listeners = made.collect::<Result<_, TlsError>>()?;
        revocations.set_listed(material.revoked);
        let Material { contents, expiries, .. } = material;
        let state = Mutex::new(State { config, contents, expiries });
        Ok(Self { directory, revocations, challenges, listeners, state })
    }

    /// Reads the files again, and lets new connections have what they say. Says whether anything
    /// was different; after an error everything is as before.
    pub fn reload(&self, config: Option<TlsConfig>) -> Result<bool, TlsError> {
        let mut state = self.state();
        let config = config.unwrap_or_else(|| state.config.clone());
        let material = Material::read(&config, &self.directory)?;
        if config == state.config && material.contents == state.contents {
            return Ok(false);
        }
        let made: Vec<_> = self
            .listeners
            .keys()
            .map(|on| server_config(*on, &config, &material, (&self.revocations, &self.challenges)))
            .collect::<Result<_, _>>()?;
        // A new configuration has no sessions that could be resumed: what an authority that is no
        // longer trusted has vouched for ends with the old one.
        for (slot, made) in self.listeners.values().zip(made) {
            slot.store(Arc::new(made));
        }
        self.revocations.set_listed(material.revoked);
        let Material { contents, expiries, .. } = material;
        *state = State { config, contents, expiries };
        Ok(true)
    }

    /// Shakes hands on `listener` within the time that a handshake may take.
    ///
    /// Resumed sessions skip the verification of the certificate, so that what it rests on is
    /// looked at here after every handshake: whether it was revoked or has expired since.
    pub async fn accept<S>(&self, listener: Listener, stream: S) -> io::Result<Accepted<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.listeners.get(&listener).map(ArcSwap::load_full);
        let config = config.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        let time_max = self.state().config.handshake_ms_max;
        let time_max = Duration::from_millis(time_max.into());
        let handshake = TlsAcceptor::from(config).accept(stream).into_fallible();
        let shaken = tokio::time::timeout(time_max, handshake).await;
        let stream = match shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? {
            Ok(stream) => stream,
            Err((error, stream)) => {
                linger(stream).await;
                return Err(error);
            }
        };
        if stream.get_ref().1.alpn_protocol() == Some(acme::PROTOCOL) {
            let why = "an authority has looked at a challenge";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, why));
        }
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        if self.revocations.concern(&CertificateName::of_chain(&chain)) {
            let why = "the certificate of a resumed session has been revoked";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(Accepted { stream, chain })
    }

    /// What counts as revoked.
    #[must_use]
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// The certificate that a public authority is to give.
    #[must_use]
    pub fn acme(&self) -> AcmeConfig {
        self.state().config.acme.clone()
    }

    /// The challenges that the HTTPS listener answers.
    #[must_use]
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// When certificates and lists end.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        self.state().expiries.clone()
    }

    /// Watches the files that everything was made from.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::over(self.state().contents.keys())
    }

    /// How many days before an end the log warns.
    #[must_use]
    pub fn expiry_warning_days(&self) -> u32 {
        self.state().config.expiry_warning_days
    }

    /// Whether the server's certificate is the one that the gateway's own authority issued.
    #[must_use]
    pub fn uses_own_certificate(&self) -> bool {
        let config = &self.state().config;
        config.certificate_file.is_none() && !config.acme.is_on()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets a client read the alert that says why it was refused: closed with bytes unread, the
/// connection would be reset, and the alert with it.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let last = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES_MAX), &mut tokio::io::sink()).await
    };
    drop(tokio::time::timeout(LINGER, last).await);
}

fn server_config(
    listener: Listener,
    config: &TlsConfig,
    material: &Material,
    (revocations, challenges): (&Arc<Revocations>, &Challenges),
) -> Result<ServerConfig, TlsError> {
    let rejected = |error: &dyn std::fmt::Display| TlsError::Rejected(error.to_string());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = material.roots(listener)?;
    let demand = listener.client_certificates(config);
    let verifier = match demand {
        ClientCertificates::Required if roots.is_empty() => return Err(TlsError::NoAuthority),
        ClientCertificates::Optional if roots.is_empty() => WebPkiClientVerifier::no_client_auth(),
        ClientCertificates::Off => WebPkiClientVerifier::no_client_auth(),
        ClientCertificates::Optional | ClientCertificates::Required => {
            let mut builder =
                WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
                    .with_crls(material.lists.iter().cloned())
                    .allow_unknown_revocation_status();
            if demand == ClientCertificates::Optional {
                builder = builder.allow_unauthenticated();
            }
            let inner = builder.build().map_err(|error| rejected(&error))?;
            Arc::new(Verifier { inner, revocations: Arc::clone(revocations) })
        }
    };
    let server = acme::certified(material.chain.clone(), material.key.clone_key())
        .map_err(|error| rejected(&error))?;
    let mut made = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| rejected(&error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Shown { server, challenges: challenges.clone() }));
    made.alpn_protocols = listener.alpn(config).iter().map(|name| name.to_vec()).collect();
    made.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    Ok(made)
}
