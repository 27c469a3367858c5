//! Facts about what documents come to: which payload becomes which event, and who may send it.

use std::sync::Arc;

use eg_event::principal::Method;
use eg_event::{
    ChannelEvent, ChannelMessage, Channels as _, Declaration, Principal, Protocol, RawPayload,
    Refusal, Timestamp,
};

use super::fixture::{AT, application, compiled, definition};
use super::{Declared, DeclaredStore, Message};
use crate::specs::definition::{Application, Definition, SpecText, Version};

fn version(value: &str, deprecated: bool) -> Version {
    let value = value.to_owned();
    Version { value, deprecated, deprecated_since: None, for_removal: false }
}

fn store(definitions: Vec<Definition>) -> DeclaredStore {
    let store = DeclaredStore::default();
    store.replace(compiled(definitions));
    store
}

#[expect(clippy::disallowed_methods, reason = "somebody has to be recognized here")]
fn principal(application: Option<&str>, method: Method) -> Principal {
    let known = Principal::vouch_for("somebody", method, None);
    match application {
        Some(name) => known.for_application(name),
        None => known,
    }
}

fn find(
    store: &DeclaredStore,
    sender: &str,
    address: &str,
    payload: &str,
) -> Result<Option<ChannelMessage>, Refusal> {
    store.find(&RawPayload {
        application: None,
        address,
        principal: &principal(Some(sender), Method::Bearer),
        content_type: None,
        payload: payload.as_bytes(),
    })
}

fn event(store: &DeclaredStore, sender: &str, address: &str, payload: &str) -> ChannelEvent {
    match find(store, sender, address, payload).unwrap() {
        Some(ChannelMessage::Data(event)) => event,
        other => panic!("{address}: {other:?}"),
    }
}

fn message(declaration: &Declaration) -> Arc<Message> {
    declaration.get().unwrap()
}

/// A document with one channel at `address`, whose message and channel say these things.
fn document(address: &str, channel: &str, message: &str) -> String {
    format!(
        "asyncapi: 3.0.0\ninfo: {{title: T, version: '1'}}\nchannels:\n  c:\n    address: '{address}'\n    \
         {channel}\n    messages:\n      m: {message}\n"
    )
}

#[test]
fn attributes_are_what_the_document_says_with_the_parameters_of_the_address() {
    let parameters = "parameters: {region: {enum: [eu, us]}, id: {}}";
    let rows = [
        ("{}", ("c", "/shop", "o/eu/7")),
        ("{name: order}", ("order", "/shop", "o/eu/7")),
        ("{name: order, x-event-type: 'order.{region}'}", ("order.eu", "/shop", "o/eu/7")),
        (
            "{x-event-source: '/{application}/{region}', x-event-subject: 'n-{id}'}",
            ("c", "/shop/eu", "n-7"),
        ),
        (
            "{x-event-type: no, headers: {type: object, properties: {specversion: {const: '1.0'}, \
             type: {const: declared}, source: {const: /other}}}}",
            ("declared", "/other", "o/eu/7"),
        ),
        ("{x-event-source: 'not a uri'}", ("c", "/shop", "o/eu/7")),
    ];
    for (message, (ty, source, subject)) in rows {
        let text = document("o/{region}/{id}", parameters, message);
        let store = store(vec![definition("shop", "d", &text)]);
        let made = event(&store, "shop", "o/eu/7", "{}");
        assert_eq!((&*made.ty, &*made.source, &*made.subject), (ty, source, subject), "{message}");
        assert!(find(&store, "shop", "o/eu", "{}").unwrap().is_none());
        let wrong = find(&store, "shop", "o/mars/7", "{}").unwrap_err().to_string();
        assert_eq!(wrong, "topic: parameter {region}: expected one of \"eu\", \"us\"");
    }
}

#[test]
fn own_channels_come_first_and_those_of_two_others_are_refused_by_name() {
    let text = |ty: &str| document("a/{x}", "", &format!("{{name: {ty}}}"));
    let (shop, bank) = (text("shops"), text("banks"));
    let both = store(vec![definition("shop", "s", &shop), definition("bank", "b", &bank)]);
    assert_eq!(event(&both, "shop", "a/1", "{}").ty, "shops");
    assert_eq!(event(&both, "bank", "a/1", "{}").ty, "banks");
    let refused = find(&both, "else", "a/1", "{}").unwrap_err();
    assert!(matches!(refused, Refusal::Forbidden(_)), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains("bank") && text.contains("shop"), "{text}");
    let one = store(vec![definition("shop", "s", &shop)]);
    assert_eq!(event(&one, "else", "a/1", "{}").source, "/shop");
}

#[test]
fn the_message_of_several_is_the_first_that_lets_the_payload_pass_or_else_the_closest() {
    let schema = |name: &str| {
        format!(
            "{{name: {name}, payload: {{type: object, required: [{name}, n], \
                 properties: {{n: {{type: integer}}}}}}}}"
        )
    };
    let text = format!("{}      o: {}\n", document("a", "", &schema("one")), schema("other"));
    let store = store(vec![definition("shop", "d", &text)]);
    for (payload, ty) in [
        (r#"{"one": 1, "n": 1}"#, "one"),
        (r#"{"other": 1, "n": 1}"#, "other"),
        (r#"{"one": 1, "other": 1, "n": 1}"#, "one"),
        (r#"{"other": 1, "n": "x"}"#, "other"),
        ("nonsense", "one"),
    ] {
        assert_eq!(event(&store, "shop", "a", payload).ty, ty, "{payload}");
    }
}

#[test]
fn others_publish_only_to_what_an_application_receives_and_it_itself_to_all() {
    let with = |action: &str| {
        let operations =
            format!("operations:\n  op: {{action: {action}, channel: {{$ref: '#/channels/c'}}}}\n");
        store(vec![definition("shop", "d", &(document("a", "", "{name: m}") + &operations))])
    };
    assert!(find(&with("receive"), "else", "a", "{}").unwrap().is_some());
    let refused = find(&with("send"), "else", "a", "{}").unwrap_err().to_string();
    assert!(refused.contains("shop sends to the channel \"a\""), "{refused}");
    assert_eq!(event(&with("send"), "shop", "a", "{}").ty, "m");
}

#[test]
fn versions_of_one_definition_share_channels_and_the_newest_that_fits_is_meant() {
    let text = |kind: &str| document("a", "", &format!("{{name: m, payload: {{type: {kind}}}}}"));
    let of = |name: &str, value: &str, kind: &str, deprecated: bool| Definition {
        group: Some("g".to_owned()),
        version: Some(version(value, deprecated)),
        ..definition("shop", name, &text(kind))
    };
    let store =
        store(vec![of("old", "1.9.0", "string", true), of("new", "1.10.0", "object", false)]);
    let meant = |payload| message(&event(&store, "shop", "a", payload).declaration);
    assert_eq!(meant("{}").definition(), "new");
    assert!(meant("{}").deprecation().is_none());
    let old = meant("\"x\"");
    assert_eq!(old.deprecation().unwrap().what, "old 1.9.0 of shop");
    assert_eq!(old.deprecation().unwrap().since, AT);
    assert_eq!(meant("7").definition(), "new", "what fits none is judged by the newest");
}

#[test]
fn one_application_does_not_declare_a_channel_twice() {
    let text = document("a/{x}", "", "{}");
    let other = document("a/{y}", "", "{}");
    let definitions = [definition("shop", "s", &text), definition("shop", "t", &other)];
    let definitions = definitions.map(Arc::new);
    let conflicts = Declared::compile(&[application("shop")], &definitions).unwrap_err();
    assert_eq!(conflicts[0].to_string(), "\"a/{y}\" of t is the same as \"a/{x}\" of s");
}

#[test]
fn what_cannot_be_held_to_is_told_and_the_rest_holds() {
    let channel = "servers: [{$ref: '#/servers/s'}]";
    let payload = "{payload: {schemaFormat: application/vnd.apache.avro;version=1.9.0, schema: {type: string}}}";
    let text = document("a", channel, payload)
        + "servers:\n  s: {host: h, protocol: mqtt, security: [{type: scramSha256}]}\n";
    let store = store(vec![definition("shop", "d", &text)]);
    let warnings = store.load().warnings("d").join("; ");
    assert!(warnings.contains("scramSha256"), "{warnings}");
    assert!(warnings.contains("avro"), "{warnings}");
    assert!(find(&store, "shop", "a", "anything").unwrap().is_some());
}

#[test]
fn a_definition_that_is_the_same_as_before_is_not_compiled_again() {
    let (shop, text) = ([application("shop")], document("a", "", "{}"));
    let (one, two) = (definition("shop", "s", &text), definition("shop", "t", &text));
    let two = Definition { spec: SpecText { data: None, ..two.spec.clone() }, ..two };
    let (one, two) = (Arc::new(one), Arc::new(two));
    let before = Declared::compile(&shop, &[Arc::clone(&one)]).unwrap();
    let after = before.changed(&shop, &[Arc::clone(&one), two]).unwrap();
    assert!(Arc::ptr_eq(&before.documents["s"], &after.documents["s"]));
    let renamed = Application { name: "store".to_owned(), ..(*shop[0]).clone() };
    let renamed = after.changed(&[Arc::new(renamed)], &[one]);
    assert!(renamed.unwrap().knows("store"));
}

fn check(text: &str, sender: &Principal, protocol: Protocol) -> Result<(), String> {
    let store = store(vec![definition("shop", "d", text)]);
    let declared = store.load();
    let messages = declared.messages("shop", "m");
    assert_eq!(messages.len(), 1);
    messages[0].check_access(sender, protocol).map_err(|refusal| refusal.to_string())
}

#[test]
fn a_channel_is_reached_over_the_protocols_of_its_servers() {
    let servers = |protocols: &[&str]| {
        let names: Vec<_> = (0..protocols.len()).collect();
        let on: Vec<_> = names.iter().map(|n| format!("{{$ref: '#/servers/s{n}'}}")).collect();
        let channel = format!("servers: [{}]", on.join(", "));
        let mut text = document("a", &channel, "{name: m}") + "servers:\n";
        let server =
            |(n, protocol): (usize, &&str)| format!("  s{n}: {{host: h, protocol: {protocol}}}\n");
        text.extend(protocols.iter().enumerate().map(server));
        text.push_str("  other: {host: h, protocol: http}\n");
        text
    };
    let shop = principal(Some("shop"), Method::Bearer);
    for (protocols, http, old, new) in [
        (&["https"][..], true, false, false),
        (&["mqtts"], false, true, true),
        (&["mqtt5"], false, false, true),
        (&["kafka", "ws"], false, true, true),
        (&["kafka"], false, false, false),
    ] {
        let text = servers(protocols);
        for (protocol, expected) in
            [(Protocol::Http, http), (Protocol::Mqtt311, old), (Protocol::Mqtt5, new)]
        {
            let found = check(&text, &shop, protocol);
            assert_eq!(found.is_ok(), expected, "{protocols:?} {protocol:?} {found:?}");
        }
    }
    let refused = check(&servers(&["kafka"]), &shop, Protocol::Http).unwrap_err();
    assert!(refused.contains("protocol: expected kafka"), "{refused}");
    assert_eq!(check(&document("a", "", "{name: m}"), &shop, Protocol::Http), Ok(()));
}

#[test]
fn senders_come_with_one_of_the_credentials_that_are_asked_for() {
    let text = document("a", "", "{name: m}")
        + "servers:\n  s:\n    host: h\n    protocol: mqtt\n    security: [{type: X509}, {type: oauth2, \
           flows: {}, scopes: [send]}]\n\
           operations:\n  op: {action: receive, channel: {$ref: '#/channels/c'}, security: [{type: \
           httpApiKey, in: header, name: k}, {type: http, scheme: bearer}, {type: X509}]}\n";
    let of = |method| principal(Some("shop"), method);
    let scoped =
        |scope: &str| of(Method::Bearer).with_claims([("scope".to_owned(), scope.to_owned())]);
    let rows = [
        (of(Method::Certificate), true),
        (of(Method::Bearer), true),
        (scoped("read send"), true),
        (scoped("read"), false),
        (of(Method::Basic), false),
        (of(Method::ApiKey), false),
        (of(Method::Anonymous), false),
    ];
    for (sender, expected) in rows {
        let found = check(&text, &sender, Protocol::Mqtt5);
        assert_eq!(found.is_ok(), expected, "{sender:?} {found:?}");
    }
    let refused = check(&text, &of(Method::ApiKey), Protocol::Mqtt5).unwrap_err();
    let expected = "expected a client certificate, or a bearer token with scope send";
    assert!(refused.contains(expected) && refused.ends_with("found api-key"), "{refused}");
}

#[test]
fn what_is_deprecated_is_told_with_its_dates() {
    let message = "{name: m, deprecated: true, x-deprecated-at: '2024-05-01', x-sunset: \
        '2027-01-02T03:04:05Z'}";
    let store = store(vec![definition("shop", "d", &document("a", "", message))]);
    let found = message_of(&store);
    let told = found.deprecation().unwrap();
    assert_eq!(told.what, "the message m of d");
    assert_eq!(told.since, Timestamp::parse_rfc3339("2024-05-01T00:00:00Z").unwrap());
    assert_eq!(told.sunset_text().unwrap(), "Sat, 02 Jan 2027 03:04:05 GMT");
}

fn message_of(store: &DeclaredStore) -> Arc<Message> {
    message(&event(store, "shop", "a", "{}").declaration)
}
