//! Sign-flip permutation test of a mean difference.

use crate::rng::Rng;

/// Most differences of which all flips are counted: 2^20 sums.
pub const EXACT_FLIPS_UP_TO: usize = 20;
/// Flips drawn for more.
pub const RANDOM_FLIPS: usize = 100_000;
/// Sums that differ by less than this part of the largest possible one are equal: the rest is rounding.
const ROUNDING: f64 = 1e-12;

/// Two-sided p that the mean of `differences (n)` is 0, if each is as likely as its negative: the part of all 2^n sign
/// flips whose mean is at least as far from 0 (as `scipy.stats.permutation_test` with `permutation_type="samples"`).
///
/// Beyond [`EXACT_FLIPS_UP_TO`] differences, of [`RANDOM_FLIPS`] drawn flips and the one observed (the + 1 correction
/// of Phipson and Smyth 2010, which keeps p above 0); the draws are the same at each call. `None` for fewer than two.
///
/// # Panics
/// If a difference is not finite.
pub fn permutation_p(differences: &[f64]) -> Option<f64> {
    assert!(differences.iter().all(|d| d.is_finite()), "statistics need finite numbers");
    let n = differences.len();
    if n < 2 {
        return None;
    }
    let largest: f64 = differences.iter().map(|d| d.abs()).sum();
    let observed = differences.iter().sum::<f64>().abs() - ROUNDING * largest;
    if n <= EXACT_FLIPS_UP_TO {
        // A flip and its opposite are equally far: the first sign stays.
        let far = count_far(differences[0], &differences[1..], observed);
        return Some(far as f64 / (1u64 << (n - 1)) as f64);
    }
    let mut rng = Rng::stream(0, "permutation", &[n as u64]);
    let far = (0..RANDOM_FLIPS).filter(|_| flipped_sum(differences, &mut rng).abs() >= observed);
    Some((far.count() + 1) as f64 / (RANDOM_FLIPS + 1) as f64)
}

/// How many of the sums `sum ± rest[0] ± rest[1] ...` are at least `observed` from 0.
fn count_far(sum: f64, rest: &[f64], observed: f64) -> u64 {
    match rest {
        [] => u64::from(sum.abs() >= observed),
        [first, rest @ ..] => count_far(sum + first, rest, observed) + count_far(sum - first, rest, observed),
    }
}

/// Sum of `differences` under random signs.
fn flipped_sum(differences: &[f64], rng: &mut Rng) -> f64 {
    let mut sum = 0.0;
    for run in differences.chunks(64) {
        let signs = rng.next_u64();
        sum += run.iter().enumerate().map(|(i, d)| if signs >> i & 1 == 0 { *d } else { -d }).sum::<f64>();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symmetric_differences_have_p_one() {
        let mut rng = Rng::stream(1, "symmetric", &[]);
        for n in [1, 2, 5, 10, 40] {
            let half: Vec<f64> = (0..n).map(|_| f64::from(rng.normal())).collect();
            let both: Vec<f64> = half.iter().map(|d| -d).chain(half.iter().copied()).collect();
            assert_eq!(permutation_p(&both), Some(1.0), "{n}");
        }
        assert_eq!(permutation_p(&[0.0; 7]), Some(1.0));
        assert_eq!(permutation_p(&[0.0; 70]), Some(1.0));
    }

    #[test]
    fn all_on_one_side_have_the_smallest_p() {
        assert_eq!(permutation_p(&[]), None);
        assert_eq!(permutation_p(&[0.3]), None);
        for n in 2..=EXACT_FLIPS_UP_TO {
            let d: Vec<f64> = (0..n).map(|i| 0.1 + 0.01 * i as f64).collect();
            assert_eq!(permutation_p(&d), Some(0.5f64.powi(n as i32 - 1)), "{n}");
            // The sums are the same in any order and for the same difference each time, but for rounding.
            assert_eq!(permutation_p(&vec![0.1; n]), Some(0.5f64.powi(n as i32 - 1)), "{n}");
        }
        assert_eq!(permutation_p(&[0.1; 60]), Some(1.0 / 100_001.0));
    }

    /// ±1 flipped at random: the sum is binomial.
    #[test]
    fn drawn_flips_come_near_the_exact_value() {
        for (n, plus) in [(21, 14), (64, 40), (65, 38), (129, 70)] {
            let d: Vec<f64> = (0..n).map(|i| if i < plus { 1.0 } else { -1.0 }).collect();
            let log_choose = |k: usize| (0..k).map(|i| ((n - i) as f64 / (i + 1) as f64).ln()).sum::<f64>();
            let exact: f64 = 2.0 * (plus..=n).map(|k| (log_choose(k) - n as f64 * 2f64.ln()).exp()).sum::<f64>();
            let p = permutation_p(&d).unwrap();
            let error = (exact * (1.0 - exact) / RANDOM_FLIPS as f64).sqrt();
            assert!((p - exact).abs() < 4.0 * error, "{n}: {p}, exactly {exact}");
            assert_eq!(permutation_p(&d), Some(p), "the draws repeat");
        }
    }
}
