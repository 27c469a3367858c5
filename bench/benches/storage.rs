//! A commit with its fsync, by the number of events in it.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use eg_bench::{anyone, submission};
use eg_event::Clock;
use eg_storage::{StorageConfig, Store};

fn commits(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap_or_else(|error| unreachable!("{error}"));
    let store = Store::open(directory.path(), &StorageConfig::default(), &Clock::system());
    let store = store.unwrap_or_else(|error| unreachable!("{error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.unwrap_or_else(|error| unreachable!("{error}"));
    let principal = runtime.block_on(anyone());
    let mut next = 0;
    let mut group = criterion.benchmark_group("storage");
    for count in [1, 64, 1024] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("commit", count), |bencher| {
            let batch = || {
                let ids = next..next + count;
                next = ids.end;
                ids.map(|id| (submission(&principal, id), 0)).collect()
            };
            let append = |batch| runtime.block_on(store.journal().append(batch));
            bencher.iter_batched(batch, append, BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
