//! Class probabilities of many images.

use super::Network;
use crate::data::{Dataset, EXPRESSIONS, SIDE, Standardize, fill_batch};
use crate::kernels::loss::softmax;
use crate::kernels::scores::winner;

/// Classifies with weights that nobody changes, which it lays out at the start: for images that come one by one.
///
/// That takes as long as 5 to 30 images of [`probabilities`]; after it, an image alone takes three quarters of the
/// time in `bionic`, seven tenths in `baseline` and `deep`.
/// Probabilities differ from those of [`probabilities`] in their last bits at most.
pub struct Classifier<'a> {
    network: &'a mut Network,
    weights: &'a [f32],
    buffers: &'a [f32],
}

impl<'a> Classifier<'a> {
    /// Lays out the weights of `network`.
    pub fn new(network: &'a mut Network, weights: &'a [f32], buffers: &'a [f32]) -> Self {
        network.hold(Some(weights));
        Self { network, weights, buffers }
    }

    /// [`probabilities`] of `indices` in `dataset`.
    pub fn probabilities(
        &mut self,
        dataset: &Dataset,
        indices: &[usize],
        standardize: Standardize,
        mirror: bool,
    ) -> Vec<f32> {
        probabilities(self.network, self.weights, self.buffers, dataset, indices, standardize, mirror)
    }
}

impl Drop for Classifier<'_> {
    fn drop(&mut self) {
        self.network.hold(None);
    }
}

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
        correct += usize::from(winner(row) == usize::from(label));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{self, Split};
    use crate::kernels::threads::pool;
    use crate::model::presets::preset;

    /// The network of a preset and so many faces.
    fn ready(preset_name: &str, images: usize) -> (Network, Dataset, Standardize) {
        let mut config = preset(preset_name).unwrap();
        (config.data.demo_train, config.data.demo_test) = (images, 1);
        let wiring = config.column.enabled.then(|| crate::connectome::load(&config.connectome).unwrap());
        let faces = data::draw(&config.data);
        let standardize = Standardize::of(config.data.standardize, faces.mean_sd(Split::Training));
        (Network::build(&config, wiring.as_ref()).unwrap(), faces, standardize)
    }

    /// Weights and buffers of a seed.
    fn drawn(network: &Network, seed: u64) -> [Vec<f32>; 2] {
        let [mut weights, mut buffers] = [network.weights_len(), network.buffers_len()].map(|len| vec![0.0; len]);
        network.initialise(seed, &mut weights, &mut buffers);
        [weights, buffers]
    }

    /// Of 17 images the last one is a slice of its own; with two threads another replica takes it.
    #[test]
    fn a_classifier_gives_the_same_answers_and_leaves_no_trace() {
        for name in ["bionic", "bionic-ei", "baseline", "deep"] {
            let (mut network, faces, standardize) = ready(name, 17);
            let [weights, buffers] = drawn(&network, 1);
            let all: Vec<usize> = (0..17).collect();
            let bits = |p: &[f32]| p.iter().map(|p| p.to_bits()).collect::<Vec<u32>>();

            let plain = probabilities(&mut network, &weights, &buffers, &faces, &all, standardize, false);
            let answers = [1, 2].map(|threads| {
                let mut classifier = Classifier::new(&mut network, &weights, &buffers);
                let mut answer = |images: &[usize]| classifier.probabilities(&faces, images, standardize, false);
                pool(threads).unwrap().run(|| {
                    let (together, single) = (answer(&all), answer(&all[3..4]));
                    assert!(single.iter().zip(&together[3 * 7..]).all(|(a, b)| (a - b).abs() < 1e-5), "{name}");
                    together
                })
            });
            assert_eq!(bits(&answers[0]), bits(&answers[1]), "{name}: 1 and 2 threads differ");
            assert!(answers[0].iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-5), "{name}");

            let after = probabilities(&mut network, &weights, &buffers, &faces, &all, standardize, false);
            assert_eq!(bits(&after), bits(&plain), "{name}: it left something behind");
        }
    }

    /// What it laid out ends with it: the next one sees other weights.
    #[test]
    fn a_classifier_reads_the_weights_that_it_was_given() {
        let (mut network, faces, standardize) = ready("bionic", 1);
        let mut answer = |seed: u64| {
            let [weights, buffers] = drawn(&network, seed);
            let plain = probabilities(&mut network, &weights, &buffers, &faces, &[0], standardize, false);
            let held =
                Classifier::new(&mut network, &weights, &buffers).probabilities(&faces, &[0], standardize, false);
            assert!(plain.iter().zip(&held).all(|(a, b)| (a - b).abs() < 1e-5));
            held
        };
        assert_ne!(answer(1), answer(2));
    }
}
