//! Stem layers, forward and backward, at the two image sizes of the default stem; all but `conv` and `dense`.
//!
//! `copy` is the floor: one read and one write of the same activity. Run: `cargo bench --bench stem`.

use bionic_cpu::kernels::threads::pool;
use bionic_cpu::model::{Backward, LAYERS, Layer, LayerKind, Params, Pass, SLICE, Shape, spec::tensors_len};
use bionic_cpu::rng::Rng;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

const BATCH: usize = SLICE;
const SHAPES: [Shape; 2] = [Shape { c: 8, h: 48, w: 48 }, Shape { c: 16, h: 24, w: 24 }];

fn built(kind: &LayerKind, input: Shape) -> Box<dyn Layer> {
    let table = [("layer".to_string(), toml::Value::from(kind.name))].into_iter().collect();
    Params::new(table).and_then(|mut params| (kind.build)(&mut params, input)).expect("defaults build")
}

fn layers(c: &mut Criterion) {
    let one = pool(1).expect("one thread");
    let mut rng = Rng::stream(1, "bench", &[]);
    for input in SHAPES {
        let n = input.n() * BATCH;
        let x: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
        let mut group = c.benchmark_group(input.to_string());
        group.throughput(Throughput::Bytes(8 * n as u64));
        let mut copied = vec![0.0; n];
        group.bench_function("copy", |b| b.iter(|| copied.copy_from_slice(std::hint::black_box(&x))));
        for kind in LAYERS.iter().filter(|kind| !["conv", "dense"].contains(&kind.name)) {
            let mut layer = built(kind, input);
            let pass = Pass { training: true, batch: BATCH, slice: 0, seed: 1, step: 1 };
            let weights: Vec<f32> = (0..tensors_len(&layer.tensors())).map(|_| 0.3 * rng.normal()).collect();
            let buffers = vec![1.0; tensors_len(&layer.buffers())];
            let (mut y, mut dx, mut dweights) =
                (vec![0.0; layer.output().n() * BATCH], vec![0.0; n], vec![0.0; weights.len()]);
            group.bench_function(format!("{} forward", kind.name), |b| {
                b.iter(|| one.run(|| layer.forward(&pass, &weights, &buffers, &x, &mut y)));
            });
            let dy = y.clone();
            group.bench_function(format!("{} backward", kind.name), |b| {
                b.iter(|| {
                    let (weights, x, y, dy, dx) = (&weights, &x, &y, &dy, Some(&mut dx[..]));
                    let back = Backward { weights, x, y, dy, dx, dweights: &mut dweights };
                    one.run(|| layer.backward(&pass, back));
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .sample_size(20);
    targets = layers
}
criterion_main!(benches);
