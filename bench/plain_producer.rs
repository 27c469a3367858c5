//! Publishes as fast as a bus confirms, by the client library alone: what a delivery of the gateway
//! is measured against. `plain_producer nats|mqtt ADDRESS COUNT IN_FLIGHT`; prints seconds.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for one's own terminal")]

use std::time::Instant;

use async_nats::jetstream::{self, message::PublishMessage, stream};
use bytes::Bytes;
use eg_bench::PAYLOAD_BYTES;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{
    ContentType, GenericPacketTrait as _, Packet, Property, Qos, UserProperty, v5_0,
};
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Attributes, as the gateway sends them for the events of the measurement.
fn attributes(id: &str) -> [(&'static str, &str); 4] {
    [("specversion", "1.0"), ("id", id), ("source", "/bench"), ("type", "made")]
}

#[tokio::main]
async fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [bus, address, count, in_flight] = &*args else {
        println!("plain_producer nats|mqtt ADDRESS COUNT IN_FLIGHT");
        return;
    };
    let (count, in_flight) = (count.parse().unwrap(), in_flight.parse().unwrap());
    let seconds = match &**bus {
        "nats" => nats(address, count, in_flight).await,
        _ => mqtt(address, count, in_flight).await,
    };
    println!("{seconds:.3}");
}

/// Makes the stream `PLAIN` if there is none.
async fn nats(address: &str, count: u32, in_flight: usize) -> f64 {
    let client = async_nats::connect(address).await.unwrap();
    let jetstream = jetstream::new(client);
    for name in ["plain", "gateway"] {
        let config = stream::Config {
            name: name.to_owned(),
            subjects: vec![name.to_owned()],
            ..stream::Config::default()
        };
        jetstream.get_or_create_stream(config).await.unwrap();
    }
    let body = Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let began_at = Instant::now();
    let mut unconfirmed = FuturesUnordered::new();
    for number in 0..count {
        if unconfirmed.len() >= in_flight {
            unconfirmed.next().await;
        }
        let id = number.to_string();
        let mut message = PublishMessage::build().payload(body.clone());
        for (name, value) in attributes(&id) {
            message = message.header(&*format!("ce-{name}"), value);
        }
        message = message.header("ce-datacontenttype", "application/octet-stream");
        message = message.message_id(format!("/bench {id}"));
        let confirmed = jetstream.send_publish("plain", message).await.unwrap();
        unconfirmed.push(async move { drop(confirmed.await.unwrap()) });
    }
    while unconfirmed.next().await.is_some() {}
    began_at.elapsed().as_secs_f64()
}

async fn mqtt(address: &str, count: u32, in_flight: usize) -> f64 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut connection = Connection::<role::Client>::new(Version::V5_0);
    let connect = v5_0::Connect::builder().client_id("plain").unwrap();
    let mut output = Vec::new();
    write(connection.checked_send(connect.clean_start(true).build().unwrap()), &mut output);
    let mut input = vec![0; 16 * 1024];
    let (mut sent, mut confirmed, mut is_admitted) = (0, 0, false);
    let body = vec![b'x'; PAYLOAD_BYTES];
    let began_at = Instant::now();
    while confirmed < count {
        let under_way = || usize::try_from(sent - confirmed).unwrap();
        let mut room = in_flight - under_way();
        while is_admitted && sent < count && room > 0 {
            write(publish(&mut connection, sent, &body), &mut output);
            (sent, room) = (sent + 1, room - 1);
        }
        stream.write_all(&output).await.unwrap();
        output.clear();
        let read = stream.read(&mut input).await.unwrap();
        assert!(read > 0, "the broker closed the connection");
        let mut cursor = Cursor::new(&input[..read]);
        while cursor.position() < read as u64 {
            for event in connection.recv(&mut cursor) {
                match event {
                    Event::NotifyPacketReceived(Packet::V5_0Puback(_)) => confirmed += 1,
                    Event::NotifyPacketReceived(Packet::V5_0Connack(_)) => is_admitted = true,
                    _ => {}
                }
            }
        }
    }
    began_at.elapsed().as_secs_f64()
}

fn publish(connection: &mut Connection<role::Client>, number: u32, body: &[u8]) -> Vec<Event> {
    let id = number.to_string();
    let mut properties: Vec<_> = attributes(&id)
        .into_iter()
        .map(|(name, value)| Property::UserProperty(UserProperty::new(name, value).unwrap()))
        .collect();
    let media_type = ContentType::new("application/octet-stream").unwrap();
    properties.push(Property::ContentType(media_type));
    let publish = v5_0::Publish::builder().topic_name("plain").unwrap().qos(Qos::AtLeastOnce);
    let publish = publish.packet_id(connection.acquire_packet_id().unwrap());
    connection.checked_send(publish.props(properties).payload(body.to_vec()).build().unwrap())
}

fn write(events: Vec<Event>, output: &mut Vec<u8>) {
    for event in events {
        if let Event::RequestSendPacket { packet, .. } = event {
            output.extend_from_slice(&packet.to_continuous_buffer());
        }
    }
}
