//! What clients meet first: the sockets, the TLS on them, and the authority that knows their
//! certificates.

use std::path::PathBuf;
use std::sync::Arc;

use eg_auth::Live;
use eg_certs::{AuthorityDirectory, Listener, Tls};
use eg_event::Clock;
use eg_http::Server as HttpServer;
use eg_mqtt::Server as MqttServer;
use eg_storage::Ledger;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acme::Acme;
use crate::admin::health::Gauges;
use crate::assemble::AssembleError;
use crate::catalog::access::{self, Access, Reached};
use crate::certificates::{Certificates, Desk};
use crate::config::Config;
use crate::listeners::Listeners;
use crate::tls::TlsListeners;

/// Everything between the network and the protocols.
pub(crate) struct Front {
    pub(crate) listeners: Listeners,
    pub(crate) tls: Option<TlsListeners>,
    tls_for_admin: bool,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) desk: Arc<Desk>,
    data_directory: PathBuf,
}

/// What is spoken on the listeners.
pub(crate) struct Protocols {
    pub(crate) http: HttpServer<eg_http::Routes>,
    pub(crate) mqtt: MqttServer,
    pub(crate) admin: HttpServer<axum::Router>,
}

impl Front {
    /// Takes up the authority, reads the files of TLS, and binds every socket. `live` ends the
    /// connections of what is revoked.
    pub(crate) async fn open(
        config: &Config,
        ledger: &Ledger,
        (live, clock): (&Live, &Clock),
    ) -> Result<Self, AssembleError> {
        let data = &config.data_directory;
        let directory = AuthorityDirectory::in_data(data);
        let handles = (live.clone(), clock.clone());
        let certificates = Certificates::open(&config.certificates, data, ledger.clone(), handles)?;
        let tls = match &*config.tls_listeners() {
            [] => None,
            listeners => {
                let (tls, directory) = (config.tls.clone(), directory.clone());
                let revocations = Arc::clone(certificates.revocations());
                let tls = Tls::open(tls, listeners, directory, revocations)?;
                Some(TlsListeners::new(tls, live.clone(), clock.clone()))
            }
        };
        let listeners = Listeners::bind(&config.listen).await?;
        let base_url = base_url(config, &directory, &listeners);
        let desk = Arc::new(Desk::new(Arc::clone(&certificates), base_url));
        let (tls_for_admin, data_directory) = (config.tls.admin, data.clone());
        Ok(Self { listeners, tls, tls_for_admin, certificates, desk, data_directory })
    }

    /// The numbers of all this.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = Gauges> {
        self.tls.as_ref().map(TlsListeners::gauges).into_iter()
    }

    /// Where clients hand over events: over TLS where that is spoken.
    pub(crate) fn events_url(&self, config: &Config) -> String {
        let given = config.http.public_url.as_deref();
        let secure = self.listeners.address("https").map(|_| self.desk.base_url());
        let plain = || self.listeners.address("http").map(|address| format!("http://{address}"));
        let url = given.or(secure).map(str::to_owned).or_else(plain).unwrap_or_default();
        url.trim_end_matches('/').to_owned()
    }

    /// How outside parties get at events.
    pub(crate) fn access(&self, config: &Config) -> Access {
        let base_url = self.desk.base_url();
        let host = base_url.split_once("://").map_or("localhost", |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or(host);
        let host = host.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        let host = host.map_or("localhost", |(host, _)| host);
        let reached = Reached { host, public_url: config.http.public_url.as_deref() };
        let has_own = config.tls.certificate_file.is_none() && config.tls.acme.domains.is_empty();
        let is_secure = self.listeners.address("https").is_some();
        let trust_store = self.certificates.authority_pem().filter(|_| has_own && is_secure);
        let issuers: Vec<_> = config.auth.issuers.iter().map(|one| one.issuer.clone()).collect();
        let connector = self.certificates.authority_pem().map(|_| base_url);
        Access {
            connections: access::connections(|name| self.listeners.address(name), reached),
            credentials: access::credentials(&issuers, connector),
            trust_store_url: trust_store
                .map(|_| format!("{}/catalog/ca.pem", self.events_url(config))),
            trust_store: trust_store.map(str::to_owned),
        }
    }

    /// Keeps files and certificates fresh on `tasks`, until `stop`.
    pub(crate) fn maintain(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        let (certificates, until) = (Arc::clone(&self.certificates), stop.clone());
        tasks.spawn(async move { certificates.maintain(&until).await });
        if let Some(tls) = self.tls.clone() {
            let (followed, until) = (tls.clone(), stop.clone());
            tasks.spawn(async move { followed.follow(&until).await });
            let (acme, until) = (Acme::new(&self.data_directory, tls), stop.clone());
            tasks.spawn(async move { acme.maintain(&until).await });
        }
    }

    /// What serves each listener.
    pub(crate) fn serve(self, protocols: Protocols) -> Vec<BoxFuture<'static, ()>> {
        let Protocols { http, mqtt, admin } = protocols;
        let listeners = self.listeners;
        let mut serving: Vec<BoxFuture<'static, ()>> = Vec::new();
        if let (Some(tls), Some(listener)) = (&self.tls, listeners.https) {
            let (http, handshake) = (http.clone(), tls.handshake(Listener::Https));
            serving.push(Box::pin(async move { http.run_with(listener, handshake).await }));
        }
        if let (Some(tls), Some(listener)) = (&self.tls, listeners.mqtts) {
            let (mqtt, handshake) = (mqtt.clone(), tls.handshake(Listener::Mqtts));
            serving.push(Box::pin(async move { mqtt.serve_with(listener, handshake).await }));
        }
        serving.push(Box::pin(async move { http.run(listeners.http).await }));
        serving.push(Box::pin(async move { mqtt.serve(listeners.mqtt).await }));
        serving.push(match self.tls.filter(|_| self.tls_for_admin) {
            Some(tls) => {
                let handshake = tls.handshake(Listener::Admin);
                Box::pin(async move { admin.run_with(listeners.admin, handshake).await })
            }
            None => Box::pin(async move { admin.run(listeners.admin).await }),
        });
        serving
    }
}

/// Where clients reach the HTTPS listener.
fn base_url(config: &Config, directory: &AuthorityDirectory, listeners: &Listeners) -> String {
    if let Some(url) = &config.certificates.public_url {
        return url.clone();
    }
    let name = directory.server_name().unwrap_or_else(|| "localhost".to_owned());
    let host = if name.contains(':') { format!("[{name}]") } else { name };
    let port = listeners.address("https").map_or(8443, |address| address.port());
    format!("https://{host}:{port}")
}
