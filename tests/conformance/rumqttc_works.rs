//! rumqttc, in both versions, over every transport: every QoS, sessions and wills.

use std::time::Duration;

use eg_tests::wait::DEADLINE;
use rumqttc::{
    AsyncClient, Event, LastWill, MqttOptions, Packet, QoS, TlsConfiguration, Transport, v5,
};

use crate::server::{Server, unique};

const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A way to a server.
struct Way {
    /// A host, or with WebSocket the whole URL.
    host: String,
    port: u16,
    transport: Transport,
}

/// Every way to `server`.
fn ways(server: &Server) -> Vec<Way> {
    let tls = || TlsConfiguration::Simple {
        ca: std::fs::read(server.authority()).unwrap(),
        alpn: None,
        client_auth: None,
    };
    let url = |scheme: &str, port: u16| format!("{scheme}://localhost:{port}/mqtt");
    let websocket = server.websocket().map(|at| (url("ws", at.port()), at, Transport::Ws));
    let websocket_tls =
        server.websocket_tls().map(|at| (url("wss", at.port()), at, Transport::Wss(tls())));
    let plain = [
        ("localhost".to_owned(), server.mqtt(), Transport::Tcp),
        ("localhost".to_owned(), server.mqtts(), Transport::Tls(tls())),
    ];
    let all = plain.into_iter().chain(websocket).chain(websocket_tls);
    all.map(|(host, at, transport)| Way { host, port: at.port(), transport }).collect()
}

/// A client of 3.1.1 with what drives it.
struct Client3(AsyncClient, rumqttc::EventLoop);

impl Client3 {
    fn connect(way: &Way, name: &str, clean: bool, will: Option<LastWill>) -> Self {
        let mut options = MqttOptions::new(name, &way.host, way.port);
        options.set_transport(way.transport.clone());
        options.set_clean_session(clean).set_keep_alive(Duration::from_secs(30));
        if let Some(will) = will {
            options.set_last_will(will);
        }
        let (client, events) = AsyncClient::new(options, 100);
        Self(client, events)
    }

    /// The first packet from the server that fits.
    async fn until<T: Send>(&mut self, fits: impl Fn(&Packet) -> Option<T> + Send + Sync) -> T {
        let find = async {
            loop {
                if let Event::Incoming(packet) = self.1.poll().await.unwrap()
                    && let Some(found) = fits(&packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(DEADLINE, find).await.expect("the packet comes in time")
    }

    async fn subscribe(&mut self, topic: &str, qos: QoS) {
        self.0.subscribe(topic, qos).await.unwrap();
        self.until(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    }

    async fn message(&mut self) -> (String, QoS) {
        self.until(|packet| match packet {
            Packet::Publish(one) => Some((String::from_utf8_lossy(&one.payload).into(), one.qos)),
            _ => None,
        })
        .await
    }

    async fn session_present(&mut self) -> bool {
        self.until(|packet| match packet {
            Packet::ConnAck(connack) => Some(connack.session_present),
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn with_3_1_1() {
    let server = Server::shared().await;
    for way in ways(&server) {
        works_with_3_1_1(&way).await;
    }
}

async fn works_with_3_1_1(way: &Way) {
    let (topic, name) = (unique("t"), unique("c"));
    let mut client = Client3::connect(way, &name, false, None);
    assert!(!client.session_present().await);
    client.subscribe(&topic, QoS::ExactlyOnce).await;
    for qos in LEVELS {
        client.0.publish(&topic, qos, false, "x").await.unwrap();
        assert_eq!(client.message().await, ("x".to_owned(), qos));
    }
    // What was received is acknowledged before the connection ends.
    client.0.publish(&unique("t"), QoS::AtLeastOnce, false, "x").await.unwrap();
    client.until(|packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
    drop(client);
    let will = LastWill::new(&topic, "will", QoS::AtLeastOnce, false);
    let mut other = Client3::connect(way, &unique("c"), true, Some(will));
    for number in 0..20 {
        other.0.publish(&topic, QoS::AtLeastOnce, false, number.to_string()).await.unwrap();
        other.until(|packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
    }
    drop(other);
    let mut client = Client3::connect(way, &name, false, None);
    assert!(client.session_present().await);
    let mut found = Vec::new();
    while found.last().is_none_or(|last| last != "will") {
        let (payload, _) = client.message().await;
        // The last message of the first connection may come again.
        if payload != "x" {
            found.push(payload);
        }
    }
    let expected = (0..20).map(|number| number.to_string()).chain(["will".to_owned()]);
    assert_eq!(found, expected.collect::<Vec<_>>());
}

/// A client of MQTT 5 with what drives it.
struct Client5(v5::AsyncClient, v5::EventLoop);

impl Client5 {
    fn connect(way: &Way, name: &str, clean: bool) -> Self {
        let mut options = v5::MqttOptions::new(name, &way.host, way.port);
        options.set_transport(way.transport.clone());
        options.set_clean_start(clean).set_keep_alive(Duration::from_secs(30));
        let mut properties = v5::mqttbytes::v5::ConnectProperties::new();
        properties.session_expiry_interval = Some(60);
        options.set_connect_properties(properties);
        let (client, events) = v5::AsyncClient::new(options, 100);
        Self(client, events)
    }

    async fn until<T: Send>(
        &mut self,
        fits: impl Fn(&v5::Incoming) -> Option<T> + Send + Sync,
    ) -> T {
        let find = async {
            loop {
                if let v5::Event::Incoming(packet) = self.1.poll().await.unwrap()
                    && let Some(found) = fits(&packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(DEADLINE, find).await.expect("the packet comes in time")
    }

    async fn message(&mut self) -> v5::mqttbytes::v5::Publish {
        self.until(|packet| match packet {
            v5::Incoming::Publish(publish) => Some(publish.clone()),
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn with_5() {
    let server = Server::shared().await;
    for way in ways(&server) {
        works_with_5(&way).await;
    }
}

async fn works_with_5(way: &Way) {
    use v5::mqttbytes::QoS;
    let (topic, name) = (unique("t"), unique("c"));
    let mut client = Client5::connect(way, &name, false);
    client.0.subscribe(&topic, QoS::ExactlyOnce).await.unwrap();
    client.until(|packet| matches!(packet, v5::Incoming::SubAck(_)).then_some(())).await;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let properties = v5::mqttbytes::v5::PublishProperties {
            user_properties: vec![("a".into(), "1".into())],
            content_type: Some("text/plain".into()),
            ..Default::default()
        };
        let published =
            client.0.publish_with_properties(&topic, qos, false, "x", properties.clone());
        published.await.unwrap();
        let found = client.message().await;
        assert_eq!((&found.payload[..], found.qos), (&b"x"[..], qos));
        let found = found.properties.unwrap();
        assert_eq!(found.user_properties, properties.user_properties);
        assert_eq!(found.content_type, properties.content_type);
    }
    client.0.publish(&unique("t"), QoS::AtLeastOnce, false, "x").await.unwrap();
    client.until(|packet| matches!(packet, v5::Incoming::PubAck(_)).then_some(())).await;
    drop(client);
    let mut other = Client5::connect(way, &unique("c"), true);
    for number in 0..20 {
        let payload = number.to_string();
        other.0.publish(&topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        other.until(|packet| matches!(packet, v5::Incoming::PubAck(_)).then_some(())).await;
    }
    let mut client = Client5::connect(way, &name, false);
    for number in 0..20 {
        let mut message = client.message().await;
        while message.payload == "x" {
            message = client.message().await;
        }
        assert_eq!(message.payload, number.to_string());
    }
}
