//! How long a connection lasts: until its credential expires, or is revoked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eg_auth::{ClientCertificate, Peer, Thumbprint};
use eg_event::Timestamp;
use eg_mqtt::codec::Reason;
use tokio::net::TcpListener;

use crate::client::Client;
use crate::issuer::with_issuer;
use crate::packet::{Connect, PINGREQ, Publish, auth, pubrel};
use crate::until;

const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const DISCONNECT: u8 = 0xe0;
const EXPIRED: u8 = 0xa0;
const REVOKED: u8 = 0x98;
const AGAIN: u8 = 0x19;
const EXPIRES_IN: &str = "credential-expires-in";

async fn assert_ends(client: &mut Client, code: u8, reason: &str) {
    let end = client.answer().await;
    assert_eq!((end.first, end.code(), end.reason().as_str()), (DISCONNECT, code, reason));
    assert_eq!(client.read().await, None);
}

#[tokio::test]
async fn a_connection_ends_when_its_credential_expires_though_nobody_says_anything() {
    let (gateway, _) = with_issuer(|_| ()).await;
    let will = |connect: Connect| connect.will("lost", "gone", &[]).password("u", "alice 1");
    let mut newer = Client::connect(gateway.address, &will(Connect::v5("a"))).await;
    let mut older = Client::connect(gateway.address, &will(Connect::v311("b"))).await;
    let mut other = Client::connect(gateway.address, &Connect::v5("c").token("bob 3600")).await;
    assert!(newer.is_alive().await && older.is_alive().await);
    gateway.clock.advance(Duration::from_secs(1));
    assert_ends(&mut newer, EXPIRED, "the credential has expired").await;
    assert_eq!(older.read().await, None);
    until("the wills", || gateway.store.payloads() == ["gone", "gone"]).await;
    assert!(other.is_alive().await);
    assert_eq!(gateway.server.counters().connections_ended.of(Reason::MaximumConnectTime), 2);
}

#[tokio::test]
async fn nothing_is_taken_from_whose_credential_has_expired() {
    let (gateway, _) = with_issuer(|_| ()).await;
    for qos in 0..=2 {
        let connect = Connect::v5("a").token("alice 3600");
        let mut client = Client::connect(gateway.address, &connect).await;
        assert!(client.is_alive().await);
        gateway.clock.advance(Duration::from_hours(1));
        client.write(&[Publish::v5(qos, 1, "t").bytes(), PINGREQ.to_vec()].concat()).await;
        let mut answers = Vec::new();
        while let Some(answer) = client.read().await {
            answers.push((answer.first, answer.code()));
        }
        answers.retain(|answer| answer.0 != 0xd0);
        assert_eq!(answers, [(DISCONNECT, EXPIRED)], "QoS {qos}");
    }
    assert_eq!(gateway.store.count(), 0);
}

#[tokio::test]
async fn what_was_taken_is_acknowledged_before_the_end() {
    let (gateway, _) = with_issuer(|_| ()).await;
    gateway.store.hold();
    let mut client = Client::connect(gateway.address, &Connect::v5("a").token("alice 1")).await;
    client.write(&[Publish::v5(1, 1, "t").bytes(), Publish::v5(2, 2, "t").bytes()].concat()).await;
    until("both", || gateway.store.count() == 2).await;
    gateway.clock.advance(Duration::from_secs(1));
    client.write(&Publish::v5(1, 3, "t").bytes()).await;
    assert!(client.is_silent_for(Duration::from_millis(1200)).await, "they are not committed yet");
    gateway.store.complete_all();
    let answers = [client.answer().await, client.answer().await];
    let answers = answers.map(|it| (it.first, it.packet_id(), it.code()));
    assert_eq!(answers, [(PUBACK, 1, 0), (PUBREC, 2, 0)]);
    assert_ends(&mut client, EXPIRED, "the credential has expired").await;
    assert_eq!(gateway.store.count(), 2);
}

#[tokio::test]
async fn a_connection_outlives_its_tokens_as_long_as_they_are_renewed() {
    let (gateway, _) = with_issuer(|_| ()).await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a").token("alice 60")).await;
    for id in 1..=9 {
        gateway.clock.advance(Duration::from_secs(50));
        assert_eq!(client.exchange(&Publish::v5(1, id, "t").bytes()).await.packet_id(), id);
        let renewed = client.exchange(&auth(AGAIN, Some("alice 60"))).await;
        assert_eq!((renewed.first, renewed.code()), (0xf0, 0));
        assert_eq!(renewed.user(EXPIRES_IN).as_deref(), Some("60"));
    }
    // A token that lasts for less takes effect, too.
    assert_eq!(client.exchange(&auth(AGAIN, Some("alice 1"))).await.code(), 0);
    gateway.clock.advance(Duration::from_secs(1));
    assert_ends(&mut client, EXPIRED, "the credential has expired").await;
    assert_eq!(gateway.store.count(), 9);
}

#[tokio::test]
async fn a_client_is_told_how_long_it_has_and_warned_when_that_is_little() {
    let (gateway, _) = with_issuer(|config| config.expiry_warning_seconds = 30).await;
    let connect = || Connect::v5("a").token("alice 100");
    let (mut client, connack) = Client::try_connect(gateway.address, &connect()).await;
    assert_eq!(connack.user(EXPIRES_IN).as_deref(), Some("100"));
    let mut told = async |qos| {
        let answer = client.exchange(&Publish::v5(qos, qos.into(), "t").bytes()).await;
        answer.user(EXPIRES_IN)
    };
    gateway.clock.advance(Duration::from_secs(70));
    assert_eq!(told(1).await, None);
    gateway.clock.advance(Duration::from_secs(1));
    assert_eq!((told(1).await.as_deref(), told(2).await.as_deref()), (Some("29"), Some("29")));

    // Not those who do not want to know, or take no packet as large as that.
    let quiet = "alice 20";
    let quiet = Connect::v5("b").property(&[0x17, 0]).token(quiet);
    let mut quiet = Client::connect(gateway.address, &quiet).await;
    let answer = quiet.exchange(&Publish::v5(1, 1, "t").bytes()).await;
    assert_eq!((answer.code(), answer.properties()), (0, vec![]));
    let small = Connect::v5("c").property(&[0x27, 0, 0, 0, 40]).token("alice 20");
    let (mut small, connack) = Client::try_connect(gateway.address, &small).await;
    assert_eq!((connack.code(), connack.user(EXPIRES_IN)), (0, None));
    let renewed = small.exchange(&auth(AGAIN, Some("alice 20"))).await;
    assert_eq!((renewed.first, renewed.code(), renewed.user(EXPIRES_IN)), (0xf0, 0, None));

    let forever = Connect::v5("d").token("bob");
    let (mut forever, connack) = Client::try_connect(gateway.address, &forever).await;
    assert_eq!(connack.user(EXPIRES_IN), None);
    let answer = forever.exchange(&Publish::v5(1, 1, "t").bytes()).await;
    assert_eq!(answer.user(EXPIRES_IN), None);
}

#[tokio::test]
async fn a_revoked_credential_ends_its_own_connections_at_once() {
    let (gateway, issuer) = with_issuer(|_| ()).await;
    let will = |connect: Connect| connect.will("lost", "gone", &[]).password("u", "alice");
    let mut newer = Client::connect(gateway.address, &will(Connect::v5("a").expiry(60))).await;
    let mut older = Client::connect(gateway.address, &will(Connect::v311("b"))).await;
    let mut other = Client::connect(gateway.address, &Connect::v5("c").token("bob")).await;
    issuer.revoke("alice");
    // What it sends from here on is not taken.
    newer.write(&Publish::v5(1, 1, "t").bytes()).await;
    older.write(&Publish::v311(1, 1, "t").bytes()).await;
    assert_ends(&mut newer, REVOKED, "the credential has been revoked").await;
    assert_eq!(older.read().await, None);
    assert_eq!(other.exchange(&Publish::v5(1, 1, "t").payload("c").bytes()).await.code(), 0);
    // Nor is its will: whoever has the credential may have made it.
    let counters = gateway.server.counters();
    until("they are gone", || counters.connections.load(Ordering::Relaxed) == 1).await;
    assert_eq!(gateway.store.payloads(), ["c"]);
    // The session is the client's, whatever it presents next.
    let resume = Connect::v5("a").expiry(60).resume().token("alice 60");
    let (_, connack) = Client::try_connect(gateway.address, &resume).await;
    assert!(connack.session_present());
    let (_, connack) = Client::try_connect(gateway.address, &Connect::v5("d").token("alice")).await;
    assert_eq!((connack.code(), connack.reason().as_str()), (0x86, "the token has been revoked"));
}

#[tokio::test]
async fn a_revocation_does_not_wait_for_the_disk() {
    let (gateway, issuer) = with_issuer(|_| ()).await;
    gateway.store.hold();
    let mut client = Client::connect(gateway.address, &Connect::v5("a").token("alice")).await;
    client.write(&Publish::v5(1, 1, "t").bytes()).await;
    until("the event", || gateway.store.waiting() == 1).await;
    issuer.revoke("alice");
    assert_ends(&mut client, REVOKED, "the credential has been revoked").await;
    gateway.store.complete_all();
}

#[tokio::test]
async fn who_is_cut_between_the_halves_of_qos_2_has_published_once() {
    let (gateway, issuer) = with_issuer(|_| ()).await;
    let connect = |token: &str| Connect::v5("a").expiry(60).resume().token(token);
    let mut client = Client::connect(gateway.address, &connect("alice")).await;
    assert_eq!(client.exchange(&Publish::v5(2, 1, "t").bytes()).await.first, PUBREC);
    issuer.revoke("alice");
    client.write(&pubrel(1)).await;
    assert_ends(&mut client, REVOKED, "the credential has been revoked").await;

    let (mut client, connack) = Client::try_connect(gateway.address, &connect("alice 60")).await;
    assert!(connack.session_present());
    assert_eq!(client.exchange(&Publish::v5(2, 1, "t").again().bytes()).await.first, PUBREC);
    let released = client.exchange(&pubrel(1)).await;
    assert_eq!((released.first, released.code()), (0x70, 0));
    assert_eq!(gateway.store.count(), 1);
}

#[tokio::test]
async fn a_renewed_connection_rests_on_its_new_credential_alone() {
    let (gateway, issuer) = with_issuer(|_| ()).await;
    let mut client = Client::connect(gateway.address, &Connect::v5("a").token("alice 10")).await;
    assert_eq!(client.exchange(&auth(AGAIN, Some("alice 20"))).await.code(), 0);
    issuer.revoke("alice 10");
    assert!(client.is_alive().await);
    issuer.revoke("alice 20");
    assert_ends(&mut client, REVOKED, "the credential has been revoked").await;
}

#[tokio::test]
async fn a_connection_that_was_taken_over_is_not_cut_in_place_of_the_new_one() {
    let (gateway, issuer) = with_issuer(|_| ()).await;
    let connect = |token: &str| Connect::v5("a").expiry(60).resume().token(token);
    let mut first = Client::connect(gateway.address, &connect("alice")).await;
    let mut second = Client::connect(gateway.address, &connect("alice 60")).await;
    assert_ends(&mut first, 0x8e, "another connection has taken over the session").await;
    issuer.revoke("alice");
    assert!(second.is_alive().await);
    // And who comes while the old one is being cut gets the session.
    issuer.revoke("alice 60");
    let (mut third, connack) = Client::try_connect(gateway.address, &connect("alice 70")).await;
    assert!(connack.session_present());
    assert!(third.is_alive().await);
    let counters = gateway.server.counters();
    until("the others are gone", || counters.connections.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn a_revocation_while_somebody_is_let_in_is_not_missed() {
    let (gateway, issuer) = with_issuer(|_| ()).await;
    issuer.revoke_late("alice");
    let (_, connack) = Client::try_connect(gateway.address, &Connect::v5("a").token("alice")).await;
    assert_eq!((connack.code(), connack.reason().as_str()), (0x86, "the token has been revoked"));

    let mut client = Client::connect(gateway.address, &Connect::v5("b").token("bob")).await;
    issuer.revoke_late("bob 60");
    client.write(&auth(AGAIN, Some("bob 60"))).await;
    assert_ends(&mut client, 0x87, "the token has been revoked").await;
}

#[tokio::test]
async fn a_certificate_that_is_revoked_ends_the_connection_that_was_made_with_it() {
    let (gateway, _) = with_issuer(|_| ()).await;
    let certificate = Arc::new(certificate());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connecting = Client::open(address);
    let (accepted, mut client) = tokio::join!(listener.accept(), connecting);
    let (stream, remote) = accepted.unwrap();
    let peer = Peer::with_certificate(remote, Arc::clone(&certificate));
    gateway.server.attach(stream, peer);
    let connack = client.exchange(&Connect::v5("a").token("alice").bytes()).await;
    assert_eq!(connack.code(), 0);
    assert_eq!(gateway.live.cut(&certificate.credential_id()), 1);
    assert_ends(&mut client, REVOKED, "the credential has been revoked").await;
}

fn certificate() -> ClientCertificate {
    ClientCertificate {
        thumbprint: Thumbprint::of(b"certificate"),
        serial: "1".to_owned(),
        issuer: "CN=ca".to_owned(),
        subject: "CN=press".to_owned(),
        common_name: Some("press".to_owned()),
        organizations: Vec::new(),
        organizational_units: Vec::new(),
        dns_names: Vec::new(),
        uris: Vec::new(),
        emails: Vec::new(),
        addresses: Vec::new(),
        not_after: Timestamp::default(),
    }
}

#[tokio::test]
async fn connections_that_end_leave_nothing_behind() {
    let (gateway, _) = with_issuer(|_| ()).await;
    for round in 0..3 {
        let mut clients = Vec::new();
        for number in 0..5 {
            let connect = Connect::v5(format!("c{number}")).token("alice");
            clients.push(Client::connect(gateway.address, &connect).await);
        }
        assert_eq!(clients[0].exchange(&auth(AGAIN, Some("alice"))).await.code(), 0);
        assert_eq!(gateway.live.cut_where(|_| true), 5, "round {round}");
        for client in &mut clients {
            assert_ends(client, REVOKED, "the credential has been revoked").await;
        }
        let counters = gateway.server.counters();
        until("the end", || counters.connections.load(Ordering::Relaxed) == 0).await;
        assert_eq!(gateway.live.cut_where(|_| true), 0);
    }
}

#[tokio::test]
async fn a_will_that_waits_is_not_published_for_whose_credential_is_revoked_meanwhile() {
    let (gateway, issuer) = with_issuer(|_| ()).await;
    let leave = async |id: &str, token: &str| {
        let connect = Connect::v5(id).expiry(60).token(token);
        let connect = connect.will("lost", token, &[&[0x18, 0, 0, 0, 1]]);
        drop(Client::connect(gateway.address, &connect).await);
    };
    leave("a", "alice").await;
    leave("b", "bob").await;
    let counters = gateway.server.counters();
    until("they are gone", || counters.connections.load(Ordering::Relaxed) == 0).await;
    issuer.revoke("alice");
    until("the other's will", || gateway.store.count() == 1).await;
    gateway.stop.cancel();
    gateway.tasks.close();
    gateway.tasks.wait().await;
    assert_eq!(gateway.store.payloads(), ["bob"]);
}
