//! The network: a list of layers, each with its tensors; gradients written by hand and checked by differences.
//!
//! To add a layer: a new file with a type that implements [`Layer`] and a `build` function, and its two lines here
//! (`mod` and the row in [`LAYERS`]). Help texts and the general tests read the table. They ask for two more things: what
//! the layer computes, a variant of [`Operation`] with its nodes in `export/onnx/layers.rs` (`tools/read_exports.py` runs
//! the graph); and the same layer in PyTorch in `tools/golden_layers.py`, in a case of `tools/golden.py` (`CASES` of
//! `tests/golden.rs` has its name). A layer that keeps rates at or above 0 is named in `ends_in_rates` of `network.rs`.

use crate::connectome::Synapses;
use crate::error::{Error, Result};
use crate::kernels::dense::backward_weights_parts;
use std::borrow::Cow;
use std::ops::Range;

mod afferents;
mod batch_norm;
mod channel_attention;
pub mod column;
pub mod conv;
pub mod dense;
mod dropout;
#[cfg(test)]
pub mod gradcheck;
pub mod inference;
mod lateral_inhibition;
mod maps;
mod max_pool;
mod network;
mod operation;
pub mod presets;
mod relu;
mod replica;
mod slices;
mod spatial_attention;
pub mod spec;

pub use network::{Network, Tensor};
pub use operation::Operation;
pub use slices::{SLICE, slices};
pub use spec::{Init, Params, Role, Shape, Sign, TensorSpec, tensor_ranges};

/// What a forward or backward pass is for.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// True in training: noise, dropout and batch statistics are on.
    pub training: bool,
    /// Images that go through together: a slice of the step's batch, see [`Network`].
    pub batch: usize,
    /// Which slice of the step's batch, from 0, for noise and dropout of each image.
    pub slice: u64,
    /// Seed of the run, for noise and dropout.
    pub seed: u64,
    /// Step of the run, for noise and dropout.
    pub step: u64,
}

/// What the way back through a layer reads and writes.
pub struct Backward<'a> {
    /// Trained tensors, as in `forward`.
    pub weights: &'a [f32],
    /// Input of `forward` `(N_pre, B)`.
    pub x: &'a [f32],
    /// Output of `forward` `(N_post, B)`.
    pub y: &'a [f32],
    /// Gradient of the output `(N_post, B)`.
    pub dy: &'a [f32],
    /// Overwritten with the gradient of the input `(N_pre, B)`, if anybody wants it.
    pub dx: Option<&'a mut [f32]>,
    /// Overwritten with the gradient of `weights`.
    pub dweights: &'a mut [f32],
}

/// A stage of the network. Activity is `(N, B)`, batch innermost, with `N = C * H * W` of its shape.
///
/// A layer owns its scratch memory; its weights live in the store and come in as one slice per call, cut by
/// [`tensor_ranges`] in the order of [`Layer::tensors`]. `backward` always follows the `forward` of the same images.
/// The network gives each slice of a batch a replica of every layer; a layer whose images meet is a [`Meeting`].
pub trait Layer: Send + Sync {
    /// Name in the configuration, e.g. `conv`.
    fn name(&self) -> &'static str;

    /// Shape of the output for one image.
    fn output(&self) -> Shape;

    /// Trained tensors, in the order in which `weights` and `dweights` hold them.
    fn tensors(&self) -> Vec<TensorSpec> {
        Vec::new()
    }

    /// State that is saved but not trained by gradient (running statistics), in the order of `buffers`.
    fn buffers(&self) -> Vec<TensorSpec> {
        Vec::new()
    }

    /// Synapses of the connectome that carry a weight here.
    fn synapses(&self) -> usize {
        0
    }

    /// Whether it multiplies numbers rounded to bf16 in training, see `precision` of the configuration.
    fn rounds(&self) -> bool {
        false
    }

    /// Masks of the tensors that hold values at synapses only, each with the tensor's index in [`Layer::tensors`].
    fn masks(&self) -> Vec<(usize, &Synapses)> {
        Vec::new()
    }

    /// The same layer with scratch memory of its own.
    fn replicate(&self) -> Box<dyn Layer>;

    /// What it computes in evaluation; `None` where no other program is told.
    fn operation(&self) -> Option<Operation<'_>> {
        None
    }

    /// `y = f(x)`: `x (N_pre, B)`, `y (N_post, B)`.
    fn forward(&mut self, pass: &Pass, weights: &[f32], buffers: &[f32], x: &[f32], y: &mut [f32]);

    /// Lays out `weights` that will not change, so that `forward` of an image takes less time; `None` ends that. Only
    /// [`Classifier`](inference::Classifier) calls it, which lets nobody change them meanwhile.
    fn hold(&mut self, _weights: Option<&[f32]>) {}

    /// Moves the running statistics `buffers` towards those of the last training pass.
    fn follow(&self, _buffers: &mut [f32]) {}

    /// [`Layer::backward`] but for the gradients that [`Layer::outer`] names, which it leaves alone.
    fn backward_part(&mut self, pass: &Pass, back: Backward);

    /// Gradients that are one product `dW = dy xᵀ` and as large as the layer: the network computes them once for all
    /// slices of a batch. `x` and `dy` are those of the last `backward_part`.
    fn outer<'a>(&'a self, _x: &'a [f32], _dy: &'a [f32]) -> Vec<Outer<'a>> {
        Vec::new()
    }

    /// Gradients of the weights and the input.
    fn backward(&mut self, pass: &Pass, back: Backward) {
        let Backward { weights, x, y, dy, dx, dweights } = back;
        self.backward_part(pass, Backward { weights, x, y, dy, dx, dweights: &mut *dweights });
        let ranges = tensor_ranges(&self.tensors());
        for o in self.outer(x, dy) {
            let (mut xt, dw) = (vec![0.0; o.x.len()], &mut dweights[ranges[o.tensor].clone()]);
            backward_weights_parts(o.n_post, o.n_pre, &[(o.x, o.dy)], &mut xt, dw);
        }
    }

    /// The layer as one that treats every feature map by itself, if it does.
    fn map_wise(&mut self) -> Option<&mut dyn MapWise> {
        None
    }

    /// The layer as one that can begin a run of such layers, if it can: each map of its output is a function of the whole
    /// input, of which nobody wants the gradient.
    fn map_source(&mut self) -> Option<&mut dyn MapWise> {
        None
    }

    /// The layer as one whose images meet (statistics over the batch), if it is one.
    fn meeting(&mut self) -> Option<&mut dyn Meeting> {
        None
    }

    /// The layer as one that begins with all-to-all projections of its input, if it does and reads its input by no others.
    fn afferents(&mut self) -> Option<&mut dyn Afferents> {
        None
    }

    /// Projections that Hebbian rules may change, with their activity in the last training forward pass, whose `x` and `y`
    /// these are.
    fn plastic<'a>(&'a self, _x: &'a [f32], _y: &'a [f32], _pass: &Pass) -> Vec<Plastic<'a>> {
        Vec::new()
    }
}

/// A layer that treats every feature map by itself: channel `c` of the output is a function of channel `c` of the input.
///
/// Several of them in a row go through the maps together, a few maps at a time, so that the activity between them never
/// leaves the cache; what no backward pass reads is not kept. The first layer of a network may begin such a run as
/// [`Layer::map_source`]: `x` is then the whole input in every call, and `dx` is `None`.
pub trait MapWise {
    /// Whether [`MapWise::backward_maps`] reads the input.
    fn reads_input(&self) -> bool {
        false
    }

    /// Whether [`MapWise::backward_maps`] reads the output, or [`Layer::plastic`] after the pass.
    fn reads_output(&self) -> bool {
        false
    }

    /// The layer together with a ReLU behind it, if it can apply that on its own way: then nobody does so again.
    fn with_relu(&mut self) -> Option<&mut dyn WithRelu> {
        None
    }

    /// [`Layer::forward`] of the feature maps `maps`: `x`, `y` hold these alone, `weights` those of the whole layer.
    fn forward_maps(&mut self, maps: Range<usize>, pass: &Pass, weights: &[f32], x: &[f32], y: &mut [f32]);

    /// [`Layer::backward`] of the feature maps `maps`: `dy` and `dx` hold these alone, and so do `x` and `y`, which are empty
    /// where nobody reads them; `weights` and `dweights` are those of the whole layer.
    fn backward_maps(&mut self, maps: Range<usize>, pass: &Pass, back: Backward);
}

/// A map-wise layer and the ReLU behind it in one.
pub trait WithRelu {
    /// [`MapWise::forward_maps`] and the ReLU. [`MapWise::backward_maps`] after it starts from the gradient of its `y`.
    fn forward_relu(&mut self, maps: Range<usize>, pass: &Pass, x: &[f32], y: &mut [f32]);
}

/// A map-wise layer that treats an image by the whole batch in training: each slice tells what it has, hears what all have
/// told, in the order of the slices, and then goes by that.
pub trait Meeting: MapWise {
    /// Appends to `told` what this slice adds to the batch in the feature maps `maps`, whose input alone is `x`.
    fn tell_forward(&self, maps: Range<usize>, x: &[f32], told: &mut Vec<f64>);

    /// Takes what all slices told of all maps: [`MapWise::forward_maps`] goes by it.
    fn hear_forward(&mut self, told: &[Vec<f64>]);

    /// Takes the running statistics in place of what slices tell, in evaluation.
    fn recall(&mut self, buffers: &[f32]);

    /// As [`Meeting::tell_forward`] for the way back; `dy` is the gradient of these maps alone.
    fn tell_backward(&self, maps: Range<usize>, x: &[f32], dy: &[f32], told: &mut Vec<f64>);

    /// Takes what all slices told of all maps: [`MapWise::backward_maps`] goes by it. Of what this slice told, at `own`, it
    /// overwrites `dweights`.
    fn hear_backward(&mut self, told: &[Vec<f64>], own: usize, dweights: &mut [f32]);
}

/// A layer that begins with all-to-all projections of its input, `W x`. The network computes these products, and
/// the gradient of the input, for several slices of a batch together, in parts of the neurons (`afferents.rs`).
/// [`Layer::outer`] names the gradients of the same projections.
pub trait Afferents {
    /// The projections, and where their products of a slice of `batch` images go: `y` is that of `forward`. Without images
    /// and an empty `y` it tells the projections alone.
    fn products<'a>(&'a mut self, batch: usize, y: &'a mut [f32]) -> Vec<Product<'a>>;

    /// [`Layer::forward`] after the products are there.
    fn forward_after(&mut self, pass: &Pass, weights: &[f32], x: &[f32], y: &mut [f32]);
}

/// A product `W x`, plus the bias where there is one.
pub struct Product<'a> {
    /// Index of the weight tensor `(N_post, N_pre)` in [`Layer::tensors`].
    pub tensor: usize,
    /// Index of the bias tensor `(N_post)`.
    pub bias: Option<usize>,
    /// Postsynaptic neurons.
    pub n_post: usize,
    /// Where it goes `(N_post, B)`.
    pub y: &'a mut [f32],
}

/// A weight gradient that is one product, `dW = dy xᵀ`.
pub struct Outer<'a> {
    /// Index of the weight tensor `(N_post, N_pre)` in [`Layer::tensors`].
    pub tensor: usize,
    /// Postsynaptic neurons.
    pub n_post: usize,
    /// Presynaptic neurons.
    pub n_pre: usize,
    /// Presynaptic activity `(N_pre, B)`.
    pub x: &'a [f32],
    /// Gradient on the postsynaptic side `(N_post, B)`.
    pub dy: &'a [f32],
}

/// A projection that Hebbian rules may change, and the activity on both sides of its synapses.
pub struct Plastic<'a> {
    /// Index of the weight tensor in [`Layer::tensors`].
    pub weight: usize,
    /// Index of the bias tensor of the postsynaptic neurons, where there is one.
    pub bias: Option<usize>,
    /// Who is connected to whom.
    pub wiring: Wiring<'a>,
    /// True between neurons of the column: `hybrid` changes only those.
    pub between_neurons: bool,
    /// Samples (columns) in `pre` and `post`: the batch, or image patches for a convolution.
    pub samples: usize,
    /// Presynaptic activity `(N_pre, samples)`.
    pub pre: Cow<'a, [f32]>,
    /// Postsynaptic rates, not below zero `(N_post, samples)`.
    pub post: Cow<'a, [f32]>,
}

/// Connectivity of a plastic projection.
#[derive(Clone, Copy)]
pub enum Wiring<'a> {
    /// All to all; weights `(N_post, N_pre)` row by row.
    Dense {
        /// Postsynaptic neurons.
        n_post: usize,
        /// Presynaptic neurons.
        n_pre: usize,
    },
    /// Only the synapses of a mask; weights `(S)` in its order.
    Masked(&'a Synapses),
}

/// A row of [`LAYERS`].
pub struct LayerKind {
    /// Name in the configuration.
    pub name: &'static str,
    /// One line: what it computes, its parameters with defaults.
    pub doc: &'static str,
    /// Builds it for an input shape; `params` are the keys beside `layer = "name"`.
    pub build: fn(params: &mut Params, input: Shape) -> Result<Box<dyn Layer>>,
}

/// Every layer that a stem may name.
pub const LAYERS: &[LayerKind] = &[
    conv::KIND,
    dense::KIND,
    relu::KIND,
    max_pool::KIND,
    lateral_inhibition::KIND,
    channel_attention::KIND,
    spatial_attention::KIND,
    batch_norm::KIND,
    dropout::KIND,
];

/// The layer called `name`.
///
/// # Errors
/// `Usage`, with the nearest name and the list.
pub fn layer_kind(name: &str) -> Result<&'static LayerKind> {
    LAYERS.iter().find(|l| l.name == name).ok_or_else(|| {
        let names: Vec<&str> = LAYERS.iter().map(|l| l.name).collect();
        Error::usage(format!("stem: unknown layer \"{name}\""), crate::config::one_of(name, &names))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::threads::pool;
    use crate::rng::Rng;

    /// A layer of the table with its default parameters.
    fn built(kind: &LayerKind, input: Shape) -> Box<dyn Layer> {
        let table = [("layer".to_string(), toml::Value::from(kind.name))].into_iter().collect();
        (kind.build)(&mut Params::new(table).unwrap(), input).unwrap()
    }

    /// `y`, `dx`, the gradients of all tensors and the buffers of one training step, at seeded weights and activity.
    fn step(mut layer: Box<dyn Layer>, input: Shape, batch: usize) -> [Vec<f32>; 4] {
        let mut rng = Rng::stream(1, "step", &[]);
        let mut draw = |n: usize| (0..n).map(|_| rng.normal()).collect::<Vec<f32>>();
        let pass = Pass { training: true, batch, slice: 0, seed: 1, step: 2 };
        let (tensors, n_post) = (layer.tensors(), layer.output().n() * batch);
        let (x, dy, weights) = (draw(input.n() * batch), draw(n_post), draw(spec::tensors_len(&tensors)));
        let buffers = vec![1.0; spec::tensors_len(&layer.buffers())];
        let (mut y, mut dx, mut dweights) = (vec![f32::NAN; n_post], vec![f32::NAN; x.len()], vec![0.0; weights.len()]);
        layer.forward(&pass, &weights, &buffers, &x, &mut y);
        let back = Backward { weights: &weights, x: &x, y: &y, dy: &dy, dx: Some(&mut dx), dweights: &mut dweights };
        layer.backward(&pass, back);
        [y, dx, dweights, buffers]
    }

    #[test]
    fn every_layer_has_a_correct_gradient() {
        for kind in LAYERS {
            // A seed for which no sampled coordinate lies within the smallest step of a kink.
            for (c, h, w, batch) in [(3, 5, 7, 5), (5, 4, 4, 18)] {
                let input = Shape { c, h, w };
                gradcheck::check(built(kind, input), input, batch, 2);
            }
        }
    }

    #[test]
    fn every_layer_gives_the_same_bits_with_1_and_2_threads() {
        // Large enough that the work is split, odd enough that the pieces are not equal.
        let (input, batch) = (Shape { c: 5, h: 33, w: 35 }, 37);
        for kind in LAYERS {
            let run = |threads: usize| pool(threads).unwrap().run(|| step(built(kind, input), input, batch));
            let same = run(1).iter().flatten().map(|v| v.to_bits()).eq(run(2).iter().flatten().map(|v| v.to_bits()));
            assert!(same, "{}: 1 and 2 threads differ", kind.name);
        }
    }

    #[test]
    fn every_layer_says_what_it_computes() {
        for kind in LAYERS {
            let told = built(kind, Shape { c: 4, h: 8, w: 8 }).operation().is_some();
            assert!(told, "{}: implement Layer::operation, with a variant in operation.rs if it needs one", kind.name);
        }
    }

    #[test]
    fn every_layer_is_found_by_its_own_name_and_refuses_unknown_parameters() {
        for kind in LAYERS {
            let input = Shape { c: 4, h: 8, w: 8 };
            assert_eq!(built(kind, input).name(), kind.name);
            let table = [("layer", toml::Value::from(kind.name)), ("no_such_parameter", toml::Value::from(1))];
            let mut params = Params::new(table.into_iter().map(|(k, v)| (k.to_string(), v)).collect()).unwrap();
            assert!((kind.build)(&mut params, input).is_err(), "{} takes anything", kind.name);
        }
    }
}
