//! Large all-to-all projections, which meet the slices of a batch together.
//!
//! If each thread read all weights for its slices, the optimizer, of which each thread takes a part, would write lines that
//! another core has read, at 5 to 10 ns each. So in training the slices stop before a layer with many such weights; then a
//! part of its neurons meets the activity of every slice, up and down, where it is also changed. Two slices that meet a weight
//! at once also take less time than one after the other, in training and in evaluation.

use super::replica::Replica;
use super::{Layer, Outer, Product, Tensor};
use crate::kernels::dense::{self, Slice};
use crate::kernels::{elementwise, threads};
use std::ops::Range;

/// Parts of the neurons: so many whatever the number of threads, so that the gradient of the input is the same sum.
const PARTS: usize = 2;

/// Weights of a layer from which stopping pays: 256 KiB. Tests always stop.
const MANY: usize = if cfg!(test) { 1 } else { 65_536 };

/// Whether slices stop at a layer of `n_pre` inputs, which has [`super::Afferents`].
pub(super) fn pay(layer: &mut dyn Layer, n_pre: usize) -> bool {
    let Some(layer) = layer.afferents() else { return false };
    layer.products(0, &mut []).iter().map(|p| p.n_post * n_pre).sum::<usize>() >= MANY
}

/// The neurons of part `part`.
fn neurons(part: usize, n_post: usize) -> Range<usize> {
    let each = n_post.div_ceil(PARTS).next_multiple_of(8);
    (part * each).min(n_post)..((part + 1) * each).min(n_post)
}

/// A part of the neurons of one projection, and the slices that meet it.
struct Part<'a> {
    neurons: Range<usize>,
    n_pre: usize,
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    slices: Vec<Slice<'a>>,
}

/// The parts of all projections of a layer, part after part: each worker begins with one of its own.
struct Parts<'a>([Vec<Part<'a>>; PARTS]);

impl<'a> Parts<'a> {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Vec::new()))
    }

    /// Part `part` of projection `k` of shape `(N_post, N_pre)`, made at first sight, to which slices are then added.
    fn part(
        &mut self,
        part: usize,
        k: usize,
        shape: [usize; 2],
        w: &'a [f32],
        bias: Option<&'a [f32]>,
    ) -> &mut Part<'a> {
        let list = &mut self.0[part];
        if list.len() == k {
            let [n_post, n_pre] = shape;
            let neurons = neurons(part, n_post);
            let w = &w[neurons.start * n_pre..neurons.end * n_pre];
            list.push(Part { bias: bias.map(|b| &b[neurons.clone()]), neurons, n_pre, w, slices: Vec::new() });
        }
        &mut list[k]
    }

    /// Calls `f(neurons, n_pre, w, bias, slices)` with the slices of each part that go together.
    fn each(mut self, f: impl Fn(usize, usize, &[f32], Option<&[f32]>, &mut [Slice]) + Sync + Send) {
        let pairs = self.0.iter_mut().flatten().flat_map(|part| {
            let Part { neurons, n_pre, w, bias, slices } = part;
            let (neurons, n_pre, w, bias) = (neurons.len(), *n_pre, *w, *bias);
            slices.chunks_mut(dense::AT_ONCE).map(move |pair| (neurons, n_pre, w, bias, pair))
        });
        threads::map_slices(&mut pairs.collect::<Vec<_>>(), |_, (neurons, n_pre, w, bias, pair)| {
            f(*neurons, *n_pre, w, *bias, pair);
        });
    }
}

/// The products of layer `i`, whose tensors these are, in all slices, before its [`super::Afferents::forward_after`].
pub(super) fn project(replicas: &mut [Replica], i: usize, tensors: &[Tensor], weights: &[f32]) {
    let mut parts = Parts::new();
    for replica in replicas {
        let batch = replica.images;
        let (x, layer, y) = replica.at(i);
        y.resize(layer.output().n() * batch, 0.0);
        let products = layer.afferents().map_or_else(Vec::new, |layer| layer.products(batch, y));
        for (k, Product { tensor, bias, n_post, y }) in products.into_iter().enumerate() {
            let w = &weights[tensors[tensor].range.clone()];
            let bias = bias.map(|bias| &weights[tensors[bias].range.clone()]);
            let mut rest = y;
            for part in 0..PARTS {
                let part = parts.part(part, k, [n_post, x.len() / batch], w, bias);
                let (to, others) = rest.split_at_mut(part.neurons.len() * batch);
                rest = others;
                part.slices.push(Slice { batch, from: x, to });
            }
        }
    }
    parts.each(dense::forward_slices);
}

/// The gradient of the input of layer `i` in all slices, after its `backward_part`: in parts that
/// [`Replica::add_parts`] adds up.
pub(super) fn project_back(replicas: &mut [Replica], i: usize, tensors: &[Tensor], weights: &[f32]) {
    let mut parts = Parts::new();
    for replica in replicas {
        let (batch, Replica { layers, outputs, d_outputs, parts: d_parts, .. }) = (replica.images, replica);
        let (before, rest) = d_outputs.split_at_mut(i);
        let x = &outputs[i - 1];
        let products = layers[i].outer(x, &rest[0]);
        d_parts.resize_with(products.len() * PARTS - 1, Default::default);
        let mut outs = before.last_mut().into_iter().chain(d_parts);
        for (k, Outer { tensor, n_post, n_pre, dy, .. }) in products.into_iter().enumerate() {
            let w = &weights[tensors[tensor].range.clone()];
            for part in 0..PARTS {
                let Some(dx) = outs.next() else { continue };
                dx.resize(x.len(), 0.0);
                let part = parts.part(part, k, [n_post, n_pre], w, None);
                let from = &dy[part.neurons.start * batch..part.neurons.end * batch];
                part.slices.push(Slice { batch, from, to: dx });
            }
        }
    }
    parts.each(|neurons, n_pre, w, _, slices| dense::backward_input_slices(neurons, n_pre, w, slices));
}

impl Replica {
    /// The gradient of the input of layer `i` out of the parts of [`project_back`].
    pub(super) fn add_parts(&mut self, i: usize) {
        let dx = &mut self.d_outputs[i - 1];
        self.parts.iter().for_each(|part| elementwise::add(part, dx));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectome;
    use crate::kernels::parity::{close, random};
    use crate::model::presets::preset;
    use crate::model::{Network, Pass};

    #[test]
    fn parts_are_all_neurons_once_in_order() {
        for n in [1, 7, 8, 9, 16, 17, 266, 512] {
            assert!((0..PARTS).flat_map(|part| neurons(part, n)).eq(0..n), "{n}");
        }
    }

    /// Batch 33 in slices of 16, 16 and 1. In `bionic-ei` two projections leave the input, in `baseline` two layers stop.
    #[test]
    fn shared_out_neurons_give_what_each_slice_computes_by_itself() {
        for (name, layers) in [("bionic", 2), ("bionic-ei", 2), ("baseline", 3)] {
            let config = preset(name).unwrap();
            let wiring = config.column.enabled.then(|| connectome::load(&config.connectome).unwrap());
            let mut network = Network::build(&config, wiring.as_ref()).unwrap();
            assert_eq!(network.stops.len(), layers, "{name}");
            let mut weights = vec![0.0; network.weights_len()];
            network.initialise(1, &mut weights, &mut []);
            let pass = Pass { training: true, batch: 33, slice: 0, seed: 1, step: 1 };
            let x = random("x", 2304 * 33);
            let mut step = || {
                let mut dweights = vec![0.0; weights.len()];
                let y = network.forward(&pass, &weights, &mut [], &x);
                network.backward(&pass, &weights, &random("dy", y.len()), 0, &mut dweights);
                let own = std::mem::take(&mut network.stops);
                let alone = network.forward(&pass, &weights, &mut [], &x);
                let mut expected = vec![0.0; weights.len()];
                network.backward(&pass, &weights, &random("dy", y.len()), 0, &mut expected);
                network.stops = own;
                assert!(y.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}: logits");
                (dweights, expected)
            };
            let (found, expected) = step();
            for t in network.tensors() {
                close(&t.spec.name, &found[t.range.clone()], &expected[t.range.clone()], 1e-4);
            }
        }
    }
}
