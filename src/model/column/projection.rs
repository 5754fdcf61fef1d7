//! A projection between two populations: dense, or only at the synapses of a mask; with synaptic noise.

use super::Source;
use crate::aligned::Aligned;
use crate::connectome::Synapses;
use crate::kernels::{dense, elementwise, sparse};
use crate::model::{Outer, Pass, Plastic, Product, Wiring};
use crate::rng::Rng;
use std::sync::Arc;

/// Connectivity of a projection.
#[derive(Clone)]
pub(crate) enum Mask {
    /// All to all, weights `(N_post, N_pre)`.
    Dense { n_post: usize, n_pre: usize },
    /// Stored synapses only, weights `(S)`; one mask for all replicas.
    Synapses(Arc<Synapses>),
}

impl Mask {
    /// The synapses, where the projection is not dense.
    pub(crate) fn synapses(&self) -> Option<&Synapses> {
        match self {
            Self::Dense { .. } => None,
            Self::Synapses(s) => Some(s),
        }
    }
}

/// Where the gradient of a projection's input goes.
pub(crate) enum InputGradient<'a> {
    /// Nobody wants it.
    Skip,
    Overwrite(&'a mut [f32]),
    /// Other projections have written theirs already.
    Add(&'a mut [f32]),
}

/// A projection. Its weights are tensor `tensor` of the column.
#[derive(Clone)]
pub(crate) struct Projection {
    pub(crate) source: Source,
    pub(crate) tensor: usize,
    pub(crate) mask: Mask,
    /// True where the mask is the connectome's.
    pub(crate) measured: bool,
    /// Standard deviation σ of the multiplicative noise; 0 = none.
    pub(crate) noise_sigma: f32,
    /// Factor 1 + σε of each synapse in this pass `(S)`; empty where there is no noise.
    factors: Vec<f32>,
    /// Noisy weights w(1 + σε) of this pass `(S)`; empty where there is no noise.
    noisy: Vec<f32>,
    /// True where synapses join every pair: their weights are then a whole matrix, and dense kernels take half the time of
    /// sparse ones. In a block with gaps sparse kernels win at any density, because a dense one must first be filled.
    whole: bool,
    /// A product that is to be added to others; empty where none is.
    part: Aligned,
    /// Activity turned round for the weight gradient of a whole block `(B, N_pre)`.
    turned: Aligned,
    /// The weights laid out for single images, if they are held; one for all replicas.
    held: Option<Arc<Held>>,
}

/// Weights laid out for single images.
enum Held {
    Dense(dense::ByInput),
    Masked(sparse::Sliced),
}

impl Projection {
    pub(crate) fn new(source: Source, tensor: usize, mask: Mask, measured: bool, noise_sigma: f32) -> Self {
        let whole = mask.synapses().is_some_and(|s| s.len() == s.n_post() * s.n_pre());
        let empty = Vec::new;
        Self {
            source,
            tensor,
            mask,
            measured,
            noise_sigma,
            factors: empty(),
            noisy: empty(),
            whole,
            part: Aligned::default(),
            turned: Aligned::default(),
            held: None,
        }
    }

    pub(crate) fn n_pre(&self) -> usize {
        match &self.mask {
            Mask::Dense { n_pre, .. } => *n_pre,
            Mask::Synapses(s) => s.n_pre(),
        }
    }

    pub(crate) fn weights_len(&self) -> usize {
        match &self.mask {
            Mask::Dense { n_post, n_pre } => n_post * n_pre,
            Mask::Synapses(s) => s.len(),
        }
    }

    /// Synapses of the connectome that carry a weight here.
    pub(crate) fn synapses(&self) -> usize {
        if self.measured { self.weights_len() } else { 0 }
    }

    /// `y = W̃ x`, or `y += W̃ x`; draws this pass's noise in training.
    pub(crate) fn forward(&mut self, pass: &Pass, w: &[f32], x: &[f32], y: &mut [f32], accumulate: bool) {
        assert!(self.mask.synapses().is_some() || !accumulate, "a dense projection comes first");
        match self.held.as_deref().filter(|_| pass.batch == 1 && !pass.training) {
            Some(Held::Dense(held)) => return held.forward(None, x, y),
            Some(Held::Masked(held)) => return held.forward(x, y, accumulate),
            None => {}
        }
        self.draw_noise(pass, w);
        let w = if self.noisy.is_empty() { w } else { &self.noisy };
        match &self.mask {
            Mask::Dense { n_post, n_pre } => {
                dense::forward(*n_post, *n_pre, pass.batch, w, None, x, y);
            }
            Mask::Synapses(s) if self.whole => {
                let (n_post, n_pre) = (s.n_post(), s.n_pre());
                add_to(y, accumulate, &mut self.part, |y| dense::forward(n_post, n_pre, pass.batch, w, None, x, y));
            }
            Mask::Synapses(s) => sparse::forward(s.pattern(), pass.batch, w, x, y, accumulate),
        }
    }

    /// [`Layer::hold`](crate::model::Layer::hold) of the weights of this projection.
    pub(crate) fn hold(&mut self, w: Option<&[f32]>) {
        self.held = w.and_then(|w| match &self.mask {
            Mask::Dense { n_post, n_pre } => Some(Arc::new(Held::Dense(dense::ByInput::new(*n_post, *n_pre, w)))),
            Mask::Synapses(s) if self.whole || s.n_pre() > sparse::Sliced::MOST_PRE => None,
            Mask::Synapses(s) => Some(Arc::new(Held::Masked(sparse::Sliced::new(s.pattern(), w)))),
        });
    }

    /// `dw = dy xᵀ` at the stored synapses, and `W̃ᵀ dy` for the input as `dx` says. A dense projection never adds to
    /// `dx`, and leaves `dw` to [`Projection::outer`].
    pub(crate) fn backward(
        &mut self,
        w: &[f32],
        batch: usize,
        x: &[f32],
        dy: &[f32],
        dx: InputGradient,
        dw: &mut [f32],
    ) {
        let w = if self.noisy.is_empty() { w } else { &self.noisy };
        match &self.mask {
            Mask::Dense { n_post, n_pre } => match dx {
                InputGradient::Skip => {}
                InputGradient::Overwrite(dx) => dense::backward_input(*n_post, *n_pre, batch, w, dy, dx),
                InputGradient::Add(_) => panic!("a dense projection overwrites dx"),
            },
            Mask::Synapses(s) => {
                let (n_post, n_pre) = (s.n_post(), s.n_pre());
                if self.whole {
                    self.turned.resize(x.len(), 0.0);
                    dense::backward_weights(n_post, n_pre, batch, dy, x, &mut self.turned, dw);
                } else {
                    sparse::backward_weights(s.pattern(), batch, dy, x, dw);
                }
                let (dx, accumulate) = match dx {
                    InputGradient::Skip => (None, false),
                    InputGradient::Overwrite(dx) => (Some(dx), false),
                    InputGradient::Add(dx) => (Some(dx), true),
                };
                match dx {
                    Some(dx) if self.whole => {
                        let product = |dx: &mut [f32]| dense::backward_input(n_post, n_pre, batch, w, dy, dx);
                        add_to(dx, accumulate, &mut self.part, product);
                    }
                    Some(dx) => sparse::backward_input(s.pattern(), s.transpose(), batch, w, dy, dx, accumulate),
                    None => {}
                }
                for (d, f) in dw.iter_mut().zip(&self.factors) {
                    *d *= f;
                }
            }
        }
    }

    /// The weight gradient of a dense projection, which has no noise.
    pub(crate) fn outer<'a>(&self, x: &'a [f32], dy: &'a [f32]) -> Option<Outer<'a>> {
        match self.mask {
            Mask::Dense { n_post, n_pre } => Some(Outer { tensor: self.tensor, n_post, n_pre, x, dy }),
            Mask::Synapses(_) => None,
        }
    }

    pub(crate) fn plastic<'a>(
        &'a self,
        bias: Option<usize>,
        samples: usize,
        pre: &'a [f32],
        post: &'a [f32],
    ) -> Plastic<'a> {
        let wiring = match &self.mask {
            Mask::Dense { n_post, n_pre } => Wiring::Dense { n_post: *n_post, n_pre: *n_pre },
            Mask::Synapses(s) => Wiring::Masked(s),
        };
        Plastic {
            weight: self.tensor,
            bias,
            wiring,
            between_neurons: self.source != Source::Input,
            samples,
            pre: pre.into(),
            post: post.into(),
        }
    }

    fn draw_noise(&mut self, pass: &Pass, w: &[f32]) {
        if !pass.training || self.noise_sigma == 0.0 {
            self.factors.clear();
            self.noisy.clear();
            return;
        }
        // The same for every slice of the step: one draw per synapse.
        let mut rng = Rng::stream(pass.seed, "synaptic noise", &[pass.step, self.tensor as u64]);
        self.factors.resize(w.len(), 0.0);
        rng.fill_noise(&mut self.factors);
        self.factors.iter_mut().for_each(|f| *f = (1.0 + self.noise_sigma * *f).max(0.0));
        self.noisy.resize(w.len(), 0.0);
        self.noisy.iter_mut().zip(w.iter().zip(&self.factors)).for_each(|(noisy, (w, f))| *noisy = w * f);
    }
}

/// Where the product of the projection from the input goes, if the first of a population's is one, in a pass over
/// `batch` images: to `y`, made `(N_post, B)`.
pub(crate) fn input_product<'a>(
    first: Option<&Projection>,
    n_post: usize,
    batch: usize,
    y: &'a mut Aligned,
) -> Option<Product<'a>> {
    let tensor = first.filter(|p| p.source == Source::Input)?.tensor;
    y.resize(n_post * batch, 0.0);
    Some(Product { tensor, bias: None, n_post, y })
}

/// Writes `product` to `out`, or adds it by way of `part` if it is to `accumulate`.
fn add_to(out: &mut [f32], accumulate: bool, part: &mut Aligned, product: impl FnOnce(&mut [f32])) {
    if !accumulate {
        return product(out);
    }
    part.resize(out.len(), 0.0);
    product(part);
    elementwise::add(part, out);
}
