//! The sockets that are listened on.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::assemble::AssembleError;
use crate::config::ListenConfig;

/// The sockets, bound and not yet served.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) http: TcpListener,
    pub(crate) https: Option<TcpListener>,
    pub(crate) mqtt: TcpListener,
    pub(crate) mqtts: Option<TcpListener>,
    pub(crate) admin: TcpListener,
    addresses: Vec<(&'static str, SocketAddr)>,
}

impl Listeners {
    /// Binds them all.
    pub async fn bind(config: &ListenConfig) -> Result<Self, AssembleError> {
        let mut addresses = Vec::new();
        Ok(Self {
            http: listen("http", config.http, &mut addresses).await?,
            https: listen_if("https", config.https, &mut addresses).await?,
            mqtt: listen("mqtt", config.mqtt, &mut addresses).await?,
            mqtts: listen_if("mqtts", config.mqtts, &mut addresses).await?,
            admin: listen("admin", config.admin, &mut addresses).await?,
            addresses,
        })
    }

    /// What is listened on, by the names of the settings.
    #[must_use]
    pub fn addresses(&self) -> &[(&'static str, SocketAddr)] {
        &self.addresses
    }

    /// Where the listener of this name is bound.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses.iter().find(|(name, _)| *name == listener).map(|(_, address)| *address)
    }
}

async fn listen_if(
    listener: &'static str,
    address: Option<SocketAddr>,
    addresses: &mut Vec<(&'static str, SocketAddr)>,
) -> Result<Option<TcpListener>, AssembleError> {
    match address {
        Some(address) => listen(listener, address, addresses).await.map(Some),
        None => Ok(None),
    }
}

async fn listen(
    listener: &'static str,
    address: SocketAddr,
    addresses: &mut Vec<(&'static str, SocketAddr)>,
) -> Result<TcpListener, AssembleError> {
    let failed = |cause| AssembleError::Listen { listener, address, cause };
    let bound = TcpListener::bind(address).await.map_err(failed)?;
    addresses.push((listener, bound.local_addr().map_err(failed)?));
    Ok(bound)
}
