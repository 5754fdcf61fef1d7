//! `batch_norm`: brings each channel to mean 0 and variance 1, then to a learned gain and bias.
//!
//! Ioffe and Szegedy 2015; momentum, eps and the unbiased running variance are those of PyTorch's `BatchNorm2d`.

use super::{
    Backward, Init, Layer, LayerKind, MapWise, Meeting, Operation, Params, Pass, Role, Shape, TensorSpec, tensor_ranges,
};
use crate::error::Result;
use crate::kernels::batch_norm::{Moments, input_gradient, merge_moments, normalise, tell_gradients, tell_moments};
use std::ops::Range;

/// The row of `LAYERS`.
pub const KIND: LayerKind = LayerKind {
    name: "batch_norm",
    doc: "brings each channel to mean 0 and variance 1, then to a learned gain and bias",
    build,
};

/// Added to the variance.
const EPS: f32 = 1e-5;

/// Share of the new batch in the running statistics.
const MOMENTUM: f32 = 0.1;

/// `y = gain_c * (x - mean_c) / sqrt(var_c + eps) + bias_c`, moments over (H, W, B) of the batch in training and
/// their running averages in evaluation. A flat population is normalised neuron by neuron over the batch.
#[derive(Clone)]
struct BatchNorm {
    shape: Shape,
    /// Where the bias begins in the weights, and the variances in the buffers.
    second: usize,
    /// Moments used by the last forward pass `(C)`: of the whole batch in training.
    moments: Vec<Moments>,
    /// Values per channel in the whole batch of the last training pass.
    values: usize,
    /// Gradient of gain and bias over the whole batch `(C)`.
    sums: Vec<[f32; 2]>,
}

/// Builds it; no parameters.
///
/// # Errors
/// `Usage` for an unknown parameter.
fn build(params: &mut Params, input: Shape) -> Result<Box<dyn Layer>> {
    params.finish()?;
    Ok(Box::new(BatchNorm::new(input)))
}

impl BatchNorm {
    fn new(shape: Shape) -> Self {
        let (moments, sums) = (vec![Moments::default(); shape.c], vec![[0.0; 2]; shape.c]);
        let mut layer = Self { shape, second: 0, moments, values: 0, sums };
        layer.second = tensor_ranges(&layer.tensors())[1].start;
        layer
    }
}

/// Moves the running statistics towards those of a batch of `m` values per channel; `mean (C)`, `var (C)`. The
/// variance is the unbiased one, except where there is only one value.
fn follow(moments: &[Moments], m: usize, mean: &mut [f32], var: &mut [f32]) {
    let unbiased = m as f32 / m.saturating_sub(1).max(1) as f32;
    for ((moments, mean), var) in moments.iter().zip(mean).zip(var) {
        *mean += MOMENTUM * (moments.mean - *mean);
        *var += MOMENTUM * (moments.var * unbiased - *var);
    }
}

impl Layer for BatchNorm {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        vec![
            TensorSpec::new("gain", &[self.shape.c], Role::Plain, Init::Constant(1.0)),
            TensorSpec::new("bias", &[self.shape.c], Role::Plain, Init::Constant(0.0)),
        ]
    }

    fn buffers(&self) -> Vec<TensorSpec> {
        vec![
            TensorSpec::new("mean", &[self.shape.c], Role::Plain, Init::Constant(0.0)),
            TensorSpec::new("var", &[self.shape.c], Role::Plain, Init::Constant(1.0)),
        ]
    }

    fn replicate(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn operation(&self) -> Option<Operation<'_>> {
        Some(Operation::BatchNorm { eps: EPS })
    }

    fn forward(&mut self, pass: &Pass, weights: &[f32], buffers: &[f32], x: &[f32], y: &mut [f32]) {
        let maps = 0..self.shape.c;
        if pass.training {
            let mut told = Vec::new();
            self.tell_forward(maps.clone(), x, &mut told);
            self.hear_forward(&[told]);
        } else {
            self.recall(buffers);
        }
        self.forward_maps(maps, pass, weights, x, y);
    }

    fn follow(&self, buffers: &mut [f32]) {
        let c = self.shape.c;
        let (mean, var) = buffers.split_at_mut(self.second);
        follow(&self.moments, self.values, &mut mean[..c], &mut var[..c]);
    }

    fn backward_part(&mut self, pass: &Pass, back: Backward) {
        let (maps, mut told) = (0..self.shape.c, Vec::new());
        self.tell_backward(maps.clone(), back.x, back.dy, &mut told);
        self.hear_backward(&[told], 0, back.dweights);
        self.backward_maps(maps, pass, back);
    }

    fn map_wise(&mut self) -> Option<&mut dyn MapWise> {
        Some(self)
    }

    fn meeting(&mut self) -> Option<&mut dyn Meeting> {
        Some(self)
    }
}

impl MapWise for BatchNorm {
    fn reads_input(&self) -> bool {
        true
    }

    fn forward_maps(&mut self, maps: Range<usize>, _pass: &Pass, weights: &[f32], x: &[f32], y: &mut [f32]) {
        let (gain, bias) = weights.split_at(self.second);
        normalise(&gain[maps.clone()], &bias[maps.clone()], EPS, &self.moments[maps], x, y);
    }

    fn backward_maps(&mut self, maps: Range<usize>, pass: &Pass, back: Backward) {
        let Backward { weights, x, dy, dx, .. } = back;
        if let Some(dx) = dx {
            let batch = pass.training.then_some((&self.sums[maps.clone()], self.values));
            input_gradient(&weights[maps.clone()], EPS, &self.moments[maps], batch, x, dy, dx);
        }
    }
}

impl Meeting for BatchNorm {
    fn tell_forward(&self, maps: Range<usize>, x: &[f32], told: &mut Vec<f64>) {
        let before = told.len();
        told.resize(before + 3 * maps.len(), 0.0);
        tell_moments(maps.len(), x, &mut told[before..]);
    }

    fn hear_forward(&mut self, told: &[Vec<f64>]) {
        merge_moments(told, &mut self.moments);
        self.values = told.iter().map(|t| t[0]).sum::<f64>() as usize;
    }

    fn recall(&mut self, buffers: &[f32]) {
        let (means, vars) = buffers.split_at(self.second);
        for (moments, (&mean, &var)) in self.moments.iter_mut().zip(means.iter().zip(vars)) {
            *moments = Moments { mean, var };
        }
    }

    fn tell_backward(&self, maps: Range<usize>, x: &[f32], dy: &[f32], told: &mut Vec<f64>) {
        let before = told.len();
        told.resize(before + 2 * maps.len(), 0.0);
        tell_gradients(EPS, &self.moments[maps], x, dy, &mut told[before..]);
    }

    fn hear_backward(&mut self, told: &[Vec<f64>], own: usize, dweights: &mut [f32]) {
        for (c, sums) in self.sums.iter_mut().enumerate() {
            *sums = [0, 1].map(|k| told.iter().map(|t| t[2 * c + k]).sum::<f64>() as f32);
        }
        let (gain, bias) = dweights.split_at_mut(self.second);
        for ((told, gain), bias) in told[own].as_chunks().0.iter().zip(gain).zip(bias) {
            [*gain, *bias] = told.map(|sum: f64| sum as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec;

    #[test]
    fn running_statistics_follow_the_formula_of_pytorch() {
        let mut layer = BatchNorm::new(Shape::flat(1));
        let mut buffers = vec![0.0; spec::tensors_len(&layer.buffers())];
        let var = tensor_ranges(&layer.buffers())[1].start;
        buffers[var] = 1.0;
        let mut weights = vec![0.0; spec::tensors_len(&layer.tensors())];
        weights[0] = 1.0;
        let mut pass = Pass { training: true, batch: 4, slice: 0, seed: 1, step: 0 };
        let mut y = [f32::NAN; 4];
        // Mean 5, biased variance 5, unbiased 20/3; running mean 0.1 * 5, variance 0.9 * 1 + 0.1 * 20/3.
        layer.forward(&pass, &weights, &buffers, &[2.0, 4.0, 6.0, 8.0], &mut y);
        layer.follow(&mut buffers);
        assert!((buffers[0] - 0.5).abs() < 1e-6, "{}", buffers[0]);
        assert!((buffers[var] - (0.9 + 2.0 / 3.0)).abs() < 1e-6, "{}", buffers[var]);
        assert!((y[3] - 3.0 / 5.0f32.sqrt()).abs() < 1e-5, "{y:?}");

        // Evaluation uses the running ones and leaves them alone.
        let kept = buffers.clone();
        pass.training = false;
        layer.forward(&pass, &weights, &buffers, &[2.0, 4.0, 6.0, 8.0], &mut y);
        assert_eq!(buffers, kept);
        assert!((y[0] - 1.5 / (0.9f32 + 2.0 / 3.0).sqrt()).abs() < 1e-5, "{y:?}");
    }
}
