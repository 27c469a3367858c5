//! Whether an event concerns a subscription, and which of a thousand it concerns.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use eg_bench::structured;
use eg_event::{CloudEvent, Filter, Subscription, json};
use eg_gateway::matching::MatchIndex;
use serde_json::json;

fn event() -> CloudEvent {
    json::decode(&structured(1)).unwrap_or_else(|error| unreachable!("{error}"))
}

fn parse(filter: &serde_json::Value) -> Filter {
    let mut filters =
        Filter::parse_list(&json!([filter])).unwrap_or_else(|error| unreachable!("{error}"));
    filters.remove(0)
}

fn filters(criterion: &mut Criterion) {
    let event = event();
    let rows = [
        ("exact", json!({ "exact": { "type": "com.example.temperature" } })),
        ("prefix", json!({ "prefix": { "source": "/plant/" } })),
        ("sql", json!({ "sql": "type LIKE 'com.example.%' AND region IN ('eu', 'us')" })),
    ];
    for (name, filter) in rows {
        let filter = parse(&filter);
        criterion.bench_function(&format!("filter/{name}"), |bencher| {
            bencher.iter(|| black_box(&filter).matches(black_box(&event)));
        });
    }
}

fn index(criterion: &mut Criterion) {
    let event = event();
    let subscription = |number: u32| {
        let mut made = Subscription::new(format!("s-{number}"), "http://receiver.test/");
        let ty = format!("com.example.{number}");
        made.event_type = Some(if number == 0 { "com.example.temperature".to_owned() } else { ty });
        (made, number)
    };
    let index = MatchIndex::new((0..1000).map(subscription).collect());
    assert_eq!(index.matching(&event).count(), 1);
    criterion.bench_function("filter/one of 1,000 subscriptions", |bencher| {
        bencher.iter(|| black_box(&index).matching(black_box(&event)).count());
    });
}

criterion_group!(benches, filters, index);
criterion_main!(benches);
