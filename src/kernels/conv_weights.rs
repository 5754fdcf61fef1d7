//! The weight gradient of a convolution tap by tap: sums of `dy * x` over lanes, in register tiles.
//!
//! A tile of output channels x neighbouring taps keeps one register of partial sums per weight while the lanes of a
//! block of rows run by, and is summed over its lanes once at the end. The input is the padded copy of
//! [`super::conv_direct`], so that no tap leaves it; [`super::conv`] documents the shapes.

use super::conv::ConvShape;
use super::conv_direct::{BLOCK, pad, padded_len, padded_plane, padded_row, tile_rows};
use super::lanes::{REGISTER, Register, load, register};
use super::threads::for_pieces;
use std::ops::Range;

/// Lanes of `dy` between two sums over lanes: 8 channels x 2048 lanes = 64 KiB, which the second-level cache holds;
/// with 512, for the first, the sums took as long as a third of the products.
const LANES_IN_CACHE: usize = 2048;

/// Length of the scratch: sums of each chunk of image rows, and the padded input.
pub fn scratch_len(shape: &ConvShape, batch: usize) -> usize {
    partial_len(shape, chunks(shape)) + padded_len(shape, batch)
}

/// Length of the sums of so many chunks of image rows.
pub(super) fn partial_len(shape: &ConvShape, chunks: usize) -> usize {
    chunk_sums(shape) * chunks
}

/// Chunks of image rows whose weight gradients are summed apart: few where there are many output channels to
/// share out, at most one per row.
pub(super) fn chunks(shape: &ConvShape) -> usize {
    let wanted = 32usize.div_ceil(shape.c_out.div_ceil(BLOCK).max(1));
    shape.h.div_ceil(shape.rows_per(wanted))
}

/// Sums of one chunk.
fn chunk_sums(shape: &ConvShape) -> usize {
    shape.c_out.next_multiple_of(BLOCK) * shape.taps()
}

/// [`super::conv::backward_weights`] tap by tap, whatever the shape; `scratch` of [`scratch_len`].
///
/// # Panics
/// If `scratch` is shorter.
pub fn backward_weights(shape: &ConvShape, batch: usize, dy: &[f32], x: &[f32], scratch: &mut [f32], dw: &mut [f32]) {
    let (partial, padded) = scratch.split_at_mut(partial_len(shape, chunks(shape)));
    backward_weights_padded(shape, chunks(shape), batch, dy, pad(shape, batch, x, padded), partial, dw);
}

/// [`backward_weights`] with the copy `x` from [`pad`], in so many chunks, and `partial` of [`partial_len`].
pub(super) fn backward_weights_padded(
    shape: &ConvShape,
    chunks: usize,
    batch: usize,
    dy: &[f32],
    x: &[f32],
    partial: &mut [f32],
    dw: &mut [f32],
) {
    let block = BLOCK * shape.taps();
    let blocks = shape.c_out.div_ceil(BLOCK);
    let rows = shape.rows_per(chunks);
    for_pieces(partial, block, shape.work() * batch, |i, sums| {
        let (chunk, o) = (i / blocks, i % blocks * BLOCK);
        sums.fill(0.0);
        accumulate(shape, batch, dy, x, o, chunk * rows..((chunk + 1) * rows).min(shape.h), sums);
    });
    let stride = blocks * block;
    for_pieces(dw, block, partial.len(), |i, dw| {
        dw.fill(0.0);
        for chunk in partial.chunks_exact(stride) {
            dw.iter_mut().zip(&chunk[i * block..]).for_each(|(dw, sum)| *dw += sum);
        }
    });
}

/// Adds to `sums (BLOCK, C_in, k, k)` the weight gradient of output channels from `o` over the image rows `rows`; `x`
/// is padded.
fn accumulate(shape: &ConvShape, batch: usize, dy: &[f32], x: &[f32], o: usize, rows: Range<usize>, sums: &mut [f32]) {
    let ConvShape { c_in, c_out, w, k, .. } = *shape;
    let taps = shape.taps();
    // Output channels of a tile, taps beside each other: 8 x 3 or 4 x 5 of 32 registers, half the channels of 16.
    let (most, widest) = if k == 5 { (BLOCK / 2, 5) } else { (BLOCK, 3) };
    let rows_per_block = (LANES_IN_CACHE / (w * batch).max(1)).max(1);
    for top in rows.clone().step_by(rows_per_block) {
        let rows = top..(top + rows_per_block).min(rows.end);
        let mut r = 0;
        // All taps of a tile one after the other: the `dy` of four channels, 32 KiB, stays in the first-level cache.
        while r < BLOCK.min(c_out - o) {
            let tile = tile_rows((c_out - o).min(BLOCK) - r).min(most);
            for (i, ky) in (0..c_in).flat_map(|i| (0..k).map(move |ky| (i, ky))) {
                let mut kx = 0;
                while kx < k {
                    let wide = if k - kx >= widest { widest } else { 1 };
                    let place = Place { o: o + r, i, ky, kx, rows: rows.clone() };
                    let sums = &mut sums[r * taps + (i * k + ky) * k + kx..];
                    let correlate = match (tile, wide) {
                        (4, 5) => Place::correlate::<4, 5>,
                        (2, 5) => Place::correlate::<2, 5>,
                        (_, 5) => Place::correlate::<1, 5>,
                        (n, 3) if n >= BLOCK => Place::correlate::<BLOCK, 3>,
                        (n, _) if n >= BLOCK => Place::correlate::<BLOCK, 1>,
                        (4, 3) => Place::correlate::<4, 3>,
                        (4, _) => Place::correlate::<4, 1>,
                        (2, 3) => Place::correlate::<2, 3>,
                        (2, _) => Place::correlate::<2, 1>,
                        (_, 3) => Place::correlate::<1, 3>,
                        _ => Place::correlate::<1, 1>,
                    };
                    correlate(&place, shape, batch, dy, x, sums);
                    kx += wide;
                }
            }
            r += tile;
        }
    }
}

/// One register tile: output channels from `o`, input channel `i`, taps from `(ky, kx)`, over a block of image rows.
struct Place {
    o: usize,
    i: usize,
    ky: usize,
    kx: usize,
    rows: Range<usize>,
}

impl Place {
    /// Adds `sum of dy * x` for `R` output channels by `T` taps to `sums[r * taps + t]`.
    #[inline(never)]
    fn correlate<const R: usize, const T: usize>(
        &self,
        shape: &ConvShape,
        batch: usize,
        dy: &[f32],
        x: &[f32],
        sums: &mut [f32],
    ) {
        let row = shape.w * batch;
        let vectors = row / REGISTER;
        let mut acc = [[Register::ZERO; T]; R];
        for oy in self.rows.clone() {
            let x_row = &x[self.i * padded_plane(shape, batch) + (oy + self.ky) * padded_row(shape, batch)..];
            let dy_rows: [&[f32]; R] = std::array::from_fn(|r| &dy[((self.o + r) * shape.h + oy) * row..][..row]);
            let x_rows: [&[f32]; T] = std::array::from_fn(|t| &x_row[(self.kx + t) * batch..][..row]);
            // Slices of one length known to the compiler: no check of bounds is left in the loop.
            let mut dys: [&[[f32; REGISTER]]; R] = [&[]; R];
            for r in 0..R {
                dys[r] = &dy_rows[r].as_chunks().0[..vectors];
            }
            let mut xs: [&[[f32; REGISTER]]; T] = [&[]; T];
            for t in 0..T {
                xs[t] = &x_rows[t].as_chunks().0[..vectors];
            }
            for l in 0..vectors {
                let mut taps = [Register::ZERO; T];
                for t in 0..T {
                    taps[t] = Register::new(xs[t][l]);
                }
                for r in 0..R {
                    let dys = Register::new(dys[r][l]);
                    for t in 0..T {
                        acc[r][t] = dys.mul_add(taps[t], acc[r][t]);
                    }
                }
            }
            let whole = vectors * REGISTER;
            if whole < row {
                let rest = |row: &[f32]| register(load(&row[whole..]).as_array(), 0);
                let taps: [Register; T] = std::array::from_fn(|t| rest(x_rows[t]));
                for r in 0..R {
                    let dys = rest(dy_rows[r]);
                    for t in 0..T {
                        acc[r][t] = dys.mul_add(taps[t], acc[r][t]);
                    }
                }
            }
        }
        for r in 0..R {
            for t in 0..T {
                sums[r * shape.taps() + t] += acc[r][t].reduce_add();
            }
        }
    }
}
