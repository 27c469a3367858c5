//! TLS on the listeners: what a handshake says of the peer, what happens when files change, and
//! what happens to connections whose certificate is revoked.

mod connections;
mod guarded;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eg_auth::{ClientCertificate, Live, Peer};
use eg_certs::{
    AcmeConfig, CertificateName, Challenges, Listener, Revocations, Tls, TlsConfig, TlsError,
};
use eg_event::{Clock, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use self::connections::Connections;
pub use self::guarded::Guarded;
use crate::admin::health::Gauges;

/// How often the ends of certificates are looked at.
const LOOK: Duration = Duration::from_hours(12);

/// The TLS of the listeners, and the connections that rest on client certificates.
#[derive(Clone, Debug)]
pub struct TlsListeners {
    tls: Arc<Tls>,
    connections: Connections,
    clock: Clock,
    /// Other files than before may have to be followed.
    reloaded: Arc<Notify>,
    /// The same, for who gets certificates.
    reconfigured: Arc<Notify>,
}

/// A connection over TLS.
pub type TlsConnection = Guarded<TlsStream<TcpStream>>;

impl TlsListeners {
    /// Serves with `tls`; `live` ends connections.
    #[must_use]
    pub fn new(tls: Tls, live: Live, clock: Clock) -> Self {
        Self {
            tls: Arc::new(tls),
            connections: Connections::new(live),
            clock,
            reloaded: Arc::default(),
            reconfigured: Arc::default(),
        }
    }

    /// What makes a connection of `listener` one over TLS, and says who is at the other end.
    pub fn handshake(
        &self,
        listener: Listener,
    ) -> impl Fn(TcpStream, SocketAddr) -> BoxFuture<'static, io::Result<(TlsConnection, Peer)>>
    + Send
    + Sync
    + use<> {
        let listeners = self.clone();
        move |stream, address| {
            let listeners = listeners.clone();
            async move { listeners.accept(listener, stream, address).await }.boxed()
        }
    }

    async fn accept(
        &self,
        listener: Listener,
        stream: TcpStream,
        address: SocketAddr,
    ) -> io::Result<(TlsConnection, Peer)> {
        let accepted = self.tls.accept(listener, stream).await?;
        let Some(der) = accepted.chain.first() else {
            return Ok((Guarded::free(accepted.stream), Peer::new(address).over_tls()));
        };
        let refused = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
        let certificate = ClientCertificate::parse(der).map_err(|why| refused(why.to_string()))?;
        // A resumed session may rest on a certificate that was good when it began.
        let good = certificate.not_after.since(self.clock.now());
        if good.is_zero() {
            return Err(refused(format!("the certificate expired at {}", certificate.not_after)));
        }
        let names = CertificateName::of_chain(&accepted.chain);
        let resting = self.connections.enter(&certificate, names.clone());
        // Revoked before it was on the list, it is seen here; revoked later, it is cut.
        if self.tls.revocations().concern(&names) {
            return Err(refused("the certificate has been revoked".to_owned()));
        }
        let peer = Peer::with_certificate(address, Arc::new(certificate));
        Ok((Guarded::resting(accepted.stream, resting, good), peer))
    }

    /// The certificate that a public authority is to give, as the configuration is now.
    #[must_use]
    pub fn acme(&self) -> AcmeConfig {
        self.tls.acme()
    }

    /// Completes when that may have changed.
    pub async fn reconfigured(&self) {
        self.reconfigured.notified().await;
    }

    /// The challenges of that authority.
    #[must_use]
    pub fn challenges(&self) -> &Challenges {
        self.tls.challenges()
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What counts as revoked.
    #[must_use]
    pub fn revocations(&self) -> &Arc<Revocations> {
        self.tls.revocations()
    }

    /// Reads the files again, for `config` if one is given. Connections that exist go on, except
    /// those whose certificate is now revoked.
    pub fn reload(&self, config: Option<TlsConfig>) -> Result<bool, TlsError> {
        let changed = self.tls.reload(config)?;
        if changed {
            self.reloaded.notify_one();
            self.reconfigured.notify_one();
        }
        self.cut_revoked();
        Ok(changed)
    }

    /// Ends every connection whose certificate counts as revoked.
    pub fn cut_revoked(&self) {
        let cut = self.connections.cut_revoked(self.tls.revocations());
        if cut > 0 {
            tracing::info!(cut, "connections rested on revoked certificates and are ended");
        }
    }

    /// Follows the files, and warns of what ends soon, until `stop`.
    pub async fn follow(&self, stop: &CancellationToken) {
        loop {
            self.warn();
            let watch = self.tls.watch();
            // What has changed before it was watched.
            self.read_again(None);
            tokio::select! {
                () = watch.changed() => self.read_again(None),
                () = self.reloaded.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Reads the files again, and says in the log what came of it.
    pub fn read_again(&self, config: Option<TlsConfig>) {
        match self.reload(config) {
            Ok(true) => tracing::info!("TLS: new connections have the new files"),
            Ok(false) => tracing::debug!("TLS: the files are as before"),
            Err(error) => tracing::error!(%error, "TLS: the files as they are now are not used"),
        }
    }

    fn warn(&self) {
        let now = self.clock.now();
        let days = u64::from(self.tls.expiry_warning_days());
        let soon = now.after(Duration::from_hours(24 * days));
        for expiry in self.tls.expiries() {
            let (kind, name, at): (_, _, Timestamp) = (expiry.kind, expiry.name, expiry.at);
            if at <= now {
                tracing::error!(kind, name, %at, "has expired");
            } else if at <= soon {
                tracing::warn!(kind, name, %at, "expires soon");
            }
        }
    }

    /// When everything ends, for the metrics.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let tls = Arc::clone(&self.tls);
        Box::new(move |levels| {
            for expiry in tls.expiries() {
                let labels = [("kind", expiry.kind), ("name", &*expiry.name)];
                let name = "event_gateway_tls_certificate_expiry_timestamp_seconds";
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                levels.set_gauge(name, &labels, expiry.at.as_secs() as f64);
            }
        })
    }
}
