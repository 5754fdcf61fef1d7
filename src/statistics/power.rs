//! What a paired t-test can find.

use super::level::MIN_PAIRS;
use super::student::t_quantile;
use statrs::function::beta::beta_reg;
use statrs::function::gamma::ln_gamma;

/// Part of all studies that find a difference of the size of [`detectable`], by convention (Cohen 1988).
pub const POWER: f64 = 0.8;

/// The true mean of paired differences, in their standard deviations, that a two-sided paired t-test of `pairs` pairs finds
/// at `level` in [`POWER`] of all studies. `None` for fewer than [`MIN_PAIRS`].
///
/// # Panics
/// If `level` is not from 1e-6 to below [`POWER`]: the sum behind it grows without end.
pub fn detectable(pairs: usize, level: f64) -> Option<f64> {
    assert!((1e-6..POWER).contains(&level), "detectable at a level of {level} has no value");
    let df = if pairs < MIN_PAIRS { return None } else { (pairs - 1) as f64 };
    let limit = t_quantile(level, df);
    let (mut low, mut high) = (0.0, 1.0);
    while power(high, limit, df) < POWER {
        (low, high) = (high, 2.0 * high);
    }
    while high - low > 1e-12 * high {
        let middle = 0.5 * (low + high);
        *(if power(middle, limit, df) < POWER { &mut low } else { &mut high }) = middle;
    }
    Some(high / (pairs as f64).sqrt())
}

/// `P(|T| >= limit)` for noncentral t with `df` degrees of freedom about `shift > 0`: its square is a noncentral F, a mixture
/// of beta distributions with Poisson's weights (Johnson, Kotz & Balakrishnan 1995, eq. 30.10).
fn power(shift: f64, limit: f64, df: f64) -> f64 {
    let mean = 0.5 * shift * shift;
    // Weights further out are below 1e-20.
    let reach = 10.0 * mean.sqrt() + 40.0;
    let terms = (mean - reach).max(0.0) as u64..=(mean + reach) as u64;
    let part = df / (df + limit * limit);
    terms
        .map(|j| {
            let j = j as f64;
            (j * mean.ln() - mean - ln_gamma(j + 1.0)).exp() * beta_reg(0.5 * df, 0.5 + j, part)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::statistics::{LEVEL, t_test};

    #[test]
    fn too_few_pairs_find_nothing() {
        assert!((0..MIN_PAIRS).all(|pairs| detectable(pairs, LEVEL).is_none()));
    }

    #[test]
    fn more_pairs_find_less_and_stricter_levels_more() {
        // The strictest is that of 16,384 comparisons.
        for level in [0.05, 0.05 / 13.0, 0.05 / 16_384.0] {
            let found: Vec<f64> = (MIN_PAIRS..40).filter_map(|pairs| detectable(pairs, level)).collect();
            assert!(found.is_sorted_by(|a, b| a > b), "{found:?}");
            assert!((MIN_PAIRS..40).all(|pairs| detectable(pairs, level) < detectable(pairs, level / 2.0)));
        }
    }

    /// Four of five studies with a difference of that size find it.
    #[test]
    fn it_is_found_as_often_as_promised() {
        let mut rng = Rng::stream(3, "power", &[]);
        for (pairs, level) in [(3, 0.05), (5, 0.05), (5, 0.05 / 13.0), (12, 0.01)] {
            let (shift, trials) = (detectable(pairs, level).unwrap(), 20_000);
            let found = (0..trials).filter(|_| {
                let differences: Vec<f64> = (0..pairs).map(|_| shift + f64::from(rng.normal())).collect();
                t_test(&differences).is_some_and(|t| t.p < level)
            });
            let part = found.count() as f64 / f64::from(trials);
            assert!((part - POWER).abs() < 0.012, "{pairs} pairs at {level}: {part}");
        }
    }
}
