//! Mean, standard deviation and 95 % interval of one sample.

use super::student::t_quantile;
use serde::{Deserialize, Serialize};

/// Mean, spread and 95 % interval of the mean of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Numbers in the sample, at least 1.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (divisor n - 1); `None` for a single number.
    pub sd: Option<f64>,
    /// Lower and upper end of the 95 % interval of the mean (Student's t, n - 1 degrees of freedom); `None` for a single
    /// number.
    pub interval: Option<[f64; 2]>,
}

/// Describes `values (n)`; `None` if there are none.
///
/// # Panics
/// If a value is not finite.
pub fn describe(values: &[f64]) -> Option<Description> {
    let (n, mean) = (values.len(), mean(values)?);
    let sd = standard_deviation(values);
    let interval = sd.map(|sd| {
        let half = t_quantile(0.05, (n - 1) as f64) * sd / (n as f64).sqrt();
        [mean - half, mean + half]
    });
    Some(Description { n, mean, sd, interval })
}

/// Arithmetic mean of `values (n)`; `None` if there are none. Equal values have exactly that mean.
///
/// # Panics
/// If a value is not finite.
pub fn mean(values: &[f64]) -> Option<f64> {
    assert!(values.iter().all(|v| v.is_finite()), "statistics need finite numbers");
    let &first = values.first()?;
    Some(first + values.iter().map(|v| v - first).sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation of `values (n)`, divisor n - 1; `None` for fewer than two. Equal values have exactly 0.
///
/// # Panics
/// If a value is not finite.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn few_and_equal_numbers_are_described_without_nan() {
        assert_eq!(describe(&[]), None);
        assert_eq!(describe(&[0.3]), Some(Description { n: 1, mean: 0.3, sd: None, interval: None }));
        // 0.1 + 0.1 + 0.1 is not 0.3.
        let equal = describe(&[0.1; 3]);
        assert_eq!(equal, Some(Description { n: 3, mean: 0.1, sd: Some(0.0), interval: Some([0.1, 0.1]) }));
    }

    #[test]
    fn the_interval_covers_the_mean_and_the_mean_lies_in_the_sample() {
        let mut rng = Rng::stream(1, "describe", &[]);
        for n in 2..40 {
            let values: Vec<f64> = (0..n).map(|_| 0.6 + 0.01 * f64::from(rng.normal())).collect();
            let found = describe(&values).unwrap();
            let [low, high] = found.interval.unwrap();
            assert!(low < found.mean && found.mean < high, "{found:?}");
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!(least <= found.mean && found.mean <= most, "{found:?}");
        }
    }

    /// A 95 % interval holds the true mean 95 times of 100.
    #[test]
    fn the_interval_holds_what_it_promises() {
        let mut rng = Rng::stream(2, "describe", &[]);
        let trials = 20_000;
        let held = (0..trials).filter(|_| {
            let values: Vec<f64> = (0..5).map(|_| f64::from(rng.normal())).collect();
            describe(&values).unwrap().interval.is_some_and(|[low, high]| low <= 0.0 && 0.0 <= high)
        });
        let part = held.count() as f64 / f64::from(trials);
        assert!((part - 0.95).abs() < 0.006, "{part}");
    }
}
