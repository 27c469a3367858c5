//! Who is let in, how others are refused, and how a client authenticates again (MQTT 5.0 section
//! 4.12).

use std::sync::atomic::Ordering;
use std::time::Duration;

use eg_mqtt::codec::{ConnectRefusal, Reason};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::issuer::{with_issuer, with_issuer_over};
use crate::packet::{
    Answer, Connect, PINGREQ, Publish, TOKEN_METHOD, auth, method, packet, properties,
    string_property,
};
use crate::until;

const PAUSE: Duration = Duration::from_millis(100);
const AUTH: u8 = 0xf0;
const DISCONNECT: u8 = 0xe0;
const METHOD: u8 = 0x15;
const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;

fn named(answer: &Answer) -> Option<String> {
    let value = answer.property(METHOD)?;
    Some(String::from_utf8(value[2..].to_vec()).unwrap())
}

/// A client that was recognized by `token`.
async fn recognized(gateway: &Gateway, token: &str) -> Client {
    Client::connect(gateway.address, &Connect::v5("a").token(token)).await
}

async fn assert_ends(client: &mut Client, code: u8, reason: &str) {
    let end = client.answer().await;
    assert_eq!((end.first, end.code(), end.reason().as_str()), (DISCONNECT, code, reason));
    assert_eq!(client.read().await, None);
}

#[tokio::test]
async fn each_way_not_to_be_recognized_has_its_code_and_says_why() {
    use ConnectRefusal as Why;
    let (gateway, _) = with_issuer(|_| ()).await;
    let rows = [
        (None, 0x87, 5, Why::NotAuthorized, "no credential was presented"),
        (Some(("u", "bad")), 0x86, 4, Why::BadUserNameOrPassword, "the signature is wrong"),
        (Some(("u", "expired")), 0x87, 5, Why::CredentialExpired, "the token has expired"),
        (
            Some(("device", "secret")),
            0x8c,
            5,
            Why::BadAuthenticationMethod,
            "no method for this kind of credential is configured",
        ),
        (
            Some(("u", "locked")),
            0x97,
            3,
            Why::LockedOut,
            "too many attempts failed, try again in 7 s",
        ),
        (
            Some(("u", "down")),
            0x88,
            3,
            Why::ServerUnavailable,
            "the issuer cannot be reached, try again in 7 s",
        ),
    ];
    let refused = |why| gateway.server.counters().connects_refused.of(why);
    for (presented, code, code_v311, why, reason) in rows {
        let change = |connect: Connect| match presented {
            Some((user, password)) => connect.password(user, password),
            None => connect,
        };
        let before = refused(why);
        let (mut client, connack) =
            Client::try_connect(gateway.address, &change(Connect::v5("a"))).await;
        assert_eq!((connack.code(), connack.reason().as_str()), (code, reason));
        assert_eq!(client.read().await, None);
        let quiet = change(Connect::v5("a").property(&[0x17, 0]));
        let (_, connack) = Client::try_connect(gateway.address, &quiet).await;
        assert_eq!((connack.code(), connack.properties()), (code, vec![]));
        let (_, connack) = Client::try_connect(gateway.address, &change(Connect::v311("a"))).await;
        assert_eq!((connack.code(), connack.body.len()), (code_v311, 2), "{reason}");
        assert_eq!(refused(why), before + 3, "{reason}");
    }
}

#[tokio::test]
async fn connects_that_cannot_be_read_are_counted_by_what_is_wrong() {
    use ConnectRefusal as Why;
    let (gateway, _) = with_issuer(|_| ()).await;
    let rows = [
        (Connect { level: 9, ..Connect::v5("a") }.bytes(), Why::UnsupportedVersion),
        (Connect::v5("a").flags(0b11).bytes(), Why::Malformed),
        (
            Connect::v5("a").property(&[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1]).bytes(),
            Why::ProtocolError,
        ),
        (b"GET / HTTP/1.1\r\n".to_vec(), Why::ProtocolError),
        (auth(CONTINUE, Some("alice")), Why::ProtocolError),
        (vec![0x10, 0xff, 0xff, 0xff, 0x7f], Why::PacketTooLarge),
    ];
    for (bytes, why) in rows {
        let before = gateway.server.counters().connects_refused.of(why);
        let mut client = Client::open(gateway.address).await;
        client.write(&bytes).await;
        while client.read().await.is_some() {}
        assert_eq!(gateway.server.counters().connects_refused.of(why), before + 1, "{bytes:02x?}");
    }
}

#[tokio::test]
async fn a_token_in_connect_is_enough_and_connack_names_the_method() {
    let (gateway, _) = with_issuer(|_| ()).await;
    let connect = Connect::v5("a").token("alice");
    let (mut client, connack) = Client::try_connect(gateway.address, &connect).await;
    assert_eq!((connack.code(), named(&connack).as_deref()), (0, Some(TOKEN_METHOD)));
    assert_eq!(client.exchange(&Publish::v5(1, 1, "t").bytes()).await.code(), 0);
    let event = gateway.store.last();
    assert_eq!((event.principal.name(), event.origin.client_id.as_deref()), ("alice", Some("a")));

    let by_password = Connect::v5("b").password("whoever", "bob");
    let (mut client, connack) = Client::try_connect(gateway.address, &by_password).await;
    assert_eq!((connack.code(), named(&connack)), (0, None));
    assert_eq!(client.exchange(&Publish::v5(1, 1, "t").bytes()).await.code(), 0);
    assert_eq!(gateway.store.last().principal.name(), "bob");
}

#[tokio::test]
async fn whoever_names_the_method_alone_is_asked_for_the_token() {
    let (gateway, _) = with_issuer(|_| ()).await;
    for data in [None, Some("")] {
        let connect = Connect::v5("a").property(&method(TOKEN_METHOD, data));
        let (mut client, asked) = Client::try_connect(gateway.address, &connect).await;
        assert_eq!((asked.first, asked.code()), (AUTH, CONTINUE));
        assert_eq!(named(&asked).as_deref(), Some(TOKEN_METHOD));
        let connack = client.exchange(&auth(CONTINUE, Some("alice"))).await;
        assert_eq!((connack.first, connack.code()), (0x20, 0));
        assert_eq!(named(&connack).as_deref(), Some(TOKEN_METHOD));
        assert!(client.is_alive().await);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_the_token_is_refused() {
    let (gateway, _) = with_issuer(|config| {
        config.connect_bytes_max = 1000;
        config.connect_seconds_max = 1;
    })
    .await;
    let other_method = packet(AUTH, &[&[CONTINUE], &properties(&[&method("SCRAM", Some("x"))])]);
    let without_method = packet(AUTH, &[&[CONTINUE, 0]]);
    let unreadable = [string_property(METHOD, TOKEN_METHOD), vec![0x16, 0, 1, 0xff]].concat();
    let unreadable = packet(AUTH, &[&[CONTINUE], &properties(&[&unreadable])]);
    let token = auth(CONTINUE, Some("alice"));
    let and_more = [token, Publish::v5(0, 0, "t").bytes()].concat();
    let rows = [
        ("no token after all", auth(CONTINUE, None), Some(0x87)),
        ("a bad token", auth(CONTINUE, Some("bad")), Some(0x86)),
        ("a token that is not text", unreadable, Some(0x86)),
        ("another method", other_method, Some(0x8c)),
        ("no method", without_method, Some(0x82)),
        ("again", auth(AGAIN, Some("alice")), Some(0x82)),
        ("success", auth(0, Some("alice")), Some(0x82)),
        ("an unknown code", auth(0x17, Some("alice")), Some(0x81)),
        ("too large", auth(CONTINUE, Some(&"x".repeat(1000))), Some(0x95)),
        ("a message", Publish::v5(0, 0, "t").bytes(), Some(0x82)),
        ("a ping", PINGREQ.to_vec(), Some(0x82)),
        ("a message behind the token", and_more, Some(0x82)),
        ("CONNECT again", Connect::v5("a").token("alice").bytes(), Some(0x82)),
        ("a goodbye", vec![DISCONNECT, 0], None),
        ("nothing", vec![], None),
    ];
    let connect = Connect::v5("a").property(&method(TOKEN_METHOD, None));
    for (name, bytes, code) in rows {
        let (mut client, asked) = Client::try_connect(gateway.address, &connect).await;
        assert_eq!(asked.first, AUTH, "{name}");
        client.write(&bytes).await;
        let connack = client.read().await;
        assert_eq!(
            connack.as_ref().map(|it| (it.first, it.code())),
            code.map(|it| (0x20, it)),
            "{name}"
        );
        if connack.is_some() {
            assert_eq!(client.read().await, None, "{name}");
        }
    }
    assert_eq!(gateway.store.count(), 0);
}

#[tokio::test]
async fn nothing_but_auth_comes_before_connack_when_a_method_is_named() {
    let (gateway, _) = with_issuer(|_| ()).await;
    for early in [Publish::v5(1, 1, "t").bytes(), PINGREQ.to_vec(), auth(AGAIN, Some("alice"))] {
        let mut client = Client::open(gateway.address).await;
        client.write(&[Connect::v5("a").token("alice").bytes(), early].concat()).await;
        while let Some(answer) = client.read().await {
            assert!(matches!(answer.first, 0x20 | 0xd0) || answer.code() == 0x82, "{answer:?}");
        }
    }
    assert_eq!(gateway.store.count(), 0);
}

#[tokio::test]
async fn a_client_authenticates_again_while_it_publishes() {
    let (gateway, issuer) = with_issuer(|_| ()).await;
    let mut client = recognized(&gateway, "alice").await;
    issuer.hold(true);
    client.write(&auth(AGAIN, Some("alice 3600"))).await;
    for id in 1..=3 {
        let message = Publish::v5(1, id, "t").payload(id.to_string());
        assert_eq!(client.exchange(&message.bytes()).await.packet_id(), id);
    }
    issuer.hold(false);
    let renewed = client.answer().await;
    assert_eq!((renewed.first, renewed.code()), (AUTH, 0));
    assert_eq!(named(&renewed).as_deref(), Some(TOKEN_METHOD));
    assert_eq!(renewed.user("credential-expires-in").as_deref(), Some("3600"));
    assert_eq!(client.exchange(&Publish::v5(1, 4, "t").payload("4").bytes()).await.code(), 0);
    assert_eq!(gateway.store.payloads(), ["1", "2", "3", "4"]);
    let taken = gateway.store.taken();
    let expire = taken.iter().map(|one| one.principal.expires_at().is_some());
    assert_eq!(expire.collect::<Vec<_>>(), [false, false, false, true]);
    assert_eq!(gateway.server.counters().reauthentications.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn whoever_authenticates_again_without_a_token_is_asked_for_it() {
    let (gateway, _) = with_issuer(|_| ()).await;
    let mut client = recognized(&gateway, "alice").await;
    for _ in 0..3 {
        let asked = client.exchange(&auth(AGAIN, None)).await;
        assert_eq!((asked.first, asked.code()), (AUTH, CONTINUE));
        assert_eq!(client.exchange(&Publish::v5(1, 1, "t").bytes()).await.code(), 0);
        let renewed = client.exchange(&auth(CONTINUE, Some("alice"))).await;
        assert_eq!((renewed.first, renewed.code()), (AUTH, 0));
    }
    client.exchange(&auth(AGAIN, None)).await;
    client.write(&auth(CONTINUE, None)).await;
    assert_ends(&mut client, 0x87, "no credential was presented").await;
}

#[tokio::test]
async fn auth_that_has_no_business_here_ends_the_connection() {
    let (gateway, issuer) = with_issuer(|_| ()).await;
    let by_method = || Connect::v5("a").token("alice");
    let by_password = || Connect::v5("a").password("u", "alice");
    let other = packet(AUTH, &[&[AGAIN], &properties(&[&method("SCRAM", Some("alice"))])]);
    let twice = [auth(AGAIN, Some("alice")), auth(AGAIN, Some("alice"))].concat();
    let asked_twice = [auth(AGAIN, None), auth(AGAIN, None)].concat();
    let rows = [
        ("no method was agreed on", by_password(), auth(AGAIN, Some("alice")), 0x82),
        ("another method", by_method(), other, 0x82),
        ("nothing was asked", by_method(), auth(CONTINUE, Some("alice")), 0x82),
        ("success", by_method(), auth(0, Some("alice")), 0x82),
        ("empty", by_method(), vec![AUTH, 0], 0x82),
        ("no method", by_method(), packet(AUTH, &[&[AGAIN, 0]]), 0x82),
        ("no properties", by_method(), packet(AUTH, &[&[AGAIN]]), 0x81),
        ("an unknown code", by_method(), auth(0x42, Some("alice")), 0x81),
        ("a code of DISCONNECT", by_method(), auth(0x87, Some("alice")), 0x81),
        ("bytes behind it", by_method(), packet(AUTH, &[&auth(AGAIN, None)[2..], &[0]]), 0x81),
        ("twice at once", by_method(), twice, 0x82),
        ("begun twice", by_method(), asked_twice, 0x82),
    ];
    issuer.hold(false);
    for (name, connect, bytes, code) in rows {
        let mut client = Client::connect(gateway.address, &connect).await;
        issuer.hold(true);
        client.write(&bytes).await;
        let mut end = client.answer().await;
        if name == "begun twice" {
            assert_eq!((end.first, end.code()), (AUTH, CONTINUE));
            end = client.answer().await;
        }
        assert_eq!((end.first, end.code()), (DISCONNECT, code), "{name}");
        assert_eq!(client.read().await, None, "{name}");
        issuer.hold(false);
    }
    // 3.1.1 has no such packet.
    let older = Connect::v311("b").password("u", "alice");
    let mut older = Client::connect(gateway.address, &older).await;
    older.write(&auth(AGAIN, Some("alice"))).await;
    assert_eq!(older.read().await, None);
}

#[tokio::test]
async fn a_renewal_that_fails_ends_the_connection_and_publishes_its_will() {
    let (gateway, _) = with_issuer(|_| ()).await;
    let elses = "the token is somebody else's than the one that connected";
    let rows = [
        ("bob", 0x87, elses),
        ("alice 60 shop", 0x87, elses),
        ("bad", 0x87, "the signature is wrong"),
        ("expired", 0x87, "the token has expired"),
        ("locked", 0x97, "too many attempts failed, try again in 7 s"),
        ("down", 0x89, "the issuer cannot be reached, try again in 7 s"),
    ];
    for (token, code, reason) in rows {
        let connect = Connect::v5("a").token("alice").will("lost", token, &[]);
        let mut client = Client::connect(gateway.address, &connect).await;
        client.write(&auth(AGAIN, Some(token))).await;
        assert_ends(&mut client, code, reason).await;
        until("the will", || gateway.store.payloads() == [token]).await;
        assert_eq!(gateway.store.last().principal.name(), "alice");
        gateway.store.clear();
    }
    assert_eq!(gateway.server.counters().connections_ended.of(Reason::NotAuthorized), 4);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let (gateway, issuer) = with_issuer(|config| config.connect_seconds_max = 1).await;
    let mut client = recognized(&gateway, "alice").await;
    issuer.hold(true);
    let late = "the credential could not be checked in time, try again in 1 s";
    let (_, connack) = Client::try_connect(gateway.address, &Connect::v5("b").token("bob")).await;
    assert_eq!((connack.code(), connack.reason().as_str()), (0x88, late));
    client.write(&auth(AGAIN, Some("alice"))).await;
    assert!(client.is_silent_for(PAUSE).await);
    assert_ends(&mut client, 0x89, late).await;
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_a_token() {
    let (gateway, _) = with_issuer(|_| ()).await;
    let connect = Connect::v5("a").property(&method(TOKEN_METHOD, None));
    let (mut client, asked) = Client::try_connect(gateway.address, &connect).await;
    assert_eq!(asked.first, AUTH);
    gateway.stop.cancel();
    assert_eq!(client.read().await, None);
}

#[tokio::test]
async fn a_client_identifier_in_use_is_closed_to_other_principals_over_a_restart_too() {
    let (gateway, _) = with_issuer(|_| ()).await;
    let mut alice =
        Client::connect(gateway.address, &Connect::v5("press").expiry(60).token("alice")).await;
    assert_eq!(alice.exchange(&Publish::v5(2, 1, "t").bytes()).await.first, 0x50);
    let refused = async |gateway: &Gateway, connect: Connect| {
        let (_, connack) = Client::try_connect(gateway.address, &connect).await;
        let why = "the client identifier has a session of another principal";
        assert_eq!((connack.code(), connack.reason().as_str()), (0x87, why));
    };
    for connect in [Connect::v5("press"), Connect::v5("press").resume()] {
        refused(&gateway, connect.clone().token("bob")).await;
        refused(&gateway, connect.token("alice 60 other-application")).await;
    }
    let old = Connect::v311("press").password("u", "bob");
    assert_eq!(Client::try_connect(gateway.address, &old).await.1.code(), 5);
    assert!(alice.is_alive().await, "nobody disturbed her");
    drop(alice);
    refused(&gateway, Connect::v5("press").resume().token("bob")).await;

    let again = with_issuer_over(&gateway.store, |_| ()).await;
    refused(&again, Connect::v5("press").token("bob")).await;
    let resume = Connect::v5("press").expiry(60).resume().token("alice 30");
    let (_, connack) = Client::try_connect(again.address, &resume).await;
    assert!(connack.session_present());

    let loose =
        with_issuer_over(&gateway.store, |config| config.sessions_bound_to_principal = false).await;
    let resume = Connect::v5("press").expiry(60).resume().token("bob");
    assert!(Client::try_connect(loose.address, &resume).await.1.session_present());
}

#[tokio::test]
async fn a_client_identifier_is_never_kept_from_the_principal_of_that_name() {
    let (gateway, _) = with_issuer(|_| ()).await;
    let squatter = Connect::v5("alice").expiry(60).token("mallory");
    let mut squatter = Client::connect(gateway.address, &squatter).await;
    assert_eq!(squatter.exchange(&Publish::v5(2, 7, "t").bytes()).await.first, 0x50);
    let connect = Connect::v5("alice").resume().expiry(60).token("alice");
    let (mut alice, connack) = Client::try_connect(gateway.address, &connect).await;
    assert!(!connack.session_present(), "nothing of the other's session is hers");
    assert_ends(&mut squatter, 0x8e, "another connection has taken over the session").await;
    let before = gateway.store.count();
    assert_eq!(alice.exchange(&Publish::v5(2, 7, "t").bytes()).await.first, 0x50);
    assert_eq!(gateway.store.count(), before + 1, "a new event, not the second half of one");
}

#[tokio::test]
async fn a_mapping_names_the_principal_whatever_user_name_came_with_the_token() {
    let mapping = r#"{ "topic": "t", "type": "t", "source": "/users/{user}" }"#;
    let (gateway, _) = with_issuer(|config| {
        config.mappings = vec![serde_json::from_str(mapping).unwrap()];
    })
    .await;
    let connect = Connect::v5("a").password("somebody-else", "alice");
    let mut client = Client::connect(gateway.address, &connect).await;
    assert_eq!(client.exchange(&Publish::v5(1, 1, "t").bytes()).await.code(), 0);
    assert_eq!(gateway.store.last().event.source(), "/users/alice");
}
