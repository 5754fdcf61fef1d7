//! Class probabilities of many images.

use super::Network;
use crate::data::{Dataset, EXPRESSIONS, SIDE, Standardize, fill_batch};
use crate::kernels::loss::softmax;

/// Class probabilities `(n, 7)`, image by image, of `indices` in `dataset`.
/// With `mirror`, the mean of the image's and its mirror image's probabilities (test-time augmentation).
pub fn probabilities(
    network: &mut Network,
    weights: &[f32],
    buffers: &[f32],
    dataset: &Dataset,
    indices: &[usize],
    standardize: Standardize,
    mirror: bool,
) -> Vec<f32> {
    let (classes, views) = (EXPRESSIONS.len(), if mirror { 2 } else { 1 });
    let mut all = vec![0.0; indices.len() * classes];
    let fill = |images: std::ops::Range<usize>, view: usize, x: &mut [f32]| match view {
        0 => fill_batch(dataset, &indices[images], None, standardize, x),
        _ => mirrored(x, images.len()),
    };
    network.evaluate(weights, buffers, views, fill, |logits, out| add_probabilities(logits, views, out), &mut all);
    all
}

/// Adds the class probabilities that the logits `(7, B)` of a slice give to `out (B, 7)`, as one of `views`.
pub(crate) fn add_probabilities(logits: &[f32], views: usize, out: &mut [f32]) {
    let classes = EXPRESSIONS.len();
    let batch = out.len() / classes;
    let mut p = [0.0; EXPRESSIONS.len() * super::SLICE];
    let p = &mut p[..classes * batch];
    softmax(classes, batch, logits, p);
    for (b, row) in out.chunks_exact_mut(classes).enumerate() {
        for (k, v) in row.iter_mut().enumerate() {
            *v += p[k * batch + b] / views as f32;
        }
    }
}

/// Mean cross-entropy and accuracy of probabilities `(n, 7)` against labels `(n)`.
pub fn loss_and_accuracy(probabilities: &[f32], labels: &[u8]) -> (f64, f64) {
    let classes = EXPRESSIONS.len();
    assert_eq!(probabilities.len(), labels.len() * classes, "probabilities must be (n, 7)");
    let (mut loss, mut correct) = (0.0f64, 0usize);
    for (row, &label) in probabilities.chunks_exact(classes).zip(labels) {
        loss -= f64::from(row[usize::from(label)].max(f32::MIN_POSITIVE)).ln();
        let best = row.iter().enumerate().fold(0, |b, (k, v)| if *v > row[b] { k } else { b });
        correct += usize::from(best == usize::from(label));
    }
    let n = labels.len().max(1) as f64;
    (loss / n, correct as f64 / n)
}

/// Mirrors each image of `x (1, 48, 48, B)` left to right.
fn mirrored(x: &mut [f32], batch: usize) {
    for line in x.chunks_exact_mut(SIDE * batch) {
        for column in 0..SIDE / 2 {
            let (left, right) = line.split_at_mut((SIDE - 1 - column) * batch);
            left[column * batch..(column + 1) * batch].swap_with_slice(&mut right[..batch]);
        }
    }
}
