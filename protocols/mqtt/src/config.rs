//! What an operator can set of MQTT; every limit names its unit.

use eg_event::InvalidInput;
use serde::{Deserialize, Serialize};

use crate::lifecycle::LifecycleEvent;
use crate::mapping::MappingConfig;

/// The section `[mqtt]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttConfig {
    /// How many connections may be open at once.
    pub connections_max: u32,
    /// How many connections may be open at once from one address; an IPv6 /64 counts as one.
    pub connections_per_address_max: u32,
    /// How long CONNECT, and the token that it may announce, may take to arrive, and a credential
    /// to be checked, in seconds.
    pub connect_seconds_max: u32,
    /// The largest CONNECT, in bytes.
    pub connect_bytes_max: u32,
    /// The largest packet, in bytes.
    pub packet_bytes_max: u32,
    /// How many messages a client may publish in a second; 0: any number. Nothing more is read from
    /// one that publishes faster.
    pub client_messages_per_second_max: u32,
    /// How many bytes a client may send in a second; 0: any number.
    pub client_bytes_per_second_max: u32,
    /// How many QoS 1 and 2 publications a client may have under way (MQTT 5.0 section 3.2.2.3.3).
    pub receive_maximum: u16,
    /// How many publications of one connection may wait for the disk before nothing more is read.
    pub pending_events_max: u32,
    /// How many topic aliases a client may set.
    pub topic_alias_maximum: u16,
    /// The longest keep alive of an MQTT 5 client, in seconds; 0: any, and none. A 3.1.1 client
    /// cannot be told, and keeps its own.
    pub keep_alive_seconds_max: u16,
    /// How long before its credential expires a client is told so with every acknowledgement, in
    /// seconds; 0: it is not.
    pub expiry_warning_seconds: u32,
    /// How long a session may outlive its connection, in seconds.
    pub session_expiry_seconds_max: u32,
    /// Whether a session is its principal's: no other takes it over while it lasts.
    pub sessions_bound_to_principal: bool,
    /// How many sessions are remembered.
    pub sessions_max: u32,
    /// How many subscriptions a session may have.
    pub session_subscriptions_max: u32,
    /// How many levels a topic filter may have.
    pub filter_levels_max: u32,
    /// How many messages of QoS 1 and 2 may be under way to a client that would take more.
    pub session_inflight_max: u16,
    /// How many messages may wait for a session.
    pub session_queue_messages_max: u32,
    /// How many bytes the events may have that wait for a session.
    pub session_queue_bytes_max: u64,
    /// How often `$SYS/broker` topics are published, in seconds; 0: never.
    pub sys_interval_seconds: u32,
    /// What becomes of clients and sessions that is told by events of the gateway's own.
    pub lifecycle_events: Vec<LifecycleEvent>,
    /// How many topics may have a retained message.
    pub retained_messages_max: u32,
    /// How many bytes the retained messages of all topics may have.
    pub retained_bytes_max: u64,
    /// How many bytes may wait for a client that does not read, before nothing more is taken from
    /// it.
    pub output_bytes_max: u32,
    /// How long a client may take to read, or the store to have room, in seconds.
    pub stall_seconds_max: u32,
    /// How payloads that are no CloudEvents become events; the first whose filter matches the
    /// topic counts.
    pub mappings: Vec<MappingConfig>,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            connections_per_address_max: 10_000,
            connect_seconds_max: 10,
            connect_bytes_max: 64 * 1024,
            packet_bytes_max: 1024 * 1024,
            client_messages_per_second_max: 0,
            client_bytes_per_second_max: 0,
            receive_maximum: 256,
            pending_events_max: 1024,
            topic_alias_maximum: 32,
            keep_alive_seconds_max: 0,
            expiry_warning_seconds: 60,
            session_expiry_seconds_max: 7 * 86_400,
            sessions_bound_to_principal: true,
            sessions_max: 100_000,
            session_subscriptions_max: 1000,
            filter_levels_max: 128,
            session_inflight_max: 1024,
            session_queue_messages_max: 100_000,
            session_queue_bytes_max: 256 * 1024 * 1024,
            sys_interval_seconds: 10,
            lifecycle_events: Vec::new(),
            retained_messages_max: 100_000,
            retained_bytes_max: 256 * 1024 * 1024,
            output_bytes_max: 1024 * 1024,
            stall_seconds_max: 30,
            mappings: Vec::new(),
        }
    }
}

impl MqttConfig {
    /// Names the first setting that makes no sense.
    pub fn check(&self) -> Result<(), InvalidInput> {
        const MIB: u64 = 1 << 20;
        const WEEK_S: u64 = 7 * 86_400;
        let packet = u64::from(self.packet_bytes_max);
        let rows = [
            ("connections_max", self.connections_max, 1, 1_000_000),
            ("connections_per_address_max", self.connections_per_address_max, 1, 1_000_000),
            ("connect_seconds_max", self.connect_seconds_max, 1, 600),
            ("connect_bytes_max", self.connect_bytes_max, 128, packet),
            ("packet_bytes_max", self.packet_bytes_max, 1024, 256 * MIB - 1),
            ("receive_maximum", self.receive_maximum.into(), 1, 65_535),
            ("pending_events_max", self.pending_events_max, 1, 65_536),
            ("session_expiry_seconds_max", self.session_expiry_seconds_max, 0, 52 * WEEK_S),
            ("sessions_max", self.sessions_max, 1, 10_000_000),
            ("session_subscriptions_max", self.session_subscriptions_max, 1, 1_000_000),
            ("filter_levels_max", self.filter_levels_max, 1, 1024),
            ("session_inflight_max", self.session_inflight_max.into(), 1, 32_768),
            ("session_queue_messages_max", self.session_queue_messages_max, 1, 10_000_000),
            ("sys_interval_seconds", self.sys_interval_seconds, 0, 86_400),
            ("retained_messages_max", self.retained_messages_max, 0, 10_000_000),
            ("output_bytes_max", self.output_bytes_max, 4096, 256 * MIB),
            ("stall_seconds_max", self.stall_seconds_max, 1, 3600),
        ];
        for (key, value, low, high) in rows {
            if !(low..=high).contains(&u64::from(value)) {
                let detail = format!("expected a number from {low} to {high}, found {value}");
                return Err(InvalidInput::new(format!("mqtt.{key}"), detail));
            }
        }
        crate::mapping::Mappings::new(&self.mappings).map(drop)
    }
}
