//! MQTT over WebSocket, frame by frame (MQTT 5.0 section 6).

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::{Server, unique};
use crate::wire::{BOTH, Connect, Message, Properties, subscribe};

const BINARY: u8 = 2;
const TEXT: u8 = 1;

/// Asks for the upgrade; gives back the connection and the head of the answer.
async fn upgrade(server: &Server, protocols: &str) -> Option<(TcpStream, String)> {
    let mut stream = TcpStream::connect(server.websocket()?).await.unwrap();
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n{protocols}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    Some((stream, String::from_utf8(head).unwrap().to_lowercase()))
}

/// A frame of a client, whose mask is 0.
fn frame(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    assert!(length < 126);
    [&[0x80 | kind, 0x80 | length, 0, 0, 0, 0], bytes].concat()
}

/// The frames of a server until there are so many bytes of MQTT.
async fn read(stream: &mut TcpStream, count: usize) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while all.len() < count {
        let kind = stream.read_u8().await.ok()?;
        let length = stream.read_u8().await.ok()?;
        assert!(length < 126, "a small frame without mask");
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).await.ok()?;
        match kind & 0x0f {
            BINARY | 0 => all.extend(bytes),
            8 => return None,
            other => panic!("a frame of type {other}"),
        }
    }
    Some(all)
}

const MQTT: &str = "sec-websocket-protocol: mqtt\r\n";

#[tokio::test]
async fn the_subprotocol_is_mqtt() {
    covers!("MQTT3:6.0.0-3", "MQTT3:6.0.0-4", "MQTT5:6.0.0-3", "MQTT5:6.0.0-4");
    let server = Server::shared().await;
    for protocols in [MQTT, "sec-websocket-protocol: chat, mqtt, mqttv3.1\r\n"] {
        let Some((_, head)) = upgrade(&server, protocols).await else { return };
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("sec-websocket-protocol: mqtt\r\n"), "{head}");
    }
    for protocols in ["", "sec-websocket-protocol: chat\r\n"] {
        let Some((_, head)) = upgrade(&server, protocols).await else { return };
        assert!(!head.starts_with("http/1.1 101"), "{head}");
    }
}

#[tokio::test]
async fn frames_need_not_be_packets() {
    covers!("MQTT3:6.0.0-1", "MQTT3:6.0.0-2", "MQTT5:6.0.0-1", "MQTT5:6.0.0-2");
    let server = Server::shared().await;
    for version in BOTH {
        let Some((mut stream, _)) = upgrade(&server, MQTT).await else { return };
        let topic = unique("t");
        let mut all = Connect::new(version, unique("c")).encode();
        all.extend(subscribe(version, 1, &Properties::default(), &[(&topic, 0)]));
        all.extend(Message::new(&topic, "x").encode(version));
        all.extend(&[0xc0, 0]);
        for piece in all.chunks(7) {
            stream.write_all(&frame(BINARY, piece)).await.unwrap();
        }
        let found = read(&mut stream, 4).await.unwrap();
        assert_eq!(found[0], 0x20);
        let mut rest = found;
        while !rest.ends_with(&[0xd0, 0]) && !rest.ends_with(b"x") {
            rest.extend(read(&mut stream, 1).await.unwrap());
        }
        stream.write_all(&frame(BINARY, &[])).await.unwrap();
        stream.write_all(&frame(9, b"ping")).await.unwrap();
        while stream.read_u8().await.unwrap() != 0x8a {}
    }
}

#[tokio::test]
async fn a_text_frame_ends_the_connection() {
    covers!("MQTT3:6.0.0-1", "MQTT5:6.0.0-1");
    let server = Server::shared().await;
    let Some((mut stream, _)) = upgrade(&server, MQTT).await else { return };
    let connect = Connect::new(BOTH[0], unique("c")).encode();
    stream.write_all(&frame(BINARY, &connect)).await.unwrap();
    read(&mut stream, 4).await.unwrap();
    stream.write_all(&frame(TEXT, &[0xc0 & 0x7f, 0])).await.unwrap();
    assert_eq!(read(&mut stream, 1).await, None);
}
