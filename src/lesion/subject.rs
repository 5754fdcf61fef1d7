//! The trained network in which neurons are silenced: its images have passed the stem once, and column and read-out
//! work on copies of its weights.

use crate::config::Config;
use crate::connectome::Connectome;
use crate::data::{EXPRESSIONS, fill_batch};
use crate::error::{Error, Result};
use crate::eval::Images;
use crate::kernels::scores::{Scores, score, winner};
use crate::model::column::Column;
use crate::model::inference::add_probabilities;
use crate::model::{Layer, Network, Shape, slices, tensor_ranges};
use crate::store;
use crate::train::Trained;

/// What a neuron of the connectome is to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A unit.
    Unit,
    /// No unit: its synapses count in the doses of graded inhibition.
    Dose,
    /// Nothing: silencing it has no effect.
    Absent,
}

/// A trained network and the images that it is tried on.
pub(super) struct Subject {
    /// Its wiring.
    pub connectome: Connectome,
    /// Of each neuron of the connectome `(N)`.
    pub roles: Vec<Role>,
    /// Label of each image `(n)`.
    pub labels: Vec<u8>,
    /// Fingerprint of all its weights.
    pub weights_fingerprint: String,
    /// What the stem gives for each slice of images, one after another `(F, B)`.
    features: Vec<f32>,
    /// Shape of one image's features.
    input: Shape,
    column: Column,
    readout: Box<dyn Layer>,
    /// Of the column, then of the read-out.
    weights: Vec<f32>,
    /// Floats of the column in `weights`.
    column_len: usize,
}

/// What the network makes of the images.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// Class probabilities `(n, 7)`.
    pub probabilities: Vec<f32>,
    /// Their scores.
    pub scores: Scores,
}

impl Answer {
    /// For each image, whether its most probable class is its label `(n)`.
    pub fn hits(&self, labels: &[u8]) -> Vec<bool> {
        let rows = self.probabilities.chunks_exact(EXPRESSIONS.len());
        rows.zip(labels).map(|(row, &label)| winner(row) == usize::from(label)).collect()
    }
}

/// What to say of a run whose network has no column.
pub(super) fn no_column(config: &Config) -> Error {
    let what = format!("the run has no column (preset \"{}\"): there are no neurons to silence", config.preset);
    Error::usage(what, "take a run with column.enabled = true, such as those of the preset bionic")
}

impl Subject {
    /// Passes the images through the stem.
    ///
    /// # Errors
    /// `Usage` for a network without a column.
    pub fn new(trained: Trained, images: &Images) -> Result<Self> {
        let Trained { network, weights, buffers, connectome, standardize, config, .. } = trained;
        let layers = network.layers();
        let (Some((at, column)), Some(connectome)) = (network.column(), connectome) else {
            return Err(no_column(&config));
        };
        assert_eq!(at + 2, layers.len(), "the read-out follows the column");
        let (head, [of_head, _]) = network.part(at..at + 2);
        let indices: Vec<usize> = images.parts.concat();
        let mut features = vec![0.0; indices.len() * head.input().n()];
        let fill = |range: std::ops::Range<usize>, x: &mut [f32]| {
            fill_batch(&images.dataset, &indices[range], None, standardize, x);
        };
        if at == 0 {
            let pixels = head.input().n();
            slices(indices.len()).for_each(|s| fill(s.clone(), &mut features[s.start * pixels..s.end * pixels]));
        } else {
            let (mut stem, [of_stem, of_buffers]) = network.part(0..at);
            let keep = |y: &[f32], out: &mut [f32]| out.copy_from_slice(y);
            stem.evaluate(&weights[of_stem], &buffers[of_buffers], 1, |s, _, x| fill(s, x), keep, &mut features);
        }
        let dosing = column.dosing(&connectome);
        let mut roles: Vec<Role> = dosing.iter().map(|&d| if d { Role::Dose } else { Role::Absent }).collect();
        for group in column.groups() {
            group.neurons.iter().for_each(|&i| roles[i] = Role::Unit);
        }
        let column_len = crate::model::spec::tensors_len(&column.tensors());
        Ok(Self {
            roles,
            labels: indices.iter().map(|&i| images.dataset.labels[i]).collect(),
            weights_fingerprint: format!("{:016x}", store::fingerprint(&weights)),
            features,
            input: head.input(),
            column: column.clone(),
            readout: layers[at + 1].replicate(),
            weights: weights[of_head].to_vec(),
            column_len,
            connectome,
        })
    }

    /// The answer of the network in which these neurons are silent, by their indices in the connectome.
    pub fn answer(&self, silent: &[usize]) -> Answer {
        let mut is_silent = vec![false; self.connectome.neurons.len()];
        silent.iter().for_each(|&i| is_silent[i] = true);
        let (mut column, mut weights) = (self.column.clone(), self.weights.clone());
        let (of_column, of_readout) = weights.split_at_mut(self.column_len);
        column.silence(&self.connectome, &is_silent, of_column);
        // The first tensor of the read-out is its weight `(7, N_readout)`.
        let pre = column.output_neurons();
        let weight = tensor_ranges(&self.readout.tensors())[0].clone();
        for row in of_readout[weight].chunks_exact_mut(pre.len()) {
            row.iter_mut().zip(&pre).filter(|(_, i)| is_silent[**i]).for_each(|(w, _)| *w = 0.0);
        }
        let mut network = Network::new(self.input, vec![Box::new(column), self.readout.replicate()]);
        let mut probabilities = vec![0.0; self.labels.len() * EXPRESSIONS.len()];
        let fill = |images: std::ops::Range<usize>, _, x: &mut [f32]| x.copy_from_slice(self.features_of(images));
        network.evaluate(&weights, &[], 1, fill, |logits, out| add_probabilities(logits, 1, out), &mut probabilities);
        let scores = score(&EXPRESSIONS, &probabilities, &self.labels);
        Answer { probabilities, scores }
    }

    /// Features of the images of one slice `(F, B)`.
    pub fn features_of(&self, images: std::ops::Range<usize>) -> &[f32] {
        let n = self.input.n();
        &self.features[images.start * n..images.end * n]
    }

    /// The intact column and its weights.
    pub fn column(&self) -> (&Column, &[f32]) {
        (&self.column, &self.weights[..self.column_len])
    }

    /// Weight `(7, N_readout)` and bias `(7)` of the intact read-out.
    #[cfg(test)]
    pub fn readout_weights(&self) -> (Vec<f32>, Vec<f32>) {
        let ranges = tensor_ranges(&self.readout.tensors());
        let own = &self.weights[self.column_len..];
        (own[ranges[0].clone()].to_vec(), own[ranges[1].clone()].to_vec())
    }
}
