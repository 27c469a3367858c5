//! A client of the MQTT server as management clients see it.

use async_graphql::{Enum, ID, InputObject, Object, Result, SimpleObject};
use eg_event::Timestamp;
use eg_mqtt::Server;
use eg_mqtt::clients::{
    ClientFilter, ClientStatus, ConnectionStatus, Holds, SubscriptionStatus, Transport,
};
use eg_mqtt::codec::Version;

use crate::admin::page::{self, PageInfo};

/// Which clients; what is not set fits all.
#[derive(Clone, Debug, Default, InputObject)]
pub struct MqttClientFilter {
    /// What the client identifier begins with.
    id_prefix: Option<String>,
    /// Whether it is connected.
    connected: Option<bool>,
    /// The name of the principal that is connected.
    principal: Option<String>,
    /// The application that it acts for.
    application: Option<String>,
}

impl From<MqttClientFilter> for ClientFilter {
    fn from(given: MqttClientFilter) -> Self {
        let MqttClientFilter { id_prefix, connected, principal, application } = given;
        Self { id_prefix, connected, principal, application }
    }
}

/// An MQTT client that has a session.
pub struct MqttClient {
    status: ClientStatus,
    server: Server,
}

impl MqttClient {
    pub(super) fn new(status: ClientStatus, server: &Server) -> Self {
        Self { status, server: server.clone() }
    }

    pub(super) fn cursor(&self) -> String {
        self.status.id.to_string()
    }
}

#[Object]
#[expect(clippy::unused_async, reason = "a resolver is asynchronous")]
impl MqttClient {
    /// The client identifier.
    async fn id(&self) -> ID {
        ID(self.status.id.to_string())
    }

    /// Whether it is connected.
    async fn connected(&self) -> bool {
        self.status.connection.is_some()
    }

    /// Its connection, if it is connected.
    async fn connection(&self) -> Option<MqttConnection> {
        self.status.connection.as_ref().map(MqttConnection::from)
    }

    /// Its session.
    async fn session(&self) -> MqttSession {
        MqttSession::from(&self.status)
    }

    /// Its subscriptions, in the order of their filters. Each that may come counts against what a
    /// query may ask for.
    #[graphql(complexity = "page::nested_cost(first, child_complexity)")]
    async fn subscriptions(
        &self,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<MqttSubscriptionPage> {
        let size = page::size(first)?;
        let found = self.server.subscriptions(&self.status.id, after.as_deref(), size + 1);
        let (data, page_info) = page::cut(
            found.into_iter().map(MqttSubscription::from).collect(),
            size,
            |one: &MqttSubscription| one.filter.clone(),
        );
        let total_count = self.server.subscription_count(Some(&self.status.id));
        Ok(MqttSubscriptionPage { data, page_info, total_count })
    }
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Transport")]
pub enum MqttTransport {
    /// TCP.
    Tcp,
    /// TCP with TLS.
    Tls,
    /// WebSocket over HTTP.
    WebSocket,
    /// WebSocket over HTTPS.
    SecureWebSocket,
}

/// A connection of an MQTT client; what is counted is counted since it began.
#[derive(Clone, Debug, SimpleObject)]
pub struct MqttConnection {
    /// Where it comes from.
    address: String,
    transport: MqttTransport,
    /// `3.1.1` or `5.0`.
    protocol_version: &'static str,
    /// Who it is.
    principal: String,
    /// How they were recognized.
    method: String,
    /// The application that they act for.
    application: Option<String>,
    connected_at: String,
    /// 0: none.
    keep_alive_seconds: u16,
    /// How many messages of QoS 1 and 2 the client takes at once.
    receive_maximum: u16,
    /// PUBLISH packets that came.
    messages_received: u64,
    /// PUBLISH packets that were sent.
    messages_sent: u64,
    /// Bytes after CONNECT.
    bytes_received: u64,
    /// Bytes after CONNACK.
    bytes_sent: u64,
}

/// The session of an MQTT client.
#[derive(Clone, Debug, SimpleObject)]
pub struct MqttSession {
    /// Since when there is one; null: since before the gateway started.
    created_at: Option<String>,
    /// Whether it outlives its connection.
    is_persistent: bool,
    /// How long it outlives its connection, in seconds; null: for ever, or nobody is connected.
    expiry_seconds: Option<u64>,
    /// When it ends if the client does not come back; null: never, or it is connected.
    expires_at: Option<String>,
    /// How many subscriptions it has.
    subscriptions: usize,
    /// How many messages wait.
    queue_messages: usize,
    /// The bytes of their events.
    queue_bytes: u64,
    /// How many messages are under way and not acknowledged.
    inflight: usize,
    /// Messages that did not reach it since the gateway started.
    dropped: Vec<MqttDropped>,
}

/// Messages that did not reach a session for one reason.
#[derive(Clone, Debug, SimpleObject)]
pub struct MqttDropped {
    /// The reason, by the word that metrics have for it.
    reason: &'static str,
    messages: u64,
}

/// A page of MQTT clients.
#[derive(SimpleObject)]
pub struct MqttClientPage {
    /// The clients, in the order of their identifiers.
    pub(super) data: Vec<MqttClient>,
    /// Where the page lies.
    pub(super) page_info: PageInfo,
    /// How many there are in all.
    pub(super) total_count: usize,
}

/// A subscription of an MQTT client.
#[derive(Clone, Debug, SimpleObject)]
pub struct MqttSubscription {
    client_id: ID,
    /// The filter, as it was subscribed to.
    filter: String,
    /// The highest quality of service.
    qos: u8,
    /// The client's own messages are left out.
    no_local: bool,
    /// The flag RETAIN stays as it was published.
    retain_as_published: bool,
    /// The subscription identifier.
    identifier: Option<u32>,
    /// The group that shares it.
    share_group: Option<String>,
    /// Where it lies among those of all clients.
    #[graphql(skip)]
    cursor: String,
}

impl MqttSubscription {
    pub(super) fn cursor(&self) -> String {
        self.cursor.clone()
    }
}

/// A page of MQTT subscriptions.
#[derive(Clone, Debug, SimpleObject)]
pub struct MqttSubscriptionPage {
    /// The subscriptions, by client and filter.
    pub(super) data: Vec<MqttSubscription>,
    /// Where the page lies.
    pub(super) page_info: PageInfo,
    /// How many there are in all.
    pub(super) total_count: usize,
}

impl From<&ConnectionStatus> for MqttConnection {
    fn from(status: &ConnectionStatus) -> Self {
        let principal = &status.principal;
        Self {
            address: status.address.to_string(),
            transport: status.transport.into(),
            protocol_version: match status.version {
                Version::V311 => "3.1.1",
                Version::V5 => "5.0",
            },
            principal: principal.name().to_owned(),
            method: principal.method().to_string(),
            application: principal.application().map(str::to_owned),
            connected_at: status.connected_at.to_string(),
            keep_alive_seconds: status.keep_alive_s,
            receive_maximum: status.receive_maximum,
            messages_received: status.messages_received,
            messages_sent: status.messages_sent,
            bytes_received: status.bytes_received,
            bytes_sent: status.bytes_sent,
        }
    }
}

impl From<&ClientStatus> for MqttSession {
    fn from(status: &ClientStatus) -> Self {
        let Holds { subscriptions, queue_messages, queue_bytes, inflight, dropped } = &status.holds;
        let expiry = status.connection.as_ref().and_then(|one| one.session_expiry);
        let instant = |at: Timestamp| at.to_string();
        Self {
            created_at: status.created_at.map(instant),
            is_persistent: expiry.is_none_or(|expiry| !expiry.is_zero()),
            expiry_seconds: expiry.map(|expiry| expiry.as_secs()),
            expires_at: status.expires_at.map(instant),
            subscriptions: *subscriptions,
            queue_messages: *queue_messages,
            queue_bytes: *queue_bytes,
            inflight: *inflight,
            dropped: dropped
                .iter()
                .map(|(why, messages)| MqttDropped { reason: why.as_str(), messages: *messages })
                .collect(),
        }
    }
}

impl From<SubscriptionStatus> for MqttSubscription {
    fn from(status: SubscriptionStatus) -> Self {
        let cursor = super::cursor(&status);
        Self {
            client_id: ID(status.client_id.to_string()),
            filter: status.filter.into(),
            qos: status.qos as u8,
            no_local: status.no_local,
            retain_as_published: status.retain_as_published,
            identifier: status.identifier,
            share_group: status.share_group.map(Into::into),
            cursor,
        }
    }
}
