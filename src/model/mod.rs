//! The network: a list of layers, each with its tensors; gradients written by hand and checked by differences.
//!
//! To add a layer: a new file with a type that implements [`Layer`] and a `build` function, and its two lines here
//! (`mod` and the row in [`LAYERS`]). Help texts and the general tests read the table.

use crate::error::Result;

pub mod spec;

pub use spec::{Init, Params, Role, Shape, Sign, TensorSpec, tensor_ranges};

/// What a forward or backward pass is for.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// True in training: noise, dropout and batch statistics are on.
    pub training: bool,
    /// Images in the batch.
    pub batch: usize,
    /// Seed of the run, for noise and dropout.
    pub seed: u64,
    /// Step of the run, for noise and dropout.
    pub step: u64,
}

/// A stage of the network. Activity is `(N, B)`, batch innermost, with `N = C * H * W` of its shape.
///
/// A layer owns its scratch memory; its weights live in the store and come in as one slice per call, cut by
/// [`tensor_ranges`] in the order of [`Layer::tensors`]. `backward` always follows the `forward` of the same batch.
pub trait Layer: Send {
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

    /// Multiply-adds of one image's forward pass (for the time estimate).
    fn work(&self) -> usize;

    /// `y = f(x)`: `x (N_pre, B)`, `y (N_post, B)`.
    fn forward(&mut self, pass: &Pass, weights: &[f32], buffers: &mut [f32], x: &[f32], y: &mut [f32]);

    /// Overwrites `dweights` with the gradient of the weights and, if `dx` is there, `dx (N_pre, B)` with that of `x`.
    /// `x` and `y` are those of `forward`.
    fn backward(
        &mut self,
        pass: &Pass,
        weights: &[f32],
        x: &[f32],
        y: &[f32],
        dy: &[f32],
        dx: Option<&mut [f32]>,
        dweights: &mut [f32],
    );

    /// Projections that Hebbian rules may change, with their activity in the last training forward pass.
    fn plastic<'a>(&'a self, _x: &'a [f32], _y: &'a [f32], _pass: &Pass) -> Vec<Plastic<'a>> {
        Vec::new()
    }
}

/// A projection that Hebbian rules may change, and the activity on both sides of its synapses.
pub struct Plastic<'a> {
    /// Index of the weight tensor in [`Layer::tensors`].
    pub weight: usize,
    /// Index of the bias tensor of the postsynaptic neurons, where there is one.
    pub bias: Option<usize>,
    /// Who is connected to whom.
    pub wiring: Wiring<'a>,
    /// True if its synapses are the connectome's; `hybrid` changes only those, `local` every projection.
    pub measured: bool,
    /// Samples (columns) in `pre` and `post`: the batch, or image patches for a convolution.
    pub samples: usize,
    /// Presynaptic activity `(N_pre, samples)`.
    pub pre: &'a [f32],
    /// Postsynaptic activity `(N_post, samples)`.
    pub post: &'a [f32],
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
    Masked(&'a crate::connectome::Synapses),
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
pub const LAYERS: &[LayerKind] = &[];
