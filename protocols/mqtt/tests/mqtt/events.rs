//! What becomes an event, in which mode, and what is said of what cannot.

use eg_event::{Binding, Protocol};
use eg_mqtt::{MappingConfig, MqttConfig};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::packet::{Connect, Publish, string_property, text, user};

const CONTENT_TYPE: u8 = 0x03;
const RESPONSE_TOPIC: u8 = 0x08;
const JSON_EVENT: &str = "application/cloudevents+json";

/// A message in the binary mode.
fn binary(attributes: &[(&str, &str)]) -> Publish {
    let message = Publish::v5(1, 1, "orders");
    attributes.iter().fold(message, |message, (name, value)| message.property(&user(name, value)))
}

/// A message in the structured mode.
fn structured(json: &str) -> Publish {
    Publish::v5(1, 1, "orders").property(&string_property(CONTENT_TYPE, JSON_EVENT)).payload(json)
}

const REQUIRED: [(&str, &str); 4] =
    [("specversion", "1.0"), ("id", "7"), ("source", "/shop"), ("type", "order.created")];

#[tokio::test]
async fn user_properties_are_attributes_in_the_binary_mode() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    let more = [
        ("time", "2026-11-21T03:06:00Z"),
        ("subject", "Caf\u{e9} 1%20"),
        ("dataschema", "https://example.com/order"),
        ("tenant", "north"),
    ];
    let message = binary(&[REQUIRED.as_slice(), &more].concat())
        .property(&string_property(CONTENT_TYPE, "text/plain"))
        .payload("one order");
    let answer = client.exchange(&message.bytes()).await;
    assert_eq!((answer.code(), answer.user("id").as_deref()), (0, Some("7")), "{answer:?}");

    let taken = gateway.store.last();
    let event = &taken.event;
    assert_eq!((event.id(), event.source(), event.ty()), ("7", "/shop", "order.created"));
    // There is no percent-encoding in MQTT's binary mode.
    assert_eq!(event.subject(), Some("Caf\u{e9} 1%20"));
    assert_eq!(event.extension("tenant").unwrap().to_string(), "north");
    assert_eq!(event.datacontenttype(), Some("text/plain"));
    assert_eq!(event.data().unwrap().bytes(), "one order");
    assert_eq!((taken.origin.binding, taken.origin.protocol), (Binding::Binary, Protocol::Mqtt5));
    assert_eq!((&*taken.origin.address, taken.id_assigned), ("orders", false));
    assert_eq!(taken.principal.name(), "anonymous");
}

#[tokio::test]
async fn a_json_event_is_taken_in_the_structured_mode() {
    let gateway = Gateway::start().await;
    let json = r#"{"specversion":"1.0","id":"8","source":"/s","type":"t","data":{"n":1.50}}"#;
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    let charset = string_property(CONTENT_TYPE, "Application/CloudEvents+JSON; charset=utf-8");
    let messages = [structured(json), Publish::v5(2, 2, "orders").property(&charset).payload(json)];
    for message in messages {
        assert_eq!(client.exchange(&message.bytes()).await.code(), 0);
        let taken = gateway.store.last();
        assert_eq!((taken.event.id(), taken.origin.binding), ("8", Binding::Structured));
        assert_eq!(taken.event.data().unwrap().bytes(), r#"{"n":1.50}"#);
    }
    // 3.1.1 has no content type: what is an event is taken as one.
    let mut older = Client::connect(gateway.address, &Connect::v311("b")).await;
    older.exchange(&Publish::v311(1, 1, "orders").payload(format!(" \n{json}")).bytes()).await;
    let taken = gateway.store.last();
    assert_eq!((taken.event.id(), taken.origin.binding), ("8", Binding::Structured));
    assert_eq!(taken.origin.protocol, Protocol::Mqtt311);
    // And what is almost one is a payload like any other.
    older.exchange(&Publish::v311(1, 1, "orders").payload(&json[..60]).bytes()).await;
    let taken = gateway.store.last();
    assert_eq!((taken.event.ty(), taken.origin.binding), ("mqtt.message", Binding::Mapped));
    assert_eq!(taken.event.data().unwrap().bytes(), &json[..60]);
}

#[tokio::test]
async fn an_attribute_that_is_wrong_is_named() {
    let without = |name: &str| {
        let rest: Vec<_> = REQUIRED.into_iter().filter(|(known, _)| *known != name).collect();
        binary(&rest)
    };
    let with = |name: &str, value: &str| {
        let rest: Vec<_> = REQUIRED.into_iter().filter(|(known, _)| *known != name).collect();
        binary(&[rest.as_slice(), &[(name, value)]].concat())
    };
    let twice = |name: &str| binary(&[REQUIRED.as_slice(), &[(name, "again")]].concat());
    let other_format = string_property(CONTENT_TYPE, "application/cloudevents+avro");
    let batch = string_property(CONTENT_TYPE, "application/cloudevents-batch+json");
    let rows = [
        (without("id"), "id"),
        (without("source"), "source"),
        (without("type"), "type"),
        (with("id", ""), "id"),
        (with("specversion", "0.3"), "specversion"),
        (with("source", "not a uri"), "source"),
        (with("time", "yesterday"), "time"),
        (with("dataschema", "/relative"), "dataschema"),
        (with("subject", ""), "subject"),
        (with("Bad-Name", "x"), "Bad-Name"),
        (with("datacontenttype", "a/b"), "datacontenttype"),
        (with("data", "x"), "data"),
        (with("tenant", "a\u{7}"), "tenant"),
        (twice("id"), "id"),
        (twice("type"), "type"),
        (binary(&REQUIRED).property(&string_property(CONTENT_TYPE, "json")), "datacontenttype"),
        (structured("[]"), ""),
        (structured("{"), ""),
        (structured(r#"{"specversion":"1.0","id":"1","source":"/s"}"#), "type"),
        (structured(r#"{"specversion":"1.0","id":1,"source":"/s","type":"t"}"#), "id"),
        (Publish::v5(1, 1, "orders").property(&other_format).payload("x"), "Content Type"),
        (Publish::v5(1, 1, "orders").property(&batch).payload("[]"), "Content Type"),
        (Publish::v5(1, 1, "orders").property(&[1, 1]).payload([0xff]), "payload"),
    ];
    let gateway = Gateway::start().await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    for (message, field) in rows {
        let answer = client.exchange(&message.bytes()).await;
        assert_eq!((answer.first, answer.code()), (0x40, 0x99), "{field}: {answer:?}");
        let names_it = answer.reason().starts_with(&format!("{field}: "));
        assert!(names_it || field.is_empty(), "{field}: {answer:?}");
        assert!(answer.reason().contains("expected"), "{answer:?}");
        assert_eq!(gateway.store.count(), 0);
    }
}

#[tokio::test]
async fn anything_else_becomes_an_event_by_its_topic() {
    let gateway = Gateway::start().await;
    let connect = Connect::v5("till 3/\u{e9}").flags(0x82).payload(&[&text("shop")]);
    let mut client = Client::connect(gateway.address, &connect).await;
    let message = Publish::v5(1, 1, "plant/7/heat")
        .property(&string_property(CONTENT_TYPE, "application/json"))
        .property(&string_property(RESPONSE_TOPIC, "answers/7"))
        .property(&[0x09, 0, 3, b'a', 0, 0xff])
        .property(&[0x02, 0, 0, 0, 60])
        .property(&user("tenant", "north"))
        .property(&user("Not An Attribute", "x"))
        .payload(r#"{"n":1}"#);
    assert_eq!(client.exchange(&message.bytes()).await.code(), 0);
    let taken = gateway.store.last();
    let event = &taken.event;
    assert_eq!(event.ty(), "mqtt.message");
    assert_eq!(event.source(), "/mqtt/till%203/%C3%A9");
    assert_eq!(event.subject(), Some("plant/7/heat"));
    assert_eq!(event.datacontenttype(), Some("application/json"));
    let extension = |name: &str| event.extension(name).map(ToString::to_string);
    assert_eq!(extension("tenant").as_deref(), Some("north"));
    assert_eq!(extension("mqttresponsetopic").as_deref(), Some("answers/7"));
    assert_eq!(extension("mqttcorrelationdata").as_deref(), Some("YQD/"));
    let expiry = gateway.clock.now().after(std::time::Duration::from_mins(1)).to_string();
    assert_eq!(extension("expirytime"), Some(expiry));
    assert_eq!((taken.origin.binding, taken.id_assigned), (Binding::Mapped, true));

    // Nothing at all is a payload, too; and two messages are two events.
    for id in [2, 3] {
        client.exchange(&Publish::v5(1, id, "t").payload("").bytes()).await;
    }
    let taken = gateway.store.taken();
    assert!(taken[1].event.data().is_none());
    assert_ne!(taken[1].event.id(), taken[2].event.id());
}

#[tokio::test]
async fn mappings_make_types_sources_and_subjects_of_topics() {
    let entry = |topic: &str, ty: &str, source: &str, subject: &str| MappingConfig {
        topic: topic.to_owned(),
        ty: ty.to_owned(),
        source: source.to_owned(),
        subject: subject.to_owned(),
        datacontenttype: Some("text/plain".to_owned()),
    };
    let mappings = vec![
        entry("plant/+/heat", "plant.{topic[3]}", "/plants/{topic[2]}", "{client_id}"),
        entry("plant/#", "plant.other", "urn:{user}", ""),
    ];
    let gateway = Gateway::start_with(|config| config.mappings = mappings).await;
    let connect = Connect::v311("till").flags(0x82).payload(&[&text("shop")]);
    let mut client = Client::connect(gateway.address, &connect).await;
    let rows = [
        ("plant/7/heat", "plant.heat", "/plants/7", Some("till"), Some("text/plain")),
        ("plant/7 b/heat", "plant.heat", "/plants/7%20b", Some("till"), Some("text/plain")),
        ("plant/7/heat/x", "plant.other", "urn:shop", None, Some("text/plain")),
        ("plant", "plant.other", "urn:shop", None, Some("text/plain")),
        ("other", "mqtt.message", "/mqtt/till", Some("other"), None),
    ];
    for (topic, ty, source, subject, media_type) in rows {
        assert_eq!(client.exchange(&Publish::v311(1, 1, topic).bytes()).await.first, 0x40);
        let event = gateway.store.last().event;
        assert_eq!((event.ty(), event.source(), event.subject()), (ty, source, subject));
        assert_eq!(event.datacontenttype(), media_type, "{topic}");
    }
}

#[tokio::test]
async fn a_retained_message_of_3_1_1_is_an_event_like_any_other() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(gateway.address, &Connect::v311("a")).await;
    let message = Publish::v311(1, 1, "t").retain();
    assert_eq!(client.exchange(&message.bytes()).await.first, 0x40);
    assert_eq!(gateway.store.count(), 1);
}

#[tokio::test]
async fn the_trace_of_a_message_goes_on() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a")).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let message = Publish::v5(1, 1, "t").property(&user("traceparent", parent));
    client.exchange(&message.bytes()).await;
    let taken = gateway.store.last();
    assert_eq!(taken.trace.get("traceparent"), Some(parent));
}

#[tokio::test]
async fn a_large_payload_arrives_as_it_was_sent() {
    let gateway = Gateway::start().await;
    let bytes = usize::try_from(MqttConfig::default().packet_bytes_max).unwrap() - 100;
    let payload: Vec<u8> = (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect();
    for (connect, message) in
        [(Connect::v5("a"), Publish::v5(1, 1, "t")), (Connect::v311("b"), Publish::v311(2, 1, "t"))]
    {
        let mut client = Client::connect(gateway.address, &connect).await;
        let small = Publish { packet_id: 2, ..message.clone() }.bytes();
        client.write(&[message.payload(&payload).bytes(), small].concat()).await;
        assert_eq!(client.answer().await.packet_id(), 1);
        assert_eq!(client.answer().await.packet_id(), 2);
        let taken = gateway.store.taken();
        assert!(taken[taken.len() - 2].event.data().unwrap().bytes() == payload.as_slice());
    }
}
