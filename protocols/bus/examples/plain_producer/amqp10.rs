//! AMQP 1.0, by fe2o3-amqp. The queues are there: the bus before it, on the same broker, made them.

use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::types::messaging::{ApplicationProperties, Data, Header, Message, Properties};
use fe2o3_amqp::types::primitives::{OrderedMap, SimpleValue};
use fe2o3_amqp::{Connection, Sender, Session};

use crate::{BODY, MEDIA_TYPE, attributes, confirmed};

pub(crate) async fn produce(address: &str, count: u32, in_flight: usize) -> f64 {
    let mut connection = Connection::builder()
        .container_id("plain")
        .max_frame_size(64 * 1024)
        .buffer_size(512)
        .sasl_profile(SaslProfile::Plain { username: "guest".into(), password: "guest".into() })
        .open(&*format!("amqp://{address}"))
        .await
        .unwrap();
    let mut session = Session::begin(&mut connection).await.unwrap();
    let mut sender = Sender::attach(&mut session, "plain", "/amq/queue/plain").await.unwrap();
    confirmed(count, in_flight, async |id| {
        let said = attributes(&id).map(|(name, value)| {
            (format!("cloudEvents:{name}"), SimpleValue::String(value.to_owned()))
        });
        let mut properties = Properties::builder().message_id(id).build();
        properties.content_type = Some(MEDIA_TYPE.into());
        let message = Message::builder()
            .header(Header::builder().durable(true).build())
            .properties(properties)
            .application_properties(ApplicationProperties(OrderedMap::from_iter(said)))
            .data(Data(BODY.to_vec().into()))
            .build();
        let sent = sender.send_batchable(message).await.unwrap();
        async move { drop(sent.await.unwrap()) }
    })
    .await
}
