//! Hebbian rules. Each has the form Δw_ij = η (⟨g_i x_j⟩ − d_i w_ij) over a batch: a rule computes the gate g and the
//! decay d of each postsynaptic neuron, and one kernel does the rest on the stored synapses. Where a rule `subtracts`, x is
//! what the gated neurons together leave unexplained, x − Wᵀ g: without some competition all of a lamina's neurons end
//! at the same component of their input.
//!
//! To add a rule: a function that fills `gate` and `decay`, and its row in [`RULES`].

use crate::config::Plasticity;
use crate::kernels::plasticity::{gate_bcm, gate_hebb, gate_oja, gate_softwta};

/// What a rule sees of a projection's postsynaptic side.
pub struct Response<'a> {
    /// Postsynaptic neurons.
    pub n: usize,
    /// Samples.
    pub samples: usize,
    /// Activity y `(N, samples)`.
    pub post: &'a [f32],
    /// The projection's own drive u = (M ∘ W) x `(N, samples)`; empty unless the rule needs it.
    pub drive: &'a [f32],
    /// Sliding threshold θ `(N)`, a state of the run; at first the target rate squared.
    pub theta: &'a mut [f32],
}

/// A Hebbian rule.
pub struct Rule {
    /// Name in the configuration.
    pub name: &'static str,
    /// Equation and source, one line.
    pub doc: &'static str,
    /// True if it needs the drive, the input before ReLU.
    pub needs_drive: bool,
    /// True if x stands for what the gated neurons leave unexplained, x − Wᵀ g.
    pub subtracts: bool,
    /// Fills `gate (N, samples)` and `decay (N)`.
    pub gate: fn(config: &Plasticity, response: &mut Response, gate: &mut [f32], decay: &mut [f32]),
}

/// Every Hebbian rule.
pub const RULES: &[Rule] = &[
    Rule {
        name: "hebb",
        doc: "Δw = η (y x − λ w), λ = hebb_decay (Hebb 1949, with decay)",
        needs_drive: false,
        subtracts: false,
        gate: hebb,
    },
    Rule {
        name: "oja", doc: "Δw = η (y x − y² w) (Oja 1982, eq. 3)", needs_drive: false, subtracts: false, gate: oja
    },
    Rule {
        name: "bcm",
        doc: "Δw = η y (y − θ) x, θ a running mean of y² (Bienenstock, Cooper & Munro 1982; Intrator & Cooper 1992)",
        needs_drive: false,
        subtracts: false,
        gate: bcm,
    },
    Rule {
        name: "softwta",
        doc: "Δw = η s (x − u w), s = softmax(u), negative for all but the winner (SoftHebb: Moraitis 2022, Journé 2023)",
        needs_drive: true,
        subtracts: false,
        gate: softwta,
    },
    Rule {
        name: "subspace",
        doc: "Δw = η u (x − Wᵀ u), u the drive: neurons share out the principal subspace; not local to a synapse (Oja 1989)",
        needs_drive: true,
        subtracts: true,
        gate: subspace,
    },
];

fn hebb(config: &Plasticity, r: &mut Response, gate: &mut [f32], decay: &mut [f32]) {
    gate_hebb(r.n, r.samples, r.post, config.hebb_decay, gate, decay);
}

fn oja(config: &Plasticity, r: &mut Response, gate: &mut [f32], decay: &mut [f32]) {
    gate_oja(r.n, r.samples, r.post, config.centered, gate, decay);
}

fn bcm(config: &Plasticity, r: &mut Response, gate: &mut [f32], decay: &mut [f32]) {
    gate_bcm(r.n, r.samples, r.post, config.bcm_tau_steps, r.theta, gate, decay);
}

fn softwta(config: &Plasticity, r: &mut Response, gate: &mut [f32], decay: &mut [f32]) {
    gate_softwta(r.n, r.samples, r.drive, config.softwta_temperature, gate, decay);
}

fn subspace(_: &Plasticity, r: &mut Response, gate: &mut [f32], _decay: &mut [f32]) {
    gate.copy_from_slice(r.drive);
}
