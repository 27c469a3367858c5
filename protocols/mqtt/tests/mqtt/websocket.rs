//! MQTT over WebSocket: the same packets in binary frames, wherever they are cut.

use std::net::SocketAddr;

use axum::Extension;
use eg_auth::Peer;
use eg_mqtt::websocket;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::PATIENCE;
use crate::gateway::Gateway;
use crate::packet::{Answer, Connect, PINGREQ, Publish};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Serves the route `/mqtt` on a port of its own.
async fn serve(gateway: &Gateway) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = Peer::new("127.0.0.1:1".parse().unwrap());
    let router = websocket::router(gateway.server.clone()).layer(Extension(peer));
    let service = router.into_make_service();
    gateway.tasks.spawn(async move { axum::serve(listener, service).await.unwrap() });
    address
}

/// One WebSocket.
struct Socket {
    stream: TcpStream,
    /// What has come in binary frames.
    received: Vec<u8>,
}

impl Socket {
    /// Asks for an upgrade; says what the answer's head is.
    async fn ask(address: SocketAddr, protocols: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /mqtt HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocols}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        (Self { stream, received: Vec::new() }, head)
    }

    async fn open(address: SocketAddr) -> Self {
        let (socket, head) = Self::ask(address, "sec-websocket-protocol: mqtt\r\n").await;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains("sec-websocket-protocol: mqtt\r\n"), "{head}");
        socket
    }

    /// Sends a masked frame with a length of 16 bits (RFC 6455 section 5.2).
    async fn frame(&mut self, opcode: u8, is_last: bool, payload: &[u8]) {
        const MASK: [u8; 4] = [1, 2, 3, 4];
        let length = u16::try_from(payload.len()).unwrap();
        let mut bytes = vec![opcode | (u8::from(is_last) << 7), 0xfe];
        bytes.extend(length.to_be_bytes());
        bytes.extend(MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn send(&mut self, payload: &[u8]) {
        self.frame(BINARY, true, payload).await;
    }

    /// Reads one frame; `None` at the end.
    async fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let opcode = self.stream.read_u8().await.ok()? & 0x0f;
            let length = match self.stream.read_u8().await.ok()? {
                126 => self.stream.read_u16().await.ok()?.into(),
                127 => self.stream.read_u64().await.ok()?,
                short => short.into(),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some((opcode, payload))
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a frame in time")
    }

    /// Reads one packet; `None` when the other side closes instead.
    async fn read(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, length)) = Answer::parse(&self.received) {
                self.received.drain(..length);
                return Some(answer);
            }
            match self.read_frame().await? {
                (BINARY, payload) => self.received.extend(payload),
                (CLOSE, _) => return None,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn packets_come_in_frames_however_they_are_cut() {
    let gateway = Gateway::start().await;
    let address = serve(&gateway).await;
    let publish = |id| Publish::v5(1, id, "t").bytes();
    let all = [Connect::v5("a").bytes(), publish(1), publish(2), PINGREQ.to_vec()].concat();
    for size in [1, 2, 3, 7, 16, all.len()] {
        let mut socket = Socket::open(address).await;
        for piece in all.chunks(size) {
            socket.send(piece).await;
        }
        assert_eq!(socket.read().await.unwrap().first, 0x20);
        let mut kinds = Vec::new();
        for _ in 0..3 {
            kinds.push(socket.read().await.unwrap().first);
        }
        kinds.sort_unstable();
        assert_eq!(kinds, [0x40, 0x40, 0xd0], "{size} at once");
    }
    assert_eq!(gateway.store.count(), 12);
    let remote = gateway.store.last().origin.remote.unwrap();
    assert!(remote.ip().is_loopback() && remote.port() != 0);
}

#[tokio::test]
async fn a_message_of_several_frames_is_one_piece_of_the_stream() {
    let gateway = Gateway::start().await;
    let mut socket = Socket::open(serve(&gateway).await).await;
    let connect = Connect::v311("a").bytes();
    socket.frame(BINARY, false, &connect[..5]).await;
    socket.frame(PING, true, b"still there?").await;
    socket.frame(0, false, &connect[5..8]).await;
    socket.frame(0, true, &connect[8..]).await;
    assert_eq!(socket.read_frame().await, Some((PONG, b"still there?".to_vec())));
    assert_eq!(socket.read().await.unwrap().first, 0x20);
    // Frames with nothing in them are no end.
    socket.send(b"").await;
    socket.send(&PINGREQ).await;
    assert_eq!(socket.read().await.unwrap().first, 0xd0);
}

#[tokio::test]
async fn a_text_frame_ends_the_connection() {
    let gateway = Gateway::start().await;
    let address = serve(&gateway).await;
    let mut socket = Socket::open(address).await;
    socket.send(&Connect::v5("a").bytes()).await;
    assert_eq!(socket.read().await.unwrap().first, 0x20);
    socket.frame(TEXT, true, &Publish::v5(0, 0, "t").bytes()).await;
    assert_eq!(socket.read().await, None);
    let mut socket = Socket::open(address).await;
    socket.frame(TEXT, true, b"hello").await;
    assert_eq!(socket.read().await, None);
    assert_eq!(gateway.store.count(), 0);
}

#[tokio::test]
async fn what_ends_the_connection_is_said_before_the_close() {
    let gateway = Gateway::start().await;
    let mut socket = Socket::open(serve(&gateway).await).await;
    socket.send(&Connect::v5("a").bytes()).await;
    assert_eq!(socket.read().await.unwrap().first, 0x20);
    socket.send(&Publish::v5(1, 1, "#").bytes()).await;
    let end = socket.read().await.unwrap();
    assert_eq!((end.first, end.code()), (0xe0, 0x90));
    assert_eq!(socket.read_frame().await.map(|(opcode, _)| opcode), Some(CLOSE));
}

#[tokio::test]
async fn only_the_subprotocol_mqtt_is_spoken() {
    let gateway = Gateway::start().await;
    let address = serve(&gateway).await;
    for protocols in
        ["", "sec-websocket-protocol: mqttv3.1\r\n", "sec-websocket-protocol: chat\r\n"]
    {
        let (_, head) = Socket::ask(address, protocols).await;
        assert!(head.starts_with("http/1.1 400 "), "{protocols}: {head}");
    }
    let (_, head) = Socket::ask(address, "sec-websocket-protocol: chat, mqtt\r\n").await;
    assert!(head.contains("sec-websocket-protocol: mqtt\r\n"), "{head}");
}
