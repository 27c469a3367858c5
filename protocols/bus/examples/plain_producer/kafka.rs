//! Apache Kafka, by rdkafka.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::{BODY, MEDIA_TYPE, PLACES, attributes, confirmed};

pub(crate) async fn produce(address: &str, count: u32, in_flight: usize) -> f64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let topics = PLACES.map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1)));
    admin.create_topics(&topics, &AdminOptions::new()).await.unwrap();
    config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "1");
    let producer: FutureProducer = config.create().unwrap();
    confirmed(count, in_flight, async |id| {
        let mut headers = OwnedHeaders::new();
        for (name, value) in attributes(&id) {
            headers = headers.insert(Header { key: &format!("ce_{name}"), value: Some(value) });
        }
        headers = headers.insert(Header { key: "content-type", value: Some(MEDIA_TYPE) });
        let record = FutureRecord::<(), _>::to("plain").headers(headers).payload(BODY);
        let queued = producer.send_result(record).map_err(|(error, _)| error).unwrap();
        async move { queued.await.unwrap().map(|_| ()).unwrap() }
    })
    .await
}
