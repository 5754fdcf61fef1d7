//! The measured ceilings of one core, for reading a kernel's speed as a fraction of what the machine can do.
#![allow(dead_code)] // Each bench uses a part of it.

use bionic_cpu::aligned::Aligned;
use criterion::Criterion;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use wide::f32x16;

/// Independent chains of vectors that stay in registers: enough to hide the latency of a multiply-add.
const CHAINS: usize = if cfg!(target_feature = "avx512f") { 16 } else { 6 };

/// Multiply-adds per second x 2 of a loop that touches registers only.
pub static PEAK_FLOPS: LazyLock<f64> = LazyLock::new(|| (0..200).map(|_| fma_flops()).fold(0.0, f64::max));

fn fma_flops() -> f64 {
    let rounds = 40_000;
    let (a, b) = (f32x16::splat(black_box(0.999)), f32x16::splat(black_box(0.001)));
    let mut acc = [f32x16::splat(black_box(1.0)); CHAINS];
    let start = Instant::now();
    for _ in 0..rounds {
        for v in &mut acc {
            *v = v.mul_add(a, b);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    black_box(acc);
    (rounds * CHAINS * 16 * 2) as f64 / seconds
}

/// Sizes that stay in the first, second and third cache, and one that stays in none.
const LEVELS: [usize; 4] = [16 << 10, 256 << 10, 4 << 20, 256 << 20];

/// Sums of vectors that stay in registers, a whole number of them in each of [`LEVELS`].
const SUMS: usize = if cfg!(target_feature = "avx512f") { 8 } else { 4 };

/// Bytes per second that one core reads in order from each of [`LEVELS`].
pub static READ_BYTES: LazyLock<[f64; 4]> = LazyLock::new(|| LEVELS.map(read_bytes));

fn read_bytes(size: usize) -> f64 {
    let data = vec![f32x16::splat(black_box(1.0)); size / 64];
    let mut best = f64::MAX;
    let rounds = (64 << 20) / size.min(64 << 20);
    for _ in 0..8 {
        let start = Instant::now();
        for _ in 0..rounds {
            let mut sums = [f32x16::ZERO; SUMS];
            for vectors in black_box(&data).as_chunks::<SUMS>().0 {
                for k in 0..SUMS {
                    sums[k] += vectors[k];
                }
            }
            black_box(sums);
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    (rounds * size) as f64 / best
}

/// Bytes read from something of `size` bytes.
#[derive(Clone, Copy)]
pub struct Traffic {
    /// Bytes read in all.
    pub bytes: f64,
    /// Bytes of what they are read from: decides the cache that it stays in.
    pub size: usize,
}

/// Floating-point operations per second of one core that does `flops` while it reads `traffic`, the slowest of all.
fn roof(flops: f64, traffic: &[Traffic]) -> f64 {
    // A tile of four vectors of the most neurons that have one is in the second cache.
    let limits = [32 << 10, 5 << 18, 16 << 20, usize::MAX];
    traffic.iter().fold(*PEAK_FLOPS, |roof, t| {
        let level = limits.iter().position(|&limit| t.size <= limit).unwrap_or(limits.len() - 1);
        roof.min(flops / t.bytes * READ_BYTES[level])
    })
}

/// Times `f`, which performs `flops` floating-point operations, on one thread with criterion, and prints GFLOP/s and
/// the fraction of [`PEAK_FLOPS`] of its fastest run.
pub fn bench(criterion: &mut Criterion, name: &str, flops: f64, f: impl FnMut() + Send) {
    bench_on(criterion, 1, name, flops, &[], f);
}

/// As [`bench`] on `threads` threads, with the fraction of the roof that `traffic` leaves to so many cores.
pub fn bench_on(
    criterion: &mut Criterion,
    threads: usize,
    name: &str,
    flops: f64,
    traffic: &[Traffic],
    mut f: impl FnMut() + Send,
) {
    let mut best = Duration::MAX;
    let pool = bionic_cpu::kernels::threads::pool(threads).expect("threads");
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
        let (rate, cores) = (flops / best.as_secs_f64(), threads as f64);
        print!("{name:<40} {:>7.1} GFLOP/s {:>5.1} % of peak", rate / 1e9, 100.0 * rate / cores / *PEAK_FLOPS);
        match traffic {
            [] => println!("\n"),
            _ => println!(" {:>5.1} % of the roof of its reads\n", 100.0 * rate / cores / roof(flops, traffic)),
        }
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

/// Prints what one core reads from each cache and from memory.
pub fn print_bandwidth() {
    let [l1, l2, l3, memory] = READ_BYTES.map(|bytes| bytes / 1e9);
    println!("one core reads {l1:.0}, {l2:.0}, {l3:.0} and {memory:.0} GB/s from L1, L2, L3 and memory\n");
}

/// `n` numbers between -1 and 1 that repeat in no short period.
pub fn numbers(n: usize) -> Vec<f32> {
    let mut rng = bionic_cpu::rng::Rng::stream(1, "bench", &[n as u64]);
    (0..n).map(|_| rng.range(-1.0, 1.0)).collect()
}

/// `numbers` on cache lines, as in the network.
pub fn aligned(numbers: &[f32]) -> Aligned {
    let mut copy = Aligned::zeros(numbers.len());
    copy.copy_from_slice(numbers);
    copy
}

/// Asserts that a fast answer is the reference's before its time counts.
pub fn same(name: &str, got: &[f32], expected: &[f32]) {
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= 1e-4 * scale, "{name}: element {i} is {g}, expected {e}");
    }
}
