//! `batch_norm`: brings each channel to mean 0 and variance 1, then to a learned gain and bias.
//!
//! Ioffe and Szegedy 2015; momentum, eps and the unbiased running variance are those of PyTorch's `BatchNorm2d`.

use super::{Init, Layer, LayerKind, Operation, Params, Pass, Role, Shape, TensorSpec, tensor_ranges};
use crate::error::Result;
use crate::kernels::batch_norm::{Moments, normalise, normalise_backward, normalise_batch};

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
struct BatchNorm {
    shape: Shape,
    /// Moments used by the last forward pass `(C)`.
    moments: Vec<Moments>,
    /// Gradient of gain and bias `(C)`.
    sums: Vec<[f32; 2]>,
}

/// Builds it; no parameters.
///
/// # Errors
/// `Usage` for an unknown parameter.
fn build(params: &mut Params, input: Shape) -> Result<Box<dyn Layer>> {
    params.finish()?;
    let (moments, sums) = (vec![Moments::default(); input.c], vec![[0.0; 2]; input.c]);
    Ok(Box::new(BatchNorm { shape: input, moments, sums }))
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

    fn operation(&self) -> Option<Operation<'_>> {
        Some(Operation::BatchNorm { eps: EPS })
    }

    fn forward(&mut self, pass: &Pass, weights: &[f32], buffers: &mut [f32], x: &[f32], y: &mut [f32]) {
        let c = self.shape.c;
        let bias = tensor_ranges(&self.tensors())[1].clone();
        let (gain, bias) = (&weights[..c], &weights[bias]);
        let (mean, var) = buffers.split_at_mut(tensor_ranges(&self.buffers())[1].start);
        let (mean, var) = (&mut mean[..c], &mut var[..c]);
        if pass.training {
            normalise_batch(gain, bias, EPS, x, y, &mut self.moments);
            follow(&self.moments, x.len() / c, mean, var);
        } else {
            for ((moments, &mean), &var) in self.moments.iter_mut().zip(&*mean).zip(&*var) {
                *moments = Moments { mean, var };
            }
            normalise(gain, bias, EPS, &self.moments, x, y);
        }
    }

    fn backward(
        &mut self,
        pass: &Pass,
        weights: &[f32],
        x: &[f32],
        _y: &[f32],
        dy: &[f32],
        dx: Option<&mut [f32]>,
        dweights: &mut [f32],
    ) {
        let gain = &weights[..self.shape.c];
        normalise_backward(gain, EPS, &self.moments, pass.training, x, dy, dx, &mut self.sums);
        let bias = tensor_ranges(&self.tensors())[1].start;
        for (c, &[dgain, dbias]) in self.sums.iter().enumerate() {
            dweights[c] = dgain;
            dweights[bias + c] = dbias;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec;

    #[test]
    fn running_statistics_follow_the_formula_of_pytorch() {
        let mut layer = BatchNorm { shape: Shape::flat(1), moments: vec![Moments::default()], sums: vec![[0.0; 2]] };
        let mut buffers = vec![0.0; spec::tensors_len(&layer.buffers())];
        let var = tensor_ranges(&layer.buffers())[1].start;
        buffers[var] = 1.0;
        let mut weights = vec![0.0; spec::tensors_len(&layer.tensors())];
        weights[0] = 1.0;
        let mut pass = Pass { training: true, batch: 4, seed: 1, step: 0 };
        let mut y = [f32::NAN; 4];
        // Mean 5, biased variance 5, unbiased 20/3; running mean 0.1 * 5, variance 0.9 * 1 + 0.1 * 20/3.
        layer.forward(&pass, &weights, &mut buffers, &[2.0, 4.0, 6.0, 8.0], &mut y);
        assert!((buffers[0] - 0.5).abs() < 1e-6, "{}", buffers[0]);
        assert!((buffers[var] - (0.9 + 2.0 / 3.0)).abs() < 1e-6, "{}", buffers[var]);
        assert!((y[3] - 3.0 / 5.0f32.sqrt()).abs() < 1e-5, "{y:?}");

        // Evaluation uses the running ones and leaves them alone.
        let kept = buffers.clone();
        pass.training = false;
        layer.forward(&pass, &weights, &mut buffers, &[2.0, 4.0, 6.0, 8.0], &mut y);
        assert_eq!(buffers, kept);
        assert!((y[0] - 1.5 / (0.9f32 + 2.0 / 3.0).sqrt()).abs() < 1e-5, "{y:?}");
    }
}
