//! The measured ceiling of one core, for reading a kernel's speed as a fraction of what the machine can do.
#![allow(dead_code)] // Each bench uses a part of it.

use criterion::Criterion;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use wide::f32x16;

/// Multiply-adds per second x 2 of a loop that touches registers only: 16 independent chains of vectors.
pub static PEAK_FLOPS: LazyLock<f64> = LazyLock::new(|| (0..200).map(|_| fma_flops()).fold(0.0, f64::max));

fn fma_flops() -> f64 {
    let rounds = 40_000;
    let (a, b) = (f32x16::splat(black_box(0.999)), f32x16::splat(black_box(0.001)));
    let mut acc = [f32x16::splat(black_box(1.0)); 16];
    let start = Instant::now();
    for _ in 0..rounds {
        for v in &mut acc {
            *v = v.mul_add(a, b);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    black_box(acc);
    (rounds * 16 * 16 * 2) as f64 / seconds
}

/// Times `f`, which performs `flops` floating-point operations, on one thread with criterion, and prints GFLOP/s and
/// the fraction of [`PEAK_FLOPS`] of its fastest run.
pub fn bench(criterion: &mut Criterion, name: &str, flops: f64, mut f: impl FnMut() + Send) {
    let mut best = Duration::MAX;
    let pool = bionic_cpu::kernels::threads::pool(1).expect("one thread");
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            pool.run(|| {
                let mut total = Duration::ZERO;
                for _ in 0..rounds {
                    let start = Instant::now();
                    f();
                    let time = start.elapsed();
                    best = best.min(time);
                    total += time;
                }
                total
            })
        });
    });
    if best < Duration::MAX {
        let rate = flops / best.as_secs_f64();
        println!("{name:<40} {:>7.1} GFLOP/s {:>5.1} % of peak\n", rate / 1e9, 100.0 * rate / *PEAK_FLOPS);
    }
}

/// Criterion set for a bench of a few seconds.
pub fn short() -> Criterion {
    println!("peak of one core: {:.1} GFLOP/s", *PEAK_FLOPS / 1e9);
    Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(10)
        .configure_from_args()
}

/// `n` numbers between -1 and 1 that repeat in no short period.
pub fn numbers(n: usize) -> Vec<f32> {
    let mut rng = bionic_cpu::rng::Rng::stream(1, "bench", &[n as u64]);
    (0..n).map(|_| rng.range(-1.0, 1.0)).collect()
}

/// Asserts that a fast answer is the reference's before its time counts.
pub fn same(name: &str, got: &[f32], expected: &[f32]) {
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= 1e-4 * scale, "{name}: element {i} is {g}, expected {e}");
    }
}
