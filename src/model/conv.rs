//! Layer `conv`: two-dimensional convolution with a bias, same size out as in.

use super::{
    Backward, Init, Layer, LayerKind, MapWise, Operation, Pass, Plastic, Role, Shape, TensorSpec, Wiring, tensor_ranges,
};
use crate::aligned::Aligned;
use crate::error::Error;
use crate::kernels::bf16::conv as bf16;
use crate::kernels::conv::{self as kernel, ConvShape};
use crate::kernels::dense::backward_bias;
use crate::kernels::{conv_channels, elementwise};
use crate::rng::Rng;
use std::ops::Range;
use std::sync::Arc;

/// The row of `LAYERS`.
pub const KIND: LayerKind = LayerKind {
    name: "conv",
    doc: "convolution, stride 1, zero padding that keeps the size, with bias: filters (8), kernel (3, odd)",
    build: |params, input| {
        let filters = params.size("filters", 8)?;
        let kernel = params.size("kernel", 3)?;
        params.finish()?;
        if kernel % 2 == 0 || kernel > MAX_KERNEL {
            return Err(Error::usage(
                format!("stem: conv.kernel = {kernel}: expected an odd number from 1 to {MAX_KERNEL}"),
                "mend the stem in the configuration",
            ));
        }
        let conv = Conv::new(input, filters, kernel);
        Ok(Box::new(if params.bf16() { conv.with_bf16() } else { conv }) as Box<dyn Layer>)
    },
};

/// Largest kernel side.
const MAX_KERNEL: usize = 31;

/// Pixels whose patches Hebbian rules see, per image and step. The same pixels in all images of the batch, so that
/// gathering is copying whole runs of lanes.
const PATCHES: usize = 8;

/// A convolution with a bias.
#[derive(Clone)]
pub struct Conv {
    shape: ConvShape,
    weight: Range<usize>,
    bias: Range<usize>,
    /// Scratch, empty before the first pass: a network may be built only to learn its size.
    scratch: Aligned,
    /// Scratch, empty before the first backward pass.
    partial: Aligned,
    /// The input with its padding, where some maps go by after others, and of how many images it is; 0 of none.
    padded: Aligned,
    padded_images: usize,
    /// The weights as the kernel reads them, if they are held; one for all replicas.
    held: Option<Arc<Aligned>>,
    /// What multiplies, if factors are rounded to bf16 in training.
    bf16: Option<Box<dyn bf16::Products>>,
}

impl Conv {
    /// `filters` kernels of odd side `kernel` over `input`; weights start normal with variance `2 / (C_in * k * k)`
    /// (He et al. 2015, equation 10), biases at 0.
    pub fn new(input: Shape, filters: usize, kernel: usize) -> Self {
        let shape = ConvShape { c_in: input.c, c_out: filters, h: input.h, w: input.w, k: kernel };
        let [scratch, partial, padded] = std::array::from_fn(|_| Aligned::default());
        let mut layer = Self {
            shape,
            weight: 0..0,
            bias: 0..0,
            scratch,
            partial,
            padded,
            padded_images: 0,
            held: None,
            bf16: None,
        };
        let ranges = tensor_ranges(&layer.tensors());
        (layer.weight, layer.bias) = (ranges[0].clone(), ranges[1].clone());
        layer
    }

    /// The same with products of factors rounded to bf16 in training, where [`bf16::rounds`] says so.
    pub fn with_bf16(self) -> Self {
        Self { bf16: bf16::rounds(&self.shape).then(bf16::products), ..self }
    }

    /// What multiplies in a pass in which factors are rounded.
    fn rounded(&mut self, pass: &Pass) -> Option<&mut Box<dyn bf16::Products>> {
        self.bf16.as_mut().filter(|_| pass.training)
    }

    /// Copies the input with its padding, for maps that go by after others.
    fn pad(&mut self, batch: usize, x: &[f32]) {
        let padded = self.padded.prefix(conv_channels::padded_len(&self.shape, batch));
        conv_channels::pad(&self.shape, batch, x, padded);
        self.padded_images = batch;
    }

    /// The patches of this step: inputs under the sampled pixels `(C_in * k * k, PATCHES * B)` from `x (C_in, H, W, B)`,
    /// and outputs there, rectified: rates `(C_out, PATCHES * B)` from `y (C_out, H, W, B)`.
    fn patches(&self, pass: &Pass, x: &[f32], y: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let ConvShape { c_out, h, w, k, .. } = self.shape;
        let (batch, samples, pad) = (pass.batch, PATCHES * pass.batch, k / 2);
        let (mut pre, mut post) = (vec![0.0; self.shape.taps() * samples], vec![0.0; c_out * samples]);
        if samples == 0 {
            return (pre, post);
        }
        let mut rng = Rng::stream(pass.seed, "patches", &[pass.step]);
        for patch in 0..PATCHES {
            let (oy, ox) = (rng.below(h), rng.below(w));
            let columns = patch * batch..(patch + 1) * batch;
            for (tap, row) in pre.chunks_exact_mut(samples).enumerate() {
                let (i, iy, ix) = (tap / (k * k), oy + tap / k % k, ox + tap % k);
                let row = &mut row[columns.clone()];
                if (pad..h + pad).contains(&iy) && (pad..w + pad).contains(&ix) {
                    row.copy_from_slice(&x[((i * h + iy - pad) * w + ix - pad) * batch..][..batch]);
                }
            }
            for (o, row) in post.chunks_exact_mut(samples).enumerate() {
                elementwise::relu(&y[((o * h + oy) * w + ox) * batch..][..batch], &mut row[columns.clone()]);
            }
        }
        (pre, post)
    }
}

impl Layer for Conv {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn output(&self) -> Shape {
        Shape { c: self.shape.c_out, h: self.shape.h, w: self.shape.w }
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let ConvShape { c_in, c_out, k, .. } = self.shape;
        let sd = (2.0 / self.shape.taps().max(1) as f32).sqrt();
        vec![
            TensorSpec::new("weight", &[c_out, c_in, k, k], Role::Weight, Init::Normal(sd)),
            TensorSpec::new("bias", &[c_out], Role::Plain, Init::Constant(0.0)),
        ]
    }

    fn rounds(&self) -> bool {
        self.bf16.is_some()
    }

    fn replicate(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn operation(&self) -> Option<Operation<'_>> {
        Some(Operation::Conv)
    }

    fn forward(&mut self, pass: &Pass, weights: &[f32], _buffers: &[f32], x: &[f32], y: &mut [f32]) {
        self.padded_images = 0;
        let (weight, bias) = (&weights[self.weight.clone()], &weights[self.bias.clone()]);
        let shape = self.shape;
        if let Some(products) = self.rounded(pass) {
            return products.forward(&shape, pass.batch, weight, bias, x, y);
        }
        if let Some(packed) = &self.held {
            let tiles = self.scratch.prefix(self.shape.tiles_len(pass.batch));
            return kernel::forward_packed(&self.shape, pass.batch, packed, Some(bias), tiles, x, y);
        }
        let scratch = self.scratch.prefix(self.shape.scratch_len(pass.batch));
        kernel::forward(&self.shape, pass.batch, weight, Some(bias), scratch, x, y);
    }

    fn hold(&mut self, weights: Option<&[f32]>) {
        self.held = weights.map(|weights| {
            let mut packed = Aligned::zeros(self.shape.packed_len());
            kernel::pack(&self.shape, &weights[self.weight.clone()], &mut packed);
            Arc::new(packed)
        });
    }

    fn backward_part(&mut self, pass: &Pass, back: Backward) {
        let Backward { weights, x, dy, dx, dweights, .. } = back;
        let (shape, batch) = (self.shape, pass.batch);
        let (weight, dweight) = (&weights[self.weight.clone()], &mut dweights[self.weight.clone()]);
        if let Some(products) = self.rounded(pass) {
            if let Some(dx) = dx {
                products.backward_input(&shape, batch, weight, dy, dx);
            }
            products.backward_weights(&shape, batch, dy, x, dweight);
        } else {
            if let Some(dx) = dx {
                let scratch = self.scratch.prefix(shape.backward_scratch_len(batch));
                kernel::backward_input(&shape, batch, weight, scratch, dy, dx);
            }
            let partial = self.partial.prefix(shape.partial_len(batch));
            kernel::backward_weights(&shape, batch, dy, x, partial, dweight);
        }
        backward_bias(shape.c_out, shape.h * shape.w * batch, dy, &mut dweights[self.bias.clone()]);
    }

    fn map_source(&mut self) -> Option<&mut dyn MapWise> {
        // Other convolutions have faster kernels for all maps together.
        if self.shape.c_in == 1 { Some(self) } else { None }
    }

    fn plastic<'a>(&'a self, x: &'a [f32], y: &'a [f32], pass: &Pass) -> Vec<Plastic<'a>> {
        let (pre, post) = self.patches(pass, x, y);
        vec![Plastic {
            weight: 0,
            bias: Some(1),
            wiring: Wiring::Dense { n_post: self.shape.c_out, n_pre: self.shape.taps() },
            between_neurons: false,
            samples: PATCHES * pass.batch,
            pre: pre.into(),
            post: post.into(),
        }]
    }
}

impl MapWise for Conv {
    /// Hebbian rules do.
    fn reads_output(&self) -> bool {
        true
    }

    fn forward_maps(&mut self, maps: Range<usize>, pass: &Pass, weights: &[f32], x: &[f32], y: &mut [f32]) {
        let (shape, batch) = (self.shape, pass.batch);
        if maps.len() == shape.c_out {
            return self.forward(pass, weights, &[], x, y);
        }
        if maps.start == 0 {
            self.pad(batch, x);
        }
        let padded = self.padded.prefix(conv_channels::padded_len(&shape, batch));
        let scratch = self.scratch.prefix(conv_channels::scratch_len(&shape, maps.len()));
        let (weight, bias) = (&weights[self.weight.clone()], &weights[self.bias.clone()]);
        conv_channels::forward(&shape, maps, batch, weight, bias, padded, scratch, y);
    }

    fn backward_maps(&mut self, maps: Range<usize>, pass: &Pass, back: Backward) {
        let (shape, batch) = (self.shape, pass.batch);
        if maps.len() == shape.c_out {
            return self.backward_part(pass, back);
        }
        let Backward { x, dy, dweights, .. } = back;
        if self.padded_images != batch {
            // All maps went forward together.
            self.pad(batch, x);
        }
        let padded = self.padded.prefix(conv_channels::padded_len(&shape, batch));
        let scratch = self.scratch.prefix(conv_channels::scratch_len(&shape, maps.len()));
        let taps = maps.start * shape.taps()..maps.end * shape.taps();
        let dw = &mut dweights[self.weight.clone()][taps];
        conv_channels::backward_weights(&shape, batch, dy, padded, scratch, dw);
        let db = &mut dweights[self.bias.clone()][maps.clone()];
        backward_bias(maps.len(), shape.h * shape.w * batch, dy, db);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::random;
    use crate::model::{Params, gradcheck};

    #[test]
    fn gradients_are_the_finite_differences() {
        for (c, h, w, filters, kernel) in [(1, 1, 1, 1, 1), (1, 7, 6, 3, 5), (3, 5, 4, 9, 3), (9, 3, 2, 2, 7)] {
            let input = Shape { c, h, w };
            gradcheck::check(Box::new(Conv::new(input, filters, kernel)), input, 5, 1);
        }
    }

    /// With 32 channels, the same to a part in 100 and never to the bit; with fewer, the same.
    #[test]
    fn bf16_rounds_the_factors_of_all_three_products() {
        for c in [31, 32] {
            let input = Shape { c, h: 6, w: 5 };
            let pass = Pass { training: true, batch: 9, slice: 0, seed: 1, step: 0 };
            let run = |mut layer: Conv| {
                let weights = random("w", super::super::spec::tensors_len(&layer.tensors()));
                let (x, dy) = (random("x", input.n() * 9), random("dy", layer.output().n() * 9));
                let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; weights.len()]);
                layer.forward(&pass, &weights, &[], &x, &mut y);
                let back = Backward { weights: &weights, x: &x, y: &y, dy: &dy, dx: Some(&mut dx), dweights: &mut dw };
                layer.backward(&pass, back);
                dw.truncate(layer.weight.len());
                let evaluation = Pass { training: false, ..pass };
                let mut evaluated = vec![0.0; y.len()];
                layer.forward(&evaluation, &weights, &[], &x, &mut evaluated);
                ([y, dx, dw], evaluated)
            };
            let layer = Conv::new(input, 33, 3);
            let ((exact, evaluated), (rounded, also)) = (run(layer.clone()), run(layer.with_bf16()));
            assert_eq!(evaluated, also, "evaluation is in f32");
            for (exact, rounded) in exact.iter().zip(&rounded) {
                let size = exact.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                let far = exact.iter().zip(rounded).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / size;
                assert!(if c < 32 { far == 0.0 } else { (1e-5..1e-2).contains(&far) }, "{c} channels: {far}");
            }
        }
    }

    #[test]
    fn an_even_kernel_is_refused() {
        let mut table = toml::Table::new();
        table.insert("layer".into(), "conv".into());
        table.insert("kernel".into(), 4.into());
        let error = (KIND.build)(&mut Params::new(table).unwrap(), Shape { c: 1, h: 4, w: 4 }).err().unwrap();
        assert!(error.to_string().contains("conv.kernel = 4"), "{error}");
    }

    /// The sampled outputs are the weights times the sampled inputs, rectified, so both sides belong to the same synapses.
    #[test]
    fn patches_belong_to_their_outputs() {
        let input = Shape { c: 2, h: 4, w: 5 };
        let mut layer = Conv::new(input, 3, 3);
        let pass = Pass { training: true, batch: 6, slice: 0, seed: 1, step: 9 };
        let weights = random("w", super::super::spec::tensors_len(&layer.tensors()));
        let x = random("x", input.n() * 6);
        let mut y = vec![f32::NAN; layer.output().n() * 6];
        layer.forward(&pass, &weights, &[], &x, &mut y);
        let plastic = layer.plastic(&x, &y, &pass);
        let p = &plastic[0];
        assert_eq!((p.samples, p.pre.len(), p.post.len()), (48, 18 * 48, 3 * 48));
        for o in 0..3 {
            for s in 0..48 {
                let sum: f32 = (0..18).map(|tap| weights[o * 18 + tap] * p.pre[tap * 48 + s]).sum();
                let expected = sum + weights[layer.bias.start + o];
                assert!((p.post[o * 48 + s] - expected.max(0.0)).abs() < 1e-5, "channel {o} sample {s}");
            }
        }
    }

    #[test]
    fn projections_are_listed_before_any_pass_without_activity() {
        let layer = Conv::new(Shape { c: 1, h: 3, w: 3 }, 1, 1);
        let listed = Pass { training: false, batch: 0, slice: 0, seed: 1, step: 0 };
        let plastic = layer.plastic(&[], &[], &listed);
        assert_eq!((plastic.len(), plastic[0].pre.len(), plastic[0].post.len()), (1, 0, 0));
    }
}
