//! Sessions and connections: who is let in, under which identifier, who takes over from whom, and
//! how connections end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use eg_auth::Authenticator;
use eg_mqtt::MqttConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::packet::{Connect, Publish, string_property, text};
use crate::subscribe::{Subscriber, publish, publisher};
use crate::{PATIENCE, until};

const PAUSE: Duration = Duration::from_millis(60);
const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;

#[tokio::test]
async fn the_latest_connection_of_a_client_takes_over() {
    let gateway = Gateway::start().await;
    let mut first = Client::connect(gateway.address, &Connect::v5("a").expiry(60)).await;
    let resume = Connect::v5("a").expiry(60).resume();
    let (mut second, connack) = Client::try_connect(gateway.address, &resume).await;
    assert!(connack.session_present(), "{connack:?}");
    let end = first.answer().await;
    assert_eq!((end.first, end.code()), (0xe0, 0x8e));
    assert_eq!(end.reason(), "another connection has taken over the session");
    assert_eq!(first.read().await, None);
    assert!(second.is_alive().await);

    // A client of the other version can, too; it cannot be told, only closed.
    let mut older = Client::connect(gateway.address, &Connect::v311("a").resume()).await;
    assert_eq!(second.answer().await.code(), 0x8e);
    let _newest = Client::connect(gateway.address, &Connect::v5("a")).await;
    assert_eq!(older.read().await, None);
}

#[tokio::test]
async fn who_takes_over_waits_for_what_was_handed_over_before() {
    let gateway = Gateway::start().await;
    let mut first = Client::connect(gateway.address, &Connect::v5("a").expiry(60)).await;
    gateway.store.hold();
    first.write(&Publish::v5(1, 1, "t").bytes()).await;
    until("the event", || gateway.store.waiting() == 1).await;
    let mut second = Client::open(gateway.address).await;
    second.write(&Connect::v5("a").resume().bytes()).await;
    assert!(second.is_silent_for(PAUSE).await);
    gateway.store.complete_all();
    assert_eq!(first.answer().await.first, 0x40);
    assert_eq!(first.answer().await.code(), 0x8e);
    assert_eq!(second.answer().await.first, 0x20);
}

#[tokio::test]
async fn a_connection_that_leaves_late_does_not_take_the_next_one_along() {
    let gateway = Gateway::start().await;
    let connect = Connect::v5("a").expiry(60);
    let mut first = Subscriber::begin(&gateway, connect.clone()).await;
    first.subscribe(&[("t", 0)]).await;
    gateway.store.hold();
    first.client.write(&Publish::v5(1, 1, "u").bytes()).await;
    until("the event", || gateway.store.waiting() == 1).await;
    let (mut second, is_present) = Subscriber::connect(&gateway, connect.resume()).await;
    assert!(is_present, "it has waited long enough");
    gateway.store.complete_all();
    let counters = gateway.server.counters();
    until("the first is gone", || counters.connections.load(Ordering::Relaxed) == 1).await;
    publish(&mut publisher(&gateway).await, "t", "one").await;
    assert_eq!(second.next().await.payload(), "one");
}

#[tokio::test]
async fn a_session_that_would_have_ended_with_its_connection_is_not_taken_over() {
    let gateway = Gateway::start().await;
    for connect in [Connect::v5("a"), Connect::v311("b")] {
        let mut first = Client::connect(gateway.address, &connect).await;
        let publish = Publish { version: connect.level, ..Publish::v5(2, 1, "t") };
        assert_eq!(first.exchange(&publish.bytes()).await.first, 0x50);
        let before = gateway.store.count();
        let (mut second, connack) =
            Client::try_connect(gateway.address, &connect.clone().resume()).await;
        assert!(!connack.session_present(), "{connack:?}");
        assert_eq!(second.exchange(&publish.bytes()).await.first, 0x50);
        assert_eq!(gateway.store.count(), before + 1);
    }
}

#[tokio::test]
async fn sessions_last_as_long_as_was_asked_and_no_longer_than_allowed() {
    let gateway = Gateway::start_with(|config| config.session_expiry_seconds_max = 100).await;
    let leave = async |connect: Connect, disconnect: &[u8]| {
        let (mut client, connack) = Client::try_connect(gateway.address, &connect).await;
        client.write(disconnect).await;
        assert_eq!(client.read().await, None);
        connack
    };
    let present = async |connect: Connect, after: u64| {
        gateway.clock.advance(Duration::from_secs(after));
        let (_, connack) = Client::try_connect(gateway.address, &connect.resume()).await;
        connack.session_present()
    };
    let normal: &[u8] = &[0xe0, 0];
    let five = || Connect::v5("a").expiry(50);
    let connack = leave(five(), normal).await;
    assert_eq!(connack.property(0x11), None);
    assert!(present(five(), 49).await);
    leave(five(), normal).await;
    assert!(!present(five(), 51).await);

    let long = || Connect::v5("b").expiry(u32::MAX);
    let connack = leave(long(), normal).await;
    assert_eq!(connack.property(0x11), Some(100_u32.to_be_bytes().to_vec()));
    assert!(!present(long(), 101).await);

    // DISCONNECT may change it.
    leave(five(), &[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 10]).await;
    assert!(!present(five(), 11).await);
    leave(five(), &[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]).await;
    assert!(!present(five(), 0).await);

    let older = || Connect::v311("c").resume();
    leave(older(), normal).await;
    assert!(present(older(), 99).await);
    leave(Connect::v311("c"), normal).await;
    assert!(!present(older(), 0).await);
    assert!(gateway.store.times_forgotten("c") > 0);
}

#[tokio::test]
async fn a_session_ends_when_its_time_has_come_though_nobody_comes_back() {
    let gateway = Gateway::start().await;
    let delay_long: &[u8] = &[0x18, 0, 1, 0, 0];
    let connect = Connect::v5("a").expiry(60).will("lost", "gone", &[delay_long]);
    let mut client = Client::connect(gateway.address, &connect).await;
    client.exchange(&Publish::v5(2, 1, "t").bytes()).await;
    drop(client);
    let counters = gateway.server.counters();
    until("the loss", || counters.connections.load(Ordering::Relaxed) == 0).await;
    let server = gateway.server.clone();
    gateway.tasks.spawn(async move { server.expire_sessions().await });
    let look = async || {
        tokio::task::yield_now().await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(11)).await;
        tokio::time::resume();
    };
    let before = gateway.store.times_forgotten("a");
    gateway.clock.advance(Duration::from_secs(59));
    look().await;
    tokio::time::sleep(PAUSE).await;
    assert_eq!((gateway.store.times_forgotten("a"), gateway.store.count()), (before, 1));
    gateway.clock.advance(Duration::from_secs(2));
    look().await;
    until("the end", || gateway.store.times_forgotten("a") == before + 1).await;
    until("the will", || gateway.store.payloads() == ["payload", "gone"]).await;
    let resume = Connect::v5("a").expiry(5).resume();
    let (_, connack) = Client::try_connect(gateway.address, &resume).await;
    assert!(!connack.session_present());
}

#[tokio::test]
async fn a_client_without_an_identifier_is_given_one() {
    let gateway = Gateway::start().await;
    let (_first, one) = Client::try_connect(gateway.address, &Connect::v5("")).await;
    let (mut client, other) = Client::try_connect(gateway.address, &Connect::v5("")).await;
    let assigned = |connack: &crate::packet::Answer| {
        let value = connack.property(ASSIGNED_CLIENT_IDENTIFIER).unwrap();
        String::from_utf8(value[2..].to_vec()).unwrap()
    };
    assert_ne!(assigned(&one), assigned(&other));
    client.exchange(&Publish::v5(1, 1, "t").bytes()).await;
    let event = gateway.store.last();
    assert_eq!(event.origin.client_id.as_deref(), Some(assigned(&other).as_str()));
    assert_eq!(event.event.source(), format!("/mqtt/{}", assigned(&other)));

    let (_named, connack) = Client::try_connect(gateway.address, &Connect::v5("a")).await;
    assert_eq!(connack.property(ASSIGNED_CLIENT_IDENTIFIER), None);
    let mut older = Client::connect(gateway.address, &Connect::v311("")).await;
    assert_eq!(older.exchange(&Publish::v311(1, 1, "t").bytes()).await.first, 0x40);
}

#[tokio::test]
async fn connack_tells_the_limits() {
    let gateway = Gateway::start_with(|config| {
        config.receive_maximum = 7;
        config.topic_alias_maximum = 3;
        config.packet_bytes_max = 70_000;
        config.keep_alive_seconds_max = 60;
    })
    .await;
    let (_, connack) = Client::try_connect(gateway.address, &Connect::v5("a").keep_alive(90)).await;
    assert_eq!(connack.property(0x21), Some(vec![0, 7]));
    assert_eq!(connack.property(0x22), Some(vec![0, 3]));
    assert_eq!(connack.property(0x27), Some(70_000_u32.to_be_bytes().to_vec()));
    assert_eq!(connack.property(0x13), Some(vec![0, 60]), "server keep alive");
    for available in [0x25, 0x28, 0x29, 0x2a] {
        assert_eq!(connack.property(available), None, "{available:x}");
    }
    let (_, connack) = Client::try_connect(gateway.address, &Connect::v5("b").keep_alive(30)).await;
    assert_eq!(connack.property(0x13), None);
    let (_, connack) = Client::try_connect(gateway.address, &Connect::v5("c")).await;
    assert_eq!(connack.property(0x13), Some(vec![0, 60]), "no keep alive is too long, too");
}

#[tokio::test]
async fn whoever_is_not_recognized_is_told_so() {
    let closed = Authenticator::closed();
    let gateway = Gateway::assemble(MqttConfig::default(), closed, Arc::default()).await;
    let named = |connect: Connect| connect.flags(0xc2).payload(&[&text("shop"), &text("secret")]);
    let lone_password = || Connect::v5("a").flags(0x42).payload(&[&text("token")]);
    let rows = [
        (Connect::v5("a"), 0x87, "no credential was presented"),
        (named(Connect::v5("a")), 0x8c, "no method for this kind of credential is configured"),
        (
            Connect::v5("a").flags(0x82).payload(&[&text("shop")]),
            0x87,
            "no credential was presented",
        ),
        (lone_password(), 0x8c, "no method for this kind of credential is configured"),
        (
            Connect::v5("a").property(&string_property(0x15, "SCRAM")),
            0x8c,
            "expected the authentication method OAUTH2-JWT",
        ),
        (Connect::v311("a"), 5, ""),
        (named(Connect::v311("a")), 5, ""),
    ];
    for (connect, code, reason) in rows {
        let mut client = Client::open(gateway.address).await;
        let publish = Publish { version: connect.level, ..Publish::v5(0, 0, "t") };
        let connack = client.exchange(&[connect.bytes(), publish.bytes()].concat()).await;
        assert_eq!((connack.first, connack.code()), (0x20, code), "{connect:?}");
        assert!(!connack.session_present());
        if connect.level == 5 {
            assert_eq!(connack.reason(), reason);
        }
        assert_eq!(client.read().await, None, "{connect:?}");
    }
    assert_eq!(gateway.store.count(), 0);
}

#[tokio::test]
async fn a_password_needs_no_user_name_in_version_5() {
    let gateway = Gateway::start().await;
    for length in [0, 1, 100, 200] {
        let connect = Connect::v5("a").flags(0x42).payload(&[&text("x".repeat(length))]);
        let mut client = Client::connect(gateway.address, &connect).await;
        assert!(client.is_alive().await);
    }
}

#[tokio::test]
async fn a_silent_client_is_let_go_after_one_and_a_half_times_its_keep_alive() {
    let gateway = Gateway::start().await;
    let live = async |connect: Connect| {
        let mut client = Client::connect(gateway.address, &connect.keep_alive(2)).await;
        // Anything that it sends counts as a sign of life.
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(client.is_alive().await);
        }
        let silent_since = Instant::now();
        let end = client.read().await;
        (end.map(|end| (end.first, end.code())), silent_since.elapsed())
    };
    let (newer, older) = tokio::join!(live(Connect::v5("a")), live(Connect::v311("b")));
    assert_eq!((newer.0, older.0), (Some((0xe0, 0x8d)), None));
    for waited in [newer.1, older.1] {
        let as_said = Duration::from_millis(2900)..Duration::from_secs(6);
        assert!(as_said.contains(&waited), "{waited:?}");
    }
}

#[tokio::test]
async fn a_client_without_keep_alive_may_be_silent() {
    let gateway = Gateway::start_with(|config| config.connect_seconds_max = 1).await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a").keep_alive(0)).await;
    assert!(client.is_silent_for(Duration::from_secs(2)).await);
    assert!(client.is_alive().await);
}

#[tokio::test]
async fn a_keep_alive_of_the_server_holds_where_the_client_is_told_of_it() {
    let gateway = Gateway::start_with(|config| config.keep_alive_seconds_max = 1).await;
    let mut older = Client::connect(gateway.address, &Connect::v311("a").keep_alive(0)).await;
    let mut slow = Client::connect(gateway.address, &Connect::v311("b").keep_alive(60)).await;
    let mut newer = Client::connect(gateway.address, &Connect::v5("c").keep_alive(60)).await;
    let end = newer.answer().await;
    assert_eq!((end.first, end.code()), (0xe0, 0x8d));
    assert!(older.is_alive().await && slow.is_alive().await);
}

#[tokio::test]
async fn connect_has_to_come_in_time() {
    let gateway = Gateway::start_with(|config| config.connect_seconds_max = 1).await;
    let connect = Connect::v5("a").bytes();
    for sent in [0, 1, 9, connect.len() - 1] {
        let mut client = Client::open(gateway.address).await;
        client.write(&connect[..sent]).await;
        let began = Instant::now();
        assert_eq!(client.read().await, None);
        assert!(began.elapsed() < PATIENCE / 2, "{sent} bytes");
    }
}

#[tokio::test]
async fn there_are_only_so_many_connections_and_the_next_is_told() {
    let gateway = Gateway::start_with(|config| config.connections_max = 1).await;
    let per_address = Gateway::start_with(|config| config.connections_per_address_max = 1).await;
    for gateway in [gateway, per_address] {
        let first = Client::connect(gateway.address, &Connect::v5("a")).await;
        for (connect, code) in [(Connect::v5("b"), 0x89), (Connect::v311("c"), 3)] {
            let (mut client, connack) = Client::try_connect(gateway.address, &connect).await;
            assert_eq!((connack.first, connack.code()), (0x20, code));
            assert_eq!(client.read().await, None);
        }
        let counters = gateway.server.counters();
        let refused = counters.connections_refused.load(Ordering::Relaxed);
        assert_eq!(refused, 2);
        drop(first);
        let open = || counters.connections.load(Ordering::Relaxed);
        until("the place", || open() == 0).await;
        assert!(Client::connect(gateway.address, &Connect::v5("b")).await.is_alive().await);
    }
}

#[tokio::test]
async fn those_who_are_turned_away_keep_nobody_else_waiting() {
    let gateway = Gateway::start_with(|config| config.connections_per_address_max = 1).await;
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(Client::open(gateway.address).await);
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut other = socket.connect(gateway.address).await.unwrap();
    other.write_all(&Connect::v5("a").bytes()).await.unwrap();
    let mut answer = [0; 4];
    let read = tokio::time::timeout(PATIENCE / 2, other.read_exact(&mut answer)).await;
    assert_eq!((read.unwrap().unwrap(), answer[0], answer[3]), (4, 0x20, 0));
}

#[tokio::test]
async fn there_are_only_so_many_sessions() {
    let gateway = Gateway::start_with(|config| config.sessions_max = 1).await;
    let mut first = Client::connect(gateway.address, &Connect::v5("a").expiry(5)).await;
    first.write(&[0xe0, 0]).await;
    assert_eq!(first.read().await, None);
    let (_, connack) = Client::try_connect(gateway.address, &Connect::v5("b")).await;
    assert_eq!(connack.code(), 0x89);
    assert_eq!(connack.reason(), "there are as many sessions as there may be");
    Client::connect(gateway.address, &Connect::v5("a")).await;
}

#[tokio::test]
async fn a_server_that_stops_finishes_what_it_has_read_and_says_goodbye() {
    let gateway = Gateway::start().await;
    let mut idle = Client::connect(gateway.address, &Connect::v311("a")).await;
    let mut busy = Client::connect(gateway.address, &Connect::v5("b")).await;
    gateway.store.hold();
    busy.write(&Publish::v5(1, 1, "t").bytes()).await;
    until("the event", || gateway.store.waiting() == 1).await;
    gateway.stop.cancel();
    assert_eq!(idle.read().await, None);
    assert!(busy.is_silent_for(PAUSE).await);
    gateway.store.complete_all();
    assert_eq!(busy.answer().await.first, 0x40);
    let end = busy.answer().await;
    assert_eq!((end.first, end.code()), (0xe0, 0x8b));
    assert_eq!(busy.read().await, None);
    gateway.tasks.close();
    tokio::time::timeout(PATIENCE, gateway.tasks.wait()).await.unwrap();
}
