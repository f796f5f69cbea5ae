//! Throughput of each operation, in values per second, beside the same in candle's own.

#![expect(clippy::unwrap_used, reason = "a bench that fails to run says so")]

mod cases;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn kernels(criterion: &mut Criterion) {
    for mut case in cases::all() {
        let mut group = criterion.benchmark_group(case.name);
        group.throughput(Throughput::Elements(case.elements)).sample_size(10);
        group.bench_function("own", |bencher| bencher.iter(&mut case.ours));
        group.bench_function("candle", |bencher| bencher.iter(&mut case.candle));
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
