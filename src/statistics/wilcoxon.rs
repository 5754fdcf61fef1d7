//! Wilcoxon's signed-rank test.

use super::student::normal_two_sided;
use serde::{Deserialize, Serialize};

/// Most differences other than 0 for which the distribution of the statistic is counted out: its counts are exact up to
/// 2^53.
pub const EXACT_RANKS_UP_TO: usize = 50;

/// Outcome of Wilcoxon's signed-rank test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wilcoxon {
    /// The smaller of the sums of ranks of the positive and of the negative differences.
    pub statistic: f64,
    /// Two-sided p.
    pub p: f64,
    /// True if p was counted out, false if it is that of the normal approximation.
    pub exact: bool,
}

/// Wilcoxon's signed-rank test of `differences (n)`; zeros are left out (`zero_method="wilcox"` of
/// `scipy.stats.wilcoxon`), equal sizes share their mean rank.
///
/// Up to [`EXACT_RANKS_UP_TO`] differences p is exact, also with ties (that of SciPy's `method="exact"` is not; its
/// `PermutationMethod` is); beyond, the normal approximation with tie correction and without continuity correction.
/// `None` for fewer than two differences; if all are 0, `p = 1`.
///
/// # Panics
/// If a difference is not finite.
pub fn wilcoxon(differences: &[f64]) -> Option<Wilcoxon> {
    assert!(differences.iter().all(|d| d.is_finite()), "statistics need finite numbers");
    if differences.len() < 2 {
        return None;
    }
    let mut sorted: Vec<f64> = differences.iter().copied().filter(|&d| d != 0.0).collect();
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Twice the rank: whole numbers, also for ties.
    let mut doubled_ranks: Vec<usize> = Vec::new();
    let mut ties = 0.0;
    for group in sorted.chunk_by(|a, b| a.abs() == b.abs()) {
        let (before, k) = (doubled_ranks.len(), group.len());
        doubled_ranks.resize(before + k, 2 * before + k + 1);
        ties += (k as f64).powi(3) - k as f64;
    }
    let total: usize = doubled_ranks.iter().sum();
    let plus: usize = doubled_ranks.iter().zip(&sorted).filter(|(_, d)| **d > 0.0).map(|(r, _)| r).sum();
    let smaller = plus.min(total - plus);
    let exact = sorted.len() <= EXACT_RANKS_UP_TO;
    let p = if exact { exact_p(&doubled_ranks, smaller) } else { approximate_p(sorted.len(), ties, smaller) };
    Some(Wilcoxon { statistic: smaller as f64 / 2.0, p, exact })
}

/// Two-sided p of a sum of `doubled_ranks` that is `smaller`, over all choices of signs.
fn exact_p(doubled_ranks: &[usize], smaller: usize) -> f64 {
    // Choices of positive ranks by their sum, as far as `smaller`; exact up to 2^53.
    let mut choices = vec![0.0f64; smaller + 1];
    choices[0] = 1.0;
    for &rank in doubled_ranks {
        for sum in (rank..=smaller).rev() {
            choices[sum] += choices[sum - rank];
        }
    }
    let all = 2f64.powi(doubled_ranks.len() as i32);
    (2.0 * choices.iter().sum::<f64>() / all).min(1.0)
}

/// Normal approximation for `n` ranks, of which `ties` is the sum of k^3 - k over groups of k equal ones.
fn approximate_p(n: usize, ties: f64, smaller: usize) -> f64 {
    let n = n as f64;
    let variance = (n * (n + 1.0) * (2.0 * n + 1.0) - ties / 2.0) / 24.0;
    normal_two_sided((smaller as f64 / 2.0 - n * (n + 1.0) / 4.0) / variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn few_and_equal_differences_are_defined() {
        assert_eq!(wilcoxon(&[]), None);
        assert_eq!(wilcoxon(&[0.1]), None);
        assert_eq!(wilcoxon(&[0.0; 5]), Some(Wilcoxon { statistic: 0.0, p: 1.0, exact: true }));
        assert_eq!(wilcoxon(&[0.1; 5]), Some(Wilcoxon { statistic: 0.0, p: 0.0625, exact: true }));
        assert_eq!(wilcoxon(&[0.0, 0.0, 0.1]), Some(Wilcoxon { statistic: 0.0, p: 1.0, exact: true }));
        let many = wilcoxon(&[0.1; 60]).unwrap();
        assert!(!many.exact && many.p > 0.0 && many.p < 1e-10, "{many:?}");
    }

    /// All signs, one by one.
    #[test]
    fn agrees_with_plain_enumeration_with_ties_and_zeros() {
        let mut rng = Rng::stream(1, "wilcoxon", &[]);
        for n in 2..=10 {
            for values in [3, 6, 1000] {
                let d: Vec<f64> = (0..n).map(|_| rng.below(2 * values + 1) as f64 - values as f64).collect();
                let found = wilcoxon(&d).unwrap();
                let kept: Vec<f64> = d.iter().copied().filter(|&d| d != 0.0).collect();
                let rank = |x: f64| {
                    let below = kept.iter().filter(|d| d.abs() < x.abs()).count() as f64;
                    let equal = kept.iter().filter(|d| d.abs() == x.abs()).count() as f64;
                    below + (equal + 1.0) / 2.0
                };
                let ranks: Vec<f64> = kept.iter().map(|&d| rank(d)).collect();
                let half = ranks.iter().sum::<f64>() / 2.0;
                let plus: f64 = kept.iter().zip(&ranks).filter(|(d, _)| **d > 0.0).map(|(_, r)| r).sum();
                let far = (0..1usize << kept.len()).filter(|signs| {
                    let sum: f64 = (0..ranks.len()).filter(|i| signs >> i & 1 == 1).map(|i| ranks[i]).sum();
                    (sum - half).abs() >= (plus - half).abs()
                });
                let p = far.count() as f64 / (1usize << kept.len()) as f64;
                assert!((found.p - p).abs() < 1e-15, "{d:?}: {found:?}, enumerated {p}");
                assert_eq!(found.statistic, plus.min(2.0 * half - plus));
            }
        }
    }

    /// At the border between the two.
    #[test]
    fn the_approximation_comes_near_the_exact_value() {
        let mut rng = Rng::stream(2, "wilcoxon", &[]);
        for _ in 0..20 {
            let d: Vec<f64> = (0..EXACT_RANKS_UP_TO).map(|_| f64::from(rng.normal()) + 0.2).collect();
            let exact = wilcoxon(&d).unwrap();
            let approximate = approximate_p(d.len(), 0.0, (2.0 * exact.statistic) as usize);
            assert!((exact.p - approximate).abs() < 0.01, "{exact:?} {approximate}");
        }
    }
}
