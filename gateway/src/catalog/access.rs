//! How outside parties connect, and what they say who they are with.

use std::net::SocketAddr;

use async_graphql::SimpleObject;
use serde::Serialize;

/// How to connect, and with what.
#[derive(Clone, Debug, Default, Serialize, SimpleObject)]
#[serde(rename_all = "camelCase")]
#[graphql(name = "CatalogAccess")]
pub struct Access {
    /// Where to connect.
    pub connections: Vec<Connection>,
    /// What to present, and where that comes from.
    pub credentials: Vec<CredentialKind>,
    /// Where the certificate is that ours can be checked by; null: public ones are enough.
    pub trust_store_url: Option<String>,
    /// That certificate, in PEM.
    #[serde(skip)]
    #[graphql(skip)]
    pub trust_store: Option<String>,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, SimpleObject)]
#[graphql(name = "CatalogConnection")]
pub struct Connection {
    /// `http`, `https`, `mqtt`, `mqtts`, `ws` or `wss`; the last two are MQTT over WebSocket.
    pub protocol: String,
    /// The URL.
    pub url: String,
}

/// What to present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, SimpleObject)]
#[graphql(name = "CatalogCredential")]
pub struct CredentialKind {
    /// `bearer`, `certificate`, `basic` or `api-key`.
    pub kind: String,
    /// Where it comes from.
    pub obtain: String,
}

/// Where one of our listeners is reached.
#[derive(Clone, Copy, Debug)]
pub struct Reached<'a> {
    /// The name or address of the gateway for outsiders.
    pub host: &'a str,
    /// The URL in front of the HTTP listener, if the operator names one.
    pub public_url: Option<&'a str>,
}

/// Where to connect, by the addresses of the listeners.
#[must_use]
pub fn connections(
    address: impl Fn(&str) -> Option<SocketAddr>,
    reached: Reached<'_>,
) -> Vec<Connection> {
    let mut connections = Vec::new();
    let mut add = |protocol: &str, url: String| {
        let url = url.trim_end_matches('/').to_owned();
        connections.push(Connection { protocol: protocol.to_owned(), url });
    };
    if let Some(url) = reached.public_url.map(|url| url.trim_end_matches('/')) {
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        add(scheme, url.to_owned());
        let over_websocket = if scheme == "http" { "ws" } else { "wss" };
        add(over_websocket, format!("{over_websocket}://{rest}/mqtt"));
    }
    for (listener, over_websocket) in
        [("https", Some("wss")), ("http", Some("ws")), ("mqtts", None), ("mqtt", None)]
    {
        let is_behind = over_websocket.is_some() && reached.public_url.is_some();
        let Some(address) = address(listener).filter(|_| !is_behind) else { continue };
        let is_secure = listener.ends_with('s');
        let ip = address.ip();
        let authority = if is_secure || ip.is_unspecified() {
            format!("{}:{}", reached.host, address.port())
        } else {
            address.to_string()
        };
        add(listener, format!("{listener}://{authority}"));
        if let Some(scheme) = over_websocket {
            add(scheme, format!("{scheme}://{authority}/mqtt"));
        }
    }
    connections
}

/// What is accepted: `has_issuers` says whether tokens are, `certificates` where they come from.
#[must_use]
pub fn credentials(issuers: &[String], connector_url: Option<&str>) -> Vec<CredentialKind> {
    let kind = |kind: &str, obtain: String| CredentialKind { kind: kind.to_owned(), obtain };
    let tokens = issuers.iter().map(|issuer| kind("bearer", format!("from the issuer {issuer}")));
    let certificate = connector_url.map(|url| {
        let obtain = format!(
            "with a one-time token of the operator's: open \
             {url}/v1/applications/signingRequests/info?token=TOKEN and follow csrUrl"
        );
        kind("certificate", obtain)
    });
    let made_here = ["basic", "api-key"].map(|one| kind(one, "from the operator".to_owned()));
    tokens.chain(certificate).chain(made_here).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(public_url: Option<&str>) -> Vec<String> {
        let address = |listener: &str| {
            let address = match listener {
                "http" => "127.0.0.1:8080",
                "https" => "0.0.0.0:8443",
                "mqtt" => "0.0.0.0:1883",
                _ => return None,
            };
            address.parse().ok()
        };
        let reached = Reached { host: "events.test", public_url };
        connections(address, reached).into_iter().map(|one| one.url).collect()
    }

    #[test]
    fn each_listener_is_reached_by_its_own_url() {
        assert_eq!(
            urls(None),
            [
                "https://events.test:8443",
                "wss://events.test:8443/mqtt",
                "http://127.0.0.1:8080",
                "ws://127.0.0.1:8080/mqtt",
                "mqtt://events.test:1883",
            ]
        );
    }

    #[test]
    fn what_stands_in_front_hides_the_http_listeners() {
        assert_eq!(
            urls(Some("https://api.test/events/")),
            ["https://api.test/events", "wss://api.test/events/mqtt", "mqtt://events.test:1883"]
        );
    }
}
