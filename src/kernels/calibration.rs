//! How far the confidence of a classifier can be trusted: reliability by bins and the expected calibration error.
//!
//! Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, equations 1 to 5: the confidence of
//! a sample is the probability of its most probable class, and bin `m` of `M` holds confidences in `((m-1)/M, m/M]`.
//! Golden numbers from NumPy, made by `tools/golden_scores.py`.

use super::scores::winner;

/// Samples of one interval of confidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Bin {
    /// Lower end, outside.
    pub low: f64,
    /// Upper end, inside.
    pub high: f64,
    /// Samples.
    pub n: usize,
    /// Mean confidence; 0 without samples.
    pub confidence: f64,
    /// Part of the samples whose most probable class is their label; 0 without samples.
    pub accuracy: f64,
}

/// Confidence against accuracy.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The bins, equally wide, from 0 to 1.
    pub bins: Vec<Bin>,
    /// Expected calibration error: mean over samples of |accuracy - confidence| of their bin; 0 without samples.
    pub error: f64,
    /// Mean confidence over all samples; 0 without samples.
    pub confidence: f64,
    /// Accuracy over all samples; 0 without samples.
    pub accuracy: f64,
}

/// Calibration of `probabilities (n, C)`, row by row, against `labels (n)`, in `bins` bins.
///
/// The most probable class wins, see [`winner`]. A confidence that is NaN counts as 0.
///
/// # Panics
/// If the shapes do not fit, or there is no class or no bin.
pub fn calibration(probabilities: &[f32], labels: &[u8], classes: usize, bins: usize) -> Calibration {
    assert!(classes > 0 && bins > 0, "there must be a class and a bin");
    assert_eq!(probabilities.len(), labels.len() * classes, "probabilities must be (n, C)");
    // Samples, hits and the sum of confidences of each bin.
    let mut sums = vec![(0usize, 0usize, 0.0f64); bins];
    for (row, &label) in probabilities.chunks_exact(classes).zip(labels) {
        let best = winner(row);
        let confidence = if row[best].is_nan() { 0.0 } else { f64::from(row[best]) };
        let bin = ((confidence * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        let (n, hits, sum) = &mut sums[bin];
        *n += 1;
        *hits += usize::from(best == usize::from(label));
        *sum += confidence;
    }
    let all = labels.len().max(1) as f64;
    let bin = |(i, &(n, hits, sum)): (usize, &(usize, usize, f64))| {
        let (edge, in_bin) = (|i: usize| i as f64 / bins as f64, n.max(1) as f64);
        Bin { low: edge(i), high: edge(i + 1), n, confidence: sum / in_bin, accuracy: hits as f64 / in_bin }
    };
    let bins: Vec<Bin> = sums.iter().enumerate().map(bin).collect();
    Calibration {
        error: bins.iter().map(|b| b.n as f64 * (b.accuracy - b.confidence).abs()).sum::<f64>() / all,
        confidence: sums.iter().map(|s| s.2).sum::<f64>() / all,
        accuracy: sums.iter().map(|s| s.1).sum::<usize>() as f64 / all,
        bins,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::scores::tests::golden_samples;

    /// Two classes: the first three of the golden samples against the others.
    #[test]
    fn equals_numpy() {
        let (probabilities, labels) = golden_samples();
        let two = |row: &[f32]| [row[..3].iter().sum::<f32>(), row[3..].iter().sum()];
        let probabilities: Vec<f32> = probabilities.chunks_exact(7).flat_map(two).collect();
        let labels: Vec<u8> = labels.iter().map(|&l| u8::from(l >= 3)).collect();
        for (bins, error) in [(15, 0.09195312500000002), (16, 0.103359375)] {
            let c = calibration(&probabilities, &labels, 2, bins);
            assert!((c.error - error).abs() < 1e-12, "{bins}: {}", c.error);
            assert!((c.accuracy - 0.66).abs() < 1e-12 && (c.confidence - 0.568046875).abs() < 1e-12, "{c:?}");
            assert_eq!(c.bins.iter().map(|b| b.n).sum::<usize>(), 200);
        }
    }

    #[test]
    fn four_samples_worked_by_hand() {
        // Confidences 0.5 (hit), 0.75 (miss), 0.75 (hit), 1 (hit): the upper end belongs to a bin.
        let p = [0.5, 0.5, 0.25, 0.75, 0.25, 0.75, 0.0, 1.0];
        let c = calibration(&p, &[0, 0, 1, 1], 2, 4);
        let found: Vec<_> = c.bins.iter().map(|b| (b.n, b.confidence, b.accuracy)).collect();
        assert_eq!(found, [(0, 0.0, 0.0), (1, 0.5, 1.0), (2, 0.75, 0.5), (1, 1.0, 1.0)]);
        assert_eq!((c.bins[1].low, c.bins[1].high), (0.25, 0.5));
        assert_eq!((c.error, c.confidence, c.accuracy), (0.25, 0.75, 0.75));
    }

    #[test]
    fn nothing_and_nan_are_counted_too() {
        let none = calibration(&[], &[], 7, 15);
        assert_eq!((none.error, none.bins.len()), (0.0, 15));
        assert_eq!(calibration(&[f32::NAN, f32::NAN], &[0], 2, 3).bins[0].n, 1);
    }

    #[test]
    #[should_panic(expected = "probabilities must be (n, C)")]
    fn shapes_must_fit() {
        calibration(&[0.5; 6], &[0], 2, 3);
    }
}
