//! The HTTP client: a pool of kept connections, names resolved under the guard's eye, TLS.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use bytes::Bytes;
use eg_event::subscription::REQUEST_TIMEOUT_MAX;
use futures_util::future::BoxFuture;
use http::Uri;
use http_body_util::Full;
use hyper::rt::Executor;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioTimer;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::PushError;
use super::identity::Identity;
use crate::config::{PushConfig, ms, size};
use crate::guard::{Guard, NotAllowed};

/// Sends requests.
pub(super) type Client = legacy::Client<Connector, Full<Bytes>>;

/// What connections are made over.
type Transport = HttpsConnector<HttpConnector<Resolver>>;

/// The smallest limit that HTTP/1.1 heads can have, in bytes.
const HEAD_BYTES_MIN: usize = 8192;

/// How often a shared HTTP/2 connection that is in use is asked whether it is alive, and how long
/// it has to say so; a dead one would otherwise time out every attempt.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Makes clients that reach what a guard lets them, each with connections of its own.
pub(super) struct Clients {
    config: PushConfig,
    tcp: HttpConnector<Resolver>,
    roots: Arc<RootCertStore>,
    tasks: UntilStopped,
}

impl Clients {
    pub(super) fn new(
        config: &PushConfig,
        guard: Guard,
        (tasks, stop): (TaskTracker, CancellationToken),
    ) -> Result<Self, PushError> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver {
            guard,
            places: Arc::new(Semaphore::new(size(config.lookups_max))),
            names: Arc::default(),
            tasks: tasks.clone(),
        });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let roots = Arc::new(roots(config.ca_file.as_deref())?);
        Ok(Self { config: config.clone(), tcp, roots, tasks: UntilStopped { tasks, stop } })
    }

    /// A client that shows `identity`, or no certificate. Connections that were made for one
    /// identity are never used for another.
    pub(super) fn client(&self, identity: Option<Identity>) -> Result<Client, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&self.roots));
        let tls = match identity {
            Some(identity) => tls.with_client_auth_cert(identity.chain, identity.key)?,
            None => tls.with_no_client_auth(),
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(self.tcp.clone());
        let config = &self.config;
        Ok(legacy::Client::builder(self.tasks.clone())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(ms(config.idle_ms_max))
            .pool_max_idle_per_host(size(config.idle_connections_per_host_max))
            .http1_max_buf_size(size(config.answer_head_bytes_max).max(HEAD_BYTES_MIN))
            .http2_max_header_list_size(config.answer_head_bytes_max)
            .http2_keep_alive_interval(PING.0)
            .http2_keep_alive_timeout(PING.1)
            .build(Connector(connector)))
    }
}

/// Makes connections, TLS handshake included, in the longest time that an attempt may take: the
/// client goes on connecting when an attempt got another connection meanwhile.
#[derive(Clone)]
pub(super) struct Connector(Transport);

impl Service<Uri> for Connector {
    type Response = <Transport as Service<Uri>>::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = timeout(REQUEST_TIMEOUT_MAX, self.0.call(uri));
        Box::pin(async move { connected.await? })
    }
}

/// The system's certificate authorities and those of `ca_file`.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, PushError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "a certificate authority of the system was not read");
    }
    let (trusted, _) = roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        let wrong = |reason| PushError::CaFile { path: path.to_owned(), reason };
        let file = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        let mut found = 0;
        for certificate in file {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            found += 1;
        }
        if found == 0 {
            return Err(wrong("expected certificates in PEM".to_owned()));
        }
    } else if trusted == 0 {
        tracing::warn!("the system trusts no certificate authority: https endpoints will fail");
    }
    Ok(roots)
}

/// Resolves names by the system, and passes on no address that the guard does not let through:
/// the connection is made to an address that was checked.
#[derive(Clone)]
pub(super) struct Resolver {
    guard: Guard,
    places: Arc<Semaphore>,
    /// The names that are being looked up, each once at a time: a name that takes long has one
    /// place of all, however many attempts wait for it.
    names: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
    tasks: TaskTracker,
}

/// Why a name led nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// The system does not know the name, or could not ask.
    #[error("host name {name} not found: {error}")]
    NotFound {
        /// The name.
        name: String,
        /// What the system says.
        error: io::Error,
    },
    /// The name stands for an address that events may not be sent to.
    #[error("host name {name}: {not_allowed}")]
    NotAllowed {
        /// The name.
        name: String,
        /// Why not.
        not_allowed: NotAllowed,
    },
}

impl Resolver {
    async fn resolve(self, name: String) -> Result<Vec<SocketAddr>, LookupError> {
        let not_found = |error| LookupError::NotFound { name: name.clone(), error };
        let closed = |error| not_found(io::Error::other(error));
        let turn = self.turn(&name).acquire_owned().await.map_err(closed)?;
        let place = self.places.acquire_owned().await.map_err(closed)?;
        let (asked, names) = (name.clone(), self.names);
        let answer = self.tasks.spawn_blocking(move || {
            let found = (asked.as_str(), 0).to_socket_addrs();
            // A look-up cannot be called off; its place is free when it has ended.
            drop((turn, place));
            let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
            names.retain(|_, turn| Arc::strong_count(turn) > 1);
            found
        });
        let found = answer.await.map_err(io::Error::other).flatten().map_err(not_found)?;
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in found {
            match self.guard.check_address(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(not_allowed) => refused = refused.or(Some(not_allowed)),
            }
        }
        match refused {
            Some(not_allowed) if allowed.is_empty() => {
                Err(LookupError::NotAllowed { name, not_allowed })
            }
            _ => Ok(allowed),
        }
    }

    /// What whoever looks `name` up takes a turn at.
    fn turn(&self, name: &str) -> Arc<Semaphore> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = names.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1)));
        Arc::clone(turn)
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = LookupError;
    type Future = BoxFuture<'static, Result<Self::Response, LookupError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LookupError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolved = self.clone().resolve(name.as_str().to_owned());
        Box::pin(async move { resolved.await.map(Vec::into_iter) })
    }
}

/// Runs the client's connections on tracked tasks, until told to stop.
#[derive(Clone)]
struct UntilStopped {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl<F> Executor<F> for UntilStopped
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(future));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(networks: &[&str]) -> Resolver {
        let allowed_networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        Resolver {
            guard: Guard::new(&PushConfig { allowed_networks, ..PushConfig::default() }),
            places: Arc::new(Semaphore::new(1)),
            names: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }

    #[tokio::test]
    async fn a_name_that_stands_for_this_machine_leads_nowhere_unless_allowed() {
        let refused = resolver(&[]).resolve("localhost".to_owned()).await.unwrap_err();
        assert!(matches!(refused, LookupError::NotAllowed { .. }), "{refused}");
        let found = resolver(&["127.0.0.0/8"]).resolve("localhost".to_owned()).await.unwrap();
        assert!(found.iter().all(SocketAddr::is_ipv4) && !found.is_empty());
    }

    #[tokio::test]
    async fn a_number_that_the_system_takes_for_an_address_is_checked_too() {
        for name in ["0x7f.1", "2130706433", "0177.1"] {
            let refused = resolver(&[]).resolve(name.to_owned()).await.unwrap_err();
            assert!(matches!(refused, LookupError::NotAllowed { .. }), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_named() {
        let refused = resolver(&[]).resolve("no-such-host.invalid".to_owned()).await.unwrap_err();
        assert!(refused.to_string().starts_with("host name no-such-host.invalid not found"));
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(roots(Some(Path::new("/no/such/file.pem"))).is_err());
        let empty = roots(Some(Path::new("/dev/null"))).unwrap_err();
        assert!(empty.to_string().contains("expected certificates in PEM"), "{empty}");
    }
}
