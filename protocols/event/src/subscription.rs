//! Who wants which events, where they go, and what happens when they do not arrive.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::outbound::Auth;
use crate::refusal::InvalidInput;

/// The longest name of a subscription, in bytes.
pub const NAME_BYTES_MAX: usize = 253;
/// The longest name of a namespace, in bytes (RFC 1123, section 2.1).
pub const NAMESPACE_BYTES_MAX: usize = 63;
/// The longest endpoint, in bytes.
pub const ENDPOINT_BYTES_MAX: usize = 2048;
/// The most attempts under way at once that a subscription may ask for.
pub const IN_FLIGHT_MAX: u16 = 400;
/// The longest time that an attempt may take.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_mins(1);

/// What an operator asked for, checked. Where the subscription stands in the journal is not part
/// of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Its name, unique in its namespace.
    pub name: String,
    /// Where event activations govern it; without one, none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The URL that events are sent to.
    pub endpoint: String,
    /// The topic, where the endpoint is an external bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<BusTopic>,
    /// Only events of this source.
    pub source: Option<String>,
    /// Only events of this type.
    pub event_type: Option<String>,
    /// Only events whose extension `eventtypeversion` is this.
    pub event_type_version: Option<String>,
    /// Only events that all of these let pass (CloudEvents Subscriptions API, 3.2.4).
    pub filters: Vec<Filter>,
    /// How events are written on the wire.
    pub content_mode: ContentMode,
    /// How many attempts may be under way at once.
    pub max_in_flight: u16,
    /// How long one attempt may take, in milliseconds.
    pub request_timeout_ms: u32,
    /// Whether the header `kyma-subscription` names this subscription to the receiver.
    pub include_subscription_name_header: bool,
    /// Whether events of the same key are handed over one after another.
    pub ordering: Ordering,
    /// The attribute that is the key; by default `partitionkey`, else `subject`, else `source`.
    pub ordering_key: Option<String>,
    /// When to try again, and when to give up.
    pub retry: RetryPolicy,
    /// Keys for Standard Webhooks signatures, newest first; every one signs, so that a receiver
    /// can move from the old to the new. Not written with the rest: secrets are sealed.
    #[serde(default, skip_serializing)]
    pub signing_secrets: Vec<SigningSecret>,
    /// How the gateway says towards the receiver who it is. Not written with the rest either.
    #[serde(skip)]
    pub auth: Option<Arc<Auth>>,
    /// Whether retention waits for this subscription, within the store's limit.
    pub hold_retention: bool,
}

/// A topic of an external bus, which a subscription can have instead of an HTTP endpoint; the
/// endpoint is then the URL of the bus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusTopic {
    /// The topic, subject, queue or address.
    pub topic: String,
    /// What the bus is told besides.
    pub attributes: BTreeMap<String, String>,
}

/// How an event is written on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentMode {
    /// Kyma's headers, and the payload as body.
    Kyma,
    /// CloudEvents 1.0 binary content mode.
    Binary,
    /// CloudEvents 1.0 structured content mode, JSON.
    Structured,
}

/// Whether the order of events matters to the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ordering {
    /// It does not: a retry may overtake.
    None,
    /// Events of one key are handed over one after another, in the order of the journal; other
    /// keys go on.
    Key,
}

/// When to try again, and when to give up: full jitter over an exponentially growing delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// The ceiling of the first delay, in milliseconds; it doubles with each attempt.
    pub initial_delay_ms: u32,
    /// The highest ceiling, in milliseconds.
    pub max_delay_ms: u32,
    /// After so many attempts the event becomes a dead letter.
    pub max_attempts: u32,
    /// When the first attempt is so long ago, in seconds, the event becomes a dead letter.
    pub max_age_s: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_delay_ms: 1_000,
            max_delay_ms: 3_600_000,
            max_attempts: 30,
            max_age_s: 86_400,
        }
    }
}

/// A secret that signs deliveries; never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SigningSecret(String);

impl SigningSecret {
    /// Takes a secret of Standard Webhooks: `whsec_` and 24 to 64 bytes in base64.
    pub fn parse(text: &str) -> Result<Self, InvalidInput> {
        use base64::Engine as _;
        let key = text
            .strip_prefix("whsec_")
            .and_then(|encoded| base64::engine::general_purpose::STANDARD.decode(encoded).ok());
        match key {
            Some(key) if (24..=64).contains(&key.len()) => Ok(Self(text.to_owned())),
            _ => Err(InvalidInput::new(
                "signingSecret",
                "expected \"whsec_\" followed by 24 to 64 bytes in base64",
            )),
        }
    }

    /// The key bytes.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        use base64::Engine as _;
        let encoded = self.0.strip_prefix("whsec_").unwrap_or_default();
        base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default()
    }
}

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningSecret(..)")
    }
}

impl Subscription {
    /// A subscription to everything, with the defaults.
    #[must_use]
    pub fn new(name: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            namespace: None,
            endpoint: endpoint.into(),
            bus: None,
            source: None,
            event_type: None,
            event_type_version: None,
            filters: Vec::new(),
            content_mode: ContentMode::Binary,
            max_in_flight: 16,
            request_timeout_ms: 5_000,
            include_subscription_name_header: true,
            ordering: Ordering::None,
            ordering_key: None,
            retry: RetryPolicy::default(),
            signing_secrets: Vec::new(),
            auth: None,
            hold_retention: false,
        }
    }

    /// Checks every field against its rule; names the first that breaks one.
    pub fn check(&self) -> Result<(), InvalidInput> {
        check_name(&self.name)?;
        if let Some(namespace) = &self.namespace {
            check_namespace(namespace)?;
            if self.source.is_none() {
                return Err(InvalidInput::new(
                    "source",
                    "expected the source that event activations of the namespace are for",
                ));
            }
        }
        if self.bus.is_none() {
            check_endpoint(&self.endpoint)?;
        }
        if let Some(auth) = &self.auth {
            auth.check(&self.endpoint)?;
        }
        if let Some(source) = &self.source {
            crate::attribute::check_uri_reference("source", source)?;
        }
        for (field, value) in
            [("eventType", &self.event_type), ("eventTypeVersion", &self.event_type_version)]
        {
            if let Some(value) = value {
                crate::attribute::check_non_empty(field, value)?;
            }
        }
        in_range("maxInFlight", self.max_in_flight.into(), 1, IN_FLIGHT_MAX.into())?;
        let timeout_max_ms = REQUEST_TIMEOUT_MAX.as_millis().try_into().unwrap_or(u64::MAX);
        in_range("pushRequestTimeoutMs", self.request_timeout_ms.into(), 1, timeout_max_ms)?;
        if let Some(key) = &self.ordering_key {
            let known = ["id", "source", "type", "subject", "time", "dataschema"];
            if !known.contains(&key.as_str()) {
                crate::attribute::AttributeName::parse(key).map_err(|_| {
                    InvalidInput::new("orderingKey", "expected the name of a context attribute")
                })?;
            }
        }
        self.retry.check()
    }

    /// What all operations know it by: its name, after its namespace and a slash if it has one.
    ///
    /// ```
    /// # use eg_event::Subscription;
    /// let mut subscription = Subscription::new("orders", "https://shop.example/");
    /// assert_eq!(subscription.key(), "orders");
    /// subscription.namespace = Some("prod".to_owned());
    /// assert_eq!(subscription.key(), "prod/orders");
    /// ```
    #[must_use]
    pub fn key(&self) -> Cow<'_, str> {
        match &self.namespace {
            Some(namespace) => Cow::Owned(format!("{namespace}/{}", self.name)),
            None => Cow::Borrowed(&self.name),
        }
    }

    /// How long one attempt may take.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.into())
    }
}

impl RetryPolicy {
    fn check(&self) -> Result<(), InvalidInput> {
        const WEEK_MS: u64 = 7 * 86_400_000;
        in_range("retry.initialDelayMs", self.initial_delay_ms.into(), 1, WEEK_MS)?;
        let initial = self.initial_delay_ms.into();
        in_range("retry.maxDelayMs", self.max_delay_ms.into(), initial, WEEK_MS)?;
        in_range("retry.maxAttempts", self.max_attempts.into(), 1, 10_000)?;
        in_range("retry.maxAgeSeconds", self.max_age_s.into(), 1, 30 * 86_400)
    }
}

fn in_range(field: &str, value: u64, low: u64, high: u64) -> Result<(), InvalidInput> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(InvalidInput::new(field, format!("expected a number from {low} to {high}, found {value}")))
}

/// Checks the name of a namespace: a label (RFC 1123, section 2.1), as Kubernetes has it.
pub fn check_namespace(namespace: &str) -> Result<(), InvalidInput> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends_well = !namespace.starts_with('-') && !namespace.ends_with('-');
    if (1..=NAMESPACE_BYTES_MAX).contains(&namespace.len())
        && ends_well
        && namespace.bytes().all(allowed)
    {
        return Ok(());
    }
    Err(InvalidInput::new(
        "namespace",
        "expected 1 to 63 lower-case letters, digits or '-', neither beginning nor ending with '-'",
    ))
}

/// Checks a name: of a subscription, or of an event activation.
pub fn check_name(name: &str) -> Result<(), InvalidInput> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if starts_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(InvalidInput::new(
        "name",
        "expected 1 to 253 letters, digits, '-', '_' or '.', beginning with a letter or digit",
    ))
}

fn check_endpoint(endpoint: &str) -> Result<(), InvalidInput> {
    if is_http_url(endpoint) {
        return Ok(());
    }
    Err(InvalidInput::new(
        "endpoint",
        "expected an http or https URL of at most 2048 characters without user information or fragment",
    ))
}

/// Whether `url` is one that requests can be sent to.
#[must_use]
pub fn is_http_url(url: &str) -> bool {
    let uri = fluent_uri::Uri::parse(url).ok();
    let good = uri.is_some_and(|uri| {
        matches!(uri.scheme().as_str(), "http" | "https")
            && uri.authority().is_some_and(|authority| {
                !authority.host().is_empty() && authority.userinfo().is_none()
            })
            && uri.fragment().is_none()
    });
    good && url.len() <= ENDPOINT_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_that_breaks_a_rule_is_refused_by_field() {
        type Change = fn(&mut Subscription);
        let rows: [(&str, Change); 16] = [
            ("name", |s| s.name = String::new()),
            ("name", |s| s.name = "a b".to_owned()),
            ("name", |s| s.name = "x".repeat(254)),
            ("endpoint", |s| s.endpoint = "ftp://x.test/".to_owned()),
            ("endpoint", |s| {
                s.endpoint = "http://user:pw@x.test/".to_owned();
            }),
            ("endpoint", |s| s.endpoint = "/relative".to_owned()),
            ("endpoint", |s| s.endpoint = "http:///nohost".to_owned()),
            ("source", |s| s.source = Some("not a uri".to_owned())),
            ("eventType", |s| s.event_type = Some(String::new())),
            ("maxInFlight", |s| s.max_in_flight = 0),
            ("pushRequestTimeoutMs", |s| s.request_timeout_ms = 60_001),
            ("orderingKey", |s| {
                s.ordering_key = Some("Data.X".to_owned());
            }),
            ("namespace", |s| s.namespace = Some("Prod".to_owned())),
            ("source", |s| s.namespace = Some("prod".to_owned())),
            ("retry.maxDelayMs", |s| s.retry.max_delay_ms = 1),
            ("retry.maxAttempts", |s| s.retry.max_attempts = 0),
        ];
        let good = Subscription::new("orders", "https://shop.test/hook?x=1");
        assert_eq!(good.check(), Ok(()));
        for (field, change) in rows {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(bad.check().unwrap_err().field, field);
        }
    }

    #[test]
    fn a_signing_secret_does_not_show() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(secret.key().len(), 24);
        assert!(!format!("{secret:?}").contains("Mf"));
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(SigningSecret::parse(bad).is_err(), "{bad}");
        }
    }
}
