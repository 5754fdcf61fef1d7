//! One slice of a batch on its way through the layers, up and down.

use super::maps::Run;
use super::{Backward, Layer, Outer, Pass};
use crate::aligned::Aligned;
use std::ops::Range;

/// One slice's layers and activity.
pub(super) struct Replica {
    pub(super) layers: Vec<Box<dyn Layer>>,
    /// Layers that go through their feature maps together.
    pub(super) runs: Vec<Run>,
    /// Images of the slice in the last pass.
    pub(super) images: usize,
    /// Input `(N_input, B)` of the last pass.
    pub(super) x: Aligned,
    /// Output of each layer in the last pass `(N, B)`; within a run as much of it as the run keeps.
    pub(super) outputs: Vec<Aligned>,
    /// Gradient of each layer's output `(N, B)`, likewise.
    pub(super) d_outputs: Vec<Aligned>,
    /// Parts of the gradient of a layer's input, see `afferents.rs`.
    pub(super) parts: Vec<Aligned>,
    /// This slice's part of the gradient of all weights, but for those of [`Layer::outer`].
    pub(super) dweights: Aligned,
}

/// The weights or the buffers, and where those of each layer lie.
#[derive(Clone, Copy)]
pub(super) struct Memory<'a> {
    pub(super) ranges: &'a [Range<usize>],
    pub(super) values: &'a [f32],
}

impl Memory<'_> {
    pub(super) fn of(&self, layer: usize) -> &[f32] {
        &self.values[self.ranges[layer].clone()]
    }
}

impl Replica {
    pub(super) fn new(mut layers: Vec<Box<dyn Layer>>) -> Self {
        let empty = vec![Aligned::default(); layers.len()];
        let (x, dweights, runs) = (Aligned::default(), Aligned::default(), Run::all(&mut layers));
        Self { images: 0, x, outputs: empty.clone(), d_outputs: empty, parts: Vec::new(), dweights, layers, runs }
    }

    pub(super) fn replicate(&self) -> Self {
        Self::new(self.layers.iter().map(|l| l.replicate()).collect())
    }

    /// Input of layer `i`, its scratch and output.
    pub(super) fn at(&mut self, i: usize) -> (&[f32], &mut dyn Layer, &mut Aligned) {
        let (done, rest) = self.outputs.split_at_mut(i);
        let x = done.last().unwrap_or(&self.x);
        (x, self.layers[i].as_mut(), &mut rest[0])
    }

    /// The layers of `layers` forward; those where images meet have heard what all told, in training. Returns what the last
    /// run tells of its maps, if images meet in it next.
    pub(super) fn forward(&mut self, layers: Range<usize>, pass: &Pass, w: Memory, b: Memory) -> Vec<f64> {
        let runs = std::mem::take(&mut self.runs);
        let (mut i, mut told) = (layers.start, Vec::new());
        while i < layers.end {
            if let Some(run) = runs.iter().find(|run| run.layers.contains(&i)) {
                let part = i..run.layers.end.min(layers.end);
                told = run.forward(self, part.clone(), pass, w, b);
                i = part.end;
                continue;
            }
            let (x, layer, y) = self.at(i);
            let maps = 0..layer.output().c;
            y.resize(layer.output().n() * pass.batch, 0.0);
            match layer.meeting() {
                Some(layer) if pass.training => layer.forward_maps(maps, pass, w.of(i), x, y),
                _ => layer.forward(pass, w.of(i), b.of(i), x, y),
            }
            i += 1;
        }
        self.runs = runs;
        told
    }

    /// The layers of `layers` from the last to the first backward, as [`Replica::backward`] each. A run in which images
    /// have yet to meet goes back once they have.
    pub(super) fn backward_through(&mut self, layers: Range<usize>, from: usize, pass: &Pass, w: Memory) {
        let runs = std::mem::take(&mut self.runs);
        let mut end = layers.end;
        while end > layers.start {
            if let Some(run) = runs.iter().find(|run| run.layers.end == end) {
                if run.meeting.is_none_or(|meeting| meeting < from) {
                    run.backward(self, from, pass, w);
                }
                end = run.layers.start.max(layers.start);
                continue;
            }
            end -= 1;
            self.backward(end, from, pass, w);
        }
        self.runs = runs;
    }

    /// What this slice tells of the input of layer `i`, if images meet there and `told` is not that already.
    pub(super) fn tell_forward(&mut self, i: usize, mut told: Vec<f64>) -> Vec<f64> {
        let (x, layer, _) = self.at(i);
        let maps = 0..layer.output().c;
        if let Some(layer) = layer.meeting().filter(|_| told.is_empty()) {
            layer.tell_forward(maps, x, &mut told);
        }
        told
    }

    /// Layer `i`, at which slices stopped, goes on with what all told, or with the products of its afferents. Returns the
    /// first layer that is still to go forward.
    pub(super) fn forward_with(&mut self, i: usize, told: &[Vec<f64>], pass: &Pass, w: Memory) -> usize {
        let (x, layer, y) = self.at(i);
        if let Some(layer) = layer.meeting() {
            layer.hear_forward(told);
            return i;
        }
        y.resize(layer.output().n() * pass.batch, 0.0);
        if let Some(layer) = layer.afferents() {
            layer.forward_after(pass, w.of(i), x, y);
        }
        i + 1
    }

    /// Layer `i` backward; the gradient of its input only if it is above layer `from`. Where images meet they have.
    fn backward(&mut self, i: usize, from: usize, pass: &Pass, w: Memory) {
        let x = if i == 0 { &self.x } else { &self.outputs[i - 1] };
        let (before, rest) = self.d_outputs.split_at_mut(i);
        let dx = before.last_mut().filter(|_| i > from).map(|dx| {
            dx.resize(x.len(), 0.0);
            dx.as_mut_slice()
        });
        let (y, dy, dweights) = (&self.outputs[i], &rest[0], &mut self.dweights[w.ranges[i].clone()]);
        let back = Backward { weights: w.of(i), x, y, dy, dx, dweights };
        let maps = 0..self.layers[i].output().c;
        match self.layers[i].meeting() {
            Some(layer) => layer.backward_maps(maps, pass, back),
            None => self.layers[i].backward_part(pass, back),
        }
    }

    /// What this slice tells where images meet in layer `i`; elsewhere it does what precedes the products of the afferents.
    pub(super) fn stop_backward(&mut self, i: usize, pass: &Pass, w: Memory) -> Vec<f64> {
        let runs = std::mem::take(&mut self.runs);
        let mut told = Vec::new();
        let maps = 0..self.layers[i].output().c;
        if let Some(run) = runs.iter().find(|run| run.meeting == Some(i)) {
            told = run.tell_backward(self, pass, w);
        } else if let Some(layer) = self.layers[i].meeting() {
            let x = if i == 0 { &self.x } else { &self.outputs[i - 1] };
            layer.tell_backward(maps, x, &self.d_outputs[i], &mut told);
        } else {
            self.backward(i, i, pass, w);
        }
        self.runs = runs;
        told
    }

    /// Layer `i`, at which slices stopped, goes back with what all told, this one's at `own`, or with the products of its
    /// afferents. Returns the lowest layer that has gone back.
    pub(super) fn backward_with(
        &mut self,
        i: usize,
        from: usize,
        told: &[Vec<f64>],
        own: usize,
        pass: &Pass,
        w: Memory,
    ) -> usize {
        let Some(layer) = self.layers[i].meeting() else {
            self.add_parts(i);
            return i;
        };
        layer.hear_backward(told, own, &mut self.dweights[w.ranges[i].clone()]);
        let runs = std::mem::take(&mut self.runs);
        let run = runs.iter().find(|run| run.meeting == Some(i));
        match run {
            Some(run) if from < i => run.backward(self, from, pass, w),
            // Behind the layer where images meet there are no weights.
            Some(_) => (),
            None => self.backward(i, from, pass, w),
        }
        let lowest = run.map_or(i, |run| run.layers.start);
        self.runs = runs;
        lowest
    }

    /// Products of the weight gradient that layer `i` left to the network.
    pub(super) fn outer(&self, i: usize) -> Vec<Outer<'_>> {
        let x = if i == 0 { &self.x } else { &self.outputs[i - 1] };
        self.layers[i].outer(x, &self.d_outputs[i])
    }
}
