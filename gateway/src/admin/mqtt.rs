//! MQTT clients, their sessions and subscriptions, and what is retained, as management clients see
//! and end them.

pub mod client;
pub mod retained;

use async_graphql::{Context, ID, Object, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eg_event::{InvalidInput, Refusal};
use eg_mqtt::clients::SubscriptionStatus;
use eg_mqtt::codec::Reason;

use self::client::{
    MqttClient, MqttClientFilter, MqttClientPage, MqttSubscription, MqttSubscriptionPage,
};
use self::retained::{MqttRetainedContent, MqttRetainedMessage, MqttRetainedPage};
use super::error::{Code, coded, invalid};
use super::page;
use super::schema::Parts;

/// How much of a retained payload is shown when nobody says, and at the most, in bytes.
const PAYLOAD_BYTES_DEFAULT: u32 = 64 << 10;
const PAYLOAD_BYTES_MAX: u32 = 1 << 20;

/// What can be asked of MQTT.
pub struct MqttQuery(pub(super) Parts);

/// What can be changed of MQTT.
pub struct MqttMutation(pub(super) Parts);

#[Object]
#[expect(clippy::unused_async, reason = "a resolver is asynchronous")]
impl MqttQuery {
    /// The clients that have a session, in the order of their identifiers.
    async fn mqtt_clients(
        &self,
        context: &Context<'_>,
        filter: Option<MqttClientFilter>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<MqttClientPage> {
        let (size, filter) = (page::size(first)?, filter.unwrap_or_default().into());
        let is_counted = page::is_counted(context);
        let total_count = if is_counted { self.0.mqtt.client_count(&filter).await } else { 0 };
        let found = self.0.mqtt.clients(&filter, after.as_deref(), size + 1).await;
        let entries = found.into_iter().map(|status| MqttClient::new(status, &self.0.mqtt));
        let (data, page_info) = page::cut(entries.collect(), size, MqttClient::cursor);
        Ok(MqttClientPage { data, page_info, total_count })
    }

    /// One client.
    async fn mqtt_client(&self, id: ID) -> Option<MqttClient> {
        self.0.mqtt.client(&id).map(|status| MqttClient::new(status, &self.0.mqtt))
    }

    /// The subscriptions of one client or of all, by client and filter.
    async fn mqtt_subscriptions(
        &self,
        context: &Context<'_>,
        client_id: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<MqttSubscriptionPage> {
        let size = page::size(first)?;
        let is_counted = page::is_counted(context);
        let count = || self.0.mqtt.subscription_count(client_id.as_deref().map(String::as_str));
        let total_count = if is_counted { count() } else { 0 };
        let after = after.map(|after| place(&after)).transpose()?;
        let after = after.as_ref().map(|(id, filter)| (&**id, &**filter));
        let found = match client_id {
            Some(id) => {
                let after = after.map(|(_, filter)| filter);
                self.0.mqtt.subscriptions(&id, after, size + 1)
            }
            None => self.0.mqtt.all_subscriptions(after, size + 1).await,
        };
        let (data, page_info) = page::cut(
            found.into_iter().map(MqttSubscription::from).collect(),
            size,
            MqttSubscription::cursor,
        );
        Ok(MqttSubscriptionPage { data, page_info, total_count })
    }

    /// What is retained of the topics that a topic filter stands for, in the order of topics.
    async fn mqtt_retained_messages(
        &self,
        context: &Context<'_>,
        #[graphql(default_with = "\"#\".to_owned()")] filter: String,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<MqttRetainedPage> {
        let size = page::size(first)?;
        let found = self.0.mqtt.retained(&filter, &after.unwrap_or_default(), size + 1);
        let wrong = || InvalidInput::new("filter", "expected a topic filter that is not shared");
        let found = found.ok_or_else(|| invalid(&wrong()))?;
        let count = || self.0.mqtt.retained_count(&filter).unwrap_or_default();
        let total_count = if page::is_counted(context) { count() } else { 0 };
        let (data, page_info) = page::cut(
            found.into_iter().map(MqttRetainedMessage::from).collect(),
            size,
            MqttRetainedMessage::cursor,
        );
        Ok(MqttRetainedPage { data, page_info, total_count })
    }

    /// What is retained of a topic, with the beginning of its payload.
    #[graphql(complexity = "100")]
    async fn mqtt_retained_message(
        &self,
        topic: String,
        #[graphql(default_with = "PAYLOAD_BYTES_DEFAULT")] payload_bytes_max: u32,
    ) -> Result<Option<MqttRetainedContent>> {
        if payload_bytes_max > PAYLOAD_BYTES_MAX {
            let detail = format!("expected at most {PAYLOAD_BYTES_MAX}, found {payload_bytes_max}");
            return Err(invalid(&InvalidInput::new("payloadBytesMax", detail)));
        }
        let bytes_max = usize::try_from(payload_bytes_max).unwrap_or(usize::MAX);
        let found = self.0.mqtt.retained_content(&topic, bytes_max).await;
        Ok(found.map_err(|refusal| unavailable(&refusal))?.map(MqttRetainedContent::from))
    }
}

#[Object]
impl MqttMutation {
    /// Ends the connection of a client, with a reason code of DISCONNECT for MQTT 5 (by default 152,
    /// administrative action). Its session stays, and it may connect again. Gives back how the
    /// client was before.
    async fn disconnect_mqtt_client(&self, id: ID, reason_code: Option<u8>) -> Result<MqttClient> {
        let code = reason_code.unwrap_or(Reason::AdministrativeAction as u8);
        let reason = Reason::of_code(code).ok_or_else(|| {
            let known: Vec<_> = Reason::ALL.iter().map(|one| (*one as u8).to_string()).collect();
            let detail = format!("expected one of {}, found {code}", known.join(", "));
            invalid(&InvalidInput::new("reasonCode", detail))
        })?;
        let before = self.0.mqtt.client(&id).ok_or_else(|| no_session(&id))?;
        if !self.0.mqtt.disconnect(&id, reason).await {
            let text = format!("the MQTT client {:?} is not connected", &*id);
            return Err(coded(Code::InvalidOperation, &text));
        }
        Ok(MqttClient::new(before, &self.0.mqtt))
    }

    /// Ends the session of a client, with its connection if there is one: its subscriptions, and
    /// what waits for it. Gives back how the client was before.
    async fn delete_mqtt_session(&self, id: ID) -> Result<MqttClient> {
        let before = self.0.mqtt.client(&id).ok_or_else(|| no_session(&id))?;
        let deleted = self.0.mqtt.delete_session(&id).await;
        if !deleted.map_err(|refusal| unavailable(&refusal))? {
            return Err(no_session(&id));
        }
        Ok(MqttClient::new(before, &self.0.mqtt))
    }

    /// Ends a subscription of a client, which is not told. Gives back the client without it.
    async fn unsubscribe_mqtt_client(&self, id: ID, filter: String) -> Result<MqttClient> {
        let ended = self.0.mqtt.unsubscribe(&id, &filter).await;
        if !ended.map_err(|refusal| unavailable(&refusal))? {
            let text = format!("the MQTT client {:?} has no subscription {filter:?}", &*id);
            return Err(coded(Code::NotFound, &text));
        }
        let status = self.0.mqtt.client(&id).ok_or_else(|| no_session(&id))?;
        Ok(MqttClient::new(status, &self.0.mqtt))
    }

    /// Ends what is retained of a topic. Subscribers are not told.
    async fn delete_mqtt_retained(&self, topic: String) -> Result<bool> {
        let deleted = self.0.mqtt.delete_retained(&topic).await;
        if deleted.map_err(|refusal| unavailable(&refusal))? {
            return Ok(true);
        }
        Err(coded(Code::NotFound, &format!("nothing is retained of {topic:?}")))
    }
}

/// The cursor of a subscription: neither part has the character between them (MQTT 5.0 section
/// 1.5.4).
fn cursor(subscription: &SubscriptionStatus) -> String {
    BASE64.encode(format!("{}\0{}", subscription.client_id, subscription.filter))
}

/// The client and the filter that a cursor names.
fn place(cursor: &str) -> Result<(String, String)> {
    let text = BASE64.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let parts = text.as_deref().and_then(|text| text.split_once('\0'));
    let place = parts.map(|(id, filter)| (id.to_owned(), filter.to_owned()));
    let wrong = || InvalidInput::new("after", "expected the cursor of a page");
    place.ok_or_else(|| invalid(&wrong()))
}

fn no_session(id: &str) -> async_graphql::Error {
    coded(Code::NotFound, &format!("there is no MQTT session of {id:?}"))
}

fn unavailable(refusal: &Refusal) -> async_graphql::Error {
    coded(Code::InternalError, &refusal.to_string())
}
