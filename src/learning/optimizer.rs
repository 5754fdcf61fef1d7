//! The gradient step: clipping, then Adam, AdamW or SGD with Nesterov momentum, tensor by tensor, in place.

use crate::config::Learning;
use crate::kernels::optimizer::{AdamStep, adam_step, scale, sgd_nesterov_step, square_norm};
use crate::model::{Role, Tensor};
use std::ops::Range;

/// A gradient optimizer. Its moments live in the store, as long as the weights each.
pub struct Optimizer {
    config: Learning,
    /// Norm of the last step's change per tensor.
    change: Vec<f64>,
}

impl Optimizer {
    /// The configured optimizer for `tensors` tensors.
    pub fn new(config: &Learning, tensors: usize) -> Self {
        Self { config: config.clone(), change: vec![0.0; tensors] }
    }

    /// Changes the weights of the tensors `active` by one step of the gradient at `learning_rate`; `step` counts from 0.
    /// `first` and `second` are the moments, laid out as the weights. The gradient is scaled in place where its norm
    /// exceeds the clipping norm. Adam: Kingma & Ba 2015; AdamW: Loshchilov & Hutter 2019; both as in PyTorch.
    /// Returns the norm of the gradient before clipping.
    pub fn step(
        &mut self,
        tensors: &[Tensor],
        active: Range<usize>,
        step: u64,
        learning_rate: f32,
        weights: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradient: &mut [f32],
    ) -> f64 {
        let c = &self.config;
        let tensors = tensors.iter().enumerate().take(active.end).skip(active.start);
        let norm = tensors.clone().map(|(_, t)| square_norm(&gradient[t.range.clone()])).sum::<f64>().sqrt();
        if c.clip_norm > 0.0 && norm > f64::from(c.clip_norm) {
            let factor = (f64::from(c.clip_norm) / (norm + 1e-6)) as f32;
            tensors.clone().for_each(|(_, t)| scale(&mut gradient[t.range.clone()], factor));
        }
        let exponent = i32::try_from(step + 1).unwrap_or(i32::MAX);
        let adam = AdamStep {
            learning_rate,
            beta1: c.beta1,
            beta2: c.beta2,
            epsilon: c.epsilon,
            weight_decay: 0.0,
            decoupled: c.optimizer == "adamw",
            bias_correction1: (1.0 - f64::from(c.beta1).powi(exponent)) as f32,
            bias_correction2: (1.0 - f64::from(c.beta2).powi(exponent)) as f32,
        };
        for (i, t) in tensors {
            let weight_decay = if t.spec.role == Role::Weight { c.weight_decay } else { 0.0 };
            let r = t.range.clone();
            let (w, m, g) = (&mut weights[r.clone()], &mut first[r.clone()], &gradient[r.clone()]);
            let square = if c.optimizer == "sgd" {
                sgd_nesterov_step(learning_rate, c.momentum, weight_decay, w, m, g)
            } else {
                adam_step(&AdamStep { weight_decay, ..adam }, w, m, &mut second[r], g)
            };
            self.change[i] = square.sqrt();
        }
        norm
    }

    /// Norm of the last step's change of tensor `i`.
    pub fn change(&self, i: usize) -> f64 {
        self.change[i]
    }
}
