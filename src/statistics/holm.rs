//! Holm's correction for several tests.

/// Holm's step-down adjustment of the family `p (m)`: each value times the number of values that are not smaller before
/// it, at most 1, never below that of a smaller one. Rejecting where the result is below 0.05 keeps the chance of any
/// false rejection in the family below 0.05 (Holm 1979).
///
/// # Panics
/// If a value is not in `[0, 1]`.
pub fn holm(p: &[f64]) -> Vec<f64> {
    assert!(p.iter().all(|p| (0.0..=1.0).contains(p)), "p must be in [0, 1]: {p:?}");
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let (mut adjusted, mut least) = (vec![0.0; p.len()], 0.0f64);
    for (rank, &i) in order.iter().enumerate() {
        least = least.max(((p.len() - rank) as f64 * p[i]).min(1.0));
        adjusted[i] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_family_by_hand() {
        assert_eq!(holm(&[]), [0.0; 0]);
        assert_eq!(holm(&[0.04]), [0.04]);
        assert_eq!(holm(&[0.5, 0.01, 0.25, 0.02]), [0.5, 0.04, 0.5, 0.06]);
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    #[test]
    fn adjusted_values_are_monotone_and_never_below_the_raw_ones() {
        let mut rng = Rng::stream(1, "holm", &[]);
        for m in 1..30 {
            let p: Vec<f64> = (0..m).map(|_| f64::from(rng.uniform()).powi(3)).collect();
            let adjusted = holm(&p);
            for i in 0..m {
                assert!(p[i] <= adjusted[i] && adjusted[i] <= 1.0, "{p:?} {adjusted:?}");
                // No more than Bonferroni.
                assert!(adjusted[i] <= (m as f64 * p[i]).min(1.0) + 1e-15);
                assert!((0..m).all(|k| p[i] > p[k] || adjusted[i] <= adjusted[k]), "{p:?} {adjusted:?}");
            }
        }
    }
}
