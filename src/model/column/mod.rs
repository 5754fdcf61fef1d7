//! The cortical column as one layer: populations by lamina, projections along the connectome's synapses.
//!
//! For each lamina in turn, with x the activity of the populations that reach it (BioNIC, arXiv 2601.20876, and
//! `population.rs` for the inhibition modes):
//!
//! ```text
//! u  = b + Σ_p (M_p ∘ W_p) x_p          feedforward and skipping projections
//! u' = u + (M_intra ∘ W_intra) φ(u)     one step of recurrence, φ = ReLU
//! y  = ReLU(LayerNorm(inhibit(u')))
//! ```
//!
//! Weights exist only at the synapses of the masks: CSR values `(S)`, in forward, backward and plasticity. Laminae are passed
//! once, in order: connections back to an earlier one carry no weight.

mod interneurons;
mod population;
mod projection;
mod silence;
mod wiring;

use super::{Afferents, Backward, Layer, Operation, Outer, Pass, Plastic, Product, Shape, TensorSpec, tensor_ranges};
use crate::aligned::Aligned;
use crate::connectome::Synapses;
use projection::InputGradient;
use std::ops::Range;

pub(crate) use interneurons::Interneurons;
pub(crate) use population::{Inhibition, LAYER_NORM_EPSILON, Population};
pub(crate) use projection::Projection;
pub use silence::Group;
pub use wiring::build;

/// The column. Input `(N_features, B)`, output the activity of the laminae that the read-out sees, one after another.
#[derive(Clone)]
pub struct Column {
    input: Shape,
    populations: Vec<Population>,
    /// Populations that the read-out sees, by index.
    readout: Vec<usize>,
    tensors: Vec<TensorSpec>,
    ranges: Vec<Range<usize>>,
    /// Gradient of each population's output `(N_k, B)`.
    d_outputs: Vec<Aligned>,
    d_input_part: Aligned,
}

/// Where a projection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The features of the stem.
    Input,
    /// The excitatory population of this index.
    Population(usize),
}

impl Column {
    fn new(input: Shape, populations: Vec<Population>, readout: Vec<usize>, tensors: Vec<TensorSpec>) -> Self {
        let ranges = tensor_ranges(&tensors);
        let d_outputs = populations.iter().map(|_| Aligned::default()).collect();
        Self { input, populations, readout, tensors, ranges, d_outputs, d_input_part: Aligned::default() }
    }

    /// Lamina and number of excitatory neurons of each population, in processing order.
    pub fn laminae(&self) -> Vec<(&str, usize)> {
        self.populations.iter().map(|p| (p.lamina.as_str(), p.n)).collect()
    }

    /// Its populations, in processing order.
    pub(crate) fn populations(&self) -> &[Population] {
        &self.populations
    }

    /// The populations that the read-out sees, by index.
    pub(crate) fn readout(&self) -> &[usize] {
        &self.readout
    }

    fn projections(&self) -> impl Iterator<Item = &Projection> {
        self.populations.iter().flat_map(Population::projections)
    }

    /// Forward; `given` if the products of the input are there already.
    fn run(&mut self, pass: &Pass, weights: &[f32], x: &[f32], given: bool, y: &mut [f32]) {
        let batch = pass.batch;
        assert_eq!(x.len(), self.input.n() * batch, "x must be (N_features, B)");
        assert_eq!(y.len(), self.output().n() * batch, "y must be (N_readout, B)");
        let w = |i: usize| &weights[self.ranges[i].clone()];
        for k in 0..self.populations.len() {
            let (done, rest) = self.populations.split_at_mut(k);
            let activity = |source| match source {
                Source::Input if given => None,
                Source::Input => Some(x),
                Source::Population(j) => Some(done[j].output(batch)),
            };
            rest[0].forward(pass, &w, &activity);
        }
        let mut start = 0;
        for &k in &self.readout {
            let part = self.populations[k].output(batch);
            y[start..start + part.len()].copy_from_slice(part);
            start += part.len();
        }
    }
}

impl Layer for Column {
    fn name(&self) -> &'static str {
        "column"
    }

    fn output(&self) -> Shape {
        Shape::flat(self.readout.iter().map(|&k| self.populations[k].n).sum())
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        self.tensors.clone()
    }

    fn synapses(&self) -> usize {
        self.projections().map(Projection::synapses).sum()
    }

    fn masks(&self) -> Vec<(usize, &Synapses)> {
        self.projections().filter_map(|p| Some((p.tensor, p.mask.synapses()?))).collect()
    }

    fn replicate(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn operation(&self) -> Option<Operation<'_>> {
        Some(Operation::Column(self))
    }

    fn forward(&mut self, pass: &Pass, weights: &[f32], _buffers: &[f32], x: &[f32], y: &mut [f32]) {
        self.run(pass, weights, x, false, y);
    }

    fn hold(&mut self, weights: Option<&[f32]>) {
        for p in self.populations.iter_mut().flat_map(Population::projections_mut) {
            p.hold(weights.map(|w| &w[self.ranges[p.tensor].clone()]));
        }
    }

    fn backward_part(&mut self, pass: &Pass, back: Backward) {
        let Backward { weights, x, dy, mut dx, dweights, .. } = back;
        let batch = pass.batch;
        for (d, p) in self.d_outputs.iter_mut().zip(&self.populations) {
            d.clear();
            d.resize(p.n * batch, 0.0);
        }
        let mut start = 0;
        for &k in &self.readout {
            let len = self.d_outputs[k].len();
            self.d_outputs[k].copy_from_slice(&dy[start..start + len]);
            start += len;
        }
        let mut first_into_input = true;
        for k in (0..self.populations.len()).rev() {
            let (done, rest) = self.populations.split_at_mut(k);
            let population = &mut rest[0];
            let (d_done, d_rest) = self.d_outputs.split_at_mut(k);
            let w = |i: usize| &weights[self.ranges[i].clone()];
            population.backward_local(pass, &w, &self.ranges, &d_rest[0], dweights);
            for (p, du) in population.afferents() {
                let range = self.ranges[p.tensor].clone();
                match p.source {
                    Source::Population(j) => {
                        let pre = done[j].output(batch);
                        p.backward(
                            w(p.tensor),
                            batch,
                            pre,
                            du,
                            InputGradient::Add(&mut d_done[j]),
                            &mut dweights[range],
                        );
                    }
                    Source::Input => {
                        let target = match dx.as_deref_mut() {
                            Some(dx) if first_into_input => InputGradient::Overwrite(dx),
                            Some(_) => {
                                self.d_input_part.resize(x.len(), 0.0);
                                InputGradient::Overwrite(&mut self.d_input_part)
                            }
                            None => InputGradient::Skip,
                        };
                        p.backward(w(p.tensor), batch, x, du, target, &mut dweights[range]);
                        if !first_into_input && let Some(dx) = dx.as_deref_mut() {
                            crate::kernels::elementwise::add(&self.d_input_part, dx);
                        }
                        first_into_input = false;
                    }
                }
            }
        }
    }

    fn outer<'a>(&'a self, x: &'a [f32], _dy: &'a [f32]) -> Vec<Outer<'a>> {
        // Only the input may be dense.
        self.populations.iter().flat_map(Population::afferents_done).filter_map(|(p, du)| p.outer(x, du)).collect()
    }

    fn afferents(&mut self) -> Option<&mut dyn Afferents> {
        let dense = self.projections().all(|p| p.source != Source::Input || p.mask.synapses().is_none());
        if dense { Some(self) } else { None }
    }

    fn plastic<'a>(&'a self, x: &'a [f32], _y: &'a [f32], pass: &Pass) -> Vec<Plastic<'a>> {
        let batch = pass.batch;
        let mut list = Vec::new();
        for population in &self.populations {
            let bias = Some(population.homeostatic_bias());
            let post = population.output(batch);
            for p in &population.excitatory {
                let pre = match p.source {
                    Source::Input => &x[..p.n_pre() * batch],
                    Source::Population(j) => self.populations[j].output(batch),
                };
                list.push(p.plastic(bias, batch, pre, post));
            }
            if let Some(p) = &population.intra {
                list.push(p.plastic(bias, batch, population.first_response(batch), post));
            }
        }
        list
    }
}

impl Afferents for Column {
    fn products<'a>(&'a mut self, batch: usize, _y: &'a mut [f32]) -> Vec<Product<'a>> {
        self.populations.iter_mut().flat_map(|p| p.products(batch)).collect()
    }

    fn forward_after(&mut self, pass: &Pass, weights: &[f32], x: &[f32], y: &mut [f32]) {
        self.run(pass, weights, x, true, y);
    }
}

#[cfg(test)]
mod gradient_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wiring_tests;
