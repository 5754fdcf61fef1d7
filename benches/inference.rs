//! From bytes to class probabilities with each preset: one image on one thread, and 128 on one and on every core.

use bionic_cpu::connectome;
use bionic_cpu::data::{self, Split, Standardize};
use bionic_cpu::kernels::threads::pool;
use bionic_cpu::model::Network;
use bionic_cpu::model::inference::Classifier;
use bionic_cpu::model::presets::PRESETS;
use criterion::{BenchmarkId, Criterion, Throughput};
use std::time::Duration;

const MANY: usize = 128;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("inference");
    group.sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for preset in PRESETS {
        let mut config = (preset.config)();
        (config.data.demo_train, config.data.demo_test) = (MANY, 1);
        let wiring = config.column.enabled.then(|| connectome::load(&config.connectome).expect("the embedded column"));
        let mut network = Network::build(&config, wiring.as_ref()).expect("every preset builds");
        let (mut weights, mut buffers) = (vec![0.0; network.weights_len()], vec![0.0; network.buffers_len()]);
        network.initialise(config.seed, &mut weights, &mut buffers);
        let faces = data::draw(&config.data);
        let standardize = Standardize::of(config.data.standardize, faces.mean_sd(Split::Training));
        let indices = faces.indices(Split::Training);
        let mut classifier = Classifier::new(&mut network, &weights, &buffers);
        let mut classify = |threads: usize, n: usize| {
            let part = &indices[..n];
            let p = classifier.probabilities(&faces, part, standardize, false);
            let sums = p.chunks_exact(data::EXPRESSIONS.len()).map(|p| p.iter().sum::<f32>());
            // Checked once before timing: probabilities of every image.
            assert!(p.len() == n * data::EXPRESSIONS.len() && sums.into_iter().all(|s| (s - 1.0).abs() < 1e-4));
            group.throughput(Throughput::Elements(n as u64));
            let pool = pool(threads).expect("threads");
            group.bench_function(BenchmarkId::new(preset.name, format!("batch {n}, {threads} threads")), |bencher| {
                pool.run(|| {
                    bencher.iter(|| classifier.probabilities(&faces, part, standardize, false));
                });
            });
        };
        for (threads, n) in [(1, 1), (1, MANY), (cores, MANY)] {
            classify(threads, n);
        }
    }
    group.finish();
    criterion.final_summary();
}
