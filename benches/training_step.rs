//! One whole training step of each preset (images, forward, backward, optimizer, Hebbian rule) on the embedded column and
//! drawn faces, with one thread and with one per core.

use bionic_cpu::model::presets::PRESETS;
use bionic_cpu::train::Stepper;
use criterion::{BenchmarkId, Criterion, Throughput};
use std::time::{Duration, Instant};

/// Batches of drawn faces that are trained on in turn.
const BATCHES: usize = 8;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("training step");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for preset in PRESETS {
        for threads in (1..=cores).step_by(cores.saturating_sub(1).max(1)) {
            let mut config = (preset.config)();
            config.threads = threads;
            config.batch = if preset.name == "deep" { 64 } else { 32 };
            config.data.demo_train = BATCHES * config.batch;
            config.data.demo_test = 1;
            let mut stepper = Stepper::new(&config).expect("every preset trains on drawn faces");
            group.throughput(Throughput::Elements(config.batch as u64));
            let id = BenchmarkId::new(preset.name, format!("batch {}, {threads} threads", config.batch));
            let mut steps = |n: u64| {
                stepper.on_pool(|stepper| {
                    let start = Instant::now();
                    (0..n).for_each(|_| {
                        stepper.step();
                    });
                    start.elapsed()
                })
            };
            group.bench_function(id, |bencher| bencher.iter_custom(&mut steps));
        }
    }
    group.finish();
    criterion.final_summary();
}
