//! The floats of a run in one map: weights, two moments, buffers, the state of local learning, and the best epoch.

use crate::error::{Error, Result};
use crate::model::Network;
use crate::store::{Opened, Section};
use std::ops::Range;
use std::path::Path;

/// Ends the name of a tensor of the best epoch.
const BEST: &str = "#best";

/// Where each part lies in the working map, in floats.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    pub weights: Range<usize>,
    pub first: Range<usize>,
    pub second: Range<usize>,
    pub buffers: Range<usize>,
    pub local: Range<usize>,
    pub best_weights: Range<usize>,
    pub best_buffers: Range<usize>,
}

/// The parts, each as its own slice.
pub(super) struct Parts<'a> {
    pub weights: &'a mut [f32],
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
    pub buffers: &'a mut [f32],
    pub local: &'a mut [f32],
}

impl Regions {
    pub fn new(network: &Network, local: usize) -> Self {
        let mut end = 0;
        let mut next = |len: usize| {
            let range = end..end + len;
            end = range.end;
            range
        };
        let (w, b) = (network.weights_len(), network.buffers_len());
        Self {
            weights: next(w),
            first: next(w),
            second: next(w),
            buffers: next(b),
            local: next(local),
            best_weights: next(w),
            best_buffers: next(b),
        }
    }

    pub fn len(&self) -> usize {
        self.best_buffers.end
    }

    /// What a training step works on.
    pub fn split<'a>(&self, floats: &'a mut [f32]) -> Parts<'a> {
        let (weights, rest) = floats.split_at_mut(self.weights.len());
        let (first, rest) = rest.split_at_mut(self.first.len());
        let (second, rest) = rest.split_at_mut(self.second.len());
        let (buffers, rest) = rest.split_at_mut(self.buffers.len());
        Parts { weights, first, second, buffers, local: &mut rest[..self.local.len()] }
    }

    /// Keeps weights and buffers as those of the best epoch.
    pub fn keep_best(&self, floats: &mut [f32]) {
        floats.copy_within(self.weights.clone(), self.best_weights.start);
        floats.copy_within(self.buffers.clone(), self.best_buffers.start);
    }

    /// Name, shape and place of every tensor that is saved. The best epoch's come last: they change the least.
    pub fn sections(&self, network: &Network) -> Vec<(Section, Range<usize>)> {
        let mut list = Vec::new();
        let mut add = |name: String, shape: &[usize], start: usize, range: &Range<usize>| {
            list.push((Section { name, shape: shape.to_vec() }, start + range.start..start + range.end));
        };
        for t in network.tensors() {
            let (name, shape) = (&t.spec.name, &t.spec.shape);
            add(name.clone(), shape, self.weights.start, &t.range);
            add(format!("{name}#first_moment"), shape, self.first.start, &t.range);
            add(format!("{name}#second_moment"), shape, self.second.start, &t.range);
        }
        for t in network.buffer_tensors() {
            add(t.spec.name.clone(), &t.spec.shape, self.buffers.start, &t.range);
        }
        if !self.local.is_empty() {
            add("local_state".into(), &[self.local.len()], self.local.start, &(0..self.local.len()));
        }
        for t in network.tensors() {
            add(format!("{}{BEST}", t.spec.name), &t.spec.shape, self.best_weights.start, &t.range);
        }
        for t in network.buffer_tensors() {
            add(format!("{}{BEST}", t.spec.name), &t.spec.shape, self.best_buffers.start, &t.range);
        }
        list
    }

    /// Refuses the tensors of a state if they are not those of the network.
    ///
    /// # Errors
    /// `State`, naming the first that differs.
    pub fn check(&self, path: &Path, opened: &Opened, network: &Network) -> Result<()> {
        let (found, expected) = (&opened.sections, self.sections(network));
        let foreign =
            |what: String| Error::state(path.display(), what, "use the weights of this run, or train it anew");
        if found.len() != expected.len() {
            return Err(foreign(format!("holds {} tensors, the network has {}", found.len(), expected.len())));
        }
        match found.iter().zip(&expected).enumerate().find(|(_, (found, (expected, _)))| *found != expected) {
            None => Ok(()),
            Some((i, (found, (expected, _)))) => Err(foreign(format!(
                "tensor {i} is {} {:?}, the network has {} {:?}",
                found.name, found.shape, expected.name, expected.shape
            ))),
        }
    }

    /// Copies the tensors of a state that passed [`Regions::check`] to their places.
    pub fn restore(&self, opened: &Opened, network: &Network, floats: &mut [f32]) {
        for ((_, range), values) in self.sections(network).into_iter().zip(opened.tensors()) {
            floats[range].copy_from_slice(values);
        }
    }

    /// Weights and buffers of the best epoch, from a state that passed [`Regions::check`] and of which those sections that
    /// are [`is_best`] were read and no others.
    pub fn best(&self, opened: Opened, network: &Network) -> (Vec<f32>, Vec<f32>) {
        let (start, end) = (self.best_weights.start, self.best_weights.len() + self.best_buffers.len());
        // The reader puts sections to multiples of a cache line, as the network does: they stay where they were read.
        let best = self.sections(network).into_iter().map(|(section, range)| {
            if is_best(&section) && !range.is_empty() { range.start - start..range.end - start } else { 0..0 }
        });
        assert!(best.eq(opened.places), "the sections of the best epoch must have been read, and no others");
        let mut weights = opened.floats;
        weights.resize(end, 0.0);
        let buffers = weights.split_off(self.best_weights.len());
        (weights, buffers)
    }
}

/// True for a tensor of the best epoch.
pub(super) fn is_best(section: &Section) -> bool {
    section.name.ends_with(BEST)
}
