//! The configuration: one TOML file, every key documented where its section is, each key
//! overridable from the environment. The only place that reads the environment.

mod load;

use std::net::SocketAddr;
use std::path::PathBuf;

use eg_auth::{AuthConfig, PolicyConfig};
use eg_certs::{CertificatesConfig, Listener, TlsConfig};
use eg_event::InvalidInput;
use eg_http::{HttpConfig, PushConfig};
use eg_mqtt::MqttConfig;
use eg_storage::StorageConfig;
use serde::{Deserialize, Serialize};

use crate::quarantine::QuarantineConfig;
use crate::secrets::SecretsConfig;

pub use load::{ConfigError, environment, load, rules};

/// Everything that an operator can set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the store is.
    pub data_directory: PathBuf,
    /// Development: anyone on this machine may do everything, and nobody else can connect.
    pub dev: bool,
    /// How long a shutdown may take, in seconds, before attempts under way are given up.
    pub shutdown_seconds_max: u32,
    /// Where the gateway listens.
    pub listen: ListenConfig,
    /// TLS on the listeners.
    pub tls: TlsConfig,
    /// The certificates that the gateway issues.
    pub certificates: CertificatesConfig,
    /// Who is let in.
    pub auth: AuthConfig,
    /// Events in over HTTP.
    pub http: HttpConfig,
    /// Events in over MQTT.
    pub mqtt: MqttConfig,
    /// Events out over HTTP.
    pub push: PushConfig,
    /// Who may do what.
    pub policy: PolicyConfig,
    /// The keys that secrets are sealed under.
    pub secrets: SecretsConfig,
    /// Events that do not follow their declaration.
    pub quarantine: QuarantineConfig,
    /// The store.
    pub storage: StorageConfig,
    /// What is logged.
    pub log: LogConfig,
}

/// Where the gateway listens: loopback by default; port 0 takes any that is free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenConfig {
    /// HTTP, and MQTT over WebSocket.
    pub http: SocketAddr,
    /// HTTP over TLS, and MQTT over WebSocket.
    pub https: Option<SocketAddr>,
    /// MQTT.
    pub mqtt: SocketAddr,
    /// MQTT over TLS.
    pub mqtts: Option<SocketAddr>,
    /// Management: GraphQL, health, metrics.
    pub admin: SocketAddr,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            http: loopback(8080),
            https: None,
            mqtt: loopback(1883),
            mqtts: None,
            admin: loopback(8081),
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Which messages: a level, or directives such as `info,eg_mqtt=debug`.
    pub filter: String,
    /// `text` for people, `json` for machines.
    pub format: LogFormat,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object per line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_directory: PathBuf::from("event-gateway-data"),
            dev: false,
            shutdown_seconds_max: 20,
            listen: ListenConfig::default(),
            tls: TlsConfig::default(),
            certificates: CertificatesConfig::default(),
            auth: AuthConfig::default(),
            http: HttpConfig::default(),
            mqtt: MqttConfig::default(),
            push: PushConfig::default(),
            policy: PolicyConfig::default(),
            secrets: SecretsConfig::default(),
            quarantine: QuarantineConfig::default(),
            storage: StorageConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Config {
    /// Names the first setting that makes no sense.
    pub fn check(&self) -> Result<(), InvalidInput> {
        let listeners = [
            ("listen.http", Some(self.listen.http)),
            ("listen.https", self.listen.https),
            ("listen.mqtt", Some(self.listen.mqtt)),
            ("listen.mqtts", self.listen.mqtts),
            ("listen.admin", Some(self.listen.admin)),
        ];
        for (key, address) in listeners {
            let Some(address) = address else { continue };
            if self.dev && !address.ip().to_canonical().is_loopback() {
                let detail =
                    format!("expected a loopback address in development mode, found {address}");
                return Err(InvalidInput::new(key, detail));
            }
        }
        self.tls.check()?;
        self.certificates.check()?;
        self.auth.check()?;
        self.http.check()?;
        self.mqtt.check()?;
        self.push.check()?;
        self.quarantine.check()?;
        self.storage.check()
    }

    /// The listeners that speak TLS.
    #[must_use]
    pub fn tls_listeners(&self) -> Vec<Listener> {
        let listeners = [
            (Listener::Https, self.listen.https.is_some()),
            (Listener::Mqtts, self.listen.mqtts.is_some()),
            (Listener::Admin, self.tls.admin),
        ];
        listeners.into_iter().filter_map(|(listener, bound)| bound.then_some(listener)).collect()
    }

    /// Where events may be sent: in development mode to this machine too.
    #[must_use]
    pub fn push(&self) -> PushConfig {
        let mut push = self.push.clone();
        if self.dev {
            push.allow_loopback();
        }
        push
    }
}
