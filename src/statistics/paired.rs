//! One model against another on the same seeds.

use super::describe::{Description, describe};
use super::effect::hedges_g;
use super::permutation::permutation_p;
use super::t_test::{TTest, t_test};
use super::wilcoxon::{Wilcoxon, wilcoxon};
use serde::{Deserialize, Serialize};

/// Differences that are this part of the largest one apart are the same: `a / n - b / n` in floats depends in its last
/// digits on `a` and `b`, not only on `a - b`, and would break ties.
const ROUNDING: f64 = 1e-10;

/// What paired differences say.
///
/// With n pairs the exact Wilcoxon and permutation p cannot fall below `2^(1 - n)`: 0.0625 with five, so that these
/// tests can tell nothing at the level of 0.05 from fewer than six seeds. The paired t-test can, at the price of taking
/// the differences as normal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Mean difference, its spread over pairs and its 95 % interval.
    pub difference: Description,
    /// Paired t-test; see [`t_test`] for where there is none.
    pub t_test: Option<TTest>,
    /// Wilcoxon's signed-rank test; `None` for one pair.
    pub wilcoxon: Option<Wilcoxon>,
    /// Two-sided p of the sign-flip permutation test of the mean; `None` for one pair.
    pub permutation_p: Option<f64>,
    /// Cohen's d_z with Hedges' correction; see [`hedges_g`] for where there is none.
    pub effect: Option<f64>,
}

/// Compares `ours (n)` with `reference (n)`, pair by pair; differences are ours - reference. `None` without pairs.
///
/// # Panics
/// If the lengths differ or a number is not finite.
pub fn compare(ours: &[f64], reference: &[f64]) -> Option<Comparison> {
    assert_eq!(ours.len(), reference.len(), "pairs need two samples of one length");
    let differences: Vec<f64> = ours.iter().zip(reference).map(|(a, b)| a - b).collect();
    let differences = without_rounding(&differences);
    Some(Comparison {
        difference: describe(&differences)?,
        t_test: t_test(&differences),
        wilcoxon: wilcoxon(&differences),
        permutation_p: permutation_p(&differences),
        effect: hedges_g(&differences),
    })
}

/// `differences (n)` with those made equal whose sizes differ by rounding only, and 0 where that is all there is.
fn without_rounding(differences: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..differences.len()).collect();
    order.sort_by(|&a, &b| differences[a].abs().total_cmp(&differences[b].abs()));
    let largest = order.last().map_or(0.0, |&i| differences[i].abs());
    let (mut out, mut size) = (vec![0.0; differences.len()], 0.0);
    for i in order {
        if differences[i].abs() - size > ROUNDING * largest {
            size = differences[i].abs();
        }
        out[i] = size.copysign(differences[i]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_counts_are_ties_and_constants_again() {
        let of = |hits: [i32; 5]| hits.map(|k| f64::from(k) / 7178.0);
        let (a, b) = (of([4300, 3490, 5311, 2077, 1251]), of([4290, 3480, 5301, 2067, 1241]));
        let raw: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
        assert!(raw.iter().any(|d| *d != raw[0]), "the case shows nothing: {raw:?}");
        let found = compare(&a, &b).unwrap();
        assert_eq!((found.difference.sd, found.t_test, found.effect), (Some(0.0), None, None));
        assert!((found.difference.mean - 10.0 / 7178.0).abs() < 1e-12);
        // Ten and minus ten images: one rank.
        let b = of([4290, 3500, 5301, 2067, 1241]);
        let found = compare(&a, &b).unwrap();
        assert_eq!(found.wilcoxon, Some(Wilcoxon { statistic: 3.0, p: 0.375, exact: true }));
    }

    #[test]
    fn a_comparison_of_few_or_equal_numbers_has_no_nan() {
        assert_eq!(compare(&[], &[]), None);
        let one = compare(&[0.5], &[0.25]).unwrap();
        assert_eq!(one.difference, Description { n: 1, mean: 0.25, sd: None, interval: None });
        assert!(one.t_test.is_none() && one.wilcoxon.is_none() && one.permutation_p.is_none() && one.effect.is_none());
        let same = compare(&[0.5, 0.6, 0.7], &[0.5, 0.6, 0.7]).unwrap();
        assert_eq!(same.difference, Description { n: 3, mean: 0.0, sd: Some(0.0), interval: Some([0.0, 0.0]) });
        assert_eq!((same.t_test.map(|t| t.p), same.permutation_p, same.effect), (Some(1.0), Some(1.0), Some(0.0)));
        for (a, b) in [(&[0.5; 3][..], &[0.25; 3][..]), (&[1e-300, 0.0], &[0.0, 0.0]), (&[0.0, -0.0], &[-0.0, 0.0])] {
            let text = format!("{:?}", compare(a, b));
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}
