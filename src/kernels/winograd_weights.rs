//! The weight gradient of a convolution with 3 x 3 kernels by Winograd's F(3x3, 4x4).
//!
//! The sums run over pixels and images, so here the lanes are channels: 16 channels x 16 images of each pixel are turned
//! (transposed), inputs and output gradients of a block of tiles are transformed, and for each of the 36 points one matrix
//! product over tiles and images is added to the sums of all weights at that point. The weights themselves are recovered
//! once at the end. [`super::winograd_tiles`] has the formulas.

use super::conv::ConvShape;
use super::lanes::{LANES, ONE_REGISTER, PARTS, register};
use super::threads::for_piece_pairs;
use super::winograd::{BLOCK, Lanes, PIECE, channels_per_piece, most_pieces, multiply_block};
use super::winograd_tiles::{POINTS, PRODUCTS, STEP, TAPS, gradient_tiles, input_tile, spread, write_weight_gradients};
use super::winograd_turn::turn_tile;

/// Tiles of a block: a product sums over three tiles of 16 images.
const TILES: usize = 3;

/// Images and tiles of a block: the inner dimension of the products.
const INNER: usize = TILES * LANES;

/// Vectors of input channels.
fn vectors(shape: &ConvShape) -> usize {
    shape.c_in.div_ceil(LANES)
}

/// Vectors from one point to the next in the transformed inputs; odd, so that the points do not share a cache set.
fn input_stride(shape: &ConvShape) -> usize {
    (vectors(shape) * INNER) | 1
}

/// The same for 16 output channels' gradients.
const GRADIENT_STRIDE: usize = INNER | 1;

/// Length of the scratch.
pub(super) fn scratch_len(shape: &ConvShape, batch: usize) -> usize {
    match most_pieces(shape, batch) {
        1 => piece_scratch_len(shape, shape.c_out),
        pieces => pieces * piece_scratch_len(shape, PIECE),
    }
}

/// Scratch of a piece of some output channels: sums, turned tile, transformed tiles, room to begin at a cache line.
fn piece_scratch_len(shape: &ConvShape, channels: usize) -> usize {
    let sums = channels.next_multiple_of(BLOCK) * PRODUCTS * vectors(shape);
    let tiles = PRODUCTS * (input_stride(shape) + GRADIENT_STRIDE + LANES);
    (sums + tiles + 1) * LANES
}

/// `dw (C_out, C_in, 3, 3)` of `dy (C_out, H, W, B)` and `x (C_in, H, W, B)`; `scratch` of [`scratch_len`].
///
/// Threads share out the output channels and transform the inputs each for themselves.
pub(super) fn backward_weights(
    shape: &ConvShape,
    batch: usize,
    dy: &[f32],
    x: &[f32],
    scratch: &mut [f32],
    dw: &mut [f32],
) {
    let channels = channels_per_piece(shape, batch);
    let piece_len = piece_scratch_len(shape, channels.min(shape.c_out));
    for_piece_pairs(dw, channels * shape.taps(), scratch, piece_len, shape.work() * batch, |piece, dw, scratch| {
        let dy = &dy[piece * channels * shape.h * shape.w * batch..];
        backward_piece(shape, batch, dy, x, scratch, dw);
    });
}

/// [`backward_weights`] for the output channels of `dw`, the first of `dy`.
fn backward_piece(shape: &ConvShape, batch: usize, dy: &[f32], x: &[f32], scratch: &mut [f32], dw: &mut [f32]) {
    let (vectors, plane) = (vectors(shape), shape.h * shape.w * batch);
    let across = shape.w.div_ceil(STEP);
    let tiles = across * shape.h.div_ceil(STEP);
    let dy = &dy[..dw.len() / shape.taps() * plane];
    let first = scratch.as_ptr().align_offset(64).min(LANES);
    let scratch = scratch[first..].as_chunks_mut::<LANES>().0;
    let (turned, scratch) = scratch.split_at_mut(PRODUCTS * LANES);
    let (inputs, scratch) = scratch.split_at_mut(PRODUCTS * input_stride(shape));
    let (gradients, sums) = scratch.split_at_mut(PRODUCTS * GRADIENT_STRIDE);
    sums.fill([0.0; LANES]);
    for image in (0..batch).step_by(LANES) {
        for first in (0..tiles).step_by(TILES) {
            let count = TILES.min(tiles - first);
            let place = |t: usize| ((first + t) / across * STEP, (first + t) % across * STEP);
            let inner = count * LANES;
            for (v, x) in x.chunks(LANES * plane).enumerate() {
                let (start, wide) = group(v, vectors);
                for t in 0..count {
                    let (top, left) = place(t);
                    turn_tile::<POINTS, 1>(shape, batch, x, top, left, image, turned);
                    for b in 0..LANES {
                        let at = start * INNER + (t * LANES + b) * wide + v - start;
                        for part in 0..PARTS {
                            let pixel = |r, c| register(&turned[(r * POINTS + c) * LANES + b], part);
                            let column = |c| std::array::from_fn(|r| pixel(r, c));
                            input_tile(column, spread(input_stride(shape), at, part, inputs));
                        }
                    }
                }
            }
            for (block, dy) in dy.chunks(BLOCK * plane).enumerate() {
                for t in 0..count {
                    let (top, left) = place(t);
                    turn_tile::<STEP, 0>(shape, batch, dy, top, left, image, turned);
                    gradient_tiles(turned, GRADIENT_STRIDE, t * LANES, gradients);
                }
                let rows = dy.len() / plane;
                for point in 0..PRODUCTS {
                    let a = &gradients[point * GRADIENT_STRIDE..][..inner];
                    let out = &mut sums[(block * PRODUCTS + point) * BLOCK * vectors..][..BLOCK * vectors];
                    let mut v = 0;
                    while v < vectors {
                        let (_, wide) = group(v, vectors);
                        let b = &inputs[point * input_stride(shape) + v * INNER..][..inner * wide];
                        add_products(a, b, wide, rows, &mut out[v * BLOCK..(v + wide) * BLOCK]);
                        v += wide;
                    }
                }
            }
        }
    }
    for (o, dw) in dw.chunks_exact_mut(shape.taps()).enumerate() {
        for (v, dw) in dw.chunks_mut(LANES * TAPS).enumerate() {
            let (start, wide) = group(v, vectors);
            let at = start * BLOCK + o % BLOCK * wide + v - start;
            let sums = &sums[o / BLOCK * PRODUCTS * BLOCK * vectors..];
            write_weight_gradients(|point| &sums[point * BLOCK * vectors + at], TAPS, dw);
        }
    }
}

/// First vector and number of vectors of the register tile in which input vector `v` lies: tiles of 4, then 2, then 1
/// where a vector is one register, elsewhere one by one.
fn group(v: usize, vectors: usize) -> (usize, usize) {
    let (fours, twos) = (vectors / 4 * 4, vectors / 2 * 2);
    match v {
        _ if !ONE_REGISTER => (v, 1),
        _ if v < fours => (v / 4 * 4, 4),
        _ if v < twos => (fours, 2),
        _ => (twos, 1),
    }
}

/// `out (16, wide) += ` the product over the inner dimension of `a (inner, 16)` and `b (inner, wide)`, for `rows` of 16.
fn add_products(a: &[Lanes], b: &[Lanes], wide: usize, rows: usize, out: &mut [Lanes]) {
    match wide {
        4 => multiply_block::<4, true>(a, b, rows, out),
        2 => multiply_block::<2, true>(a, b, rows, out),
        _ => multiply_block::<1, true>(a, b, rows, out),
    }
}
