//! NATS `JetStream`, by async-nats.

use async_nats::jetstream::{self, message::PublishMessage, stream};

use crate::{BODY, MEDIA_TYPE, PLACES, attributes, confirmed};

pub(crate) async fn produce(address: &str, count: u32, in_flight: usize) -> f64 {
    let client = async_nats::connect(address).await.unwrap();
    let jetstream = jetstream::new(client);
    for name in PLACES {
        let config = stream::Config {
            name: name.to_owned(),
            subjects: vec![name.to_owned()],
            ..stream::Config::default()
        };
        jetstream.get_or_create_stream(config).await.unwrap();
    }
    confirmed(count, in_flight, async |id| {
        let mut message = PublishMessage::build().payload(BODY.into());
        for (name, value) in attributes(&id) {
            message = message.header(&*format!("ce-{name}"), value);
        }
        message = message.header("ce-datacontenttype", MEDIA_TYPE);
        message = message.message_id(format!("/bench {id}"));
        let confirmed = jetstream.send_publish("plain", message).await.unwrap();
        async move { drop(confirmed.await.unwrap()) }
    })
    .await
}
