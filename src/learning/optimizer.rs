//! The gradient step: clipping, then Adam, AdamW or SGD with Nesterov momentum, tensor by tensor, in place.

use crate::config::{Learning, OptimizerKind};
use crate::kernels::optimizer::{AdamStep, adam_step, sgd_nesterov_step};
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
    /// `first` and `second` are the moments and `gradient` the gradient, laid out as the weights; `square_norm` is Σ g²
    /// over all active tensors: a norm above the clipping norm counts as that. Adam: Kingma & Ba 2015; AdamW: Loshchilov
    /// & Hutter 2019; both as in PyTorch.
    pub fn step(
        &mut self,
        tensors: &[Tensor],
        active: Range<usize>,
        step: u64,
        learning_rate: f32,
        weights: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradient: &[f32],
        square_norm: f64,
    ) {
        let c = &self.config;
        let tensors = tensors.iter().enumerate().take(active.end).skip(active.start);
        let (norm, most) = (square_norm.sqrt(), f64::from(c.clip_norm));
        let gradient_factor = if most > 0.0 && norm > most { (most / (norm + 1e-6)) as f32 } else { 1.0 };
        let exponent = i32::try_from(step + 1).unwrap_or(i32::MAX);
        let adam = AdamStep {
            learning_rate,
            beta1: c.beta1,
            beta2: c.beta2,
            epsilon: c.epsilon,
            gradient_factor,
            weight_decay: 0.0,
            decoupled: c.optimizer == OptimizerKind::AdamW,
            bias_correction1: (1.0 - f64::from(c.beta1).powi(exponent)) as f32,
            bias_correction2: (1.0 - f64::from(c.beta2).powi(exponent)) as f32,
        };
        for (i, t) in tensors {
            let weight_decay = if t.spec.role == Role::Weight { c.weight_decay } else { 0.0 };
            let r = t.range.clone();
            let (w, m, g) = (&mut weights[r.clone()], &mut first[r.clone()], &gradient[r.clone()]);
            let square = match c.optimizer {
                OptimizerKind::Sgd => {
                    sgd_nesterov_step(learning_rate, c.momentum, weight_decay, gradient_factor, w, m, g)
                }
                OptimizerKind::Adam | OptimizerKind::AdamW => {
                    adam_step(&AdamStep { weight_decay, ..adam }, w, m, &mut second[r], g)
                }
            };
            self.change[i] = square.sqrt();
        }
    }

    /// Norm of the last step's change of tensor `i`.
    pub fn change(&self, i: usize) -> f64 {
        self.change[i]
    }
}
