//! One training step: images, forward, backward, optimizer, Hebbian rule.

use super::material::Material;
use crate::aligned::Aligned;
use crate::config::LearningMode;
use crate::data::{EXPRESSIONS, Standardize, fill_batch};
use crate::kernels::loss::softmax_cross_entropy;
use crate::learning::enforce_dale;
use crate::model::Pass;
use std::ops::Range;

/// Scratch of one step.
#[derive(Default)]
pub(super) struct Step {
    gradient: Aligned,
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
        let parts = regions.split(floats);
        self.gradient.resize(parts.weights.len(), 0.0);
        let augment = config.augment.enabled.then_some((&config.augment, config.seed, epoch));
        let (smoothing, samples) = (config.learning.label_smoothing, part.len());
        let pass = Pass { training: true, batch: samples, slice: 0, seed: config.seed, step };
        let fill = |images: Range<usize>, x: &mut [f32]| fill_batch(dataset, &part[images], augment, standardize, x);
        let read = |images: Range<usize>, logits: &[f32], dlogits: &mut [f32]| {
            let labels: Vec<u8> = part[images].iter().map(|&i| dataset.labels[i]).collect();
            softmax_cross_entropy(EXPRESSIONS.len(), labels.len(), logits, &labels, smoothing, samples, dlogits)
        };
        let sums = network.ascend(&pass, parts.weights, parts.buffers, fill, read);
        // `local` supervises the read-out alone, the last layer.
        let first_layer = if config.learning.mode == LearningMode::Local { network.layers().len() - 1 } else { 0 };
        let square_norm = network.descend(&pass, parts.weights, first_layer, &mut self.gradient);
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
            &self.gradient,
            square_norm,
        );
        hebbian.step(network, &pass, schedule as f32, optimizer, parts.weights, parts.local);
        enforce_dale(network.tensors(), parts.weights);
        (sums.iter().map(|s| s.loss).sum(), sums.iter().map(|s| s.correct).sum())
    }
}
