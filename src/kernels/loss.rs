//! Softmax and cross-entropy over classes, one sample per lane.

use super::lanes::{load_first, store_first, tiles};
use wide::f32x16;

/// What a batch costs: summed, so that batches of different sizes add up to an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Cross-entropy summed over the batch, in nats.
    pub loss: f64,
    /// Samples whose largest logit is their label's (the first of equals; none where a logit is NaN).
    pub correct: usize,
}

/// `p[k] = exp(z[k]) / Σ_j exp(z[j])` for each sample.
///
/// `logits (K, B)`, `p (K, B)`. The largest logit is subtracted first, so nothing overflows.
///
/// # Panics
/// If a shape is wrong.
pub fn softmax(classes: usize, batch: usize, logits: &[f32], p: &mut [f32]) {
    assert_eq!(logits.len(), classes * batch, "logits must be (K, B)");
    assert_eq!(p.len(), classes * batch, "p must be (K, B)");
    for (b, n) in tiles(batch) {
        let (_, sum) = exponentials(classes, batch, b, n, logits, p);
        scale_tile(classes, batch, b, n, f32x16::ONE / sum, p);
    }
}

/// Cross-entropy `-Σ_k t[k] ln p[k]` against smoothed targets, and its gradient `dlogits = (p - t) / M` for the mean over
/// M samples: the batch, or the larger one of which it is a slice.
///
/// `t = (1 - s) onehot(label) + s / K` with `s = smoothing` in `[0, 1)`: the convention of PyTorch's
/// `CrossEntropyLoss(label_smoothing=s)` (Szegedy et al. 2016). `logits (K, B)`, `labels (B)`, `dlogits (K, B)`.
/// The loss returned is the sum over the batch.
///
/// # Panics
/// If a shape is wrong or a label is not below `classes`.
pub fn softmax_cross_entropy(
    classes: usize,
    batch: usize,
    logits: &[f32],
    labels: &[u8],
    smoothing: f32,
    samples: usize,
    dlogits: &mut [f32],
) -> LossSum {
    assert_eq!(logits.len(), classes * batch, "logits must be (K, B)");
    assert_eq!(labels.len(), batch, "labels must be (B)");
    assert_eq!(dlogits.len(), classes * batch, "dlogits must be (K, B)");
    assert!(labels.iter().all(|&k| usize::from(k) < classes), "labels must be below {classes}");
    let mean = 1.0 / samples as f32;
    let uniform = smoothing / classes as f32;
    let mut total = LossSum::default();
    for (b, n) in tiles(batch) {
        let (max, sum) = exponentials(classes, batch, b, n, logits, dlogits);
        scale_tile(classes, batch, b, n, f32x16::splat(mean) / sum, dlogits);
        for lane in 0..n {
            let (sample, label, max) = (b + lane, usize::from(labels[b + lane]), max.as_array()[lane]);
            // ln p[k] = (z[k] - max) - ln Σ exp(z - max); the targets add up to 1.
            let shifted = |k: usize| f64::from(logits[k * batch + sample]) - f64::from(max);
            let all: f64 = (0..classes).map(shifted).sum();
            let expected = f64::from(1.0 - smoothing) * shifted(label) + f64::from(uniform) * all;
            total.loss += f64::from(sum.as_array()[lane]).ln() - expected;
            total.correct += usize::from((0..classes).position(|k| logits[k * batch + sample] == max) == Some(label));
            for k in 0..classes {
                dlogits[k * batch + sample] -= uniform * mean;
            }
            dlogits[label * batch + sample] -= (1.0 - smoothing) * mean;
        }
    }
    total
}

/// Writes `exp(z - max)` for lanes `b .. b + n`; returns the largest logit and the sum of the exponentials per lane.
fn exponentials(classes: usize, batch: usize, b: usize, n: usize, logits: &[f32], out: &mut [f32]) -> (f32x16, f32x16) {
    let row = |k| load_first(logits, k * batch + b, n);
    let max = (0..classes).fold(f32x16::splat(f32::NEG_INFINITY), |max, k| max.max(row(k)));
    let mut sum = f32x16::ZERO;
    for k in 0..classes {
        let e = (row(k) - max).exp();
        store_first(out, k * batch + b, n, e);
        sum += e;
    }
    (max, sum)
}

fn scale_tile(classes: usize, batch: usize, b: usize, n: usize, factor: f32x16, out: &mut [f32]) {
    for k in 0..classes {
        let at = k * batch + b;
        let v = load_first(out, at, n) * factor;
        store_first(out, at, n, v);
    }
}

/// [`softmax`] as loops.
pub fn softmax_reference(classes: usize, batch: usize, logits: &[f32], p: &mut [f32]) {
    for b in 0..batch {
        let z = |k: usize| logits[k * batch + b];
        let max = (0..classes).map(z).fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = (0..classes).map(|k| (z(k) - max).exp()).sum();
        for k in 0..classes {
            p[k * batch + b] = (z(k) - max).exp() / sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::{BATCHES, close, random};
    use crate::rng::Rng;

    #[test]
    fn softmax_agrees_with_its_reference_and_adds_up_to_one() {
        for batch in BATCHES {
            for classes in [1, 2, 7, 19] {
                let z: Vec<f32> = random("z", classes * batch).iter().map(|v| v * 60.0).collect();
                let (mut p, mut want) = (vec![f32::NAN; z.len()], vec![f32::NAN; z.len()]);
                softmax(classes, batch, &z, &mut p);
                softmax_reference(classes, batch, &z, &mut want);
                close("p", &p, &want, 1e-4);
                for b in 0..batch {
                    let sum: f32 = (0..classes).map(|k| p[k * batch + b]).sum();
                    assert!((sum - 1.0).abs() < 1e-5, "sum {sum}");
                }
            }
        }
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let (classes, mut rng) = (7, Rng::stream(2, "loss", &[]));
        for batch in [1, 3, 17] {
            for smoothing in [0.0, 0.1] {
                let mut z = random("z", classes * batch);
                let labels: Vec<u8> = (0..batch).map(|_| rng.below(classes) as u8).collect();
                let (mut dz, mut scratch) = (vec![f32::NAN; z.len()], vec![f32::NAN; z.len()]);
                softmax_cross_entropy(classes, batch, &z, &labels, smoothing, batch, &mut dz);
                for i in 0..z.len() {
                    let (was, h) = (z[i], 1e-2);
                    let mut at = |v| {
                        z[i] = v;
                        softmax_cross_entropy(classes, batch, &z, &labels, smoothing, batch, &mut scratch).loss
                    };
                    let slope = (at(was + h) - at(was - h)) / f64::from((was + h) - (was - h)) / batch as f64;
                    z[i] = was;
                    assert!((slope - f64::from(dz[i])).abs() < 2e-5, "dlogits[{i}] {}, slope {slope}", dz[i]);
                }
            }
        }
    }

    #[test]
    fn loss_and_hits_of_a_worked_example() {
        // Two samples, two classes: z = (ln 3, 0) and (0, 0), so p = (3/4, 1/4) and (1/2, 1/2).
        let z = [3.0f32.ln(), 0.0, 0.0, 0.0];
        let mut dz = [f32::NAN; 4];
        let sum = softmax_cross_entropy(2, 2, &z, &[0, 1], 0.0, 2, &mut dz);
        let want = -(0.75f64.ln() + 0.5f64.ln());
        assert!((sum.loss - want).abs() < 1e-6, "{}, expected {want}", sum.loss);
        assert_eq!(sum.correct, 1, "of equal logits the first counts");
        close("dlogits", &dz, &[-0.125, 0.25, 0.125, -0.25], 1e-4);
        let smooth = softmax_cross_entropy(2, 2, &z, &[0, 1], 0.2, 2, &mut dz).loss;
        let want = -(0.9 * 0.75f64.ln() + 0.1 * 0.25f64.ln() + 0.5f64.ln());
        assert!((smooth - want).abs() < 1e-6, "{smooth}, expected {want}");
    }

    #[test]
    fn huge_logits_stay_finite() {
        let z = [1e30, -1e30, 300.0, 1000.0, -1000.0, 0.0];
        let mut dz = [f32::NAN; 6];
        let sum = softmax_cross_entropy(2, 3, &z, &[0, 0, 0], 0.1, 3, &mut dz);
        assert!(dz.iter().all(|v| v.is_finite()), "{dz:?}");
        assert!(sum.loss.is_finite());
        assert_eq!(softmax_cross_entropy(1, 1, &[f32::NAN], &[0], 0.0, 1, &mut [0.0]).correct, 0);
    }
}
