//! The local step: a Hebbian rule with homeostasis, in place on the stored synapses, after the optimizer's step.
//!
//! Synaptic scaling w ← w (1 + η_h (r* − r̄)/r*) (Turrigiano et al. 1998) is proportional to w per postsynaptic
//! neuron, as is a rule's decay, so it is folded into the decay and costs nothing: it is part of the capped step, its
//! drive (r* − r̄)/r* kept within ±1, and off where `plasticity.rate` is 0. Intrinsic plasticity moves the bias
//! by η_b (r* − r̄).
//!
//! `plasticity.centered` gives a rule its covariance form (Sejnowski 1977): gate and drive count from their batch means.
//! The step of each projection is capped: in `hybrid` relative to the optimizer's step, so that neither destroys the
//! other, in `local` relative to the weights, so that one rate fits laminae whose input differs in scale by an order.

use super::Optimizer;
use super::rules::{RULES, Response, Rule};
use crate::aligned::Aligned;
use crate::config::{Config, LearningMode, Plasticity, one_of};
use crate::error::{Error, Result};
use crate::kernels::optimizer::square_norm;
use crate::kernels::plasticity::{
    apply, center_rows, finish_dense, hebbian_sparse, intrinsic_step, row_means, subtract_from, update_running_mean,
};
use crate::kernels::{dense, sparse, threads};
use crate::model::{Network, Pass, Plastic, SLICE, Wiring};
use std::ops::Range;

/// Part of the local step in the change of one projection, summed over steps.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Share {
    /// Name of the weight tensor.
    pub name: String,
    /// Sum over steps of |Δ_local| / (|Δ_local| + |Δ_optimizer|).
    pub sum: f64,
    /// Steps in the sum.
    pub steps: u64,
}

/// A projection under Hebbian change.
struct Site {
    layer: usize,
    /// Position among the layer's plastic projections.
    position: usize,
    tensor: usize,
    bias: Option<usize>,
    n_post: usize,
    /// Running rates r̄ and thresholds θ in the state, each `(N_post)`.
    rates: Range<usize>,
    theta: Range<usize>,
    scratch: Scratch,
}

/// Scratch of one projection.
#[derive(Default)]
struct Scratch {
    /// Activity of all slices on both sides: `(N_pre, samples)`, `(N_post, samples)`.
    pre: Aligned,
    post: Aligned,
    gate: Aligned,
    decay: Vec<f32>,
    drive: Aligned,
    means: Vec<f32>,
    transposed: Aligned,
    residual: Aligned,
    change: Aligned,
}

/// The local learner of a run.
pub struct Hebbian {
    learner: Learner,
    sites: Vec<Site>,
    shares: Vec<Share>,
}

impl Hebbian {
    /// The configured local learner for `network`; without any site in mode `backprop`.
    ///
    /// # Errors
    /// `Usage` for an unknown rule.
    pub fn new(config: &Config, network: &Network) -> Result<Self> {
        let name = config.plasticity.rule.as_str();
        let rule = RULES.iter().find(|r| r.name == name);
        if rule.is_none() && name != "none" {
            let names: Vec<&str> = RULES.iter().map(|r| r.name).chain(["none"]).collect();
            return Err(Error::usage(format!("plasticity.rule = \"{name}\" is unknown"), one_of(name, &names)));
        }
        let nothing = Pass { training: false, batch: 0, slice: 0, seed: 0, step: 0 };
        let readout = network.layers().len() - 1;
        let mut sites = Vec::new();
        let mut start = 0;
        let all = (0..network.layers().len()).flat_map(|layer| {
            network.plastic(layer, &nothing).into_iter().enumerate().map(move |(position, p)| (layer, position, p))
        });
        for (layer, position, parts) in all {
            let p = &parts[0];
            let wanted = match config.learning.mode {
                LearningMode::Backprop => false,
                LearningMode::Hybrid => p.between_neurons,
                LearningMode::Local => layer != readout,
            };
            if !wanted {
                continue;
            }
            let n_post = n_post(p);
            sites.push(Site {
                layer,
                position,
                tensor: network.tensor_index(layer, p.weight),
                bias: p.bias.map(|b| network.tensor_index(layer, b)),
                n_post,
                rates: start..start + n_post,
                theta: start + n_post..start + 2 * n_post,
                scratch: Scratch::default(),
            });
            start += 2 * n_post;
        }
        let shares = sites
            .iter()
            .map(|s| Share { name: network.tensors()[s.tensor].spec.name.clone(), ..Share::default() })
            .collect();
        let (config, beside_optimizer) = (config.plasticity.clone(), config.learning.mode == LearningMode::Hybrid);
        Ok(Self { learner: Learner { config, rule, beside_optimizer }, sites, shares })
    }

    /// Floats of state (running rates and thresholds) that a run keeps.
    pub fn state_len(&self) -> usize {
        self.sites.last().map_or(0, |s| s.theta.end)
    }

    /// First values of the state: rates at their target, thresholds at its square.
    pub fn initialise(&self, state: &mut [f32]) {
        let target = self.learner.config.target_rate;
        for s in &self.sites {
            state[s.rates.clone()].fill(target);
            state[s.theta.clone()].fill(target * target);
        }
    }

    /// One local step on `weights` after the optimizer's, from the activity of the last training pass.
    /// `schedule` is the learning-rate factor of the step. Projections are changed side by side; where there are fewer
    /// of them than workers, these also share the work of each.
    pub fn step(
        &mut self,
        network: &Network,
        pass: &Pass,
        schedule: f32,
        optimizer: &Optimizer,
        weights: &mut [f32],
        state: &mut [f32],
    ) {
        let Self { learner, sites, shares } = self;
        if sites.is_empty() {
            return;
        }
        let mut plastic: Vec<Vec<Vec<Plastic>>> = network.layers().iter().map(|_| Vec::new()).collect();
        for site in &*sites {
            if plastic[site.layer].is_empty() {
                plastic[site.layer] = network.plastic(site.layer, pass);
            }
        }
        let (mut w, mut w_at, mut s, mut s_at) = (&mut *weights, 0, &mut *state, 0);
        let mut jobs: Vec<_> = sites
            .iter_mut()
            .map(|site| {
                let parts = &plastic[site.layer][site.position];
                let w = part_of(&mut w, &mut w_at, &network.tensors()[site.tensor].range);
                let s = part_of(&mut s, &mut s_at, &(site.rates.start..site.theta.end));
                (optimizer.change(site.tensor), site, parts, w, s)
            })
            .collect();
        let local = threads::map_slices(&mut jobs, |_, (gradient, site, parts, w, s)| {
            learner.change(site, parts, schedule, *gradient, w, s)
        });
        for (total, share) in shares.iter_mut().zip(local) {
            total.sum += share;
            total.steps += 1;
        }
        let Plasticity { intrinsic_rate, target_rate, .. } = learner.config;
        let mut last_bias = None;
        for site in &*sites {
            if let Some(bias) = site.bias
                && intrinsic_rate > 0.0
                && last_bias != Some(bias)
            {
                let b = &mut weights[network.tensors()[bias].range.clone()];
                intrinsic_step(&state[site.rates.clone()], target_rate, intrinsic_rate * schedule, b);
                last_bias = Some(bias);
            }
        }
    }

    /// Takes the shares of the local step since the last call.
    pub fn take_shares(&mut self) -> Vec<Share> {
        let fresh = self.shares.iter().map(|s| Share { name: s.name.clone(), ..Share::default() }).collect();
        std::mem::replace(&mut self.shares, fresh)
    }

    /// Puts back shares that a saved state kept for an unfinished epoch.
    pub fn restore_shares(&mut self, shares: Vec<Share>) {
        if shares.len() == self.shares.len() {
            self.shares = shares;
        }
    }

    /// Shares so far, for a state that is saved within an epoch.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }
}

/// What the change of every projection follows.
struct Learner {
    config: Plasticity,
    rule: Option<&'static Rule>,
    /// True in `hybrid`: the step is capped relative to the optimizer's, else to the weights.
    beside_optimizer: bool,
}

impl Learner {
    /// Changes the weights `w` of one projection, given its activity in each slice, the norm of the optimizer's change,
    /// and its running rates and thresholds `state (2 N_post)`; returns the share of the local step in the change.
    fn change(
        &self,
        site: &mut Site,
        parts: &[Plastic],
        schedule: f32,
        gradient: f64,
        w: &mut [f32],
        state: &mut [f32],
    ) -> f64 {
        let n = site.n_post;
        let scratch = &mut site.scratch;
        let samples = parts.iter().map(|p| p.samples).sum();
        join(parts, samples, |p| &p.pre, &mut scratch.pre);
        join(parts, samples, |p| &p.post, &mut scratch.post);
        let (rates, theta) = state.split_at_mut(n);
        scratch.means.resize(n, 0.0);
        row_means(n, samples, &scratch.post, &mut scratch.means);
        update_running_mean(&scratch.means, self.config.rate_tau_steps, rates);
        let rate = self.config.rate * schedule;
        let square = self.propose(n, samples, parts[0].wiring, scratch, w, rates, theta);
        let length = f64::from(rate) * square.sqrt();
        let reference = if self.beside_optimizer { gradient } else { f64::from(schedule) * square_norm(w).sqrt() };
        let limit = f64::from(self.config.cap) * reference;
        let shrink = if length > limit { limit / length } else { 1.0 };
        apply((f64::from(rate) * shrink) as f32, &scratch.change, w);
        let local = length * shrink;
        if local + gradient > 0.0 { local / (local + gradient) } else { 0.0 }
    }

    /// Fills `change` with Δw / η of the rule and of synaptic scaling; returns its squared norm.
    fn propose(
        &self,
        n: usize,
        samples: usize,
        wiring: Wiring,
        scratch: &mut Scratch,
        w: &[f32],
        rates: &[f32],
        theta: &mut [f32],
    ) -> f64 {
        let Scratch { pre, post, gate, decay, drive, transposed, residual, change, .. } = scratch;
        gate.resize(n * samples, 0.0);
        decay.resize(n, 0.0);
        change.resize(w.len(), 0.0);
        decay.fill(0.0);
        let mut pre = pre.as_slice();
        match self.rule {
            Some(rule) => {
                drive.clear();
                if rule.needs_drive {
                    drive.resize(n * samples, 0.0);
                    match wiring {
                        Wiring::Dense { n_post, n_pre } => dense::forward(n_post, n_pre, samples, w, None, pre, drive),
                        Wiring::Masked(s) => sparse::forward(s.pattern(), samples, w, pre, drive, false),
                    }
                }
                if self.config.centered {
                    center_rows(n, drive.len() / n.max(1), drive);
                }
                let mut response = Response { n, samples, post, drive, theta };
                (rule.gate)(&self.config, &mut response, gate, decay);
                if self.config.centered {
                    center_rows(n, samples, gate);
                }
                if rule.subtracts {
                    residual.clear();
                    residual.resize(pre.len(), 0.0);
                    match wiring {
                        Wiring::Dense { n_post, n_pre } => {
                            dense::backward_input(n_post, n_pre, samples, w, gate, residual);
                        }
                        Wiring::Masked(s) => {
                            sparse::backward_input(s.pattern(), s.transpose(), samples, w, gate, residual, false);
                        }
                    }
                    subtract_from(pre, residual);
                    pre = residual;
                }
            }
            None => gate.fill(0.0),
        }
        if self.config.scaling_rate > 0.0 && self.config.rate > 0.0 {
            let (target, ratio) = (self.config.target_rate, self.config.scaling_rate / self.config.rate);
            for (d, r) in decay.iter_mut().zip(rates) {
                *d -= ratio * ((target - r) / target).clamp(-1.0, 1.0);
            }
        }
        match wiring {
            Wiring::Dense { n_post, n_pre } => {
                transposed.resize(samples * n_pre, 0.0);
                dense::backward_weights(n_post, n_pre, samples, gate, pre, transposed, change);
                finish_dense(n_post, n_pre, samples, decay, w, change)
            }
            Wiring::Masked(s) => hebbian_sparse(s.pattern(), samples, gate, pre, decay, w, change),
        }
    }
}

/// The floats `range` of a whole of which `rest` begins at `at`; `rest` then begins behind them.
fn part_of<'a>(rest: &mut &'a mut [f32], at: &mut usize, range: &Range<usize>) -> &'a mut [f32] {
    assert!(*at <= range.start, "projections lie in the order of their weights");
    let skipped = std::mem::take(rest).split_at_mut(range.start - *at).1;
    let (part, behind) = skipped.split_at_mut(range.len());
    (*rest, *at) = (behind, range.end);
    part
}

/// Puts the activity of the slices side by side: `(N, samples)` of each into `all (N, Σ samples)`.
fn join(parts: &[Plastic], samples: usize, side: impl for<'a> Fn(&'a Plastic) -> &'a [f32], all: &mut Aligned) {
    let rows = parts.first().map_or(0, |p| side(p).len() / p.samples.max(1));
    all.resize(rows * samples, 0.0);
    let mut at = 0;
    for part in parts {
        let rows = all.chunks_exact_mut(samples);
        if part.samples == SLICE {
            // Whole vectors: a copy of one is two instructions, not a call.
            for (row, activity) in rows.zip(side(part).as_chunks::<SLICE>().0) {
                if let Some(run) = row[at..].first_chunk_mut() {
                    *run = *activity;
                }
            }
        } else {
            for (row, activity) in rows.zip(side(part).chunks_exact(part.samples)) {
                row[at..at + part.samples].copy_from_slice(activity);
            }
        }
        at += part.samples;
    }
}

fn n_post(p: &Plastic) -> usize {
    match p.wiring {
        Wiring::Dense { n_post, .. } => n_post,
        Wiring::Masked(s) => s.n_post(),
    }
}
