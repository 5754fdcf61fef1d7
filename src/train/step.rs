//! One training step: images, forward, backward, optimizer, Hebbian rule.

use super::material::Material;
use crate::data::{EXPRESSIONS, PIXELS, Standardize, fill_batch};
use crate::kernels::loss::softmax_cross_entropy;
use crate::learning::enforce_dale;
use crate::model::Pass;

/// Scratch of one step.
#[derive(Default)]
pub(super) struct Step {
    /// Images `(1, 48, 48, B)`.
    x: Vec<f32>,
    labels: Vec<u8>,
    dlogits: Vec<f32>,
    gradient: Vec<f32>,
}

impl Step {
    /// One training step on the images `part`; returns the summed loss and the number of correct answers.
    pub fn run(
        &mut self,
        material: &mut Material,
        floats: &mut [f32],
        part: &[usize],
        epoch: u64,
        step: u64,
        schedule: f64,
        standardize: Standardize,
    ) -> (f64, usize) {
        let Material { config, dataset, network, optimizer, hebbian, regions, .. } = material;
        let (batch, classes) = (part.len(), EXPRESSIONS.len());
        let parts = regions.split(floats);
        self.x.resize(batch * PIXELS, 0.0);
        self.dlogits.resize(batch * classes, 0.0);
        self.gradient.resize(parts.weights.len(), 0.0);
        self.labels.clear();
        self.labels.extend(part.iter().map(|&i| dataset.labels[i]));
        let augment = config.augment.enabled.then_some((&config.augment, config.seed, epoch));
        fill_batch(dataset, part, augment, standardize, &mut self.x);
        let pass = Pass { training: true, batch, seed: config.seed, step };
        let logits = network.forward(&pass, parts.weights, parts.buffers, &self.x);
        let smoothing = config.learning.label_smoothing;
        let sum = softmax_cross_entropy(classes, batch, logits, &self.labels, smoothing, &mut self.dlogits);
        // `local` supervises the read-out alone, the last layer.
        let first_layer = if config.learning.mode == "local" { network.layers().len() - 1 } else { 0 };
        network.backward(&pass, parts.weights, &self.x, &self.dlogits, first_layer, &mut self.gradient);
        let active = network.tensor_index(first_layer, 0)..network.tensors().len();
        let rate = config.learning.learning_rate * schedule as f32;
        optimizer.step(
            network.tensors(),
            active,
            step,
            rate,
            parts.weights,
            parts.first,
            parts.second,
            &mut self.gradient,
        );
        hebbian.step(network, &pass, &self.x, schedule as f32, optimizer, parts.weights, parts.local);
        enforce_dale(network.tensors(), parts.weights);
        (sum.loss, sum.correct)
    }
}
