//! Neurons of a column by their place in the connectome: what they respond, and their silence.
//!
//! A silent neuron sends nothing to anybody, as if its release of transmitter were blocked: the outgoing weights of an
//! excitatory cell (feed-forward, skipping, intra-laminar, onto interneurons) or of an interneuron are set to 0, which is
//! the same to the bit as clamping its output and its first response to 0. Its own input is as it was, and LayerNorm goes
//! on counting it: the norm is taken over inputs, and was learned with this cell among them.
//! An inhibitory cell of `graded` is no unit: its synapses leave the doses n_i, over the lamina's maximum as it was.

use super::population::{Inhibition, Population};
use super::projection::Projection;
use super::wiring::dose;
use super::{Column, Source};
use crate::connectome::{Connectome, Polarity};

/// Neurons of one lamina and polarity that are units of a column.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// Name of the lamina.
    pub lamina: &'a str,
    /// Excitatory, or the interneurons of that lamina.
    pub polarity: Polarity,
    /// Index of each unit in the connectome's list of neurons `(N)`.
    pub neurons: &'a [usize],
}

/// Name of the interneurons of a lamina.
pub(super) fn interneurons_of(lamina: &str) -> String {
    format!("{lamina} I")
}

impl Group<'_> {
    /// `L4`, or `L4 I` of interneurons, as in the names of the tensors.
    pub fn name(&self) -> String {
        match self.polarity {
            Polarity::Excitatory => self.lamina.to_owned(),
            Polarity::Inhibitory => interneurons_of(self.lamina),
        }
    }
}

impl Column {
    /// Its units: the excitatory neurons of each lamina in processing order, each followed by its interneurons if they
    /// are units.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups = Vec::new();
        for p in &self.populations {
            groups.push(Group { lamina: &p.lamina, polarity: Polarity::Excitatory, neurons: &p.neurons });
            if let Inhibition::Interneurons(cells) = &p.inhibition {
                groups.push(Group { lamina: &p.lamina, polarity: Polarity::Inhibitory, neurons: &cells.neurons });
            }
        }
        groups
    }

    /// Activity of each group of [`Column::groups`] in the last pass, of `batch` images: `(N, B)`.
    ///
    /// # Panics
    /// If there was no such pass.
    pub fn responses(&self, batch: usize) -> Vec<&[f32]> {
        let mut responses = Vec::new();
        for p in &self.populations {
            responses.push(p.output(batch));
            if let Inhibition::Interneurons(cells) = &p.inhibition {
                responses.push(cells.output(batch));
            }
        }
        responses
    }

    /// Index in the connectome's list of the neuron behind each row of the output `(N_readout)`.
    pub fn output_neurons(&self) -> Vec<usize> {
        self.readout.iter().flat_map(|&k| self.populations[k].neurons.iter().copied()).collect()
    }

    /// Which neurons of `connectome`, from which the column was built, act through doses of graded inhibition `(N)`.
    pub fn dosing(&self, connectome: &Connectome) -> Vec<bool> {
        let mut dosing = vec![false; connectome.neurons.len()];
        for p in self.populations.iter().filter(|p| matches!(p.inhibition, Inhibition::Graded { .. })) {
            let pres = p.neurons.iter().flat_map(|&i| connectome.synapses.row(i));
            pres.filter(|&(pre, _)| inhibits(connectome, pre)).for_each(|(pre, _)| dosing[pre] = true);
        }
        dosing
    }

    /// Silences the neurons of `connectome`, from which the column was built, that are `silent (N)`: in its `weights`, and
    /// in its doses. The weights between its output and the next layer are that layer's.
    ///
    /// # Panics
    /// If `silent` has another length.
    pub fn silence(&mut self, connectome: &Connectome, silent: &[bool], weights: &mut [f32]) {
        assert_eq!(silent.len(), connectome.neurons.len(), "silent must be (N)");
        for p in &self.populations {
            for projection in p.projections() {
                let range = self.ranges[projection.tensor].clone();
                if let Some(pre) = self.pre_neurons(p, projection) {
                    cut(projection, |j| silent[pre[j]], &mut weights[range]);
                }
            }
        }
        for p in &mut self.populations {
            let Inhibition::Graded { dose: doses, .. } = &mut p.inhibition else { continue };
            *doses = dose(&connectome.inhibitory_synapses_onto(&p.neurons), |i, count| {
                let synapses = connectome.synapses.row(p.neurons[i]);
                let lost = synapses.filter(|&(pre, _)| silent[pre] && inhibits(connectome, pre));
                lost.fold(count, |left, (_, n)| left.saturating_sub(n))
            });
        }
    }

    /// Index in the connectome's list of each presynaptic neuron of a projection of `p`; `None` where features come in.
    fn pre_neurons<'a>(&'a self, p: &'a Population, projection: &Projection) -> Option<&'a [usize]> {
        match (&p.inhibition, projection.source) {
            (Inhibition::Interneurons(cells), _) if cells.efferent.tensor == projection.tensor => Some(&cells.neurons),
            (_, Source::Population(k)) => Some(&self.populations[k].neurons),
            (_, Source::Input) => None,
        }
    }
}

fn inhibits(connectome: &Connectome, neuron: usize) -> bool {
    connectome.neurons[neuron].polarity == Polarity::Inhibitory
}

/// Sets the weights of the presynaptic neurons that are `silent` to 0.
fn cut(projection: &Projection, silent: impl Fn(usize) -> bool, weights: &mut [f32]) {
    // Between neurons every projection has a mask, all to all where the connectome's is off.
    let Some(synapses) = projection.mask.synapses() else { return };
    for (weight, &pre) in weights.iter_mut().zip(synapses.pre()) {
        if silent(pre as usize) {
            *weight = 0.0;
        }
    }
}
