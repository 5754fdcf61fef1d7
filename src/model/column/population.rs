//! One lamina's excitatory population: recurrence, inhibition, normalisation, and the way back.
//!
//! Inhibition modes, u' being the summed input after the recurrent step:
//!
//! - `graded` (BioNIC): v = u' (1 − γ n_i), n_i = inhibitory synapses onto neuron i / the lamina's maximum.
//!   A learned γ has no bound (it may cross zero for a while early in training).
//! - `interneurons` (after DANN, Cornford et al. 2021, with measured masks; α for each excitatory neuron and the floor are
//!   ours, features and rates are 0 or above): h = W_IX x + W_IE φ(u), s = W_EI h,
//!   v = g (u' − s) / (exp(α) s + floor) + b with every W ≥ 0: excitatory synapses never go negative, inhibitory
//!   ones never positive, because strength and sign are kept apart, and the gains g and of LayerNorm stay at 0 or
//!   above. The interneurons of a lamina inhibit that lamina; synapses of inhibitory cells across laminae, from L1 and
//!   onto each other are left out.
//! - `none`: v = u'.

use super::Source;
use super::interneurons::Interneurons;
use super::projection::{InputGradient, Projection, input_product};
use crate::aligned::Aligned;
use crate::kernels::{dense, elementwise, norm};
use crate::model::{Pass, Product};
use crate::rng::Rng;
use std::ops::Range;

pub(crate) const LAYER_NORM_EPSILON: f32 = 1e-5;

/// How a population is inhibited.
#[derive(Clone)]
pub(crate) enum Inhibition {
    None,
    Graded {
        /// Inhibitory synapses onto each neuron over the lamina's maximum `(N)`.
        dose: Vec<f32>,
        /// Fixed strength, where it is not learned.
        gamma: f32,
        /// Tensor of the learned strength `(1)`.
        tensor: Option<usize>,
    },
    Interneurons(Box<Interneurons>),
}

/// Tensors of LayerNorm, each `(N)`.
#[derive(Clone, Copy)]
pub(crate) struct Norm {
    pub(crate) gain: usize,
    pub(crate) bias: usize,
}

/// One lamina's excitatory neurons.
#[derive(Clone)]
pub(crate) struct Population {
    pub(crate) lamina: String,
    pub(crate) n: usize,
    /// Index of each neuron in the connectome's list `(N)`.
    pub(crate) neurons: Vec<usize>,
    /// Projections from features and earlier populations.
    pub(crate) excitatory: Vec<Projection>,
    pub(crate) intra: Option<Projection>,
    pub(crate) inhibition: Inhibition,
    /// Tensor of the bias b `(N)`.
    pub(crate) bias: usize,
    pub(crate) norm: Option<Norm>,
    /// Standard deviation of the additive noise per neuron; 0 = none.
    pub(crate) unit_noise: f32,
    scratch: Scratch,
}

/// Activity of the last pass, each `(N, B)` unless said otherwise.
#[derive(Clone, Default)]
struct Scratch {
    /// First response φ(u).
    a: Aligned,
    /// Summed input after recurrence, u'.
    u: Aligned,
    /// After inhibition and noise.
    v: Aligned,
    /// Output.
    y: Aligned,
    /// Mean and inverse standard deviation of LayerNorm, each `(B)`.
    mean: Vec<f32>,
    inv_sd: Vec<f32>,
    /// Gradients of v and of u.
    dv: Aligned,
    du: Aligned,
    /// Gradient of a.
    da: Aligned,
    /// Noise of each unit; empty where there is none.
    noise: Aligned,
}

impl Population {
    pub(crate) fn new(
        lamina: String,
        neurons: Vec<usize>,
        excitatory: Vec<Projection>,
        intra: Option<Projection>,
        inhibition: Inhibition,
        bias: usize,
        norm: Option<Norm>,
        unit_noise: f32,
    ) -> Self {
        let (n, scratch) = (neurons.len(), Scratch::default());
        Self { lamina, n, neurons, excitatory, intra, inhibition, bias, norm, unit_noise, scratch }
    }

    /// Output of the last pass `(N, B)`.
    pub(crate) fn output(&self, batch: usize) -> &[f32] {
        &self.scratch.y[..self.n * batch]
    }

    /// First response φ(u) of the last pass `(N, B)`, before recurrence.
    pub(crate) fn first_response(&self, batch: usize) -> &[f32] {
        &self.scratch.a[..self.n * batch]
    }

    /// The bias that moves the neuron's mean activity: LayerNorm's, or its own where there is no norm.
    pub(crate) fn homeostatic_bias(&self) -> usize {
        self.norm.map_or(self.bias, |n| n.bias)
    }

    /// Every projection that ends or starts on this lamina's neurons.
    pub(crate) fn projections(&self) -> impl Iterator<Item = &Projection> {
        let inhibitory = match &self.inhibition {
            Inhibition::Interneurons(cells) => Some(cells.projections()),
            _ => None,
        };
        self.excitatory.iter().chain(&self.intra).chain(inhibitory.into_iter().flatten())
    }

    /// The same, to change them.
    pub(crate) fn projections_mut(&mut self) -> impl Iterator<Item = &mut Projection> {
        let inhibitory = match &mut self.inhibition {
            Inhibition::Interneurons(cells) => Some(cells.projections_mut()),
            _ => None,
        };
        self.excitatory.iter_mut().chain(&mut self.intra).chain(inhibitory.into_iter().flatten())
    }

    /// Where the products of the projections from the input go, in a pass over `batch` images.
    pub(crate) fn products(&mut self, batch: usize) -> impl Iterator<Item = Product<'_>> {
        let excitatory = input_product(self.excitatory.first(), self.n, batch, &mut self.scratch.u);
        let inhibitory = match &mut self.inhibition {
            Inhibition::Interneurons(cells) => cells.product(batch),
            _ => None,
        };
        excitatory.into_iter().chain(inhibitory)
    }

    /// Computes the output from the activity of its sources; `None` if the products of a source are there already.
    pub(crate) fn forward<'a, 'w>(
        &mut self,
        pass: &Pass,
        w: &impl Fn(usize) -> &'w [f32],
        activity: &impl Fn(Source) -> Option<&'a [f32]>,
    ) {
        let (batch, len) = (pass.batch, self.n * pass.batch);
        let Scratch { a, u, v, y, mean, inv_sd, noise, .. } = &mut self.scratch;
        for buffer in [&mut *a, &mut *u, &mut *v, &mut *y] {
            buffer.resize(len, 0.0);
        }
        for (i, p) in self.excitatory.iter_mut().enumerate() {
            if let Some(x) = activity(p.source) {
                p.forward(pass, w(p.tensor), x, u, i > 0);
            }
        }
        let interneurons = matches!(self.inhibition, Inhibition::Interneurons(_));
        if !interneurons {
            elementwise::add_rows(u, w(self.bias), batch);
        }
        elementwise::relu(u, a);
        if let Some(p) = &mut self.intra {
            p.forward(pass, w(p.tensor), a, u, true);
        }
        match &mut self.inhibition {
            Inhibition::None => v.copy_from_slice(u),
            Inhibition::Graded { dose, gamma, tensor } => {
                let gamma = tensor.map_or(*gamma, |t| w(t)[0]);
                elementwise::inhibit_rows(gamma, dose, batch, u, v);
            }
            Inhibition::Interneurons(cells) => cells.forward(pass, w, self.bias, activity, a, u, v),
        }
        if pass.training && self.unit_noise > 0.0 {
            let mut rng = Rng::stream(pass.seed, "unit noise", &[pass.step, self.bias as u64, pass.slice]);
            noise.resize(len, 0.0);
            rng.fill_noise(noise);
            v.iter_mut().zip(noise.iter()).for_each(|(v, noise)| *v += self.unit_noise * noise);
        }
        match self.norm {
            Some(n) => {
                mean.resize(batch, 0.0);
                inv_sd.resize(batch, 0.0);
                norm::layer_norm(
                    self.n,
                    batch,
                    v,
                    w(n.gain),
                    w(n.bias),
                    LAYER_NORM_EPSILON,
                    y,
                    &mut mean[..batch],
                    &mut inv_sd[..batch],
                );
                elementwise::relu_in_place(y);
            }
            None => elementwise::relu(v, y),
        }
    }

    /// From the gradient of the output to that of the summed inputs, through norm, inhibition and recurrence;
    /// [`Population::afferents`] then carries it to the sources. Leaves the activity of `forward` for the Hebbian
    /// rules.
    pub(crate) fn backward_local<'w>(
        &mut self,
        pass: &Pass,
        w: &impl Fn(usize) -> &'w [f32],
        ranges: &[Range<usize>],
        dy: &[f32],
        dweights: &mut [f32],
    ) {
        let (batch, len) = (pass.batch, self.n * pass.batch);
        let Scratch { a, u, v, y, mean, inv_sd, dv, du, da, .. } = &mut self.scratch;
        for buffer in [&mut *dv, &mut *du, &mut *da] {
            buffer.resize(len, 0.0);
        }
        match self.norm {
            Some(n) => {
                // Until the gradient of v is known, du has that of the norm's output.
                elementwise::relu_backward(y, dy, du);
                let (d_gain, d_bias) = pair(dweights, &ranges[n.gain], &ranges[n.bias]);
                norm::layer_norm_backward(
                    self.n,
                    batch,
                    v,
                    w(n.gain),
                    &mean[..batch],
                    &inv_sd[..batch],
                    du,
                    dv,
                    d_gain,
                    d_bias,
                );
            }
            None => elementwise::relu_backward(y, dy, dv),
        }
        // From here dv is the gradient of v; du becomes that of u', then of u.
        match &mut self.inhibition {
            Inhibition::None => {
                du.copy_from_slice(dv);
                da.fill(0.0);
            }
            Inhibition::Graded { dose, gamma, tensor } => {
                let strength = tensor.map_or(*gamma, |t| w(t)[0]);
                let mut d_gamma = 0.0f64;
                for (i, n) in dose.iter().enumerate() {
                    let row = i * batch..(i + 1) * batch;
                    let factor = 1.0 - strength * n;
                    let mut sum = 0.0;
                    for ((du, dv), u) in du[row.clone()].iter_mut().zip(&dv[row.clone()]).zip(&u[row]) {
                        *du = dv * factor;
                        sum += dv * u;
                    }
                    d_gamma -= f64::from(sum * n);
                }
                if let Some(t) = *tensor {
                    dweights[ranges[t].start] = d_gamma as f32;
                }
                da.fill(0.0);
            }
            Inhibition::Interneurons(cells) => {
                cells.backward(batch, w, ranges, self.bias, a, u, dv, du, da, dweights);
            }
        }
        if let Some(p) = &mut self.intra {
            p.backward(w(p.tensor), batch, a, du, InputGradient::Add(da), &mut dweights[ranges[p.tensor].clone()]);
        }
        elementwise::add_relu_backward(a, da, du);
        if !matches!(self.inhibition, Inhibition::Interneurons(_)) {
            dense::backward_bias(self.n, batch, du, &mut dweights[ranges[self.bias].clone()]);
        }
    }

    /// Projections from features and earlier populations, each with the gradient at its postsynaptic side.
    pub(crate) fn afferents(&mut self) -> impl Iterator<Item = (&mut Projection, &[f32])> {
        let du = self.scratch.du.as_slice();
        let to_interneurons = match &mut self.inhibition {
            Inhibition::Interneurons(cells) => Some(cells.afferents_mut()),
            _ => None,
        };
        self.excitatory.iter_mut().map(move |p| (p, du)).chain(to_interneurons.into_iter().flatten())
    }

    /// The same projections after [`Population::backward_local`], unchanged.
    pub(crate) fn afferents_done(&self) -> impl Iterator<Item = (&Projection, &[f32])> {
        let du = self.scratch.du.as_slice();
        let to_interneurons = match &self.inhibition {
            Inhibition::Interneurons(cells) => Some(cells.afferents()),
            _ => None,
        };
        self.excitatory.iter().map(move |p| (p, du)).chain(to_interneurons.into_iter().flatten())
    }
}

/// Two tensors of one slice at once; `first` lies before `second`.
fn pair<'a>(all: &'a mut [f32], first: &Range<usize>, second: &Range<usize>) -> (&'a mut [f32], &'a mut [f32]) {
    let (head, tail) = all.split_at_mut(second.start);
    (&mut head[first.clone()], &mut tail[..second.len()])
}
