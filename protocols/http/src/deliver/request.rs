//! The request that hands an event over, in each content mode.

use bytes::Bytes;
use eg_event::subscription::ContentMode;
use eg_event::{
    AttributeName, AttributeValue, CloudEvent, Data, Delivery, StoredEvent, Subscription,
    Timestamp, authcontext, header, json,
};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;

use crate::sign::{Signed, signature};
use crate::uuid::random_uuid;

pub(super) const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("event-gateway/", env!("CARGO_PKG_VERSION")));
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KYMA_SUBSCRIPTION: HeaderName = HeaderName::from_static("kyma-subscription");

/// The headers that carry the attributes CloudEvents defines.
const SPEC_VERSION: HeaderName = HeaderName::from_static("ce-specversion");
static ATTRIBUTES: [(&str, HeaderName); 6] = [
    ("id", HeaderName::from_static("ce-id")),
    ("source", HeaderName::from_static("ce-source")),
    ("type", HeaderName::from_static("ce-type")),
    ("subject", HeaderName::from_static("ce-subject")),
    ("time", HeaderName::from_static("ce-time")),
    ("dataschema", HeaderName::from_static("ce-dataschema")),
];

/// The headers that Kyma's subscribers know.
const KYMA_ID: HeaderName = HeaderName::from_static("ce-event-id");
const KYMA_TIME: HeaderName = HeaderName::from_static("ce-event-time");
const KYMA_TYPE: HeaderName = HeaderName::from_static("ce-event-type");
const KYMA_TYPE_VERSION: HeaderName = HeaderName::from_static("ce-event-type-version");
const KYMA_SOURCE: HeaderName = HeaderName::from_static("ce-source-id");

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Writes the request of `delivery`, made at `now`, which says who sent the event if `authcontext`
/// is set; or says what about it cannot be sent. Kyma's subscribers know no such header.
pub(super) fn write(
    delivery: &Delivery,
    now: Timestamp,
    authcontext: bool,
) -> Result<Request<Full<Bytes>>, String> {
    let (stored, subscription) = (&*delivery.event, &*delivery.subscription);
    let uri: Uri =
        subscription.endpoint.parse().map_err(|error| format!("endpoint is no URL: {error}"))?;
    let mut headers = HeaderMap::with_capacity(24);
    headers.insert(USER_AGENT, AGENT);
    let body = match subscription.content_mode {
        ContentMode::Kyma => kyma(stored, &mut headers)?,
        ContentMode::Binary if authcontext => binary(&with_authcontext(stored), &mut headers)?,
        ContentMode::Binary => binary(&stored.event, &mut headers)?,
        ContentMode::Structured if authcontext => {
            structured(&with_authcontext(stored), &mut headers)
        }
        ContentMode::Structured => structured(&stored.event, &mut headers),
    };
    if subscription.include_subscription_name_header {
        headers.insert(KYMA_SUBSCRIPTION, encoded(&subscription.name)?);
    }
    add_trace(stored, &mut headers)?;
    add_signature((stored, subscription), now, &body, &mut headers)?;

    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The event with who sent it; the rest of it is the sender's.
fn with_authcontext(stored: &StoredEvent) -> CloudEvent {
    let named = authcontext::attributes(&stored.sender).filter_map(|(name, text)| {
        let value = AttributeValue::text(name, text).ok()?;
        Some((AttributeName::parse(name).ok()?, value))
    });
    named.fold(stored.event.clone(), |event, (name, value)| event.with_extension(name, value))
}

/// CloudEvents HTTP binding, 3.1: attributes in headers, the payload as body.
fn binary(event: &CloudEvent, headers: &mut HeaderMap) -> Result<Bytes, String> {
    headers.insert(SPEC_VERSION, HeaderValue::from_static(eg_event::event::SPEC_VERSION));
    for (attribute, text) in event.text_attributes() {
        let known = ATTRIBUTES.iter().find(|(name, _)| *name == attribute);
        let name = match known {
            Some((_, name)) => name.clone(),
            None => HeaderName::try_from(format!("ce-{attribute}"))
                .map_err(|error| format!("attribute {attribute}: {error}"))?,
        };
        headers.insert(name, encoded(&text)?);
    }
    if let Some(media_type) = json::content_type(event) {
        headers.insert(CONTENT_TYPE, verbatim(media_type)?);
    }
    Ok(payload(event))
}

/// CloudEvents HTTP binding, 3.2: the whole event as JSON.
fn structured(event: &CloudEvent, headers: &mut HeaderMap) -> Bytes {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(json::MEDIA_TYPE));
    let mut text = Vec::with_capacity(512 + event.data().map_or(0, Data::len));
    json::encode(event, &mut text);
    text.into()
}

/// Kyma's headers, the payload as body. An event without a time of its own has that of its arrival.
fn kyma(stored: &StoredEvent, headers: &mut HeaderMap) -> Result<Bytes, String> {
    let event = &stored.event;
    headers.insert(KYMA_ID, encoded(event.id())?);
    headers.insert(KYMA_TYPE, encoded(event.ty())?);
    headers.insert(KYMA_SOURCE, encoded(event.source())?);
    let time = match event.time() {
        Some(time) => encoded(time)?,
        None => encoded(&stored.received_at.to_string())?,
    };
    headers.insert(KYMA_TIME, time);
    if let Some(version) = event.extension("eventtypeversion") {
        headers.insert(KYMA_TYPE_VERSION, encoded(&version.to_string())?);
    }
    let media_type = json::content_type(event).unwrap_or("application/json");
    headers.insert(CONTENT_TYPE, verbatim(media_type)?);
    Ok(payload(event))
}

fn payload(event: &CloudEvent) -> Bytes {
    event.data().map(|data| data.bytes().clone()).unwrap_or_default()
}

/// The publisher's trace goes on; a request that has no identifier gets one.
fn add_trace(stored: &StoredEvent, headers: &mut HeaderMap) -> Result<(), String> {
    for (name, value) in stored.trace.iter() {
        headers.insert(HeaderName::from_static(name), verbatim(value)?);
    }
    if !headers.contains_key(REQUEST_ID) {
        headers.insert(REQUEST_ID, verbatim(&random_uuid())?);
    }
    Ok(())
}

/// Standard Webhooks, if the subscription has secrets. The identifier is the same on every attempt,
/// so that a receiver can tell an event that it has already.
fn add_signature(
    (stored, subscription): (&StoredEvent, &Subscription),
    now: Timestamp,
    body: &Bytes,
    headers: &mut HeaderMap,
) -> Result<(), String> {
    if subscription.signing_secrets.is_empty() {
        return Ok(());
    }
    let id = format!("msg_{:x}_{:x}", stored.received_at.as_micros(), stored.sequence.0);
    let signed = Signed { id: &id, at: now, body };
    let signature = signature(&subscription.signing_secrets, signed);
    headers.insert(WEBHOOK_SIGNATURE, verbatim(&signature)?);
    headers.insert(WEBHOOK_ID, verbatim(&id)?);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(now.as_secs()));
    Ok(())
}

/// An attribute's value, strictly percent-encoded (CloudEvents HTTP binding, 3.1.3.2).
fn encoded(text: &str) -> Result<HeaderValue, String> {
    verbatim(&header::encode(text))
}

fn verbatim(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|error| format!("header value: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eg_event::principal::Method as SenderMethod;
    use eg_event::submission::{Binding, Origin, Protocol, Sender};
    use eg_event::subscription::SigningSecret;
    use eg_event::{Sequence, TraceContext};
    use http_body_util::BodyExt as _;
    use std::sync::Arc;

    fn event(attributes: &[(&str, &str)], data: Option<Data>) -> CloudEvent {
        let mut builder = CloudEvent::builder();
        builder.implied_spec_version();
        let required = [("id", "a b"), ("source", "/s"), ("type", "order.created")];
        for (name, text) in required.iter().chain(attributes) {
            builder.attribute(name, text).unwrap();
        }
        if let Some(data) = data {
            builder.data(data);
        }
        builder.build().unwrap()
    }

    fn delivery(event: CloudEvent, change: impl FnOnce(&mut Subscription)) -> Delivery {
        let mut subscription = Subscription::new("orders", "http://shop.test/hook?key=1");
        change(&mut subscription);
        let mut trace = TraceContext::default();
        trace.add("b3", "463ac35c9f6413ad-a2fb4a1d1a96d312-1");
        let stored = StoredEvent {
            sequence: Sequence(10),
            received_at: Timestamp::from_micros(0xff),
            event,
            sender: Sender {
                name: "shop".into(),
                method: SenderMethod::Anonymous,
                application: None,
            },
            origin: Origin {
                protocol: Protocol::Http,
                binding: Binding::Binary,
                remote: None,
                address: "/events".into(),
                client_id: None,
            },
            trace,
            held: None,
            message: None,
        };
        Delivery { event: Arc::new(stored), subscription: Arc::new(subscription), attempt: 1 }
    }

    fn json_data() -> Data {
        Data::Json(Bytes::from_static(b"{\"n\":1.10}"))
    }

    fn written(delivery: &Delivery) -> (HeaderMap, Bytes) {
        let request = write(delivery, Timestamp::from_micros(5_000_000), true).unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "http://shop.test/hook?key=1");
        let (head, body) = request.into_parts();
        let body = futures_util::FutureExt::now_or_never(body.collect()).unwrap().unwrap();
        (head.headers, body.to_bytes())
    }

    #[test]
    fn the_binary_mode_has_attributes_in_headers() {
        let attributes = [("subject", "Euro \u{20ac}"), ("partitionkey", "k\"1")];
        let (headers, body) = written(&delivery(event(&attributes, Some(json_data())), |_| {}));
        let rows = [
            ("ce-specversion", "1.0"),
            ("ce-id", "a%20b"),
            ("ce-source", "/s"),
            ("ce-type", "order.created"),
            ("ce-subject", "Euro%20%E2%82%AC"),
            ("ce-partitionkey", "k%221"),
            ("content-type", "application/json"),
            ("kyma-subscription", "orders"),
            ("b3", "463ac35c9f6413ad-a2fb4a1d1a96d312-1"),
        ];
        for (name, value) in rows {
            assert_eq!(headers[name], value, "{name}");
        }
        assert_eq!(headers["x-request-id"].len(), 36);
        assert!(!headers.contains_key("ce-datacontenttype"));
        assert!(!headers.contains_key("webhook-id"));
        assert_eq!(body, "{\"n\":1.10}");
    }

    #[test]
    fn an_event_without_payload_has_no_body_and_no_content_type() {
        let no_name = |s: &mut Subscription| s.include_subscription_name_header = false;
        let (headers, body) = written(&delivery(event(&[], None), no_name));
        assert!(body.is_empty() && !headers.contains_key("content-type"));
        assert!(!headers.contains_key("kyma-subscription"));
    }

    #[test]
    fn the_structured_mode_is_the_event_as_json() {
        let structured = |s: &mut Subscription| s.content_mode = ContentMode::Structured;
        let (headers, body) = written(&delivery(event(&[], Some(json_data())), structured));
        assert_eq!(headers["content-type"], "application/cloudevents+json");
        assert_eq!(headers["kyma-subscription"], "orders");
        assert!(!headers.contains_key("ce-id"));
        assert_eq!(
            body,
            r#"{"specversion":"1.0","id":"a b","source":"/s","type":"order.created","datacontenttype":"application/json","authtype":"unauthenticated","data":{"n":1.10}}"#
        );
    }

    #[test]
    fn deliveries_say_who_sent_the_event() {
        for mode in [ContentMode::Binary, ContentMode::Structured, ContentMode::Kyma] {
            let mut delivery = delivery(event(&[("authid", "admin")], Some(json_data())), |s| {
                s.content_mode = mode;
            });
            let stored = Arc::get_mut(&mut delivery.event).unwrap();
            stored.sender = Sender {
                name: "sh\u{f6}p".into(),
                method: SenderMethod::Certificate,
                application: None,
            };
            let (headers, body) = written(&delivery);
            match mode {
                ContentMode::Binary => {
                    assert_eq!(headers["ce-authtype"], "service_account");
                    assert_eq!(headers["ce-authid"], "sh%C3%B6p");
                    assert_eq!(headers.get_all("ce-authid").iter().count(), 1);
                    assert_eq!(body, "{\"n\":1.10}");
                }
                ContentMode::Structured => {
                    let text = String::from_utf8(body.to_vec()).unwrap();
                    assert!(text.contains("\"authid\":\"sh\u{f6}p\""), "{text}");
                    assert!(!text.contains("admin") && text.contains("\"data\":{\"n\":1.10}"));
                }
                ContentMode::Kyma => assert!(!headers.contains_key("ce-authid")),
            }
            let request = write(&delivery, Timestamp::from_micros(0), false).unwrap();
            assert!(!request.headers().contains_key("ce-authtype"), "it can be left out");
        }
    }

    #[test]
    fn the_kyma_mode_has_the_headers_that_its_subscribers_know() {
        let kyma = |s: &mut Subscription| s.content_mode = ContentMode::Kyma;
        let attributes = [("time", "2018-11-02T22:08:41+00:00"), ("eventtypeversion", "v1")];
        let (headers, body) = written(&delivery(event(&attributes, Some(json_data())), kyma));
        let rows = [
            ("ce-event-id", "a%20b"),
            ("ce-event-time", "2018-11-02T22:08:41+00:00"),
            ("ce-event-type", "order.created"),
            ("ce-event-type-version", "v1"),
            ("ce-source-id", "/s"),
            ("kyma-subscription", "orders"),
            ("content-type", "application/json"),
        ];
        for (name, value) in rows {
            assert_eq!(headers[name], value, "{name}");
        }
        assert!(!headers.contains_key("ce-id"));
        assert_eq!(body, "{\"n\":1.10}");
        let (headers, _) = written(&delivery(event(&[], None), kyma));
        assert_eq!(headers["ce-event-time"], "1970-01-01T00:00:00.000255Z");
    }

    #[test]
    fn every_secret_signs() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = |s: &mut Subscription| s.signing_secrets = vec![secret.clone(), secret];
        let (headers, _) = written(&delivery(event(&[], Some(json_data())), signed));
        assert_eq!(headers["webhook-id"], "msg_ff_a");
        assert_eq!(headers["webhook-timestamp"], "5");
        assert_eq!(headers["webhook-signature"].to_str().unwrap().matches("v1,").count(), 2);
    }

    #[test]
    fn an_identifier_of_the_publisher_is_kept() {
        let mut delivery = delivery(event(&[], None), |_| {});
        Arc::get_mut(&mut delivery.event).unwrap().trace.add("x-request-id", "r-1");
        assert_eq!(written(&delivery).0["x-request-id"], "r-1");
    }
}
