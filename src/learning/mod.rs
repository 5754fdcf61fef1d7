//! Learning: one step changes the weights by the gradient, then by a local Hebbian rule, then enforces Dale's law.
//!
//! | mode | gradient | Hebbian step |
//! |---|---|---|
//! | `backprop` | every tensor | none |
//! | `hybrid` | every tensor | projections between the column's neurons, capped relative to the optimizer's step |
//! | `local` | the read-out alone | convolutions, dense layers, projections onto excitatory cells |
//!
//! In `local` inhibitory synapses, gates and gains keep their first values.

mod hebbian;
mod optimizer;
mod rules;
mod schedule;

pub use hebbian::{Hebbian, Share};
pub use optimizer::Optimizer;
pub use rules::{RULES, Rule};
pub use schedule::Schedule;

use crate::kernels::optimizer::clamp_non_negative;
use crate::model::{Sign, Tensor};

/// Dale's law: strengths that carry their neuron's sign apart never go below zero. The one place that enforces it.
pub fn enforce_dale(tensors: &[Tensor], weights: &mut [f32]) {
    for t in tensors.iter().filter(|t| t.spec.sign == Sign::NonNegative) {
        clamp_non_negative(&mut weights[t.range.clone()]);
    }
}
