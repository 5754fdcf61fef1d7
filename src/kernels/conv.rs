//! Two-dimensional convolution (stride 1, zero padding that keeps the size, odd kernel) and its gradients.
//!
//! Two ways: `winograd.rs` for 3 x 3 kernels between several channels, `conv_direct.rs` for the rest. The
//! shape alone decides, and for the weight gradient whether the batch is one slice (`winograd_weights_eight.rs`). Some output
//! channels after others: [`super::conv_channels`].

use super::{conv_direct, conv_weights, winograd, winograd_weights, winograd_weights_eight};

/// Sizes of a convolution; `x` is `(C_in, H, W, B)`, `y` is `(C_out, H, W, B)`, weights are `(C_out, C_in, k, k)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Height of the image.
    pub h: usize,
    /// Width of the image.
    pub w: usize,
    /// Side of the kernel, odd.
    pub k: usize,
}

impl ConvShape {
    /// Weights of one output channel: `C_in * k * k`.
    pub fn taps(&self) -> usize {
        self.c_in * self.k * self.k
    }

    /// Weights: `C_out * C_in * k * k`.
    pub fn weights_len(&self) -> usize {
        self.c_out * self.taps()
    }

    /// Length of the weights as [`forward_packed`] and [`backward_input_packed`] read them.
    pub fn packed_len(&self) -> usize {
        if winograd::pays(self) {
            winograd::packed_len(self).max(winograd::packed_len(&self.swapped()))
        } else {
            self.weights_len()
        }
    }

    /// Length of the scratch `tiles` of [`forward_packed`].
    pub fn tiles_len(&self, batch: usize) -> usize {
        if winograd::pays(self) { winograd::scratch_len(self, batch) } else { conv_direct::padded_len(self, batch) }
    }

    /// Length of the scratch `tiles` of [`backward_input_packed`].
    pub fn backward_tiles_len(&self, batch: usize) -> usize {
        self.swapped().tiles_len(batch)
    }

    /// Length of the scratch of [`forward`]: packed weights and tiles.
    pub fn scratch_len(&self, batch: usize) -> usize {
        self.packed_len() + self.tiles_len(batch)
    }

    /// Length of the scratch of [`backward_input`]: packed weights and tiles.
    pub fn backward_scratch_len(&self, batch: usize) -> usize {
        self.packed_len() + self.backward_tiles_len(batch)
    }

    /// Length of the scratch `partial` of [`backward_weights`].
    pub fn partial_len(&self, batch: usize) -> usize {
        match winograd::pays(self) {
            true if winograd_weights_eight::pays(self, batch) => winograd_weights_eight::scratch_len(self),
            true => winograd_weights::scratch_len(self, batch),
            false => conv_weights::scratch_len(self, batch),
        }
    }

    /// Multiply-adds of one image's forward pass.
    pub fn work(&self) -> usize {
        self.weights_len() * self.h * self.w
    }

    /// Image rows per chunk if there are to be about `chunks`.
    pub(super) fn rows_per(&self, chunks: usize) -> usize {
        self.h.div_ceil(chunks).max(1)
    }

    /// The same convolution seen from the gradient: input and output channels change places.
    pub(super) fn swapped(&self) -> Self {
        Self { c_in: self.c_out, c_out: self.c_in, ..*self }
    }

    pub(super) fn check(&self, batch: usize, x: &[f32], y: &[f32]) {
        assert!(self.k % 2 == 1, "the kernel side must be odd");
        assert_eq!(x.len(), self.c_in * self.h * self.w * batch, "x must be (C_in, H, W, B)");
        assert_eq!(y.len(), self.c_out * self.h * self.w * batch, "y must be (C_out, H, W, B)");
    }

    /// `y` of `x` with packed weights.
    fn convolve(
        &self,
        batch: usize,
        packed: &[f32],
        bias: Option<&[f32]>,
        tiles: &mut [f32],
        x: &[f32],
        y: &mut [f32],
    ) {
        self.check(batch, x, y);
        assert_eq!(packed.len(), self.packed_len(), "packed must be as long as packed_len()");
        assert_eq!(tiles.len(), self.tiles_len(batch), "tiles must be as long as the shape says");
        if winograd::pays(self) {
            winograd::convolve(self, batch, &packed[..winograd::packed_len(self)], bias, tiles, x, y);
        } else {
            conv_direct::convolve(self, batch, packed, bias, tiles, x, y);
        }
    }
}

/// `y[o] = bias[o] + sum over i, ky, kx of w[o, i, ky, kx] * x[i, shifted by (ky, kx) - k / 2]`.
///
/// `weights (C_out, C_in, k, k)`, `bias (C_out)`, `scratch` of [`ConvShape::scratch_len`], `x (C_in, H, W, B)`,
/// `y (C_out, H, W, B)`.
///
/// # Panics
/// If a length does not fit the shape or `k` is even.
pub fn forward(
    shape: &ConvShape,
    batch: usize,
    weights: &[f32],
    bias: Option<&[f32]>,
    scratch: &mut [f32],
    x: &[f32],
    y: &mut [f32],
) {
    assert_eq!(scratch.len(), shape.scratch_len(batch), "scratch must be as long as scratch_len()");
    let (packed, tiles) = scratch.split_at_mut(shape.packed_len());
    pack(shape, weights, packed);
    forward_packed(shape, batch, packed, bias, tiles, x, y);
}

/// The weights for [`forward_packed`], whatever the batch.
///
/// `weights (C_out, C_in, k, k)`, `packed` of [`ConvShape::packed_len`].
///
/// # Panics
/// If a length does not fit the shape.
pub fn pack(shape: &ConvShape, weights: &[f32], packed: &mut [f32]) {
    let (taps, side) = (shape.taps(), shape.k * shape.k);
    assert_eq!(weights.len(), shape.weights_len(), "weights must be (C_out, C_in, k, k)");
    assert_eq!(packed.len(), shape.packed_len(), "packed must be as long as packed_len()");
    if winograd::pays(shape) {
        let packed = &mut packed[..winograd::packed_len(shape)];
        winograd::pack::<false>(shape, weights, packed, (taps, side));
    } else {
        conv_direct::pack(taps, packed, |o, tap| weights[o * taps + tap]);
    }
}

/// [`forward`] with weights from [`pack`]: once for many calls.
///
/// `packed` of [`ConvShape::packed_len`], `bias (C_out)`, scratch `tiles` of [`ConvShape::tiles_len`],
/// `x (C_in, H, W, B)`, `y (C_out, H, W, B)`.
///
/// # Panics
/// If a length does not fit the shape or `k` is even.
pub fn forward_packed(
    shape: &ConvShape,
    batch: usize,
    packed: &[f32],
    bias: Option<&[f32]>,
    tiles: &mut [f32],
    x: &[f32],
    y: &mut [f32],
) {
    assert!(bias.is_none_or(|b| b.len() == shape.c_out), "bias must be (C_out)");
    shape.convolve(batch, packed, bias, tiles, x, y);
}

/// `dx`: the convolution of `dy` with the kernels turned by 180 degrees and the channels' roles exchanged.
///
/// `weights (C_out, C_in, k, k)`, `scratch` of [`ConvShape::backward_scratch_len`], `dy (C_out, H, W, B)`,
/// `dx (C_in, H, W, B)`.
///
/// # Panics
/// If a length does not fit the shape or `k` is even.
pub fn backward_input(
    shape: &ConvShape,
    batch: usize,
    weights: &[f32],
    scratch: &mut [f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    assert_eq!(scratch.len(), shape.backward_scratch_len(batch), "scratch must be as long as backward_scratch_len()");
    let (packed, tiles) = scratch.split_at_mut(shape.packed_len());
    pack_turned(shape, weights, packed);
    backward_input_packed(shape, batch, packed, tiles, dy, dx);
}

/// The weights for [`backward_input_packed`], whatever the batch.
///
/// `weights (C_out, C_in, k, k)`, `packed` of [`ConvShape::packed_len`].
///
/// # Panics
/// If a length does not fit the shape.
pub fn pack_turned(shape: &ConvShape, weights: &[f32], packed: &mut [f32]) {
    let (swapped, side) = (shape.swapped(), shape.k * shape.k);
    assert_eq!(weights.len(), shape.weights_len(), "weights must be (C_out, C_in, k, k)");
    assert_eq!(packed.len(), shape.packed_len(), "packed must be as long as packed_len()");
    if winograd::pays(shape) {
        let packed = &mut packed[..winograd::packed_len(&swapped)];
        winograd::pack::<true>(&swapped, weights, packed, (side, shape.taps()));
    } else {
        conv_direct::pack(swapped.taps(), packed, |i, tap| {
            let (o, turned) = (tap / side, side - 1 - tap % side);
            weights[(o * shape.c_in + i) * side + turned]
        });
    }
}

/// [`backward_input`] with weights from [`pack_turned`].
///
/// `packed` of [`ConvShape::packed_len`], scratch `tiles` of [`ConvShape::backward_tiles_len`], `dy (C_out, H, W, B)`,
/// `dx (C_in, H, W, B)`.
///
/// # Panics
/// If a length does not fit the shape or `k` is even.
pub fn backward_input_packed(
    shape: &ConvShape,
    batch: usize,
    packed: &[f32],
    tiles: &mut [f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    shape.swapped().convolve(batch, packed, None, tiles, dy, dx);
}

/// `dw[o, i, ky, kx] = sum over pixels and batch of dy[o] * x[i, shifted by (ky, kx) - k / 2]`.
///
/// `dy (C_out, H, W, B)`, `x (C_in, H, W, B)`, scratch `partial` of [`ConvShape::partial_len`],
/// `dw (C_out, C_in, k, k)`.
///
/// # Panics
/// If a length does not fit the shape or `k` is even.
pub fn backward_weights(shape: &ConvShape, batch: usize, dy: &[f32], x: &[f32], partial: &mut [f32], dw: &mut [f32]) {
    shape.check(batch, x, dy);
    assert_eq!(dw.len(), shape.weights_len(), "dw must be (C_out, C_in, k, k)");
    assert_eq!(partial.len(), shape.partial_len(batch), "partial must be as long as partial_len()");
    match winograd::pays(shape) {
        true if winograd_weights_eight::pays(shape, batch) => {
            winograd_weights_eight::backward_weights(shape, dy, x, partial, dw);
        }
        true => winograd_weights::backward_weights(shape, batch, dy, x, partial, dw),
        false => conv_weights::backward_weights(shape, batch, dy, x, partial, dw),
    }
}

/// [`forward`] as loops.
pub fn forward_reference(
    shape: &ConvShape,
    batch: usize,
    weights: &[f32],
    bias: Option<&[f32]>,
    x: &[f32],
    y: &mut [f32],
) {
    for o in 0..shape.c_out {
        y[o * shape.h * shape.w * batch..][..shape.h * shape.w * batch].fill(bias.map_or(0.0, |b| b[o]));
    }
    for_terms(shape, batch, |weight, at_x, at_y| y[at_y] += weights[weight] * x[at_x]);
}

/// [`backward_input`] as loops.
pub fn backward_input_reference(shape: &ConvShape, batch: usize, weights: &[f32], dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for_terms(shape, batch, |weight, at_x, at_y| dx[at_x] += weights[weight] * dy[at_y]);
}

/// [`backward_weights`] as loops.
pub fn backward_weights_reference(shape: &ConvShape, batch: usize, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    dw.fill(0.0);
    for_terms(shape, batch, |weight, at_x, at_y| dw[weight] += dy[at_y] * x[at_x]);
}

/// Calls `f(weight, x, y)` with the three indices of every product of the convolution.
fn for_terms(shape: &ConvShape, batch: usize, mut f: impl FnMut(usize, usize, usize)) {
    let ConvShape { c_in, c_out, h, w, k } = *shape;
    let pad = k / 2;
    for o in 0..c_out {
        for (oy, ox) in (0..h).flat_map(|oy| (0..w).map(move |ox| (oy, ox))) {
            for i in 0..c_in {
                for (ky, kx) in (0..k).flat_map(|ky| (0..k).map(move |kx| (ky, kx))) {
                    // Row and column of the input, one padding too far.
                    let (iy, ix) = (oy + ky, ox + kx);
                    if (pad..h + pad).contains(&iy) && (pad..w + pad).contains(&ix) {
                        for b in 0..batch {
                            f(
                                ((o * c_in + i) * k + ky) * k + kx,
                                ((i * h + iy - pad) * w + ix - pad) * batch + b,
                                ((o * h + oy) * w + ox) * batch + b,
                            );
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::{BATCHES, check, close, random};

    /// Awkward shapes: kernels larger than the image, single pixels, odd channels, several groups and pieces.
    fn shapes() -> Vec<(ConvShape, usize)> {
        let mut shapes = Vec::new();
        for batch in BATCHES {
            for (c_in, c_out, h, w, k) in [
                (1, 1, 1, 1, 1),
                (1, 8, 9, 8, 5),
                (3, 2, 2, 3, 3),
                (2, 9, 3, 1, 5),
                (8, 17, 8, 9, 3),
                (9, 3, 17, 2, 3),
                (2, 7, 3, 3, 7),
                (3, 9, 5, 4, 1),
                (2, 13, 5, 4, 3),
                (2, 13, 5, 4, 9),
            ] {
                shapes.push((ConvShape { c_in, c_out, h, w, k }, batch));
            }
        }
        shapes.push((ConvShape { c_in: 17, c_out: 41, h: 5, w: 6, k: 3 }, 64));
        shapes.push((ConvShape { c_in: 35, c_out: 8, h: 3, w: 19, k: 3 }, 48));
        // Several blocks of lanes in a chunk of the weight gradient.
        shapes.push((ConvShape { c_in: 1, c_out: 249, h: 5, w: 17, k: 5 }, 48));
        // Two channels and one with six or eight registers side by side, three, single ones and an end.
        shapes.push((ConvShape { c_in: 2, c_out: 7, h: 3, w: 10, k: 5 }, 25));
        // By tiles: whole and cut ones, channels that fill no block, several vectors of images.
        for batch in BATCHES {
            shapes.push((ConvShape { c_in: 8, c_out: 9, h: 4, w: 3, k: 3 }, batch));
            shapes.push((ConvShape { c_in: 9, c_out: 10, h: 7, w: 18, k: 3 }, batch));
            shapes.push((ConvShape { c_in: 33, c_out: 40, h: 8, w: 7, k: 3 }, batch));
        }
        shapes.push((ConvShape { c_in: 17, c_out: 65, h: 6, w: 13, k: 3 }, 48));
        shapes
    }

    fn x_len(s: &ConvShape, batch: usize) -> usize {
        s.c_in * s.h * s.w * batch
    }

    fn y_len(s: &ConvShape, batch: usize) -> usize {
        s.c_out * s.h * s.w * batch
    }

    #[test]
    fn forward_is_the_reference() {
        for (s, b) in shapes() {
            let (w, x, bias) = (random("w", s.weights_len()), random("x", x_len(&s, b)), random("bias", s.c_out));
            for bias in [None, Some(&bias[..])] {
                check(
                    &format!("forward {s:?} B{b}"),
                    y_len(&s, b),
                    1e-5,
                    |y| forward(&s, b, &w, bias, &mut vec![f32::NAN; s.scratch_len(b)], &x, y),
                    |y| forward_reference(&s, b, &w, bias, &x, y),
                );
            }
        }
    }

    #[test]
    fn backward_input_is_the_reference() {
        for (s, b) in shapes() {
            let (w, dy) = (random("w", s.weights_len()), random("dy", y_len(&s, b)));
            check(
                &format!("backward_input {s:?} B{b}"),
                x_len(&s, b),
                1e-5,
                |dx| backward_input(&s, b, &w, &mut vec![f32::NAN; s.backward_scratch_len(b)], &dy, dx),
                |dx| backward_input_reference(&s, b, &w, &dy, dx),
            );
        }
    }

    #[test]
    fn backward_weights_is_the_reference() {
        for (s, b) in shapes() {
            let (x, dy) = (random("x", x_len(&s, b)), random("dy", y_len(&s, b)));
            check(
                &format!("backward_weights {s:?} B{b}"),
                s.weights_len(),
                2e-5,
                |dw| backward_weights(&s, b, &dy, &x, &mut vec![f32::NAN; s.partial_len(b)], dw),
                |dw| backward_weights_reference(&s, b, &dy, &x, dw),
            );
        }
    }

    /// 3 x 3 kernels, for which the public functions take tiles.
    #[test]
    fn taps_are_the_reference_for_every_shape() {
        for (s, b) in shapes().into_iter().filter(|(s, _)| winograd::pays(s)) {
            let (w, x, dy) = (random("w", s.weights_len()), random("x", x_len(&s, b)), random("dy", y_len(&s, b)));
            let mut scratch = vec![f32::NAN; conv_direct::scratch_len(&s, b)];
            let (mut y, mut expected) = (vec![f32::NAN; y_len(&s, b)], vec![f32::NAN; y_len(&s, b)]);
            conv_direct::forward(&s, b, &w, None, &mut scratch, &x, &mut y);
            forward_reference(&s, b, &w, None, &x, &mut expected);
            close(&format!("forward {s:?} B{b}"), &y, &expected, 1e-5);
            check(
                &format!("backward_weights {s:?} B{b}"),
                s.weights_len(),
                2e-5,
                |dw| {
                    let scratch = &mut vec![f32::NAN; conv_weights::scratch_len(&s, b)];
                    conv_weights::backward_weights(&s, b, &dy, &x, scratch, dw);
                },
                |dw| backward_weights_reference(&s, b, &dy, &x, dw),
            );
        }
    }

    /// A kernel with a single 1 in the middle copies the image.
    #[test]
    fn the_identity_kernel_copies() {
        let s = ConvShape { c_in: 1, c_out: 1, h: 4, w: 5, k: 3 };
        let x = random("x", 60);
        let mut y = vec![f32::NAN; 60];
        forward(
            &s,
            3,
            &[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
            None,
            &mut vec![f32::NAN; s.scratch_len(3)],
            &x,
            &mut y,
        );
        assert_eq!(x, y);
    }
}
