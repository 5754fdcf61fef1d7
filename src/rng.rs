//! Named random streams: every use of chance draws from its own stream, addressed by seed, name and indices.
//!
//! A stream is a function of its address alone, so a resumed run, another number of threads or another
//! order of work draws the same numbers.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng};
use xxhash_rust::xxh3::xxh3_64_with_seed;

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

    /// Approximately standard normal, exact mean and variance, bounded by ±4.9: the sum of eight 16-bit uniforms.
    /// About ten times faster than [`Rng::normal`]; meant for noise, where the tail does not matter.
    pub fn normal_fast(&mut self) -> f32 {
        let (a, b) = (self.next_u64(), self.next_u64());
        let sum: u64 = (0..4).map(|k| (a >> (16 * k) & 0xffff) + (b >> (16 * k) & 0xffff)).sum();
        (sum as f32 - 4.0 * 65_535.0) * (1.0 / (65_536.0 * 0.816_496_6))
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
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
    fn both_normals_have_mean_zero_and_variance_one() {
        let mut rng = Rng::stream(7, "test", &[]);
        for draw in [Rng::normal as fn(&mut Rng) -> f32, Rng::normal_fast] {
            let n = 200_000;
            let (mut sum, mut square) = (0.0f64, 0.0f64);
            for _ in 0..n {
                let v = f64::from(draw(&mut rng));
                sum += v;
                square += v * v;
            }
            assert!((sum / n as f64).abs() < 0.01, "mean {}", sum / n as f64);
            assert!((square / n as f64 - 1.0).abs() < 0.02, "variance {}", square / n as f64);
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
