//! Runs of layers that treat every feature map by itself: they go through the maps together, a few maps at a time. The
//! network's first layer may make the maps.
//!
//! A stem's first maps are larger than a core's cache; layer by layer each pass over them would go through memory that all
//! cores share. The activity and the gradients between the layers of a run are as long as the maps at hand, but for the
//! activity that a backward pass reads.

use super::replica::{Memory, Replica};
use super::{Backward, Layer, MapWise, Operation, Pass};
use crate::aligned::Aligned;
use crate::kernels::threads;
use std::ops::Range;

/// Floats of the largest feature maps that go through a run together: 256 KiB.
const MAPS_IN_CACHE: usize = 65_536;

/// The same of runs that make their maps from the input, which they read once for all maps that go together: 384 KiB.
const MADE_IN_CACHE: usize = 98_304;

/// Map-wise layers in a row, at least two; the first may be a [`Layer::map_source`].
pub(super) struct Run {
    /// Which layers.
    pub(super) layers: Range<usize>,
    /// The one where images meet, if there is one. What lies behind it has no tensors: it goes back twice, before they meet
    /// and after.
    pub(super) meeting: Option<usize>,
    /// What is done, in order.
    steps: Vec<Step>,
    /// Feature maps.
    maps: usize,
    /// Neurons of a feature map of the input, and of the output of each layer.
    neurons: Vec<usize>,
    /// Whether the output of each layer is kept in training: a backward pass reads it, Hebbian rules, or a layer behind the
    /// run. In evaluation the last one is.
    kept: Vec<bool>,
}

/// A layer of a run, or one and the ReLU behind it. `from` and `to` say where in the run: 0 is its input, `n` the output of
/// its layer `n - 1`.
struct Step {
    layer: usize,
    from: usize,
    to: usize,
}

impl Step {
    fn with_relu(&self) -> bool {
        self.to > self.from + 1
    }
}

impl Run {
    /// The runs among `layers`, in order. The first layer is in none, or makes the maps of one.
    pub(super) fn all(layers: &mut [Box<dyn Layer>]) -> Vec<Self> {
        let (mut runs, mut start) = (Vec::new(), 0);
        while start < layers.len() {
            let run = start..Self::end(layers, start);
            if run.len() > 1 {
                runs.push(Self::new(layers, run.clone()));
            }
            start = run.end.max(start + 1);
        }
        runs
    }

    /// The end of the run from layer `start`, if it is in one.
    fn end(layers: &mut [Box<dyn Layer>], start: usize) -> usize {
        let mut met = false;
        for (i, layer) in layers.iter_mut().enumerate().skip(start) {
            let again = layer.meeting().is_some() || !layer.tensors().is_empty();
            if of_run(layer.as_mut(), i).is_none() || (met && again) {
                return i;
            }
            met |= layer.meeting().is_some();
        }
        layers.len()
    }

    fn new(layers: &mut [Box<dyn Layer>], run: Range<usize>) -> Self {
        let maps = layers[run.start].output().c;
        // The input of a first layer is read as a whole.
        let input = run.start.checked_sub(1).map_or(0, |before| layers[before].output().n() / maps.max(1));
        let outputs = run.clone().map(|i| layers[i].output().n() / maps.max(1));
        let neurons = [input].into_iter().chain(outputs).collect();
        let mut steps: Vec<Step> = Vec::new();
        for (from, layer) in run.clone().enumerate() {
            let is_relu = matches!(layers[layer].operation(), Some(Operation::Relu));
            if let Some(before) = steps.last_mut().filter(|_| is_relu)
                && of_run(layers[before.layer].as_mut(), before.layer).is_some_and(|l| l.with_relu().is_some())
            {
                before.to = from + 1;
            } else {
                steps.push(Step { layer, from, to: from + 1 });
            }
        }
        let mut kept = vec![false; run.len()];
        if let Some(last) = kept.last_mut() {
            *last = true;
        }
        for Step { layer, from, to } in &steps {
            let reads = of_run(layers[*layer].as_mut(), *layer).map(|l| [l.reads_input(), l.reads_output()]);
            let [reads_input, reads_output] = reads.unwrap_or([true; 2]);
            kept[to - 1] |= reads_output;
            if let Some(input) = from.checked_sub(1) {
                kept[input] |= reads_input;
            }
        }
        let meeting = run.clone().find(|&i| layers[i].meeting().is_some());
        Self { layers: run, meeting, steps, maps, neurons, kept }
    }

    /// The groups of maps that go through together in a pass over `batch` images: all where the kernels share them out.
    fn groups(&self, batch: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let largest = self.neurons.iter().max().map_or(1, |n| n * batch).max(1);
        let most = if self.layers.start == 0 { MADE_IN_CACHE } else { MAPS_IN_CACHE };
        let (maps, in_cache) = (self.maps, (most / largest).max(1));
        let at_once = if threads::sharing() { maps.max(1) } else { in_cache };
        (0..maps).step_by(at_once).map(move |start| start..maps.min(start + at_once))
    }

    /// Where `maps` lie in the input (`at` 0) or the output of layer `at - 1` of the run, of every map or of these alone.
    fn place(&self, at: usize, maps: &Range<usize>, batch: usize, whole: bool) -> Range<usize> {
        let len = self.neurons[at] * batch;
        let start = if whole { maps.start * len } else { 0 };
        start..start + maps.len() * len
    }

    /// Where `maps` lie in `buffer`, as of [`Run::place`], which is as long as all maps if they are kept and else long enough.
    fn room<'a>(
        &self,
        buffer: &'a mut Aligned,
        at: usize,
        whole: bool,
        maps: &Range<usize>,
        batch: usize,
    ) -> &'a mut [f32] {
        let place = self.place(at, maps, batch, whole);
        if whole {
            buffer.resize(self.maps * self.neurons[at] * batch, 0.0);
        }
        &mut buffer.prefix(place.end)[place]
    }

    /// Whether the activity at `at`, as of [`Run::place`], is kept.
    fn keeps(&self, at: usize, pass: &Pass) -> bool {
        at == 0 || at == self.layers.len() || (pass.training && self.kept[at - 1])
    }

    /// As [`Run::place`] of activity.
    fn activity(&self, at: usize, maps: &Range<usize>, pass: &Pass) -> Range<usize> {
        self.place(at, maps, pass.batch, self.keeps(at, pass))
    }

    /// As [`Run::place`] of gradients, which only the ends of the run keep.
    fn gradient(&self, at: usize, maps: &Range<usize>, batch: usize) -> Range<usize> {
        self.place(at, maps, batch, at == 0 || at == self.layers.len())
    }

    /// The layers `part` of the run forward: all, those before the one where images meet, or the others. Returns what this
    /// slice tells where images meet behind `part`.
    pub(super) fn forward(
        &self,
        replica: &mut Replica,
        part: Range<usize>,
        pass: &Pass,
        w: Memory,
        b: Memory,
    ) -> Vec<f64> {
        let (begin, batch, mut told) = (self.layers.start, pass.batch, Vec::new());
        let Replica { layers, x: input, outputs, .. } = replica;
        if let Some(i) = self.meeting.filter(|_| !pass.training)
            && let Some(layer) = layers[i].meeting()
        {
            layer.recall(b.of(i));
        }
        for maps in self.groups(batch) {
            for step in self.steps.iter().filter(|step| part.contains(&step.layer)) {
                let &Step { layer: i, from, to } = step;
                let (before, rest) = outputs.split_at_mut(begin + from);
                let y = self.room(&mut rest[to - from - 1], to, self.keeps(to, pass), &maps, batch);
                let x = match before.last() {
                    None => input.as_slice(),
                    Some(x) => &x[self.activity(from, &maps, pass)],
                };
                let Some(layer) = of_run(layers[i].as_mut(), i) else { continue };
                match layer.with_relu().filter(|_| step.with_relu()) {
                    Some(both) => both.forward_relu(maps.clone(), pass, x, y),
                    None => layer.forward_maps(maps.clone(), pass, w.of(i), x, y),
                }
            }
            if self.meeting == Some(part.end)
                && let Some(layer) = layers[part.end].meeting()
            {
                let x = &outputs[part.end - 1][self.activity(part.end - begin, &maps, pass)];
                layer.tell_forward(maps, x, &mut told);
            }
        }
        told
    }

    /// The layers of the run from `from` backward; the gradient of the input only of those above it. Where images meet they
    /// have.
    pub(super) fn backward(&self, replica: &mut Replica, from: usize, pass: &Pass, w: Memory) {
        for maps in self.groups(pass.batch) {
            for step in self.steps.iter().rev().filter(|step| step.layer >= from) {
                self.step_back(step, replica, &maps, from, pass, w);
            }
        }
    }

    /// The layers behind the one where images meet backward, and what this slice tells there.
    pub(super) fn tell_backward(&self, replica: &mut Replica, pass: &Pass, w: Memory) -> Vec<f64> {
        let mut told = Vec::new();
        let Some(meeting) = self.meeting else { return told };
        let at = meeting - self.layers.start;
        for maps in self.groups(pass.batch) {
            for step in self.steps.iter().rev().filter(|step| step.layer > meeting) {
                self.step_back(step, replica, &maps, meeting, pass, w);
            }
            let x = &replica.outputs[meeting - 1][self.activity(at, &maps, pass)];
            let dy = &replica.d_outputs[meeting][self.gradient(at + 1, &maps, pass.batch)];
            if let Some(layer) = replica.layers[meeting].meeting() {
                layer.tell_backward(maps, x, dy, &mut told);
            }
        }
        told
    }

    /// One step of the way back of `maps`; the gradient of its input if it is above layer `lowest`.
    fn step_back(
        &self,
        step: &Step,
        replica: &mut Replica,
        maps: &Range<usize>,
        lowest: usize,
        pass: &Pass,
        w: Memory,
    ) {
        let (begin, batch, &Step { layer: i, from, to }) = (self.layers.start, pass.batch, step);
        let Replica { layers, x: input, outputs, d_outputs, dweights, .. } = replica;
        let (before, rest) = d_outputs.split_at_mut(begin + from);
        let dx = before.last_mut().filter(|_| i > lowest).map(|dx| self.room(dx, from, from == 0, maps, batch));
        let dy = &rest[to - from - 1][self.gradient(to, maps, batch)];
        // What is not kept is not read, and is there for the last maps alone.
        let read = |at: usize| match (begin + at, self.keeps(at, pass)) {
            (0, _) => input,
            (end, true) => &outputs[end - 1][self.activity(at, maps, pass)],
            _ => &[],
        };
        let (x, y) = (read(from), read(to));
        let dweights = &mut dweights[w.ranges[i].clone()];
        if let Some(layer) = of_run(layers[i].as_mut(), i) {
            layer.backward_maps(maps.clone(), pass, Backward { weights: w.of(i), x, y, dy, dx, dweights });
        }
    }
}

/// Layer `i` as a member of a run.
fn of_run(layer: &mut dyn Layer, i: usize) -> Option<&mut dyn MapWise> {
    if i == 0 { layer.map_source() } else { layer.map_wise() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::random;
    use crate::kernels::threads::pool;
    use crate::model::{LAYERS, Network, Params, Shape, layer_kind};

    /// Layers by name, a convolution's filters behind its.
    fn layers(names: &[&str], mut shape: Shape) -> Vec<Box<dyn Layer>> {
        let build = |name: &&str| {
            let (name, filters) = name.split_once(' ').unwrap_or((name, ""));
            let mut table: toml::Table = [("layer".to_string(), toml::Value::from(name))].into_iter().collect();
            table.extend(filters.parse().ok().map(|n: i64| ("filters".to_string(), n.into())));
            let built = (layer_kind(name).unwrap().build)(&mut Params::new(table).unwrap(), shape).unwrap();
            shape = built.output();
            built
        };
        names.iter().map(build).collect()
    }

    #[test]
    fn a_run_is_two_layers_or_more_and_keeps_what_is_read() {
        let names = ["relu", "conv", "relu", "conv", "lateral_inhibition", "max_pool", "relu", "lateral_inhibition"];
        let runs = Run::all(&mut layers(&names, Shape { c: 2, h: 8, w: 8 }));
        let found: Vec<_> = runs.iter().map(|run| (run.layers.clone(), &run.kept[..], &run.neurons[..])).collect();
        // Pooling reads neither side again; the last output is the next layer's input.
        assert_eq!(found, [(4..8, &[false, false, true, true][..], &[64, 64, 16, 16, 16][..])]);
        let steps: Vec<_> = runs[0].steps.iter().map(|s| (s.layer, s.from, s.to, s.with_relu())).collect();
        assert_eq!(steps, [(4, 0, 1, false), (5, 1, 3, true), (7, 3, 4, false)], "the pooling applies the ReLU");
    }

    #[test]
    fn a_convolution_of_the_image_begins_a_run() {
        let names = ["conv", "max_pool", "relu", "conv"];
        let of = |c| Run::all(&mut layers(&names, Shape { c, h: 8, w: 8 })).remove(0);
        assert_eq!((of(1).layers, of(2).layers), (0..3, 1..3));
        // Hebbian rules read the first.
        assert_eq!((of(1).kept, of(1).neurons), (vec![true, false, true], vec![0, 64, 16, 16]));
    }

    /// Images meet once in a run, behind a convolution of the image or a layer of maps, or where it begins.
    #[test]
    fn a_run_meets_once_and_goes_back_twice_behind() {
        let names =
            ["conv", "batch_norm", "max_pool", "relu", "lateral_inhibition", "relu", "batch_norm", "batch_norm"];
        let runs = Run::all(&mut layers(&names, Shape { c: 1, h: 8, w: 8 }));
        let found: Vec<_> = runs.iter().map(|run| (run.layers.clone(), run.meeting)).collect();
        assert_eq!(found, [(0..4, Some(1)), (4..7, Some(6))]);
        assert_eq!(runs[0].kept, [true, false, false, true]);
    }

    /// From the pooling, its ReLU, the layer where images meet and those around: what lies before gets no gradient, and what
    /// lies behind the same. Maps go by in groups, or with four workers together.
    #[test]
    fn a_run_may_be_left_alone_below_any_layer() {
        let names =
            ["conv", "lateral_inhibition", "max_pool", "relu", "lateral_inhibition", "batch_norm", "relu", "conv"];
        let behind = ["conv", "batch_norm", "max_pool", "relu", "conv"];
        for (c, names) in [(2, &names[..]), (1, &names[..]), (1, &behind[..])] {
            let shape = Shape { c, h: 48, w: 40 };
            for from in 0..names.len() {
                let down = |threads: usize, by_layer: bool| {
                    let mut network = Network::new(shape, layers(names, shape));
                    pool(threads).unwrap().run(|| {
                        let [y, dweights, ..] = step(&mut network, by_layer, 33, from);
                        [y, dweights]
                    })
                };
                let expected = down(1, true);
                assert!(down(1, false) == expected && down(4, false) == expected, "from {from} of {names:?}");
            }
        }
    }

    /// Batches of one slice, of several and of parts of them, training and evaluation of other sizes in turn.
    #[test]
    fn batches_of_any_size_may_follow_each_other() {
        let shape = Shape { c: 1, h: 48, w: 40 };
        let names = ["conv 5", "batch_norm", "max_pool", "relu", "lateral_inhibition", "conv", "batch_norm", "relu"];
        let mut network = Network::new(shape, layers(&names, shape));
        for batch in [33, 5, 40, 1, 17] {
            let found = step(&mut network, false, batch, 0);
            let fresh = step(&mut Network::new(shape, layers(&names, shape)), true, batch, 0);
            assert!(found == fresh, "batch {batch}");
        }
    }

    /// Batch 33 in slices of 16, 16 and 1, of maps that go by one at a time and by several; with four workers, of whom not
    /// each has a slice, all together.
    #[test]
    fn a_run_gives_the_bits_of_its_layers_one_by_one() {
        let plain = [
            ["conv 11", "lateral_inhibition", "max_pool", "relu", "lateral_inhibition", "relu"].as_slice(),
            ["conv", "max_pool", "relu", "conv"].as_slice(),
        ];
        let meeting = [
            ["conv 11", "batch_norm", "max_pool", "relu", "conv", "batch_norm", "relu", "conv"].as_slice(),
            ["relu", "lateral_inhibition", "batch_norm", "conv"].as_slice(),
        ];
        for (names, runs) in [(plain, 2), (meeting, 3)] {
            for c in [1, 3] {
                let shape = Shape { c, h: 48, w: 52 };
                let bits = |threads, by_layer| {
                    let mut network = Network::new(shape, layers(&names.concat(), shape));
                    assert_eq!(network.replicas[0].runs.len(), runs);
                    pool(threads).unwrap().run(|| step(&mut network, by_layer, 33, 0))
                };
                let expected = bits(1, true);
                assert!(bits(1, false) == expected && bits(4, false) == expected, "{c} channels of {names:?}");
            }
        }
    }

    /// What a new layer tells of itself (its maps' weights, what it reads again) holds.
    #[test]
    fn every_map_wise_layer_gives_the_same_bits_in_a_run() {
        let shape = Shape { c: 1, h: 48, w: 52 };
        for name in LAYERS.iter().map(|kind| kind.name) {
            if layers(&[name], shape)[0].map_wise().is_none() {
                continue;
            }
            for names in
                [["conv 11", name, "lateral_inhibition", "conv"], ["conv 11", "lateral_inhibition", name, "conv"]]
            {
                let bits = |threads, by_layer| {
                    let mut network = Network::new(shape, layers(&names, shape));
                    pool(threads).unwrap().run(|| step(&mut network, by_layer, 33, 0))
                };
                let expected = bits(1, true);
                assert!(bits(1, false) == expected && bits(4, false) == expected, "{name} in {names:?}");
            }
        }
    }

    /// Logits and gradients of a step, its running statistics, and logits in evaluation after it, in bits.
    fn step(network: &mut Network, by_layer: bool, batch: usize, from: usize) -> [Vec<u32>; 4] {
        let mut weights = vec![0.0; network.weights_len()];
        let (mut dweights, mut buffers) = (weights.clone(), vec![0.0; network.buffers_len()]);
        network.initialise(1, &mut weights, &mut buffers);
        // Many a layer begins with the same strength in every map.
        weights.iter_mut().zip(random("w", network.weights_len())).for_each(|(w, more)| *w += 0.1 * more);
        let pass = Pass { training: true, batch, slice: 0, seed: 1, step: 1 };
        let x = random("x", network.input().n() * batch);
        if by_layer {
            // What is replicated makes its runs anew.
            network.forward(&pass, &weights, &mut buffers.clone(), &x);
            network.replicas.iter_mut().for_each(|replica| replica.runs.clear());
        }
        let y = network.forward(&pass, &weights, &mut buffers, &x);
        let square = network.backward(&pass, &weights, &random("dy", y.len()), from, &mut dweights);
        dweights.push(square as f32);
        let (evaluation, more) =
            (Pass { training: false, batch: batch + 3, ..pass }, random("x", network.input().n() * (batch + 3)));
        let evaluated = network.forward(&evaluation, &weights, &mut buffers, &more);
        [y, dweights, buffers, evaluated].map(|numbers| numbers.into_iter().map(f32::to_bits).collect())
    }

    /// Up with all maps together, down with some after others.
    #[test]
    fn a_convolution_pads_for_the_gradient_if_nobody_did_before() {
        let (shape, pass) =
            (Shape { c: 1, h: 24, w: 24 }, Pass { training: true, batch: 16, slice: 0, seed: 1, step: 1 });
        let mut network = Network::new(shape, layers(&["conv 24", "max_pool", "relu"], shape));
        let mut weights = vec![0.0; network.weights_len()];
        network.initialise(1, &mut weights, &mut []);
        let x = random("x", shape.n() * 16);
        let mut gradient = |threads: [usize; 2]| {
            let [up, down] = threads.map(|n| pool(n).unwrap());
            let mut dweights = vec![0.0; weights.len()];
            let y = up.run(|| network.forward(&pass, &weights, &mut [], &x));
            down.run(|| network.backward(&pass, &weights, &random("dy", y.len()), 0, &mut dweights));
            dweights
        };
        assert_eq!(gradient([2, 1]), gradient([1, 1]));
    }
}
