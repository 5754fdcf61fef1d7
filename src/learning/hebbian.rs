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
use crate::config::{Config, Plasticity};
use crate::error::{Error, Result};
use crate::kernels::optimizer::square_norm;
use crate::kernels::plasticity::{
    apply, center_rows, finish_dense, hebbian_sparse, intrinsic_step, row_means, subtract_from, update_running_mean,
};
use crate::kernels::{dense, sparse};
use crate::model::{Network, Pass, Plastic, Wiring};
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
    /// Position among the layer's plastic projections, over the whole network.
    position: usize,
    tensor: usize,
    bias: Option<usize>,
    n_post: usize,
    /// Running rates r̄ and thresholds θ in the state, each `(N_post)`.
    rates: Range<usize>,
    theta: Range<usize>,
}

/// The local learner of a run.
pub struct Hebbian {
    config: Plasticity,
    rule: Option<&'static Rule>,
    /// True in `hybrid`: the step is capped relative to the optimizer's, else to the weights.
    beside_optimizer: bool,
    sites: Vec<Site>,
    shares: Vec<Share>,
    gate: Vec<f32>,
    decay: Vec<f32>,
    drive: Vec<f32>,
    means: Vec<f32>,
    transposed: Vec<f32>,
    residual: Vec<f32>,
    change: Vec<f32>,
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
            return Err(Error::usage(
                format!("plasticity.rule = \"{name}\" is unknown"),
                format!("use one of: {}", names.join(", ")),
            ));
        }
        let nothing = Pass { training: false, batch: 0, seed: 0, step: 0 };
        let readout = network.layers().len() - 1;
        let mut sites = Vec::new();
        let mut start = 0;
        for (position, (layer, p)) in network.plastic(&nothing, &[]).into_iter().enumerate() {
            let wanted = match config.learning.mode.as_str() {
                "hybrid" => p.between_neurons,
                "local" => layer != readout,
                _ => false,
            };
            if !wanted {
                continue;
            }
            let n_post = n_post(&p);
            sites.push(Site {
                layer,
                position,
                tensor: network.tensor_index(layer, p.weight),
                bias: p.bias.map(|b| network.tensor_index(layer, b)),
                n_post,
                rates: start..start + n_post,
                theta: start + n_post..start + 2 * n_post,
            });
            start += 2 * n_post;
        }
        let shares = sites
            .iter()
            .map(|s| Share { name: network.tensors()[s.tensor].spec.name.clone(), ..Share::default() })
            .collect();
        let empty = Vec::new;
        Ok(Self {
            config: config.plasticity.clone(),
            rule,
            beside_optimizer: config.learning.mode == "hybrid",
            sites,
            shares,
            gate: empty(),
            decay: empty(),
            drive: empty(),
            means: empty(),
            transposed: empty(),
            residual: empty(),
            change: empty(),
        })
    }

    /// Floats of state (running rates and thresholds) that a run keeps.
    pub fn state_len(&self) -> usize {
        self.sites.last().map_or(0, |s| s.theta.end)
    }

    /// First values of the state: rates at their target, thresholds at its square.
    pub fn initialise(&self, state: &mut [f32]) {
        for s in &self.sites {
            state[s.rates.clone()].fill(self.config.target_rate);
            state[s.theta.clone()].fill(self.config.target_rate * self.config.target_rate);
        }
    }

    /// One local step on `weights` after the optimizer's, from the activity of the last training pass over `x`.
    /// `schedule` is the learning-rate factor of the step.
    pub fn step(
        &mut self,
        network: &Network,
        pass: &Pass,
        x: &[f32],
        schedule: f32,
        optimizer: &Optimizer,
        weights: &mut [f32],
        state: &mut [f32],
    ) {
        if self.sites.is_empty() {
            return;
        }
        let plastic = network.plastic(pass, x);
        let sites = std::mem::take(&mut self.sites);
        let mut last_bias = None;
        for (i, site) in sites.iter().enumerate() {
            let (layer, p) = &plastic[site.position];
            assert_eq!(*layer, site.layer, "the plastic projections keep their order");
            let w = &mut weights[network.tensors()[site.tensor].range.clone()];
            self.observe(site, p, state);
            let rate = self.config.rate * schedule;
            let square = self.propose(site, p, w, state);
            let length = f64::from(rate) * square.sqrt();
            let gradient = optimizer.change(site.tensor);
            let reference = if self.beside_optimizer { gradient } else { f64::from(schedule) * square_norm(w).sqrt() };
            let limit = f64::from(self.config.cap) * reference;
            let shrink = if length > limit { limit / length } else { 1.0 };
            apply((f64::from(rate) * shrink) as f32, &self.change[..w.len()], w);
            let local = length * shrink;
            if local + gradient > 0.0 {
                self.shares[i].sum += local / (local + gradient);
            }
            self.shares[i].steps += 1;
            if let Some(bias) = site.bias
                && self.config.intrinsic_rate > 0.0
                && last_bias != Some(bias)
            {
                let b = &mut weights[network.tensors()[bias].range.clone()];
                intrinsic_step(
                    &state[site.rates.clone()],
                    self.config.target_rate,
                    self.config.intrinsic_rate * schedule,
                    b,
                );
                last_bias = Some(bias);
            }
        }
        self.sites = sites;
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

    /// Moves the running rates r̄ towards the batch's mean activity.
    fn observe(&mut self, site: &Site, p: &Plastic, state: &mut [f32]) {
        self.means.resize(self.means.len().max(site.n_post), 0.0);
        row_means(site.n_post, p.samples, p.post, &mut self.means[..site.n_post]);
        update_running_mean(&self.means[..site.n_post], self.config.rate_tau_steps, &mut state[site.rates.clone()]);
    }

    /// Fills `change` with Δw / η of the rule and of synaptic scaling; returns its squared norm.
    fn propose(&mut self, site: &Site, p: &Plastic, w: &[f32], state: &mut [f32]) -> f64 {
        let (n, samples) = (site.n_post, p.samples);
        self.gate.resize(n * samples, 0.0);
        self.decay.resize(n, 0.0);
        self.change.resize(self.change.len().max(w.len()), 0.0);
        self.decay.fill(0.0);
        let mut pre = p.pre;
        match self.rule {
            Some(rule) => {
                self.drive.clear();
                if rule.needs_drive {
                    self.drive.resize(n * samples, 0.0);
                    match p.wiring {
                        Wiring::Dense { n_post, n_pre } => {
                            dense::forward(n_post, n_pre, samples, w, None, p.pre, &mut self.drive);
                        }
                        Wiring::Masked(s) => {
                            sparse::forward(s.pattern(), samples, w, p.pre, &mut self.drive, false);
                        }
                    }
                }
                if self.config.centered {
                    center_rows(n, self.drive.len() / n.max(1), &mut self.drive);
                }
                let theta = &mut state[site.theta.clone()];
                let mut response = Response { n, samples, post: p.post, drive: &self.drive, theta };
                (rule.gate)(&self.config, &mut response, &mut self.gate, &mut self.decay);
                if self.config.centered {
                    center_rows(n, samples, &mut self.gate);
                }
                if rule.subtracts {
                    self.residual.clear();
                    self.residual.resize(p.pre.len(), 0.0);
                    match p.wiring {
                        Wiring::Dense { n_post, n_pre } => {
                            dense::backward_input(n_post, n_pre, samples, w, &self.gate, &mut self.residual);
                        }
                        Wiring::Masked(s) => {
                            sparse::backward_input(s.pattern(), samples, w, &self.gate, &mut self.residual, false);
                        }
                    }
                    subtract_from(p.pre, &mut self.residual);
                    pre = &self.residual;
                }
            }
            None => self.gate.fill(0.0),
        }
        if self.config.scaling_rate > 0.0 && self.config.rate > 0.0 {
            let (target, ratio) = (self.config.target_rate, self.config.scaling_rate / self.config.rate);
            for (d, r) in self.decay.iter_mut().zip(&state[site.rates.clone()]) {
                *d -= ratio * ((target - r) / target).clamp(-1.0, 1.0);
            }
        }
        let change = &mut self.change[..w.len()];
        match p.wiring {
            Wiring::Dense { n_post, n_pre } => {
                self.transposed.resize(samples * n_pre, 0.0);
                dense::backward_weights(n_post, n_pre, samples, &self.gate, pre, &mut self.transposed, change);
                finish_dense(n_post, n_pre, samples, &self.decay, w, change)
            }
            Wiring::Masked(s) => hebbian_sparse(s.pattern(), samples, &self.gate, pre, &self.decay, w, change),
        }
    }
}

fn n_post(p: &Plastic) -> usize {
    match p.wiring {
        Wiring::Dense { n_post, .. } => n_post,
        Wiring::Masked(s) => s.n_post(),
    }
}
