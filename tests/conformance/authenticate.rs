//! Enhanced authentication (MQTT 5.0 section 4.12).

use std::time::Duration;

use crate::client::Client;
use crate::server::{Server, unique};
use crate::wire::{AUTH_DATA, AUTH_METHOD, Connect, Packet, Version, field, packet, variable};

/// The method that the gateway has.
const METHOD: &str = "OAUTH2-JWT";

/// AUTH with a method.
fn auth(code: u8, method: &str) -> Vec<u8> {
    auth_with(code, method, "")
}

/// The same, with data if it is not empty.
fn auth_with(code: u8, method: &str, data: &str) -> Vec<u8> {
    let mut properties = vec![AUTH_METHOD];
    field(&mut properties, method);
    if !data.is_empty() {
        properties.push(AUTH_DATA);
        field(&mut properties, data);
    }
    packet(0xf0, &[&[code][..], &variable(properties.len()), &properties].concat())
}

#[tokio::test]
async fn a_method_that_does_not_exist_is_refused() {
    covers!("MQTT5:4.12.0-1", "MQTT5:3.2.2-7", "MQTT5:4.13.2-1");
    let server = Server::shared().await;
    let connect = Connect::new(Version::V5, unique("c")).text(AUTH_METHOD, "NONE-SUCH");
    let (mut client, code) = Client::attempt(&server, &connect).await;
    assert!(matches!(code, Some(0x8c | 0x87) | None), "{code:?}");
    assert_eq!(client.next().await, None);
}

#[tokio::test]
async fn without_a_method_there_is_none_and_auth_is_an_error() {
    covers!("MQTT5:4.12.0-6", "MQTT5:4.12.0-7", "MQTT5:4.12.1-1");
    let server = Server::shared().await;
    let mut client = Client::new(&server, Version::V5, &unique("c")).await;
    assert!(!client.properties.has(AUTH_METHOD));
    assert!(!client.properties.has(AUTH_DATA));
    client.send(&auth(0x19, METHOD)).await;
    client.assert_closed(&[0x82, 0x8c], "AUTH without a method in CONNECT").await;
}

#[tokio::test]
async fn a_server_that_wants_more_asks_with_the_method_of_connect() {
    covers!("MQTT5:4.12.0-2", "MQTT5:4.12.0-5", "MQTT5:3.15.2-1", "MQTT5:3.15.2-2");
    covers!("MQTT5:3.15.2-3", "MQTT5:4.12.0-4", "MQTT5:3.1.2-33");
    let Some((_provider, server)) = Server::with_tokens().await else { return };
    let connect = Connect::new(Version::V5, unique("c"))
        .text(AUTH_METHOD, METHOD)
        .number(crate::wire::MAXIMUM_PACKET, 30);
    for answer in [auth(0x18, "OTHER"), auth(0x18, METHOD), auth(0x19, METHOD), vec![0xc0, 0]] {
        let mut client = Client::bare(&server, Version::V5).await;
        client.send(&connect.encode()).await;
        let Some(Packet::Auth { code, properties }) = client.next().await else {
            panic!("expected AUTH")
        };
        assert_eq!((code, properties.bytes(AUTH_METHOD)), (0x18, Some(METHOD.as_bytes())));
        client.send(&answer).await;
        let code = client.connack().await;
        assert!(code.is_none_or(|code| code >= 0x80), "{answer:02x?}: {code:?}");
        assert_eq!(client.next().await, None, "the connection is closed");
        assert!(client.largest_bytes() <= 30);
    }
}

#[tokio::test]
async fn a_renewal_that_fails_ends_the_connection() {
    covers!("MQTT5:4.12.1-2");
    let Some((provider, server)) = Server::with_tokens().await else { return };
    let token = provider.token(Duration::from_mins(5)).await;
    let connect =
        Connect::new(Version::V5, unique("c")).text(AUTH_METHOD, METHOD).text(AUTH_DATA, &token);
    let mut client = Client::open(&server, &connect).await;
    client.send(&auth_with(0x19, METHOD, &provider.token(Duration::from_mins(9)).await)).await;
    let renewed = client.next().await;
    assert!(matches!(renewed, Some(Packet::Auth { code: 0, .. })), "{renewed:?}");
    client.send(&auth_with(0x19, METHOD, &format!("{token}x"))).await;
    client.assert_closed(&[0x87], "AUTH with a token that is not good").await;
}
