//! Winograd's F(4x4, 3x3) with the channels in the lanes, for batches that fill no vectors: one image above all.
//!
//! The input is turned (transposed) so that the channels of a pixel lie together; tiles of all images are then rows of
//! small matrix products with the packed weights of [`super::winograd`], and the outputs are turned back.

use super::conv::ConvShape;
use super::lanes::{LANES, ONE_REGISTER, PARTS, REGISTER, Register, put_register, register};
use super::winograd::{BLOCK, Lanes, write_tile};
use super::winograd_tiles::{PRODUCTS, STEP, input_tile};
use super::winograd_turn::{turn_back, turn_planes};
use wide::f32x16;

/// Tiles of a block. One image of 12 x 12 has nine: 9 x 2 sums, two vectors of weights and one input fill 21 of 32
/// registers of AVX-512. With 16 registers five: nine tiles are two blocks.
const TILES: usize = if ONE_REGISTER { 9 } else { 5 };

/// Vectors of output channels of a product.
const VECS: usize = if ONE_REGISTER { 2 } else { 1 };

/// Numbers from one tile to the next in the transformed input.
fn padded_channels(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

/// Numbers from one point to the next in the transformed input: an odd number of vectors, so that the points do not
/// share a cache set.
fn input_stride(shape: &ConvShape) -> usize {
    ((TILES * padded_channels(shape.c_in) / LANES) | 1) * LANES
}

/// Vectors from one point to the next in the products.
const PRODUCT_STRIDE: usize = (TILES * VECS) | 1;

/// Length of the scratch: turned input and output, transformed inputs, products.
pub(super) fn scratch_len(shape: &ConvShape, batch: usize) -> usize {
    let pixels = shape.h * shape.w * batch;
    let turned = (padded_channels(shape.c_in) + padded_channels(shape.c_out)) * pixels;
    turned + PRODUCTS * (input_stride(shape) + PRODUCT_STRIDE * LANES) + LANES
}

/// `y (C_out, H, W, B)` of `x (C_in, H, W, B)` on one thread; `packed` from [`super::winograd::pack`], `scratch` of
/// [`scratch_len`].
pub(super) fn convolve(
    shape: &ConvShape,
    batch: usize,
    packed: &[f32],
    bias: Option<&[f32]>,
    scratch: &mut [f32],
    x: &[f32],
    y: &mut [f32],
) {
    let ConvShape { c_in, c_out, h, w, .. } = *shape;
    let pixels = h * w * batch;
    let first = scratch.as_ptr().align_offset(64).min(LANES);
    let (x_turned, scratch) = scratch[first..].split_at_mut(padded_channels(c_in) * pixels);
    let (y_turned, scratch) = scratch.split_at_mut(padded_channels(c_out) * pixels);
    let (inputs, products) = scratch.split_at_mut(PRODUCTS * input_stride(shape));
    let products = products.as_chunks_mut::<LANES>().0;
    let packed = packed.as_chunks::<LANES>().0;
    turn_planes(x, pixels, x_turned);
    let across = w.div_ceil(STEP);
    let tiles = across * h.div_ceil(STEP) * batch;
    for first in (0..tiles).step_by(TILES) {
        // Top, left and image of each tile; behind the last one it comes again.
        let place = |t: usize| {
            let (tile, image) = ((first + t).min(tiles - 1) / batch, (first + t).min(tiles - 1) % batch);
            (tile / across * STEP, tile % across * STEP, image)
        };
        for (v, x) in x_turned.chunks_exact(LANES * pixels).enumerate() {
            for t in 0..TILES {
                let at = t * padded_channels(c_in) + v * LANES;
                read_tile(shape, batch, x.as_chunks().0, place(t), &mut inputs[at..]);
            }
        }
        let blocks = c_out.div_ceil(BLOCK);
        for block in (0..blocks).step_by(VECS) {
            // Behind the last block of channels it comes again.
            let weights =
                |v: usize, point: usize| &packed[((block + v).min(blocks - 1) * PRODUCTS + point) * c_in..][..c_in];
            for point in 0..PRODUCTS {
                let inputs = &inputs[point * input_stride(shape)..][..input_stride(shape)];
                let rows = std::array::from_fn(|t| &inputs[t * padded_channels(c_in)..][..c_in]);
                let out = products[point * PRODUCT_STRIDE..][..TILES * VECS].as_chunks_mut::<VECS>().0;
                if block + VECS <= blocks {
                    multiply::<VECS>(rows, std::array::from_fn(|v| weights(v, point)), out);
                } else {
                    multiply::<1>(rows, [weights(0, point)], out);
                }
            }
            for v in 0..VECS.min(blocks - block) {
                let o = (block + v) * BLOCK;
                let mut biases = [0.0; LANES];
                if let Some(bias) = bias {
                    biases.iter_mut().zip(&bias[o..]).for_each(|(to, from)| *to = *from);
                }
                let y = y_turned[o * pixels..][..LANES * pixels].as_chunks_mut().0;
                for t in 0..TILES.min(tiles - first) {
                    let product = |point| &products[point * PRODUCT_STRIDE + t * VECS + v];
                    write_tile(shape, batch, product, &biases, place(t), |lane, part, outputs| {
                        put_register(&mut y[lane], part, outputs);
                    });
                }
            }
        }
    }
    turn_back(y_turned, pixels, y);
}

/// Writes 16 channels of the tile at `place` of `x (H, W, B, 16)` to each point.
#[inline(always)]
fn read_tile(
    shape: &ConvShape,
    batch: usize,
    x: &[Lanes],
    (top, left, image): (usize, usize, usize),
    inputs: &mut [f32],
) {
    let (row, stride) = (shape.w * batch, input_stride(shape));
    for part in 0..PARTS {
        let column = |c| {
            let column = left + c;
            let inside = (1..=shape.w).contains(&column);
            std::array::from_fn(|r| match (top + r).checked_sub(1) {
                Some(y) if inside && y < shape.h => register(&x[y * row + (column - 1) * batch + image], part),
                _ => Register::ZERO,
            })
        };
        input_tile(column, |point, v| {
            inputs[point * stride + part * REGISTER..][..REGISTER].copy_from_slice(v.as_array());
        });
    }
}

/// `out (TILES, VECS)`: the product over the input channels of `rows (TILES, C_in)` and `V` vectors of `weights (C_in)`.
#[inline(never)]
fn multiply<const V: usize>(rows: [&[f32]; TILES], weights: [&[Lanes]; V], out: &mut [[Lanes; VECS]]) {
    let n = weights[0].len();
    let (rows, weights) = (rows.map(|row| &row[..n]), weights.map(|weights| &weights[..n]));
    let mut sums = [[f32x16::ZERO; V]; TILES];
    for i in 0..n {
        let mut ws = [f32x16::ZERO; V];
        for v in 0..V {
            ws[v] = f32x16::new(weights[v][i]);
        }
        for t in 0..TILES {
            let x = f32x16::splat(rows[t][i]);
            for v in 0..V {
                sums[t][v] = x.mul_add(ws[v], sums[t][v]);
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        for v in 0..V {
            out[v] = sums[v].to_array();
        }
    }
}
