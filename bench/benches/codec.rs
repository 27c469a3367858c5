//! Packets in and acknowledgements out.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eg_bench::{CONNECT, publish};
use eg_mqtt::acknowledge::SUCCESS;
use eg_mqtt::codec::{Accept, Acknowledgement, Codec, Kind};

const PACKETS: u16 = 64;

fn connected() -> Codec {
    let mut codec = Codec::new(1 << 20, 1 << 16);
    let mut out = Vec::new();
    codec.read(CONNECT, &mut out);
    let accept = Accept {
        session_present: false,
        assigned_client_id: None,
        session_expiry_s: None,
        keep_alive_s: None,
        receive_maximum: PACKETS,
        topic_alias_maximum: 0,
        authentication_method: None,
        user_properties: Vec::new(),
    };
    assert!(codec.accept(&accept, &mut out), "CONNACK fits");
    codec
}

fn codec(criterion: &mut Criterion) {
    let stream: Vec<u8> = (1..=PACKETS).flat_map(publish).collect();
    let told = Acknowledgement { code: SUCCESS, reason: None, properties: Vec::new() };
    let mut codec = connected();
    let mut out = Vec::new();
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(PACKETS.into()));
    group.bench_function("64 PUBLISH in, 64 PUBACK out", |bencher| {
        bencher.iter(|| {
            out.clear();
            let read = codec.read(black_box(&stream), &mut out);
            assert_eq!(read.packets.len(), usize::from(PACKETS));
            for packet_id in 1..=PACKETS {
                codec.acknowledge(Kind::Puback, packet_id, &told, &mut out);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
