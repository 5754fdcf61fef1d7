//! The floats of a run in one map: weights, two moments, buffers and the state of local learning.

use crate::error::{Error, Result};
use crate::model::Network;
use crate::store::{Saved, Section};
use std::ops::Range;
use std::path::Path;

/// Where each part lies in the working map, in floats.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    pub weights: Range<usize>,
    pub first: Range<usize>,
    pub second: Range<usize>,
    pub buffers: Range<usize>,
    pub local: Range<usize>,
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
        let w = network.weights_len();
        Self {
            weights: next(w),
            first: next(w),
            second: next(w),
            buffers: next(network.buffers_len()),
            local: next(local),
        }
    }

    pub fn len(&self) -> usize {
        self.local.end
    }

    pub fn split<'a>(&self, floats: &'a mut [f32]) -> Parts<'a> {
        let (weights, rest) = floats.split_at_mut(self.weights.len());
        let (first, rest) = rest.split_at_mut(self.first.len());
        let (second, rest) = rest.split_at_mut(self.second.len());
        let (buffers, rest) = rest.split_at_mut(self.buffers.len());
        Parts { weights, first, second, buffers, local: &mut rest[..self.local.len()] }
    }

    /// Name, shape and place of every tensor that is saved: weights and buffers, and with `whole` also moments and
    /// the local state.
    pub fn sections(&self, network: &Network, whole: bool) -> Vec<(Section, Range<usize>)> {
        let mut list = Vec::new();
        for t in network.tensors() {
            let at = |start: usize| start + t.range.start..start + t.range.end;
            let mut add = |suffix: &str, start| {
                let section = Section { name: format!("{}{suffix}", t.spec.name), shape: t.spec.shape.clone() };
                list.push((section, at(start)));
            };
            add("", self.weights.start);
            if whole {
                add("#first_moment", self.first.start);
                add("#second_moment", self.second.start);
            }
        }
        for t in network.buffer_tensors() {
            let section = Section { name: t.spec.name.clone(), shape: t.spec.shape.clone() };
            list.push((section, self.buffers.start + t.range.start..self.buffers.start + t.range.end));
        }
        if whole && !self.local.is_empty() {
            let section = Section { name: "local_state".into(), shape: vec![self.local.len()] };
            list.push((section, self.local.clone()));
        }
        list
    }

    /// Copies a saved file's tensors to their places.
    ///
    /// # Errors
    /// `State` if its tensors are not those of the network.
    pub fn restore(
        &self,
        path: &Path,
        saved: &Saved,
        network: &Network,
        whole: bool,
        floats: &mut [f32],
    ) -> Result<()> {
        let wanted = self.sections(network, whole);
        let foreign =
            |what: String| Error::state(path.display(), what, "use the weights of this run, or train it anew");
        if saved.sections.len() != wanted.len() {
            return Err(foreign(format!("holds {} tensors, the network has {}", saved.sections.len(), wanted.len())));
        }
        for (i, (section, range)) in wanted.into_iter().enumerate() {
            let found = &saved.sections[i];
            if *found != section {
                return Err(foreign(format!(
                    "tensor {i} is {} {:?}, the network has {} {:?}",
                    found.name, found.shape, section.name, section.shape
                )));
            }
            floats[range].copy_from_slice(&saved.floats[i]);
        }
        Ok(())
    }
}
