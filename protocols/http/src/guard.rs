//! Keeps events from being sent where no subscriber outside can be: to this machine, its network,
//! and addresses that nobody owns (server-side request forgery).
//!
//! The address that a name resolves to is checked and that very address is connected to, so a name
//! that changes its mind between the two gains nothing. Written-out addresses take the same check.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use eg_event::InvalidInput;
use http::Uri;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::PushConfig;

/// Decides which addresses and ports events may be sent to.
#[derive(Clone, Debug)]
pub struct Guard {
    allowed_networks: Box<[IpNet]>,
    allowed_ports: Box<[u16]>,
}

/// An address or port that events may not be sent to, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// The address lies in a network that is not public.
    #[error("address not allowed: {address} is {kind}")]
    Address {
        /// The address.
        address: IpAddr,
        /// What kind of network it lies in.
        kind: &'static str,
    },
    /// The name stands for this machine.
    #[error("host not allowed: {0} is this machine")]
    Name(String),
    /// The port is not on the list.
    #[error("port not allowed: {0}")]
    Port(u16),
}

/// The networks that are not public: IANA special-purpose address registries (RFC 6890 and later).
const V4: [(Ipv4Net, &str); 14] = [
    (v4(0, 0, 0, 0, 8), "unspecified"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared by a carrier (RFC 6598)"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "reserved for protocols"),
    (v4(192, 0, 2, 0, 24), "for documentation"),
    (v4(192, 88, 99, 0, 24), "reserved for protocols"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "for benchmarks"),
    (v4(198, 51, 100, 0, 24), "for documentation"),
    (v4(203, 0, 113, 0, 24), "for documentation"),
    (v4(224, 0, 0, 0, 3), "multicast or reserved"),
];

const V6: [(Ipv6Net, &str); 14] = [
    (v6([0, 0], 128), "unspecified"),
    (v6_loopback(), "loopback"),
    (v6([0, 0], 96), "reserved"),
    (v6([0x64, 0xff9b], 32), "translated to another address"),
    (v6([0x100, 0], 64), "discarded"),
    (v6([0x2001, 0], 23), "reserved for protocols"),
    (v6([0x2001, 0xdb8], 32), "for documentation"),
    (v6([0x2002, 0], 16), "translated to another address"),
    (v6([0x3fff, 0], 20), "for documentation"),
    (v6([0x5f00, 0], 16), "reserved for protocols"),
    (v6([0xfc00, 0], 7), "private"),
    (v6([0xfe80, 0], 10), "link-local"),
    (v6([0xfec0, 0], 10), "private"),
    (v6([0xff00, 0], 8), "multicast"),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(head: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(head[0], head[1], 0, 0, 0, 0, 0, 0), prefix)
}

const fn v6_loopback() -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)
}

impl Guard {
    /// Lets through what is public and what `config` allows.
    #[must_use]
    pub fn new(config: &PushConfig) -> Self {
        Self {
            allowed_networks: config.allowed_networks.clone().into(),
            allowed_ports: config.allowed_ports.clone().into(),
        }
    }

    /// Checks an address that is about to be connected to.
    pub fn check_address(&self, address: IpAddr) -> Result<(), NotAllowed> {
        let address = address.to_canonical();
        if self.allowed_networks.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        let kind = match address {
            IpAddr::V4(v4) => V4.iter().find(|(network, _)| network.contains(&v4)).map(|row| row.1),
            IpAddr::V6(v6) => V6.iter().find(|(network, _)| network.contains(&v6)).map(|row| row.1),
        };
        kind.map_or(Ok(()), |kind| Err(NotAllowed::Address { address, kind }))
    }

    /// Checks the endpoint of a subscription as far as it can be told without asking for names:
    /// its port, and its host where that is an address or stands for this machine.
    pub fn check_endpoint(&self, endpoint: &str) -> Result<(), InvalidInput> {
        self.check_url("endpoint", endpoint)
    }

    /// As [`Guard::check_endpoint`], for any field.
    pub(crate) fn check_url(&self, field: &str, url: &str) -> Result<(), InvalidInput> {
        let refuse = |error: String| InvalidInput::new(field, error);
        let uri: Uri = url.parse().map_err(|error| refuse(format!("expected a URL: {error}")))?;
        self.check_uri(&uri).map_err(|error| refuse(error.to_string()))
    }

    /// As [`Guard::check_endpoint`], before every attempt.
    pub(crate) fn check_uri(&self, uri: &Uri) -> Result<(), NotAllowed> {
        let port = uri.port_u16().unwrap_or_else(|| default_port(uri));
        if port == 0 || !(self.allowed_ports.is_empty() || self.allowed_ports.contains(&port)) {
            return Err(NotAllowed::Port(port));
        }
        let host = uri.host().unwrap_or_default().trim_end_matches('.');
        if let Some(address) = written_out(host) {
            return self.check_address(address);
        }
        let last_label = host.rsplit('.').next().unwrap_or_default();
        if last_label.eq_ignore_ascii_case("localhost") {
            return self
                .check_address(IpAddr::V4(Ipv4Addr::LOCALHOST))
                .map_err(|_| NotAllowed::Name(Shortened(host).to_string()));
        }
        Ok(())
    }
}

fn default_port(uri: &Uri) -> u16 {
    if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { 443 } else { 80 }
}

/// The address that `host` writes out, in any of the forms that a system's resolver takes without
/// asking anyone: dotted, in brackets, or one to four numbers in base 10, 8 or 16 (`inet_aton`).
fn written_out(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(v6) = inner {
        return v6.parse().ok().map(IpAddr::V6);
    }
    let parts: Vec<u64> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|&part| part > 255) {
        return None;
    }
    let bits_left = 32 - 8 * leading.len();
    if *last >> bits_left != 0 {
        return None;
    }
    let high = leading.iter().fold(0, |sum, part| sum << 8 | part);
    u32::try_from(high << bits_left | last).ok().map(|bits| IpAddr::V4(bits.into()))
}

fn number(part: &str) -> Option<u64> {
    let (digits, radix) = match part.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&part[2..], 16),
        [b'0', _, ..] => (&part[1..], 8),
        _ => (part, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// A host name, shortened to what fits a message.
struct Shortened<'a>(&'a str);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().take(64).try_for_each(|c| fmt::Write::write_char(f, c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guard(networks: &[&str], ports: &[u16]) -> Guard {
        let config = PushConfig {
            allowed_networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            allowed_ports: ports.to_vec(),
            ..PushConfig::default()
        };
        Guard::new(&config)
    }

    #[test]
    fn only_public_addresses_pass() {
        let guard = guard(&[], &[]);
        for inside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(guard.check_address(inside.parse().unwrap()).is_err(), "{inside}");
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(guard.check_address(public.parse().unwrap()), Ok(()), "{public}");
        }
    }

    #[test]
    fn an_endpoint_that_writes_out_an_inner_address_is_refused_in_every_spelling() {
        let guard = guard(&[], &[]);
        for endpoint in [
            "http://127.0.0.1/hook",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001:8080/",
            "http://0177.0.0.1/",
            "http://0x7f.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "http://[fe80::1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://10.1.2.3./",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost:81/",
            "http://0/",
        ] {
            assert_eq!(guard.check_endpoint(endpoint).unwrap_err().field, "endpoint", "{endpoint}");
        }
        for endpoint in ["https://shop.test/hook?x=1", "http://1.1.1.1:81/", "http://256.1.1.1/"] {
            assert_eq!(guard.check_endpoint(endpoint), Ok(()), "{endpoint}");
        }
    }

    #[test]
    fn networks_and_ports_on_the_list_are_allowed() {
        let guard = guard(&["10.1.0.0/16", "127.0.0.0/8", "::1/128"], &[443, 8443]);
        for endpoint in [
            "https://10.1.2.3/",
            "https://10.1.2.3:8443/",
            "https://localhost:443/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::1]/",
        ] {
            assert_eq!(guard.check_endpoint(endpoint), Ok(()), "{endpoint}");
        }
        let rows = [
            ("https://10.2.0.1/", "address not allowed: 10.2.0.1 is private"),
            ("http://shop.test/", "port not allowed: 80"),
            ("https://shop.test:0/", "port not allowed: 0"),
        ];
        for (endpoint, detail) in rows {
            assert_eq!(guard.check_endpoint(endpoint).unwrap_err().detail, detail);
        }
    }

    proptest! {
        #[test]
        fn every_spelling_of_an_address_is_that_address(bits: u32) {
            let address = Ipv4Addr::from(bits);
            let [a, b, c, d] = address.octets();
            let tail = u32::from(c) << 8 | u32::from(d);
            for text in [
                format!("{bits}"), format!("0x{bits:x}"), format!("0{bits:o}"),
                format!("{a}.{b}.{tail}"), format!("{a}.0x{b:X}.0{c:o}.{d}"), address.to_string(),
            ] {
                prop_assert_eq!(written_out(&text), Some(IpAddr::V4(address)), "{}", text);
            }
        }

        #[test]
        fn no_host_makes_the_guard_panic(host in "[0-9a-fx.\\[\\]:]{0,24}") {
            written_out(&host);
        }
    }
}
