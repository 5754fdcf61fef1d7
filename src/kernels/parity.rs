//! The parity harness: a kernel against its reference over awkward sizes, on one thread and on two (tests only).
//!
//! Outputs start as NaN, so an element that a kernel forgets is found; sums are compared relative to the largest
//! magnitude of the reference, so a cancelled sum is not held to the precision of its own small value.

use super::threads::{Pool, pool};
use crate::rng::Rng;
use std::sync::LazyLock;

/// Batches around every boundary of a vector: single, half, full, one past.
pub const BATCHES: [usize; 8] = [1, 2, 7, 8, 9, 16, 17, 33];

/// Sizes of populations, channels and images around every boundary of a block of rows.
pub const SIZES: [usize; 6] = [1, 2, 3, 8, 9, 17];

/// `n` seeded numbers, uniform in `[-1, 1)`.
pub fn random(name: &str, n: usize) -> Vec<f32> {
    let mut rng = Rng::stream(1, name, &[n as u64]);
    (0..n).map(|_| rng.range(-1.0, 1.0)).collect()
}

/// Runs `fast` on an output of `len` NaNs, with one thread and with two, and `reference` likewise; asserts that both
/// runs of `fast` agree bit for bit and lie within `tolerance` of the reference, relative to its largest magnitude.
///
/// # Panics
/// If they differ; the message starts with `what`.
pub fn check(
    what: &str,
    len: usize,
    tolerance: f32,
    fast: impl Fn(&mut [f32]) + Sync,
    reference: impl FnOnce(&mut [f32]),
) {
    static POOLS: LazyLock<[Pool; 2]> = LazyLock::new(|| [1, 2].map(|n| pool(n).unwrap()));
    let run = |pool: &Pool| {
        let mut out = vec![f32::NAN; len];
        pool.run(|| fast(&mut out));
        out
    };
    let [one, two] = [run(&POOLS[0]), run(&POOLS[1])];
    let mut expected = vec![f32::NAN; len];
    reference(&mut expected);
    close(what, &one, &expected, tolerance);
    for (i, (a, b)) in one.iter().zip(&two).enumerate() {
        assert_eq!(a.to_bits(), b.to_bits(), "{what}: element {i} is {a} with 1 thread and {b} with 2");
    }
}

/// Asserts `|got - expected| <= tolerance * max |expected|` for every element; NaN and infinity never pass.
///
/// # Panics
/// If an element differs; the message starts with `what`.
pub fn close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}: lengths differ");
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!(e.is_finite(), "{what}: the reference left element {i} at {e}");
        assert!(g.is_finite() && (g - e).abs() <= tolerance * scale, "{what}: element {i} is {g}, expected {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ones(out: &mut [f32]) {
        out.fill(1.0);
    }

    #[test]
    fn equal_outputs_pass() {
        check("ones", 17, 0.0, ones, ones);
    }

    #[test]
    #[should_panic(expected = "element 16 is NaN")]
    fn a_forgotten_element_is_found() {
        check("short", 17, 1.0, |out| out[..16].fill(1.0), ones);
    }

    #[test]
    #[should_panic(expected = "element 3 is 1.1")]
    fn a_wrong_element_is_found() {
        let wrong = |out: &mut [f32]| {
            out.fill(1.0);
            out[3] = 1.1;
        };
        check("wrong", 17, 1e-3, wrong, ones);
    }

    #[test]
    #[should_panic(expected = "with 1 thread and")]
    fn dependence_on_threads_is_found() {
        check("threads", 3, 0.5, |out| out.fill(rayon::current_num_threads() as f32 * 1e-3 + 1.0), ones);
    }
}
