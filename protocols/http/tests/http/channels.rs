//! Payloads that are sent to channels, over a document that declares one.

use std::sync::Arc;

use eg_auth::Authenticator;
use eg_event::submission::Binding;
use eg_event::{ChannelEvent, ChannelMessage, Channels, Data, Declaration, RawPayload, Refusal};
use eg_http::HttpConfig;

use crate::client::{request, send};
use crate::gateway::Gateway;

/// Declares `lamps/...` of `shop`: events in JSON below `lamps/events`, else payloads.
struct Lamps;

impl Channels for Lamps {
    fn find(&self, raw: &RawPayload<'_>) -> Result<Option<ChannelMessage>, Refusal> {
        let Some(rest) = raw.address.strip_prefix("lamps/") else { return Ok(None) };
        assert_eq!(raw.application, Some("shop"));
        let declaration = Declaration::new(Arc::new(rest.to_owned()));
        if rest == "events" {
            return Ok(Some(ChannelMessage::Event(declaration)));
        }
        Ok(Some(ChannelMessage::Data(ChannelEvent {
            ty: "lamp.lit".to_owned(),
            source: "/shop".to_owned(),
            subject: rest.to_owned(),
            datacontenttype: Some("application/json".to_owned()),
            dataschema: None,
            declaration,
        })))
    }
}

async fn start() -> Gateway {
    let authenticator = Authenticator::anonymous_on_loopback();
    Gateway::declaring(HttpConfig::default(), authenticator, [], Arc::new(Lamps)).await
}

#[tokio::test]
async fn a_payload_becomes_the_declared_event() {
    let gateway = start().await;
    let path = "POST /shop/channels/lamps/a%20b/7";
    let rows: [(&[&str], &str); 2] =
        [(&[], "application/json"), (&["content-type: text/plain"], "text/plain")];
    for (headers, content_type) in rows {
        let answer = send(gateway.address, &request(path, headers, "{\"n\":1.0}")).await;
        assert_eq!((answer.status, &answer.json()["id"].as_str().map(str::len)), (202, &Some(36)));
        let taken = gateway.intake.last();
        assert_eq!((taken.event.ty(), taken.event.source()), ("lamp.lit", "/shop"));
        assert_eq!(taken.event.subject(), Some("a b/7"));
        assert_eq!(taken.event.datacontenttype(), Some(content_type));
        assert_eq!(taken.event.data().map(Data::bytes).unwrap(), "{\"n\":1.0}");
        assert_eq!((taken.origin.binding, taken.id_assigned), (Binding::Channel, true));
        let found: Arc<String> = taken.declaration.unwrap().get().unwrap();
        assert_eq!(*found, "a b/7", "what was found comes along");
    }
    assert_eq!(gateway.intake.count(), 2, "each is an event of its own");
}

#[tokio::test]
async fn events_that_have_attributes_keep_them() {
    let gateway = start().await;
    let text = r#"{"specversion":"1.0","id":"1","source":"/x","type":"t"}"#;
    let structured = ["content-type: application/cloudevents+json"];
    let answer =
        send(gateway.address, &request("POST /shop/channels/any", &structured, text)).await;
    assert_eq!((answer.status, gateway.intake.last().event.id()), (202, "1"));
    let binary = ["ce-specversion: 1.0", "ce-id: 2", "ce-source: /x", "ce-type: t"];
    let answer = send(gateway.address, &request("POST /shop/channels/any", &binary, "")).await;
    assert_eq!((answer.status, gateway.intake.last().event.id()), (202, "2"));
    let declared = "POST /shop/channels/lamps/events";
    let answer = send(gateway.address, &request(declared, &[], text.replace('1', "3"))).await;
    assert_eq!(answer.status, 400, "the version is not 1.0: {}", answer.json());
    let answer =
        send(gateway.address, &request(declared, &[], text.replace("\"1\"", "\"3\""))).await;
    assert_eq!((answer.status, gateway.intake.last().event.id()), (202, "3"));
    assert!(gateway.intake.last().declaration.is_some());
}

#[tokio::test]
async fn what_is_no_channel_or_no_single_payload_is_refused() {
    let gateway = start().await;
    let batch = ["content-type: application/cloudevents-batch+json"];
    let rows: [(&str, &[&str], u16); 5] = [
        ("POST /shop/channels/unknown", &[], 404),
        ("POST /not_a_name/channels/lamps/1", &[], 404),
        ("POST /shop/channels/lamps/1", &batch, 415),
        ("POST /shop/channels/lamps/%FF", &[], 400),
        ("GET /shop/channels/lamps/1", &[], 405),
    ];
    for (line, headers, status) in rows {
        let answer = send(gateway.address, &request(line, headers, "[]")).await;
        assert_eq!(answer.status, status, "{line}");
    }
    assert_eq!(gateway.intake.count(), 0);
    let closed =
        Gateway::declaring(HttpConfig::default(), Authenticator::closed(), [], Arc::new(Lamps));
    let closed = closed.await;
    let answer = send(closed.address, &request("POST /shop/channels/lamps/1", &[], "{}")).await;
    assert_eq!((answer.status, closed.intake.count()), (401, 0));
}
