//! Whom a browser really asks for: it adds what its user may do to the requests of any page, so
//! that a page of somebody else could use it.

use std::net::IpAddr;

use eg_auth::Peer;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Request};

/// `peer`, without what the page that makes a browser send `request` must not use: the client
/// certificate, when the page is of another origin (RFC 6454), and being on this machine, when it
/// is not of this machine, or only calls itself by its name (DNS rebinding).
pub(super) fn seen<B>(peer: &Peer, request: &Request<B>) -> Peer {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let authority = authority.or_else(|| text(request.headers(), HOST));
    let is_ours = authority.is_none_or(is_loopback);
    let Some(origin) = request.headers().get(ORIGIN) else {
        return if is_ours { peer.clone() } else { peer.clone().for_page() };
    };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let origin = origin.map_or("", |(_, authority)| authority);
    let mut seen = peer.clone();
    if !(is_ours && is_loopback(origin)) {
        seen = seen.for_page();
        if authority.is_none_or(|authority| !authority.eq_ignore_ascii_case(origin)) {
            seen.certificate = None;
        }
    }
    seen
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether the host of `authority` stands for this machine wherever it is looked up.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let last_label = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    last_label.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use eg_auth::{ClientCertificate, Thumbprint};
    use eg_event::Timestamp;
    use std::sync::Arc;

    fn certificate() -> ClientCertificate {
        ClientCertificate {
            thumbprint: Thumbprint::of(b""),
            serial: String::new(),
            issuer: String::new(),
            subject: String::new(),
            common_name: None,
            organizations: Vec::new(),
            organizational_units: Vec::new(),
            dns_names: Vec::new(),
            uris: Vec::new(),
            emails: Vec::new(),
            addresses: Vec::new(),
            not_after: Timestamp::default(),
        }
    }

    #[test]
    fn a_page_of_another_origin_uses_neither_the_certificate_nor_the_machine() {
        // Host, Origin; whether the machine counts, and whether the certificate does.
        let rows = [
            ("127.0.0.1:8080", None, true, true),
            ("localhost:8080", None, true, true),
            ("[::1]:8080", Some("http://[::1]:8080"), true, true),
            ("localhost:8080", Some("http://app.localhost:3000"), true, true),
            ("gateway.example", None, false, true),
            ("gateway.example", Some("https://gateway.example"), false, true),
            ("Gateway.example:8443", Some("https://gateway.example:8443"), false, true),
            ("gateway.example", Some("https://evil.example"), false, false),
            ("gateway.example", Some("https://gateway.example:8443"), false, false),
            ("localhost:8080", Some("https://evil.example"), false, false),
            ("localhost:8080", Some("https://localhost.evil.example"), false, false),
            ("localhost:8080", Some("null"), false, false),
            // A name of somebody else's that leads here.
            ("evil.example:8080", Some("http://evil.example:8080"), false, true),
            ("evil.example:8080", None, false, true),
        ];
        for (host, origin, is_local, has_certificate) in rows {
            let mut request = Request::builder().header(HOST, host);
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            let peer = Peer::with_certificate(([127, 0, 0, 1], 1).into(), Arc::new(certificate()));
            let seen = seen(&peer, &request.body(()).unwrap());
            let found = (seen.is_loopback(), seen.certificate.is_some());
            assert_eq!(found, (is_local, has_certificate), "{host} {origin:?}");
        }
    }
}
