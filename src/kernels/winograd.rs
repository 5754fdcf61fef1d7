//! Convolution with 3 x 3 kernels by Winograd's F(4x4, 3x3).
//!
//! Batches of whole vectors here, others in [`super::winograd_channels`]. Each element of a transformed tile is one
//! vector of 16 images. A tile is transformed for all input channels; for each of the 36 points the products with 16 output
//! channels are summed over the input channels in registers, and the outputs are recovered while the sums are in the cache:
//! with several tiles at a time they are not, and all that is read and written beside them neither.
//! [`super::winograd_tiles`] has the formulas.

use super::conv::ConvShape;
use super::lanes::{LANES, ONE_REGISTER, PARTS, REGISTER, Register, register};
use super::threads::{self, for_piece_pairs, for_pieces};
use super::winograd_channels;
use super::winograd_tiles::{POINTS, PRODUCTS, STEP, TAPS, input_tile, kernel_tile, output_tile, spread};
use super::winograd_turn::{HALF, turn};
use wide::f32x16;

/// Input channels whose kernels are written together.
const AT_ONCE: usize = 8;

/// A vector in a slice.
pub(super) type Lanes = [f32; LANES];

/// Output channels of a block: the lanes of the packed weights.
pub(super) const BLOCK: usize = LANES;

/// Length of the packed weights: `(C_out / 16, 36, C_in, 16)`.
pub(super) fn packed_len(shape: &ConvShape) -> usize {
    shape.c_out.next_multiple_of(BLOCK) * PRODUCTS * shape.c_in
}

/// Vectors from one point to the next in the transformed input; odd, so that the points do not share a cache set.
fn input_stride(shape: &ConvShape) -> usize {
    shape.c_in | 1
}

/// The same in the products.
const PRODUCT_STRIDE: usize = BLOCK | 1;

/// Length of the scratch.
pub(super) fn scratch_len(shape: &ConvShape, batch: usize) -> usize {
    if !batch.is_multiple_of(LANES) {
        return winograd_channels::scratch_len(shape, batch);
    }
    most_pieces(shape, batch) * piece_scratch_len(shape, batch)
}

/// Scratch of one piece: transformed inputs, products, a row of zeros, and room to begin at a cache line.
fn piece_scratch_len(shape: &ConvShape, batch: usize) -> usize {
    (PRODUCTS * (input_stride(shape) + PRODUCT_STRIDE) + 1) * LANES + shape.w * batch
}

/// Output channels of the smallest piece: fewer do not pay for transforming the inputs once more.
pub(super) const PIECE: usize = 2 * BLOCK;

/// Pieces at most. A batch of one vector is not cut: whole batches are what threads share out then.
pub(super) fn most_pieces(shape: &ConvShape, batch: usize) -> usize {
    if batch <= LANES { 1 } else { shape.c_out.div_ceil(PIECE).max(1) }
}

/// Output channels of a piece; no sum depends on the cut.
pub(super) fn channels_per_piece(shape: &ConvShape, batch: usize) -> usize {
    let pieces = most_pieces(shape, batch).min(threads::workers());
    shape.c_out.div_ceil(pieces).next_multiple_of(PIECE).max(1)
}

/// Whether this is the faster way: where the tiles' corners outside the image do not eat the gain.
pub(super) fn pays(shape: &ConvShape) -> bool {
    let outputs = shape.h.next_multiple_of(STEP) * shape.w.next_multiple_of(STEP);
    shape.k == 3 && shape.c_in.min(shape.c_out) >= 8 && outputs <= 2 * shape.h * shape.w
}

/// `packed (C_out / 16, 36, C_in, 16)`: the kernels at the points. The nine taps of the kernel from input channel `i` to
/// output channel `o` start at `o * strides.0 + i * strides.1` in `weights`; they are read backwards, which turns the
/// kernel by 180 degrees, if `TURNED`.
pub(super) fn pack<const TURNED: bool>(
    shape: &ConvShape,
    weights: &[f32],
    packed: &mut [f32],
    strides: (usize, usize),
) {
    let ConvShape { c_in, c_out, .. } = *shape;
    let work = packed.len();
    for_pieces(packed, PRODUCTS * c_in * BLOCK, work, |block, packed| {
        let packed = packed.as_chunks_mut::<LANES>().0;
        // Kernels of some input channels are written together: the points of one lie in one cache set.
        let mut some = [[[0.0; LANES]; AT_ONCE]; PRODUCTS];
        for i in 0..c_in {
            let weights = &weights[block * BLOCK * strides.0 + i * strides.1..];
            let mut taps = [[0.0; LANES]; TAPS];
            let channels = BLOCK.min(c_out - block * BLOCK);
            let turned = channels / HALF * HALF;
            for half in (0..turned).step_by(HALF) {
                turn(&weights[half * strides.0..], strides.0, &mut taps.as_flattened_mut()[half..], LANES);
            }
            for o in 0..channels {
                for tap in if o < turned { HALF..TAPS } else { 0..TAPS } {
                    taps[tap][o] = weights[o * strides.0 + tap];
                }
            }
            for part in 0..PARTS {
                let tap = |r, c| register(&taps[if TURNED { TAPS - 1 - r * 3 - c } else { r * 3 + c }], part);
                let column = |c| std::array::from_fn(|r| tap(r, c));
                kernel_tile(column, spread(AT_ONCE, i % AT_ONCE, part, some.as_flattened_mut()));
            }
            if i % AT_ONCE == AT_ONCE - 1 || i == c_in - 1 {
                let first = i / AT_ONCE * AT_ONCE;
                for (packed, some) in packed.chunks_exact_mut(c_in).zip(&some) {
                    packed[first..=i].copy_from_slice(&some[..=i - first]);
                }
            }
        }
    });
}

/// `y (C_out, H, W, B)` of `x (C_in, H, W, B)`; `packed` from [`pack`], `scratch` of [`scratch_len`].
///
/// Threads share out the output channels and transform the inputs each for themselves.
pub(super) fn convolve(
    shape: &ConvShape,
    batch: usize,
    packed: &[f32],
    bias: Option<&[f32]>,
    scratch: &mut [f32],
    x: &[f32],
    y: &mut [f32],
) {
    if !batch.is_multiple_of(LANES) {
        return winograd_channels::convolve(shape, batch, packed, bias, scratch, x, y);
    }
    let channels = channels_per_piece(shape, batch);
    let (len, piece_len) = (channels * shape.h * shape.w * batch, piece_scratch_len(shape, batch));
    for_piece_pairs(y, len, scratch, piece_len, shape.work() * batch, |piece, y, scratch| {
        let o = piece * channels;
        let packed = &packed[o * PRODUCTS * shape.c_in..];
        convolve_piece(shape, batch, packed, bias.map(|bias| &bias[o..]), scratch, x, y);
    });
}

/// [`convolve`] for some output channels, on one thread.
fn convolve_piece(
    shape: &ConvShape,
    batch: usize,
    packed: &[f32],
    bias: Option<&[f32]>,
    scratch: &mut [f32],
    x: &[f32],
    y: &mut [f32],
) {
    let ConvShape { c_in, h, w, .. } = *shape;
    let first = scratch.as_ptr().align_offset(64).min(LANES);
    let (zeros, scratch) = scratch[first..].split_at_mut(w * batch);
    zeros.fill(0.0);
    let (inputs, products) = scratch.as_chunks_mut::<LANES>().0.split_at_mut(PRODUCTS * input_stride(shape));
    let (per_tile, across) = (batch / LANES, w.div_ceil(STEP));
    let vectors = h.div_ceil(STEP) * across * per_tile;
    let plane = h * w * batch;
    for vector in 0..vectors {
        // Top and left of the outputs of the tile, and the first image of the vector.
        let tile = vector / per_tile;
        let place = (tile / across * STEP, tile % across * STEP, vector % per_tile * LANES);
        for (i, x) in x.chunks_exact(plane).enumerate() {
            read_tile(shape, batch, x, zeros, place, i, input_stride(shape), inputs);
        }
        for (block, y) in y.chunks_mut(BLOCK * plane).enumerate() {
            for point in 0..PRODUCTS {
                let a = &packed.as_chunks::<LANES>().0[(block * PRODUCTS + point) * c_in..][..c_in];
                let b = &inputs[point * input_stride(shape)..][..c_in];
                multiply_block::<1, false>(a, b, y.len() / plane, &mut products[point * PRODUCT_STRIDE..][..BLOCK]);
            }
            for (o, y) in y.chunks_exact_mut(plane).enumerate() {
                let bias = [bias.map_or(0.0, |bias| bias[block * BLOCK + o]); LANES];
                let product = |point| &products[point * PRODUCT_STRIDE + o];
                write_tile(shape, batch, product, &bias, place, |lane, part, outputs| {
                    y[lane + part * REGISTER..][..REGISTER].copy_from_slice(&outputs.to_array());
                });
            }
        }
    }
}

/// Writes vector `at` of each point, `stride` apart: the tile of a plane `x (H, W, B)` whose outputs start at `place`.
#[inline(always)]
pub(super) fn read_tile(
    shape: &ConvShape,
    batch: usize,
    x: &[f32],
    zeros: &[f32],
    (top, left, image): (usize, usize, usize),
    at: usize,
    stride: usize,
    inputs: &mut [Lanes],
) {
    let row = shape.w * batch;
    // Row `r` of the tile is row `top + r - 1` of the image.
    let rows: [&[f32]; POINTS] = std::array::from_fn(|r| match (top + r).checked_sub(1) {
        Some(y) if y < shape.h => &x[y * row..][..row],
        _ => zeros,
    });
    for part in 0..PARTS {
        let column = |c| {
            let column = left + c;
            if column == 0 || column > shape.w {
                return [Register::ZERO; POINTS];
            }
            let lane = (column - 1) * batch + image + part * REGISTER;
            let mut column = [Register::ZERO; POINTS];
            for r in 0..POINTS {
                column[r] = Register::new(rows[r][lane..lane + REGISTER].as_chunks().0[0]);
            }
            column
        };
        input_tile(column, spread(stride, at, part, inputs));
    }
}

/// Gives `put` the outputs of the tile at `place` from the product of each point: their place in `(H, W, B)`, their part of
/// the vector, and themselves.
#[inline(always)]
pub(super) fn write_tile<'a>(
    shape: &ConvShape,
    batch: usize,
    product: impl Fn(usize) -> &'a Lanes,
    bias: &Lanes,
    (top, left, image): (usize, usize, usize),
    mut put: impl FnMut(usize, usize, Register),
) {
    for part in 0..PARTS {
        let column = |c| std::array::from_fn(|r| register(product(r * POINTS + c), part));
        output_tile(column, |r, c, v| {
            if top + r < shape.h && left + c < shape.w {
                let place = ((top + r) * shape.w + left + c) * batch + image;
                put(place, part, v + register(bias, part));
            }
        });
    }
}

/// `out (16, V)`: the product over the inner dimension of `a (inner, 16)` and `b (inner, V)`, for `rows` of the 16; added to
/// what is there if `ADD`.
#[inline(always)]
pub(super) fn multiply_block<const V: usize, const ADD: bool>(
    a: &[Lanes],
    b: &[Lanes],
    rows: usize,
    out: &mut [Lanes],
) {
    let (b, out) = (b.as_chunks::<V>().0, out.as_chunks_mut::<V>().0);
    match (ONE_REGISTER, V, rows) {
        (true, 1, 9..) if !ADD => multiply::<16, 0, V, ADD>(a, b, out),
        (true, 1 | 2, _) => {
            multiply::<8, 0, V, ADD>(a, b, out);
            if rows > 8 {
                multiply::<8, 8, V, ADD>(a, b, out);
            }
        }
        _ => {
            multiply::<4, 0, V, ADD>(a, b, out);
            if rows > 4 {
                multiply::<4, 4, V, ADD>(a, b, out);
            }
            if rows > 8 {
                multiply::<4, 8, V, ADD>(a, b, out);
                multiply::<4, 12, V, ADD>(a, b, out);
            }
        }
    }
}

/// Rows `FIRST..FIRST + R` of a [`multiply_block`], whose sums stay in registers.
#[inline(never)]
fn multiply<const R: usize, const FIRST: usize, const V: usize, const ADD: bool>(
    a: &[Lanes],
    b: &[[Lanes; V]],
    out: &mut [[Lanes; V]],
) {
    let mut sums = [[f32x16::ZERO; V]; R];
    for (a, b) in a.iter().zip(b) {
        let mut xs = [f32x16::ZERO; V];
        for v in 0..V {
            xs[v] = f32x16::new(b[v]);
        }
        for r in 0..R {
            let weight = f32x16::splat(a[FIRST + r]);
            for v in 0..V {
                sums[r][v] = weight.mul_add(xs[v], sums[r][v]);
            }
        }
    }
    let out = &mut out[FIRST..FIRST + R];
    for r in 0..R {
        for v in 0..V {
            out[r][v] = if ADD { (f32x16::new(out[r][v]) + sums[r][v]).to_array() } else { sums[r][v].to_array() };
        }
    }
}
