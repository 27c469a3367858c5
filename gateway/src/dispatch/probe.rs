//! Tries a subscription's receiver with an event that is not in the journal.

use std::sync::Arc;

use eg_event::event::Attributes;
use eg_event::principal::Method;
use eg_event::submission::Sender;
use eg_event::{
    Binding, CloudEvent, Data, Delivery, Origin, Outcome, Protocol, Sequence, StoredEvent,
    TraceContext,
};

use super::Dispatch;
use super::registry::RegistryError;

/// The type of the event that a test sends.
pub const TEST_TYPE: &str = "io.event-gateway.subscription.test";

impl Dispatch {
    /// Sends a test event to the receiver of the subscription `name`, once.
    pub async fn test(&self, name: &str) -> Result<Outcome, RegistryError> {
        let registered = self
            .get(name)
            .ok_or_else(|| RegistryError::NotFound("subscription", name.to_owned()))?;
        let now = self.outlets.clock.now();
        let attributes = Attributes {
            id: format!("test-{}", now.as_micros()).into(),
            source: "/event-gateway".into(),
            ty: TEST_TYPE.into(),
            time: Some(now.to_string().into()),
            datacontenttype: Some("application/json".into()),
            ..Attributes::default()
        };
        let data = Data::Json(serde_json::json!({ "subscription": name }).to_string().into());
        let event = StoredEvent {
            sequence: Sequence(0),
            received_at: now,
            event: CloudEvent::from_checked(attributes, Some(data)),
            sender: Sender {
                name: "event-gateway".into(),
                method: Method::System,
                application: None,
            },
            origin: Origin {
                protocol: Protocol::Internal,
                binding: Binding::Structured,
                remote: None,
                address: "".into(),
                client_id: None,
            },
            trace: TraceContext::default(),
            held: None,
            message: None,
        };
        let subscription = Arc::clone(&registered.definition().subscription);
        let delivery = Delivery { event: Arc::new(event), subscription, attempt: 1 };
        Ok(self.outlets.sink.deliver(&delivery).await)
    }
}
