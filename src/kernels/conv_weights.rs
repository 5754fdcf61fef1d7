//! The inner part of the weight gradient of a convolution: sums of `dy * x` over lanes, in register tiles.
//!
//! A tile of output channels x neighbouring taps keeps one vector of partial sums per weight while the lanes of a
//! block of pixels run by, and is summed over its lanes once at the end. [`super::conv`] documents the shapes.

use super::conv::ConvShape;
use super::conv_direct::tile_rows;
use super::dense::ROWS;
use super::lanes::{LANES, load_at};
use std::ops::Range;
use wide::f32x16;

/// Taps beside each other (`kx`) in the register tile of the weight gradient: 8 x 3 of 32 registers.
const WIDE_TAPS: usize = if cfg!(target_feature = "avx512f") { 3 } else { 1 };

/// Lanes of `dy` between two horizontal sums of the weight gradient: 8 channels x 2048 lanes = 64 KiB, which the
/// second-level cache holds; with 512, for the first, the sums took as long as a third of the products.
const LANES_IN_CACHE: usize = 2048;

/// Adds to `sums (ROWS, C_in, k, k)` the weight gradient of output channels from `o` over the image rows `rows`.
pub(super) fn accumulate(
    shape: &ConvShape,
    batch: usize,
    dy: &[f32],
    x: &[f32],
    o: usize,
    rows: Range<usize>,
    sums: &mut [f32],
) {
    let ConvShape { c_in, c_out, h, w, k } = *shape;
    let (pad, taps) = (k / 2, shape.taps());
    // Blocks of pixels whose `dy` stays in cache: part of a row, or several rows.
    let pixels = (LANES_IN_CACHE / batch.max(1)).max(1);
    let rows_per_block = (pixels / w.max(1)).max(1);
    let width = w.div_ceil(w.div_ceil(pixels).max(1)).max(1);
    for top in rows.clone().step_by(rows_per_block) {
        let bottom = (top + rows_per_block).min(rows.end);
        for left in (0..w).step_by(width) {
            let columns = left..(left + width).min(w);
            for i in 0..c_in {
                for ky in 0..k {
                    let valid = top.max(pad.saturating_sub(ky))..bottom.min((h + pad).saturating_sub(ky));
                    let mut kx = 0;
                    while kx < k {
                        let wide = WIDE_TAPS.min(k - kx);
                        let mut r = 0;
                        while r < ROWS.min(c_out - o) {
                            let tile = tile_rows((c_out - o).min(ROWS) - r);
                            let place = Place { o: o + r, i, ky, kx, rows: valid.clone(), columns: columns.clone() };
                            let sums = &mut sums[r * taps + (i * k + ky) * k + kx..];
                            let correlate = match (tile, wide) {
                                (ROWS.., 3) => Place::correlate::<ROWS, 3>,
                                (ROWS.., 2) => Place::correlate::<ROWS, 2>,
                                (ROWS.., _) => Place::correlate::<ROWS, 1>,
                                (4, 3) => Place::correlate::<4, 3>,
                                (4, 2) => Place::correlate::<4, 2>,
                                (4, _) => Place::correlate::<4, 1>,
                                (2, 3) => Place::correlate::<2, 3>,
                                (2, 2) => Place::correlate::<2, 2>,
                                (2, _) => Place::correlate::<2, 1>,
                                (_, 3) => Place::correlate::<1, 3>,
                                (_, 2) => Place::correlate::<1, 2>,
                                _ => Place::correlate::<1, 1>,
                            };
                            correlate(&place, shape, batch, dy, x, sums);
                            r += tile;
                        }
                        kx += wide;
                    }
                }
            }
        }
    }
}

/// One register tile of the weight gradient: output channels from `o`, input channel `i`, taps from `(ky, kx)`, over
/// a block of pixels whose row under `ky` is inside the image.
struct Place {
    o: usize,
    i: usize,
    ky: usize,
    kx: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Place {
    /// Adds `sum of dy * x` for `R` output channels by `T` taps to `sums[r * taps + t]`.
    fn correlate<const R: usize, const T: usize>(
        &self,
        shape: &ConvShape,
        batch: usize,
        dy: &[f32],
        x: &[f32],
        sums: &mut [f32],
    ) {
        let ConvShape { h, w, k, .. } = *shape;
        let (pad, row) = (k / 2, w * batch);
        let mut acc = [[f32x16::ZERO; T]; R];
        // Columns from `lo` to `hi` have all their taps inside the image.
        let Range { start, end } = self.columns;
        let lo = pad.saturating_sub(self.kx).clamp(start, end);
        let hi = (w + pad).saturating_sub(self.kx + T - 1).clamp(lo, end);
        for oy in self.rows.clone() {
            let x_row = &x[(self.i * h + oy + self.ky - pad) * row..][..row];
            let dy_rows: [&[f32]; R] = std::array::from_fn(|r| &dy[((self.o + r) * h + oy) * row..][..row]);
            for ox in (start..lo).chain(hi..end) {
                for lane in (0..batch).step_by(LANES) {
                    let mask = first_lanes(batch - lane);
                    let mut xs = [f32x16::ZERO; T];
                    for t in 0..T {
                        let ix = ox + self.kx + t;
                        if (pad..w + pad).contains(&ix) {
                            xs[t] = load_at::<false>(x_row, (ix - pad) * batch + lane) & mask;
                        }
                    }
                    add(&mut acc, &dy_rows, ox * batch + lane, mask, &xs);
                }
            }
            if lo < hi {
                let (dy_at, x_at) = (lo * batch, (lo + self.kx - pad) * batch);
                let len = (hi - lo) * batch;
                // Slices of one length known to the compiler: no check of bounds is left in the loop.
                let vectors = len / LANES;
                let mut dys: [&[[f32; LANES]]; R] = [&[]; R];
                for r in 0..R {
                    dys[r] = &dy_rows[r][dy_at..].as_chunks().0[..vectors];
                }
                let mut xs: [&[[f32; LANES]]; T] = [&[]; T];
                for t in 0..T {
                    xs[t] = &x_row[x_at + t * batch..].as_chunks().0[..vectors];
                }
                for l in 0..vectors {
                    let mut taps = [f32x16::ZERO; T];
                    for t in 0..T {
                        taps[t] = f32x16::new(xs[t][l]);
                    }
                    for r in 0..R {
                        let dys = f32x16::new(dys[r][l]);
                        for t in 0..T {
                            acc[r][t] = dys.mul_add(taps[t], acc[r][t]);
                        }
                    }
                }
                let full = vectors * LANES;
                if full < len {
                    let mask = first_lanes(len - full);
                    let mut xs = [f32x16::ZERO; T];
                    for t in 0..T {
                        xs[t] = load_at::<false>(x_row, x_at + t * batch + full) & mask;
                    }
                    add(&mut acc, &dy_rows, dy_at + full, mask, &xs);
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

/// `acc[r][t] += dy[r] * x[t]` in the lanes of `mask`, where `dy[r]` starts at lane `at` of its row.
#[inline(always)]
fn add<const R: usize, const T: usize>(
    acc: &mut [[f32x16; T]; R],
    dy_rows: &[&[f32]; R],
    at: usize,
    mask: f32x16,
    xs: &[f32x16; T],
) {
    for r in 0..R {
        let dys = load_at::<false>(dy_rows[r], at) & mask;
        for t in 0..T {
            acc[r][t] = dys.mul_add(xs[t], acc[r][t]);
        }
    }
}

/// All bits set in the first `n` lanes.
fn first_lanes(n: usize) -> f32x16 {
    f32x16::new(std::array::from_fn(|lane| if lane < n { f32::from_bits(u32::MAX) } else { 0.0 }))
}
