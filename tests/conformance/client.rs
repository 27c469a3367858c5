//! A client that does what a test says, rules of the protocol or not.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::Server;
use crate::wire::{
    self, Connect, DISCONNECT, Message, PINGREQ, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet,
    Properties, Version,
};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A connection.
pub(crate) struct Client {
    pub(crate) version: Version,
    stream: TcpStream,
    /// What has come while something else was waited for.
    early: VecDeque<Packet>,
    next_id: u16,
    largest_bytes: usize,
    pub(crate) session_present: bool,
    /// The properties of CONNACK.
    pub(crate) properties: Properties,
}

impl Client {
    /// A connection on which nothing has been sent.
    pub(crate) async fn bare(server: &Server, version: Version) -> Self {
        let stream = TcpStream::connect(server.mqtt()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let properties = Properties::default();
        Self {
            version,
            stream,
            early: VecDeque::new(),
            next_id: 0,
            largest_bytes: 0,
            session_present: false,
            properties,
        }
    }

    /// Connects; stops the test when that is refused.
    pub(crate) async fn open(server: &Server, connect: &Connect) -> Self {
        let (client, code) = Self::attempt(server, connect).await;
        assert_eq!(code, Some(0), "the connection is accepted");
        client
    }

    /// With a clean start and nothing special.
    pub(crate) async fn new(server: &Server, version: Version, client_id: &str) -> Self {
        Self::open(server, &Connect::new(version, client_id)).await
    }

    /// Connects; gives back the code of CONNACK, or none when the connection was closed without.
    pub(crate) async fn attempt(server: &Server, connect: &Connect) -> (Self, Option<u8>) {
        let mut client = Self::bare(server, connect.version).await;
        client.send(&connect.encode()).await;
        let code = client.connack().await;
        (client, code)
    }

    /// Reads CONNACK.
    pub(crate) async fn connack(&mut self) -> Option<u8> {
        match self.next().await {
            Some(Packet::Connack { flags, code, properties }) => {
                assert!(flags < 2, "reserved bits of CONNACK are 0");
                assert!(code == 0 || flags == 0, "a refused session is not present");
                self.session_present = flags == 1;
                self.properties = properties;
                Some(code)
            }
            Some(other) => panic!("expected CONNACK, found {other:?}"),
            None => None,
        }
    }

    /// Sends bytes; those that a closed connection does not take are lost.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }

    /// The next packet, or none when the connection is closed.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        match self.early.pop_front() {
            Some(packet) => Some(packet),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Option<Packet> {
        let read = tokio::time::timeout(ANSWER_MAX, self.read_bytes()).await;
        let (first, rest) = read.expect("the server answers, or closes the connection, in time")?;
        let bytes = 1 + wire::variable(rest.len()).len() + rest.len();
        self.largest_bytes = self.largest_bytes.max(bytes);
        Some(Packet::decode(self.version, first, &rest))
    }

    async fn read_bytes(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await.ok()?;
        let mut length = 0;
        for place in 0..4 {
            let byte = self.stream.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                break;
            }
        }
        let mut rest = vec![0; length];
        self.stream.read_exact(&mut rest).await.ok()?;
        Some((first, rest))
    }

    /// The first packet that fits; others that come before it are kept for later.
    async fn find<T: Send>(
        &mut self,
        what: &str,
        fits: impl Fn(&Packet) -> Option<T> + Send + Sync,
    ) -> T {
        loop {
            let packet = self.read().await.unwrap_or_else(|| panic!("{what} comes, not the end"));
            if let Some(found) = fits(&packet) {
                return found;
            }
            self.early.push_back(packet);
        }
    }

    /// Whether what was sent has been read: PINGREQ is answered.
    pub(crate) async fn ping(&mut self) {
        self.send(PINGREQ).await;
        self.find("PINGRESP", |packet| (*packet == Packet::Pingresp).then_some(())).await;
    }

    /// Nothing has come, and nothing is on its way when PINGREQ is answered.
    pub(crate) async fn assert_quiet(&mut self) {
        self.ping().await;
        assert_eq!(self.early, [], "nothing is expected");
    }

    /// The size of the largest packet that has come, in bytes.
    pub(crate) fn largest_bytes(&self) -> usize {
        self.largest_bytes
    }

    /// Whether nothing has come but publications with QoS 0, which are forgotten.
    pub(crate) async fn quiet_but_qos_0(&mut self) -> bool {
        self.ping().await;
        self.early.drain(..).all(|packet| matches!(packet, Packet::Publish(one) if one.qos == 0))
    }

    /// What has come already.
    pub(crate) fn early(&mut self) -> Option<Packet> {
        self.early.pop_front()
    }

    /// Waits for the end of the connection; gives back the reason code of DISCONNECT, if one came.
    /// What comes before is not looked at.
    pub(crate) async fn closed(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some(packet) = self.next().await {
            assert_eq!(reason, None, "{packet:?} comes after DISCONNECT");
            if let Packet::Disconnect { code, properties } = packet {
                assert_eq!(self.version, Version::V5, "3.1.1 servers send no DISCONNECT");
                assert!(!properties.has(wire::SESSION_EXPIRY), "a server does not say the expiry");
                reason = Some(code);
            }
        }
        reason
    }

    /// The connection is closed, and whoever says why gives one of the codes.
    pub(crate) async fn assert_closed(&mut self, codes: &[u8], what: &str) {
        let reason = self.closed().await;
        let fits = reason.is_none_or(|code| codes.contains(&code));
        assert!(fits, "{what}: expected one of {codes:02x?}, found {reason:02x?}");
    }

    /// A packet identifier that is not in use.
    pub(crate) fn id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    /// Subscribes to filters with their options; gives back the codes.
    pub(crate) async fn subscribe_with(
        &mut self,
        properties: &Properties,
        filters: &[(&str, u8)],
    ) -> Vec<u8> {
        let id = self.id();
        self.send(&wire::subscribe(self.version, id, properties, filters)).await;
        self.granted(0x90, id).await
    }

    /// Subscribes to a filter with the options, which for 3.1.1 are the QoS.
    pub(crate) async fn subscribe(&mut self, filter: &str, options: u8) {
        let codes = self.subscribe_with(&Properties::default(), &[(filter, options)]).await;
        assert_eq!(codes, [options & 3], "{filter} is granted");
    }

    /// Unsubscribes; gives back the codes, of which there are none in 3.1.1.
    pub(crate) async fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.id();
        self.send(&wire::unsubscribe(self.version, id, filters)).await;
        self.granted(0xb0, id).await
    }

    pub(crate) async fn granted(&mut self, expected: u8, expected_id: u16) -> Vec<u8> {
        let find = |packet: &Packet| match packet {
            Packet::Granted { first, id, codes, .. } if *first == expected => {
                Some((*id, codes.clone()))
            }
            _ => None,
        };
        let (id, codes) = self.find("SUBACK or UNSUBACK", find).await;
        assert_eq!(id, expected_id, "the packet identifier comes back");
        codes
    }

    /// Publishes to the end of the exchange, with a packet identifier of its own; gives back the
    /// reason code.
    pub(crate) async fn publish(&mut self, message: Message) -> u8 {
        let id = self.id();
        let message = message.id(id);
        self.send(&message.encode(self.version)).await;
        match message.qos {
            0 => 0,
            1 => self.acknowledged(PUBACK, id).await,
            _ => match self.acknowledged(PUBREC, id).await {
                code @ 0x80.. => code,
                code => {
                    self.send(&wire::acknowledge(PUBREL, id, 0)).await;
                    assert_eq!(self.acknowledged(PUBCOMP, id).await, 0);
                    code
                }
            },
        }
    }

    /// Waits for an acknowledgement of this kind; gives back its reason code.
    pub(crate) async fn acknowledged(&mut self, expected: u8, expected_id: u16) -> u8 {
        let find = |packet: &Packet| match packet {
            Packet::Acknowledge { first, id, code, .. } if *first == expected => Some((*id, *code)),
            _ => None,
        };
        let (id, code) = self.find("an acknowledgement", find).await;
        assert_eq!(id, expected_id, "the packet identifier comes back");
        code
    }

    /// The next packet, which is PUBLISH; it is not acknowledged.
    pub(crate) async fn publication(&mut self) -> Message {
        match self.next().await {
            Some(Packet::Publish(message)) => message,
            other => panic!("expected PUBLISH, found {other:?}"),
        }
    }

    /// The next packet, which is PUBLISH, after the whole exchange that its QoS demands.
    pub(crate) async fn message(&mut self) -> Message {
        let message = self.publication().await;
        self.acknowledge(&message).await;
        message
    }

    /// The whole exchange that the QoS of a message demands.
    pub(crate) async fn acknowledge(&mut self, message: &Message) {
        match message.qos {
            0 => {}
            1 => self.send(&wire::acknowledge(PUBACK, message.id, 0)).await,
            _ => self.complete(message.id).await,
        }
    }

    /// Takes a message of QoS 2 to the end of its exchange.
    pub(crate) async fn complete(&mut self, id: u16) {
        self.send(&wire::acknowledge(PUBREC, id, 0)).await;
        assert_eq!(self.acknowledged(PUBREL, id).await, 0);
        self.send(&wire::acknowledge(PUBCOMP, id, 0)).await;
    }

    /// The payloads that come before this one, which is the last.
    pub(crate) async fn before(&mut self, last: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let message = self.message().await;
            if message.payload == last.as_bytes() {
                return all;
            }
            all.push(message.text().to_owned());
        }
    }

    /// Ends the connection as agreed, and waits for the server to have noticed.
    pub(crate) async fn disconnect(mut self) {
        self.send(DISCONNECT).await;
        self.closed().await;
    }

    /// Ends the connection as a broken network does, and waits for the server to have noticed.
    pub(crate) async fn vanish(mut self) {
        self.stream.shutdown().await.ok();
        self.closed().await;
    }
}
