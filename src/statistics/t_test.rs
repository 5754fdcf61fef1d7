//! Paired t-test.

use super::describe::{mean, standard_deviation};
use super::student::t_two_sided;
use serde::{Deserialize, Serialize};

/// Outcome of a paired t-test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TTest {
    /// Mean difference in standard errors.
    pub t: f64,
    /// Degrees of freedom: pairs - 1.
    pub df: f64,
    /// Two-sided p.
    pub p: f64,
}

/// Paired t-test of `differences (n)` against 0, as `scipy.stats.ttest_rel`.
///
/// `None` for fewer than two, and where all are the same and not 0: without any spread the statistic has no value. All
/// 0 gives `t = 0`, `p = 1`.
///
/// # Panics
/// If a difference is not finite.
pub fn t_test(differences: &[f64]) -> Option<TTest> {
    let (mean, sd) = (mean(differences)?, standard_deviation(differences)?);
    let n = differences.len() as f64;
    if sd == 0.0 {
        return (mean == 0.0).then_some(TTest { t: 0.0, df: n - 1.0, p: 1.0 });
    }
    let t = mean / (sd / n.sqrt());
    Some(TTest { t, df: n - 1.0, p: t_two_sided(t, n - 1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_spread_is_no_test() {
        assert_eq!(t_test(&[]), None);
        assert_eq!(t_test(&[1.0]), None);
        assert_eq!(t_test(&[0.1; 5]), None);
        assert_eq!(t_test(&[0.0; 5]), Some(TTest { t: 0.0, df: 4.0, p: 1.0 }));
    }

    #[test]
    fn the_sign_of_the_differences_does_not_matter() {
        let (a, b) = (t_test(&[1.0, 2.0, 4.0]).unwrap(), t_test(&[-1.0, -2.0, -4.0]).unwrap());
        assert_eq!((a.t, a.p), (-b.t, b.p));
        assert!(a.p > 0.05 && a.p < 0.2, "{a:?}");
        assert_eq!(t_test(&[-1.0, 1.0]).unwrap().p, 1.0);
    }
}
