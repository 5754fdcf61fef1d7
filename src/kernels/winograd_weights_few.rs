//! The weight gradient of a convolution with 3 x 3 kernels between few channels, by Winograd's F(3x3, 4x4).
//!
//! As [`super::winograd_weights`], but the lanes stay images: nothing is turned, and no lane is empty where there are less
//! than 16 channels. The sums of all pairs of channels at the 36 points are vectors then, sixteen times as many numbers,
//! which only few channels keep in the second-level cache; their lanes are added up once at the end.

use super::conv::ConvShape;
use super::lane_sums::lane_sums;
use super::lanes::LANES;
use super::winograd::{Lanes, read_tile};
use super::winograd_tiles::{PRODUCTS, STEP, gradient_tile, spread, write_weight_gradients};
use wide::f32x16;

/// Tiles of a block: 200 KiB of inputs and gradients of 8 to 16 channels, beside 300 KiB of sums in the second-level cache.
/// Twelve are faster where nothing else wants that cache, and slower in a training step.
const TILES: usize = 4;

/// Channels on either side of a register tile: 4 x 4 sums and 8 factors of 32 registers.
const SIDE: usize = if cfg!(target_feature = "avx512f") { 4 } else { 2 };

/// Sums whose lanes are added up together.
const AT_ONCE: usize = 8;

/// Weights of a kernel.
const TAPS: usize = 9;

/// Most pairs of channels: 512 KiB of sums.
const MOST_PAIRS: usize = 224;

/// Whether this is the faster way: a slice of a batch, and sums that stay in the cache.
pub(super) fn pays(shape: &ConvShape, batch: usize) -> bool {
    let (c_in, c_out) = padded(shape);
    batch == LANES && c_in * c_out <= MOST_PAIRS
}

/// Input and output channels, filled up to whole groups; of the inputs, so that their sums are added up together.
fn padded(shape: &ConvShape) -> (usize, usize) {
    (shape.c_in.next_multiple_of(AT_ONCE), shape.c_out.next_multiple_of(SIDE))
}

/// Vectors from one point to the next in a block of `channels`; odd, so that the points do not share a cache set.
fn stride(channels: usize) -> usize {
    (TILES * channels) | 1
}

/// Length of the scratch: transformed tiles, sums, a row of zeros, and room to begin at a cache line.
pub(super) fn scratch_len(shape: &ConvShape) -> usize {
    let (c_in, c_out) = padded(shape);
    (PRODUCTS * (stride(c_in) + stride(c_out) + c_in * c_out) + shape.w + 1) * LANES
}

/// `dw (C_out, C_in, 3, 3)` of `dy (C_out, H, W, 16)` and `x (C_in, H, W, 16)`; `scratch` of [`scratch_len`].
pub(super) fn backward_weights(shape: &ConvShape, dy: &[f32], x: &[f32], scratch: &mut [f32], dw: &mut [f32]) {
    let ((c_in, c_out), plane) = (padded(shape), shape.h * shape.w * LANES);
    let first = scratch.as_ptr().align_offset(64).min(LANES);
    let (zeros, scratch) = scratch[first..].split_at_mut(shape.w * LANES);
    zeros.fill(0.0);
    let (inputs, scratch) = scratch.as_chunks_mut::<LANES>().0.split_at_mut(PRODUCTS * stride(c_in));
    let (gradients, sums) = scratch.split_at_mut(PRODUCTS * stride(c_out));
    let sums = &mut sums[..PRODUCTS * c_in * c_out];
    // Channels that are not there stay 0.
    if c_in > shape.c_in {
        inputs.fill([0.0; LANES]);
    }
    if c_out > shape.c_out {
        gradients.fill([0.0; LANES]);
    }
    let across = shape.w.div_ceil(STEP);
    let tiles = across * shape.h.div_ceil(STEP);
    for first in (0..tiles).step_by(TILES) {
        let count = TILES.min(tiles - first);
        for t in 0..count {
            let (top, left) = ((first + t) / across * STEP, (first + t) % across * STEP);
            for (i, x) in x.chunks_exact(plane).enumerate() {
                read_tile(shape, LANES, x, zeros, (top, left, 0), t * c_in + i, stride(c_in), inputs);
            }
            for (o, dy) in dy.chunks_exact(plane).enumerate() {
                read_gradients(shape, dy, (top, left), t * c_out + o, stride(c_out), gradients);
            }
        }
        for (point, sums) in sums.chunks_exact_mut(c_in * c_out).enumerate() {
            let x = &inputs[point * stride(c_in)..][..count * c_in];
            let dy = &gradients[point * stride(c_out)..][..count * c_out];
            for o in (0..c_out).step_by(SIDE) {
                for i in (0..c_in).step_by(SIDE) {
                    let sums = &mut sums[o * c_in..];
                    if first == 0 {
                        multiply::<false>(dy, x, (c_out, c_in), (o, i), sums);
                    } else {
                        multiply::<true>(dy, x, (c_out, c_in), (o, i), sums);
                    }
                }
            }
        }
    }
    for (o, dw) in dw.chunks_exact_mut(shape.taps()).enumerate() {
        for (group, dw) in dw.chunks_mut(AT_ONCE * TAPS).enumerate() {
            let at = o * c_in + group * AT_ONCE;
            // The sums of eight input channels at each point, in the first lanes of a vector.
            let mut points = [f32x16::ZERO; PRODUCTS];
            for (point, sums) in points.iter_mut().zip(sums.chunks_exact(c_in * c_out)) {
                if let Some(some) = sums[at..].first_chunk::<AT_ONCE>() {
                    *point = lane_sums(&some.map(f32x16::new));
                }
            }
            write_weight_gradients(|point| points[point], dw);
        }
    }
}

/// Writes vector `at` of each point: the 4 x 4 tile of a plane `dy (H, W, 16)` from `(top, left)`, zeros outside.
#[inline(always)]
fn read_gradients(
    shape: &ConvShape,
    dy: &[f32],
    (top, left): (usize, usize),
    at: usize,
    stride: usize,
    gradients: &mut [Lanes],
) {
    let pixels = dy.as_chunks::<LANES>().0;
    let tile = gradient_tile(|c| {
        std::array::from_fn(|r| {
            let inside = top + r < shape.h && left + c < shape.w;
            if inside { f32x16::new(pixels[(top + r) * shape.w + left + c]) } else { f32x16::ZERO }
        })
    });
    spread(&tile, stride, at, gradients);
}

/// The pairs of [`SIDE`] output channels from `o` and as many input channels from `i`: `sums (C_out - o, C_in)`, over
/// the tiles of `dy (tiles, C_out)` and `x (tiles, C_in)`, added to what is there if `ADD`.
#[inline(never)]
fn multiply<const ADD: bool>(
    dy: &[Lanes],
    x: &[Lanes],
    (c_out, c_in): (usize, usize),
    (o, i): (usize, usize),
    sums: &mut [Lanes],
) {
    let mut acc = [[f32x16::ZERO; SIDE]; SIDE];
    for (dy, x) in dy.chunks_exact(c_out).zip(x.chunks_exact(c_in)) {
        if let (Some(dy), Some(x)) = (dy[o..].first_chunk::<SIDE>(), x[i..].first_chunk::<SIDE>()) {
            let x = x.map(f32x16::new);
            for r in 0..SIDE {
                let dy = f32x16::new(dy[r]);
                for c in 0..SIDE {
                    acc[r][c] = dy.mul_add(x[c], acc[r][c]);
                }
            }
        }
    }
    for (acc, sums) in acc.iter().zip(sums.chunks_exact_mut(c_in)) {
        if let Some(sums) = sums[i..].first_chunk_mut::<SIDE>() {
            for c in 0..SIDE {
                sums[c] = if ADD { (f32x16::new(sums[c]) + acc[c]).to_array() } else { acc[c].to_array() };
            }
        }
    }
}
