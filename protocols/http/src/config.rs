//! What an operator can set of HTTP: how much the gateway takes in, and how it sends events out.

use std::path::PathBuf;
use std::time::Duration;

use eg_event::InvalidInput;
use eg_event::subscription::is_http_url;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The longest time that any limit here can be set to.
const DAY_MS: u64 = 86_400_000;

/// Limits of the way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// How many connections may be open at once; further ones wait in the kernel's queue.
    pub connections_max: u32,
    /// How many connections may be open at once from one address; further ones are closed.
    pub connections_per_address_max: u32,
    /// How many requests may be under way at once on one HTTP/2 connection.
    pub streams_per_connection_max: u32,
    /// The largest request line and headers together, in bytes; at least 8192. Over HTTP/1.1 a
    /// request may have 100 headers.
    pub head_bytes_max: u32,
    /// How long a request line and headers may take to arrive, in milliseconds.
    pub head_ms_max: u32,
    /// The largest request body, in bytes.
    pub body_bytes_max: u32,
    /// How long a request body may take to arrive, in milliseconds.
    pub body_ms_max: u32,
    /// How many bytes of request bodies larger than 64 KiB may be held at once.
    pub large_bodies_bytes_max: u32,
    /// How many events one batch may have.
    pub batch_events_max: u32,
    /// How long a connection without a request is kept open, in milliseconds.
    pub idle_ms_max: u32,
    /// How long requests under way may take to finish once the gateway stops, in milliseconds.
    pub drain_ms_max: u32,
    /// The origins that may send events here by the CloudEvents webhook handshake, as they name
    /// themselves in `WebHook-Request-Origin`; `*` is any. None: the handshake is not answered.
    pub webhook_origins: Vec<String>,
    /// Where clients reach the gateway, such as `https://events.example`: what event URLs begin
    /// with. None: the HTTPS listener as certificates name it, else the HTTP listener.
    pub public_url: Option<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            connections_per_address_max: 2048,
            streams_per_connection_max: 256,
            head_bytes_max: 64 * 1024,
            head_ms_max: 10_000,
            body_bytes_max: 1024 * 1024,
            body_ms_max: 30_000,
            large_bodies_bytes_max: 256 * 1024 * 1024,
            batch_events_max: 1000,
            idle_ms_max: 75_000,
            drain_ms_max: 10_000,
            webhook_origins: Vec::new(),
            public_url: None,
        }
    }
}

impl HttpConfig {
    /// Names the first setting that makes no sense.
    pub fn check(&self) -> Result<(), InvalidInput> {
        const MIB: u64 = 1024 * 1024;
        let body = u64::from(self.body_bytes_max);
        let rows = [
            ("http.connections_max", self.connections_max, 1, 1_000_000),
            ("http.connections_per_address_max", self.connections_per_address_max, 1, 1_000_000),
            ("http.streams_per_connection_max", self.streams_per_connection_max, 1, 10_000),
            ("http.head_bytes_max", self.head_bytes_max, 8192, MIB),
            ("http.head_ms_max", self.head_ms_max, 1, DAY_MS),
            ("http.body_bytes_max", self.body_bytes_max, 65_536, 256 * MIB),
            ("http.body_ms_max", self.body_ms_max, 1, DAY_MS),
            ("http.large_bodies_bytes_max", self.large_bodies_bytes_max, body, 4095 * MIB),
            ("http.batch_events_max", self.batch_events_max, 1, 100_000),
            ("http.idle_ms_max", self.idle_ms_max, 1, DAY_MS),
            ("http.drain_ms_max", self.drain_ms_max, 0, DAY_MS),
        ];
        if self.public_url.as_deref().is_some_and(|url| !is_http_url(url)) {
            return Err(InvalidInput::new("http.public_url", "expected an http or https URL"));
        }
        check_ranges(&rows)
    }
}

/// Limits of the way out, and where it may lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushConfig {
    /// Networks that events may be sent to although they are not public, such as `10.1.0.0/16`.
    pub allowed_networks: Vec<IpNet>,
    /// The ports that events may be sent to; none named: any.
    pub allowed_ports: Vec<u16>,
    /// Whether deliveries say who sent the event (CloudEvents extension `authcontext`).
    pub authcontext: bool,
    /// A PEM file of certificate authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// How long a connection to a subscriber is kept open without a request, in milliseconds.
    pub idle_ms_max: u32,
    /// How many connections without a request are kept open to one host.
    pub idle_connections_per_host_max: u32,
    /// The largest head of an answer, in bytes; at least 8192.
    pub answer_head_bytes_max: u32,
    /// How much of an answer's body is read to keep its connection open, in bytes.
    pub answer_body_bytes_max: u32,
    /// How long an answer's body is read to keep its connection open, in milliseconds.
    pub answer_body_ms_max: u32,
    /// How long the body of an answer that is no success is waited for, so that the reason can
    /// quote it, in milliseconds.
    pub reason_ms_max: u32,
    /// How many host names may be looked up at once.
    pub lookups_max: u32,
    /// How long a token endpoint may take to answer, in milliseconds.
    pub token_ms_max: u32,
}

impl Default for PushConfig {
    fn default() -> Self {
        Self {
            allowed_networks: Vec::new(),
            allowed_ports: Vec::new(),
            authcontext: true,
            ca_file: None,
            idle_ms_max: 30_000,
            idle_connections_per_host_max: 1024,
            answer_head_bytes_max: 64 * 1024,
            answer_body_bytes_max: 64 * 1024,
            answer_body_ms_max: 1_000,
            reason_ms_max: 100,
            lookups_max: 16,
            token_ms_max: 10_000,
        }
    }
}

impl PushConfig {
    /// Names the first setting that makes no sense.
    pub fn check(&self) -> Result<(), InvalidInput> {
        const MIB: u64 = 1024 * 1024;
        let rows = [
            ("push.idle_ms_max", self.idle_ms_max, 0, DAY_MS),
            ("push.idle_connections_per_host_max", self.idle_connections_per_host_max, 0, 10_000),
            ("push.answer_head_bytes_max", self.answer_head_bytes_max, 8192, MIB),
            ("push.answer_body_bytes_max", self.answer_body_bytes_max, 0, MIB),
            ("push.answer_body_ms_max", self.answer_body_ms_max, 0, 60_000),
            ("push.reason_ms_max", self.reason_ms_max, 0, 10_000),
            ("push.lookups_max", self.lookups_max, 1, 256),
            ("push.token_ms_max", self.token_ms_max, 1, 60_000),
        ];
        check_ranges(&rows)
    }

    /// Lets events be sent to this machine: development mode.
    pub fn allow_loopback(&mut self) {
        for text in ["127.0.0.0/8", "::1/128"] {
            self.allowed_networks.extend(text.parse::<IpNet>());
        }
    }
}

fn check_ranges(rows: &[(&str, u32, u64, u64)]) -> Result<(), InvalidInput> {
    for &(key, value, low, high) in rows {
        if !(low..=high).contains(&u64::from(value)) {
            let detail = format!("expected a number from {low} to {high}, found {value}");
            return Err(InvalidInput::new(key, detail));
        }
    }
    Ok(())
}

/// A setting in milliseconds as a duration.
pub(crate) fn ms(value: u32) -> Duration {
    Duration::from_millis(value.into())
}

/// A setting in bytes or pieces as a size.
pub(crate) fn size(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_their_own_rules() {
        assert_eq!(HttpConfig::default().check(), Ok(()));
        assert_eq!(PushConfig::default().check(), Ok(()));
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let http = HttpConfig { connections_max: 0, ..HttpConfig::default() };
        assert_eq!(http.check().unwrap_err().field, "http.connections_max");
        let http = HttpConfig { large_bodies_bytes_max: 1, ..HttpConfig::default() };
        assert_eq!(http.check().unwrap_err().field, "http.large_bodies_bytes_max");
        let push = PushConfig { lookups_max: 0, ..PushConfig::default() };
        assert_eq!(push.check().unwrap_err().field, "push.lookups_max");
    }

    #[test]
    fn unknown_keys_and_networks_that_are_none_are_refused() {
        for bad in [r#"{"body_bytes":1}"#, r#"{"body_bytes_max":-1}"#] {
            assert!(serde_json::from_str::<HttpConfig>(bad).is_err(), "{bad}");
        }
        for bad in [r#"{"allowed_networks":["10.0.0.0"]}"#, r#"{"allow":[]}"#] {
            assert!(serde_json::from_str::<PushConfig>(bad).is_err(), "{bad}");
        }
        let good = r#"{"allowed_networks":["10.0.0.0/8","fd00::/8"],"allowed_ports":[443]}"#;
        assert_eq!(serde_json::from_str::<PushConfig>(good).unwrap().allowed_networks.len(), 2);
    }
}
