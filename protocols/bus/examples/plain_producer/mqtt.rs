//! MQTT 5, by mqtt-protocol-core.

use std::time::Instant;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{
    ContentType, GenericPacketTrait as _, Packet, Property, Qos, UserProperty, v5_0,
};
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{BODY, MEDIA_TYPE, attributes};

pub(crate) async fn produce(address: &str, count: u32, in_flight: usize) -> f64 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut connection = Connection::<role::Client>::new(Version::V5_0);
    let connect = v5_0::Connect::builder().client_id("plain").unwrap();
    let mut output = Vec::new();
    write(connection.checked_send(connect.clean_start(true).build().unwrap()), &mut output);
    let mut input = vec![0; 16 * 1024];
    let (mut sent, mut confirmed, mut is_admitted) = (0, 0, false);
    let began_at = Instant::now();
    while confirmed < count {
        let under_way = || usize::try_from(sent - confirmed).unwrap();
        let mut room = in_flight - under_way();
        while is_admitted && sent < count && room > 0 {
            write(publish(&mut connection, sent), &mut output);
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

fn publish(connection: &mut Connection<role::Client>, number: u32) -> Vec<Event> {
    let id = number.to_string();
    let mut properties: Vec<_> = attributes(&id)
        .into_iter()
        .map(|(name, value)| Property::UserProperty(UserProperty::new(name, value).unwrap()))
        .collect();
    let media_type = ContentType::new(MEDIA_TYPE).unwrap();
    properties.push(Property::ContentType(media_type));
    let publish = v5_0::Publish::builder().topic_name("plain").unwrap().qos(Qos::AtLeastOnce);
    let publish = publish.packet_id(connection.acquire_packet_id().unwrap());
    connection.checked_send(publish.props(properties).payload(BODY.to_vec()).build().unwrap())
}

fn write(events: Vec<Event>, output: &mut Vec<u8>) {
    for event in events {
        if let Event::RequestSendPacket { packet, .. } = event {
            output.extend_from_slice(&packet.to_continuous_buffer());
        }
    }
}
