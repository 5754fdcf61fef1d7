//! The weight gradient of a convolution with 3 x 3 kernels from exactly eight input channels, by Winograd's F(3x3, 4x4).
//!
//! As [`super::winograd_weights`], but the lanes are output channels, where eight inputs would leave half of them empty.
//! Only the output gradients are turned for that; the inputs keep their images in the lanes, and the products broadcast
//! one image after another. One tile at a time: its transforms and all sums are small beside the caches.

use super::conv::ConvShape;
use super::lanes::{LANES, ONE_REGISTER};
use super::winograd::{BLOCK, Lanes, read_tile};
use super::winograd_tiles::{PRODUCTS, STEP, TAPS, gradient_tiles, write_weight_gradients};
use super::winograd_turn::turn_tile;
use wide::f32x16;

/// Input channels.
const INPUTS: usize = 8;

/// Input channels whose sums stay in registers together.
const SUMS: usize = if ONE_REGISTER { 8 } else { 4 };

/// Vectors from one point to the next in the transformed tiles; odd, so that the points do not share a cache set.
const INPUT_STRIDE: usize = INPUTS | 1;

/// The same in the gradients of a block of output channels.
const GRADIENT_STRIDE: usize = LANES | 1;

/// Pixels of a tile of gradients.
const PIXELS: usize = STEP * STEP;

/// Whether this is the faster way, for a slice of a batch.
pub(super) fn pays(shape: &ConvShape, batch: usize) -> bool {
    batch == LANES && shape.c_in == INPUTS
}

/// Length of the scratch: transformed tiles, a turned tile, sums, a row of zeros, and room to begin at a cache line.
pub(super) fn scratch_len(shape: &ConvShape) -> usize {
    let sums = shape.c_out.div_ceil(BLOCK) * PRODUCTS * INPUTS;
    (PRODUCTS * (INPUT_STRIDE + GRADIENT_STRIDE) + PIXELS * LANES + sums + shape.w + 1) * LANES
}

/// `dw (C_out, 8, 3, 3)` of `dy (C_out, H, W, 16)` and `x (8, H, W, 16)`; `scratch` of [`scratch_len`].
pub(super) fn backward_weights(shape: &ConvShape, dy: &[f32], x: &[f32], scratch: &mut [f32], dw: &mut [f32]) {
    let plane = shape.h * shape.w * LANES;
    let first = scratch.as_ptr().align_offset(64).min(LANES);
    let (zeros, scratch) = scratch[first..].split_at_mut(shape.w * LANES);
    zeros.fill(0.0);
    let (turned, scratch) = scratch.as_chunks_mut::<LANES>().0.split_at_mut(PIXELS * LANES);
    let (inputs, scratch) = scratch.split_at_mut(PRODUCTS * INPUT_STRIDE);
    let (gradients, sums) = scratch.split_at_mut(PRODUCTS * GRADIENT_STRIDE);
    let sums = &mut sums[..shape.c_out.div_ceil(BLOCK) * PRODUCTS * INPUTS];
    sums.fill([0.0; LANES]);
    for top in (0..shape.h).step_by(STEP) {
        for left in (0..shape.w).step_by(STEP) {
            for (i, x) in x.chunks_exact(plane).enumerate() {
                read_tile(shape, LANES, x, zeros, (top, left, 0), i, INPUT_STRIDE, inputs);
            }
            for (dy, sums) in dy.chunks(BLOCK * plane).zip(sums.chunks_exact_mut(PRODUCTS * INPUTS)) {
                turn_tile::<STEP, 0>(shape, LANES, dy, top, left, 0, turned);
                gradient_tiles(turned, GRADIENT_STRIDE, 0, gradients);
                for (point, sums) in sums.as_chunks_mut().0.iter_mut().enumerate() {
                    let x = &inputs[point * INPUT_STRIDE..].as_chunks().0[0];
                    let dy = &gradients[point * GRADIENT_STRIDE..].as_chunks().0[0];
                    multiply(x, dy, sums);
                }
            }
        }
    }
    for (dw, sums) in dw.chunks_mut(BLOCK * shape.taps()).zip(sums.chunks_exact(PRODUCTS * INPUTS)) {
        for i in 0..INPUTS {
            write_weight_gradients(|point| &sums[point * INPUTS + i], shape.taps(), &mut dw[i * TAPS..]);
        }
    }
}

/// Adds to `sums (8 inputs, 16 outputs)` the products of `x (8 inputs, 16 images)` and `dy (16 images, 16 outputs)`.
#[inline(never)]
fn multiply(x: &[Lanes; INPUTS], dy: &[Lanes; LANES], sums: &mut [Lanes; INPUTS]) {
    for (x, sums) in x.as_chunks::<SUMS>().0.iter().zip(sums.as_chunks_mut::<SUMS>().0) {
        let mut acc = sums.map(f32x16::new);
        for b in 0..LANES {
            let dy = f32x16::new(dy[b]);
            for i in 0..SUMS {
                acc[i] = f32x16::splat(x[i][b]).mul_add(dy, acc[i]);
            }
        }
        for i in 0..SUMS {
            sums[i] = acc[i].to_array();
        }
    }
}
