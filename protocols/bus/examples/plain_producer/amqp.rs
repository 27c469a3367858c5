//! AMQP 0.9.1, by lapin.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};

use crate::{BODY, MEDIA_TYPE, PLACES, attributes, confirmed};

/// The delivery mode of what a queue keeps on disk (AMQP 0.9.1, basic class).
const PERSISTENT: u8 = 2;

pub(crate) async fn produce(address: &str, count: u32, in_flight: usize) -> f64 {
    let url = format!("amqp://guest:guest@{address}/%2f");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    for name in PLACES {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), durable, FieldTable::default()).await.unwrap();
    }
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    confirmed(count, in_flight, async |id| {
        let mut headers = FieldTable::default();
        for (name, value) in attributes(&id) {
            let name = format!("cloudEvents:{name}");
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(id.into())
            .with_content_type(MEDIA_TYPE.into())
            .with_headers(headers);
        let sent = channel.basic_publish("".into(), "plain".into(), options, BODY, properties);
        let confirmed = sent.await.unwrap();
        async move { drop(confirmed.await.unwrap()) }
    })
    .await
}
