//! Named random streams: every use of chance draws from its own stream, addressed by seed, name and indices.
//!
//! A stream is a function of its address alone, so a resumed run, another number of threads or another
//! order of work draws the same numbers.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Generators side by side in [`Rng::fill_noise`].
const LANES: usize = 16;
/// The lower byte of each half of a word.
const BYTES: u32 = 0x00ff_00ff;

/// The next 32 bits of each generator (xoshiro128++: Blackman & Vigna 2021).
#[inline(always)]
fn draw(state: &mut [[u32; LANES]; 4]) -> [u32; LANES] {
    let mut bits = [0; LANES];
    let [s0, s1, s2, s3] = state;
    for lane in 0..LANES {
        bits[lane] = s0[lane].wrapping_add(s3[lane]).rotate_left(7).wrapping_add(s0[lane]);
        let t = s1[lane] << 9;
        s2[lane] ^= s0[lane];
        s3[lane] ^= s1[lane];
        s1[lane] ^= s2[lane];
        s0[lane] ^= s3[lane];
        s2[lane] ^= t;
        s3[lane] = s3[lane].rotate_left(11);
    }
    bits
}

/// A seeded stream of random numbers (xoshiro256++).
#[derive(Clone, Debug)]
pub struct Rng(Xoshiro256PlusPlus);

impl Rng {
    /// The stream called `name` of run `seed` at `indices` (epoch, image, step, ...).
    pub fn stream(seed: u64, name: &str, indices: &[u64]) -> Self {
        let mut h = xxh3_64_with_seed(name.as_bytes(), seed);
        for &i in indices {
            h = xxh3_64_with_seed(&i.to_le_bytes(), h);
        }
        Self(Xoshiro256PlusPlus::seed_from_u64(h))
    }

    /// 64 uniform random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `[0, 1)`, 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
    }

    /// Uniform in `[low, high)`.
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Uniform integer in `0..n`.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0) has no value to give");
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.uniform() < p
    }

    /// Standard normal (Box-Muller, one draw of the pair).
    pub fn normal(&mut self) -> f32 {
        let u = 1.0 - self.uniform();
        let v = self.uniform();
        (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
    }

    /// Fills `out` with approximately standard normal numbers, exact mean and variance, bounded by ±4.9: each the sum of
    /// eight uniform bytes. Sixteen generators side by side (xoshiro128++, seeded from this one) in vector code: meant
    /// for noise, where the tail does not matter and a number must cost less than a nanosecond.
    pub fn fill_noise(&mut self, out: &mut [f32]) {
        let mut state = [[0u32; LANES]; 4];
        state.as_flattened_mut().iter_mut().for_each(|word| *word = (self.next_u64() >> 32) as u32);
        // Variance of a uniform byte: (256^2 - 1) / 12.
        let scale = 1.0 / (8.0 * 65_535.0 / 12.0f32).sqrt();
        let mut next = || {
            let (a, b) = (draw(&mut state), draw(&mut state));
            let mut run = [0.0; LANES];
            for lane in 0..LANES {
                let pair = (a[lane] & BYTES) + (a[lane] >> 8 & BYTES) + (b[lane] & BYTES) + (b[lane] >> 8 & BYTES);
                run[lane] = ((pair & 0xffff) + (pair >> 16)) as i32 as f32 * scale - 8.0 * 127.5 * scale;
            }
            run
        };
        // Whole runs apart from the last, so that they are written as vectors.
        let (runs, rest) = out.as_chunks_mut::<LANES>();
        for run in runs {
            *run = next();
        }
        if !rest.is_empty() {
            rest.copy_from_slice(&next()[..rest.len()]);
        }
    }

    /// One such number, the sum of eight 16-bit uniforms.
    pub fn normal_fast(&mut self) -> f32 {
        normal_of([self.next_u64(), self.next_u64()])
    }

    /// Fills `out` with [`Rng::normal_fast`], the same numbers in the same order.
    pub fn fill_normal_fast(&mut self, out: &mut [f32]) {
        let mut draws = [[0u64; 2]; 64];
        for out in out.chunks_mut(draws.len()) {
            draws[..out.len()].iter_mut().flatten().for_each(|draw| *draw = self.next_u64());
            out.iter_mut().zip(draws).for_each(|(out, draws)| *out = normal_of(draws));
        }
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// The number that [`Rng::normal_fast`] makes of two draws.
fn normal_of([a, b]: [u64; 2]) -> f32 {
    // Sums of pairs of 16-bit numbers, two in a word.
    const PAIRS: u64 = 0x0000_ffff_0000_ffff;
    let halves = (a & PAIRS) + (a >> 16 & PAIRS) + (b & PAIRS) + (b >> 16 & PAIRS);
    let sum = (halves as u32).wrapping_add((halves >> 32) as u32) as i32;
    (sum as f32 - 4.0 * 65_535.0) * (1.0 / (65_536.0 * 0.816_496_6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let first = |name, indices: &[u64]| Rng::stream(1, name, indices).next_u64();
        assert_eq!(first("shuffle", &[3]), first("shuffle", &[3]));
        assert_ne!(first("shuffle", &[3]), first("shuffle", &[4]));
        assert_ne!(first("shuffle", &[3]), first("augment", &[3]));
        assert_ne!(first("a", &[1, 2]), first("a", &[2, 1]));
    }

    #[test]
    fn all_normals_have_mean_zero_and_variance_one() {
        let mut rng = Rng::stream(7, "test", &[]);
        let n = 200_003;
        let mut fast = vec![f32::NAN; n];
        rng.fill_noise(&mut fast);
        let exact: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
        let single: Vec<f32> = (0..n).map(|_| rng.normal_fast()).collect();
        for numbers in [&fast, &exact, &single] {
            let sum: f64 = numbers.iter().map(|&v| f64::from(v)).sum();
            let square: f64 = numbers.iter().map(|&v| f64::from(v).powi(2)).sum();
            assert!((sum / n as f64).abs() < 0.01, "mean {}", sum / n as f64);
            assert!((square / n as f64 - 1.0).abs() < 0.02, "variance {}", square / n as f64);
        }
        // Neighbours, in a lane and across lanes, have nothing to do with each other.
        for apart in [1, LANES] {
            let both: f64 = fast.iter().zip(&fast[apart..]).map(|(a, b)| f64::from(a * b)).sum();
            assert!((both / n as f64).abs() < 0.01, "covariance {} at {apart}", both / n as f64);
        }
        let tail = fast.iter().filter(|v| v.abs() > 2.0).count() as f64 / n as f64;
        assert!((tail - 0.0455).abs() < 0.004, "beyond two deviations: {tail}");
    }

    #[test]
    fn a_filled_slice_holds_what_single_draws_give() {
        for n in [0, 1, 63, 64, 65, 200] {
            let (mut one, mut many) = (Rng::stream(7, "test", &[]), Rng::stream(7, "test", &[]));
            let mut filled = vec![f32::NAN; n];
            many.fill_normal_fast(&mut filled);
            assert!(filled.iter().all(|&v| v == one.normal_fast()), "{n}");
            assert_eq!(one.next_u64(), many.next_u64());
        }
    }

    #[test]
    fn below_covers_its_range() {
        let mut rng = Rng::stream(1, "below", &[]);
        let mut seen = [0usize; 5];
        for _ in 0..1000 {
            seen[rng.below(5)] += 1;
        }
        assert!(seen.iter().all(|&n| n > 150), "{seen:?}");
    }
}
