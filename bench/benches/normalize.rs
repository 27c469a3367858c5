//! From what was sent to an event: by topic mapping, and from JSON.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use eg_bench::{CONNECT, publish, structured};
use eg_event::{Timestamp, json};
use eg_mqtt::codec::{Accept, Codec, Incoming, Publish, Version};
use eg_mqtt::identifier::Identifiers;
use eg_mqtt::mapping::Mappings;
use eg_mqtt::normalize::{Context, normalize};

fn message() -> Publish {
    let mut codec = Codec::new(1 << 20, 1 << 16);
    let mut out = Vec::new();
    codec.read(CONNECT, &mut out);
    let accept = Accept {
        session_present: false,
        assigned_client_id: None,
        session_expiry_s: None,
        keep_alive_s: None,
        receive_maximum: 1,
        topic_alias_maximum: 0,
        authentication_method: None,
        user_properties: Vec::new(),
    };
    assert!(codec.accept(&accept, &mut out), "CONNACK fits");
    match codec.read(&publish(1), &mut out).packets.pop() {
        Some(Incoming::Publish(message)) => message,
        other => unreachable!("{other:?}"),
    }
}

fn bench(criterion: &mut Criterion) {
    let message = message();
    let (mappings, identifiers) = (Mappings::new(&[]), Identifiers::default());
    let mappings = mappings.unwrap_or_else(|error| unreachable!("{error}"));
    let context = Context {
        version: Version::V5,
        client_id: "press-1",
        user: "",
        now: Timestamp::default(),
        now_text: "2026-05-04T09:12:31.195Z",
        mappings: &mappings,
        identifiers: &identifiers,
        declared: None,
    };
    criterion.bench_function("normalize/a payload by its topic", |bencher| {
        bencher.iter(|| normalize(black_box(&message), context));
    });
    let text = structured(1);
    criterion.bench_function("normalize/an event in JSON", |bencher| {
        bencher.iter(|| json::decode(black_box(&text)));
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
