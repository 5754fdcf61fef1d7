//! Effect size of paired differences.

use super::describe::{mean, standard_deviation};
use statrs::function::gamma::ln_gamma;

/// Cohen's d_z of paired differences (mean / standard deviation of `differences (n)`) with Hedges' correction for small
/// samples, `J = Γ(m / 2) / (sqrt(m / 2) Γ((m - 1) / 2))` with `m = n - 1` (Hedges 1981): at 5 pairs 0.80 d_z.
///
/// `None` for fewer than three, where the correction leaves nothing, and where all are the same and not 0. All 0 gives 0.
///
/// # Panics
/// If a difference is not finite.
pub fn hedges_g(differences: &[f64]) -> Option<f64> {
    let (mean, sd) = (mean(differences)?, standard_deviation(differences)?);
    if differences.len() < 3 || sd == 0.0 {
        return (differences.len() > 2 && mean == 0.0).then_some(0.0);
    }
    let m = (differences.len() - 1) as f64;
    let correction = (ln_gamma(m / 2.0) - 0.5 * (m / 2.0).ln() - ln_gamma((m - 1.0) / 2.0)).exp();
    Some(correction * mean / sd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_correction_is_that_of_the_gamma_function() {
        // Γ(1) / (1 · Γ(1/2)) = 1 / sqrt(π) at two degrees of freedom.
        let g = hedges_g(&[1.0, 2.0, 3.0]).unwrap();
        assert!((g - 2.0 / std::f64::consts::PI.sqrt()).abs() < 1e-12, "{g}");
        // Γ(2) / (sqrt(2) Γ(3/2)) = 0.797885 at four.
        let g = hedges_g(&[0.0, 1.0, 2.0, 3.0, 4.0]).unwrap() / (2.0 / 2.5f64.sqrt());
        assert!((g - 0.797_884_560_802_865).abs() < 1e-12, "{g}");
    }

    #[test]
    fn few_and_equal_differences_have_none() {
        assert_eq!(hedges_g(&[]), None);
        assert_eq!(hedges_g(&[1.0, 2.0]), None);
        assert_eq!(hedges_g(&[0.0, 0.0]), None);
        assert_eq!(hedges_g(&[0.1; 4]), None);
        assert_eq!(hedges_g(&[0.0; 4]), Some(0.0));
    }
}
